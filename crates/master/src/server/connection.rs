//! One connection from its beginning to its end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

use axum::Router;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::Service;

use super::accept::{Phase, reached};
use super::body::{Busy, RequestBody, ResponseBody, Stopping};
use super::stream::{Activity, Guarded, State};
use super::tls::ServerTls;
use super::{Limits, Peer};
use crate::pki::{PeerName, peer_common_name};

/// Bytes read or written at once.
const BUFFER: usize = 64 * 1024;

/// What all connections of one listener share.
pub(super) struct Shared {
    pub(super) router: Router,
    pub(super) limits: Limits,
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) phase: watch::Receiver<Phase>,
}

/// Serves one connection until it ends, whatever the reason: nobody asks for it.
pub(super) async fn run(shared: &Shared, stream: TcpStream, address: SocketAddr) {
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    let mut phase = shared.phase.clone();
    let served = async {
        if let Err(error) = serve(shared, stream, address).await {
            tracing::debug!("connection from {address}: {error}");
        }
    };
    tokio::select! {
        biased;
        () = reached(&mut phase, Phase::Cutting) => {}
        () = served => {}
    }
}

async fn serve(shared: &Shared, stream: TcpStream, address: SocketAddr) -> io::Result<()> {
    // Small answers at once.
    stream.set_nodelay(true)?;
    let activity = Arc::new(Activity::default());
    let mut peer = Peer {
        address,
        certificate: None,
        tls: shared.tls.is_some(),
    };
    let Some(tls) = &shared.tls else {
        let stream = Guarded::new(stream, Arc::clone(&activity), shared.limits.write_stall);
        return speak(shared, stream, peer, activity).await;
    };
    let mut phase = shared.phase.clone();
    let handshake = async {
        if speaks_http(&stream).await? {
            say_https(&stream).await?;
            return Err(io::Error::other("plain HTTP instead of TLS"));
        }
        let stream = Guarded::new(stream, Arc::clone(&activity), shared.limits.write_stall);
        tls.acceptor().accept(stream).await
    };
    let stream = tokio::select! {
        biased;
        () = reached(&mut phase, Phase::Draining) => return Ok(()),
        result = tokio::time::timeout(shared.limits.handshake, handshake) => match result {
            Ok(result) => result?,
            Err(_) => return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the TLS handshake took too long",
            )),
        },
    };
    let (_, session) = stream.get_ref();
    if let Some(certificate) = session.peer_certificates().and_then(<[_]>::first) {
        peer.certificate = Some(Arc::new(named(certificate)?));
    }
    speak(shared, stream, peer, activity).await
}

/// Whom a certificate names that TLS accepted.
fn named(der: &[u8]) -> io::Result<PeerName> {
    let name = peer_common_name(der).map_err(io::Error::other)?;
    // In a resumed session nobody has looked at the clock.
    if name.not_after <= SystemTime::now() {
        return Err(io::Error::other("the client's certificate has expired"));
    }
    Ok(name)
}

/// Whether the client begins with a letter: the name of a method, not TLS.
async fn speaks_http(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let length = stream.peek(&mut first).await?;
    Ok(length == 1 && first[0].is_ascii_uppercase())
}

/// Tells who came with `http://` what is wrong.
async fn say_https(stream: &TcpStream) -> io::Result<()> {
    const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
        Content-Length: 48\r\nConnection: close\r\n\r\n\
        This address speaks HTTPS: begin it with https.\n";
    // What is left unread would make the system throw away the answer.
    let mut request = vec![0; BUFFER];
    let _ = stream.try_read(&mut request);
    stream.writable().await?;
    stream.try_write(ANSWER)?;
    Ok(())
}

/// HTTP/1.1 on a connection, with its clocks.
async fn speak<S>(shared: &Shared, stream: S, peer: Peer, activity: Arc<Activity>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let limits = &shared.limits;
    let service = {
        let activity = Arc::clone(&activity);
        service_fn(move |request| {
            let busy = Busy::new(&activity);
            answer(shared, peer.clone(), busy, request)
        })
    };
    let connection = http1::Builder::new()
        // The clocks are ours: hyper has one for both idle connections and slow heads.
        .header_read_timeout(None)
        .max_header_size(limits.head_bytes)
        .max_buf_size(BUFFER.max(limits.head_bytes))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);

    let mut phase = shared.phase.clone();
    let mut stopping = pin!(reached(&mut phase, Phase::Draining));
    let mut stopped = false;
    let mut seen = activity.now();
    let mut timer = pin!(tokio::time::sleep(limits.head));
    let mut asked_to_end = false;
    poll_fn(|cx| {
        if !stopped && stopping.as_mut().poll(cx).is_ready() {
            stopped = true;
            connection.as_mut().graceful_shutdown();
        }
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(result.map_err(io::Error::other));
            }
            let now = activity.now();
            if now != seen {
                seen = now;
                let limit = match now.state() {
                    State::Head => limits.head,
                    // Then only the rest of an answer is still to be taken.
                    State::Idle if asked_to_end || stopped => limits.write_stall,
                    State::Idle => limits.idle,
                    State::Busy => return Poll::Pending,
                };
                timer.as_mut().reset(Instant::now() + limit);
            }
            if now.state() == State::Busy || timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if now.state() == State::Idle && !asked_to_end {
                asked_to_end = true;
                connection.as_mut().graceful_shutdown();
                timer.as_mut().reset(Instant::now() + limits.write_stall);
                continue;
            }
            let what = match now.state() {
                State::Head => "the head of the request did not arrive in time",
                _ => "the connection did not end",
            };
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, what)));
        }
    })
    .await
}

async fn answer(
    shared: &Shared,
    peer: Peer,
    busy: Busy,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let address = peer.address;
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(peer);
    let path = parts.uri.path().to_owned();
    let body = RequestBody::wrap(body, shared.limits.body, busy.activity());
    let mut router = shared.router.clone();
    // A router is always ready.
    let answering = router.call(Request::from_parts(parts, body));
    let response = match unwinding(answering).await {
        Some(Ok(response)) => response,
        Some(Err(never)) => match never {},
        None => {
            tracing::error!("answering {path} to {address} ended in a panic");
            let mut response = Response::new("The server failed.\n".into());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    };
    let endless = response
        .headers()
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .is_some_and(|kind| kind.starts_with(b"text/event-stream"));
    let stopping = endless.then(|| {
        let mut phase = shared.phase.clone();
        let stopping: Stopping = Box::pin(async move {
            reached(&mut phase, Phase::Draining).await;
        });
        stopping
    });
    Ok(response.map(|body| ResponseBody::new(body, stopping, busy)))
}

/// The outcome of `future`, or `None` if it panicked: one bad request must not look to the client
/// like a server that is gone.
async fn unwinding<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(move |cx| {
        // The future is not touched again after a panic.
        let polled = AssertUnwindSafe(|| Pin::as_mut(&mut future).poll(cx));
        match std::panic::catch_unwind(polled) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}
