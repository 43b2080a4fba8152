//! The documents the JSON calls answer.

use serde_json::{Map, Value, json};

use slap::document::InstanceDocument;

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
pub(super) fn parameters(instance: &Instance) -> Value {
    if instance.shared {
        slap::Value::Dict(instance.parameters.0.clone()).to_json()
    } else {
        slap::Value::Dict(instance.parameters.as_shown()).to_json()
    }
}

fn connection(instance: &Instance) -> Value {
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
        .collect::<Map<_, _>>()
        .into()
}

fn plain(address: &Address) -> Option<Value> {
    address
        .route
        .is_none()
        .then(|| json!([address.interface, address.address]))
}

fn routed(address: &Address) -> Option<Value> {
    let (gateway, network) = address.route.as_ref()?;
    Some(json!([
        address.interface,
        address.address,
        gateway,
        address.netmask,
        network
    ]))
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
    json!({
        "title": instance.title,
        "instance_guid": guid(instance),
        "software_release_uri": instance.release,
        "software_type": instance.software_type,
        "state": instance.state.as_str(),
        "connection_parameters": connection(instance),
        "parameters": parameters(instance),
        "shared": instance.shared,
        "root_instance_title": instance.root_title,
        "ip_list": addresses.iter().filter_map(plain).collect::<Vec<_>>(),
        "full_ip_list": addresses.iter().filter_map(routed).collect::<Vec<_>>(),
        "sla_parameters": slap::Value::Dict(instance.sla.0.clone()).to_json(),
        "computer_guid": place.map_or("", |place| place.node.as_str()),
        "compute_partition_id": place.map_or("", |place| place.partition.as_str()),
        "processing_timestamp": instance.timestamp.seconds(),
        "access_status_message": "",
    })
}

/// The document of what was asked for elsewhere: what is not known of it is empty.
fn elsewhere(request: &Request) -> Map<String, Value> {
    let title = request.title.as_str();
    let guid = TreeGuid {
        title: title.to_owned(),
        root: None,
        shared: request.shared,
    };
    let state = request.state.map_or("started", slap::InstanceState::as_str);
    let document = json!({
        "title": title,
        "instance_guid": guid.to_string(),
        "software_release_uri": request.release.as_str(),
        "software_type": request.software_type.as_str(),
        "state": state,
        "connection_parameters": {},
        "parameters": slap::Value::Dict(request.parameters.0.clone()).to_json(),
        "shared": request.shared,
        "root_instance_title": title,
        "ip_list": [],
        "full_ip_list": [],
        "sla_parameters": {},
        "computer_guid": "",
        "compute_partition_id": "",
        "processing_timestamp": 0,
        "access_status_message": "",
    });
    match document {
        Value::Object(entries) => entries,
        _ => Map::new(),
    }
}

/// The document of an instance at another Master.
pub(super) fn relayed(request: &Request, remote: &InstanceDocument) -> Value {
    let mut document = elsewhere(request);
    if let Some(state) = &remote.state {
        document.insert("state".to_owned(), json!(state));
    }
    document.insert("connection_parameters".to_owned(), json!(remote.connection));
    document.insert("computer_guid".to_owned(), json!(remote.node));
    document.insert("compute_partition_id".to_owned(), json!(remote.partition));
    document.into()
}

/// The document of a short-cut's answer.
pub(super) fn frontend(request: &Request, frontend: Frontend) -> Value {
    let mut document = elsewhere(request);
    document.insert(
        "connection_parameters".to_owned(),
        slap::Value::Dict(frontend.connection).to_json(),
    );
    document.insert("compute_partition_id".to_owned(), json!(frontend.name));
    document.into()
}
