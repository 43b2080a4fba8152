//! The JSON calls `slapos.<verb>.v0.<subject>` with the proxy's specifics (P 3).

mod document;
mod method;
mod schema;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use slap_server::{headers, reason};

use super::json::Spacing;
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
    headers::need_json(&call.headers)?;
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
