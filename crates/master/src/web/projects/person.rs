//! A person, for administrators.

use std::sync::Arc;

use axum::response::Response;
use maud::{Markup, html};
use slap_server::Problem;

use super::super::layout::{Page, Section};
use super::super::parts::{
    Badge, Column, Confirm, Table, age, confirm, copy, empty, facts, hint, moment, section,
};
use super::super::{Icon, Visit, field};
use super::{PATH, PEOPLE, role};
use crate::api::{App, Call};
use crate::domain::{Login, TokenPurpose};
use crate::store::{NewToken, PersonRecord, TOKEN_LIFE};

const COLUMNS: &[Column] = &[Column::words("Project"), Column::words("Role")];

/// How it stands with somebody.
pub(super) fn state(person: &PersonRecord) -> Markup {
    html! {
        span.states {
            @if person.disabled_at.is_some() { (Badge::DISABLED) }
            @else if !person.has_password { (Badge::NO_PASSWORD) }
            @else { (Badge::ACTIVE) }
            @if person.administrator { (Badge::ADMINISTRATOR) }
        }
    }
}

/// The person a call is about.
async fn subject(app: &App, call: &Call) -> Result<PersonRecord, Problem> {
    let login: Login = call
        .parameter("login")
        .parse()
        .map_err(|_| Problem::not_found("There is no such person"))?;
    Ok(app.store.person_by_login(call.caller, login).await?)
}

fn path(person: &PersonRecord, below: &str) -> String {
    match below {
        "" => format!("{PEOPLE}/{}", person.login),
        below => format!("{PEOPLE}/{}/{below}", person.login),
    }
}

fn page<'a>(visit: &'a Visit, title: &str) -> Page<'a> {
    visit
        .page(title)
        .section(Section::Projects)
        .below(PATH, "Projects")
        .below(PEOPLE, "People")
}

/// Who it is, and what may be done about it.
pub(super) async fn show(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let person = subject(&app, &call).await?;
    let projects = app.store.memberships(call.caller, person.key).await?;
    let mut table = Table::new("Projects", COLUMNS);
    for project in &projects {
        table.row(vec![
            html! {
                a href=(visit.to(&format!("{PATH}/{}", project.key))) { (project.title) }
                span.reference { (project.key) }
                @if project.closed_at.is_some() { " " (Badge::CLOSED) }
            },
            role(project.role),
        ]);
    }
    let of_projects = match table.is_empty() {
        true => empty(
            Icon::Projects,
            "In no project",
            &html! { p { "The managers of a project add people by their login names." } },
        ),
        false => html! { (table) },
    };
    let is_disabled = person.disabled_at.is_some();
    let to = |below: &str| visit.to(&path(&person, below));
    Ok(page(&visit, &person.name)
        .beside(state(&person))
        .show(html! {
            (facts(&[
                ("Login name", html! { code { (person.login) } }),
                    ("Known", age(visit.now, person.created_at)),
                ("Signs in", match person.disabled_at {
                    Some(at) => html! { "not since " (age(visit.now, at)) },
                    None if person.has_password => html! { "with a password" },
                    None => html! { "not yet: it has set no password" },
                }),
            ]))
            (section("projects", "Projects", html! {}, &of_projects))
            section.part {
                h2 { "Access" }
                div.card {
                    div.buttons {
                        @if !is_disabled {
                            form method="post" action=(to("link")) {
                                (visit.form_token())
                                button { (Icon::Key) "Link to set a password" }
                            }
                        }
                        a.button href=(to("administrator")) data-asks {
                            (Icon::Shield)
                            @if person.administrator { "Administrates no more" }
                            @else { "Make an administrator" }
                        }
                        @if is_disabled {
                            a.button href=(to("access")) data-asks { (Icon::Yes) "Let in again" }
                        } @else {
                            a.button.grave href=(to("access")) data-asks { (Icon::Lock) "Lock out" }
                        }
                    }
                }
            }
        }))
}

/// Makes a link by which it sets a password, and shows it, once.
pub(super) async fn link(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    visit.form(&call)?;
    let person = subject(&app, &call).await?;
    link_to(&app, &call, &visit, person.login).await
}

