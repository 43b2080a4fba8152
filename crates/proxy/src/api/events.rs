//! `GET /events?node=…`: a node is told at once that its document changed, as server-sent events.
//!
//! The wire is the full Master's: `node` events with `{"computer_guid", "revision"}`, the present
//! state first unless `Last-Event-ID` says that it is known. Upstream's proxy has no such call; its
//! nodes do not ask for it. Whoever waits for anything else (a person's instance tree) gets 404 and
//! asks from time to time: what nodes report has no revision here.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper::body::Frame;
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::{App, Call, Problem, reply};

/// Most streams at once: this Master serves one machine.
const STREAMS_MAX: usize = 100;
/// Pieces that wait for a reader that is slow.
const AHEAD: usize = 4;
/// Shows that the stream is alive.
const HEARTBEAT: Duration = Duration::from_secs(30);
const HEARTBEAT_TEXT: &str = ":\n\n";
/// What clients wait before they connect again, in milliseconds.
const RETRY: &str = "retry: 1000\n\n";

/// The open streams.
#[derive(Debug)]
pub(crate) struct Streams {
    open: AtomicUsize,
    ended: watch::Sender<bool>,
}

impl Default for Streams {
    fn default() -> Self {
        Streams {
            open: AtomicUsize::new(0),
            ended: watch::Sender::new(false),
        }
    }
}

impl Streams {
    /// Ends all of them: the Master stops.
    pub(crate) fn end(&self) {
        self.ended.send_replace(true);
    }
}

/// A place among the streams; free again when dropped.
struct Seat(Arc<App>);

impl Seat {
    fn take(app: &Arc<App>) -> Result<Seat, Problem> {
        let before = app.streams.open.fetch_add(1, Ordering::AcqRel);
        let seat = Seat(Arc::clone(app));
        if before < STREAMS_MAX {
            return Ok(seat);
        }
        Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{STREAMS_MAX} streams of events are open already"),
        ))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.streams.open.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(super) fn get(app: &Arc<App>, call: &Call) -> Result<Response, Problem> {
    let arguments = call.arguments();
    let Some(node) = arguments.given("node").map(str::to_owned) else {
        return Err(Problem::no_such_page());
    };
    let told = call
        .headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok())
        .map(str::to_owned);
    let seat = Seat::take(app)?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(tell(seat, node, told, sender));
    let mut response = reply(
        StatusCode::OK,
        "text/event-stream",
        Body::new(Stream(receiver)),
    );
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn tell(seat: Seat, node: String, mut told: Option<String>, sender: mpsc::Sender<Bytes>) {
    let app = &seat.0;
    let mut ended = app.streams.ended.subscribe();
    let mut changes = app.store.changes();
    if sender.send(Bytes::from(RETRY)).await.is_err() {
        return;
    }
    loop {
        changes.mark_unchanged();
        let revision = app.store.node_revision(&node);
        // Revisions are counted from each start of the Master.
        let id = format!("{}.{revision}", app.run_id);
        if told.as_ref() != Some(&id) {
            let data = json!({"computer_guid": node, "revision": revision});
            let text = format!("event: node\nid: {id}\ndata: {data}\n\n");
            if sender.send(Bytes::from(text)).await.is_err() {
                return;
            }
            told = Some(id);
        }
        let silent = tokio::select! {
            changed = changes.changed() => match changed {
                Ok(()) => false,
                Err(_) => return,
            },
            () = tokio::time::sleep(HEARTBEAT) => true,
            () = sender.closed() => return,
            _ = ended.wait_for(|ended| *ended) => return,
        };
        if silent && sender.send(Bytes::from(HEARTBEAT_TEXT)).await.is_err() {
            return;
        }
    }
}

/// The body of a stream.
struct Stream(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let polled = self.0.poll_recv(context);
        polled.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}
