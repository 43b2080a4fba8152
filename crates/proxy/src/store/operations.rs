//! What changes the store besides requests: each function is one job, atomic in its savepoint.

use rusqlite::{Connection, OptionalExtension};
use slap::document::TextDict;
use slap::{InstallationState, InstanceState, InstanceTitle, NodeId, ReleaseUrl};

use super::queries::{self, InstanceRow};
use super::writer::Write;
use super::{StoreError, known_partition, touch};
use crate::domain::{Address, Place, Refusal};

/// What a node tells about itself, as far as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDescription {
    /// The node.
    pub node: NodeId,
    /// Its main address; `None` keeps the stored one.
    pub address: Option<String>,
    /// The netmask of that address; `None` keeps the stored one.
    pub netmask: Option<String>,
    /// Its partitions in its order, with their addresses.
    pub partitions: Vec<(String, Vec<Address>)>,
}

impl From<slap_server::NodeDescription> for NodeDescription {
    fn from(told: slap_server::NodeDescription) -> Self {
        let partitions = told.partitions.into_iter().map(|told| {
            let partition = told.partition.as_str();
            let addresses = told
                .addresses
                .into_iter()
                .map(|told| Address {
                    // A partition without a tap has its addresses on an interface of its own name.
                    interface: told.interface.unwrap_or_else(|| partition.to_owned()),
                    address: told.address,
                    netmask: told.netmask,
                    route: told.route.map(|route| (route.gateway, route.network)),
                })
                .collect();
            (partition.to_owned(), addresses)
        });
        NodeDescription {
            node: told.node,
            address: told.address,
            netmask: told.netmask,
            partitions: partitions.collect(),
        }
    }
}

/// The node's number; one that is not known yet is noted as unformatted.
fn ensure_node(connection: &Connection, reference: &str) -> Result<i64, StoreError> {
    if let Some(node) = queries::node_by_reference(connection, reference)? {
        return Ok(node);
    }
    connection
        .prepare_cached("INSERT INTO node (reference) VALUES (?1)")?
        .execute([reference])?;
    Ok(connection.last_insert_rowid())
}

