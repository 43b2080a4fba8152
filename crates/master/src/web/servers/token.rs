//! *Token*: what registers a server, or sets up a command line.

use std::sync::Arc;

use axum::response::Response;
use maud::{Markup, html};
use slap_server::Problem;

use super::super::parts::{Choice, choice, copy, facts, hint, moment};
use super::super::{Icon, Visit};
use super::of_servers;
use crate::api::{App, Call};
use crate::domain::{ProjectKey, TokenPurpose};
use crate::store::{IssuedToken, NewToken, TOKEN_LIFE};
use crate::web::projects::managed;

pub(super) const PATH: &str = "servers/token";

/// By what nodes and clients recognise this Master.
pub(in crate::web) fn recognised(app: &App, visit: &Visit) -> Markup {
    let fingerprint = app.auth.certifier().authority_fingerprint();
    html! {
        (facts(&[
            ("Master URL", html! { code { (app.place.public_url) "/" } }),
            (
                "Recognised by",
                html! {
                    "SHA-256 fingerprint of its authority" br;
                    code.long { (fingerprint) } br;
                    a href=(visit.to("ca.crt")) { "Certificate of the authority" }
                },
            ),
        ]))
    }
}

/// Offers a token.
pub(super) async fn ask(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let projects = managed(&app, visit.session()?).await?;
    let names: Vec<(String, String)> = projects
        .iter()
        .map(|project| {
            let key = project.key.to_string();
            (format!("{} ({key})", project.title), key)
        })
        .collect();
    let choices: Vec<Choice<'_>> = names
        .iter()
        .map(|(words, value)| Choice { value, words })
        .collect();
    Ok(of_servers(&visit, "Token").show(html! {
        form.card method="post" action=(visit.to(PATH)) {
            (visit.form_token())
            @if choices.is_empty() {
                p {
                    "A token lets one command line act for you. You manage no project: servers are "
                    "registered by those who do."
                }
            } @else {
                p {
                    "A token registers one server in a project, or lets one command line act for "
                    "you."
                }
                (choice("project", "Project of the server", &choices, ""))
            }
            (hint("It works once, within a day, and is shown only when it is made."))
            div.buttons { button.main { (Icon::Ticket) "Request a token" } }
        }
        (recognised(&app, &visit))
    }))
}

/// Makes a token and shows it, once.
pub(super) async fn make(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let form = visit.form(&call)?;
    let project: Option<ProjectKey> = form.given_word("project")?;
    let session = visit.session()?;
    let new = NewToken {
        purpose: match project {
            Some(_) => TokenPurpose::Any,
            None => TokenPurpose::Client,
        },
        person: session.person,
        project,
        life: TOKEN_LIFE,
    };
    let issued = app.store.create_token(session.caller, new).await?;
    Ok(of_servers(&visit, "Token").show(token_made(&app, &visit, &issued, "servers")))
}

/// A token that was made, for the one moment at which it is known, with what to type.
pub(in crate::web) fn token_made(
    app: &App,
    visit: &Visit,
    issued: &IssuedToken,
    back: &str,
) -> Markup {
    let url = &app.place.public_url;
    let token = &issued.token;
    let options = format!("--master-url {url}/ --master-url-web {url} --token {token}");
    html! {
        section.part {
            p { "Your token. Save it now: it is not shown again." }
            (copy(token))
            (hint(format!("It works once, until {}.", moment(issued.expires_at))))
        }
        @if let Some(project) = issued.project {
            section.part {
                h2 { "Register a server in " (project) }
                p { "On the server, as root, with a name of your choice in the place of NAME:" }
                (copy(&format!("slapos node register NAME {options}")))
            }
        }
        section.part {
            h2 { "Set up a command line" }
            p { "On your own machine, or where " code { "slapos configure client" } " asks for it:" }
            (copy(&format!("slapos configure client {options}")))
        }
        (recognised(app, visit))
        p { a.button href=(visit.to(back)) { (Icon::Back) "Back" } }
    }
}
