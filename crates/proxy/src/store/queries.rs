//! Reading: rows to what the domain speaks of. Used by readers and by the writer alike.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Params, Row};
use slap::document::TextDict;
use slap::{InstallationState, InstanceState, NodeId, PartitionId, Value};

use super::StoreError;
use crate::domain::{
    Address, HostCandidate, Instance, InstanceId, Node, Parameters, Partition, Place, Timestamp,
    TreeGuid,
};

/// An instance and the numbers that tie it to other rows.
#[derive(Debug, Clone)]
pub(super) struct InstanceRow {
    pub(super) instance: Instance,
    pub(super) tree: i64,
    pub(super) requester: Option<i64>,
    pub(super) host: Option<i64>,
    /// The partition it is on, or its host's.
    pub(super) partition: Option<i64>,
}

const INSTANCE: &str = "SELECT i.id, i.title, t.title, i.is_root, i.shared, i.reference, \
     i.release, i.software_type, i.state, i.parameters, i.sla, i.connection, i.timestamp, \
     n.reference, p.reference, p.id, i.tree_id, i.requester_id, i.host_id \
     FROM instance i JOIN tree t ON t.id = i.tree_id \
     LEFT JOIN instance h ON h.id = i.host_id \
     LEFT JOIN partition p ON p.id = coalesce(i.partition_id, h.partition_id) \
     LEFT JOIN node n ON n.id = p.node_id ";

macro_rules! instance_query {
    ($name:ident, $rest:literal) => {
        fn $name() -> &'static str {
            static SQL: std::sync::OnceLock<String> = std::sync::OnceLock::new();
            SQL.get_or_init(|| format!("{INSTANCE}{}", $rest))
        }
    };
}

instance_query!(by_id, "WHERE i.id = ?1");
instance_query!(by_partition, "WHERE i.partition_id = ?1");
instance_query!(
    root_by_title,
    "WHERE t.title = ?1 AND t.shared = ?2 AND i.title = ?1 AND i.shared = ?2 AND i.is_root = 1"
);
instance_query!(
    member_by_title,
    "WHERE i.tree_id = ?1 AND i.title = ?2 AND i.shared = ?3 AND i.is_root = 0"
);
instance_query!(
    member_anywhere,
    "WHERE i.title = ?1 AND i.shared = 0 AND i.is_root = 0 ORDER BY i.id LIMIT 1"
);
instance_query!(
    root_of_tree,
    "WHERE i.tree_id = ?1 AND i.is_root = 1 LIMIT 1"
);
instance_query!(
    everything,
    "ORDER BY i.shared, n.id, p.position, p.id, i.id"
);
instance_query!(roots, "WHERE i.is_root = 1 ORDER BY i.shared, i.id");
instance_query!(of_tree, "WHERE i.tree_id = ?1 ORDER BY i.id");
instance_query!(
    by_tree_title,
    "WHERE t.title = ?1 ORDER BY i.is_root DESC, i.id"
);
instance_query!(
    of_node,
    "WHERE i.partition_id IN (SELECT id FROM partition WHERE node_id = ?1 AND busy = 1) \
     ORDER BY p.position, p.id"
);
instance_query!(
    shared_of_node,
    "WHERE i.host_id IN (SELECT b.id FROM partition a JOIN instance b ON b.partition_id = a.id \
     WHERE a.node_id = ?1 AND a.busy = 1) AND i.state = 'started' ORDER BY i.id"
);
instance_query!(
    shared_of_host,
    "WHERE i.host_id = ?1 AND i.state = 'started' ORDER BY i.id"
);
instance_query!(
    shared_by_reference,
    "WHERE i.host_id = ?1 AND i.reference = ?2"
);
instance_query!(
    hosts,
    "WHERE i.shared = 0 AND i.release = ?1 AND i.software_type = ?2 AND i.partition_id IS NOT NULL \
     ORDER BY p.position, p.id"
);

fn corrupt(what: &'static str) -> impl FnOnce(String) -> StoreError {
    move |detail| StoreError::Corrupt { what, detail }
}

fn read_parameters(text: &str) -> Result<Parameters, StoreError> {
    if text == "{}" {
        return Ok(Parameters::default());
    }
    let json: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| corrupt("an instance's parameters")(error.to_string()))?;
    match Value::from(&json) {
        Value::Dict(entries) => Ok(Parameters(entries)),
        other => Err(corrupt("an instance's parameters")(other.kind().to_owned())),
    }
}

/// Parameters as they are stored.
pub(super) fn write_parameters(parameters: &Parameters) -> String {
    if parameters.0.is_empty() {
        return "{}".to_owned();
    }
    Value::Dict(parameters.0.clone()).to_json().to_string()
}

