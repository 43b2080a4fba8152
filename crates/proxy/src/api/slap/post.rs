//! The calls that write, or would at a full Master.

use std::sync::Arc;

use axum::body::Bytes;
use axum::response::Response;
use slap::{NodeId, PartitionId, Value, marshal, python};
use slap_server::forms::{self, PublishForm, RenameForm, SupplyForm, shared_reference};
use slap_server::status::Report;
use slap_server::{Fields, RequestForm, headers};

use super::super::cache::Replies;
use super::super::reports::Subject;
use super::super::request::{Placed, place as place_request};
use super::super::{App, Call, Problem, text};
use super::{documents, get::marshalled};
use crate::domain::{Place, Refusal, Request};

pub(super) async fn answer(app: &Arc<App>, name: &str, call: &Call) -> Result<Response, Problem> {
    if name == "requestComputerPartition" {
        return request(app, call).await;
    }
    let form = call.form();
    match name {
        "setComputerPartitionConnectionXml" => publish(app, &form).await,
        "supplySupply" => supply(app, &form).await,
        "destroyedSoftwareRelease" => {
            let node = form.need("computer_id")?.to_owned();
            let release = form.need("url")?.to_owned();
            app.reports.forget(&Subject::Installation {
                node: node.clone(),
                release: release.clone(),
            });
            app.store.release_removed(node, release).await?;
            Ok(text("OK"))
        }
        "destroyedComputerPartition" => destroyed(app, &form).await,
        "softwareInstanceBang" => {
            let place = place(&form)?;
            app.store.bang(place.clone()).await?;
            let message = form.get("message").unwrap_or_default();
            app.reports
                .note(Subject::Partition(place), Report::Bang(message));
            Ok(text("OK"))
        }
        "softwareInstanceRename" => rename(app, &form).await,
        "computerBang" => {
            if let Some(node) = form.given("computer_id") {
                app.store.bang_node(node.to_owned()).await?;
            }
            marshalled(&Value::text(""))
        }
        "loadComputerConfigurationFromXML" => format(app, &form).await,
        _ => {
            note_report(app, name, &form)?;
            Ok(text("Ignored"))
        }
    }
}

/// Reports change nothing here: they are remembered, for whoever asks how things are.
fn note_report(app: &App, name: &str, form: &Fields<'_>) -> Result<(), Problem> {
    let log = form.get("error_log").unwrap_or_default();
    let on_instance = match name {
        "startedComputerPartition" => Some(Report::Started),
        "stoppedComputerPartition" => Some(Report::Stopped),
        // Of a shared instance's trouble its host's record says nothing.
        "softwareInstanceError" if shared_reference(form).is_none() => {
            Some(Report::InstanceError(log))
        }
        _ => None,
    };
    if let Some(report) = on_instance {
        let place = place(form)?;
        // Only of partitions that are there: a stranger's words take no memory.
        if app
            .store
            .has_partition(place.node.as_str(), place.partition.as_str())?
        {
            app.reports.note(Subject::Partition(place), report);
        }
        return Ok(());
    }
    if !matches!(
        name,
        "buildingSoftwareRelease" | "availableSoftwareRelease" | "softwareReleaseError"
    ) {
        return Ok(());
    }
    let release = form.need("url")?;
    let report = match name {
        "buildingSoftwareRelease" => Report::Building(release),
        "availableSoftwareRelease" => Report::Available(release),
        _ => Report::InstallationError(release),
    };
    let subject = Subject::Installation {
        node: form.need("computer_id")?.to_owned(),
        release: release.to_owned(),
    };
    app.reports.note(subject, report);
    Ok(())
}

/// The partition a form names.
fn place(form: &Fields<'_>) -> Result<Place, Problem> {
    Ok(forms::place(form)?.into())
}

async fn request(app: &Arc<App>, call: &Call) -> Result<Response, Problem> {
    let revision = app.store.revision();
    let key = Replies::key(
        headers::text(&call.headers, "authorization").unwrap_or_default(),
        &call.body,
    );
    if let Some(key) = &key
        && let Some(reply) = app.replies.get(key, revision)
    {
        return Ok(text(reply));
    }
    let request = read_request(app, call)?;
    let (release, shared) = (request.release.clone(), request.shared);
    // Which Master a URL names depends on more than the request.
    let repeatable = request.sla_text("master_url").is_none();
    let (answer, here) = match place_request(app, call, request).await? {
        Placed::Here(instance) => (documents::requested(&instance)?, true),
        Placed::There { master, document } => (
            documents::relayed(&master, release.as_str(), shared, &document),
            false,
        ),
        Placed::Frontend(frontend) => (documents::frontend(frontend), false),
    };
    let reply = Bytes::from(marshal::encode(&answer)?);
    if let Some(key) = key
        && here
        && repeatable
        && app.store.revision() == revision
    {
        app.replies.put(key, revision, reply.clone());
    }
    Ok(text(reply))
}

fn read_request(app: &App, call: &Call) -> Result<Request, Problem> {
    let form = RequestForm::read(&call.form(), call.caller(app)?)?;
    Request::from_form(form).map_err(Problem::bad_request)
}

async fn publish(app: &App, form: &Fields<'_>) -> Result<Response, Problem> {
    let form = PublishForm::read(form)?;
    app.store
        .publish(form.place.into(), form.shared, form.connection)
        .await?;
    Ok(text("done"))
}

async fn supply(app: &App, form: &Fields<'_>) -> Result<Response, Problem> {
    let form = SupplyForm::read(form)?;
    let node = form.node.unwrap_or_else(|| app.default_node.clone());
    let said = format!(
        "Supplied {} to be {}",
        python::repr(&Value::text(form.release.as_str())),
        form.state
    );
    app.store.supply(node, form.release, form.state).await?;
    Ok(text(said))
}

/// Always 200: the text tells (quirk 21).
async fn destroyed(app: &App, form: &Fields<'_>) -> Result<Response, Problem> {
    let node = form.need("computer_id")?;
    let partition = form.need("computer_partition_id")?;
    let outcome = match (NodeId::new(node), PartitionId::new(partition)) {
        (Ok(node), Ok(partition)) => {
            let place = Place { node, partition };
            let outcome = app.store.destroyed(place.clone()).await?;
            if outcome.is_ok() {
                app.reports.forget(&Subject::Partition(place));
            }
            outcome
        }
        _ => Err(Refusal::UnknownPartition {
            node: node.to_owned(),
            partition: partition.to_owned(),
        }),
    };
    Ok(match outcome {
        Ok(()) => text("OK"),
        Err(refusal) => text(refusal.to_string()),
    })
}

async fn rename(app: &App, form: &Fields<'_>) -> Result<Response, Problem> {
    let form = RenameForm::read(form)?;
    let renamed = app
        .store
        .rename(form.place.into(), form.shared, form.title)
        .await;
    match renamed {
        Ok(()) => Ok(text("done")),
        Err(crate::store::StoreError::Refused(refusal @ Refusal::UnknownPartition { .. })) => {
            Ok(text(refusal.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

async fn format(app: &App, form: &Fields<'_>) -> Result<Response, Problem> {
    let mut description = slap_server::NodeDescription::read(form)?;
    for partition in &mut description.partitions {
        // Upstream's proxy does not know of the tap's own address.
        partition
            .addresses
            .retain(|address| address.route.is_none());
    }
    app.store.format(description.into()).await?;
    Ok(text("done"))
}
