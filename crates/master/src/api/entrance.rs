//! The one way in: what is called, who calls, is it too much; and one line in the log for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use axum::response::Response;
use axum::{Extension, Router};
use slap_server::Problem;
use slap_server::headers::text;
use tokio::sync::Semaphore;

use super::call::{Origin, comes_from_another_site};
use super::endpoint::{Endpoint, Entry};
use super::{Api, App, Audience, Call, Verb, hateoas, json_rpc, problem, reply};
use crate::auth::Session;
use crate::domain::Caller;
use crate::server::Peer;
use crate::web;

/// Bodies up to here are read without asking, in bytes.
const SMALL_BYTES: u64 = 64 << 10;
/// Larger bodies that are read at the same time: with the largest one allowed, this bounds memory.
const LARGE_BODIES_MAX: usize = 16;
/// The longest request id that is taken over from the caller.
const ID_CHARS_MAX: usize = 64;

/// The router: every path leads to the entrance.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new().fallback(enter).with_state(app)
}

/// Turns for reading large bodies, and numbers for requests.
pub(crate) struct Large {
    turns: Semaphore,
    count: AtomicU64,
}

impl Default for Large {
    fn default() -> Self {
        Large {
            turns: Semaphore::new(LARGE_BODIES_MAX),
            count: AtomicU64::new(0),
        }
    }
}

/// What is known of a request while it is answered.
struct Visit {
    entry: Option<Entry>,
    /// Decides how refusals look, also of what is not in the table.
    room: Api,
    caller: Caller,
    /// Who signed in with this browser; looked up for pages only.
    session: Option<Session>,
    origin: Origin,
    id: String,
}

async fn enter(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let begun = Instant::now();
    let _under_way = app.metrics.begin();
    let (parts, body) = request.into_parts();
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let mut visit = Visit {
        entry: None,
        room: Api::Public,
        caller: Caller::Anonymous,
        session: None,
        origin: Origin::of(
            &peer,
            &parts.headers,
            &app.place.trusted_proxies,
            &app.place.public_url,
        ),
        id: request_id(&app, &parts.headers),
    };
    let wants_page =
        text(&parts.headers, "accept").is_some_and(|types| types.contains("text/html"));
    if wants_page {
        visit.room = Api::Web;
    }
    let theme = web::Theme::of(&parts.headers);
    let answer = answer(&app, &mut visit, parts, body).await;
    let mut response = answer.unwrap_or_else(|problem| match visit.room {
        Api::Web => web::refuse(&path, theme, visit.session.take(), &problem),
        room => refuse(&app, room, &problem),
    });
    problem::add_headers(&mut response);
    if let Ok(id) = HeaderValue::from_str(&visit.id) {
        response.headers_mut().insert("x-request-id", id);
    }
    let took = begun.elapsed();
    let status = response.status();
    app.metrics
        .answered(visit.entry.map(|entry| entry.index), status, took);
    note(&visit, &method, &path, &response, took);
    response
}

/// One line for each request: quiet for what is ordinary, so that a log at the usual level tells
/// of refusals and failures.
fn note(
    visit: &Visit,
    method: &Method,
    path: &str,
    response: &Response,
    took: std::time::Duration,
) {
    let status = response.status().as_u16();
    macro_rules! tell {
        ($level:ident) => {
            // The values are only made where somebody listens.
            tracing::$level!(
                target: "master::access",
                %method,
                path,
                status,
                bytes = response.body().size_hint().exact().unwrap_or_default(),
                microseconds = took.as_micros(),
                caller = named(visit.caller),
                from = visit.origin.address.map(tracing::field::display),
                id = visit.id,
            )
        };
    }
    match status {
        500.. => tell!(warn),
        // "Not ready" and "not found" are how clients learn of progress.
        401 | 403 | 409 | 413 | 429 => tell!(info),
        _ => tell!(debug),
    }
}

/// A caller, for the log.
fn named(caller: Caller) -> String {
    match caller {
        Caller::Anonymous => "anonymous".to_owned(),
        Caller::Person { person, .. } => format!("person-{}", person.0),
        Caller::Node(node) => format!("node-{}", node.0),
        Caller::Instance { instance, .. } => instance.to_string(),
        Caller::Master => "master".to_owned(),
    }
}