fn read_connection(text: Option<String>) -> Result<Option<TextDict>, StoreError> {
    text.map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|error| corrupt("connection parameters")(error.to_string()))
}

/// Connection parameters as they are stored.
pub(super) fn write_connection(connection: &TextDict) -> Result<String, StoreError> {
    serde_json::to_string(connection)
        .map_err(|error| corrupt("connection parameters")(error.to_string()))
}

fn read_node(text: String) -> Result<NodeId, StoreError> {
    NodeId::new(text).map_err(|error| corrupt("a node's reference")(error.to_string()))
}

fn read_partition(text: String) -> Result<PartitionId, StoreError> {
    PartitionId::new(text).map_err(|error| corrupt("a partition's reference")(error.to_string()))
}

fn read_state(text: &str) -> Result<InstanceState, StoreError> {
    text.parse()
        .map_err(|error: slap::state::UnknownState| corrupt("a state")(error.to_string()))
}

fn instance_row(row: &Row<'_>) -> Result<InstanceRow, StoreError> {
    let place = match (
        row.get::<_, Option<String>>(13)?,
        row.get::<_, Option<String>>(14)?,
    ) {
        (Some(node), Some(partition)) => Some(Place {
            node: read_node(node)?,
            partition: read_partition(partition)?,
        }),
        _ => None,
    };
    Ok(InstanceRow {
        instance: Instance {
            id: InstanceId(row.get(0)?),
            title: row.get(1)?,
            root_title: row.get(2)?,
            is_root: row.get(3)?,
            shared: row.get(4)?,
            reference: row.get(5)?,
            release: row.get(6)?,
            software_type: row.get(7)?,
            state: read_state(row.get_ref(8)?.as_str().map_err(rusqlite::Error::from)?)?,
            parameters: read_parameters(row.get_ref(9)?.as_str().map_err(rusqlite::Error::from)?)?,
            sla: read_parameters(row.get_ref(10)?.as_str().map_err(rusqlite::Error::from)?)?,
            connection: read_connection(row.get(11)?)?,
            timestamp: Timestamp::from_nanoseconds(row.get(12)?),
            place,
            addresses: Vec::new(),
        },
        tree: row.get(16)?,
        requester: row.get(17)?,
        host: row.get(18)?,
        partition: row.get(15)?,
    })
}

fn one(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
) -> Result<Option<InstanceRow>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    rows.next()?.map(instance_row).transpose()
}

fn many(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
) -> Result<Vec<InstanceRow>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(instance_row(row)?);
    }
    Ok(found)
}

pub(super) fn instance_by_id(
    connection: &Connection,
    id: i64,
) -> Result<Option<InstanceRow>, StoreError> {
    one(connection, by_id(), [id])
}

pub(super) fn instance_on_partition(
    connection: &Connection,
    partition: i64,
) -> Result<Option<InstanceRow>, StoreError> {
    one(connection, by_partition(), [partition])
}

pub(super) fn root(
    connection: &Connection,
    title: &str,
    shared: bool,
) -> Result<Option<InstanceRow>, StoreError> {
    one(connection, root_by_title(), (title, shared))
}

pub(super) fn member(
    connection: &Connection,
    tree: i64,
    title: &str,
    shared: bool,
) -> Result<Option<InstanceRow>, StoreError> {
    one(connection, member_by_title(), (tree, title, shared))
}

pub(super) fn member_of_any_tree(
    connection: &Connection,
    title: &str,
) -> Result<Option<InstanceRow>, StoreError> {
    one(connection, member_anywhere(), [title])
}

pub(super) fn tree_root(
    connection: &Connection,
    tree: i64,
) -> Result<Option<InstanceRow>, StoreError> {
    one(connection, root_of_tree(), [tree])
}

pub(super) fn tree_members(
    connection: &Connection,
    tree: i64,
) -> Result<Vec<InstanceRow>, StoreError> {
    many(connection, of_tree(), [tree])
}

pub(super) fn all_roots(connection: &Connection) -> Result<Vec<InstanceRow>, StoreError> {
    many(connection, roots(), [])
}

pub(super) fn instances_of_tree(
    connection: &Connection,
    title: &str,
) -> Result<Vec<InstanceRow>, StoreError> {
    many(connection, by_tree_title(), [title])
}

pub(super) fn instances_on_node(
    connection: &Connection,
    node: i64,
) -> Result<Vec<InstanceRow>, StoreError> {
    many(connection, of_node(), [node])
}

pub(super) fn shared_on(
    connection: &Connection,
    host: i64,
) -> Result<Vec<InstanceRow>, StoreError> {
    many(connection, shared_of_host(), [host])
}

