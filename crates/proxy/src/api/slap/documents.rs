//! The proxy's documents, byte for byte (P 1.4.2, 1.5).

use std::collections::BTreeMap;

use slap::document::{
    InstallationDocument, InstanceDocument, NodeDocument, PartitionDocument, ReleaseForm, TextDict,
};
use slap::{Class, InstanceState, Object, ReleaseUrl, Value, instance_xml};

use super::super::Problem;
use super::super::request::Frontend;
use crate::domain::{Address, Instance, Partition, Place};
use crate::store::NodeState;

/// The whole of a node.
pub(super) fn node(state: &NodeState) -> Result<Value, Problem> {
    Ok(NodeDocument {
        node: state.node.clone(),
        partitions: state
            .partitions
            .iter()
            .map(partition)
            .collect::<Result<_, _>>()?,
        installations: state
            .installations
            .iter()
            .map(|(release, requested)| {
                Ok(InstallationDocument {
                    node: state.node.clone(),
                    release: ReleaseUrl::new(release.clone())?,
                    state: Some(*requested),
                })
            })
            .collect::<Result<_, Problem>>()?,
    }
    .to_value())
}

/// A partition with what is on it.
pub(super) fn partition(partition: &Partition) -> Result<PartitionDocument, Problem> {
    let place = &partition.place;
    let mut document = PartitionDocument::new(place.node.clone(), place.partition.clone());
    document.guid = Some(place.guid());
    let Some(instance) = &partition.instance else {
        document.state = Some(InstanceState::Destroyed);
        document.occupied = Some(false);
        return Ok(document);
    };
    document.state = Some(instance.state);
    document.occupied = Some(true);
    document.release = Some(ReleaseForm::Object(InstallationDocument {
        node: place.node.clone(),
        release: ReleaseUrl::new(instance.release.clone())?,
        state: None,
    }));
    document.parameters = Some(parameters(place, instance, &partition.shared));
    document
        .further
        .insert("_connection_dict".to_owned(), connection(instance));
    Ok(document)
}

/// The instance's parameters, and the Master's own entries, which win.
fn parameters(place: &Place, instance: &Instance, shared: &[Instance]) -> BTreeMap<String, Value> {
    let mut entries = instance.parameters.as_shown();
    let mut set = |name: &str, value: Value| {
        entries.insert(name.to_owned(), value);
    };
    set("full_address_list", Value::List(Vec::new()));
    set("instance_title", Value::text(&instance.title));
    set("ip_list", ip_list(&instance.addresses));
    if instance
        .addresses
        .iter()
        .any(|address| address.route.is_some())
    {
        set("full_ip_list", full_ip_list(&instance.addresses));
    }
    set("root_instance_title", Value::text(&instance.root_title));
    set("slap_computer_id", Value::text(place.node.as_str()));
    set(
        "slap_computer_partition_id",
        Value::text(place.partition.as_str()),
    );
    set("slap_software_release_url", Value::text(&instance.release));
    set("slap_software_type", Value::text(&instance.software_type));
    set(
        "slave_instance_list",
        Value::List(shared.iter().map(shared_item).collect()),
    );
    set(
        "timestamp",
        Value::String(instance.timestamp.to_seconds_text()),
    );
    entries
}

/// A shared instance as its host sees it: its parameters with their types, under its reference.
fn shared_item(instance: &Instance) -> Value {
    let mut entries = instance.parameters.0.clone();
    let reference = instance.reference.as_deref().unwrap_or(&instance.title);
    for (name, text) in [
        ("slap_software_type", instance.software_type.as_str()),
        ("slave_reference", reference),
        ("slave_title", reference),
    ] {
        entries.insert(name.to_owned(), Value::text(text));
    }
    Value::Dict(entries)
}

/// What an instance published, as it comes out of the instance XML: nothing where it is empty.
fn connection(instance: &Instance) -> Value {
    let shown = |text: &String| {
        if text.is_empty() {
            Value::None
        } else {
            Value::text(text)
        }
    };
    Value::dict(
        instance
            .connection
            .iter()
            .flatten()
            .map(|(key, text)| (key.as_str(), shown(text))),
    )
}

fn ip_list(addresses: &[Address]) -> Value {
    Value::List(
        addresses
            .iter()
            .filter(|address| address.route.is_none())
            .map(|address| {
                Value::Tuple(vec![
                    Value::text(&address.interface),
                    Value::text(&address.address),
                ])
            })
            .collect(),
    )
}

