//! The documents the JSON calls answer.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use slap::document::InstanceDocument;
use slap_server::json_rpc::answer::InstanceAnswer;

use super::super::request::Frontend;
use crate::domain::{Address, Instance, Request, TreeGuid};

/// The reference of an instance here.
pub(super) fn guid(instance: &Instance) -> String {
    TreeGuid {
        title: instance.title.clone(),
        root: (!instance.is_root).then(|| instance.root_title.clone()),
        shared: instance.shared,
    }
    .to_string()
}

/// Parameters: those of ordinary instances as they come out of the instance XML, those of shared
/// ones with their types.
pub(super) fn parameters(instance: &Instance) -> Map<String, Value> {
    if instance.shared {
        object(&instance.parameters.0)
    } else {
        object(&instance.parameters.as_shown())
    }
}

fn object(entries: &BTreeMap<String, slap::Value>) -> Map<String, Value> {
    entries
        .iter()
        .map(|(key, value)| (key.clone(), value.to_json()))
        .collect()
}

fn connection(instance: &Instance) -> Map<String, Value> {
    instance
        .connection
        .iter()
        .flatten()
        .map(|(key, text)| {
            let value = if text.is_empty() {
                Value::Null
            } else {
                json!(text)
            };
            (key.clone(), value)
        })
        .collect()
}

fn plain(address: &Address) -> Option<[String; 2]> {
    address
        .route
        .is_none()
        .then(|| [address.interface.clone(), address.address.clone()])
}

fn routed(address: &Address) -> Option<[String; 5]> {
    let (gateway, network) = address.route.clone()?;
    Some([
        address.interface.clone(),
        address.address.clone(),
        gateway,
        address.netmask.clone(),
        network,
    ])
}

/// The instance document: all its members, always (P 3.1).
pub(super) fn instance(instance: &Instance) -> Value {
    // The addresses of a shared instance's host are not its own.
    let addresses: &[Address] = if instance.shared {
        &[]
    } else {
        &instance.addresses
    };
    let place = instance.place.as_ref();
    InstanceAnswer {
        title: instance.title.clone(),
        guid: guid(instance),
        release: instance.release.clone(),
        software_type: instance.software_type.clone(),
        state: instance.state.as_str().to_owned(),
        connection: connection(instance),
        parameters: parameters(instance),
        shared: instance.shared,
        root_title: instance.root_title.clone(),
        addresses: addresses.iter().filter_map(plain).collect(),
        routed_addresses: addresses.iter().filter_map(routed).collect(),
        sla: object(&instance.sla.0),
        node: place.map_or_else(String::new, |place| place.node.to_string()),
        partition: place.map_or_else(String::new, |place| place.partition.to_string()),
        timestamp: instance.timestamp.seconds(),
        status: String::new(),
    }
    .into()
}

/// The document of what was asked for elsewhere: what is not known of it is empty.
fn elsewhere(request: &Request) -> InstanceAnswer {
    let title = request.title.as_str().to_owned();
    let guid = TreeGuid {
        title: title.clone(),
        root: None,
        shared: request.shared,
    };
    let state = request.state.map_or("started", slap::InstanceState::as_str);
    InstanceAnswer {
        guid: guid.to_string(),
        release: request.release.as_str().to_owned(),
        software_type: request.software_type.as_str().to_owned(),
        state: state.to_owned(),
        parameters: object(&request.parameters.0),
        shared: request.shared,
        root_title: title.clone(),
        title,
        ..InstanceAnswer::default()
    }
}

/// The document of an instance at another Master.
pub(super) fn relayed(request: &Request, remote: &InstanceDocument) -> Value {
    let asked = elsewhere(request);
    InstanceAnswer {
        state: remote.state.clone().unwrap_or_else(|| asked.state.clone()),
        connection: remote
            .connection
            .iter()
            .map(|(key, text)| (key.clone(), json!(text)))
            .collect(),
        node: remote.node.clone(),
        partition: remote.partition.clone(),
        ..asked
    }
    .into()
}

/// The document of a short-cut's answer.
pub(super) fn frontend(request: &Request, frontend: Frontend) -> Value {
    InstanceAnswer {
        connection: object(&frontend.connection),
        partition: frontend.name,
        ..elsewhere(request)
    }
    .into()
}
