//! The calls: their names, what they accept, what they do.

use std::sync::Arc;

use serde_json::{Value, json};
use slap::{
    InstallationState, InstanceState, InstanceTitle, NodeId, PartitionId, ReleaseUrl, SoftwareType,
    instance_xml, python,
};

use super::super::request::{Placed, place};
use super::super::{App, Call, Problem};
use super::schema::{Input, Kind, Member, PARTITION, may, need};
use super::{Answer, document, refusal, success, unknown_instance};
use crate::domain::{Instance, Parameters, Place, Request};

macro_rules! methods {
    ($($variant:ident $name:literal [$($member:expr),*];)*) => {
        /// A call.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Method {
            $(#[doc = $name] $variant,)*
        }

        impl Method {
            #[cfg(test)]
            pub(super) const NAMES: &'static [&'static str] = &[$($name),*];

            /// The call of this name.
            pub(super) fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Method::$variant),)*
                    _ => None,
                }
            }

            /// What it accepts.
            pub(super) fn input(self) -> &'static [Member] {
                match self {
                    $(Method::$variant => const { &[$($member),*] },)*
                }
            }
        }
    };
}

const INSTANCE_STATES: &[&str] = &["started", "stopped", "destroyed"];
const INSTALLATION_STATES: &[&str] = &["available", "destroyed"];

methods! {
    NodeInstances "slapos.allDocs.v0.compute_node_instance_list"
        [need("computer_guid", Kind::Text)];
    NodeInstallations "slapos.allDocs.v0.compute_node_software_installation_list"
        [need("computer_guid", Kind::Text)];
    SharedInstances "slapos.allDocs.v0.instance_node_instance_list"
        [need("instance_guid", Kind::Text)];
    Trees "slapos.allDocs.v0.instance_tree_list" [];
    Nodes "slapos.allDocs.WIP.compute_node_list" [];
    NodeStatus "slapos.get.v0.compute_node_status" [need("computer_guid", Kind::Text)];
    Partition "slapos.get.v0.compute_partition"
        [need("computer_guid", Kind::Text), need("compute_partition_id", Kind::Text)];
    Instance "slapos.get.v0.software_instance" [need("instance_guid", Kind::Text)];
    Tree "slapos.get.v0.instance_tree" [need("title", Kind::Title)];
    Hateoas "slapos.get.v0.hateoas_url" [];
    InstanceCertificate "slapos.get.v0.software_instance_certificate"
        [need("instance_guid", Kind::Text)];
    NodeCertificate "slapos.post.v0.compute_node_certificate" [need("computer_guid", Kind::Text)];
    NodeUsage "slapos.post.v0.compute_node_usage"
        [need("computer_guid", Kind::Text), need("tioxml", Kind::Text)];
    Supply "slapos.post.v0.software_installation"
        [need("computer_guid", Kind::Text), need("software_release_uri", Kind::Text),
         may("state", Kind::Word(INSTALLATION_STATES))];
    Request "slapos.post.v0.software_instance"
        [need("title", Kind::Title), need("software_release_uri", Kind::Text),
         need("software_type", Kind::Text), may("parameters", Kind::Object),
         may("state", Kind::Word(INSTANCE_STATES)), may("shared", Kind::Bool),
         may("sla_parameters", Kind::Sla)];
    NodeBang "slapos.put.v0.compute_node_bang"
        [need("computer_guid", Kind::Text), need("message", Kind::Text)];
    Format "slapos.put.v0.compute_node_format"
        [need("computer_guid", Kind::Text), need("compute_partition_list", Kind::List(PARTITION))];
    InstallationError "slapos.put.v0.software_installation_error"
        [need("computer_guid", Kind::Text), need("software_release_uri", Kind::Text),
         need("message", Kind::Text)];
    InstallationReport "slapos.put.v0.software_installation_reported_state"
        [need("computer_guid", Kind::Text), need("software_release_uri", Kind::Text),
         need("reported_state", Kind::Word(&["available", "destroyed", "building"]))];
    InstanceBang "slapos.put.v0.software_instance_bang"
        [need("instance_guid", Kind::Text), need("message", Kind::Text)];
    Publish "slapos.put.v0.software_instance_connection_parameter"
        [need("instance_guid", Kind::Text), need("connection_parameter_dict", Kind::Object)];
    InstanceError "slapos.put.v0.software_instance_error"
        [need("instance_guid", Kind::Text), need("message", Kind::Text)];
    InstanceReport "slapos.put.v0.software_instance_reported_state"
        [need("instance_guid", Kind::Text),
         need("reported_state", Kind::Word(&["started", "destroyed", "stopped"]))];
    Rename "slapos.put.v0.software_instance_title"
        [need("instance_guid", Kind::Text), need("title", Kind::Title)];
    RemoveNodeCertificate "slapos.remove.v0.compute_node_certificate"
        [need("computer_guid", Kind::Text)];
}