/// The caller's own id for the request if it is harmless, else one of ours.
fn request_id(app: &App, headers: &HeaderMap) -> String {
    let harmless = |id: &&str| {
        !id.is_empty()
            && id.len() <= ID_CHARS_MAX
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    match text(headers, "x-request-id").filter(harmless) {
        Some(id) => id.to_owned(),
        None => {
            let number = app.large.count.fetch_add(1, Ordering::Relaxed);
            format!("{}-{number:x}", app.run_id.get(..8).unwrap_or_default())
        }
    }
}

async fn answer(
    app: &Arc<App>,
    visit: &mut Visit,
    parts: Parts,
    body: Body,
) -> Result<Response, Problem> {
    let path = parts.uri.path();
    // Clients join a URL that ends in a slash and a path with another one (P 5.3).
    let name = path.trim_start_matches('/');
    if json_rpc::is_method_like(name) {
        visit.room = Api::JsonRpc;
    }
    let Some((verbs, parameters)) = app.table.find(name) else {
        if visit.room == Api::Web {
            // Who is lost is shown the menu.
            let secure = visit.origin.is_secure();
            visit.session = app.auth.session(&parts.headers, secure).await?;
        }
        return Err(Problem::no_such_page());
    };
    visit.room = verbs.room().unwrap_or(visit.room);
    let verb = match parts.method {
        Method::GET | Method::HEAD => Some(Verb::Get),
        Method::POST => Some(Verb::Post),
        Method::PUT => Some(Verb::Put),
        _ => None,
    };
    let Some(entry) = verb.and_then(|verb| verbs.of(verb)) else {
        let mut response = if parts.method == Method::OPTIONS {
            reply::text(Bytes::new())
        } else {
            refuse(app, visit.room, &Problem::method_not_allowed())
        };
        reply::set(&mut response, header::ALLOW, verbs.allow());
        return Ok(response);
    };
    visit.entry = Some(entry);
    let endpoint = entry.endpoint;
    if !visit.origin.is_safe() {
        return Err(Problem::forbidden(
            "This port is for proxies in front of this Master; use its https address",
        ));
    }
    if endpoint.verb != Verb::Get
        && comes_from_another_site(&parts.headers, &visit.origin, &app.place.public_url)
    {
        return Err(Problem::forbidden(
            "This Master takes no orders from pages of other sites (see the Origin header)",
        ));
    }
    visit.caller = app.auth.caller(&parts.headers, &visit.origin.peer).await?;
    if endpoint.api == Api::Web {
        let secure = visit.origin.is_secure();
        visit.session = app.auth.session(&parts.headers, secure).await?;
    }
    if endpoint.audience == Audience::SignedIn {
        match &visit.session {
            Some(session) => visit.caller = session.caller,
            None => {
                let query = parts.uri.query();
                let page = verbs.of(Verb::Get).map(|_| (name, query));
                return Ok(web::to_the_door(name, page));
            }
        }
    }
    admit(endpoint, visit)?;
    let (body, stream) = match endpoint.streamed {
        true => (Bytes::new(), body),
        false => (
            read(app, endpoint, &parts.headers, body).await?,
            Body::empty(),
        ),
    };
    let call = Call {
        endpoint,
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body,
        stream: std::sync::Mutex::new(stream),
        parameters,
        path: name.to_owned(),
        session: visit.session.clone(),
        caller: visit.caller,
        origin: visit.origin.clone(),
    };
    (endpoint.handler)(Arc::clone(app), call).await
}

/// Whether this caller may come in at all.
fn admit(endpoint: &Endpoint, visit: &Visit) -> Result<(), Problem> {
    match endpoint.audience {
        Audience::Anybody | Audience::SignedIn => Ok(()),
        Audience::Known if visit.caller == Caller::Anonymous => Err(problem::unauthenticated()),
        Audience::Known => Ok(()),
        Audience::Operators => match visit.caller {
            _ if visit.origin.is_local() => Ok(()),
            Caller::Master
            | Caller::Person {
                administrator: true,
                ..
            } => Ok(()),
            Caller::Anonymous => Err(problem::unauthenticated()),
            _ => Err(Problem::forbidden(
                "This is for administrators, and for programs on the Master's own machine",
            )),
        },
    }
}

/// The whole body, bounded.
async fn read(
    app: &App,
    endpoint: &Endpoint,
    headers: &HeaderMap,
    body: Body,
) -> Result<Bytes, Problem> {
    let limit = endpoint.body_bytes_max;
    if limit == 0 {
        return Ok(Bytes::new());
    }
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("The body cannot be read, or exceeds {limit} bytes"),
        )
    };
    let declared = text(headers, "content-length").and_then(|text| text.parse::<u64>().ok());
    if declared.is_some_and(|bytes| usize::try_from(bytes).map_or(true, |bytes| bytes > limit)) {
        return Err(too_large());
    }
    let _turn = if declared.is_none_or(|bytes| bytes > SMALL_BYTES) {
        // Nobody closes the semaphore.
        app.large.turns.acquire().await.ok()
    } else {
        None
    };
    axum::body::to_bytes(body, limit)
        .await
        .map_err(|_| too_large())
}

/// A refusal as the room shows it.
fn refuse(app: &App, api: Api, problem: &Problem) -> Response {
    match api {
        Api::Slap | Api::Public | Api::Events | Api::Cache | Api::Web => problem::page(problem),
        Api::Hateoas => hateoas::refuse(problem, &app.place.public_url),
        Api::JsonRpc => json_rpc::refuse(problem),
    }
}
