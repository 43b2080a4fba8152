//! What becomes of instances: they change, stop, are destroyed, and leave.

use slap::InstanceState;

use super::certificates::revoke_of;
use super::instances::{self, Found};
use super::records::Texts;
use super::sql::params;
use super::writer::Tx;
use super::{StoreError, placement};
use crate::domain::{Caller, CertificateOwner, InstanceKey, NodeKey, ProjectKey, Timestamp, tree};

/// Texts as the database keeps them.
pub(super) fn json_text(texts: &Texts) -> Result<String, StoreError> {
    serde_json::to_string(texts).map_err(|error| StoreError::Internal(error.to_string()))
}

/// The key of a release, which is written down when it is new.
pub(super) fn release_key(tx: &mut Tx<'_>, url: &str) -> Result<i64, StoreError> {
    if let Some(row) = tx.one("SELECT id FROM release WHERE url = ?1", params![url])? {
        return Ok(row.int(0)?);
    }
    Ok(tx.insert(
        "INSERT INTO release (url) VALUES (?1) RETURNING id",
        params![url],
    )?)
}

/// Has an instance processed again: its timestamp rises. A shared one's host is told.
pub(super) fn touch(tx: &mut Tx<'_>, found: &Found) -> Result<(), StoreError> {
    let timestamp = raise(tx, found.record.key, found.record.timestamp)?;
    tx.changes.trees.insert(found.record.tree);
    if let Some(node) = found.node() {
        tx.changes.nodes.insert(node);
    }
    if let Some(host) = found.record.host {
        touch_host(tx, host, timestamp)?;
    }
    Ok(())
}

/// Has the host of a shared instance processed again. Its node is shown the latest timestamp of
/// both: the host's is never behind, or the node would not see that it rose, after the clock was
/// set back.
pub(super) fn touch_host(
    tx: &mut Tx<'_>,
    host: InstanceKey,
    shared: Timestamp,
) -> Result<(), StoreError> {
    if let Some(host) = instances::by_key(tx.sql(), host)? {
        raise(tx, host.record.key, host.record.timestamp.max(shared))?;
        if let Some(node) = host.node() {
            tx.changes.nodes.insert(node);
        }
    }
    Ok(())
}

fn raise(tx: &mut Tx<'_>, key: InstanceKey, from: Timestamp) -> Result<Timestamp, StoreError> {
    let timestamp = from.advance(tx.now());
    tx.execute(
        "UPDATE instance SET timestamp = ?2 WHERE id = ?1 AND timestamp < ?2",
        params![key.0, timestamp.0],
    )?;
    Ok(timestamp)
}

/// Changes what an instance shall be, and with it whoever depends on it: who was requested by a
/// destroyed one is destroyed, in a stopped tree nobody is started (P 6.10). Those on no node are
/// gone at once; the others when their node says so.
pub(super) fn set_state(
    tx: &mut Tx<'_>,
    found: &Found,
    state: InstanceState,
) -> Result<(), StoreError> {
    put_state(tx, found, state)?;
    let is_root = found.record.requester.is_none();
    if state == InstanceState::Started || (state == InstanceState::Stopped && !is_root) {
        return Ok(());
    }
    let members = instances::of_tree(tx.sql(), found.record.tree)?;
    let root = members
        .iter()
        .find(|member| member.record.requester.is_none())
        .map_or(InstanceState::Destroyed, |root| root.record.state);
    let plain: Vec<tree::Member> = members
        .iter()
        .map(|member| tree::Member {
            key: member.record.key,
            requester: member.record.requester,
            state: member.record.state,
            host: member.record.host,
        })
        .collect();
    for change in tree::propagate(root, &plain) {
        if let Some(member) = members
            .iter()
            .find(|member| member.record.key == change.key)
        {
            put_state(tx, member, change.state)?;
        }
    }
    for member in instances::of_tree(tx.sql(), found.record.tree)? {
        let place = member
            .record
            .placement
            .as_ref()
            .map(|place| place.node.kind);
        if member.record.state == InstanceState::Destroyed
            && tree::gone_at_once(member.record.shared, place)
        {
            remove(tx, &member)?;
        }
    }
    if is_root && state == InstanceState::Destroyed {
        let now = tx.now();
        tx.execute(
            "UPDATE tree SET archived_at = ?2 WHERE id = ?1 AND archived_at IS NULL",
            params![found.record.tree.0, now.0],
        )?;
    }
    Ok(())
}

fn put_state(tx: &mut Tx<'_>, found: &Found, state: InstanceState) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE instance SET state = ?2 WHERE id = ?1",
        params![found.record.key.0, state.as_str()],
    )?;
    touch(tx, found)
}

/// An instance is no more: its partition is free, its certificates are of no use, the shared
/// instances it served look for another host.
pub(super) fn remove(tx: &mut Tx<'_>, found: &Found) -> Result<(), StoreError> {
    let record = &found.record;
    let now = tx.now();
    if record.host.is_some() {
        leave_host(tx, found)?;
    } else if let (Some(partition), Some(node)) = (found.partition, found.node()) {
        vacate(tx, partition.0, node, record.project, found.units)?;
        placement::left_network(tx, record.tree, Some(node))?;
    }
    tx.execute(
        "UPDATE instance SET removed_at = ?2, placed = 0, state = 'destroyed' WHERE id = ?1",
        params![record.key.0, now.0],
    )?;
    let owner = CertificateOwner::Instance(record.key);
    revoke_of(tx, Caller::Master, owner, Some(record.project))?;
    tx.execute(
        "DELETE FROM remote_instance WHERE instance_id = ?1",
        params![record.key.0],
    )?;
    super::promises::forget(tx, record.key)?;
    super::versions::forget(tx, record.key)?;
    for shared in instances::shared_on(tx.sql(), record.key)? {
        tx.execute(
            "UPDATE instance SET host_id = NULL, placed = 0, connection = NULL WHERE id = ?1",
            params![shared.record.key.0],
        )?;
        tx.changes.trees.insert(shared.record.tree);
        tx.changes
            .placeable
            .insert((shared.record.project, shared.release_id));
        placement::left_network(tx, shared.record.tree, found.node())?;
    }
    tx.changes.trees.insert(record.tree);
    Ok(())
}

/// A partition is free again, or gone where it was made for its instance only.
fn vacate(
    tx: &mut Tx<'_>,
    partition: i64,
    node: NodeKey,
    project: ProjectKey,
    units: i64,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE partition SET instance_id = NULL WHERE id = ?1",
        params![partition],
    )?;
    tx.execute(
        "DELETE FROM partition WHERE id = ?1 \
         AND node_id IN (SELECT id FROM node WHERE kind = 'remote')",
        params![partition],
    )?;
    tx.execute(
        "UPDATE node SET used = used - ?2 WHERE id = ?1",
        params![node.0, units],
    )?;
    tx.changes.nodes.insert(node);
    super::nodes::recount(tx, node, project)
}

/// A shared instance is served no more by its host.
pub(super) fn leave_host(tx: &mut Tx<'_>, found: &Found) -> Result<(), StoreError> {
    let Some(host) = found.record.host else {
        return Ok(());
    };
    tx.execute(
        "UPDATE instance SET host_id = NULL, placed = 0, connection = NULL WHERE id = ?1",
        params![found.record.key.0],
    )?;
    placement::left_network(tx, found.record.tree, found.node())?;
    touch_host(tx, host, found.record.timestamp)
}
