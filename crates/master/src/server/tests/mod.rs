//! Real sockets and real clients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bounds;
mod stop;
mod tls;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Extension, Router};
use tokio::sync::{Notify, oneshot};

use super::*;

/// Far more than anything takes; then the test fails.
const DEADLINE: Duration = Duration::from_secs(20);
/// A short limit of the server.
const SHORT: Duration = Duration::from_millis(150);

fn plain(host: &str) -> ListenSpec {
    ListenSpec {
        host: host.to_owned(),
        port: 0,
        tls: None,
    }
}

/// A server on a thread of its own.
struct Running {
    addresses: Vec<SocketAddr>,
    /// Requests to `/wait` are answered after that.
    gate: Arc<Notify>,
    /// Says that a request to `/wait` has arrived.
    arrived: mpsc::Receiver<()>,
    shutdown: Option<oneshot::Sender<()>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(specs: &[ListenSpec], limits: Limits) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let bound = runtime.block_on(Server::bind(specs, limits)).unwrap();
        let addresses = bound.addresses();
        let (shutdown, asked) = oneshot::channel();
        let (arrival, arrived) = mpsc::channel();
        let gate = Arc::new(Notify::new());
        let router = router(Arc::clone(&gate), arrival);
        let stopped = Arc::new(AtomicBool::new(false));
        let thread = {
            let stopped = Arc::clone(&stopped);
            std::thread::spawn(move || {
                runtime.block_on(bound.serve(router, async {
                    let _ = asked.await;
                }));
                stopped.store(true, Ordering::SeqCst);
            })
        };
        Running {
            addresses,
            gate,
            arrived,
            shutdown: Some(shutdown),
            stopped,
            thread: Some(thread),
        }
    }

    fn plain(limits: Limits) -> Self {
        Self::start(&[plain("127.0.0.1")], limits)
    }

    fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    fn connect(&self) -> TcpStream {
        connect(self.address())
    }

    fn ask_to_stop(&mut self) {
        let _ = self.shutdown.take().unwrap().send(());
    }

    fn wait_for_end(&mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.shutdown.take());
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(std::thread::panicking() || joined.is_ok());
        }
    }
}

fn router(gate: Arc<Notify>, arrival: mpsc::Sender<()>) -> Router {
    let arrival_at_events = arrival.clone();
    let wait = move || async move {
        arrival.send(()).unwrap();
        gate.notified().await;
        "waited"
    };
    let events = move || async move {
        arrival_at_events.send(()).unwrap();
        let kind = [(header::CONTENT_TYPE, "text/event-stream")];
        (kind, Body::new(Endless { begun: false })).into_response()
    };
    Router::new()
        .route("/", get(who))
        .route("/wait", get(wait))
        .route("/events", get(events))
        .route("/large", get(|| async { vec![b'x'; 64 << 20] }))
        .route(
            "/length",
            post(|body: Bytes| async move { body.len().to_string() }),
        )
        .route("/panic", get(panics))
}

/// Who is asking, as text.
async fn who(Extension(peer): Extension<Peer>) -> String {
    let name = peer
        .certificate
        .as_ref()
        .map_or("nobody", |certificate| &certificate.common_name);
    format!("{name} tls={} {}\n", peer.tls, peer.address.ip())
}

async fn panics() -> &'static str {
    panic!("on purpose")
}

/// An event stream with one event and no end.
struct Endless {
    begun: bool,
}

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        if self.begun {
            return std::task::Poll::Pending;
        }
        self.begun = true;
        let frame = hyper::body::Frame::data(Bytes::from_static(b"data: 1\n\n"));
        std::task::Poll::Ready(Some(Ok(frame)))
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn send(stream: &mut impl Write, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream.flush().unwrap();
}

/// One answer with a Content-Length: head and body.
fn receive(stream: &mut impl Read) -> (String, String) {
    let head = until(stream, "\r\n\r\n");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap_or_else(|| panic!("no length: {head}"))
        .parse()
        .unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

fn until(stream: &mut impl Read, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let mut byte = [0];
        stream
            .read_exact(&mut byte)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&text)));
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

/// The body of the answer to one request.
fn ask(stream: &mut (impl Read + Write), path: &str) -> String {
    send(stream, path);
    receive(stream).1
}

/// Whatever comes until the server ends the connection, one way or the other.
fn rest(stream: &mut impl Read) -> String {
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection did not end: {error}"),
    }
    String::from_utf8(text).unwrap()
}
