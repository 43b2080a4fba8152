//! The doors: sign in, set a password by a link, sign out.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use slap_server::{Fields, Problem};

use super::parts::{Field, problem};
use super::{Icon, Visit, parts, redirect, sentence, with_cookie};
use crate::api::endpoint::{Endpoint, Handler, Verb, handler};
use crate::api::{Api, App, Call};
use crate::auth::{SignInError, SignedIn, clear_cookie, password as rules};
use crate::domain::Refusal;
use crate::store::{Browser, StoreError};

const LOGIN: &str = "login";
/// The largest form somebody unknown sends, in bytes.
const FORM_BYTES_MAX: usize = 16 << 10;

const fn door(name: &'static str, handler: Handler) -> Endpoint {
    Endpoint::get(Api::Web, name, handler).public()
}

const fn form(name: &'static str, handler: Handler) -> Endpoint {
    Endpoint::post(Api::Web, name, handler)
        .public()
        .up_to(FORM_BYTES_MAX)
}

/// Who calls is not asked at the door.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    door(LOGIN, handler!(login)),
    form(LOGIN, handler!(sign_in)),
    form("logout", handler!(sign_out)),
    door("password", handler!(password)),
    form("password", handler!(set_password)),
];

/// Of a field as it was typed: passwords may begin with white space.
pub(super) fn typed(form: &Fields<'_>, name: &str) -> String {
    form.get(name).unwrap_or_default().to_owned()
}

/// Where somebody signs in.
pub(super) fn browser(call: &Call) -> Browser {
    Browser {
        address: call.origin.address,
        agent: call.header("user-agent").unwrap_or_default().to_owned(),
    }
}

/// Where one wanted to go, if that is a page of ours: a path without a slash at its beginning.
fn next(app: &App, form: &Fields<'_>) -> String {
    let wanted = typed(form, "next");
    let path = wanted.split('?').next().unwrap_or_default();
    let page = app
        .table
        .find(path)
        .and_then(|(verbs, _)| verbs.of(Verb::Get));
    match page {
        Some(entry) if entry.endpoint.api == Api::Web => wanted,
        _ => String::new(),
    }
}

fn login_page(visit: &Visit, status: StatusCode, login: &str, next: &str, said: &str) -> Response {
    visit.page("Sign in").status(status).show(html! {
        (problem(said))
        form.card method="post" action=(visit.to(LOGIN)) {
            @if !next.is_empty() { input type="hidden" name="next" value=(next); }
            (parts::field(&Field {
                name: "login",
                label: "Login name",
                value: login,
                autocomplete: "username",
                required: true,
                autofocus: login.is_empty(),
                ..Field::default()
            }))
            (parts::field(&Field {
                name: "password",
                label: "Password",
                kind: "password",
                autocomplete: "current-password",
                required: true,
                autofocus: !login.is_empty(),
                ..Field::default()
            }))
            div.buttons { button.main { "Sign in" } }
        }
        p.muted {
            "No password yet, or forgotten? An administrator makes a link for you with "
            code { "slapos master user" } "."
        }
    })
}

/// Asks for login name and password.
async fn login(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let next = next(&app, &call.arguments());
    Ok(match &visit.session {
        Some(_) => redirect(&visit.to(&next)),
        None => login_page(&visit, StatusCode::OK, "", &next, ""),
    })
}

fn signed_in(
    visit: &Visit,
    call: &Call,
    signed_in: &SignedIn,
    next: &str,
) -> Result<Response, Problem> {
    let cookie = signed_in.set_cookie(call.origin.is_secure());
    with_cookie(redirect(&visit.to(next)), &cookie)
}

/// The status and the sentence for a refusal that belongs on the page; others are shown as problems.
pub(super) fn told(error: SignInError) -> Result<(StatusCode, String), Problem> {
    match error {
        SignInError::Wrong => Ok((StatusCode::FORBIDDEN, sentence(&error.to_string()))),
        SignInError::Password(_) => Ok((StatusCode::BAD_REQUEST, sentence(&error.to_string()))),
        SignInError::Store(StoreError::Refused(refusal @ Refusal::TooMany(_))) => Ok((
            StatusCode::TOO_MANY_REQUESTS,
            sentence(&refusal.to_string()),
        )),
        SignInError::Store(other) => Err(other.into()),
    }
}

