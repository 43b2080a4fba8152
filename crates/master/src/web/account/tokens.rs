//! Tokens that wait to be used.

use std::sync::Arc;

use axum::response::Response;
use maud::html;
use slap_server::Problem;

use super::super::parts::{Column, Confirm, Table, age, confirm, empty, section};
use super::super::servers::token_made;
use super::super::{Icon, Visit};
use super::of_account;
use crate::api::{App, Call};
use crate::domain::TokenPurpose;
use crate::store::{NewToken, TOKEN_LIFE};

pub(super) const PATH: &str = "account/tokens";
pub(super) const REVOKE: &str = "account/tokens/{token}/revoke";

const COLUMNS: &[Column] = &[
    Column::words("Token"),
    Column::words("For"),
    Column::words("Made"),
    Column::words("Ends"),
    Column::actions(),
];

fn purpose(purpose: TokenPurpose) -> &'static str {
    match purpose {
        TokenPurpose::Client => "A command line",
        TokenPurpose::Node => "A server",
        TokenPurpose::Any => "A server or a command line",
        TokenPurpose::Password => "Setting your password",
    }
}

/// The tokens that wait to be used.
pub(super) async fn list(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let session = visit.session()?;
    let tokens = app.store.tokens(session.caller, session.person).await?;
    let mut table = Table::new("Tokens that wait to be used", COLUMNS);
    for token in tokens.iter().rev() {
        let revoke = format!("{PATH}/{}/revoke", token.id);
        table.row(vec![
            html! {
                span.strong { "Token " (token.id) }
                @if let Some(project) = token.project { span.reference { (project) } }
            },
            html! { (purpose(token.purpose)) },
            age(visit.now, token.created_at),
            age(visit.now, token.expires_at),
            html! { a.button.small href=(visit.to(&revoke)) data-asks { "Revoke" } },
        ]);
    }
    let body = match table.is_empty() {
        true => empty(
            Icon::Ticket,
            "No token waits to be used",
            &html! {
                p {
                    "A token sets up one command line that acts for you. For a server, request one "
                    "under " a href=(visit.to("servers/token")) { "Servers, Token" } "."
                }
            },
        ),
        false => html! { (table) },
    };
    let make = html! {
        form method="post" action=(visit.to(PATH)) {
            (visit.form_token())
            button.main { (Icon::Plus) "Make a token for a command line" }
        }
    };
    let page = of_account(&visit, "Tokens");
    Ok(page.show(section("tokens", "Waiting to be used", make, &body)))
}

/// Makes a token for a command line and shows it, once.
pub(super) async fn make(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    visit.form(&call)?;
    let session = visit.session()?;
    let new = NewToken {
        purpose: TokenPurpose::Client,
        person: session.person,
        project: None,
        life: TOKEN_LIFE,
    };
    let issued = app.store.create_token(session.caller, new).await?;
    let page = of_account(&visit, "A new token").below(PATH, "Tokens");
    Ok(page.show(token_made(&app, &visit, &issued, PATH)))
}

/// The number of the token a call is about.
fn number(call: &Call) -> Result<i64, Problem> {
    let number = call.parameter("token").parse();
    number.map_err(|_| Problem::not_found("There is no such token"))
}

/// Asks before one is revoked.
pub(super) async fn ask(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let session = visit.session()?;
    let number = number(&call)?;
    let tokens = app.store.tokens(session.caller, session.person).await?;
    if !tokens.iter().any(|token| token.id == number) {
        return Err(Problem::not_found(
            "There is no such token of yours: it was used, or it has expired",
        ));
    }
    let page = of_account(&visit, "Revoke this token?").below(PATH, "Tokens");
    Ok(page.show(confirm(
        &visit,
        &Confirm {
            text: "Whoever has it cannot use it any more. A new one can be made at any time.",
            verb: "Revoke",
            back: PATH,
            is_grave: true,
        },
        &html! { p { "Token " (number) } },
    )))
}

/// Revokes one.
pub(super) async fn revoke(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    visit.form(&call)?;
    let session = visit.session()?;
    let number = number(&call)?;
    app.store
        .revoke_token(session.caller, session.person, number)
        .await?;
    Ok(visit.go(PATH, "token-revoked"))
}
