//! What the calls do.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};
use slap::{InstanceTitle, NodeId, PartitionId};
use slap_server::RequestForm;
use slap_server::forms::{SupplyForm, publishable};
use slap_server::json_rpc::detail::moment;
use slap_server::json_rpc::{Input, Method, answer};
use slap_server::promises;

use super::super::request::{Placed, place};
use super::super::{App, Call, Problem};
use super::{Answer, details, document, refusal, success, unknown_instance};
use crate::domain::{Instance, Place, Request};

/// Does what a call asks for, with an input that was checked.
pub(super) async fn run(method: Method, app: &Arc<App>, call: &Call, input: &Input) -> Answer {
    match method {
        Method::NodeInstances => node_instances(app, input),
        Method::NodeInstallations => node_installations(app, input),
        Method::SharedInstances => shared_instances(app, input),
        Method::Trees => trees(app),
        Method::Nodes => nodes(app),
        Method::NodeStatus => Ok(json!({"text": "Unknown (not implemented)"})),
        Method::Partition => partition(app, input),
        Method::Instance => Ok(document::instance(&instance(
            app,
            input.text("instance_guid"),
        )?)),
        Method::Tree => tree(app, input),
        Method::Hateoas => Ok(json!({
            "hateoas_url": format!("{}/hateoas/", call.base_url()),
            "keeps_omitted": true,
        })),
        Method::Products => products(app),
        Method::InstanceCertificate | Method::NodeCertificate => Ok(answer::certificate("", "")),
        Method::TreeDetails => details::trees(app, input),
        Method::NodeDetails => details::nodes(app),
        Method::ReleaseNodes => details::release_nodes(app, input),
        Method::NodeDetail => details::node(app, input),
        Method::TreeDetail => details::tree(app, input),
        Method::TreePromises => details::tree_promises(app, input),
        Method::Promises => note_promises(app, input),
        // Not answered: see `is_answered`.
        Method::TreeEvents | Method::NodeEvents | Method::TreeUpgrade => {
            Err(Problem::no_such_page())
        }
        // Reports and accounts that only a Master with people watching it has a use for.
        Method::NodeUsage
        | Method::RemoveNodeCertificate
        | Method::InstallationError
        | Method::InstanceError => success("Ignored"),
        Method::Supply => supply(app, input).await,
        Method::Request => request(app, call, input).await,
        Method::NodeBang => {
            app.store
                .bang_node(input.text("computer_guid").to_owned())
                .await?;
            success("Bang handled")
        }
        Method::Format => format(app, input).await,
        Method::InstallationReport => installation_report(app, input).await,
        Method::InstanceBang => {
            let (place, _) = ordinary(app, input)?;
            app.store.bang(place).await?;
            success("Bang handled")
        }
        Method::Publish => publish(app, input).await,
        Method::InstanceReport => instance_report(app, input).await,
        Method::Rename => {
            let (place, _) = ordinary(app, input)?;
            let title = InstanceTitle::new(input.text("title"))?;
            app.store.rename(place, None, title).await?;
            success("Renamed")
        }
    }
}

fn list(items: Vec<Value>) -> Answer {
    Ok(answer::list(items))
}

/// The configuration names one release for each product.
fn products(app: &App) -> Answer {
    let product = |(name, release): &(String, String)| {
        json!({
            "product_reference": name,
            "title": name,
            "software_release_uri_list": [release],
        })
    };
    list(app.products.iter().map(product).collect())
}

/// The node's state, if anybody has named that node.
pub(super) fn node(app: &App, input: &Input) -> Result<crate::store::NodeState, Problem> {
    let guid = input.text("computer_guid");
    let known = match NodeId::new(guid) {
        Ok(node) => app.store.node(&node)?,
        Err(_) => None,
    };
    known.ok_or_else(|| Problem::forbidden(format!("{guid} is not registered.")))
}

fn node_instances(app: &App, input: &Input) -> Answer {
    let instances = node(app, input)?
        .partitions
        .into_iter()
        .filter_map(|partition| Some((partition.instance?, partition.place)))
        .map(|(instance, place)| {
            json!({
                "title": instance.title,
                "instance_guid": document::guid(&instance),
                "state": instance.state.as_str(),
                "compute_partition_id": place.partition.as_str(),
                "software_release_uri": instance.release,
            })
        })
        .collect();
    list(instances)
}

fn node_installations(app: &App, input: &Input) -> Answer {
    let installations = node(app, input)?
        .installations
        .into_iter()
        .map(|(release, state)| json!({"software_release_uri": release, "state": state.as_str()}))
        .collect();
    list(installations)
}

fn instance(app: &App, guid: &str) -> Result<Instance, Problem> {
    app.store
        .instance_by_guid(guid)?
        .ok_or_else(|| unknown_instance(guid))
}

