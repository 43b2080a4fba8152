//! What `slapos proxy show` shows: the stored data as tables people recognise (C 1.8).

use std::path::Path;

use md5::{Digest, Md5};
use slap::{Value, python, serialisation};

use crate::store::{InstanceRecord, OpenError, Snapshot};

/// Which tables are wanted; none chosen means all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Selection {
    /// Compute nodes.
    pub computers: bool,
    /// Software installations.
    pub software: bool,
    /// Partitions with an instance.
    pub partitions: bool,
    /// Shared instances.
    pub slaves: bool,
    /// The parameters of instances.
    pub params: bool,
    /// The addresses of partitions.
    pub network: bool,
}

impl Selection {
    /// Everything, when nothing was chosen.
    fn or_all(self) -> Self {
        if self == Selection::default() {
            Selection {
                computers: true,
                software: true,
                partitions: true,
                slaves: true,
                params: true,
                network: true,
            }
        } else {
            self
        }
    }
}

/// A table to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Names of its columns.
    pub columns: Vec<String>,
    /// Its rows, each with as many cells as there are columns.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    fn new(title: impl Into<String>, columns: &[&str], rows: Vec<Vec<String>>) -> Self {
        Table {
            title: title.into(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rows,
        }
    }
}

/// Reads the tables. The Master that owns the database may be running; nothing is ever created.
///
/// # Errors
/// [`OpenError`] when there is no such database, or it is not ours.
pub fn show(database: &Path, selection: Selection) -> Result<Vec<Table>, OpenError> {
    let snapshot = Snapshot::read(database)?;
    let selection = selection.or_all();
    let mut tables = Vec::new();
    if selection.computers {
        tables.push(computers(&snapshot));
    }
    if selection.software {
        tables.push(software(&snapshot));
    }
    if selection.partitions {
        tables.push(partitions(&snapshot));
    }
    if selection.slaves {
        tables.push(slaves(&snapshot));
    }
    if selection.params {
        tables.extend(params(&snapshot));
    }
    if selection.network {
        tables.push(network(&snapshot));
    }
    Ok(tables)
}

fn computers(snapshot: &Snapshot) -> Table {
    let rows = snapshot
        .nodes
        .iter()
        .map(|node| {
            vec![
                node.node.as_str().to_owned(),
                node.address.clone().unwrap_or_default(),
                node.netmask.clone().unwrap_or_default(),
            ]
        })
        .collect();
    Table::new("computer", &["reference", "address", "netmask"], rows)
}

fn software(snapshot: &Snapshot) -> Table {
    let rows = snapshot
        .installations
        .iter()
        .map(|(node, release, state)| {
            let digest: String = Md5::digest(release.as_bytes())
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            vec![
                release.clone(),
                node.clone(),
                state.as_str().to_owned(),
                digest,
            ]
        })
        .collect();
    Table::new(
        "software",
        &["url", "computer_reference", "requested_state", "md5"],
        rows,
    )
}

/// Node and partition of a record.
fn place(record: &InstanceRecord) -> (String, String) {
    record
        .instance
        .place
        .as_ref()
        .map(|place| {
            (
                place.node.as_str().to_owned(),
                place.partition.as_str().to_owned(),
            )
        })
        .unwrap_or_default()
}

fn ordinary(snapshot: &Snapshot) -> impl Iterator<Item = &InstanceRecord> {
    snapshot
        .instances
        .iter()
        .filter(|record| !record.instance.shared)
}

fn partitions(snapshot: &Snapshot) -> Table {
    let rows = ordinary(snapshot)
        .map(|record| {
            let instance = &record.instance;
            let (node, partition) = place(record);
            let requested_by = if instance.is_root {
                ""
            } else {
                instance.root_title.as_str()
            };
            vec![
                partition,
                node,
                "busy".to_owned(),
                instance.release.clone(),
                instance.software_type.clone(),
                instance.title.clone(),
                requested_by.to_owned(),
                record.requester.clone(),
                instance.state.as_str().to_owned(),
                instance.timestamp.to_seconds_text(),
            ]
        })
        .collect();
    Table::new(
        "partition",
        &[
            "reference",
            "computer_reference",
            "slap_state",
            "software_release",
            "software_type",
            "partition_reference",
            "requested_by",
            "requester_id",
            "requested_state",
            "timestamp",
        ],
        rows,
    )
}

fn slaves(snapshot: &Snapshot) -> Table {
    let rows = snapshot
        .instances
        .iter()
        .filter(|record| record.instance.shared)
        .map(|record| {
            let (node, host) = place(record);
            let reference = record.instance.reference.clone().unwrap_or_default();
            vec![reference, node, host, record.requester.clone()]
        })
        .collect();
    Table::new(
        "slave",
        &[
            "reference",
            "computer_reference",
            "hosted_by",
            "requester_id",
        ],
        rows,
    )
}

/// One table per instance: what it was asked with.
fn params(snapshot: &Snapshot) -> Vec<Table> {
    let several_nodes = snapshot.nodes.len() > 1;
    ordinary(snapshot)
        .map(|record| {
            let (node, partition) = place(record);
            let instance = &record.instance;
            let node = if several_nodes {
                format!(" of {node}")
            } else {
                String::new()
            };
            let rows = instance
                .parameters
                .0
                .iter()
                .map(|(key, value)| vec![key.clone(), parameter(key, value)])
                .collect();
            Table::new(
                format!(
                    "{partition}{node}: {} (type {})",
                    instance.title, instance.software_type
                ),
                &["parameter", "value"],
                rows,
            )
        })
        .collect()
}

/// A parameter's text; a JSON document in `_` laid out with its keys sorted.
fn parameter(key: &str, value: &Value) -> String {
    let text = python::str(value);
    if key != serialisation::JSON_KEY {
        return text;
    }
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(mut document) => {
            document.sort_all_objects();
            serde_json::to_string_pretty(&document).unwrap_or(text)
        }
        Err(_) => text,
    }
}

fn network(snapshot: &Snapshot) -> Table {
    let rows = snapshot
        .addresses
        .iter()
        .map(|(node, partition, addresses)| {
            vec![partition.clone(), node.clone(), addresses.join(", ")]
        })
        .collect();
    Table::new(
        "partition_network",
        &["partition_reference", "computer_reference", "addresses"],
        rows,
    )
}
