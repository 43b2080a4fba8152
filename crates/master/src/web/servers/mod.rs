//! Servers: nodes, and the tokens that register them.

mod token;

pub(super) use token::recognised;

use std::sync::Arc;

use axum::response::Response;
use maud::{Markup, html};
use slap_server::Problem;

use super::layout::{Page, Section};
use super::parts::{Badge, Column, Pager, Table, age, bar, empty, search};
use super::{Icon, Visit, field, form, page};
use crate::api::endpoint::{Endpoint, handler};
use crate::api::{App, Call};
use crate::store::{NodeFilter, NodeRecord, NodeState};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    page("servers", handler!(list)),
    page(token::PATH, handler!(token::ask)),
    form(token::PATH, handler!(token::make)),
];

/// A page of this section, with its subheader.
fn of_servers<'a>(visit: &'a Visit, title: &str) -> Page<'a> {
    visit
        .page(title)
        .section(Section::Servers)
        .tab("servers", "Servers")
        .tab(token::PATH, "Token")
}

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

/// How full a node is, in partitions, and in units where they are bounded.
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
async fn list(app: Arc<App>, call: Call) -> Result<Response, Problem> {
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
                span.strong { (node.title) }
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
        (search(&visit, "servers", "Title or reference", &text, &[
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
