//! Sockets for the Master's API: HTTPS with client certificates, or plain HTTP behind a proxy.
//!
//! [`Server::bind`] takes the ports (and says clearly when that is not possible),
//! [`BoundServer::serve`] answers with an axum router until it is asked to stop. Each request
//! carries a [`Peer`] in its extensions. Everything a client can do is bounded by [`Limits`].
//!
//! - `accept` waits for connections, not more of them than allowed;
//! - `connection` speaks HTTP/1.1 on one of them and watches its clocks;
//! - `stream` and `body` watch the bytes;
//! - `tls` has the certificates.

mod accept;
mod body;
mod connection;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpSocket};

use crate::pki::PeerName;

pub use tls::{ServerTls, TlsError};

/// Connections the system keeps ready while we are busy (it may allow less).
const BACKLOG: u32 = 4096;
/// Files that are open besides connections: the database, logs, other Masters.
const OTHER_FILES: u64 = 512;
/// So many connections are allowed even if the system is stingy with files.
const MIN_CONNECTIONS: u64 = 16;

/// Where to listen, and how.
#[derive(Debug, Clone)]
pub struct ListenSpec {
    /// A host name or an address; IPv6 with brackets or without.
    pub host: String,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// The certificates, or `None` for plain HTTP (behind a proxy, or for this machine only).
    pub tls: Option<Arc<ServerTls>>,
}

/// What one client, and all of them together, may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once, for each listener: one that is flooded leaves the others usable.
    /// Further ones wait until some end.
    pub connections: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the head of a request, from its first byte (and for the first one, from the
    /// connection's beginning).
    pub head: Duration,
    /// Size of the head of a request, in bytes.
    pub head_bytes: usize,
    /// For the whole body of a request, from when the router first had to wait for it; more for what
    /// comes fast enough.
    pub body: Duration,
    /// How long a connection stays open between two requests.
    pub idle: Duration,
    /// How long a client may take nothing of an answer (also of an event stream).
    pub write_stall: Duration,
    /// How long requests under way may take once the server is asked to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 16_384,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(15),
            head_bytes: 32 * 1024,
            body: Duration::from_secs(120),
            idle: Duration::from_secs(75),
            write_stall: Duration::from_secs(60),
            drain: Duration::from_secs(10),
        }
    }
}

/// Who sent a request; an extension of each request (`axum::Extension<Peer>`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Where it comes from. An IPv4 client of an IPv6 listener has its IPv4 address here.
    pub address: SocketAddr,
    /// Whom its client certificate names. The certificate was issued by one of our authorities
    /// and has not expired; whether it was revoked is not known here.
    pub certificate: Option<Arc<PeerName>>,
    /// Whether it came through TLS.
    pub tls: bool,
}

/// Why the Master cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Something else listens there.
    #[error(
        "port {port} of {host} is in use; stop what listens there (perhaps another `slapos \
         master start`), or listen on another port"
    )]
    PortInUse {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// Listening is not possible.
    #[error("cannot listen on port {port} of {host}: {source}")]
    Listen {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
}

/// The way to a [`BoundServer`].
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Takes all ports; from now on clients that connect wait for [`BoundServer::serve`].
    ///
    /// # Errors
    /// [`ServerError`] for the first port that cannot be had; then none is kept.
    pub async fn bind(specs: &[ListenSpec], limits: Limits) -> Result<BoundServer, ServerError> {
        let mut listeners = Vec::with_capacity(specs.len());
        for spec in specs {
            let (listener, address) = listen(spec).await.map_err(|source| {
                let (host, port) = (spec.host.clone(), spec.port);
                if source.kind() == std::io::ErrorKind::AddrInUse {
                    ServerError::PortInUse { host, port }
                } else {
                    ServerError::Listen { host, port, source }
                }
            })?;
            listeners.push(Bound {
                listener,
                address,
                tls: spec.tls.clone(),
            });
        }
        let limits = within_file_limit(limits, listeners.len());
        Ok(BoundServer { listeners, limits })
    }
}

/// Ports that are taken.
#[derive(Debug)]
pub struct BoundServer {
    listeners: Vec<Bound>,
    limits: Limits,
}

#[derive(Debug)]
struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<ServerTls>>,
}

impl BoundServer {
    /// Where it listens, in the order of the [`ListenSpec`]s.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|bound| bound.address).collect()
    }

    /// Answers until `shutdown` is ready. Then no more connections are taken, idle ones and
    /// event streams (`text/event-stream`) are ended, requests under way are finished within
    /// [`Limits::drain`], and what is left after that is cut.
    ///
    /// Dropping the future stops everything at once.
    pub async fn serve(self, router: Router, shutdown: impl Future<Output = ()>) {
        accept::serve(self.listeners, self.limits, router, shutdown).await;
    }
}

async fn listen(spec: &ListenSpec) -> std::io::Result<(TcpListener, SocketAddr)> {
    let host = spec.host.trim();
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let mut result = Err(std::io::Error::new(
        std::io::ErrorKind::NotFound,
        "the host has no address",
    ));
    for address in tokio::net::lookup_host((bare, spec.port)).await? {
        result = listen_at(address);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn listen_at(address: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
    let socket = if address.is_ipv6() {
        TcpSocket::new_v6()?
    } else {
        TcpSocket::new_v4()?
    };
    // Connections of the process before may still linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Each connection is an open file: raises the process's limit as far as the system allows, and
/// takes fewer connections if that is not enough.
fn within_file_limit(mut limits: Limits, listeners: usize) -> Limits {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let listeners = u64::try_from(listeners.max(1)).unwrap_or(u64::MAX);
    let wanted = u64::try_from(limits.connections)
        .unwrap_or(u64::MAX)
        .saturating_mul(listeners)
        .saturating_add(OTHER_FILES);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let Some(current) = current.filter(|&current| current < wanted) else {
        return limits;
    };
    let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let allowed = match setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(raised),
            maximum,
        },
    ) {
        Ok(()) => raised,
        Err(error) => {
            tracing::debug!("cannot raise the number of open files: {error}");
            current
        }
    };
    if allowed < wanted {
        let each = (allowed.saturating_sub(OTHER_FILES) / listeners).max(MIN_CONNECTIONS);
        let each = usize::try_from(each).unwrap_or(usize::MAX);
        if each < limits.connections {
            tracing::warn!(
                "this process may open {allowed} files: at most {each} connections are taken on \
                 each port; raise the limit (LimitNOFILE, ulimit -n) for more"
            );
            limits.connections = each;
        }
    }
    limits
}
