//! The network cache (N 1.4), where upstream's proxy has it: `/shacache/cache` for objects,
//! `/shacache/dir` for entries. Its bodies are streams, so it has an entrance of its own.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use network_cache::{ENTRY_BODY_BYTES_MAX, NetworkCache};
use slap_server::Problem;

use super::problem::page;
use super::{App, text};

/// What is asked of the cache by this path, if it is its.
pub(crate) fn name(path: &str) -> Option<&str> {
    path.strip_prefix("/shacache/")
}

/// What there is below it.
#[derive(Clone, Copy)]
enum Thing<'a> {
    /// Where objects are given to.
    Objects,
    Object(&'a str),
    Entries(&'a str),
    /// The entries are looked through.
    Update,
}

impl Thing<'_> {
    fn of(name: &str) -> Option<Thing<'_>> {
        match name.split_once('/') {
            None if name == "cache" => Some(Thing::Objects),
            None if name == "update" => Some(Thing::Update),
            Some(("cache", "")) => Some(Thing::Objects),
            Some(("cache", sum)) if !sum.contains('/') => Some(Thing::Object(sum)),
            Some(("dir", key)) if !key.is_empty() && !key.contains('/') => {
                Some(Thing::Entries(key))
            }
            _ => None,
        }
    }

    fn allow(self) -> &'static str {
        match self {
            Thing::Objects | Thing::Update => "POST, OPTIONS",
            Thing::Object(_) | Thing::Entries(_) => "PUT, HEAD, OPTIONS, GET",
        }
    }
}

pub(crate) async fn answer(
    app: &App,
    method: &Method,
    name: &str,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let Some(thing) = Thing::of(name) else {
        return page(&Problem::no_such_page());
    };
    let answer = match &app.cache {
        None => Err(NetworkCache::absent()),
        Some(cache) => ask(cache, method, thing, headers, body).await,
    };
    let is_refused = |status| status == StatusCode::METHOD_NOT_ALLOWED;
    let mut response = answer.unwrap_or_else(|problem| page(&problem));
    if method == Method::OPTIONS || is_refused(response.status()) {
        let allow = HeaderValue::from_static(thing.allow());
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

async fn ask(
    cache: &NetworkCache,
    method: &Method,
    thing: Thing<'_>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let reads = method == Method::GET || method == Method::HEAD;
    match thing {
        _ if method == Method::OPTIONS => Ok(text(Body::empty())),
        Thing::Objects if method == Method::POST => {
            Ok(cache.take(None, headers, body).await?.response)
        }
        Thing::Object(sum) if method == Method::PUT => {
            Ok(cache.take(Some(sum), headers, body).await?.response)
        }
        Thing::Object(sum) if reads => cache.object(sum, headers).await,
        Thing::Entries(key) if reads => cache.entries(key).await,
        Thing::Entries(key) if method == Method::PUT => {
            let body = axum::body::to_bytes(body, ENTRY_BODY_BYTES_MAX).await;
            let body = body.map_err(|_| {
                let text =
                    format!("The body cannot be read, or exceeds {ENTRY_BODY_BYTES_MAX} bytes");
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text)
            })?;
            // Everybody on loopback is one.
            Ok(cache.add_entry(key, headers, &body, "").await?.response)
        }
        Thing::Update if method == Method::POST => cache.sweep().await,
        _ => Err(Problem::method_not_allowed()),
    }
}
