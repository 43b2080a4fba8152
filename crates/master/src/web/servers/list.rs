//! The list of servers.

use std::sync::Arc;

use axum::response::Response;
use maud::{Markup, html};
use slap_server::Problem;

use super::super::parts::{Badge, Column, Pager, Table, age, empty, search};
use super::super::{Icon, Visit, field};
use super::{capacity, of_servers, token};
use crate::api::{App, Call};
use crate::store::{NodeFilter, NodeState};

/// Servers on one page of the list.
const SERVERS: i64 = 50;

const COLUMNS: &[Column] = &[
    Column::words("Server"),
    Column::words("State"),
    Column::words("Takes new"),
    Column::words("Capacity"),
    Column::words("Releases"),
    Column::words("Last contact"),
];

fn filter_of(word: &str) -> NodeFilter {
    let mut known = NodeFilter::ALL.into_iter();
    known
        .find(|filter| filter.as_str() == word)
        .unwrap_or_default()
}

fn releases(state: &NodeState) -> Markup {
    html! {
        (state.installed) " installed"
        @match state.releases - state.installed - state.failed {
            ..=0 => {},
            under_way => { ", " (under_way) " on the way" },
        }
        @if state.failed > 0 { ", " span.wrong { (state.failed) " failed" } }
    }
}

/// The servers there are.
pub(super) async fn list(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let arguments = call.arguments();
    let (text, word) = (field(&arguments, "q"), field(&arguments, "state"));
    let pager = Pager::of(&field(&arguments, "page"), SERVERS);
    let filter = filter_of(&word);
    let mut found = app
        .store
        .node_states(call.caller, text.clone(), filter, pager.lines())
        .await?;
    let kept = [("q", text.as_str()), ("state", filter.as_str())];
    let pages = pager.cut(&mut found, &visit, &kept);
    let mut table = Table::new("Servers", COLUMNS);
    for state in &found {
        let node = &state.node;
        table.row(vec![
            html! {
                a href=(visit.to(&format!("servers/{}", node.node))) { (node.title) }
                span.reference { (node.node) }
            },
            html! { (Badge::node(node)) },
            html! { (Badge::scope(node.scope)) },
            capacity(node),
            releases(state),
            match node.contact_at {
                Some(at) => age(visit.now, at),
                None => html! { span.muted { "never" } },
            },
        ]);
    }
    let is_whole = text.is_empty() && filter == NodeFilter::All;
    let body = html! {
        @if !table.is_empty() {
            (table)
        } @else if is_whole {
            (empty(Icon::Server, "No server yet", &html! {
                p {
                    "A server runs your services. Request a token, then type "
                    code { "slapos node register" } " on the server."
                }
                p { a.button.main href=(visit.to(token::PATH)) { (Icon::Ticket) "Request a token" } }
            }))
        } @else {
            (empty(Icon::Search, "No server is like that", &html! {
                p { a.button href=(visit.to("servers")) { "All servers" } }
            }))
        }
        (pages)
    };
    Ok(of_servers(&visit, "Servers").live("").show(html! {
        (search(&visit, "servers", "Title, reference or project", &text, &[
            ("state", "State", &[
                ("", "All states"),
                ("online", "Online"),
                ("silent", "Silent"),
                ("closed", "Closed"),
            ], filter.as_str()),
        ]))
        div id="servers" data-live { (body) }
    }))
}