pub(super) fn shared_with_reference(
    connection: &Connection,
    host: i64,
    reference: &str,
) -> Result<Option<InstanceRow>, StoreError> {
    one(connection, shared_by_reference(), (host, reference))
}

/// Instances that run a release and type, in the order of their partitions.
pub(super) fn host_candidates(
    connection: &Connection,
    release: &str,
    software_type: &str,
) -> Result<Vec<HostCandidate>, StoreError> {
    Ok(many(connection, hosts(), (release, software_type))?
        .into_iter()
        .filter_map(|row| {
            Some(HostCandidate {
                id: row.instance.id,
                place: row.instance.place?,
                state: row.instance.state,
                release: row.instance.release,
                software_type: row.instance.software_type,
            })
        })
        .collect())
}

/// The instance a reference of the JSON API names.
pub(super) fn instance_by_guid(
    connection: &Connection,
    guid: &str,
) -> Result<Option<InstanceRow>, StoreError> {
    for TreeGuid {
        title,
        root: tree,
        shared,
    } in TreeGuid::readings(guid)
    {
        let found = match tree {
            None => root(connection, &title, shared)?,
            Some(tree) => {
                let mut found = None;
                for kind in [false, true] {
                    if found.is_none()
                        && let Some(tree) = tree_by_title(connection, &tree, kind)?
                    {
                        found = member(connection, tree, &title, shared)?;
                    }
                }
                found
            }
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

pub(super) fn tree_by_title(
    connection: &Connection,
    title: &str,
    shared: bool,
) -> Result<Option<i64>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT id FROM tree WHERE title = ?1 AND shared = ?2")?
        .query_row((title, shared), |row| row.get(0))
        .optional()?)
}

pub(super) fn node_by_reference(
    connection: &Connection,
    reference: &str,
) -> Result<Option<i64>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT id FROM node WHERE reference = ?1")?
        .query_row([reference], |row| row.get(0))
        .optional()?)
}

/// The number of a partition.
pub(super) fn partition_by_place(
    connection: &Connection,
    node: &str,
    partition: &str,
) -> Result<Option<i64>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT p.id FROM partition p JOIN node n ON n.id = p.node_id \
             WHERE n.reference = ?1 AND p.reference = ?2",
        )?
        .query_row((node, partition), |row| row.get(0))
        .optional()?)
}

/// The first free partition of a node, in the order the node listed them.
pub(super) fn first_free_partition(
    connection: &Connection,
    node: &str,
) -> Result<Option<i64>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT p.id FROM partition p \
             WHERE p.node_id = (SELECT id FROM node WHERE reference = ?1) \
               AND p.busy = 0 AND p.listed = 1 \
             ORDER BY p.position LIMIT 1",
        )?
        .query_row([node], |row| row.get(0))
        .optional()?)
}

fn address(row: &Row<'_>) -> rusqlite::Result<Address> {
    let route = row
        .get::<_, Option<String>>(3)?
        .zip(row.get::<_, Option<String>>(4)?);
    Ok(Address {
        interface: row.get(0)?,
        address: row.get(1)?,
        netmask: row.get(2)?,
        route,
    })
}

pub(super) fn addresses(
    connection: &Connection,
    partition: i64,
) -> Result<Vec<Address>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT interface, address, netmask, gateway, network FROM partition_address \
             WHERE partition_id = ?1 ORDER BY position",
        )?
        .query_map([partition], address)?
        .collect::<Result<_, _>>()?)
}

/// The instance with the addresses of its partition.
pub(super) fn with_addresses(
    connection: &Connection,
    row: InstanceRow,
) -> Result<Instance, StoreError> {
    let mut instance = row.instance;
    if let Some(partition) = row.partition {
        instance.addresses = addresses(connection, partition)?;
    }
    Ok(instance)
}

/// A partition with all that is on it.
pub(super) fn partition(
    connection: &Connection,
    place: &Place,
) -> Result<Option<Partition>, StoreError> {
    let Some(id) = partition_by_place(connection, place.node.as_str(), place.partition.as_str())?
    else {
        return Ok(None);
    };
    let Some(row) = instance_on_partition(connection, id)? else {
        return Ok(Some(Partition {
            place: place.clone(),
            instance: None,
            shared: Vec::new(),
        }));
    };
    let shared = shared_on(connection, row.instance.id.0)?
        .into_iter()
        .map(|row| row.instance)
        .collect();
    Ok(Some(Partition {
        place: place.clone(),
        instance: Some(with_addresses(connection, row)?),
        shared,
    }))
}

