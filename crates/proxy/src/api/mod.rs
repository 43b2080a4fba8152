//! HTTP in, HTTP out: parses what comes, asks the store, and answers in the proxy's bytes.

mod cache;
mod fields;
mod hateoas;
mod json;
mod json_rpc;
mod page;
mod problem;
mod reports;
mod request;
mod slap;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;

use crate::domain::Place;
use crate::forward::{Forwarder, OtherMaster};
use crate::store::Store;
use ::slap::{NodeId, PartitionId};
use cache::{Documents, Replies};
use fields::Fields;
use problem::Problem;
use reports::Reports;

/// Largest body that is read.
const BODY_BYTES_MAX: usize = 16 << 20;

/// What the handlers work with.
pub(crate) struct App {
    /// The database.
    pub(crate) store: Store,
    /// Where requests go that name no node.
    pub(crate) default_node: NodeId,
    /// Software products: name and release.
    pub(crate) products: Vec<(String, String)>,
    /// Other Masters.
    pub(crate) forwarder: Forwarder,
    /// A text that differs between two starts.
    pub(crate) run_id: String,
    /// Ready documents of nodes and partitions.
    pub(crate) documents: Documents,
    /// What nodes reported.
    pub(crate) reports: Reports,
    /// Replies to requests that changed nothing.
    pub(crate) replies: Replies,
}

impl App {
    pub(crate) fn new(
        store: Store,
        default_node: NodeId,
        products: Vec<(String, String)>,
        masters: Vec<OtherMaster>,
        run_id: String,
    ) -> Self {
        App {
            store,
            default_node,
            products,
            forwarder: Forwarder::new(masters),
            run_id,
            documents: Documents::default(),
            reports: Reports::default(),
            replies: Replies::default(),
        }
    }
}

/// The router: one entrance, since the wire's paths are names of methods.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new().fallback(entrance).with_state(app)
}

/// A request as the handlers see it.
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    /// A header's value, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The root URL under which the caller reaches this Master, without a slash at its end.
    pub(crate) fn base_url(&self) -> String {
        let first = |name: &str| {
            self.header(name)
                .and_then(|value| value.split(',').next())
                .map(str::trim)
                .filter(|value| !value.is_empty())
        };
        let scheme = first("x-forwarded-proto").unwrap_or("http");
        let host = first("x-forwarded-host")
            .or_else(|| self.header("host"))
            .unwrap_or("localhost");
        let prefix = first("x-forwarded-prefix").unwrap_or_default();
        format!("{scheme}://{host}{}", prefix.trim_end_matches('/'))
    }

    /// The partition that calls, by the header `Authorization: X-SlapPartition …` (P 1.2).
    pub(crate) fn caller(&self) -> Result<Option<Place>, Problem> {
        let Some(value) = self
            .header("authorization")
            .and_then(|value| value.strip_prefix("X-SlapPartition"))
        else {
            return Ok(None);
        };
        let mut node = None;
        let mut partition = None;
        for pair in value.split(',') {
            match pair.trim().split_once('=') {
                Some(("computer_id", value)) => node = Some(value.trim()),
                Some(("computer_partition_id", value)) => partition = Some(value.trim()),
                _ => {}
            }
        }
        match (node, partition) {
            (Some(node), Some(partition)) => Ok(Some(Place {
                node: NodeId::new(node).map_err(Problem::bad_request)?,
                partition: PartitionId::new(partition).map_err(Problem::bad_request)?,
            })),
            _ => Err(Problem::bad_request(
                "The authorization header names no partition; \
                 expected `X-SlapPartition computer_id=…, computer_partition_id=…`",
            )),
        }
    }

    /// As [`Call::caller`], refusing a partition nobody has described.
    pub(crate) fn known_caller(&self, app: &App) -> Result<Option<Place>, Problem> {
        let caller = self.caller()?;
        if let Some(place) = &caller
            && !app
                .store
                .has_partition(place.node.as_str(), place.partition.as_str())?
        {
            return Err(Problem::bad_request(format!(
                "No partition matching the authorization header: ({} / {})",
                place.node, place.partition
            )));
        }
        Ok(caller)
    }

    /// The fields of a form.
    pub(crate) fn form(&self) -> Fields<'_> {
        Fields::parse(&self.body)
    }

    /// The fields of the query string.
    pub(crate) fn arguments(&self) -> Fields<'_> {
        Fields::parse(self.query.as_bytes())
    }
}

