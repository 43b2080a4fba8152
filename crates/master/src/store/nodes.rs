//! Nodes: what they are, what they are told, how they are filled.

use std::collections::{HashMap, HashSet};

use serde_json::json;
use slap::InstanceState;

use super::audit::audit;
use super::instances::{self, Found, from_row, select_instances};
use super::records::{
    Address, InstallationRecord, NodeDescription, NodeDocument, NodeRecord, PartitionRecord,
    Status, Subject,
};
use super::sql::{Connection, Row, SqlError, params};
use super::writer::Tx;
use super::{Store, StoreError, contact, lifecycle};
use crate::domain::access::{self, Action, Caller, Facts};
use crate::domain::{
    AllocationScope, InstallationKey, NetworkKey, NodeKey, NodeKind, NodeReference, ProjectKey,
    Refusal, Timestamp,
};

const SELECT_NODE: &str = "SELECT n.id, n.kind, n.project_id, n.title, n.scope, \
     (SELECT COUNT(*) FROM partition p WHERE p.node_id = n.id AND p.active = 1), \
     (SELECT COUNT(*) FROM partition p WHERE p.node_id = n.id AND p.active = 1 AND p.instance_id IS NULL), \
     n.capacity, n.used, n.alive, n.network_id, n.categories, n.status_text, n.status_at, \
     n.status_since, n.contact_at, n.revision FROM node n ";

/// Longest title of a node or network, in characters.
const TITLE_CHARS_MAX: usize = 200;
/// Partitions a node may describe.
const PARTITIONS_MAX: usize = 10_000;

fn node_from_row(row: &Row) -> Result<NodeRecord, SqlError> {
    Ok(NodeRecord {
        node: NodeReference {
            key: NodeKey(row.int(0)?),
            kind: row.parsed::<NodeKind>(1)?,
        },
        project: ProjectKey(row.int(2)?),
        title: row.text(3)?.to_owned(),
        scope: row.parsed::<AllocationScope>(4)?,
        partitions: row.int(5)?,
        free: row.int(6)?,
        capacity: row.maybe_int(7)?,
        used: row.int(8)?,
        alive: row.flag(9)?,
        network: row.maybe_int(10)?.map(NetworkKey),
        categories: row.json(11)?,
        status: Status {
            text: row.maybe_text(12)?.map(str::to_owned),
            at: row.maybe_int(13)?.map(Timestamp),
            since: row.maybe_int(14)?.map(Timestamp),
            reported: String::new(),
        },
        contact_at: row.maybe_int(15)?.map(Timestamp),
        revision: row.int(16)?,
    })
}

/// What access to a node depends on, without reading more of it.
pub(super) struct Gate {
    pub(super) project: ProjectKey,
    pub(super) revision: i64,
    pub(super) alive: bool,
    pub(super) contact_at: Option<Timestamp>,
}

/// Checks that the caller may do this with a node that exists.
pub(super) fn gate(
    sql: &mut Connection,
    caller: Caller,
    action: Action,
    node: NodeReference,
) -> Result<Gate, StoreError> {
    let name = format!("compute node {node}");
    let row = sql.one(
        "SELECT project_id, revision, alive, contact_at FROM node \
         WHERE id = ?1 AND kind = ?2 AND removed_at IS NULL",
        params![node.key.0, node.kind.as_str()],
    )?;
    let Some(row) = row else {
        access::check(caller, action, &Facts::default(), &name)?;
        return Err(Refusal::NotFound(format!("there is no {name} that you may see")).into());
    };
    let project = ProjectKey(row.int(0)?);
    let facts = Facts {
        project: Some(project),
        role: instances::role_of(sql, caller, project)?,
        node: Some(node.key),
        ..Facts::default()
    };
    access::check(caller, action, &facts, &name)?;
    Ok(Gate {
        project,
        revision: row.int(1)?,
        alive: row.flag(2)?,
        contact_at: row.maybe_int(3)?.map(Timestamp),
    })
}

/// The node an instance is on.
fn own_node(sql: &mut Connection, caller: Caller, node: NodeReference) -> Result<bool, StoreError> {
    let Caller::Instance { instance, .. } = caller else {
        return Ok(false);
    };
    Ok(sql
        .one(
            "SELECT id FROM partition WHERE node_id = ?1 AND instance_id = ?2",
            params![node.key.0, instance.0],
        )?
        .is_some())
}

