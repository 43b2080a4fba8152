//! Account: who one is here, what acts for one, and where one is signed in.

mod agent;
mod certificates;
mod sessions;
#[cfg(test)]
mod tests;
mod tokens;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use maud::html;
use slap_server::{Fields, Problem};

use super::layout::{Page, Section};
use super::parts::{self, Badge, Field, facts, moment, problem};
use super::sign_in::{browser, new_password, told, typed};
use super::{Icon, Visit, form, page, with_cookie};
use crate::api::endpoint::{Endpoint, handler};
use crate::api::{App, Call};
use crate::domain::Role;

pub(super) use certificates::{issued, table as certificate_table};

const PATH: &str = "account";
const PASSWORD: &str = "account/password";

pub(super) const ENDPOINTS: &[Endpoint] = &[
    page(PATH, handler!(account)),
    page(PASSWORD, handler!(password)),
    form(PASSWORD, handler!(change_password)),
    page(certificates::PATH, handler!(certificates::list)),
    form(certificates::PATH, handler!(certificates::issue)),
    page(certificates::REVOKE, handler!(certificates::ask)),
    form(certificates::REVOKE, handler!(certificates::revoke)),
    page(tokens::PATH, handler!(tokens::list)),
    form(tokens::PATH, handler!(tokens::make)),
    page(tokens::REVOKE, handler!(tokens::ask)),
    form(tokens::REVOKE, handler!(tokens::revoke)),
    page(sessions::PATH, handler!(sessions::list)),
    form(sessions::PATH, handler!(sessions::end_others)),
    form(sessions::END, handler!(sessions::end)),
];

/// A page of this section, with its subheader.
fn of_account<'a>(visit: &'a Visit, title: &str) -> Page<'a> {
    visit
        .page(title)
        .section(Section::Account)
        .tab(PATH, "Account")
        .tab(certificates::PATH, "Certificates")
        .tab(tokens::PATH, "Tokens")
        .tab(sessions::PATH, "Sessions")
        .tab(PASSWORD, "Password")
}

/// Who one is.
async fn account(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let session = visit.session()?;
    let person = app.store.person(session.caller, session.person).await?;
    let projects = app.store.projects(session.caller, None).await?;
    let mine = projects.iter().filter(|project| project.role.is_some());
    Ok(of_account(&visit, "Account").show(html! {
        (facts(&[
            ("Name", html! { (person.name) }),
            ("Login name", html! { code { (person.login) } }),
            ("Rights", html! {
                @if visit.is_administrator() { (Badge::ADMINISTRATOR) " of this Master" }
                @else { "As your projects give them to you" }
            }),
            ("Projects", html! {
                @for (index, project) in mine.enumerate() {
                    @if index > 0 { br; }
                    (project.title) " (" (project.key) ")"
                    @if project.role == Some(Role::Manager) { ", which you manage" }
                }
                @if !projects.iter().any(|project| project.role.is_some()) {
                    span.muted { "None: a manager of one has to add you." }
                }
            }),
            ("Here since", html! { (moment(person.created_at)) }),
        ]))
        p.muted {
            "The command line acts for you with a certificate: "
            a href=(visit.to(tokens::PATH)) { "make a token" } " and type "
            code { "slapos configure client" } "."
        }
    }))
}

fn password_page(visit: &Visit, status: StatusCode, said: &str) -> Response {
    let login = visit.session.as_ref().map(|session| session.login.as_str());
    of_account(visit, "Password").status(status).show(html! {
        (problem(said))
        form.card method="post" action=(visit.to(PASSWORD)) {
            (visit.form_token())
            // Password managers want to know whose it is.
            input type="text" name="login" value=[login] autocomplete="username" hidden;
            (parts::field(&Field {
                name: "present",
                label: "Present password",
                kind: "password",
                autocomplete: "current-password",
                required: true,
                ..Field::default()
            }))
            (new_password(false))
            (parts::hint("Your other browsers are signed out then."))
            div.buttons { button.main { (Icon::Lock) "Change password" } }
        }
    })
}

/// Asks for a new password.
async fn password(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    Ok(password_page(&visit, StatusCode::OK, ""))
}

/// Changes the password.
async fn change_password(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let form: Fields<'_> = visit.form(&call)?;
    let (present, new) = (typed(&form, "present"), typed(&form, "password"));
    if new != typed(&form, "again") {
        let text = "The two new passwords are not the same.";
        return Ok(password_page(&visit, StatusCode::BAD_REQUEST, text));
    }
    let session = visit.session()?;
    let from = browser(&call);
    match app.auth.change_password(session, present, new, from).await {
        Ok(person) => {
            let cookie = person.set_cookie(call.origin.is_secure());
            with_cookie(visit.go(PATH, "password"), &cookie)
        }
        Err(crate::auth::SignInError::Wrong) => {
            let text = "This is not your present password.";
            Ok(password_page(&visit, StatusCode::FORBIDDEN, text))
        }
        Err(error) => {
            let (status, text) = told(error)?;
            Ok(password_page(&visit, status, &text))
        }
    }
}
