//! Browsers that are signed in.

use std::sync::Arc;

use axum::response::Response;
use maud::html;
use slap_server::Problem;

use super::super::parts::{Badge, Column, Table, age, section};
use super::super::{Icon, Visit, redirect};
use super::agent::described;
use super::of_account;
use crate::api::{App, Call};

pub(super) const PATH: &str = "account/sessions";
pub(super) const END: &str = "account/sessions/{session}/end";

const COLUMNS: &[Column] = &[
    Column::words("Browser"),
    Column::words("From"),
    Column::words("Signed in"),
    Column::words("Until"),
    Column::actions(),
];

/// The browsers that are signed in.
pub(super) async fn list(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let session = visit.session()?;
    let own = session.id();
    let sessions = app.store.sessions(session.caller, session.person).await?;
    let mut table = Table::new("Browsers that are signed in", COLUMNS);
    for session in &sessions {
        let is_own = session.id == own;
        table.row(vec![
            html! {
                span.strong title=(session.agent) { (described(&session.agent)) }
                @if is_own { " " (Badge::THIS) }
            },
            html! {
                @if session.address.is_empty() { span.muted { "not known" } }
                @else { code { (session.address) } }
            },
            age(visit.now, session.created_at),
            age(visit.now, session.expires_at),
            html! {
                @if !is_own {
                    form method="post" action=(visit.to(&format!("{PATH}/{}/end", session.id))) {
                        (visit.form_token())
                        button.small { "Sign out" }
                    }
                }
            },
        ]);
    }
    let others = html! {
        @if sessions.len() > 1 {
            form method="post" action=(visit.to(PATH)) {
                (visit.form_token())
                button { (Icon::SignOut) "Sign out all others" }
            }
        }
    };
    let page = of_account(&visit, "Sessions");
    Ok(page.show(section(
        "sessions",
        "Where you are signed in",
        others,
        &html! { (table) },
    )))
}

/// Signs out all browsers but this one.
pub(super) async fn end_others(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    visit.form(&call)?;
    let session = visit.session()?;
    app.store
        .end_sessions(session.caller, session.person, session.id(), true)
        .await?;
    Ok(visit.go(PATH, "signed-out"))
}

/// Signs out one browser.
pub(super) async fn end(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    visit.form(&call)?;
    let session = visit.session()?;
    let id = call.parameter("session").to_owned();
    let ended = app
        .store
        .end_sessions(session.caller, session.person, id, false)
        .await?;
    match ended {
        0 => Ok(redirect(&visit.to(PATH))),
        _ => Ok(visit.go(PATH, "signed-out")),
    }
}
