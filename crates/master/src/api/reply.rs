//! Answers.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use slap::{Value, marshal};
use slap_server::Problem;

/// Words.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
/// Marshalled documents (P 1.3).
pub(crate) const XML: &str = "text/xml; charset=utf-8";
/// JSON documents.
pub(crate) const JSON: &str = "application/json";

/// Any answer.
pub(crate) fn with(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Body>,
) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_TYPE, content_type);
    response
}

/// Words.
pub(crate) fn text(body: impl Into<Body>) -> Response {
    with(StatusCode::OK, TEXT, body)
}

/// A marshalled document that is ready.
pub(crate) fn xml(body: impl Into<Body>) -> Response {
    with(StatusCode::OK, XML, body)
}

/// A value as a marshalled document.
pub(crate) fn marshalled(value: &Value) -> Result<Response, Problem> {
    Ok(xml(marshal::encode(value)?))
}

/// Sets a header to one of our own words.
pub(crate) fn set(response: &mut Response, name: HeaderName, value: &'static str) {
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}
