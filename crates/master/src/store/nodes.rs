//! Nodes: what they are, what they are told, how they are filled.

use serde_json::json;

use super::audit::audit;
use super::certificates::revoke_of;
use super::instances;
use super::records::{NodeRecord, Status};
use super::sql::{Connection, Row, SqlError, params};
use super::writer::Tx;
use super::{Store, StoreError, lifecycle, placement};
use crate::domain::access::{self, Action, Caller, Facts};
use crate::domain::capacity::{self, ScopeChange};
use crate::domain::sla::cut;
use crate::domain::{
    AllocationScope, CertificateOwner, NetworkKey, NodeKey, NodeKind, NodeReference, ProjectKey,
    Refusal, Timestamp,
};

pub(super) const SELECT_NODE: &str = "SELECT n.id, n.kind, n.project_id, n.title, n.scope, \
     (SELECT COUNT(*) FROM partition p WHERE p.node_id = n.id AND p.active = 1), \
     (SELECT COUNT(*) FROM partition p WHERE p.node_id = n.id AND p.active = 1 AND p.instance_id IS NULL), \
     n.capacity, n.used, n.alive, n.network_id, n.categories, n.status_text, n.status_at, \
     n.status_since, n.contact_at, n.revision FROM node n ";

/// Longest title of a node or network, in characters.
const TITLE_CHARS_MAX: usize = 200;
/// Nodes of one title that are looked at, in all projects.
const NAMESAKES_MAX: usize = 1000;

pub(super) fn node_from_row(row: &Row) -> Result<NodeRecord, SqlError> {
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
        return Err(access::absent(caller, &name).into());
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

/// The nodes of this title that the caller may see, oldest first.
fn titled(
    sql: &mut Connection,
    caller: Caller,
    title: &str,
) -> Result<Vec<NodeReference>, StoreError> {
    let rows = sql.all(
        &format!(
            "SELECT id, kind FROM node WHERE title = ?1 AND removed_at IS NULL ORDER BY id \
             LIMIT {NAMESAKES_MAX}"
        ),
        params![title],
    )?;
    let mut found = Vec::new();
    for row in &rows {
        let node = NodeKey(row.int(0)?).reference(row.parsed(1)?);
        match gate(sql, caller, Action::SeeNode, node) {
            Ok(_) => found.push(node),
            Err(StoreError::Refused(Refusal::NotFound(_) | Refusal::Forbidden(_))) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
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
pub(super) fn sees(
    sql: &mut Connection,
    caller: Caller,
    node: NodeReference,
) -> Result<Gate, StoreError> {
    if own_node(sql, caller, node)? {
        return gate(sql, Caller::Master, Action::SeeNode, node);
    }
    gate(sql, caller, Action::SeeNode, node)
}

/// A node may take from now on what it did not take before: as [`recount`], and the instances on it
/// may serve those who wait for a host.
pub(super) fn reopened(
    tx: &mut Tx<'_>,
    node: NodeKey,
    project: ProjectKey,
) -> Result<(), StoreError> {
    recount(tx, node, project)?;
    let rows = tx.all(
        "SELECT DISTINCT i.release_id FROM partition p JOIN instance i ON i.id = p.instance_id \
         WHERE p.node_id = ?1",
        params![node.0],
    )?;
    for row in &rows {
        tx.changes.hosts.insert((project, row.int(0)?));
    }
    Ok(())
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

    /// The node a person means: its reference, or its title among the nodes the caller may see.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such node for the caller, or several.
    pub async fn node_called(
        &self,
        caller: Caller,
        name: &str,
    ) -> Result<NodeReference, StoreError> {
        if let Ok(reference) = name.parse() {
            return Ok(reference);
        }
        let name = name.to_owned();
        self.read(move |sql| {
            let mut found = titled(sql, caller, &name)?;
            match (found.pop(), found.is_empty()) {
                (Some(only), true) => Ok(only),
                (None, _) => Err(Refusal::unknown("compute node", cut(&name)).into()),
                (Some(last), false) => {
                    found.push(last);
                    let names: Vec<String> = found.iter().map(ToString::to_string).collect();
                    Err(Refusal::Invalid(format!(
                        "several compute nodes are called {}: say which of {}",
                        cut(&name),
                        names.join(", ")
                    ))
                    .into())
                }
            }
        })
        .await
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
            let present: AllocationScope = tx
                .one("SELECT scope FROM node WHERE id = ?1", params![node.key.0])?
                .ok_or_else(|| Refusal::unknown("compute node", node))?
                .parsed(0)?;
            let empty = busy_partitions(tx.sql(), node.key)? == 0;
            match capacity::set_scope(present, scope, empty) {
                ScopeChange::Nothing => {}
                ScopeChange::Set => {
                    tx.execute(
                        "UPDATE node SET scope = ?2 WHERE id = ?1",
                        params![node.key.0, scope.as_str()],
                    )?;
                }
                ScopeChange::SetAndRemove => {
                    tx.execute(
                        "UPDATE node SET scope = ?2 WHERE id = ?1",
                        params![node.key.0, scope.as_str()],
                    )?;
                    remove(tx, caller, node)?;
                }
            }
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
            if let Some(row) = tx.one(
                "SELECT project_id FROM node WHERE id = ?1",
                params![node.key.0],
            )? {
                placement::network_changed(tx, ProjectKey(row.int(0)?))?;
            }
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
            let busy = busy_partitions(tx.sql(), node.key)?;
            if busy > 0 {
                return Err(Refusal::Conflict(format!(
                    "{node} holds {busy} instances: have them destroyed first, or close the node \
                     with the scope close/termination"
                ))
                .into());
            }
            remove(tx, caller, node)?;
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
            reopened(tx, node.key, gate.project)?;
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
}

pub(super) fn record(sql: &mut Connection, node: NodeReference) -> Result<NodeRecord, StoreError> {
    let row = sql
        .one(
            &format!("{SELECT_NODE} WHERE n.id = ?1 AND n.removed_at IS NULL"),
            params![node.key.0],
        )?
        .ok_or_else(|| Refusal::unknown("compute node", node))?;
    Ok(node_from_row(&row)?)
}

/// Partitions of a node that hold an instance.
fn busy_partitions(sql: &mut Connection, node: NodeKey) -> Result<i64, StoreError> {
    Ok(sql
        .one(
            "SELECT COUNT(*) FROM partition WHERE node_id = ?1 AND instance_id IS NOT NULL",
            params![node.0],
        )?
        .map(|row| row.int(0))
        .transpose()?
        .unwrap_or_default())
}

/// An empty node is no more; its certificates are of no use.
fn remove(tx: &mut Tx<'_>, caller: Caller, node: NodeReference) -> Result<(), StoreError> {
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
    revoke_of(tx, caller, CertificateOwner::Node(node), None)?;
    Ok(())
}
