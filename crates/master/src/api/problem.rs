//! What the Master cannot answer, as the wire's statuses; and how it looks.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use slap_server::Problem;

use super::reply;
use crate::domain::{Action, Caller, Facts, Refusal, access};
use crate::store::{SqlError, StoreError};

/// A mistake of the program or of its database: the log says more than the caller is told.
pub(crate) fn internal(detail: impl std::fmt::Display) -> Problem {
    tracing::error!("{detail}");
    Problem::internal("This Master failed and nothing was changed; its log says why")
}

/// Nobody known calls.
pub(crate) fn unauthenticated() -> Problem {
    let facts = Facts::default();
    match access::check(Caller::Anonymous, Action::SeeProject, &facts, "this") {
        Err(refusal) => of_refusal(&refusal),
        Ok(()) => internal("the rules let everybody in"),
    }
}

pub(crate) fn of_refusal(refusal: &Refusal) -> Problem {
    let status = match refusal {
        Refusal::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
        Refusal::Forbidden(_) => StatusCode::FORBIDDEN,
        Refusal::NotFound(_) => StatusCode::NOT_FOUND,
        Refusal::Invalid(_) => StatusCode::BAD_REQUEST,
        Refusal::Conflict(_) => StatusCode::CONFLICT,
        Refusal::NotReady(_) => StatusCode::REQUEST_TIMEOUT,
        Refusal::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
    };
    Problem::new(status, refusal.to_string())
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        of_refusal(&refusal)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let away = |text: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, text);
        match error {
            StoreError::Refused(refusal) => of_refusal(&refusal),
            StoreError::Closed => away("This Master is about to stop"),
            StoreError::CommitUnknown(_) | StoreError::Sql(SqlError::Lost(_)) => {
                tracing::error!("{error}");
                away("The database of this Master is away; ask again later, that is harmless")
            }
            StoreError::Sql(SqlError::Busy(_)) => {
                tracing::error!("{error}");
                away("The database of this Master is busy; nothing was changed, ask again")
            }
            StoreError::Sql(SqlError::Text(why)) => Problem::new(
                StatusCode::BAD_REQUEST,
                format!("A text in this call cannot be stored: {why}"),
            ),
            other => internal(other),
        }
    }
}

/// The small page of the legacy calls.
pub(crate) fn page(problem: &Problem) -> Response {
    reply::with(problem.status, slap_server::PAGE_TYPE, problem.page())
}

/// What belongs to a status whatever the body looks like.
pub(crate) fn add_headers(response: &mut Response) {
    match response.status() {
        // HTTP wants a challenge; there is no registered name for certificates.
        StatusCode::UNAUTHORIZED => {
            response
                .headers_mut()
                .entry(header::WWW_AUTHENTICATE)
                .or_insert(HeaderValue::from_static(
                    "Certificate realm=\"SlapOS Master\"",
                ));
        }
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            response
                .headers_mut()
                .entry(header::RETRY_AFTER)
                .or_insert(HeaderValue::from_static("5"));
        }
        _ => {}
    }
}
