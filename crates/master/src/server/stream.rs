//! The bytes of one connection: notes what happens for its clocks, and does not wait forever for
//! a client that takes nothing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
pub(super) struct Activity {
    moment: AtomicU64,
    /// Nobody reads the rest of a request's body, which the client may still be sending.
    abandoned: AtomicBool,
}

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
        Moment(self.moment.load(Ordering::Relaxed))
    }

    pub(super) fn set(&self, state: State) {
        let code = match state {
            State::Head => 0,
            State::Idle => 1,
            State::Busy => 2,
        };
        let count = self.now().0 >> 2;
        self.moment
            .store((count + 1) << 2 | code, Ordering::Relaxed);
    }

    /// Whether the rest of the last request's body is left unread.
    pub(super) fn abandon(&self, is_left: bool) {
        self.abandoned.store(is_left, Ordering::Relaxed);
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

/// At the end, what a client still sends is read for so long and so many bytes: if it were left
/// unread, the system would take back the answer that the client has not read yet (a refusal in
/// the middle of an upload).
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES: usize = 64 << 20;

/// A connection whose client must take what is written.
#[derive(Debug)]
pub(super) struct Guarded {
    stream: TcpStream,
    activity: Arc<Activity>,
    write_stall: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    end: End,
}

#[derive(Debug)]
enum End {
    NotYet,
    /// All is written; whether something is left to read is to be seen.
    Written,
    /// The client is still sending.
    Lingering {
        deadline: Pin<Box<Sleep>>,
        left: usize,
    },
}

impl Guarded {
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>, write_stall: Duration) -> Self {
        Guarded {
            stream,
            activity,
            write_stall,
            stalled: None,
            end: End::NotYet,
        }
    }

    /// Reads and forgets what the client still sends.
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 16 * 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => buffer.filled().len(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => 0,
            };
            // The usual end: nothing was under way.
            let is_quiet = read == 0 && !self.activity.abandoned.load(Ordering::Relaxed);
            if is_quiet && matches!(self.end, End::Written) {
                return Poll::Ready(());
            }
            if !matches!(self.end, End::Lingering { .. }) {
                self.end = End::Lingering {
                    deadline: Box::pin(tokio::time::sleep(LINGER)),
                    left: LINGER_BYTES,
                };
            }
            if let End::Lingering { deadline, left } = &mut self.end {
                *left = left.saturating_sub(read);
                if *left == 0 {
                    return Poll::Ready(());
                }
                if read == 0 {
                    return deadline.as_mut().poll(cx);
                }
            }
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
        if matches!(self.end, End::NotYet) {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.end = End::Written;
        }
        self.linger(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::{Activity, State};

    #[test]
    fn what_restarts_a_clock() {
        let activity = Activity::default();
        let mut seen = activity.now();
        assert_eq!(seen.state(), State::Head);
        let mut step = |what: &dyn Fn(), changes: bool, state| {
            what();
            let now = activity.now();
            assert_eq!((now != seen, now.state()), (changes, state));
            seen = now;
        };
        let (read, written) = (|| activity.has_read(), || activity.has_written());
        // A head that dribbles in gets no more time by that.
        step(&read, false, State::Head);
        step(&|| activity.set(State::Busy), true, State::Busy);
        step(&read, false, State::Busy);
        step(&written, false, State::Busy);
        // The router is done: the rest of the answer may take as long as it moves on.
        step(&|| activity.set(State::Idle), true, State::Idle);
        step(&written, true, State::Idle);
        // The next request begins.
        step(&read, true, State::Head);
        step(&read, false, State::Head);
        // From one request to the next in one step.
        let between = || {
            activity.set(State::Busy);
            activity.set(State::Idle);
            activity.set(State::Busy);
        };
        step(&between, true, State::Busy);
        step(&between, true, State::Busy);
    }
}