/// As [`gate`] for seeing; an instance sees the node it is on, as far as its own partition goes.
fn sees(sql: &mut Connection, caller: Caller, node: NodeReference) -> Result<Gate, StoreError> {
    if own_node(sql, caller, node)? {
        return gate(sql, Caller::Master, Action::SeeNode, node);
    }
    gate(sql, caller, Action::SeeNode, node)
}

/// Counts the free partitions of a node anew, and with them how its releases can be used.
///
/// This is the one place where the order in which nodes are filled is computed; placing an instance
/// lowers the same numbers by one.
pub(super) fn recount(
    tx: &mut Tx<'_>,
    node: NodeKey,
    project: ProjectKey,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE node SET free = (SELECT COUNT(*) FROM partition p WHERE p.node_id = node.id \
         AND p.active = 1 AND p.instance_id IS NULL AND p.capabilities = '[]') WHERE id = ?1",
        params![node.0],
    )?;
    tx.execute(
        "UPDATE installation SET free = COALESCE((SELECT n.free FROM node n \
           WHERE n.id = installation.node_id AND n.alive = 1 AND n.scope = 'open' \
           AND n.kind = 'compute' AND n.removed_at IS NULL \
           AND (n.capacity IS NULL OR n.used < n.capacity) \
           AND installation.state = 'available' AND installation.reported = 'available'), 0) \
         WHERE node_id = ?1 AND removed_at IS NULL",
        params![node.0],
    )?;
    // Whoever waits for a release that is here may have a place now.
    let rows = tx.all(
        "SELECT DISTINCT i.release_id FROM installation i \
         WHERE i.node_id = ?1 AND i.removed_at IS NULL AND i.reported = 'available'",
        params![node.0],
    )?;
    for row in &rows {
        tx.changes.placeable.insert((project, row.int(0)?));
    }
    Ok(())
}

impl Store {
    /// The revision of what a node is told: one look-up. A node's own call is its heartbeat.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such node for the caller.
    pub async fn node_revision(
        &self,
        caller: Caller,
        node: NodeReference,
    ) -> Result<i64, StoreError> {
        let gate = self.read(move |sql| sees(sql, caller, node)).await?;
        self.heard(caller, node, gate.alive, gate.contact_at)
            .await?;
        Ok(gate.revision)
    }

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

    /// A node.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such node for the caller.
    pub async fn node(
        &self,
        caller: Caller,
        node: NodeReference,
    ) -> Result<NodeRecord, StoreError> {
        let mut record = self
            .read(move |sql| {
                sees(sql, caller, node)?;
                record(sql, node)
            })
            .await?;
        self.refresh(&mut record);
        Ok(record)
    }

