//! *Software*: the catalogue of what can run here: products with their releases, where these are, and
//! what parameters they take.

mod list;
mod parameters;
mod product;
mod releases;
mod servers;
mod services;
#[cfg(test)]
mod tests;

use maud::{Markup, html};

use super::{form, page};
use crate::api::endpoint::{Endpoint, handler};
use crate::store::{Deployed, INSTANCES_COUNTED};

const PATH: &str = "software";

pub(super) const ENDPOINTS: &[Endpoint] = &[
    page(PATH, handler!(list::list)),
    form(PATH, handler!(list::create)),
    page("software/{product}", handler!(releases::list)),
    form("software/{product}", handler!(releases::set)),
    page("software/{product}/remove", handler!(releases::ask)),
    form("software/{product}/remove", handler!(releases::remove)),
    page("software/{product}/servers", handler!(servers::list)),
    form("software/{product}/servers", handler!(servers::supply)),
    page("software/{product}/services", handler!(services::list)),
    page("software/{product}/parameters", handler!(parameters::show)),
];

/// On how many servers something is.
fn on_servers(deployed: Deployed) -> Markup {
    html! {
        (deployed.installed)
        @match deployed.nodes - deployed.installed - deployed.failed {
            ..=0 => {},
            under_way => { ", " (under_way) " on the way" },
        }
        @if deployed.failed > 0 { ", " span.wrong { (deployed.failed) " failed" } }
    }
}

/// How many instances run it.
fn instances(deployed: Deployed) -> Markup {
    html! {
        @if deployed.instances > INSTANCES_COUNTED { "more than " (INSTANCES_COUNTED) }
        @else { (deployed.instances) }
    }
}
