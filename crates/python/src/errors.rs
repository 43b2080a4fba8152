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
        Error::NotFound { .. } => ours(py, "NotFoundError", &text),
        Error::UnknownName { similar, .. } => {
            ours(py, "NotFoundError", &format!("{text}{}", meant(similar)))
        }
        Error::Server { status, .. } => server(py, &text, *status),
        Error::Refused { status, .. } => {
            let class = match status {
                401 | 403 => "AuthenticationError",
                _ => "RefusedError",
            };
            made(refused(py, class, &text, *status))
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

/// What was perhaps meant.
fn meant(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!("; did you mean `{}`?", names.join("` or `")),
    }
}

fn ours(py: Python<'_>, class: &str, text: &str) -> PyErr {
    made(exceptions(py).and_then(|module| module.getattr(class)?.call1((text,))))
}

fn server(py: Python<'_>, text: &str, status: u16) -> PyErr {
    let error = exceptions(py).and_then(|module| {
        let error = module.getattr("ServerError")?.call1((text,))?;
        error.setattr("status", status)?;
        Ok(error)
    });
    made(error)
}

fn refused<'py>(
    py: Python<'py>,
    class: &str,
    text: &str,
    status: u16,
) -> PyResult<Bound<'py, PyAny>> {
    exceptions(py)?
        .getattr("_refused")?
        .call1((class, text, status))
}

fn made(exception: PyResult<Bound<'_, PyAny>>) -> PyErr {
    match exception {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

fn exceptions(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import("slapos.slap.exception")
}