    /// The nodes the caller may see, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a caller nobody knows.
    pub async fn nodes(&self, caller: Caller) -> Result<Vec<NodeRecord>, StoreError> {
        let mut nodes = self
            .read(move |sql| {
                let rows = match caller {
                    Caller::Anonymous => {
                        access::check(caller, Action::SeeNode, &Facts::default(), "compute node")?;
                        Vec::new()
                    }
                    Caller::Master
                    | Caller::Person {
                        administrator: true,
                        ..
                    } => sql.all(
                        &format!("{SELECT_NODE} WHERE n.removed_at IS NULL ORDER BY n.id"),
                        &[],
                    )?,
                    Caller::Person { person, .. } => sql.all(
                        &format!(
                            "{SELECT_NODE} JOIN member m ON m.project_id = n.project_id \
                             WHERE m.person_id = ?1 AND n.removed_at IS NULL ORDER BY n.id"
                        ),
                        params![person.0],
                    )?,
                    Caller::Node(node) => sql.all(
                        &format!("{SELECT_NODE} WHERE n.id = ?1 AND n.removed_at IS NULL"),
                        params![node.0],
                    )?,
                    Caller::Instance { .. } => Vec::new(),
                };
                Ok(rows
                    .iter()
                    .map(node_from_row)
                    .collect::<Result<Vec<_>, _>>()?)
            })
            .await?;
        for node in &mut nodes {
            self.refresh(node);
        }
        Ok(nodes)
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

    /// Makes a node of this title in a project; one that is there already is the answer (P 5.4).
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not manage the project.
    pub async fn create_node(
        &self,
        caller: Caller,
        project: ProjectKey,
        kind: NodeKind,
        title: String,
    ) -> Result<NodeReference, StoreError> {
        self.write(move |tx| {
            let facts = Facts {
                project: Some(project),
                role: instances::role_of(tx.sql(), caller, project)?,
                ..Facts::default()
            };
            let name = format!("project {project}");
            access::check(caller, Action::ManageProject, &facts, &name)?;
            let length = title.chars().count();
            if title.trim().is_empty()
                || length > TITLE_CHARS_MAX
                || title.chars().any(char::is_control)
            {
                return Err(Refusal::Invalid(format!(
                    "a node's title has 1 to {TITLE_CHARS_MAX} characters on one line"
                ))
                .into());
            }
            if tx
                .one(
                    "SELECT id FROM project WHERE id = ?1 AND closed_at IS NULL",
                    params![project.0],
                )?
                .is_none()
            {
                return Err(Refusal::unknown("open project", project).into());
            }
            if let Some(row) = tx.one(
                "SELECT id FROM node WHERE project_id = ?1 AND title = ?2 AND kind = ?3 \
                 AND removed_at IS NULL",
                params![project.0, title.as_str(), kind.as_str()],
            )? {
                return Ok(NodeKey(row.int(0)?).reference(kind));
            }
            let now = tx.now();
            let key = tx.insert(
                "INSERT INTO node (project_id, kind, title, scope, used, free, alive, categories, \
                 revision, created_at) VALUES (?1, ?2, ?3, 'open', 0, 0, ?4, '{}', 1, ?5) \
                 RETURNING id",
                params![
                    project.0,
                    kind.as_str(),
                    title.as_str(),
                    kind == NodeKind::Remote,
                    now.0
                ],
            )?;
            let node = NodeKey(key).reference(kind);
            audit(
                tx,
                caller,
                "create_node",
                &node.to_string(),
                Some(project),
                json!({"title": title}),
            )?;
            Ok(node)
        })
        .await
    }

    /// Says whether a node takes new instances.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not.
    pub async fn set_scope(
        &self,
        caller: Caller,
        node: NodeReference,
        scope: AllocationScope,
    ) -> Result<(), StoreError> {
        self.manage(caller, node, "set_scope", move |tx| {
            tx.execute(
                "UPDATE node SET scope = ?2 WHERE id = ?1",
                params![node.key.0, scope.as_str()],
            )?;
            Ok(json!({"scope": scope.as_str()}))
        })
        .await
    }

    /// Says how many units a node takes at most; `None` for no limit.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not.
    pub async fn set_capacity(
        &self,
        caller: Caller,
        node: NodeReference,
        capacity: Option<i64>,
    ) -> Result<(), StoreError> {
        self.manage(caller, node, "set_capacity", move |tx| {
            tx.execute(
                "UPDATE node SET capacity = ?2 WHERE id = ?1",
                params![node.key.0, capacity],
            )?;
            Ok(json!({"capacity": capacity}))
        })
        .await
    }

    /// Says in what network a node is.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not, or the network is not of its project.
    pub async fn set_network(
        &self,
        caller: Caller,
        node: NodeReference,
        network: Option<NetworkKey>,
    ) -> Result<(), StoreError> {
        self.manage(caller, node, "set_network", move |tx| {
            if let Some(network) = network
                && tx
                    .one(
                        "SELECT w.id FROM network w JOIN node n ON n.project_id = w.project_id \
                         WHERE w.id = ?1 AND n.id = ?2",
                        params![network.0, node.key.0],
                    )?
                    .is_none()
            {
                return Err(Refusal::unknown("network", network).into());
            }
            tx.execute(
                "UPDATE node SET network_id = ?2 WHERE id = ?1",
                params![node.key.0, network.map(|network| network.0)],
            )?;
            Ok(json!({"network": network.map(|network| network.to_string())}))
        })
        .await
    }

    /// Says what a node is, for requests that ask for such ones.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not.
    pub async fn set_categories(
        &self,
        caller: Caller,
        node: NodeReference,
        categories: super::Texts,
    ) -> Result<(), StoreError> {
        self.manage(caller, node, "set_categories", move |tx| {
            tx.execute(
                "UPDATE node SET categories = ?2 WHERE id = ?1",
                params![node.key.0, lifecycle::json_text(&categories)?],
            )?;
            Ok(json!({"categories": categories}))
        })
        .await
    }

    /// Makes a network in a project.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not manage the project.
    pub async fn create_network(
        &self,
        caller: Caller,
        project: ProjectKey,
        title: String,
    ) -> Result<NetworkKey, StoreError> {
        self.write(move |tx| {
            let facts = Facts {
                project: Some(project),
                role: instances::role_of(tx.sql(), caller, project)?,
                ..Facts::default()
            };
            let name = format!("project {project}");
            access::check(caller, Action::ManageProject, &facts, &name)?;
            if tx
                .one("SELECT id FROM project WHERE id = ?1", params![project.0])?
                .is_none()
            {
                return Err(Refusal::unknown("project", project).into());
            }
            let now = tx.now();
            let key = tx.insert(
                "INSERT INTO network (project_id, title, created_at) VALUES (?1, ?2, ?3) \
                 RETURNING id",
                params![project.0, title.as_str(), now.0],
            )?;
            let network = NetworkKey(key);
            audit(
                tx,
                caller,
                "create_network",
                &network.to_string(),
                Some(project),
                json!({"title": title}),
            )?;
            Ok(network)
        })
        .await
    }

    /// Removes a node that holds no instance. Its certificates are revoked.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not, or instances are on it.
    pub async fn remove_node(&self, caller: Caller, node: NodeReference) -> Result<(), StoreError> {
        self.manage(caller, node, "remove_node", move |tx| {
            let busy = tx
                .one(
                    "SELECT COUNT(*) FROM partition WHERE node_id = ?1 AND instance_id IS NOT NULL",
                    params![node.key.0],
                )?
                .map(|row| row.int(0))
                .transpose()?
                .unwrap_or_default();
            if busy > 0 {
                return Err(Refusal::Conflict(format!(
                    "{node} holds {busy} instances: have them destroyed first, or close the node \
                     with the scope close/termination"
                ))
                .into());
            }
            let now = tx.now();
            tx.execute(
                "UPDATE node SET removed_at = ?2, alive = 0 WHERE id = ?1",
                params![node.key.0, now.0],
            )?;
            tx.execute(
                "UPDATE installation SET removed_at = ?2, free = 0 \
                 WHERE node_id = ?1 AND removed_at IS NULL",
                params![node.key.0, now.0],
            )?;
            tx.execute(
                "UPDATE certificate SET revoked_at = ?2 \
                 WHERE owner_kind = 'node' AND owner_id = ?1 AND revoked_at IS NULL",
                params![node.key.0, now.0],
            )?;
            Ok(json!({}))
        })
        .await
    }

    /// Changes a node, counts its free partitions anew, and writes the audit trail.
    async fn manage<F>(
        &self,
        caller: Caller,
        node: NodeReference,
        action: &'static str,
        change: F,
    ) -> Result<(), StoreError>
    where
        F: Fn(&mut Tx<'_>) -> Result<serde_json::Value, StoreError> + Send + 'static,
    {
        self.write(move |tx| {
            let gate = gate(tx.sql(), caller, Action::ManageNode, node)?;
            let detail = change(tx)?;
            recount(tx, node.key, gate.project)?;
            tx.changes.nodes.insert(node.key);
            audit(
                tx,
                caller,
                action,
                &node.to_string(),
                Some(gate.project),
                detail,
            )
        })
        .await
    }

    /// Stores what a node tells about itself (P 6.11). An unchanged description writes nothing. A
    /// partition that is no longer described takes nothing new; what is on it stays.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller is not that node, or the description makes no sense.
    pub async fn format(
        &self,
        caller: Caller,
        node: NodeReference,
        description: NodeDescription,
    ) -> Result<(), StoreError> {
        let mut names = HashSet::new();
        if description.partitions.len() > PARTITIONS_MAX
            || !description
                .partitions
                .iter()
                .all(|partition| !partition.name.is_empty() && names.insert(&partition.name))
        {
            return Err(Refusal::Invalid(format!(
                "a node describes at most {PARTITIONS_MAX} partitions, each under its own name"
            ))
            .into());
        }
        self.write(move |tx| {
            let gate = gate(tx.sql(), caller, Action::ActAsNode, node)?;
            let changed = apply_format(tx, node.key, &description)?;
            if changed {
                recount(tx, node.key, gate.project)?;
                tx.changes.nodes.insert(node.key);
                audit(
                    tx,
                    caller,
                    "format",
                    &node.to_string(),
                    Some(gate.project),
                    json!({"partitions": description.partitions.len()}),
                )?;
            }
            contact::write(tx, node, gate.project, gate.alive)
        })
        .await
    }

    /// A node asks for reprocessing of all that is on it, with the trees above (P 6.8).
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller is not that node.
    pub async fn bang_node(
        &self,
        caller: Caller,
        node: NodeReference,
        message: String,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let gate = gate(tx.sql(), caller, Action::ActAsNode, node)?;
            for found in on_node(tx.sql(), node.key)? {
                super::reports::bang_up(tx, &found)?;
            }
            contact::set_status(tx, node, gate.project, &format!("#error bang: {message}"))?;
            audit(
                tx,
                caller,
                "bang_node",
                &node.to_string(),
                Some(gate.project),
                json!({"message": message}),
            )
        })
        .await
    }