/// Looks at login name and password.
async fn sign_in(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let form = call.form();
    let (login, password) = (typed(&form, "login"), typed(&form, "password"));
    let next = next(&app, &form);
    match app.auth.sign_in(&login, password, browser(&call)).await {
        Ok(person) => signed_in(&visit, &call, &person, &next),
        Err(error) => {
            let (status, text) = told(error)?;
            // One name is shown again as it was typed, but not a text of any length.
            let login: String = login.chars().take(100).collect();
            Ok(login_page(&visit, status, &login, &next, &text))
        }
    }
}

/// Signs out.
async fn sign_out(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    if let Some(session) = &visit.session {
        visit.form(&call)?;
        app.auth.sign_out(session).await?;
    }
    let cookie = clear_cookie(call.origin.is_secure());
    with_cookie(redirect(&visit.to(LOGIN)), &cookie)
}

/// The two fields of a new password.
pub(super) fn new_password(autofocus: bool) -> Markup {
    let hint = format!("At least {} characters.", rules::LENGTH_MIN);
    html! {
        (parts::field(&Field {
            name: "password",
            label: "New password",
            kind: "password",
            hint: &hint,
            autocomplete: "new-password",
            length_min: Some(rules::LENGTH_MIN),
            required: true,
            autofocus,
            ..Field::default()
        }))
        (parts::field(&Field {
            name: "again",
            label: "Once more",
            kind: "password",
            autocomplete: "new-password",
            required: true,
            ..Field::default()
        }))
    }
}

fn password_page(
    visit: &Visit,
    status: StatusCode,
    login: &str,
    token: &str,
    said: &str,
) -> Response {
    visit.page("Choose a password").status(status).show(html! {
        (problem(said))
        form.card method="post" action=(visit.to("password")) {
            input type="hidden" name="token" value=(token);
            (parts::field(&Field {
                name: "login",
                label: "Login name",
                value: login,
                autocomplete: "username",
                readonly: true,
                ..Field::default()
            }))
            (new_password(true))
            div.buttons { button.main { "Set password" } }
        }
    })
}

/// A link that cannot be used (any more).
fn dead_link(visit: &Visit, error: StoreError) -> Result<Response, Problem> {
    let StoreError::Refused(refusal @ Refusal::Forbidden(_)) = error else {
        return Err(error.into());
    };
    let page = visit.page("This link does not work");
    Ok(page.status(StatusCode::FORBIDDEN).show(html! {
        div.empty {
            (Icon::Key)
            p role="alert" { (sentence(&refusal.to_string())) }
            p.muted { "An administrator makes a new link with " code { "slapos master user" } "." }
            p { a.button href=(visit.to(LOGIN)) { "Sign in" } }
        }
    }))
}

/// Asks for a new password. Looking does not use the link up.
async fn password(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let token = typed(&call.arguments(), "token");
    let address = call.origin.address;
    Ok(match app.auth.password_token(&token, address).await {
        Ok(login) => password_page(&visit, StatusCode::OK, login.as_str(), &token, ""),
        Err(error) => dead_link(&visit, error)?,
    })
}

/// Sets the password and signs in.
async fn set_password(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let form = call.form();
    let (token, password) = (typed(&form, "token"), typed(&form, "password"));
    let address = call.origin.address;
    let error = if password == typed(&form, "again") {
        match app
            .auth
            .set_password(&token, password, browser(&call))
            .await
        {
            Ok(person) => return signed_in(&visit, &call, &person, ""),
            Err(error) => told(error),
        }
    } else {
        let text = "The two passwords are not the same.".to_owned();
        Ok((StatusCode::BAD_REQUEST, text))
    };
    // Whose it is comes from the token, not from the form.
    match (error, app.auth.password_token(&token, address).await) {
        (Ok((status, text)), Ok(login)) => {
            Ok(password_page(&visit, status, login.as_str(), &token, &text))
        }
        (_, Err(error)) => dead_link(&visit, error),
        (Err(problem), Ok(_)) => Err(problem),
    }
}
