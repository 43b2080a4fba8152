//! The bytes of one connection: notes what happens for its clocks, and does not wait forever for
//! a client that takes nothing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// What a connection is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// For (the rest of) the head of a request.
    Head,
    /// For the next request.
    Idle,
    /// For the router, or for the client to take the answer.
    Busy,
}

/// The state of one connection and how often it changed. It is written and read by one task
/// only, at different places.
#[derive(Debug, Default)]
pub(super) struct Activity(AtomicU64);

/// A state at one moment: two are equal when nothing happened in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(u64);

impl Moment {
    pub(super) fn state(self) -> State {
        match self.0 & 3 {
            0 => State::Head,
            1 => State::Idle,
            _ => State::Busy,
        }
    }
}

impl Activity {
    pub(super) fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn set(&self, state: State) {
        let code = match state {
            State::Head => 0,
            State::Idle => 1,
            State::Busy => 2,
        };
        let count = self.now().0 >> 2;
        self.0.store((count + 1) << 2 | code, Ordering::Relaxed);
    }

    fn has_read(&self) {
        if self.now().state() == State::Idle {
            self.set(State::Head);
        }
    }

    /// The router is done, and the answer is still on its way.
    fn has_written(&self) {
        if self.now().state() == State::Idle {
            self.set(State::Idle);
        }
    }
}

/// A connection whose client must take what is written.
#[derive(Debug)]
pub(super) struct Guarded {
    stream: TcpStream,
    activity: Arc<Activity>,
    write_stall: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Guarded {
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>, write_stall: Duration) -> Self {
        Guarded {
            stream,
            activity,
            write_stall,
            stalled: None,
        }
    }

    /// The outcome of trying to write, with an end to waiting.
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        tried: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if tried.is_ready() {
            self.stalled = None;
            self.activity.has_written();
            return tried;
        }
        let deadline = Instant::now() + self.write_stall;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client takes nothing of the answer",
        )))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.activity.has_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, tried)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.written(cx, tried)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
