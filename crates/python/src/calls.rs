//! A call without the interpreter's lock, which Ctrl-C can end.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// How long Ctrl-C may wait for its effect.
const SIGNALS_EVERY: Duration = Duration::from_millis(50);

/// Does this on a thread of its own while other Python threads run.
///
/// A signal that raises (Ctrl-C) ends the waiting, not the work: what was sent has been sent, and
/// the thread ends with its answer or its time-out.
pub(crate) fn outside<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> T + Send + 'static,
) -> PyResult<T> {
    let (send, mut receive) = sync_channel(1);
    thread::Builder::new()
        .name("slapos".to_owned())
        .spawn(move || {
            // Nobody listens any more after a Ctrl-C.
            let _ = send.send(work());
        })?;
    loop {
        let waited;
        (waited, receive) = py.detach(move || (receive.recv_timeout(SIGNALS_EVERY), receive));
        match waited {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err("the call broke down"));
            }
        }
    }
}
