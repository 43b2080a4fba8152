//! What happened to a server.

use std::sync::Arc;

use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;
use slap_server::Problem;

use super::super::parts::{age, empty};
use super::super::{Icon, Visit, field};
use super::node::Subject;
use crate::api::{App, Call};
use crate::store::{EventQuery, EventRecord};

/// Events on one page.
const EVENTS: usize = 50;

/// What happened, the latest first.
pub(super) async fn list(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let subject = Subject::of(&app, &call).await?;
    let before = field(&call.arguments(), "before").parse().ok();
    let query = EventQuery {
        before,
        after: None,
        limit: i64::try_from(EVENTS + 1).unwrap_or(i64::MAX),
    };
    let mut events = app
        .store
        .node_events(call.caller, subject.node.node, query)
        .await?;
    let is_more = events.len() > EVENTS;
    events.truncate(EVENTS);
    let older = events.last().filter(|_| is_more);
    let older = older.map(|event| event.note.id.to_string());
    let path = subject.path("events");
    let body = html! {
        @if events.is_empty() {
            (empty(Icon::History, "Nothing happened yet", &html! {
                p { "What people, the server and this Master do with it is told here." }
            }))
        } @else {
            ol.events {
                @for event in &events { (line(&visit, event)) }
            }
        }
        @if before.is_some() || older.is_some() {
            nav.pager aria-label="Pages" {
                @if before.is_some() { a.button href=(visit.to(&path)) { "Latest" } }
                @if let Some(older) = older {
                    a.button href=(visit.to_with(&path, &[("before", &older)])) {
                        "Older" (Icon::Next)
                    }
                }
            }
        }
    };
    Ok(subject
        .page(&visit)
        .show(html! { div id="events" data-live { (body) } }))
}

fn line(visit: &Visit, event: &EventRecord) -> Markup {
    let log = event.note.detail["log"].as_str().unwrap_or_default();
    html! {
        li {
            (age(visit.now, event.note.at))
            div {
                (said(event)) " " span.muted { "by " (event.note.actor) }
                @if !log.trim().is_empty() {
                    details {
                        summary { "Log" }
                        div.copy { pre tabindex="0" { (log.trim()) } }
                    }
                }
            }
        }
    }
}

/// What happened, in words.
fn said(event: &EventRecord) -> Markup {
    let detail = &event.note.detail;
    let text = |name: &str| detail[name].as_str().unwrap_or_default();
    html! {
        @match event.note.action.as_str() {
            "create_node" => { "Registered" },
            "format" => { "Described with " (detail["partitions"].as_i64().unwrap_or(0)) " partitions" },
            "supply" if text("state") == "destroyed" => { "Removal asked for: " code { (text("release")) } },
            "supply" => { "Asked for: " code { (text("release")) } },
            "removed_release" => { "Removed: " code { (text("release")) } },
            "report_release" => {
                @match text("reported") {
                    "available" => { "Installed: " },
                    "building" => { "Being built: " },
                    "error" => { span.wrong { "Could not be built: " } },
                    other => { (other) ": " },
                }
                code { (text("release")) }
            },
            "bang_node" => {
                "Everything on it is to be processed again"
                @if !text("message").is_empty() { ": " (text("message")) }
            },
            "set_scope" => { "Scope set to " code { (text("scope")) } },
            "set_capacity" => {
                @match detail["capacity"].as_i64() {
                    Some(units) => { "Capacity set to " (units) " units" },
                    None => { "Capacity without limit" },
                }
            },
            "set_network" => {
                @match &detail["network"] {
                    Value::String(network) => { "Network set to " (network) },
                    _ => { "Taken out of its network" },
                }
            },
            "set_categories" => { "Categories changed" },
            other => { (other.replace('_', " ")) },
        }
    }
}
