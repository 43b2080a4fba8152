//! Calls that only read.

use serde_json::{Value, json};
use slap_server::json_rpc::{ErrorType, Input, answer};

use super::super::slap::status::StatusDict;
use super::super::{App, Call};
use super::{Answer, document, error, instance_key, node, refused, subject, unknown};
use crate::domain::Caller;
use crate::store::{Page, ProductRecord, Subject};

/// Longest list of trees. A person with more pages through them by the hypermedia documents.
const TREES_MAX: i64 = 100_000;

/// A node's lists are its heartbeat (P 3.3).
async fn heartbeat(app: &App, call: &Call) -> Result<(), slap_server::json_rpc::JsonError> {
    if matches!(call.caller, Caller::Node(_)) {
        let touched = app.store.touch(call.caller).await;
        touched.map_err(|failure| error(failure.into()))?;
    }
    Ok(())
}

pub(super) async fn node_instances(app: &App, call: &Call, input: &Input) -> Answer {
    let node = node(input)?;
    heartbeat(app, call).await?;
    let instances = app
        .store
        .instances_on(call.caller, node)
        .await
        .map_err(|error| refused(error, ErrorType::NodeNotFound))?;
    Ok(answer::list(instances.into_iter().map(|record| {
        json!({
            "title": record.title,
            "instance_guid": record.key.to_string(),
            "state": record.state.as_str(),
            "compute_partition_id": record
                .placement
                .map_or_else(String::new, |place| place.partition),
            "software_release_uri": record.release,
        })
    })))
}

pub(super) async fn node_installations(app: &App, call: &Call, input: &Input) -> Answer {
    let node = node(input)?;
    heartbeat(app, call).await?;
    let mut installations = app
        .store
        .installations(call.caller, node)
        .await
        .map_err(|error| refused(error, ErrorType::NodeNotFound))?;
    installations.sort_by_key(|record| record.key);
    Ok(answer::list(installations.into_iter().map(
        |record| json!({"software_release_uri": record.release, "state": record.state.as_str()}),
    )))
}

pub(super) async fn shared_instances(app: &App, call: &Call, input: &Input) -> Answer {
    let key = instance_key(input, ErrorType::HostInstanceNotFound)?;
    heartbeat(app, call).await?;
    let absent = |error| refused(error, ErrorType::HostInstanceNotFound);
    let host = app
        .store
        .instance(call.caller, Subject::Instance(key))
        .await
        .map_err(absent)?;
    if host.shared {
        let kind = ErrorType::HostInstanceNotFound;
        return Err(unknown(
            kind,
            "instance that could serve others",
            &key.to_string(),
        ));
    }
    let served = app
        .store
        .shared_on(call.caller, key)
        .await
        .map_err(absent)?;
    Ok(answer::list(served.into_iter().map(|record| {
        json!({
            "title": record.title,
            "instance_guid": record.key.to_string(),
            "software_type": record.software_type,
            "state": record.state.as_str(),
            "parameters": record.parameters,
            "software_release_uri": record.release,
            "compute_partition_id": record
                .placement
                .map_or_else(String::new, |place| place.partition),
        })
    })))
}

pub(super) async fn trees(app: &App, call: &Call) -> Answer {
    heartbeat(app, call).await?;
    let trees = app
        .store
        .list_trees(call.caller, Page::first(TREES_MAX))
        .await
        .map_err(|failure| error(failure.into()))?;
    Ok(answer::list(
        trees.into_iter().map(|tree| json!({"title": tree.title})),
    ))
}

pub(super) async fn nodes(app: &App, call: &Call) -> Answer {
    heartbeat(app, call).await?;
    let nodes = app
        .store
        .list_nodes(call.caller, None, Page::first(TREES_MAX))
        .await
        .map_err(|failure| error(failure.into()))?;
    Ok(answer::list(nodes.into_iter().map(
        |line| json!({"computer_guid": line.node.to_string()}),
    )))
}

pub(super) async fn node_status(app: &App, call: &Call, input: &Input) -> Answer {
    let node = node(input)?;
    let record = app
        .store
        .node(call.caller, node)
        .await
        .map_err(|error| refused(error, ErrorType::NodeNotFound))?;
    let status = StatusDict {
        status: &record.status,
        reference: node.to_string(),
        portal_type: "Compute Node",
        user: node.to_string(),
        changed: None,
        now: app.store.clock().now(),
    };
    Ok(status.to_value().to_json())
}

pub(super) async fn partition(app: &App, call: &Call, input: &Input) -> Answer {
    let node = node(input)?;
    let name = input.text("compute_partition_id").to_owned();
    let record = app
        .store
        .instance(
            call.caller,
            Subject::At {
                node,
                partition: name,
            },
        )
        .await
        .map_err(|error| refused(error, ErrorType::InstanceNotFound))?;
    Ok(document(record))
}

pub(super) async fn instance(app: &App, call: &Call, input: &Input) -> Answer {
    let record = app
        .store
        .instance(call.caller, subject(input)?)
        .await
        .map_err(|error| refused(error, ErrorType::InstanceNotFound))?;
    Ok(document(record))
}

pub(super) async fn tree(app: &App, call: &Call, input: &Input) -> Answer {
    let title = input.text("title");
    let root = app
        .store
        .tree_by_title(call.caller, title.to_owned())
        .await
        .map_err(|error| refused(error, ErrorType::TreeNotFound))?;
    match root {
        Some(root) if root.placement.is_some() => Ok(document(root)),
        Some(_) => Ok(answer::not_ready()),
        None => Err(unknown(ErrorType::TreeNotFound, "instance tree", title)),
    }
}

pub(super) fn hateoas_url(call: &Call) -> Answer {
    Ok(json!({
        "hateoas_url": format!("{}/hateoas/", call.origin.base_url),
        "keeps_omitted": true,
    }))
}

pub(super) async fn products(app: &App, call: &Call) -> Answer {
    let now = app.store.clock().now();
    let products = app
        .store
        .products(call.caller, None)
        .await
        .map_err(|failure| error(failure.into()))?;
    let product = |product: ProductRecord| {
        let releases = product.releases.into_iter();
        let urls = releases.filter(|release| release.in_effect(now));
        json!({
            "product_reference": product.reference,
            "title": product.title,
            "project_guid": product.project.to_string(),
            "software_release_uri_list": urls.map(|release| release.url).collect::<Vec<_>>(),
        })
    };
    Ok(answer::list(products.into_iter().map(product)))
}

pub(super) async fn instance_certificate(app: &App, call: &Call, input: &Input) -> Answer {
    let key = instance_key(input, ErrorType::InstanceNotFound)?;
    let certified = app
        .auth
        .certifier()
        .for_instance(call.caller, key)
        .await
        .map_err(|error| refused(error, ErrorType::InstanceNotFound))?;
    Ok(certificate(&certified))
}

/// A certificate with its key, to be handed over.
pub(super) fn certificate(certified: &crate::auth::Certified) -> Value {
    answer::certificate(&certified.key, &certified.certificate)
}