/// As [`link`], for somebody.
pub(super) async fn link_to(
    app: &App,
    call: &Call,
    visit: &Visit,
    login: Login,
) -> Result<Response, Problem> {
    let person = app.store.person_by_login(call.caller, login).await?;
    let new = NewToken {
        purpose: TokenPurpose::Password,
        person: person.key,
        project: None,
        life: TOKEN_LIFE,
    };
    let issued = app.store.create_token(call.caller, new).await?;
    let link = format!("{}/password?token={}", app.place.public_url, issued.token);
    let page = page(visit, "Link to set a password").below(&path(&person, ""), person.name.clone());
    Ok(page.show(html! {
        section.part {
            p { "Give this to " span.strong { (person.name) } ", and to nobody else:" }
            (copy(&link))
            (hint(format!(
                "It works once, until {}, and is not shown again. Whoever has it can sign in as {}.",
                moment(issued.expires_at), person.login,
            )))
        }
        p { a.button href=(visit.to(&path(&person, ""))) { (Icon::Back) "Back" } }
    }))
}

/// Asks before somebody administrates the Master, or does so no more.
pub(super) async fn ask_administrator(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let person = subject(&app, &call).await?;
    let (title, text, verb) = match person.administrator {
        true => (
            "Administrates no more?",
            "It keeps its projects and services.",
            "Take it away",
        ),
        false => (
            "Make an administrator?",
            "Administrators see and change everything on this Master: people, projects, servers, \
             services.",
            "Make an administrator",
        ),
    };
    let to = if person.administrator { "0" } else { "1" };
    ask(
        &visit,
        &person,
        title,
        &Confirm {
            text,
            verb,
            back: &path(&person, ""),
            is_grave: true,
        },
        to,
    )
}

/// Asks before somebody is locked out, or let in again.
pub(super) async fn ask_access(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let person = subject(&app, &call).await?;
    let is_disabled = person.disabled_at.is_some();
    let (title, text, verb) = match is_disabled {
        true => (
            "Let this person in again?",
            "Its password and its certificates are good again.",
            "Let in",
        ),
        false => (
            "Lock this person out?",
            "Nothing of it is accepted any more: password, browsers, certificates, tokens. Its \
             services go on.",
            "Lock out",
        ),
    };
    let to = if is_disabled { "1" } else { "0" };
    ask(
        &visit,
        &person,
        title,
        &Confirm {
            text,
            verb,
            back: &path(&person, ""),
            is_grave: !is_disabled,
        },
        to,
    )
}

/// The question carries what is wanted, so that an old page cannot turn it round.
fn ask(
    visit: &Visit,
    person: &PersonRecord,
    title: &str,
    question: &Confirm<'_>,
    wanted: &str,
) -> Result<Response, Problem> {
    let page = page(visit, title).below(&path(person, ""), person.name.clone());
    Ok(page.show(confirm(
        visit,
        question,
        &html! {
            p { (person.name) " (" (person.login) ")" }
            input type="hidden" name="wanted" value=(wanted);
        },
    )))
}

/// What a question asked for.
fn wanted(visit: &Visit, call: &Call) -> Result<bool, Problem> {
    let form = visit.form(call)?;
    match field(&form, "wanted").as_str() {
        "1" => Ok(true),
        "0" => Ok(false),
        _ => Err(Problem::bad_request("This form is not complete")),
    }
}

/// Has somebody administrate the Master, or no more.
pub(super) async fn set_administrator(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let wanted = wanted(&visit, &call)?;
    let person = subject(&app, &call).await?;
    let place = path(&person, "");
    app.store
        .set_administrator(call.caller, person.login, wanted)
        .await?;
    Ok(visit.go(&place, "person"))
}

/// Locks somebody out, or lets it in again.
pub(super) async fn set_access(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let is_let_in = wanted(&visit, &call)?;
    let person = subject(&app, &call).await?;
    let place = path(&person, "");
    app.store
        .set_disabled(call.caller, person.login, !is_let_in)
        .await?;
    Ok(visit.go(&place, "person"))
}
