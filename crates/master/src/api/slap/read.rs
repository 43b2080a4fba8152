//! Calls that only read.

use std::sync::Arc;

use axum::http::header;
use axum::response::Response;
use slap::{ReleaseUrl, Value};
use slap_server::Problem;
use slap_server::forms::ProductForm;

use super::super::{App, Call, reply};
use super::documents;
use super::status::StatusDict;
use crate::store::Status;

/// Where the hypermedia documents begin (P 1.2: clients ask at every start, and keep the answer).
pub(super) async fn hateoas_url(_app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let mut response = reply::text(format!("{}/hateoas/", call.origin.base_url));
    reply::set(
        &mut response,
        header::CACHE_CONTROL,
        "private, max-age=3600, stale-if-error=604800",
    );
    Ok(response)
}

/// A text that differs between two starts.
pub(super) async fn run_id(app: Arc<App>, _call: Call) -> Result<Response, Problem> {
    Ok(reply::text(app.run_id.clone()))
}

/// A partition with what is on it.
pub(super) async fn partition(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let arguments = call.arguments();
    let node = super::node_in(&arguments, "computer_reference")?;
    let name = arguments.need("computer_partition_reference")?.to_owned();
    let record = app.store.partition(call.caller, node, name).await?;
    let mut response = reply::marshalled(&documents::registered(&record)?)?;
    reply::set(&mut response, header::CACHE_CONTROL, "private, no-cache");
    Ok(response)
}

/// What was last heard of a node.
pub(super) async fn node_status(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let node = super::node_in(&call.arguments(), "computer_id")?;
    let record = app.store.node(call.caller, node).await?;
    answer(&StatusDict {
        status: &record.status,
        reference: node.to_string(),
        portal_type: "Compute Node",
        user: node.to_string(),
        changed: None,
        now: app.store.clock().now(),
    })
}

/// What was last reported of the instance on a partition.
pub(super) async fn instance_status(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let arguments = call.arguments();
    let node = super::node_in(&arguments, "computer_id")?;
    let name = arguments.need("computer_partition_id")?.to_owned();
    let record = app.store.partition(call.caller, node, name.clone()).await?;
    let nothing = Status::default();
    let (status, reference, portal_type, changed) = match &record.instance {
        Some(instance) => (
            &instance.status,
            instance.key.to_string(),
            "Software Instance",
            Some(instance.timestamp),
        ),
        None => (&nothing, name, "Compute Partition", None),
    };
    answer(&StatusDict {
        status,
        reference,
        portal_type,
        user: node.to_string(),
        changed,
        now: app.store.clock().now(),
    })
}

/// What was last reported of a release on a node.
pub(super) async fn installation_status(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let arguments = call.arguments();
    let node = super::node_in(&arguments, "computer_id")?;
    let release = arguments.reference::<ReleaseUrl>("url")?;
    let record = app.store.installation(call.caller, node, release).await?;
    answer(&StatusDict {
        status: &record.status,
        reference: record.key.to_string(),
        portal_type: "Software Installation",
        user: node.to_string(),
        changed: None,
        now: app.store.clock().now(),
    })
}

fn answer(status: &StatusDict<'_>) -> Result<Response, Problem> {
    let mut response = reply::marshalled(&status.to_value())?;
    reply::set(
        &mut response,
        header::CACHE_CONTROL,
        "private, max-age=1, stale-if-error=604800",
    );
    Ok(response)
}

/// The addresses of all partitions of a tree.
pub(super) async fn tree_addresses(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let subject = super::subject(&call.arguments())?;
    let addresses = app.store.tree_addresses(call.caller, subject).await?;
    reply::marshalled(&documents::addresses(&addresses))
}

/// The releases of a product, the best one first (P 6.14).
pub(super) async fn product_releases(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let arguments = call.arguments();
    let project = super::project_in(&arguments)?;
    let releases = match ProductForm::read(&arguments)? {
        Some(ProductForm::Product(product)) => {
            app.store
                .product_releases(call.caller, product.into(), project)
                .await?
        }
        Some(ProductForm::Release(url)) => {
            app.store
                .releases_like(call.caller, url.into(), project)
                .await?
        }
        None => Vec::new(),
    };
    reply::marshalled(&Value::List(
        releases.into_iter().map(Value::String).collect(),
    ))
}
