//! The dashboard: the Master as people see it. Pages are made here, whole, without a line of
//! JavaScript that they would need; what a browser does beyond that is in `assets/app.js`.
//!
//! A page is a file of its own with its part of the table of endpoints. It asks the store on behalf
//! of the person who signed in, as every other caller does: nothing is decided here.
//!
//! - [`Visit`] is what a page knows of its call: links, the form token, the present;
//! - [`layout`] is the frame around every page;
//! - [`parts`] are what pages are made of: tables, badges, bars, forms;
//! - [`assets`] and [`icon`] are the look.

mod account;
mod assets;
mod audit;
mod form;
mod health;
mod icon;
mod layout;
mod overview;
#[allow(unused_imports)] // some parts wait for their pages
mod parts;
mod projects;
mod servers;
mod services;
mod sign_in;
mod software;
#[cfg(test)]
mod tests;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use form_urlencoded::Serializer;
use maud::{Markup, html};
use slap::ReleaseUrl;
use slap_server::{Fields, Problem};

use crate::api::endpoint::{Endpoint, Handler};
use crate::api::{Api, App, Call, reply};
use crate::auth::Session;
use crate::domain::{Caller, Timestamp};
use crate::store::StoreError;
use icon::Icon;
use layout::Page;

/// The pages, each with its part of the table.
pub(crate) const PAGES: &[&[Endpoint]] = &[
    assets::ENDPOINTS,
    sign_in::ENDPOINTS,
    overview::ENDPOINTS,
    services::ENDPOINTS,
    servers::ENDPOINTS,
    software::ENDPOINTS,
    projects::ENDPOINTS,
    audit::ENDPOINTS,
    health::ENDPOINTS,
    account::ENDPOINTS,
];

/// The largest form people send, in bytes.
const FORM_BYTES_MAX: usize = 1 << 20;

/// A page for whoever signed in.
const fn page(name: &'static str, handler: Handler) -> Endpoint {
    Endpoint::get(Api::Web, name, handler).signed_in()
}

/// A form of whoever signed in.
const fn form(name: &'static str, handler: Handler) -> Endpoint {
    Endpoint::post(Api::Web, name, handler)
        .signed_in()
        .up_to(FORM_BYTES_MAX)
}

/// Nothing is loaded from elsewhere, no page runs but our own script, no other site frames it or
/// gets its forms.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// The look a person chose; the browser's own when it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Theme {
    /// As the system has it.
    #[default]
    System,
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

/// The cookie that remembers it. No secret: the script of the pages sets it.
const THEME_COOKIE: &str = "theme";

impl Theme {
    /// The choice that came with a request.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let pairs = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|pairs| pairs.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        for (name, value) in pairs {
            match (name, value) {
                (THEME_COOKIE, "light") => return Theme::Light,
                (THEME_COOKIE, "dark") => return Theme::Dark,
                _ => {}
            }
        }
        Theme::System
    }

    /// The word for the page; none for the system's.
    fn as_str(self) -> Option<&'static str> {
        match self {
            Theme::System => None,
            Theme::Light => Some("light"),
            Theme::Dark => Some("dark"),
        }
    }
}

/// What a page knows of the call it answers.
pub(crate) struct Visit {
    /// Who is signed in.
    session: Option<Session>,
    /// The path that is shown, without its first slash.
    path: String,
    /// What leads from it to the root, so that this Master works below a path of a proxy.
    up: String,
    theme: Theme,
    /// What has just been done, as a word in the address.
    done: String,
    /// The present.
    now: Timestamp,
}

impl Visit {
    fn of(app: &App, call: &Call) -> Self {
        Visit {
            session: call.session.clone(),
            up: up(&call.path),
            path: call.path.clone(),
            theme: Theme::of(&call.headers),
            done: field(&call.arguments(), "done"),
            now: app.store.clock().now(),
        }
    }

    /// A link to a path of this Master, which has no slash at its beginning.
    fn to(&self, path: &str) -> String {
        match (self.up.as_str(), path) {
            ("", "") => "./".to_owned(),
            (up, path) => format!("{up}{path}"),
        }
    }

    /// A link to a path with arguments; empty ones are left out.
    fn to_with(&self, path: &str, arguments: &[(&str, &str)]) -> String {
        let given = arguments.iter().filter(|(_, text)| !text.is_empty());
        let query = Serializer::new(String::new()).extend_pairs(given).finish();
        match query.as_str() {
            "" => self.to(path),
            query => format!("{}?{query}", self.to(path)),
        }
    }

    /// Who is signed in. Only a page for everybody has nobody.
    fn session(&self) -> Result<&Session, Problem> {
        let nobody = || Problem::forbidden("Sign in first");
        self.session.as_ref().ok_or_else(nobody)
    }

    /// Whether an administrator is signed in.
    fn is_administrator(&self) -> bool {
        let caller = self.session.as_ref().map(|session| session.caller);
        matches!(
            caller,
            Some(Caller::Person {
                administrator: true,
                ..
            })
        )
    }

    /// The field that every form has: pages of others cannot send it.
    fn form_token(&self) -> Markup {
        let token = self.session.as_ref().map(Session::form_token);
        html! {
            @if let Some(token) = token {
                input type="hidden" name="form_token" value=(token);
            }
        }
    }

