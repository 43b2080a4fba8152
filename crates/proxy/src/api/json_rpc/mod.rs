//! The JSON calls `slapos.<verb>.v0.<subject>` with the proxy's specifics (P 3).

mod document;
mod method;
mod schema;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::json::Spacing;
use super::problem::reason;
use super::{Allow, App, Call, Problem};
use crate::domain::Refusal;
use method::Method;

/// What a handler answers: a document, or a problem that becomes an error document.
type Answer = Result<Value, Problem>;

/// The methods a path takes.
pub(super) fn allowed(name: &str) -> Option<Allow> {
    Method::named(name).map(|_| Allow::Post)
}

pub(super) async fn post(app: &Arc<App>, name: &str, call: &Call) -> Response {
    match answer(app, name, call).await {
        Ok(document) => super::json::reply(StatusCode::OK, &document, Spacing::Wide),
        Err(problem) => super::json::reply(
            problem.status,
            &json!({
                "status": problem.status.as_u16(),
                "type": reason(problem.status),
                "title": problem.text,
            }),
            Spacing::Wide,
        ),
    }
}

async fn answer(app: &Arc<App>, name: &str, call: &Call) -> Answer {
    let method = Method::named(name).ok_or_else(Problem::no_such_page)?;
    if !is_json(call.header("content-type").unwrap_or_default()) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Did not attempt to load JSON data because the request Content-Type was not \
             'application/json'.",
        ));
    }
    if !accepts_json(call.header("accept")) {
        return Err(Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            "The resource identified by the request is only capable of generating response \
             entities which have content characteristics not acceptable according to the accept \
             headers sent in the request.",
        ));
    }
    let input: Value = serde_json::from_slice(&call.body)
        .map_err(|error| Problem::bad_request(format!("The body is not JSON: {error}")))?;
    schema::check(&input, method.input())?;
    let input = schema::Input(&input);
    match method.run(app, call, input).await {
        // Here an unknown name is something the caller may not handle (P 3.2).
        Err(problem) if problem.status == StatusCode::NOT_FOUND => Err(Problem {
            status: StatusCode::FORBIDDEN,
            ..problem
        }),
        Err(problem) if problem.status == StatusCode::CONFLICT => Err(Problem {
            status: StatusCode::FORBIDDEN,
            ..problem
        }),
        Err(problem) if problem.status == StatusCode::REQUEST_TIMEOUT => Ok(not_ready()),
        other => other,
    }
}

/// What a request answers that has nothing to show yet; its status is 200 nevertheless (P 3.1).
fn not_ready() -> Value {
    json!({
        "message": "Software Instance Not Ready",
        "status": 102,
        "name": "SoftwareInstanceNotReady",
    })
}

fn success(title: impl Into<String>) -> Answer {
    Ok(json!({"type": "success", "title": title.into()}))
}

/// `application/json`, or a dialect such as `application/hal+json`.
fn is_json(content_type: &str) -> bool {
    let media_type = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

fn accepts_json(accept: Option<&str>) -> bool {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else {
        return true;
    };
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let matches = matches!(
            parts
                .next()
                .unwrap_or_default()
                .to_ascii_lowercase()
                .as_str(),
            "*/*" | "application/*" | "application/json"
        );
        let refused = parts.any(|part| {
            part.strip_prefix("q=")
                .and_then(|weight| weight.parse::<f32>().ok())
                .is_some_and(|weight| weight <= 0.0)
        });
        matches && !refused
    })
}

/// Names of instances nobody knows.
fn unknown_instance(guid: &str) -> Problem {
    use crate::domain::TreeGuid;
    let text = match TreeGuid::readings(guid).first() {
        None => format!("instance_guid {guid} not handled."),
        Some(reading) if reading.shared => format!("No shared instance {guid} found."),
        Some(_) => format!("No software instance {guid} found."),
    };
    Problem::forbidden(text)
}

fn refusal(refusal: Refusal) -> Problem {
    Problem::forbidden(refusal.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types() {
        for (given, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/hal+json", true),
            ("text/json", false),
            ("", false),
            ("application/x-www-form-urlencoded", false),
        ] {
            assert_eq!(is_json(given), expected, "{given}");
        }
        for (given, expected) in [
            (None, true),
            (Some(""), true),
            (Some("*/*"), true),
            (Some("text/html, application/*;q=0.5"), true),
            (Some("text/html"), false),
            (Some("application/json;q=0"), false),
        ] {
            assert_eq!(accepts_json(given), expected, "{given:?}");
        }
    }
}
