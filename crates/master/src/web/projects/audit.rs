//! Who changed what in a project, for those who manage it.

use std::sync::Arc;

use axum::response::Response;
use slap_server::Problem;

use super::super::Visit;
use super::super::audit::trail;
use super::project::Subject;
use crate::api::{App, Call};

pub(super) async fn show(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let subject = Subject::of(&app, &call).await?;
    let body = trail(
        &app,
        &call,
        &visit,
        &subject.path("audit"),
        Some(subject.key()),
    )
    .await?;
    Ok(subject.page(&visit).live("").show(body))
}
