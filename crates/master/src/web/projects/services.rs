//! The services in a project.

use std::sync::Arc;

use axum::response::Response;
use maud::html;
use slap_server::Problem;

use super::super::parts::empty;
use super::super::services::services;
use super::super::{Icon, Visit};
use super::project::Subject;
use crate::api::{App, Call};
use crate::store::TreesOf;

/// All of them for who manages it, else one's own.
pub(super) async fn list(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let subject = Subject::of(&app, &call).await?;
    let is_open = subject.state.project.closed_at.is_none();
    let nothing = empty(
        Icon::Services,
        "No service here",
        &html! {
            p {
                @if subject.state.is_managed { "What its members request stands here." }
                @else { "What you request in it stands here." }
            }
            @if is_open && subject.state.project.role.is_some() {
                p {
                    a.button.main
                        href=(visit.to_with("services/new", &[("project", &subject.key().to_string())])) {
                        (Icon::Plus) "Request a service"
                    }
                }
            }
        },
    );
    let of = TreesOf::Project(subject.key());
    let body = services(&app, &call, &visit, of, &nothing).await?;
    Ok(subject.page(&visit).live("").show(body))
}
