//! `requestComputerPartition` (P 1.4).

use std::sync::Arc;

use axum::response::Response;
use slap_server::{Problem, RequestForm, headers, parameters};

use super::super::{App, Call, reply};
use super::documents;
use crate::domain::Caller;
use crate::store::{Requested, Subject, Wanted};

pub(super) async fn request(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let wanted = wanted(&call)?;
    let instance = match app.store.request(call.caller, wanted).await? {
        Requested::Placed(instance) => instance,
        Requested::Waiting { why, .. } => return Err(Problem::not_ready(why)),
    };
    let shared = if instance.shared {
        Vec::new()
    } else {
        app.store.shared_by(&instance).await?
    };
    reply::marshalled(&documents::requested(&instance, &shared)?)
}

/// What is asked for. Who asks is known from the certificate; the header of a partition, which
/// anybody can send, only says which of its partitions a node speaks for.
fn wanted(call: &Call) -> Result<Wanted, Problem> {
    let header = match call.caller {
        Caller::Node(_) => headers::partition(&call.headers)?,
        _ => None,
    };
    let form = RequestForm::read(&call.form(), header)?;
    if let Some(parameters) = &form.parameters {
        parameters::check(parameters).map_err(Problem::bad_request)?;
    }
    let requester: Option<Subject> = form.requester.as_ref().map(super::subject_at).transpose()?;
    let project = form
        .project
        .as_deref()
        .map(super::project_named)
        .transpose()?;
    Ok(Wanted {
        requester,
        project,
        title: form.title,
        release: form.release,
        software_type: form.software_type,
        parameters: form.parameters.map(parameters::flattened),
        sla: form.sla,
        state: form.state,
        shared: form.shared,
    })
}
