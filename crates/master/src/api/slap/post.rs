//! The calls that write, or would at a full Master.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;
use slap::format::NodeFormat;
use slap::{
    InstallationState, InstanceState, InstanceTitle, NodeId, PartitionId, ReleaseUrl, SoftwareType,
    Value, instance_xml, marshal, python,
};

use super::super::fields::{Fields, given};
use super::super::request::{Placed, place as place_request};
use super::super::{App, Call, Problem, text};
use super::{documents, get::marshalled};
use crate::domain::{Address, Parameters, Place, Refusal, Request};
use crate::store::NodeDescription;

pub(super) async fn answer(app: &Arc<App>, name: &str, call: &Call) -> Result<Response, Problem> {
    let form = call.form();
    match name {
        "requestComputerPartition" => request(app, &form, call).await,
        "setComputerPartitionConnectionXml" => publish(app, &form).await,
        "supplySupply" => supply(app, &form).await,
        "destroyedSoftwareRelease" => {
            let node = form.need("computer_id")?.to_owned();
            let release = form.need("url")?.to_owned();
            app.store.release_removed(node, release).await?;
            Ok(text("OK"))
        }
        "destroyedComputerPartition" => destroyed(app, &form).await,
        "softwareInstanceBang" => {
            app.store.bang(place(&form)?).await?;
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
        // Reports that only a Master with people watching it has a use for.
        _ => Ok(text("Ignored")),
    }
}

/// The partition a form names.
fn place(form: &Fields<'_>) -> Result<Place, Problem> {
    let node = form.need("computer_id")?;
    let partition = form.need("computer_partition_id")?;
    named_place(node, partition)
}

/// A place by names that may be no good: then nobody knows it either.
fn named_place(node: &str, partition: &str) -> Result<Place, Problem> {
    match (NodeId::new(node), PartitionId::new(partition)) {
        (Ok(node), Ok(partition)) => Ok(Place { node, partition }),
        _ => Err(Refusal::UnknownPartition {
            node: node.to_owned(),
            partition: partition.to_owned(),
        }
        .into()),
    }
}

async fn request(app: &Arc<App>, form: &Fields<'_>, call: &Call) -> Result<Response, Problem> {
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
    let request = Request {
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
    };
    let release = request.release.clone();
    let answer = match place_request(app, call, request).await? {
        Placed::Here(instance) => documents::requested(&instance)?,
        Placed::There { master, document } => {
            documents::relayed(&master, release.as_str(), shared, &document)
        }
        Placed::Frontend(frontend) => documents::frontend(frontend),
    };
    Ok(text(marshal::encode(&answer)?))
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
        (Ok(node), Ok(partition)) => app.store.destroyed(Place { node, partition }).await?,
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
