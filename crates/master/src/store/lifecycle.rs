//! What becomes of instances: they change, stop, are destroyed, and leave.

use slap::InstanceState;

use super::StoreError;
use super::instances::{self, Found};
use super::records::Texts;
use super::sql::params;
use super::writer::Tx;
use crate::domain::{InstanceKey, NodeKey, ProjectKey, Timestamp};

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
    raise(tx, found.record.key, found.record.timestamp)?;
    tx.changes.trees.insert(found.record.tree);
    if let Some(node) = found.node() {
        tx.changes.nodes.insert(node);
    }
    if let Some(host) = found.record.host {
        touch_host(tx, host)?;
    }
    Ok(())
}

/// Has the host of a shared instance processed again.
pub(super) fn touch_host(tx: &mut Tx<'_>, host: InstanceKey) -> Result<(), StoreError> {
    if let Some(host) = instances::by_key(tx.sql(), host)? {
        raise(tx, host.record.key, host.record.timestamp)?;
        if let Some(node) = host.node() {
            tx.changes.nodes.insert(node);
        }
    }
    Ok(())
}

fn raise(tx: &mut Tx<'_>, key: InstanceKey, from: Timestamp) -> Result<(), StoreError> {
    let timestamp = from.advance(tx.now());
    tx.execute(
        "UPDATE instance SET timestamp = ?2 WHERE id = ?1 AND timestamp < ?2",
        params![key.0, timestamp.0],
    )?;
    Ok(())
}

/// Changes what an instance shall be; when the root of a tree stops, so do its members (P 6.10).
pub(super) fn set_state(
    tx: &mut Tx<'_>,
    found: &Found,
    state: InstanceState,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE instance SET state = ?2 WHERE id = ?1",
        params![found.record.key.0, state.as_str()],
    )?;
    if found.record.requester.is_none() && state == InstanceState::Stopped {
        for member in instances::of_tree(tx.sql(), found.record.tree)? {
            if member.record.key != found.record.key
                && member.record.state == InstanceState::Started
            {
                tx.execute(
                    "UPDATE instance SET state = 'stopped' WHERE id = ?1",
                    params![member.record.key.0],
                )?;
                touch(tx, &member)?;
            }
        }
    }
    Ok(())
}

/// Has an instance destroyed, and all that it requested, and all that those requested (P 6.10). What
/// is on no node is gone at once; the rest when its node says so.
pub(super) fn destroy(tx: &mut Tx<'_>, found: &Found) -> Result<(), StoreError> {
    let rows = tx.all(
        "WITH RECURSIVE below(id) AS (\
           SELECT id FROM instance WHERE id = ?1 \
           UNION SELECT i.id FROM instance i JOIN below b ON i.requester_id = b.id \
           WHERE i.removed_at IS NULL) \
         SELECT id FROM below ORDER BY id",
        params![found.record.key.0],
    )?;
    for row in &rows {
        let key = InstanceKey(row.int(0)?);
        if let Some(member) = instances::by_key(tx.sql(), key)?
            && member.record.state != InstanceState::Destroyed
        {
            destroy_one(tx, &member)?;
        }
    }
    if found.record.requester.is_none() {
        let now = tx.now();
        tx.execute(
            "UPDATE tree SET archived_at = ?2 WHERE id = ?1 AND archived_at IS NULL",
            params![found.record.tree.0, now.0],
        )?;
    }
    tx.changes.trees.insert(found.record.tree);
    Ok(())
}

fn destroy_one(tx: &mut Tx<'_>, found: &Found) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE instance SET state = 'destroyed' WHERE id = ?1",
        params![found.record.key.0],
    )?;
    touch(tx, found)?;
    if found.partition.is_none() || found.record.shared {
        remove(tx, found)?;
    }
    Ok(())
}

/// An instance is no more: its partition is free, its certificates are of no use, the shared
/// instances it served look for another host.
pub(super) fn remove(tx: &mut Tx<'_>, found: &Found) -> Result<(), StoreError> {
    let record = &found.record;
    let now = tx.now();
    if record.shared {
        leave_host(tx, found)?;
    } else if let (Some(partition), Some(node)) = (found.partition, found.node()) {
        vacate(tx, partition.0, node, record.project, found.units)?;
    }
    tx.execute(
        "UPDATE instance SET removed_at = ?2, placed = 0, state = 'destroyed' WHERE id = ?1",
        params![record.key.0, now.0],
    )?;
    tx.execute(
        "UPDATE certificate SET revoked_at = ?2 \
         WHERE owner_kind = 'instance' AND owner_id = ?1 AND revoked_at IS NULL",
        params![record.key.0, now.0],
    )?;
    tx.execute(
        "DELETE FROM instance_key WHERE instance_id = ?1",
        params![record.key.0],
    )?;
    tx.execute(
        "DELETE FROM remote_instance WHERE instance_id = ?1",
        params![record.key.0],
    )?;
    for shared in instances::shared_on(tx.sql(), record.key)? {
        tx.execute(
            "UPDATE instance SET host_id = NULL, placed = 0, connection = NULL WHERE id = ?1",
            params![shared.record.key.0],
        )?;
        tx.changes.trees.insert(shared.record.tree);
        tx.changes
            .placeable
            .insert((shared.record.project, shared.release_id));
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
    touch_host(tx, host)
}
