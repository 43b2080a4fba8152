//! The full Master's documents, byte for byte (P 1.4.2, 1.5).

use std::collections::BTreeMap;

use slap::document::{
    InstallationDocument, NodeDocument, PartitionDocument, ReleaseForm, TextDict,
};
use slap::{Class, InstanceState, NodeId, Object, PartitionId, ReleaseUrl, Value, instance_xml};
use slap_server::Problem;

use super::super::problem::internal;
use crate::domain::NodeReference;
use crate::store::{Address, InstallationRecord, InstanceRecord, PartitionRecord};

/// The whole of a node.
pub(super) fn node(
    reference: NodeReference,
    partitions: &[PartitionRecord],
    installations: &[InstallationRecord],
) -> Result<Value, Problem> {
    let id = node_id(reference)?;
    Ok(NodeDocument {
        partitions: partitions
            .iter()
            .map(|record| {
                let mut document = partition(record)?;
                document.access_status = record
                    .instance
                    .as_ref()
                    .and_then(|instance| instance.status.text.clone());
                Ok(document)
            })
            .collect::<Result<_, Problem>>()?,
        installations: installations
            .iter()
            .map(|record| {
                Ok(InstallationDocument {
                    node: id.clone(),
                    release: ReleaseUrl::new(record.release.clone())?,
                    state: Some(record.state),
                })
            })
            .collect::<Result<_, Problem>>()?,
        node: id,
    }
    .to_value())
}

/// A partition by itself: `registerComputerPartition`.
pub(super) fn registered(record: &PartitionRecord) -> Result<Value, Problem> {
    let mut document = partition(record)?;
    if record.instance.is_some() {
        document
            .further
            .insert("_synced".to_owned(), Value::Bool(true));
    }
    Ok(document.to_value())
}

fn node_id(reference: NodeReference) -> Result<NodeId, Problem> {
    NodeId::new(reference.to_string()).map_err(internal)
}

/// A partition with what is on it.
fn partition(record: &PartitionRecord) -> Result<PartitionDocument, Problem> {
    let node = node_id(record.node)?;
    let name = PartitionId::new(record.name.clone()).map_err(internal)?;
    let mut document = PartitionDocument::new(node.clone(), name);
    let Some(instance) = &record.instance else {
        document.state = Some(InstanceState::Destroyed);
        document.occupied = Some(false);
        return Ok(document);
    };
    document.state = Some(instance.state);
    document.occupied = Some(true);
    document.guid = Some(instance.key.to_string());
    document.release = Some(ReleaseForm::Object(InstallationDocument {
        node,
        release: ReleaseUrl::new(instance.release.clone()).map_err(internal)?,
        state: None,
    }));
    document.connection = Some(instance.connection.clone().unwrap_or_default());
    document.sla = Some(instance.sla.clone());
    let mut parameters = texts(&instance.parameters);
    // The Master's own entries win over parameters of the same name (quirk 16).
    parameters.extend(facts(
        instance,
        &record.node.to_string(),
        &record.name,
        &record.addresses,
    ));
    parameters.insert(
        "slave_instance_list".to_owned(),
        Value::List(record.shared.iter().map(served).collect()),
    );
    document.parameters = Some(parameters);
    Ok(document)
}

fn texts(entries: &TextDict) -> BTreeMap<String, Value> {
    entries
        .iter()
        .map(|(key, text)| (key.clone(), Value::text(text)))
        .collect()
}

