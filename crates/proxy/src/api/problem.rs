//! What cannot be answered, as a status and a text; and the page that shows it.

use std::fmt;

use axum::http::StatusCode;
use axum::response::Response;

use crate::domain::Refusal;
use crate::store::StoreError;

/// A status that is not success, with a text for the one who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Problem {
            status,
            text: text.into(),
        }
    }

    pub(crate) fn bad_request(text: impl fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text.to_string())
    }

    pub(crate) fn not_found(text: impl fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, text.to_string())
    }

    pub(crate) fn forbidden(text: impl fmt::Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, text.to_string())
    }

    /// A path that is nothing here.
    pub(crate) fn no_such_page() -> Self {
        Self::not_found(
            "The requested URL was not found on the server. If you entered the URL manually please \
             check your spelling and try again.",
        )
    }

    /// The small page upstream's server shows for an error; programs show its text to people.
    pub(crate) fn into_page(self) -> Response {
        let name = reason(self.status);
        let body = format!(
            "<!doctype html>\n<html lang=en>\n<title>{} {name}</title>\n<h1>{name}</h1>\n<p>{}</p>\n",
            self.status.as_u16(),
            escape(&self.text)
        );
        super::reply(self.status, "text/html; charset=utf-8", body)
    }
}

/// The reason phrase, as upstream's server calls those that have none.
pub(crate) fn reason(status: StatusCode) -> &'static str {
    match status.as_u16() {
        523 => "Unknown Error",
        _ => status.canonical_reason().unwrap_or("Unknown Error"),
    }
}

/// Text inside HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::NotCreated { .. } => StatusCode::REQUEST_TIMEOUT,
            Refusal::NoFreePartition { .. }
            | Refusal::NoHost { .. }
            | Refusal::UnknownPartition { .. }
            | Refusal::NoInstance { .. }
            | Refusal::UnknownNode { .. }
            | Refusal::UnknownShared { .. } => StatusCode::NOT_FOUND,
            Refusal::TitleTaken { .. }
            | Refusal::DestructionNotRequested { .. }
            | Refusal::HasChildren { .. } => StatusCode::CONFLICT,
            Refusal::BadDescription { .. } | Refusal::Reference(_) => StatusCode::BAD_REQUEST,
        };
        Problem::new(status, refusal.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(refusal) => refusal.into(),
            StoreError::Closed => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "This Master is about to stop",
            ),
            other => {
                tracing::error!("{other}");
                Problem::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "The database of this Master failed and nothing was changed; its log says why",
                )
            }
        }
    }
}

impl From<::slap::reference::ReferenceError> for Problem {
    fn from(error: ::slap::reference::ReferenceError) -> Self {
        Problem::bad_request(error)
    }
}

impl From<::slap::marshal::EncodeError> for Problem {
    fn from(error: ::slap::marshal::EncodeError) -> Self {
        tracing::error!("a stored text cannot be sent: {error}");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "A stored text cannot be sent; the log of this Master says which",
        )
    }
}
