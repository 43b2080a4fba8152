//! The calls that write, or would at a full Master.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::response::Response;
use slap::format::NodeFormat;
use slap::{
    InstallationState, InstanceState, InstanceTitle, NodeId, PartitionId, ReleaseUrl, SoftwareType,
    Value, instance_xml, marshal, python,
};

use super::super::cache::Replies;
use super::super::fields::{Fields, given};
use super::super::reports::Subject;
use super::super::request::{Placed, place as place_request};
use super::super::{App, Call, Problem, text};
use super::{documents, get::marshalled};
use crate::domain::{Address, Parameters, Place, Refusal, Report, Request};
use crate::store::NodeDescription;

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
            if let Some(node) = given(form.get("computer_id")) {
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
        "softwareInstanceError" if given(form.get("slave_reference")).is_none() => {
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
    let node = form.need("computer_id")?;
    let partition = form.need("computer_partition_id")?;
    named_place(node, partition)
}

/// A place by names that may be no good: then nobody knows it either.
pub(super) fn named_place(node: &str, partition: &str) -> Result<Place, Problem> {
    match (NodeId::new(node), PartitionId::new(partition)) {
        (Ok(node), Ok(partition)) => Ok(Place { node, partition }),
        _ => Err(Refusal::UnknownPartition {
            node: node.to_owned(),
            partition: partition.to_owned(),
        }
        .into()),
    }
}

async fn request(app: &Arc<App>, call: &Call) -> Result<Response, Problem> {
    let revision = app.store.revision();
    let key = Replies::key(call.header("authorization").unwrap_or_default(), &call.body);
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
    let form = call.form();
    let requester = match call.known_caller(app)? {
        Some(caller) => Some(caller),
        None => match (
            given(form.get("computer_id")),
            given(form.get("computer_partition_id")),
        ) {
            (Some(node), Some(partition)) => Some(named_place(node, partition)?),
            _ => None,
        },
    };
    let shared = match form.value("shared_xml")? {
        Value::None => false,
        Value::Bool(shared) => shared,
        Value::Int(number) => number != 0,
        other => {
            return Err(Problem::bad_request(format!(
                "The field shared_xml holds {} instead of a truth value",
                other.kind()
            )));
        }
    };
    let state = match form.value("state")? {
        Value::None => None,
        Value::String(word) if word.is_empty() => None,
        Value::String(word) => Some(
            word.parse::<InstanceState>()
                .map_err(|error| Problem::bad_request(format!("The field state: {error}")))?,
        ),
        other => {
            return Err(Problem::bad_request(format!(
                "The field state holds {} instead of a word",
                other.kind()
            )));
        }
    };
    Ok(Request {
        requester,
        release: form.reference::<ReleaseUrl>("software_release")?,
        software_type: SoftwareType::new(given(form.get("software_type")).unwrap_or_default())?,
        title: form.reference::<InstanceTitle>("partition_reference")?,
        parameters: Parameters::new(form.dictionary("partition_parameter_xml")?, shared)
            .map_err(Problem::bad_request)?,
        sla: Parameters::new(form.dictionary("filter_xml")?, false)
            .map_err(Problem::bad_request)?,
        state,
        shared,
    })
}

async fn publish(app: &App, form: &Fields<'_>) -> Result<Response, Problem> {
    let place = place(form)?;
    form.need("connection_xml")?;
    let parameters = flat(form.dictionary("connection_xml")?);
    instance_xml::encode(&parameters).map_err(Problem::bad_request)?;
    let shared = given(form.get("slave_reference")).map(str::to_owned);
    app.store.publish(place, shared, parameters).await?;
    Ok(text("done"))
}

fn flat(entries: BTreeMap<String, Value>) -> BTreeMap<String, String> {
    entries
        .into_iter()
        .map(|(key, value)| match value {
            Value::String(text) => (key, text),
            other => (key, python::str(&other)),
        })
        .collect()
}

async fn supply(app: &App, form: &Fields<'_>) -> Result<Response, Problem> {
    let release = form.reference::<ReleaseUrl>("url")?;
    let node = match given(form.get("computer_id")) {
        Some(node) => NodeId::new(node)?,
        None => app.default_node.clone(),
    };
    let state = form.word::<InstallationState>("state")?;
    let said = format!(
        "Supplied {} to be {state}",
        python::repr(&Value::text(release.as_str()))
    );
    app.store.supply(node, release, state).await?;
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
    let place = place(form)?;
    let title = form.reference::<InstanceTitle>("new_name")?;
    let shared = given(form.get("slave_reference")).map(str::to_owned);
    match app.store.rename(place, shared, title).await {
        Ok(()) => Ok(text("done")),
        Err(crate::store::StoreError::Refused(refusal @ Refusal::UnknownPartition { .. })) => {
            Ok(text(refusal.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

async fn format(app: &App, form: &Fields<'_>) -> Result<Response, Problem> {
    form.need("xml")?;
    let format = NodeFormat::from_value(&form.value("xml")?)
        .map_err(|error| Problem::bad_request(format!("The field xml: {error}")))?;
    let description = NodeDescription {
        node: format.node,
        address: format.address,
        netmask: format.netmask,
        partitions: format
            .partitions
            .into_iter()
            .map(|partition| {
                let interface = partition.interface;
                let addresses = partition
                    .addresses
                    .into_iter()
                    .map(|address| Address {
                        interface: interface.clone(),
                        address: address.address,
                        netmask: address.netmask,
                        route: None,
                    })
                    .collect();
                (partition.partition.as_str().to_owned(), addresses)
            })
            .collect(),
    };
    app.store.format(description.checked()?).await?;
    Ok(text("done"))
}
