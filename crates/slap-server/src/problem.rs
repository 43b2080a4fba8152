//! What cannot be answered, as a status and a text; and the page that shows it.

use std::fmt;

use http::StatusCode;
use slap::marshal::EncodeError;
use slap::reference::ReferenceError;

/// A status that is not success, with a text for the one who asked.
///
/// The legacy calls show it as [`Problem::page`], the JSON calls as an error document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The status of the reply.
    pub status: StatusCode,
    /// One sentence for people; programs look at the status only.
    pub text: String,
}

impl Problem {
    /// A problem of any status.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Problem {
            status,
            text: text.into(),
        }
    }

    /// 400: the call itself is wrong.
    pub fn bad_request(text: impl fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text.to_string())
    }

    /// 401: nobody, or somebody unknown, calls.
    pub fn unauthorized(text: impl fmt::Display) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, text.to_string())
    }

    /// 403: the caller may know of it, and may not do this.
    pub fn forbidden(text: impl fmt::Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, text.to_string())
    }

    /// 404: there is no such thing, or the caller may not know of it.
    pub fn not_found(text: impl fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, text.to_string())
    }

    /// 408: accepted, and nothing to show yet. Clients take it as "ask again later" (quirk 9).
    pub fn not_ready(text: impl fmt::Display) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, text.to_string())
    }

    /// 409: it contradicts what is there.
    pub fn conflict(text: impl fmt::Display) -> Self {
        Self::new(StatusCode::CONFLICT, text.to_string())
    }

    /// 500: this Master failed; the text is all that the caller learns.
    pub fn internal(text: impl fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text.to_string())
    }

    /// 404: a path that is nothing here.
    pub fn no_such_page() -> Self {
        Self::not_found(
            "The requested URL was not found on the server. If you entered the URL manually please \
             check your spelling and try again.",
        )
    }

    /// 405: a path that takes other methods. The reply also wants an `Allow` header.
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "The method is not allowed for the requested URL.",
        )
    }

    /// The small page upstream's server shows for an error, in [`PAGE_TYPE`]. Programs show its text
    /// to people.
    pub fn page(&self) -> String {
        let name = reason(self.status);
        format!(
            "<!doctype html>\n<html lang=en>\n<title>{} {name}</title>\n<h1>{name}</h1>\n<p>{}</p>\n",
            self.status.as_u16(),
            escape(&self.text)
        )
    }
}

/// The media type of [`Problem::page`].
pub const PAGE_TYPE: &str = "text/html; charset=utf-8";

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.as_u16(), self.text)
    }
}

impl std::error::Error for Problem {}

/// The reason phrase, as upstream's server calls those that have none.
pub fn reason(status: StatusCode) -> &'static str {
    if status == StatusCode::RANGE_NOT_SATISFIABLE {
        return "Requested Range Not Satisfiable";
    }
    status.canonical_reason().unwrap_or("Unknown Error")
}

/// Text inside HTML, attribute values in quotes included.
pub fn escape(text: &str) -> String {
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

impl From<ReferenceError> for Problem {
    fn from(error: ReferenceError) -> Self {
        Problem::bad_request(error)
    }
}

impl From<EncodeError> for Problem {
    fn from(error: EncodeError) -> Self {
        tracing::error!("a stored text cannot be sent: {error}");
        Problem::internal("A stored text cannot be sent; the log of this Master says which")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_the_text_and_nothing_of_it_is_markup() {
        assert_eq!(
            Problem::not_found("No <b>\"x\"</b> & 'y'").page(),
            "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n\
             <p>No &lt;b&gt;&#34;x&#34;&lt;/b&gt; &amp; &#39;y&#39;</p>\n"
        );
    }

    #[test]
    fn a_status_without_a_name_is_an_unknown_error() {
        let status = StatusCode::from_u16(523).unwrap_or_default();
        assert_eq!(reason(status), "Unknown Error");
        assert_eq!(reason(StatusCode::REQUEST_TIMEOUT), "Request Timeout");
    }
}
