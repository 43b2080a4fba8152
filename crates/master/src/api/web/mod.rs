//! For people, and for programs that are not known yet: pages without a line of JavaScript, and the
//! doors through which one-time tokens lead (P 5.2–5.4).

mod people;
mod register;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use slap_server::{PAGE_TYPE, Problem, escape};

use super::endpoint::{Endpoint, handler};
use super::{Api, App, Call, reply};
use crate::auth::Session;

/// The largest form people send, in bytes.
const FORM_BYTES_MAX: usize = 16 << 10;

const fn page(name: &'static str, handler: super::endpoint::Handler) -> Endpoint {
    Endpoint::get(Api::Web, name, handler).public()
}

const fn form(name: &'static str, handler: super::endpoint::Handler) -> Endpoint {
    Endpoint {
        body_bytes_max: FORM_BYTES_MAX,
        ..Endpoint::post(Api::Web, name, handler).public()
    }
}

/// Who calls is not asked at the door: these are the doors. A page asks for the session.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    page("", handler!(people::home)),
    page("login", handler!(people::login)),
    form("login", handler!(people::sign_in)),
    form("logout", handler!(people::sign_out)),
    page("password", handler!(people::password)),
    form("password", handler!(people::set_password)),
    page("servers", handler!(people::servers)),
    form("servers", handler!(people::make_token)),
    page("style.css", handler!(people::style)),
    page("ca.crt", handler!(register::authority)),
    form("Person_getCertificate", handler!(register::person)),
    form("Person_requestComputer", handler!(register::node)),
    Endpoint::get(
        Api::Web,
        "hateoas/computer_module/Base_getComputerToken",
        handler!(register::node_token),
    ),
];

/// Nothing is loaded from elsewhere, nothing runs, no other site frames it or gets its forms.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// A page. `body` is HTML; `title` is text.
fn html(status: StatusCode, title: &str, body: &str) -> Response {
    let title = escape(title);
    let text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} – SlapOS Master</title>\n<link rel=\"stylesheet\" href=\"style.css\">\n\
         </head>\n<body>\n<main>\n<h1>{title}</h1>\n{body}</main>\n</body>\n</html>\n"
    );
    private(reply::with(status, PAGE_TYPE, text))
}

/// Sends the browser to another page.
fn go_to(place: &'static str) -> Response {
    let mut response = reply::text("");
    *response.status_mut() = StatusCode::SEE_OTHER;
    reply::set(&mut response, header::LOCATION, place);
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

/// Whether the browser came through HTTPS, to us or to a proxy.
fn is_secure(call: &Call) -> bool {
    call.origin.base_url.starts_with("https://")
}

/// Who is signed in.
async fn session(app: &App, call: &Call) -> Result<Option<Session>, Problem> {
    Ok(app.auth.session(&call.headers, is_secure(call)).await?)
}