/// Whether a description differs from what is stored.
pub(super) fn differs(
    connection: &Connection,
    description: &NodeDescription,
) -> Result<bool, StoreError> {
    let known = connection
        .prepare_cached(
            "SELECT id, address, netmask FROM node WHERE reference = ?1 AND formatted = 1",
        )?
        .query_row([description.node.as_str()], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, Option<String>>(1)?,
                row.get::<_, Option<String>>(2)?,
            ))
        })
        .optional()?;
    let Some((node, address, netmask)) = known else {
        return Ok(true);
    };
    let same = |given: &Option<String>, stored: &Option<String>| given.is_none() || given == stored;
    if !same(&description.address, &address) || !same(&description.netmask, &netmask) {
        return Ok(true);
    }
    let stored: Vec<(i64, String)> = connection
        .prepare_cached(
            "SELECT id, reference FROM partition WHERE node_id = ?1 AND listed = 1 ORDER BY position",
        )?
        .query_map([node], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    if stored.len() != description.partitions.len() {
        return Ok(true);
    }
    for ((id, stored), (given, addresses)) in stored.iter().zip(&description.partitions) {
        if stored != given || queries::addresses(connection, *id)? != *addresses {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Stores what a node tells about itself.
///
/// A partition that is not listed any more goes away when it is free. When an instance is on it, it
/// stays until that is destroyed: an absence is no order to destroy anything.
pub(super) fn format(
    write: &mut Write<'_>,
    description: &NodeDescription,
) -> Result<(), StoreError> {
    let connection = write.connection;
    if !differs(connection, description)? {
        return Ok(());
    }
    let node = ensure_node(connection, description.node.as_str())?;
    connection
        .prepare_cached(
            "UPDATE node SET formatted = 1, address = coalesce(?2, address), \
             netmask = coalesce(?3, netmask) WHERE id = ?1",
        )?
        .execute((node, &description.address, &description.netmask))?;
    connection
        .prepare_cached("UPDATE partition SET listed = 0 WHERE node_id = ?1")?
        .execute([node])?;
    for (position, (reference, addresses)) in description.partitions.iter().enumerate() {
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        connection
            .prepare_cached(
                "INSERT INTO partition (node_id, reference, position) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (node_id, reference) DO UPDATE SET position = ?3, listed = 1",
            )?
            .execute((node, reference, position))?;
        if let Some(id) =
            queries::partition_by_place(connection, description.node.as_str(), reference)?
        {
            set_addresses(write, id, addresses)?;
        }
    }
    connection
        .prepare_cached("DELETE FROM partition WHERE node_id = ?1 AND listed = 0 AND busy = 0")?
        .execute([node])?;
    write.changes.node(description.node.as_str());
    Ok(())
}

/// Replaces a partition's addresses; its instance is told when they differ.
fn set_addresses(
    write: &mut Write<'_>,
    partition: i64,
    addresses: &[Address],
) -> Result<(), StoreError> {
    let connection = write.connection;
    if queries::addresses(connection, partition)? == addresses {
        return Ok(());
    }
    connection
        .prepare_cached("DELETE FROM partition_address WHERE partition_id = ?1")?
        .execute([partition])?;
    for (position, address) in addresses.iter().enumerate() {
        let (gateway, network) = address.route.clone().unzip();
        connection
            .prepare_cached(
                "INSERT INTO partition_address \
                 (partition_id, position, interface, address, netmask, gateway, network) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute((
                partition,
                i64::try_from(position).unwrap_or(i64::MAX),
                &address.interface,
                &address.address,
                &address.netmask,
                gateway,
                network,
            ))?;
    }
    if let Some(row) = queries::instance_on_partition(connection, partition)? {
        touch(write, row.instance.id.0)?;
    }
    Ok(())
}

/// Asks for a release on a node, or for its removal. An unknown node is accepted (quirk 25).
pub(super) fn supply(
    write: &mut Write<'_>,
    node: &NodeId,
    release: &ReleaseUrl,
    state: InstallationState,
) -> Result<(), StoreError> {
    let id = ensure_node(write.connection, node.as_str())?;
    let changed = write
        .connection
        .prepare_cached(
            "INSERT INTO installation (node_id, release, state) VALUES (?1, ?2, ?3) \
             ON CONFLICT (node_id, release) DO UPDATE SET state = ?3 WHERE state <> ?3",
        )?
        .execute((id, release.as_str(), state.as_str()))?;
    if changed > 0 {
        write.changes.node(node.as_str());
    }
    Ok(())
}

/// A node removed a release. One that was asked for again meanwhile stays asked for.
pub(super) fn release_removed(
    write: &mut Write<'_>,
    node: &str,
    release: &str,
) -> Result<(), StoreError> {
    let removed = write
        .connection
        .prepare_cached(
            "DELETE FROM installation WHERE release = ?2 AND state = 'destroyed' \
             AND node_id = (SELECT id FROM node WHERE reference = ?1)",
        )?
        .execute((node, release))?;
    if removed > 0 {
        write.changes.node(node);
    }
    Ok(())
}

/// The instance on a partition, or the shared one of this reference that it serves.
pub(super) fn subject(
    connection: &Connection,
    place: &Place,
    shared: Option<&str>,
) -> Result<InstanceRow, StoreError> {
    let host = super::request::requester(connection, place)?;
    let Some(reference) = shared else {
        return Ok(host);
    };
    queries::shared_with_reference(connection, host.instance.id.0, reference)?.ok_or_else(|| {
        StoreError::Refused(Refusal::UnknownShared {
            node: place.node.as_str().to_owned(),
            partition: place.partition.as_str().to_owned(),
            reference: reference.to_owned(),
        })
    })
}

/// Publishes connection parameters. Whoever requested the instance is told when they differ.
pub(super) fn publish(
    write: &mut Write<'_>,
    row: &InstanceRow,
    connection_parameters: &TextDict,
) -> Result<(), StoreError> {
    if row.instance.connection.as_ref() == Some(connection_parameters) {
        return Ok(());
    }
    write
        .connection
        .prepare_cached("UPDATE instance SET connection = ?2 WHERE id = ?1")?
        .execute((
            row.instance.id.0,
            queries::write_connection(connection_parameters)?,
        ))?;
    if let Some(place) = &row.instance.place {
        write.changes.node(place.node.as_str());
    }
    if let Some(requester) = row.requester {
        touch(write, requester)?;
    }
    Ok(())
}

/// Asks for reprocessing of an instance's whole tree (P 6.8).
pub(super) fn bang(write: &mut Write<'_>, row: &InstanceRow) -> Result<(), StoreError> {
    for member in queries::tree_members(write.connection, row.tree)? {
        if !member.instance.shared {
            touch(write, member.instance.id.0)?;
        }
    }
    Ok(())
}

/// Asks for reprocessing of all that is on a node.
pub(super) fn bang_node(write: &mut Write<'_>, node: &str) -> Result<(), StoreError> {
    let Some(id) = queries::node_by_reference(write.connection, node)? else {
        return Ok(());
    };
    for row in queries::instances_on_node(write.connection, id)? {
        touch(write, row.instance.id.0)?;
    }
    Ok(())
}

/// Renames an instance, and its tree when it is the root. The references shared instances are known
/// by do not change.
pub(super) fn rename(
    write: &mut Write<'_>,
    row: &InstanceRow,
    title: &InstanceTitle,
) -> Result<(), StoreError> {
    let connection = write.connection;
    let title = title.as_str();
    let instance = &row.instance;
    if instance.title == title {
        return Ok(());
    }
    let taken = if instance.is_root {
        queries::tree_by_title(connection, title, instance.shared)?.is_some()
    } else {
        queries::member(connection, row.tree, title, instance.shared)?.is_some()
    };
    if taken {
        return Err(Refusal::TitleTaken {
            title: title.to_owned(),
        }
        .into());
    }
    if instance.is_root {
        connection
            .prepare_cached("UPDATE tree SET title = ?2 WHERE id = ?1")?
            .execute((row.tree, title))?;
        // The root's title is in the documents of all members.
        for member in queries::tree_members(connection, row.tree)? {
            if let Some(place) = &member.instance.place {
                write.changes.node(place.node.as_str());
            }
        }
    }
    connection
        .prepare_cached("UPDATE instance SET title = ?2 WHERE id = ?1")?
        .execute((instance.id.0, title))?;
    if let Some(place) = &instance.place {
        write.changes.node(place.node.as_str());
    }
    Ok(())
}

/// A node destroyed what was on a partition: frees it.
///
/// A root whose members are still there stays, and they are asked to be destroyed (P 6.10); the
/// answer is then the refusal that names them, and it is no error of the transaction.
pub(super) fn destroyed(
    write: &mut Write<'_>,
    place: &Place,
) -> Result<Result<(), Refusal>, StoreError> {
    let connection = write.connection;
    let partition = match known_partition(connection, place) {
        Ok(partition) => partition,
        Err(StoreError::Refused(refusal)) => return Ok(Err(refusal)),
        Err(error) => return Err(error),
    };
    let Some(row) = queries::instance_on_partition(connection, partition)? else {
        return Ok(Ok(()));
    };
    let instance = &row.instance;
    if instance.state != InstanceState::Destroyed {
        return Ok(Err(Refusal::DestructionNotRequested {
            title: instance.title.clone(),
            state: instance.state.as_str(),
        }));
    }
    let members = if instance.is_root {
        queries::tree_members(connection, row.tree)?
    } else {
        Vec::new()
    };
    let (shared, children): (Vec<_>, Vec<_>) = members
        .into_iter()
        .filter(|member| member.instance.id != instance.id)
        .partition(|member| member.instance.shared);
    if !children.is_empty() {
        for child in &children {
            if child.instance.state != InstanceState::Destroyed {
                connection
                    .prepare_cached("UPDATE instance SET state = 'destroyed' WHERE id = ?1")?
                    .execute([child.instance.id.0])?;
                touch(write, child.instance.id.0)?;
            }
        }
        return Ok(Err(Refusal::HasChildren {
            children: children
                .into_iter()
                .map(|child| child.instance.title)
                .collect(),
        }));
    }
    for shared in &shared {
        remove_shared(write, shared)?;
    }
    connection
        .prepare_cached("DELETE FROM instance WHERE id = ?1")?
        .execute([instance.id.0])?;
    connection
        .prepare_cached("DELETE FROM partition WHERE id = ?1 AND listed = 0")?
        .execute([partition])?;
    connection
        .prepare_cached("UPDATE partition SET busy = 0 WHERE id = ?1")?
        .execute([partition])?;
    remove_empty_tree(connection, row.tree)?;
    write.changes.node(place.node.as_str());
    Ok(Ok(()))
}

/// Removes a shared instance; its host is told.
pub(super) fn remove_shared(write: &mut Write<'_>, row: &InstanceRow) -> Result<(), StoreError> {
    write
        .connection
        .prepare_cached("DELETE FROM instance WHERE id = ?1")?
        .execute([row.instance.id.0])?;
    if let Some(host) = row.host {
        touch(write, host)?;
    }
    remove_empty_tree(write.connection, row.tree)
}

fn remove_empty_tree(connection: &Connection, tree: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "DELETE FROM tree WHERE id = ?1 \
             AND NOT EXISTS (SELECT 1 FROM instance WHERE tree_id = ?1)",
        )?
        .execute([tree])?;
    Ok(())
}
