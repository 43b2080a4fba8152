//! The list of services.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::response::Response;
use maud::{Markup, html};
use slap_server::Problem;
use slap_server::json_rpc::detail::Actual;

use super::{actual_of, path_of, release_name};
use crate::api::{App, Call};
use crate::store::{TreeFilter, TreeState, TreesOf};
use crate::web::layout::Section;
use crate::web::parts::{Badge, Column, Pager, Table, age, empty, search};
use crate::web::{Icon, Visit, field};

/// Services on one page of the list.
const SERVICES: i64 = 50;
/// Servers of a service that are named.
const NODES_MAX: usize = 3;

const COLUMNS: &[Column] = &[
    Column::words("Service"),
    Column::words("State"),
    Column::numbers("Instances"),
    Column::words("Servers"),
    Column::long("Release"),
    Column::words("Requested"),
];

/// The services of whoever is signed in.
pub(super) async fn list(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let nothing = empty(
        Icon::Services,
        "No service yet",
        &html! {
            p {
                "A service is one use of a software release, with your parameters, on a server \
                 that has it."
            }
            p { a.button.main href=(visit.to("services/new")) { (Icon::Plus) "Request a service" } }
        },
    );
    let body = services(&app, &call, &visit, TreesOf::Caller, &nothing).await?;
    let request = html! {
        div.buttons {
            a.button.main href=(visit.to("services/new")) { (Icon::Plus) "Request a service" }
        }
    };
    let page = visit.page("Services").section(Section::Services);
    Ok(page.beside(request).live("").show(body))
}

/// A list of services, searched, filtered and paged at the path that is shown; `nothing` is there when
/// there is none at all.
pub(in crate::web) async fn services(
    app: &App,
    call: &Call,
    visit: &Visit,
    of: TreesOf,
    nothing: &Markup,
) -> Result<Markup, Problem> {
    let arguments = call.arguments();
    let (text, word) = (field(&arguments, "q"), field(&arguments, "state"));
    let pager = Pager::of(&field(&arguments, "page"), SERVICES);
    let filter = TreeFilter::ALL
        .into_iter()
        .find(|filter| filter.as_str() == word)
        .unwrap_or_default();
    let mut found = app
        .store
        .tree_states(call.caller, of, text.clone(), filter, pager.lines())
        .await?;
    let kept = [("q", text.as_str()), ("state", filter.as_str())];
    let pages = pager.cut(&mut found, visit, &kept);
    let mut table = Table::new("Services", COLUMNS);
    for tree in &found {
        table.row(row(visit, tree, of));
    }
    let is_whole = text.is_empty() && filter == TreeFilter::All;
    Ok(html! {
        (search(visit, &visit.path, "Title", &text, &[
            ("state", "State", &[
                ("", "All states"),
                ("started", "Shall run"),
                ("stopped", "Stopped"),
                ("failing", "Failing"),
                ("waiting", "Waiting"),
                ("upgradable", "Upgrade offered"),
            ], filter.as_str()),
        ]))
        div id="services" data-live {
            @if !table.is_empty() {
                (table)
            } @else if is_whole {
                (nothing)
            } @else {
                (empty(Icon::Search, "No service is like that", &html! {
                    p { a.button href=(visit.to(&visit.path)) { "All services" } }
                }))
            }
            (pages)
        }
    })
}

fn row(visit: &Visit, tree: &TreeState, of: TreesOf) -> Vec<Markup> {
    let actual = tree.members.iter().map(actual_of).max();
    let nodes: BTreeSet<_> = tree
        .members
        .iter()
        .filter_map(|member| member.node)
        .collect();
    vec![
        html! {
            a href=(visit.to(&path_of(tree.key))) { (tree.title) }
            span.reference {
                (tree.key)
                @if of != TreesOf::Caller { " of " (tree.owner) }
            }
        },
        html! {
            (Badge::instance(actual.unwrap_or(Actual::Destroying)))
            @if tree.upgrade.is_some() { " " (Badge::UPGRADE) }
            @if let Some(why) = &tree.waiting { span.reference { (why) } }
        },
        html! { (tree.members.len()) },
        html! {
            @for (index, node) in nodes.iter().take(NODES_MAX).enumerate() {
                @if index > 0 { ", " }
                a href=(visit.to(&format!("servers/{node}"))) { (node) }
            }
            @if nodes.len() > NODES_MAX { " and " (nodes.len() - NODES_MAX) " more" }
            @if nodes.is_empty() { span.muted { "none" } }
        },
        release_name(&tree.release),
        age(visit.now, tree.created_at),
    ]
}