async fn entrance(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut call = Call {
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: Bytes::new(),
    };
    if comes_from_another_site(&call) {
        return Problem::forbidden(
            "This Master takes no orders from pages of other sites (see the Origin header)",
        )
        .into_page();
    }
    if parts.method == Method::POST {
        call.body = match axum::body::to_bytes(body, BODY_BYTES_MAX).await {
            Ok(body) => body,
            Err(_) => {
                return Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("The body cannot be read, or exceeds {BODY_BYTES_MAX} bytes"),
                )
                .into_page();
            }
        };
    }
    dispatch(&app, &parts.method, &call).await
}

/// Whether a browser sends this on behalf of a page that is not ours. Everybody on loopback is
/// trusted here, but the pages a browser shows are not everybody on loopback.
fn comes_from_another_site(call: &Call) -> bool {
    if matches!(
        call.header("sec-fetch-site"),
        Some("cross-site" | "same-site")
    ) && call.header("sec-fetch-mode") != Some("navigate")
    {
        return true;
    }
    let Some(origin) = call.header("origin") else {
        return false;
    };
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    authority.is_none() || authority != call.header("host")
}

/// The methods a path takes, as the `Allow` header lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allow {
    /// Reading.
    Get,
    /// Writing.
    Post,
}

impl Allow {
    fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Allow::Get => "OPTIONS, GET, HEAD",
            Allow::Post => "OPTIONS, POST",
        })
    }

    fn accepts(self, method: &Method) -> bool {
        match self {
            Allow::Get => *method == Method::GET || *method == Method::HEAD,
            Allow::Post => *method == Method::POST,
        }
    }
}

async fn dispatch(app: &Arc<App>, method: &Method, call: &Call) -> Response {
    let name = call.path.strip_prefix('/').unwrap_or(&call.path);
    let Some(allow) = allowed(name) else {
        return Problem::no_such_page().into_page();
    };
    if *method == Method::OPTIONS {
        let mut response = text(Bytes::new());
        response.headers_mut().insert(header::ALLOW, allow.header());
        return response;
    }
    if !allow.accepts(method) {
        let mut response = Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "The method is not allowed for the requested URL.",
        )
        .into_page();
        response.headers_mut().insert(header::ALLOW, allow.header());
        return response;
    }
    let answer = match (name, allow) {
        ("healthz", _) => app.store.counts().map(|_| text("ok\n")).map_err(Into::into),
        ("", _) => page::home(app, call),
        _ if hateoas::allowed(name).is_some() => hateoas::get(app, name, call),
        _ if json_rpc::allowed(name).is_some() => Ok(json_rpc::post(app, name, call).await),
        (_, Allow::Get) => slap::get(app, name, call),
        (_, Allow::Post) => slap::post(app, name, call).await,
    };
    answer.unwrap_or_else(Problem::into_page)
}

fn allowed(name: &str) -> Option<Allow> {
    match name {
        "" | "healthz" => Some(Allow::Get),
        _ => slap::allowed(name)
            .or_else(|| json_rpc::allowed(name))
            .or_else(|| hateoas::allowed(name)),
    }
}

/// A reply as the proxy sends all of them.
pub(crate) fn text(body: impl Into<Body>) -> Response {
    reply(StatusCode::OK, "text/html; charset=utf-8", body)
}

pub(crate) fn reply(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Body>,
) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