impl Method {
    /// Does what the call asks for, with an input that was checked.
    pub(super) async fn run(self, app: &Arc<App>, call: &Call, input: Input<'_>) -> Answer {
        match self {
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
            Method::Hateoas => Ok(json!({"hateoas_url": format!("{}/hateoas/", call.base_url())})),
            Method::InstanceCertificate | Method::NodeCertificate => {
                Ok(json!({"key": "", "certificate": ""}))
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
}

fn list(items: Vec<Value>) -> Answer {
    Ok(json!({"result_list": items}))
}

/// The node's state, if anybody has named that node.
fn node(app: &App, input: Input<'_>) -> Result<crate::store::NodeState, Problem> {
    let guid = input.text("computer_guid");
    let known = match NodeId::new(guid) {
        Ok(node) => app.store.node(&node)?,
        Err(_) => None,
    };
    known.ok_or_else(|| Problem::forbidden(format!("{guid} is not registered.")))
}

fn node_instances(app: &App, input: Input<'_>) -> Answer {
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

fn node_installations(app: &App, input: Input<'_>) -> Answer {
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

fn shared_instances(app: &App, input: Input<'_>) -> Answer {
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

fn partition(app: &App, input: Input<'_>) -> Answer {
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

fn tree(app: &App, input: Input<'_>) -> Answer {
    let title = input.text("title");
    let root = match app.store.root(title, false)? {
        Some(root) => Some(root),
        None => app.store.root(title, true)?,
    };
    root.map(|root| document::instance(&root))
        .ok_or_else(|| Problem::forbidden(format!("No instance tree {title} found.")))
}

async fn supply(app: &App, input: Input<'_>) -> Answer {
    let release = ReleaseUrl::new(input.text("software_release_uri"))?;
    let node = NodeId::new(input.text("computer_guid"))?;
    let state: InstallationState = input
        .optional("state")
        .unwrap_or("available")
        .parse()
        .map_err(Problem::bad_request)?;
    let said = format!("Supplied {release} to be {state}");
    app.store.supply(node, release, state).await?;
    success(said)
}

async fn request(app: &Arc<App>, call: &Call, input: Input<'_>) -> Answer {
    let shared = input.flag("shared");
    let state: InstanceState = input
        .optional("state")
        .unwrap_or("started")
        .parse()
        .map_err(Problem::bad_request)?;
    let request = Request {
        requester: call.caller(app)?.map(Place::from),
        release: ReleaseUrl::new(input.text("software_release_uri"))?,
        software_type: SoftwareType::new(input.text("software_type"))?,
        title: InstanceTitle::new(input.text("title"))?,
        parameters: Parameters::new(input.entries("parameters"), shared)
            .map_err(Problem::bad_request)?,
        sla: Parameters::new(input.entries("sla_parameters"), false)
            .map_err(Problem::bad_request)?,
        state: Some(state),
        shared,
    };
    let asked = request.clone();
    Ok(match place(app, call, request).await? {
        Placed::Here(instance) => document::instance(&instance),
        Placed::There { document, .. } => document::relayed(&asked, &document),
        Placed::Frontend(frontend) => document::frontend(&asked, frontend),
    })
}

async fn format(app: &App, input: Input<'_>) -> Answer {
    let description = slap_server::NodeDescription::from_json(input.0)?;
    app.store.format(description.into()).await?;
    success("Formatted")
}

async fn installation_report(app: &App, input: Input<'_>) -> Answer {
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
fn ordinary(app: &App, input: Input<'_>) -> Result<(Place, Instance), Problem> {
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

async fn publish(app: &App, input: Input<'_>) -> Answer {
    let guid = input.text("instance_guid");
    let instance = instance(app, guid)?;
    let place = instance.place.ok_or_else(|| unknown_instance(guid))?;
    let parameters = input
        .entries("connection_parameter_dict")
        .into_iter()
        .map(|(key, value)| (key, python::str(&value)))
        .collect();
    instance_xml::encode(&parameters).map_err(Problem::bad_request)?;
    app.store
        .publish(place, instance.reference, parameters)
        .await?;
    success("Updated")
}

async fn instance_report(app: &App, input: Input<'_>) -> Answer {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_of_the_description_and_the_experimental_one() {
        assert_eq!(Method::NAMES.len(), 25);
        for name in Method::NAMES {
            assert!(Method::named(name).is_some(), "{name}");
        }
        assert_eq!(Method::named("slapos.get.v0.nope"), None);
    }
}
