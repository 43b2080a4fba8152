//! The partitions of a server, and what is in them.

use std::sync::Arc;

use axum::response::Response;
use maud::html;
use slap_server::Problem;

use super::super::parts::{Badge, Column, Pager, Table, empty};
use super::super::{Icon, Visit, field};
use super::node::Subject;
use crate::api::{App, Call, actual};
use crate::store::PartitionState;

/// Partitions on one page.
const PARTITIONS: i64 = 50;

const COLUMNS: &[Column] = &[
    Column::words("Partition"),
    Column::words("Service"),
    Column::words("State"),
    Column::words("Type"),
    Column::long("Addresses"),
];

/// The partitions there are.
pub(super) async fn list(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let subject = Subject::of(&app, &call).await?;
    let whole = app.store.whole_node(call.caller, subject.node.node).await?;
    let pager = Pager::of(&field(&call.arguments(), "page"), PARTITIONS);
    let lines = pager.lines();
    let count = |number: i64| usize::try_from(number).unwrap_or(0);
    let mut shown: Vec<&PartitionState> = whole
        .partitions
        .iter()
        .skip(count(lines.skip))
        .take(count(lines.limit))
        .collect();
    let pages = pager.cut(&mut shown, &visit, &[]);
    let mut table = Table::new("Partitions", COLUMNS);
    for partition in shown {
        let instance = partition.instance.as_ref();
        table.row(vec![
            html! { code { (partition.name) } },
            html! {
                @match instance {
                    Some(instance) => {
                        a href=(visit.to(&format!("services/{}", instance.tree))) {
                            (instance.root_title)
                        }
                        @if instance.title != instance.root_title {
                            span.reference { (instance.title) }
                        }
                    },
                    None if partition.busy => { span.muted { "somebody else's" } },
                    None => { span.muted { "–" } },
                }
            },
            html! {
                @match instance {
                    Some(instance) => (Badge::instance(actual(instance))),
                    None if partition.busy => (Badge::BUSY),
                    None => (Badge::FREE),
                }
            },
            html! { @if let Some(instance) = instance { (instance.software_type) } },
            html! {
                @for address in &partition.addresses { code { (address.ip) } " " }
            },
        ]);
    }
    let body = match table.is_empty() {
        true => empty(
            Icon::Server,
            "No partition yet",
            &html! {
                p { "Type " code { "slapos node format --now" } " on the server: it makes them." }
            },
        ),
        false => html! { (table) (pages) },
    };
    Ok(subject
        .page(&visit)
        .show(html! { div id="partitions" data-live { (body) } }))
}
