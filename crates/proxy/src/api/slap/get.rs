//! The calls that read.

use std::time::SystemTime;

use axum::body::Bytes;
use axum::response::Response;
use slap::{NodeId, PartitionId, Value, marshal};
use slap_server::forms::{ProductForm, named_place};
use slap_server::status;

use super::super::reports::Subject;
use super::super::{App, Call, Problem, text};
use super::documents;
use crate::domain::{Place, Refusal};

pub(super) fn answer(app: &App, name: &str, call: &Call) -> Result<Response, Problem> {
    match name {
        "getFullComputerInformation" | "getComputerInformation" => node(app, call),
        "registerComputerPartition" => partition(app, call),
        "getHateoasUrl" => Ok(text(format!("{}/hateoas/", call.base_url()))),
        "getComputerPartitionStatus" => partition_status(app, call),
        "getSoftwareInstallationStatus" => installation_status(app, call),
        "getComputerPartitionCertificate" => marshalled(&Value::dict([
            ("certificate", Value::text("")),
            ("key", Value::text("")),
        ])),
        "getSoftwareReleaseListFromSoftwareProduct" => product(app, call),
        "getRunId" => Ok(text(app.run_id.clone())),
        _ => Err(Problem::no_such_page()),
    }
}

pub(super) fn marshalled(value: &Value) -> Result<Response, Problem> {
    Ok(text(marshal::encode(value)?))
}

/// Everything a node is told: the document it polls.
fn node(app: &App, call: &Call) -> Result<Response, Problem> {
    let arguments = call.arguments();
    let name = arguments.need("computer_id")?;
    let revision = app.store.node_revision(name);
    if let Some(document) = app.documents.get(name, None, revision) {
        return Ok(text(document));
    }
    let unknown = || {
        Problem::from(Refusal::UnknownNode {
            node: name.to_owned(),
        })
    };
    let id = NodeId::new(name).map_err(|_| unknown())?;
    let state = app.store.node(&id)?.ok_or_else(unknown)?;
    let document = Bytes::from(marshal::encode(&documents::node(&state)?)?);
    app.documents.put(name, None, revision, document.clone());
    Ok(text(document))
}

fn partition(app: &App, call: &Call) -> Result<Response, Problem> {
    let arguments = call.arguments();
    let node = arguments.need("computer_reference")?;
    let name = arguments.need("computer_partition_reference")?;
    let revision = app.store.node_revision(node);
    if let Some(document) = app.documents.get(node, Some(name), revision) {
        return Ok(text(document));
    }
    let unknown = || {
        Problem::from(Refusal::UnknownPartition {
            node: node.to_owned(),
            partition: name.to_owned(),
        })
    };
    let place = Place {
        node: NodeId::new(node).map_err(|_| unknown())?,
        partition: PartitionId::new(name).map_err(|_| unknown())?,
    };
    let partition = app.store.partition(&place)?.ok_or_else(unknown)?;
    let document = Bytes::from(marshal::encode(
        &documents::partition(&partition)?.to_value(),
    )?);
    app.documents
        .put(node, Some(name), revision, document.clone());
    Ok(text(document))
}

/// What was last reported about a partition's instance (P 1.6).
fn partition_status(app: &App, call: &Call) -> Result<Response, Problem> {
    let arguments = call.arguments();
    let node = arguments.need("computer_id")?;
    let partition = arguments.need("computer_partition_id")?;
    let place = Place::from(named_place(node, partition)?);
    let found = app.store.partition(&place)?.ok_or_else(|| {
        Problem::from(Refusal::UnknownPartition {
            node: node.to_owned(),
            partition: partition.to_owned(),
        })
    })?;
    let guid = place.guid();
    let record = app.reports.get(&Subject::Partition(place));
    let about = status::Subject {
        reference: &guid,
        portal_type: "Software Instance",
        user: node,
        changed: found.instance.map(|instance| instance.timestamp.system()),
    };
    marshalled(&about.status(record.as_ref(), SystemTime::now()))
}

/// What was last reported about a release on a node (P 1.6).
fn installation_status(app: &App, call: &Call) -> Result<Response, Problem> {
    let arguments = call.arguments();
    let release = arguments.need("url")?.to_owned();
    let node = arguments.need("computer_id")?.to_owned();
    let record = app.reports.get(&Subject::Installation {
        node: node.clone(),
        release: release.clone(),
    });
    let about = status::Subject {
        reference: &release,
        portal_type: "Software Installation",
        user: &node,
        changed: None,
    };
    marshalled(&about.status(record.as_ref(), SystemTime::now()))
}

/// The releases of a product, by its name or by one of its releases.
fn product(app: &App, call: &Call) -> Result<Response, Problem> {
    let arguments = call.arguments();
    let wanted = ProductForm::read(&arguments)?;
    let wanted = |(name, release): &&(String, String)| match &wanted {
        Some(ProductForm::Product(product)) => name == product.as_str(),
        Some(ProductForm::Release(url)) => release == url.as_str(),
        None => false,
    };
    marshalled(&Value::List(
        app.products
            .iter()
            .filter(wanted)
            .map(|(_, release)| Value::text(release))
            .collect(),
    ))
}
