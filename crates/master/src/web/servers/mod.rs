//! Servers: nodes, what is on them and how they are, and the tokens that register them.

mod certificates;
mod events;
mod list;
mod node;
mod partitions;
mod releases;
mod settings;
#[cfg(test)]
mod tests;
mod token;
mod usage;

use maud::Markup;
use slap_server::Problem;

use super::layout::{Page, Section};
use super::parts::bar;
use super::{Visit, form, page};
use crate::api::endpoint::{Endpoint, handler};
use crate::api::{App, Call};
use crate::domain::{NodeKind, ProjectKey};
use crate::store::NodeRecord;

pub(super) use token::{recognised, token_made};

/// Most servers one is offered to choose from.
const CHOICES_MAX: usize = 500;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    page("servers", handler!(list::list)),
    page(token::PATH, handler!(token::ask)),
    form(token::PATH, handler!(token::make)),
    page("servers/{node}", handler!(node::summary)),
    page("servers/{node}/partitions", handler!(partitions::list)),
    page("servers/{node}/releases", handler!(releases::list)),
    form("servers/{node}/releases", handler!(releases::supply)),
    page(
        "servers/{node}/releases/{release}/remove",
        handler!(releases::ask),
    ),
    form(
        "servers/{node}/releases/{release}/remove",
        handler!(releases::remove),
    ),
    page("servers/{node}/events", handler!(events::list)),
    page("servers/{node}/certificates", handler!(certificates::list)),
    form("servers/{node}/certificates", handler!(certificates::issue)),
    page(
        "servers/{node}/certificates/{serial}/revoke",
        handler!(certificates::ask),
    ),
    form(
        "servers/{node}/certificates/{serial}/revoke",
        handler!(certificates::revoke),
    ),
    page("servers/{node}/settings", handler!(settings::show)),
    form(
        "servers/{node}/settings/scope",
        handler!(settings::set_scope),
    ),
    form(
        "servers/{node}/settings/capacity",
        handler!(settings::set_capacity),
    ),
    page("servers/{node}/settings/remove", handler!(settings::ask)),
    form("servers/{node}/settings/remove", handler!(settings::remove)),
];

/// A page of this section, with its subheader.
fn of_servers<'a>(visit: &'a Visit, title: &str) -> Page<'a> {
    visit
        .page(title)
        .section(Section::Servers)
        .tab("servers", "Servers")
        .tab(token::PATH, "Token")
}

/// The servers of a project that one may choose from.
pub(super) async fn of_project(
    app: &App,
    call: &Call,
    project: ProjectKey,
) -> Result<Vec<NodeRecord>, Problem> {
    let mut nodes = app.store.nodes(call.caller).await?;
    nodes.retain(|node| node.project == project && node.node.kind == NodeKind::Compute);
    nodes.truncate(CHOICES_MAX);
    Ok(nodes)
}

/// How full a node is: in units where they are bounded, else in partitions.
fn capacity(node: &NodeRecord) -> Markup {
    let busy = node.partitions - node.free;
    match node.capacity {
        Some(capacity) if capacity > 0 => {
            let words = format!("{} of {capacity} units", node.used);
            bar(node.used, capacity, &words)
        }
        _ => bar(
            busy,
            node.partitions,
            &format!("{busy} of {} partitions", node.partitions),
        ),
    }
}