    /// The fields of a form that a page of ours gave to this browser.
    fn form<'a>(&self, call: &'a Call) -> Result<Fields<'a>, Problem> {
        let form = call.form();
        if self
            .session()?
            .sent(form.get("form_token").unwrap_or_default())
        {
            return Ok(form);
        }
        Err(Problem::forbidden(
            "This form is out of date: go back, load the page again, and send it once more",
        ))
    }

    /// A page of this title.
    fn page(&self, title: impl Into<String>) -> Page<'_> {
        Page::new(self, title.into())
    }

    /// Sends the browser on. `done` is one of [`layout::DONE`], or empty.
    fn go(&self, path: &str, done: &str) -> Response {
        redirect(&self.to_with(path, &[("done", done)]))
    }
}

/// What leads from a path to the root.
fn up(path: &str) -> String {
    /// Deeper paths are none of ours.
    const DEEP: usize = 32;
    "../".repeat(path.matches('/').count().min(DEEP))
}

/// Of a field people fill in: what is in it, without white space around it.
fn field(form: &Fields<'_>, name: &str) -> String {
    form.get(name).unwrap_or_default().trim().to_owned()
}

/// The address of a release as people type it, or a sentence about what is wrong with it.
fn release(typed: &str) -> Result<ReleaseUrl, String> {
    match ReleaseUrl::new(typed) {
        Ok(release) if typed.starts_with('/') || typed.contains("://") => Ok(release),
        Ok(_) => Err(
            "This is no address of a release: it begins with https://, or is a path on the \
                      servers such as /opt/shop/software.cfg."
                .to_owned(),
        ),
        Err(mistake) => Err(sentence(&mistake.to_string())),
    }
}

/// HTML.
fn answer(status: StatusCode, markup: Markup) -> Response {
    private(reply::with(
        status,
        slap_server::PAGE_TYPE,
        markup.into_string(),
    ))
}

/// Sends the browser to another page.
fn redirect(place: &str) -> Response {
    let mut response = reply::text("");
    *response.status_mut() = StatusCode::SEE_OTHER;
    // Paths and references of ours, and what is percent-encoded: it is always a header's text.
    let place = HeaderValue::from_str(place).unwrap_or(HeaderValue::from_static("./"));
    response.headers_mut().insert(header::LOCATION, place);
    private(response)
}

/// The headers of what is for one person's eyes.
fn private(mut response: Response) -> Response {
    reply::set(&mut response, header::CACHE_CONTROL, "no-store");
    reply::set(&mut response, header::CONTENT_SECURITY_POLICY, POLICY);
    reply::set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    reply::set(&mut response, header::X_FRAME_OPTIONS, "DENY");
    // The link that sets a password must not be told to other sites. (With no-referrer, browsers
    // would also hide from us that a form is our own.)
    reply::set(&mut response, header::REFERRER_POLICY, "same-origin");
    response
}

/// Adds a cookie.
fn with_cookie(mut response: Response, cookie: &str) -> Result<Response, Problem> {
    let value = HeaderValue::from_str(cookie).map_err(Problem::internal)?;
    response.headers_mut().append(header::SET_COOKIE, value);
    Ok(response)
}

/// Leads whoever has to sign in first to the door, and from there back to the page, if it is one.
pub(crate) fn to_the_door(path: &str, page: Option<(&str, Option<&str>)>) -> Response {
    let next = match page {
        Some((page, Some(query))) => format!("{page}?{query}"),
        Some((page, None)) => page.to_owned(),
        None => String::new(),
    };
    let door = format!("{}login", up(path));
    if next.is_empty() {
        return redirect(&door);
    }
    let query = Serializer::new(String::new())
        .append_pair("next", &next)
        .finish();
    redirect(&format!("{door}?{query}"))
}

/// A refusal as a page, with the menu for who is signed in.
pub(crate) fn refuse(
    path: &str,
    theme: Theme,
    session: Option<Session>,
    problem: &Problem,
) -> Response {
    let path = path.trim_start_matches('/');
    let visit = Visit {
        session,
        path: path.to_owned(),
        up: up(path),
        theme,
        done: String::new(),
        now: Timestamp(0),
    };
    let (title, next) = match problem.status {
        StatusCode::NOT_FOUND => (
            "Nothing here",
            "It may have been removed, or it is not for you to see.",
        ),
        StatusCode::FORBIDDEN => ("Not allowed", ""),
        StatusCode::CONFLICT => ("Not possible now", ""),
        StatusCode::TOO_MANY_REQUESTS => ("Too many attempts", ""),
        status if status.is_server_error() => ("This did not work", "Nothing was lost. Try again."),
        _ => ("This cannot be done", ""),
    };
    // That one speaks to programs.
    let text = match problem.text == Problem::no_such_page().text {
        true => "There is no such page.".to_owned(),
        false => sentence(&problem.text),
    };
    visit.page(title).status(problem.status).show(html! {
        div.empty {
            (Icon::Alert)
            p role="alert" { (text) }
            @if !next.is_empty() { p.muted { (next) } }
            p { a.button href=(visit.to("")) { "Overview" } }
        }
    })
}

/// What is said at a form whose wish was refused, with the status of the page; other errors are none
/// of the form's.
fn told(error: StoreError) -> Result<(StatusCode, String), Problem> {
    let problem = Problem::from(error);
    match problem.status {
        StatusCode::BAD_REQUEST
        | StatusCode::NOT_FOUND
        | StatusCode::CONFLICT
        | StatusCode::TOO_MANY_REQUESTS => Ok((problem.status, sentence(&problem.text))),
        _ => Err(problem),
    }
}

/// A text of the store as a sentence: they begin small and end without a stop.
fn sentence(text: &str) -> String {
    let mut letters = text.trim().chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    let mut sentence = first.unwrap_or_default() + letters.as_str();
    if !sentence.ends_with(['.', '!', '?', ':']) {
        sentence.push('.');
    }
    sentence
}
