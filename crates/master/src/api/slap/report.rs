//! What nodes and instances report: of releases, of instances, of what was published.

use std::sync::Arc;

use axum::body::Bytes;
use axum::response::Response;
use slap::ReleaseUrl;
use slap_server::Problem;
use slap_server::forms::{PublishForm, RenameForm, shared_reference};

use super::super::{App, Call, reply};
use crate::store::{InstallationReport, Reported};

/// The answer to a call that has none (P 1.3: clients ignore it).
pub(super) fn nothing() -> Response {
    reply::text(Bytes::new())
}

async fn installation(
    app: &App,
    call: &Call,
    report: InstallationReport,
) -> Result<Response, Problem> {
    let form = call.form();
    let node = super::node_in(&form, "computer_id")?;
    let release = form.reference::<ReleaseUrl>("url")?;
    app.store
        .report_installation(call.caller, node, release, report)
        .await?;
    Ok(nothing())
}

pub(super) async fn building(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    installation(&app, &call, InstallationReport::Building).await
}

pub(super) async fn available(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    installation(&app, &call, InstallationReport::Available).await
}

pub(super) async fn release_error(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let log = call.form().get("error_log").unwrap_or_default().to_owned();
    installation(&app, &call, InstallationReport::Error(log)).await
}

pub(super) async fn release_gone(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    installation(&app, &call, InstallationReport::Destroyed).await
}

async fn instance(app: &App, call: &Call, reported: Reported) -> Result<Response, Problem> {
    let subject = super::subject(&call.form())?;
    app.store
        .report_instance(call.caller, subject, reported)
        .await?;
    Ok(nothing())
}

pub(super) async fn started(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    instance(&app, &call, Reported::Started).await
}

pub(super) async fn stopped(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    instance(&app, &call, Reported::Stopped).await
}

pub(super) async fn destroyed(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    instance(&app, &call, Reported::Destroyed).await
}

pub(super) async fn instance_error(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let form = call.form();
    let subject = super::subject(&form)?;
    let shared = super::shared_named(shared_reference(&form))?;
    let log = form.get("error_log").unwrap_or_default().to_owned();
    app.store
        .instance_error(call.caller, subject, shared, log)
        .await?;
    Ok(nothing())
}

pub(super) async fn instance_bang(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let form = call.form();
    let subject = super::subject(&form)?;
    let message = form.get("message").unwrap_or_default().to_owned();
    app.store.bang(call.caller, subject, message).await?;
    Ok(reply::text("OK"))
}

pub(super) async fn rename(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let form = RenameForm::read(&call.form())?;
    let subject = super::subject_at(&form.place)?;
    let shared = super::shared_named(form.shared)?;
    app.store
        .rename(call.caller, subject, shared, form.title)
        .await?;
    Ok(nothing())
}

pub(super) async fn publish(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let form = PublishForm::read(&call.form())?;
    let subject = super::subject_at(&form.place)?;
    let shared = super::shared_named(form.shared)?;
    app.store
        .publish(call.caller, subject, shared, form.connection)
        .await?;
    Ok(nothing())
}

/// Which instances a partition requested in its last run. It must exist, and has no effect
/// (P 6.10): what is requested no more is not destroyed by silence.
pub(super) async fn related(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let form = call.form();
    let subject = super::subject(&form)?;
    form.value("instance_reference_xml")?;
    app.store.instance(call.caller, subject).await?;
    Ok(nothing())
}