    /// Keeps what a node says it used (P 6.12). The text is checked by the caller.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller is not that node.
    pub async fn usage(
        &self,
        caller: Caller,
        node: NodeReference,
        reference: String,
        body: String,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            gate(tx.sql(), caller, Action::ActAsNode, node)?;
            let now = tx.now();
            tx.execute(
                "INSERT INTO usage_report (node_id, reference, body, received_at) \
                 VALUES (?1, ?2, ?3, ?4)",
                params![node.key.0, reference.as_str(), body.as_str(), now.0],
            )?;
            Ok(())
        })
        .await
    }
}

/// Makes partitions what their node says they are; whether anything changed.
fn apply_format(
    tx: &mut Tx<'_>,
    node: NodeKey,
    description: &NodeDescription,
) -> Result<bool, StoreError> {
    let text = |value: serde_json::Result<String>| {
        value.map_err(|error| StoreError::Internal(error.to_string()))
    };
    let mut known: HashMap<String, (i64, i64, bool, String, String)> = HashMap::new();
    for row in tx.all(
        "SELECT name, id, position, active, addresses, capabilities FROM partition \
         WHERE node_id = ?1",
        params![node.0],
    )? {
        known.insert(
            row.text(0)?.to_owned(),
            (
                row.int(1)?,
                row.int(2)?,
                row.flag(3)?,
                row.text(4)?.to_owned(),
                row.text(5)?.to_owned(),
            ),
        );
    }
    let mut changed = false;
    for (position, partition) in (0i64..).zip(&description.partitions) {
        let addresses = text(serde_json::to_string(&partition.addresses))?;
        let mut sorted = partition.capabilities.clone();
        sorted.sort();
        let capabilities = text(serde_json::to_string(&sorted))?;
        match known.remove(&partition.name) {
            None => {
                tx.execute(
                    "INSERT INTO partition (node_id, name, position, active, addresses, \
                     capabilities) VALUES (?1, ?2, ?3, 1, ?4, ?5)",
                    params![node.0, &partition.name, position, addresses, capabilities],
                )?;
                changed = true;
            }
            Some((id, at, active, had_addresses, had_capabilities)) => {
                if at == position
                    && active
                    && had_addresses == addresses
                    && had_capabilities == capabilities
                {
                    continue;
                }
                tx.execute(
                    "UPDATE partition SET position = ?2, active = 1, addresses = ?3, \
                     capabilities = ?4 WHERE id = ?1",
                    params![id, position, addresses.as_str(), capabilities],
                )?;
                if had_addresses != addresses {
                    // What is there must learn its new addresses.
                    let found = tx.one(
                        select_instances!("WHERE p.id = ?1 AND i.shared = 0"),
                        params![id],
                    )?;
                    if let Some(row) = found {
                        lifecycle::touch(tx, &from_row(&row)?)?;
                    }
                }
                changed = true;
            }
        }
    }
    for (id, _, active, _, _) in known.into_values() {
        if active {
            tx.execute("UPDATE partition SET active = 0 WHERE id = ?1", params![id])?;
            changed = true;
        }
    }
    let described = tx.execute(
        "UPDATE node SET description = ?2 \
         WHERE id = ?1 AND (description IS NULL OR description <> ?2)",
        params![node.0, description.further.as_str()],
    )?;
    Ok(changed || described > 0)
}

fn record(sql: &mut Connection, node: NodeReference) -> Result<NodeRecord, StoreError> {
    let row = sql
        .one(
            &format!("{SELECT_NODE} WHERE n.id = ?1 AND n.removed_at IS NULL"),
            params![node.key.0],
        )?
        .ok_or_else(|| Refusal::unknown("compute node", node))?;
    Ok(node_from_row(&row)?)
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
fn served(shared: Vec<Found>) -> Vec<super::InstanceRecord> {
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
    shared: Vec<super::InstanceRecord>,
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
