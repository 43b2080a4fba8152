//! Each failure as the exception upstream's programs catch (C 4.8), with the Master's words.

use std::io::ErrorKind;

use pyo3::exceptions::{PyFileNotFoundError, PyOSError, PyValueError};
use pyo3::prelude::*;
use slap_client::Error;

/// The exception of a failed call.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::NotReady { what, detail } => ours(py, "ResourceNotReady", &not_ready(what, detail)),
        Error::NotFound { .. } | Error::UnknownName { .. } => ours(py, "NotFoundError", &text),
        Error::Server { status, .. } => with_status(py, "ServerError", &text, *status),
        Error::Refused { status, .. } => {
            let class = match status {
                401 | 403 => "AuthenticationError",
                _ => "RefusedError",
            };
            with_status(py, class, &text, *status)
        }
        Error::Connection { .. } => ours(py, "ConnectionError", &text),
        Error::Tls { .. } => ours(py, "TLSError", &text),
        Error::File { path, .. } => match path.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => PyFileNotFoundError::new_err(text),
            _ => PyOSError::new_err(text),
        },
        Error::Url { .. } | Error::Unsendable { .. } => PyValueError::new_err(text),
        _ => ours(py, "SlapException", &text),
    }
}

/// What the last line of the tutorial's traceback says, and why.
pub(crate) fn not_ready(what: &str, why: &str) -> String {
    if why.is_empty() {
        format!("/{what}")
    } else {
        format!("/{what} - {why}")
    }
}

fn ours(py: Python<'_>, class: &str, text: &str) -> PyErr {
    match make(py, class, text) {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

fn with_status(py: Python<'_>, class: &str, text: &str, status: u16) -> PyErr {
    let made = make(py, class, text).and_then(|exception| {
        exception.setattr("status", status)?;
        Ok(exception)
    });
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

fn make<'py>(py: Python<'py>, class: &str, text: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("slapos.slap.exception")?
        .getattr(class)?
        .call1((text,))
}
