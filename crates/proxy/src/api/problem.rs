//! Why the proxy's own rules and its store refuse, as the wire's problems.

use axum::http::StatusCode;
use axum::response::Response;
use slap_server::{PAGE_TYPE, Problem};

use crate::domain::Refusal;
use crate::store::StoreError;

/// A problem as the page that upstream's server shows.
pub(crate) fn page(problem: &Problem) -> Response {
    super::reply(problem.status, PAGE_TYPE, problem.page())
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
            Refusal::Reference(_) => StatusCode::BAD_REQUEST,
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
