//! Where a request is answered: here, by another Master, or by a short-cut of the proxy.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;
use slap::document::InstanceDocument;
use slap::{InstanceState, Value, python};

use super::{App, Call, Problem};
use crate::domain::{Instance, Request};
use crate::forward::{ForwardError, Forwarder, OtherMaster};

/// Releases that the proxy answers for itself (P 1.4.4).
const WEB_FRONTEND: &str =
    "http://git.erp5.org/gitweb/slapos.git/blob_plain/HEAD:/software/apache-frontend/software.cfg";
const KVM_FRONTEND: &str = "http://git.erp5.org/gitweb/slapos.git/blob_plain/refs/tags/slapos-0.92:/software/kvm/software.cfg";

/// What answers a request.
pub(super) enum Placed {
    /// An instance here.
    Here(Box<Instance>),
    /// An instance at another Master.
    There {
        /// That Master's URL.
        master: String,
        /// What it answered.
        document: Box<InstanceDocument>,
    },
    /// A front-end that is the thing itself: nothing is allocated.
    Frontend(Frontend),
}

/// The answer of a short-cut.
#[derive(Debug, PartialEq)]
pub(super) struct Frontend {
    /// What it calls itself where a partition would be named.
    pub(super) name: String,
    /// How to reach what was to be published.
    pub(super) connection: BTreeMap<String, Value>,
}

/// Carries out a request, wherever it belongs.
pub(super) async fn place(
    app: &Arc<App>,
    call: &Call,
    request: Request,
) -> Result<Placed, Problem> {
    let named = app.forwarder.named(&request, &call.base_url())?;
    let master = match named {
        Some(master) => Some(master),
        // A title that is here already stays here.
        None => match app.forwarder.listed(&request) {
            Some(master) if !app.store.is_known(&request)? => Some(master),
            _ => None,
        },
    };
    if let Some(master) = master {
        return forward(app, master, &request).await;
    }
    if let Some(frontend) = frontend(&request) {
        return Ok(Placed::Frontend(frontend));
    }
    let instance = app.store.request(Arc::new(request)).await?;
    Ok(Placed::Here(Box::new(instance)))
}

async fn forward(app: &App, master: &OtherMaster, request: &Request) -> Result<Placed, Problem> {
    let title = Forwarder::title(request).map_err(ForwardError::from)?;
    let url = master.url.clone();
    let destroys = request.state == Some(InstanceState::Destroyed);
    if !destroys {
        // Before it is asked: whatever happens in between, we know where something may be.
        app.store
            .remember_forwarded(title.as_str().to_owned(), url.clone())
            .await?;
    }
    let answer = app.forwarder.ask(master, request).await;
    let gone = match &answer {
        Ok(_) | Err(ForwardError::NotReady { .. }) => destroys,
        Err(_) => false,
    };
    if gone {
        app.store
            .forget_forwarded(title.as_str().to_owned(), url.clone())
            .await?;
    }
    Ok(Placed::There {
        master: url,
        document: Box::new(answer?),
    })
}

impl From<ForwardError> for Problem {
    fn from(error: ForwardError) -> Self {
        use slap_client::Error as Client;
        // Nobody there: the status for an origin that cannot be reached.
        let unreachable = StatusCode::from_u16(523).unwrap_or(StatusCode::BAD_GATEWAY);
        let status = match &error {
            ForwardError::NotListed { .. } | ForwardError::NoCertificate { .. } => {
                StatusCode::NOT_FOUND
            }
            ForwardError::Title(_) => StatusCode::BAD_REQUEST,
            ForwardError::NotReady { .. } => StatusCode::REQUEST_TIMEOUT,
            ForwardError::CutShort { .. } => StatusCode::SERVICE_UNAVAILABLE,
            ForwardError::Client(error) => match error {
                Client::NotFound { .. } => StatusCode::NOT_FOUND,
                Client::NotReady { .. } => StatusCode::REQUEST_TIMEOUT,
                Client::Refused { status, .. } => {
                    StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY)
                }
                Client::Connection { .. } | Client::Tls { .. } => unreachable,
                _ => StatusCode::BAD_GATEWAY,
            },
        };
        Problem::new(status, error.to_string())
    }
}

/// The short-cut that answers a request, if one does.
fn frontend(request: &Request) -> Option<Frontend> {
    if !request.shared {
        return None;
    }
    let parameter = |name: &str| request.parameters.0.get(name);
    match (request.release.as_str(), request.software_type.as_str()) {
        (WEB_FRONTEND, "default" | "RootSoftwareInstance") => {
            let url = parameter("url")?.as_str()?;
            let (_, rest) = url.split_once("://")?;
            let domain = rest.split(['/', '?', '#']).next().unwrap_or_default();
            Some(Frontend {
                name: format!("Fake frontend for {url}"),
                connection: BTreeMap::from([
                    ("domain".to_owned(), Value::text(domain)),
                    ("secure_access".to_owned(), Value::text(url)),
                ]),
            })
        }
        (KVM_FRONTEND, "frontend") => {
            let host = parameter("host")?.as_str()?;
            let port = parameter("port")?;
            let host = if host.contains(':') && !host.starts_with('[') {
                format!("[{host}]")
            } else {
                host.to_owned()
            };
            let url = format!("https://{host}:{}/", python::str(port));
            Some(Frontend {
                name: format!("Fake KVM VNC frontend for {url}"),
                connection: BTreeMap::from([
                    ("domainname".to_owned(), Value::String(host)),
                    ("path".to_owned(), Value::text("/")),
                    ("port".to_owned(), port.clone()),
                    ("url".to_owned(), Value::String(url)),
                ]),
            })
        }
        _ => None,
    }
}
