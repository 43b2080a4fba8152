//! HTTP in, HTTP out: parses what comes, asks the store, and answers in the proxy's bytes.

mod cache;
mod events;
mod hateoas;
mod home;
mod json_rpc;
mod problem;
mod reports;
mod request;
mod shacache;
mod slap;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;

use crate::forward::{Forwarder, OtherMaster};
use crate::store::Store;
use ::slap::{NodeId, PartitionId};
use cache::{Documents, Replies};
use events::Streams;
use network_cache::NetworkCache;
use problem::page;
use reports::Reports;
use slap_server::{Fields, PAGE_TYPE, Problem, headers};

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
    /// Who waits for changes.
    pub(crate) streams: Streams,
    /// The network cache, if it keeps one.
    pub(crate) cache: Option<NetworkCache>,
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
            streams: Streams::default(),
            cache: None,
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
    /// The root URL under which the caller reaches this Master, without a slash at its end.
    /// Everybody on loopback is trusted here, a reverse proxy there too.
    pub(crate) fn base_url(&self) -> String {
        headers::base_url(&self.headers, "http", true)
    }

    /// The partition that calls, by its header (P 1.2); one that nobody has described is refused.
    pub(crate) fn caller(&self, app: &App) -> Result<Option<(NodeId, PartitionId)>, Problem> {
        let caller = headers::partition(&self.headers)?;
        if let Some((node, partition)) = &caller
            && !app.store.has_partition(node.as_str(), partition.as_str())?
        {
            return Err(Problem::bad_request(format!(
                "No partition matching the authorization header: ({node} / {partition})"
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
    // Everybody on loopback is trusted, but the pages a browser shows are not everybody on loopback.
    if headers::comes_from_another_site(&call.headers) {
        return page(&Problem::forbidden(
            "This Master takes no orders from pages of other sites (see the Origin header)",
        ));
    }
    if let Some(name) = shacache::name(&call.path) {
        return shacache::answer(&app, &parts.method, name, &call.headers, body).await;
    }
    if parts.method == Method::POST {
        call.body = match axum::body::to_bytes(body, BODY_BYTES_MAX).await {
            Ok(body) => body,
            Err(_) => {
                return page(&Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("The body cannot be read, or exceeds {BODY_BYTES_MAX} bytes"),
                ));
            }
        };
    }
    dispatch(&app, &parts.method, &call).await
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
        return page(&Problem::no_such_page());
    };
    if *method == Method::OPTIONS {
        let mut response = text(Bytes::new());
        response.headers_mut().insert(header::ALLOW, allow.header());
        return response;
    }
    if !allow.accepts(method) {
        let mut response = page(&Problem::method_not_allowed());
        response.headers_mut().insert(header::ALLOW, allow.header());
        return response;
    }
    let answer = match (name, allow) {
        ("healthz", _) => app.store.counts().map(|_| text("ok\n")).map_err(Into::into),
        ("", _) => home::home(app, call),
        ("events", _) => events::get(app, call),
        _ if hateoas::allowed(name).is_some() => hateoas::get(app, name, call),
        _ if json_rpc::allowed(name).is_some() => Ok(json_rpc::post(app, name, call).await),
        (_, Allow::Get) => slap::get(app, name, call),
        (_, Allow::Post) => slap::post(app, name, call).await,
    };
    answer.unwrap_or_else(|problem| page(&problem))
}

fn allowed(name: &str) -> Option<Allow> {
    match name {
        "" | "healthz" | "events" => Some(Allow::Get),
        _ => slap::allowed(name)
            .or_else(|| json_rpc::allowed(name))
            .or_else(|| hateoas::allowed(name)),
    }
}

/// A reply as the proxy sends all of them.
pub(crate) fn text(body: impl Into<Body>) -> Response {
    reply(StatusCode::OK, PAGE_TYPE, body)
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