/// What the Master says of an instance and of its place, in documents of partitions among the
/// parameters, in replies to requests beside them.
fn facts(
    instance: &InstanceRecord,
    node: &str,
    partition: &str,
    addresses: &[Address],
) -> BTreeMap<String, Value> {
    [
        ("full_ip_list", full_ip_list(addresses)),
        ("instance_title", Value::text(&instance.title)),
        ("ip_list", ip_list(addresses)),
        (
            "root_instance_short_title",
            Value::text(&instance.root_title),
        ),
        ("root_instance_title", Value::text(&instance.root_title)),
        ("slap_computer_id", Value::text(node)),
        ("slap_computer_partition_id", Value::text(partition)),
        ("slap_software_release_url", Value::text(&instance.release)),
        ("slap_software_type", Value::text(&instance.software_type)),
        ("timestamp", Value::from(instance.timestamp.0)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// A shared instance as its host sees it: its parameters, overlaid by what was published for it.
fn served(instance: &InstanceRecord) -> Value {
    let mut entries = texts(&instance.parameters);
    if let Some(connection) = &instance.connection {
        entries.extend(texts(connection));
    }
    for (name, value) in [
        ("slap_software_type", Value::text(&instance.software_type)),
        ("slave_reference", Value::text(instance.key.to_string())),
        ("slave_title", Value::text(&instance.title)),
        ("timestamp", Value::from(instance.timestamp.0)),
    ] {
        entries.insert(name.to_owned(), value);
    }
    Value::Dict(entries)
}

/// A shared instance in the reply to the request for its host: nothing merged (quirk 15).
fn served_raw(instance: &InstanceRecord) -> Result<Value, Problem> {
    let xml = |entries: &TextDict| {
        instance_xml::encode(entries)
            .map(Value::String)
            .map_err(internal)
    };
    Ok(Value::dict([
        (
            "connection_xml",
            xml(&instance.connection.clone().unwrap_or_default())?,
        ),
        ("slap_software_type", Value::text(&instance.software_type)),
        ("slave_reference", Value::text(instance.key.to_string())),
        ("slave_title", Value::text(&instance.title)),
        ("timestamp", Value::from(instance.timestamp.0)),
        ("xml", xml(&instance.parameters)?),
    ]))
}

fn ip_list(addresses: &[Address]) -> Value {
    Value::List(
        addresses
            .iter()
            .filter(|address| address.route.is_none())
            .map(|address| {
                Value::Tuple(vec![
                    Value::text(&address.interface),
                    Value::text(&address.ip),
                ])
            })
            .collect(),
    )
}

/// Addresses behind a gateway (P 1.5).
fn full_ip_list(addresses: &[Address]) -> Value {
    Value::List(
        addresses
            .iter()
            .filter_map(|address| {
                let route = address.route.as_ref()?;
                Some(Value::Tuple(
                    [
                        &address.interface,
                        &address.ip,
                        &route.gateway,
                        &route.netmask,
                        &route.network,
                    ]
                    .map(Value::text)
                    .to_vec(),
                ))
            })
            .collect(),
    )
}

/// The reply to a request that has a place: what the one who asked learns about the instance.
/// `shared` are the shared instances it serves.
pub(super) fn requested(
    instance: &InstanceRecord,
    shared: &[InstanceRecord],
) -> Result<Value, Problem> {
    let (node, partition) = match &instance.placement {
        Some(placement) => (placement.node.to_string(), placement.partition.as_str()),
        None => (String::new(), ""),
    };
    let mut attributes = facts(instance, &node, partition, &instance.addresses);
    for (name, value) in [
        (
            "_connection_dict",
            Value::Dict(texts(&instance.connection.clone().unwrap_or_default())),
        ),
        ("_filter_dict", Value::Dict(texts(&instance.sla))),
        ("_instance_guid", Value::text(instance.key.to_string())),
        ("_parameter_dict", Value::Dict(texts(&instance.parameters))),
        ("_requested_state", Value::text(instance.state.as_str())),
        (
            "slave_instance_list",
            Value::List(
                shared
                    .iter()
                    .map(served_raw)
                    .collect::<Result<_, Problem>>()?,
            ),
        ),
    ] {
        attributes.insert(name.to_owned(), value);
    }
    Ok(Value::Object(Box::new(Object {
        class: Class::SoftwareInstance,
        arguments: Vec::new(),
        attributes,
    })))
}

/// Addresses of a tree: tuples of interface and address.
pub(super) fn addresses(addresses: &[(String, String)]) -> Value {
    Value::List(
        addresses
            .iter()
            .map(|(interface, ip)| Value::Tuple(vec![Value::text(interface), Value::text(ip)]))
            .collect(),
    )
}
