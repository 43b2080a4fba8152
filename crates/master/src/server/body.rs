//! Bodies: a request's must arrive in time, an answer's tells when it is over, and an event
//! stream ends when the server stops.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::stream::{Activity, State};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that comes so fast may take as long as it needs, in bytes for each second: large ones are
/// no slow ones.
const BYTES_PER_SECOND_MIN: u64 = 64 << 10;

/// The body of a request, which must be complete in time.
pub(super) struct RequestBody {
    inner: Incoming,
    limit: Duration,
    /// What has come.
    bytes: u64,
    /// When the router had to wait for the first time, and until when it does.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    is_complete: bool,
    activity: Arc<Activity>,
}

impl RequestBody {
    /// As the router takes it.
    pub(super) fn wrap(
        inner: Incoming,
        limit: Duration,
        activity: &Arc<Activity>,
    ) -> axum::body::Body {
        if inner.is_end_stream() {
            return axum::body::Body::empty();
        }
        axum::body::Body::new(RequestBody {
            inner,
            limit,
            bytes: 0,
            waiting: None,
            is_complete: false,
            activity: Arc::clone(activity),
        })
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let is_left = !self.is_complete && !self.inner.is_end_stream();
        self.activity.abandon(is_left);
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            if let Some(Ok(frame)) = &frame {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.bytes += u64::try_from(bytes).unwrap_or_default();
            }
            self.is_complete = frame.is_none();
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let limit = self.limit + Duration::from_secs(self.bytes / BYTES_PER_SECOND_MIN);
        let (since, deadline) = self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(tokio::time::sleep_until(now + limit)))
        });
        let end = *since + limit;
        if deadline.deadline() != end {
            deadline.as_mut().reset(end);
        }
        deadline.as_mut().poll(cx).map(|()| {
            Some(Err(format!(
                "the body of the request did not arrive within {} s",
                limit.as_secs()
            )
            .into()))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// While it lives the connection is busy; afterwards it is idle.
pub(super) struct Busy(Arc<Activity>);

impl Busy {
    pub(super) fn new(activity: &Arc<Activity>) -> Self {
        activity.set(State::Busy);
        activity.abandon(false);
        Busy(Arc::clone(activity))
    }

    /// What its connection does.
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set(State::Idle);
    }
}

/// Is ready when the server stops.
pub(super) type Stopping = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The body of an answer.
pub(super) struct ResponseBody {
    inner: axum::body::Body,
    /// For answers that would never end by themselves.
    stopping: Option<Stopping>,
    _busy: Busy,
}

impl ResponseBody {
    pub(super) fn new(inner: axum::body::Body, stopping: Option<Stopping>, busy: Busy) -> Self {
        ResponseBody {
            inner,
            stopping,
            _busy: busy,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(stopping) = &mut self.stopping
            && stopping.as_mut().poll(cx).is_ready()
        {
            // An empty body is over: nothing of a finished future is polled again.
            self.stopping = None;
            self.inner = axum::body::Body::empty();
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
