//! The JSON calls `slapos.<verb>.v0.<subject>` with the proxy's specifics (P 3).

mod calls;
mod details;
mod document;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;
use slap_server::headers;
use slap_server::json::{self, Spacing};
use slap_server::json_rpc::{JsonError, Method, answer};

use super::{Allow, App, Call, Problem};
use crate::domain::Refusal;

/// What a handler answers: a document, or a problem that becomes an error document.
type Answer = Result<Value, Problem>;

/// The methods a path takes.
pub(super) fn allowed(name: &str) -> Option<Allow> {
    method(name).map(|_| Allow::Post)
}

/// The calls that are answered here: this Master keeps no history, and asks nobody about upgrades.
fn method(name: &str) -> Option<Method> {
    Method::named(name).filter(|method| {
        !matches!(
            method,
            Method::TreeEvents | Method::NodeEvents | Method::TreeUpgrade
        )
    })
}

pub(super) async fn post(app: &Arc<App>, name: &str, call: &Call) -> Response {
    let (status, document) = match answer(app, name, call).await {
        Ok(document) => (StatusCode::OK, document),
        Err(problem) => (problem.status, JsonError::from(problem).to_json()),
    };
    super::reply(
        status,
        "application/json",
        json::write(&document, Spacing::Wide),
    )
}

async fn answer(app: &Arc<App>, name: &str, call: &Call) -> Answer {
    let method = method(name).ok_or_else(Problem::no_such_page)?;
    headers::need_json(&call.headers)?;
    let input = method.read(&call.body)?;
    match calls::run(method, app, call, &input).await {
        // Here an unknown name is something the caller may not handle (P 3.2).
        Err(problem) if problem.status == StatusCode::NOT_FOUND => Err(Problem {
            status: StatusCode::FORBIDDEN,
            ..problem
        }),
        Err(problem) if problem.status == StatusCode::CONFLICT => Err(Problem {
            status: StatusCode::FORBIDDEN,
            ..problem
        }),
        Err(problem) if problem.status == StatusCode::REQUEST_TIMEOUT => Ok(answer::not_ready()),
        other => other,
    }
}

fn success(title: impl Into<String>) -> Answer {
    Ok(answer::success(title))
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
