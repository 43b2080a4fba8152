//! Calls about compute nodes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use slap::marshal;
use slap::usage::Usage;
use slap_server::Problem;
use slap_server::description::NodeDescription;
use slap_server::forms::SupplyForm;

use super::super::{App, Call, description, reply};
use super::documents;
use super::report::nothing;
use crate::domain::{Caller, NodeKind, NodeReference, ProjectKey, Role};

/// Everything a node is told: the document it polls. An idle poll costs one look-up.
pub(super) async fn document(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let node = super::node_in(&call.arguments(), "computer_id")?;
    if call.caller != Caller::Node(node.key) {
        // Everybody else sees a part of it: nothing of that is kept.
        return Ok(as_document(build(&app, call.caller, node).await?.0));
    }
    let revision = app.store.node_revision(call.caller, node).await?;
    let tag = tag(&app, revision);
    if call.has(&tag) {
        app.metrics
            .documents_unchanged
            .fetch_add(1, Ordering::Relaxed);
        let mut response = Response::new(axum::body::Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(tagged(response, &tag));
    }
    if let Some(document) = app.documents.get(node.key, revision) {
        app.metrics.documents_kept.fetch_add(1, Ordering::Relaxed);
        return Ok(tagged(as_document(document), &tag));
    }
    let (document, revision) = build(&app, call.caller, node).await?;
    app.documents.put(node.key, revision, document.clone());
    let tag = self::tag(&app, revision);
    Ok(tagged(as_document(document), &tag))
}

fn tag(app: &App, revision: i64) -> String {
    format!("\"{}.{revision}\"", app.epoch)
}

/// What the caller sees of a node, with the revision it was made at.
async fn build(app: &App, caller: Caller, node: NodeReference) -> Result<(Bytes, i64), Problem> {
    let record = app.store.node_document(caller, node).await?;
    let value = documents::node(node, &record.partitions, &record.installations)?;
    app.metrics.documents_built.fetch_add(1, Ordering::Relaxed);
    Ok((Bytes::from(marshal::encode(&value)?), record.node.revision))
}

fn as_document(body: Bytes) -> Response {
    let mut response = reply::xml(body);
    reply::set(
        &mut response,
        header::CACHE_CONTROL,
        "private, no-cache, stale-if-error=604800",
    );
    response
}

fn tagged(mut response: Response, tag: &str) -> Response {
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// A new node of a project; one of that title is the same one (P 5.4).
pub(super) async fn create(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let form = call.form();
    let title = form.need("computer_title")?.to_owned();
    let project = match super::project_in(&form)? {
        Some(project) => project,
        None => only_project(&app, call.caller).await?,
    };
    let node = app
        .store
        .create_node(call.caller, project, NodeKind::Compute, title)
        .await?;
    reply::marshalled(&documents::node(node, &[], &[])?)
}

/// The one project that the caller manages, for clients that name none.
async fn only_project(app: &App, caller: Caller) -> Result<ProjectKey, Problem> {
    let projects = app.store.projects(caller, None).await?;
    let mut managed = projects
        .iter()
        .filter(|project| project.role == Some(Role::Manager) && project.closed_at.is_none());
    match (managed.next(), managed.next()) {
        (Some(only), None) => Ok(only.key),
        (None, _) => Err(Problem::forbidden(
            "You manage no project in which a compute node could be made",
        )),
        (Some(_), Some(_)) => Err(Problem::bad_request(
            "You manage several projects: name one with project_reference, such as PROJ-1",
        )),
    }
}

/// What a node tells about itself (P 6.11).
pub(super) async fn format(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let told = NodeDescription::read(&call.form())?;
    let node = super::node_named(told.node.as_str())?;
    app.store
        .format(call.caller, node, description::kept(told))
        .await?;
    Ok(reply::text("Content properly posted."))
}

/// A node asks for reprocessing of all that is on it.
pub(super) async fn bang(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let form = call.form();
    let node = super::node_in(&form, "computer_id")?;
    let message = form.get("message").unwrap_or_default().to_owned();
    app.store.bang_node(call.caller, node, message).await?;
    Ok(reply::text("OK"))
}

/// What a node says was used on it (P 6.12).
pub(super) async fn usage(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let form = call.form();
    let node = super::node_in(&form, "computer_id")?;
    let text = form.need("use_string")?;
    let usage = Usage::parse(text)
        .map_err(|error| Problem::bad_request(format!("The field use_string: {error}")))?;
    let reference = format!(
        "TIOCONS-{node}-{}",
        usage.references.first().map_or("", String::as_str)
    );
    app.store
        .usage(call.caller, node, reference, text.to_owned())
        .await?;
    Ok(reply::text("OK"))
}

/// Asks for a release on a node, or for its removal.
pub(super) async fn supply(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let form = SupplyForm::read(&call.form())?;
    let node = form
        .node
        .ok_or_else(|| Problem::bad_request("The field computer_id names no compute node"))?;
    let node = app.store.node_called(call.caller, node.as_str()).await?;
    app.store
        .supply(call.caller, node, form.release, form.state)
        .await?;
    Ok(nothing())
}