fn shared_instances(app: &App, input: &Input) -> Answer {
    let guid = input.text("instance_guid");
    let host = instance(app, guid)
        .ok()
        .filter(|host| !host.shared)
        .ok_or_else(|| {
            let text = if crate::domain::TreeGuid::readings(guid).is_empty() {
                format!("instance_guid {guid} not handled.")
            } else {
                format!("No software instance {guid} found.")
            };
            Problem::forbidden(text)
        })?;
    let shared = app
        .store
        .shared_on(&host)?
        .iter()
        .map(|shared| {
            json!({
                "title": shared.title,
                "instance_guid": document::guid(shared),
                "software_type": shared.software_type,
                "state": shared.state.as_str(),
                "parameters": document::parameters(shared),
                "compute_partition_id": shared
                    .place
                    .as_ref()
                    .map_or("", |place| place.partition.as_str()),
            })
        })
        .collect();
    list(shared)
}

fn trees(app: &App) -> Answer {
    list(
        app.store
            .roots()?
            .iter()
            .map(|root| json!({"title": root.title}))
            .collect(),
    )
}

fn nodes(app: &App) -> Answer {
    list(
        app.store
            .nodes()?
            .iter()
            .map(|node| json!({"computer_guid": node.node.as_str()}))
            .collect(),
    )
}

fn partition(app: &App, input: &Input) -> Answer {
    let name = input.text("compute_partition_id");
    let found = match (
        NodeId::new(input.text("computer_guid")),
        PartitionId::new(name),
    ) {
        (Ok(node), Ok(partition)) => app.store.partition(&Place { node, partition })?,
        _ => None,
    };
    found
        .and_then(|partition| partition.instance)
        .map(|instance| document::instance(&instance))
        .ok_or_else(|| Problem::forbidden(format!("No instance on partition {name} found.")))
}

fn tree(app: &App, input: &Input) -> Answer {
    let title = input.text("title");
    let root = match app.store.root(title, false)? {
        Some(root) => Some(root),
        None => app.store.root(title, true)?,
    };
    root.map(|root| document::instance(&root))
        .ok_or_else(|| Problem::forbidden(format!("No instance tree {title} found.")))
}

async fn supply(app: &App, input: &Input) -> Answer {
    let form = SupplyForm::from_json(input)?;
    let node = form.node.unwrap_or_else(|| app.default_node.clone());
    let said = format!("Supplied {} to be {}", form.release, form.state);
    app.store.supply(node, form.release, form.state).await?;
    success(said)
}

async fn request(app: &Arc<App>, call: &Call, input: &Input) -> Answer {
    let form = RequestForm::from_json(input, call.caller(app)?)?;
    let request = Request::from_form(form).map_err(Problem::bad_request)?;
    let asked = request.clone();
    Ok(match place(app, call, request).await? {
        Placed::Here(instance) => document::instance(&instance),
        Placed::There { document, .. } => document::relayed(&asked, &document),
        Placed::Frontend(frontend) => document::frontend(&asked, frontend),
    })
}

async fn format(app: &App, input: &Input) -> Answer {
    let description = slap_server::NodeDescription::from_json(input)?;
    app.store.format(description.into()).await?;
    success("Formatted")
}

async fn installation_report(app: &App, input: &Input) -> Answer {
    if input.text("reported_state") != "destroyed" {
        return success("Ignored");
    }
    app.store
        .release_removed(
            input.text("computer_guid").to_owned(),
            input.text("software_release_uri").to_owned(),
        )
        .await?;
    success("Destroyed")
}

/// The partition of the ordinary instance a call names.
fn ordinary(app: &App, input: &Input) -> Result<(Place, Instance), Problem> {
    let guid = input.text("instance_guid");
    let instance = instance(app, guid)?;
    if instance.shared {
        return Err(Problem::forbidden("NotImplemented"));
    }
    let place = instance
        .place
        .clone()
        .ok_or_else(|| unknown_instance(guid))?;
    Ok((place, instance))
}

async fn publish(app: &App, input: &Input) -> Answer {
    let guid = input.text("instance_guid");
    let instance = instance(app, guid)?;
    let place = instance.place.ok_or_else(|| unknown_instance(guid))?;
    let parameters = publishable(
        input
            .entries("connection_parameter_dict")
            .unwrap_or_default(),
    )?;
    app.store
        .publish(place, instance.reference, parameters)
        .await?;
    success("Updated")
}

fn note_promises(app: &App, input: &Input) -> Answer {
    let name = input.text("compute_partition_id");
    let unknown = || Problem::forbidden(format!("No instance on partition {name} found."));
    let place = match (
        NodeId::new(input.text("computer_guid")),
        PartitionId::new(name),
    ) {
        (Ok(node), Ok(partition)) => Place { node, partition },
        _ => return Err(unknown()),
    };
    let found = app.store.partition(&place)?;
    found
        .and_then(|partition| partition.instance)
        .ok_or_else(unknown)?;
    let now = moment(SystemTime::now());
    app.reports.note_promises(place, promises::read(input, now));
    success("Promises noted")
}

async fn instance_report(app: &App, input: &Input) -> Answer {
    if input.text("reported_state") != "destroyed" {
        return success("Ignored");
    }
    let guid = input.text("instance_guid");
    let instance = instance(app, guid)?;
    let Some(place) = instance.place.filter(|_| !instance.shared) else {
        // A shared instance is gone with the request that destroys it.
        return success("Ignored");
    };
    match app.store.destroyed(place).await? {
        Ok(()) => success("Destroyed"),
        Err(refused) => Err(refusal(refused)),
    }
}