/// All partitions of a node, in its order, with all that is on them. A handful of queries whatever
/// the number of partitions.
pub(super) fn partitions(
    connection: &Connection,
    reference: &NodeId,
    node: i64,
) -> Result<Vec<Partition>, StoreError> {
    let mut addresses: HashMap<i64, Vec<Address>> = HashMap::new();
    {
        let mut statement = connection.prepare_cached(
            "SELECT a.interface, a.address, a.netmask, a.gateway, a.network, a.partition_id \
             FROM partition p JOIN partition_address a ON a.partition_id = p.id \
             WHERE p.node_id = ?1 AND p.busy = 1 ORDER BY a.partition_id, a.position",
        )?;
        let mut rows = statement.query([node])?;
        while let Some(row) = rows.next()? {
            addresses
                .entry(row.get(5)?)
                .or_default()
                .push(address(row)?);
        }
    }
    let mut shared: HashMap<i64, Vec<Instance>> = HashMap::new();
    for row in many(connection, shared_of_node(), [node])? {
        if let Some(host) = row.host {
            shared.entry(host).or_default().push(row.instance);
        }
    }
    let mut instances: HashMap<i64, Instance> = HashMap::new();
    for mut row in instances_on_node(connection, node)? {
        if let Some(partition) = row.partition {
            row.instance.addresses = addresses.remove(&partition).unwrap_or_default();
            instances.insert(partition, row.instance);
        }
    }
    let mut statement = connection.prepare_cached(
        "SELECT id, reference FROM partition WHERE node_id = ?1 ORDER BY position, id",
    )?;
    let mut rows = statement.query([node])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let instance = instances.remove(&row.get(0)?);
        found.push(Partition {
            place: Place {
                node: reference.clone(),
                partition: read_partition(row.get(1)?)?,
            },
            shared: instance
                .as_ref()
                .and_then(|instance| shared.remove(&instance.id.0))
                .unwrap_or_default(),
            instance,
        });
    }
    Ok(found)
}

/// The releases asked for on a node, in the order they were.
pub(super) fn installations(
    connection: &Connection,
    node: i64,
) -> Result<Vec<(String, InstallationState)>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT release, state FROM installation WHERE node_id = ?1 ORDER BY id")?;
    let mut rows = statement.query([node])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let state = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        let state = state
            .parse()
            .map_err(|error: slap::state::UnknownState| corrupt("a state")(error.to_string()))?;
        found.push((row.get(0)?, state));
    }
    Ok(found)
}

/// The nodes that described themselves.
pub(super) fn nodes(connection: &Connection) -> Result<Vec<Node>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT reference, address, netmask FROM node WHERE formatted = 1 ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Node {
            node: read_node(row.get(0)?)?,
            address: row.get(1)?,
            netmask: row.get(2)?,
        });
    }
    Ok(found)
}

/// The Masters that answer a forwarded title.
pub(super) fn forwarded(connection: &Connection) -> Result<Vec<(String, String)>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT title, master_url FROM forwarded_request ORDER BY title, master_url",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?)
}

/// All instances, each with the partition of its requester (`user` for a person): those on
/// partitions by node and partition, then the shared ones.
pub(super) fn all_instances(
    connection: &Connection,
) -> Result<Vec<(InstanceRow, String)>, StoreError> {
    let partitions: HashMap<i64, String> = connection
        .prepare_cached(
            "SELECT i.id, p.reference FROM instance i JOIN partition p ON p.id = i.partition_id",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    Ok(many(connection, everything(), [])?
        .into_iter()
        .map(|row| {
            let requester = match row.requester {
                Some(requester) => partitions.get(&requester).cloned().unwrap_or_default(),
                None if row.instance.is_root => "user".to_owned(),
                None => String::new(),
            };
            (row, requester)
        })
        .collect())
}

/// All releases asked for: node, release, state.
pub(super) fn all_installations(
    connection: &Connection,
) -> Result<Vec<(String, String, InstallationState)>, StoreError> {
    let nodes: Vec<(i64, String)> = connection
        .prepare_cached("SELECT id, reference FROM node ORDER BY id")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut found = Vec::new();
    for (id, node) in nodes {
        for (release, state) in installations(connection, id)? {
            found.push((node.clone(), release, state));
        }
    }
    Ok(found)
}

/// The addresses of all partitions: node, partition, addresses.
pub(super) fn all_addresses(
    connection: &Connection,
) -> Result<Vec<(String, String, Vec<String>)>, StoreError> {
    let partitions: Vec<(i64, String, String)> = connection
        .prepare_cached(
            "SELECT p.id, n.reference, p.reference FROM partition p \
             JOIN node n ON n.id = p.node_id ORDER BY n.id, p.position, p.id",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    partitions
        .into_iter()
        .map(|(id, node, partition)| {
            let addresses = addresses(connection, id)?
                .into_iter()
                .map(|address| address.address)
                .collect();
            Ok((node, partition, addresses))
        })
        .collect()
}
