//! Services: what a person runs. The list, a service with its instances, its history, and what can be
//! done with it.

mod change;
mod editor;
mod history;
mod list;
mod parameters;
mod picture;
mod request;
mod service;
mod values;

use axum::response::Response;
use maud::Markup;
use slap_server::Problem;
use slap_server::json_rpc::detail::Actual;
use slap_server::status::Record;

use super::layout::{Page, Section};
use super::{Visit, form, page};
use crate::api::endpoint::{Endpoint, handler};
use crate::api::{App, Call};
use crate::domain::{Refusal, TreeKey};
use crate::store::{InstanceRecord, MemberState, Status, StoreError, WholeTree};

pub(super) use list::services;

/// The pages of services, each below one service but the first.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    page("services", handler!(list::list)),
    page("services/new", handler!(request::ask)),
    form("services/new", handler!(request::next)),
    page("services/{tree}", handler!(service::service)),
    page("services/{tree}/parameters", handler!(parameters::ask)),
    form("services/{tree}/parameters", handler!(parameters::change)),
    page("services/{tree}/history", handler!(history::versions)),
    page("services/{tree}/events", handler!(history::events)),
    page("services/{tree}/start", handler!(change::ask)),
    form("services/{tree}/start", handler!(change::change)),
    page("services/{tree}/stop", handler!(change::ask)),
    form("services/{tree}/stop", handler!(change::change)),
    page("services/{tree}/destroy", handler!(change::ask)),
    form("services/{tree}/destroy", handler!(change::change)),
    form("services/{tree}/upgrade", handler!(change::upgrade)),
];

/// The path of a service's page.
pub(in crate::web) fn path_of(tree: TreeKey) -> String {
    format!("services/{tree}")
}

/// The service a call is about, as its caller may see it.
async fn whole(app: &App, call: &Call) -> Result<WholeTree, Problem> {
    let named = call.parameter("tree");
    let unknown = || StoreError::from(Refusal::unknown("service", named));
    let tree: TreeKey = named.parse().map_err(|_| unknown())?;
    Ok(app.store.whole_tree(call.caller, tree).await?)
}

/// A page of a service, with its subheader.
fn of_service<'a>(visit: &'a Visit, tree: &WholeTree) -> Page<'a> {
    let path = path_of(tree.key);
    visit
        .page(tree.title.clone())
        .section(Section::Services)
        .below("services", "Services")
        .tab(path.clone(), "Overview")
        .tab(format!("{path}/history"), "Parameter history")
        .tab(format!("{path}/events"), "Events")
        .live(&format!("tree={}", tree.key))
}

fn record_of(status: &Status) -> Option<Record> {
    let (text, at) = (status.text.clone()?, status.at?);
    Some(Record {
        text,
        state: status.reported.clone(),
        at: at.system(),
        since: status.since.unwrap_or(at).system(),
    })
}

/// How an instance is.
fn actual(record: &InstanceRecord) -> Actual {
    Actual::of(
        record.state,
        record.placement.is_some(),
        record.shared,
        record_of(&record.status).as_ref(),
        record.timestamp.system(),
    )
}

/// How an instance in a list is.
fn actual_of(member: &MemberState) -> Actual {
    Actual::of(
        member.state,
        member.node.is_some(),
        member.shared,
        record_of(&member.status).as_ref(),
        member.timestamp.system(),
    )
}

/// The release a path names, for people: what is before `software.cfg` at its end.
fn release_name(url: &str) -> Markup {
    super::parts::short(url, 56)
}

/// Nothing to see: the same as for what there is not.
fn not_found(what: &str) -> Result<Response, Problem> {
    Err(StoreError::from(Refusal::unknown(what, "here")).into())
}

#[cfg(test)]
mod request_tests;
#[cfg(test)]
mod tests;
