//! What nodes are told: their partitions with all that is on them, and the releases asked for.

use std::collections::HashMap;

use slap::InstanceState;

use super::instances::{self, Found, from_row, select_instances};
use super::nodes::{gate, record, sees};
use super::records::{
    Address, InstallationRecord, InstanceRecord, NodeDocument, PartitionRecord, Status, Subject,
};
use super::sql::{Connection, Row, SqlError, params};
use super::{Store, StoreError};
use crate::domain::access::{self, Action, Caller};
use crate::domain::{InstallationKey, NodeKey, NodeReference, Refusal, Timestamp};

impl Store {
    /// All a node is told. What the caller may not see of it is left out.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such node for the caller.
    pub async fn node_document(
        &self,
        caller: Caller,
        node: NodeReference,
    ) -> Result<NodeDocument, StoreError> {
        let (gate, document) = self
            .read(move |sql| {
                let gate = sees(sql, caller, node)?;
                let document = document(sql, caller, node)?;
                Ok((gate, document))
            })
            .await?;
        self.heard(caller, node, gate.alive, gate.contact_at)
            .await?;
        Ok(document)
    }

    /// A partition with all that is on it.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such partition for the caller.
    pub async fn partition(
        &self,
        caller: Caller,
        node: NodeReference,
        name: String,
    ) -> Result<PartitionRecord, StoreError> {
        self.read(move |sql| {
            let found = instances::at(sql, node, &name)?;
            if let Some(found) = &found {
                let shown = instances::shown(&Subject::At {
                    node,
                    partition: name.clone(),
                });
                instances::check(sql, caller, Action::SeeInstance, found, &shown)?;
            } else {
                gate(sql, caller, Action::SeeNode, node)?;
            }
            let row = sql
                .one(
                    "SELECT addresses FROM partition WHERE node_id = ?1 AND name = ?2",
                    params![node.key.0, name.as_str()],
                )?
                .ok_or_else(|| Refusal::unknown("partition", format!("{name} of {node}")))?;
            let shared = match &found {
                Some(found) => served(instances::shared_on(sql, found.record.key)?),
                None => Vec::new(),
            };
            Ok(assemble(node, name.clone(), row.json(0)?, found, shared))
        })
        .await
    }
}

/// The live instances on a node, then the shared ones they serve, each in the order they came.
pub(super) fn on_node(sql: &mut Connection, node: NodeKey) -> Result<Vec<Found>, StoreError> {
    let mut found = Vec::new();
    for rows in [
        sql.all(
            select_instances!(
                "WHERE i.id IN (SELECT q.instance_id FROM partition q WHERE q.node_id = ?1 \
                 AND q.instance_id IS NOT NULL) AND i.removed_at IS NULL ORDER BY i.id"
            ),
            params![node.0],
        )?,
        sql.all(
            select_instances!(
                "WHERE i.host_id IN (SELECT q.instance_id FROM partition q WHERE q.node_id = ?1 \
                 AND q.instance_id IS NOT NULL) AND i.removed_at IS NULL ORDER BY i.id"
            ),
            params![node.0],
        )?,
    ] {
        for row in &rows {
            found.push(from_row(row)?);
        }
    }
    Ok(found)
}

/// Shared instances as their host is told of them: those that shall be started (P 6.7).
fn served(shared: Vec<Found>) -> Vec<InstanceRecord> {
    shared
        .into_iter()
        .map(|found| found.record)
        .filter(|record| record.state == InstanceState::Started)
        .collect()
}

fn assemble(
    node: NodeReference,
    name: String,
    addresses: Vec<Address>,
    found: Option<Found>,
    shared: Vec<InstanceRecord>,
) -> PartitionRecord {
    let mut instance = found.map(|found| found.record);
    if let Some(instance) = &mut instance {
        for served in &shared {
            instance.timestamp = instance.timestamp.max(served.timestamp);
        }
    }
    PartitionRecord {
        node,
        name,
        addresses,
        instance,
        shared,
    }
}

fn document(
    sql: &mut Connection,
    caller: Caller,
    node: NodeReference,
) -> Result<NodeDocument, StoreError> {
    let mut on: HashMap<String, Found> = HashMap::new();
    let mut shared: HashMap<i64, Vec<Found>> = HashMap::new();
    for found in on_node(sql, node.key)? {
        match (&found.record.placement, found.record.host) {
            (_, Some(host)) => shared.entry(host.0).or_default().push(found),
            (Some(place), None) => {
                on.insert(place.partition.clone(), found);
            }
            (None, None) => {}
        }
    }
    let mut partitions = Vec::new();
    for row in sql.all(
        "SELECT name, addresses FROM partition \
         WHERE node_id = ?1 AND (active = 1 OR instance_id IS NOT NULL) ORDER BY position, id",
        params![node.key.0],
    )? {
        let name = row.text(0)?.to_owned();
        let found = on.remove(&name);
        let visible = match &found {
            Some(found) => {
                let role = instances::role_of(sql, caller, found.record.project)?;
                let facts = found.facts(role);
                access::verdict(caller, Action::SeeInstance, &facts) == access::Verdict::Allowed
            }
            // An instance is told of its own partition only.
            None => !matches!(caller, Caller::Instance { .. }),
        };
        let own = match (&found, caller) {
            (Some(found), Caller::Instance { instance, .. }) => found.record.key == instance,
            _ => true,
        };
        if visible && own {
            let served = match &found {
                Some(found) => served(shared.remove(&found.record.key.0).unwrap_or_default()),
                None => Vec::new(),
            };
            partitions.push(assemble(node, name, row.json(1)?, found, served));
        }
    }
    let installations = match caller {
        Caller::Instance { .. } => Vec::new(),
        _ => installations(sql, node)?,
    };
    Ok(NodeDocument {
        node: record(sql, node)?,
        partitions,
        installations,
    })
}

pub(super) const SELECT_INSTALLATION: &str = "SELECT s.id, r.url, s.state, s.reported, s.status_text, s.status_at, \
     s.status_since FROM installation s JOIN release r ON r.id = s.release_id ";

pub(super) fn installation_from_row(
    row: &Row,
    node: NodeReference,
) -> Result<InstallationRecord, SqlError> {
    Ok(InstallationRecord {
        key: InstallationKey(row.int(0)?),
        node,
        release: row.text(1)?.to_owned(),
        state: row.parsed(2)?,
        status: Status {
            reported: row.text(3)?.to_owned(),
            text: row.maybe_text(4)?.map(str::to_owned),
            at: row.maybe_int(5)?.map(Timestamp),
            since: row.maybe_int(6)?.map(Timestamp),
        },
    })
}

pub(super) fn installations(
    sql: &mut Connection,
    node: NodeReference,
) -> Result<Vec<InstallationRecord>, StoreError> {
    let rows = sql.all(
        &format!(
            "{SELECT_INSTALLATION} WHERE s.node_id = ?1 AND s.removed_at IS NULL ORDER BY s.id"
        ),
        params![node.key.0],
    )?;
    Ok(rows
        .iter()
        .map(|row| installation_from_row(row, node))
        .collect::<Result<_, _>>()?)
}