/// Addresses that have a gateway (P 1.5).
fn full_ip_list(addresses: &[Address]) -> Value {
    Value::List(
        addresses
            .iter()
            .filter_map(|address| {
                let (gateway, network) = address.route.as_ref()?;
                Some(Value::Tuple(
                    [
                        &address.interface,
                        &address.address,
                        gateway,
                        &address.netmask,
                        network,
                    ]
                    .map(Value::text)
                    .to_vec(),
                ))
            })
            .collect(),
    )
}

/// The reply to a request: what the one who asked learns about the instance.
pub(super) fn requested(instance: &Instance) -> Result<Value, Problem> {
    let mut attributes = BTreeMap::new();
    let mut set = |name: &str, value: Value| {
        attributes.insert(name.to_owned(), value);
    };
    let mut parameters = instance.parameters.as_shown();
    if !instance.shared {
        // Upstream leaves these out for shared instances (quirk 28).
        if let Some(place) = &instance.place {
            set("_instance_guid", Value::String(place.guid()));
        }
        set("_requested_state", Value::text(instance.state.as_str()));
        set(
            "connection_xml",
            connection_xml(instance.connection.as_ref())?,
        );
        parameters.insert(
            "timestamp".to_owned(),
            Value::String(instance.timestamp.to_seconds_text()),
        );
    }
    set("_connection_dict", connection(instance));
    set("_parameter_dict", Value::Dict(parameters));
    set("ip_list", ip_list(&instance.addresses));
    let place = instance.place.as_ref();
    set(
        "slap_computer_id",
        Value::text(place.map_or("", |place| place.node.as_str())),
    );
    set(
        "slap_computer_partition_id",
        Value::text(place.map_or("", |place| place.partition.as_str())),
    );
    // The literal name is what upstream sends.
    set("slap_server_url", Value::text("slap_server_url"));
    set("slap_software_release_url", Value::text(&instance.release));
    set("slap_software_type", Value::text(&instance.software_type));
    Ok(Value::Object(Box::new(Object {
        class: Class::SoftwareInstance,
        arguments: Vec::new(),
        attributes,
    })))
}

/// The answer of a short-cut: a partition that is none (P 1.4.4).
pub(super) fn frontend(frontend: Frontend) -> Value {
    let name = Value::String(frontend.name);
    let nowhere = Value::text("");
    Value::Object(Box::new(Object {
        class: Class::ComputerPartition,
        arguments: vec![nowhere.clone(), name.clone(), Value::None],
        attributes: BTreeMap::from([
            ("_computer_id".to_owned(), nowhere.clone()),
            (
                "_connection_dict".to_owned(),
                Value::Dict(frontend.connection),
            ),
            ("_parameter_dict".to_owned(), Value::dict::<String>([])),
            ("_partition_id".to_owned(), name),
            ("_request_dict".to_owned(), Value::None),
            ("slap_computer_id".to_owned(), nowhere.clone()),
            ("slap_computer_partition_id".to_owned(), nowhere),
        ]),
    }))
}

/// What another Master answered, as upstream relays it: all that it said, as a partition, with where
/// it was said (P 1.4.4).
pub(super) fn relayed(
    master: &str,
    release: &str,
    shared: bool,
    document: &InstanceDocument,
) -> Value {
    let mut attributes = match document.to_value() {
        Value::Object(object) => object.attributes,
        _ => BTreeMap::new(),
    };
    let mut named = |name: &str, text: &str| {
        attributes
            .entry(name.to_owned())
            .or_insert_with(|| Value::text(text))
            .clone()
    };
    // A short-cut's answer names itself here only.
    let node = named("_computer_id", &document.node);
    let partition = named("_partition_id", &document.partition);
    for (name, value) in [
        ("_connection_helper", Value::None),
        ("_hateoas_navigator", Value::None),
        ("_master_url", Value::text(master)),
        ("_request_dict", Value::None),
        ("_software_release_document", Value::text(release)),
    ] {
        attributes.insert(name.to_owned(), value);
    }
    if shared {
        attributes.insert("_synced".to_owned(), Value::Bool(true));
    }
    Value::Object(Box::new(Object {
        class: Class::ComputerPartition,
        arguments: vec![node, partition, Value::None],
        attributes,
    }))
}

fn connection_xml(connection: Option<&TextDict>) -> Result<Value, Problem> {
    let Some(connection) = connection else {
        return Ok(Value::None);
    };
    instance_xml::encode(connection)
        .map(Value::String)
        .map_err(|error| Problem::bad_request(error.to_string()))
}
