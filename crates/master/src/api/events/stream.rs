//! One stream: a task that waits, looks and tells, and the body that it fills.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

use super::super::App;
use super::streams::Seat;
use super::{Event, Source, Visitor};

/// Pieces that wait for a reader that is slow.
const AHEAD: usize = 4;
/// Pause after an event: what changes meanwhile is told together.
const PAUSE: Duration = Duration::from_millis(100);
/// What clients wait before they connect again, in milliseconds.
const RETRY: &str = "retry: 3000\n\n";
/// Says nothing, and shows that the stream is alive.
const HEARTBEAT: &str = ":\n\n";

/// The body of a stream.
pub(super) struct Stream(mpsc::Receiver<Bytes>);

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let polled = self.0.poll_recv(cx);
        polled.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Starts to tell. `first` is what is to be told at once, `last` the state the reader has.
pub(super) fn start(
    app: Arc<App>,
    visitor: Visitor,
    source: Source,
    first: Vec<Event>,
    last: Option<String>,
    seat: Seat,
) -> Stream {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let writer = Writer { sender, told: last };
    tokio::spawn(async move {
        // However it ends, its place is free then.
        tell(&app, &visitor, source, first, writer, seat).await;
    });
    Stream(receiver)
}

async fn tell(
    app: &App,
    visitor: &Visitor,
    mut source: Source,
    first: Vec<Event>,
    mut writer: Writer,
    mut seat: Seat,
) {
    // The reader knows at once that it is connected.
    if !writer.send(RETRY.to_owned()).await || !writer.tell(first).await {
        return;
    }
    loop {
        let woken = tokio::select! {
            () = source.changed() => true,
            () = tokio::time::sleep(app.streams.heartbeat()) => false,
            () = writer.sender.closed() => return,
            _ = &mut seat.ended => return,
        };
        if !visitor.is_known(app).await {
            return;
        }
        // Looked at with each heartbeat too: what another Master on the database forgot to tell is
        // found.
        let Ok(events) = source.look(app, visitor.caller).await else {
            return;
        };
        if !writer.tell(events).await {
            return;
        }
        if woken {
            tokio::time::sleep(PAUSE).await;
        } else if !writer.send(HEARTBEAT.to_owned()).await {
            return;
        }
    }
}

/// Writes to the reader.
struct Writer {
    sender: mpsc::Sender<Bytes>,
    /// The state that was told last.
    told: Option<String>,
}

impl Writer {
    async fn send(&self, text: String) -> bool {
        self.sender.send(Bytes::from(text)).await.is_ok()
    }

    /// Tells what the reader does not know yet.
    async fn tell(&mut self, events: Vec<Event>) -> bool {
        for event in events {
            if event.id.is_some() && event.id == self.told {
                continue;
            }
            if !self.send(event.text()).await {
                return false;
            }
            if event.id.is_some() {
                self.told = event.id;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::super::testing::Rig;
    use super::super::{Visitor, Wanted};
    use super::*;
    use crate::domain::Caller;

    /// What a stream may take while it waits, in bytes: there are thousands of them.
    const BYTES_MAX: usize = 8 << 10;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stream_that_waits_is_small() {
        let rig = Rig::new().await;
        let (node, _) = rig.node("one").await;
        let caller = Caller::Node(node.key);
        let visitor = Visitor::nobody(caller);
        let source = Source::new(&rig.app, caller, &Wanted::Node(node)).await;
        let (sender, _receiver) = mpsc::channel(AHEAD);
        let writer = Writer { sender, told: None };
        let seat = rig.app.streams.open(caller).unwrap();
        let telling = tell(
            &rig.app,
            &visitor,
            source.unwrap(),
            Vec::new(),
            writer,
            seat,
        );
        let bytes = size_of_val(&telling);
        assert!(bytes < BYTES_MAX, "{bytes}");
    }
}
