//! Reading instances, and the relation of a caller to them.

use slap::InstanceState;

use super::StoreError;
use super::records::{Address, InstanceRecord, Placement, Status, Subject, Texts};
use super::sql::{Connection, Row, SqlError, params};
use crate::domain::access::{self, Action, Caller, Facts};
use crate::domain::{
    InstanceKey, NodeKey, NodeReference, PartitionKey, PersonKey, ProjectKey, Refusal, Role,
    Timestamp, TreeKey,
};

/// Instances with all that is told of them. What is on a partition is found by the instance, for a
/// shared one by its host.
macro_rules! select_instances {
    ($rest:literal) => {
        concat!(
            "SELECT i.id, i.tree_id, t.title, i.project_id, i.title, i.requester_id, i.shared, r.url, \
             i.software_type, i.parameters, i.sla, i.connection, i.state, i.timestamp, i.host_id, \
             i.reported, i.status_text, i.status_at, i.status_since, p.name, p.node_id, n.kind, \
             p.addresses, p.id, t.person_id, i.placed, i.units, i.release_id \
             FROM instance i JOIN tree t ON t.id = i.tree_id JOIN release r ON r.id = i.release_id \
             LEFT JOIN partition p ON p.instance_id = COALESCE(i.host_id, i.id) \
             LEFT JOIN node n ON n.id = p.node_id ",
            $rest
        )
    };
}
pub(super) use select_instances;

/// An instance with what only the store needs of it.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) record: InstanceRecord,
    pub(super) owner: PersonKey,
    pub(super) partition: Option<PartitionKey>,
    pub(super) placed: bool,
    pub(super) units: i64,
    pub(super) release_id: i64,
}

impl Found {
    /// The node it is on.
    pub(super) fn node(&self) -> Option<NodeKey> {
        self.record.placement.as_ref().map(|place| place.node.key)
    }

    /// What access depends on.
    pub(super) fn facts(&self, role: Option<Role>) -> Facts {
        Facts {
            project: Some(self.record.project),
            role,
            node: self.node(),
            owner: Some(self.owner),
            tree: Some(self.record.tree),
            instance: Some(self.record.key),
            host: self.record.host,
        }
    }
}

/// A row of [`select_instances`].
pub(super) fn from_row(row: &Row) -> Result<Found, SqlError> {
    let placement = match row.maybe_text(19)? {
        Some(partition) => Some(Placement {
            node: NodeReference {
                kind: row.parsed(21)?,
                key: NodeKey(row.int(20)?),
            },
            partition: partition.to_owned(),
        }),
        None => None,
    };
    let addresses: Vec<Address> = match placement {
        Some(_) => row.json(22)?,
        None => Vec::new(),
    };
    let connection: Option<Texts> = match row.maybe_text(11)? {
        Some(_) => Some(row.json(11)?),
        None => None,
    };
    Ok(Found {
        record: InstanceRecord {
            key: InstanceKey(row.int(0)?),
            tree: TreeKey(row.int(1)?),
            root_title: row.text(2)?.to_owned(),
            project: ProjectKey(row.int(3)?),
            title: row.text(4)?.to_owned(),
            requester: row.maybe_int(5)?.map(InstanceKey),
            shared: row.flag(6)?,
            release: row.text(7)?.to_owned(),
            software_type: row.text(8)?.to_owned(),
            parameters: row.json(9)?,
            sla: row.json(10)?,
            connection,
            state: row.parsed::<InstanceState>(12)?,
            timestamp: Timestamp(row.int(13)?),
            placement,
            host: row.maybe_int(14)?.map(InstanceKey),
            addresses,
            status: Status {
                reported: row.text(15)?.to_owned(),
                text: row.maybe_text(16)?.map(str::to_owned),
                at: row.maybe_int(17)?.map(Timestamp),
                since: row.maybe_int(18)?.map(Timestamp),
            },
        },
        owner: PersonKey(row.int(24)?),
        partition: row.maybe_int(23)?.map(PartitionKey),
        placed: row.flag(25)?,
        units: row.int(26)?,
        release_id: row.int(27)?,
    })
}

fn first(row: Option<Row>) -> Result<Option<Found>, StoreError> {
    Ok(row.as_ref().map(from_row).transpose()?)
}

/// A live instance by its key.
pub(super) fn by_key(sql: &mut Connection, key: InstanceKey) -> Result<Option<Found>, StoreError> {
    first(sql.one(
        select_instances!("WHERE i.id = ?1 AND i.removed_at IS NULL"),
        params![key.0],
    )?)
}

/// The live instance of a title in a tree.
pub(super) fn by_title(
    sql: &mut Connection,
    tree: TreeKey,
    title: &str,
) -> Result<Option<Found>, StoreError> {
    first(sql.one(
        select_instances!("WHERE i.tree_id = ?1 AND i.title = ?2 AND i.removed_at IS NULL"),
        params![tree.0, title],
    )?)
}

/// The instance on a partition, shared ones aside.
pub(super) fn at(
    sql: &mut Connection,
    node: NodeReference,
    partition: &str,
) -> Result<Option<Found>, StoreError> {
    let Some(row) = sql.one(
        "SELECT p.instance_id FROM partition p JOIN node n ON n.id = p.node_id \
         WHERE p.node_id = ?1 AND p.name = ?2 AND n.kind = ?3 AND n.removed_at IS NULL",
        params![node.key.0, partition, node.kind.as_str()],
    )?
    else {
        return Ok(None);
    };
    match row.maybe_int(0)? {
        Some(key) => by_key(sql, InstanceKey(key)),
        None => Ok(None),
    }
}

/// The live root of a tree that is not archived.
pub(super) fn root_of(sql: &mut Connection, tree: TreeKey) -> Result<Option<Found>, StoreError> {
    first(sql.one(
        select_instances!(
            "WHERE i.tree_id = ?1 AND i.requester_id IS NULL AND i.removed_at IS NULL \
             ORDER BY i.id LIMIT 1"
        ),
        params![tree.0],
    )?)
}

/// All live instances of a tree, in the order they came.
pub(super) fn of_tree(sql: &mut Connection, tree: TreeKey) -> Result<Vec<Found>, StoreError> {
    let rows = sql.all(
        select_instances!("WHERE i.tree_id = ?1 AND i.removed_at IS NULL ORDER BY i.id"),
        params![tree.0],
    )?;
    Ok(rows.iter().map(from_row).collect::<Result<_, _>>()?)
}

/// The live shared instances an instance serves, in the order they came.
pub(super) fn shared_on(sql: &mut Connection, host: InstanceKey) -> Result<Vec<Found>, StoreError> {
    let rows = sql.all(
        select_instances!("WHERE i.host_id = ?1 AND i.removed_at IS NULL ORDER BY i.id"),
        params![host.0],
    )?;
    Ok(rows.iter().map(from_row).collect::<Result<_, _>>()?)
}

/// The caller's role in a project, if it is a person.
pub(super) fn role_of(
    sql: &mut Connection,
    caller: Caller,
    project: ProjectKey,
) -> Result<Option<Role>, StoreError> {
    Ok(super::projects::role_of(sql, caller, project)?)
}

/// Whether the caller may do this with an instance.
pub(super) fn check(
    sql: &mut Connection,
    caller: Caller,
    action: Action,
    found: &Found,
    shown: &str,
) -> Result<(), StoreError> {
    let role = role_of(sql, caller, found.record.project)?;
    access::check(caller, action, &found.facts(role), shown)?;
    Ok(())
}

/// How messages name a subject.
pub(super) fn shown(subject: &Subject) -> String {
    match subject {
        Subject::At { node, partition } => format!("instance on partition {partition} of {node}"),
        Subject::Instance(key) => format!("instance {key}"),
    }
}

/// The instance a call is about, if the caller may do this with it.
pub(super) fn subject(
    sql: &mut Connection,
    caller: Caller,
    action: Action,
    subject: &Subject,
) -> Result<Found, StoreError> {
    let name = shown(subject);
    if caller == Caller::Anonymous {
        return Err(access::absent(caller, &name).into());
    }
    let found = match subject {
        Subject::At { node, partition } => at(sql, *node, partition)?,
        Subject::Instance(key) => by_key(sql, *key)?,
    };
    let found = found.ok_or_else(|| access::absent(caller, &name))?;
    check(sql, caller, action, &found, &name)?;
    Ok(found)
}

/// As [`subject`], or a shared instance that it serves.
pub(super) fn subject_or_shared(
    sql: &mut Connection,
    caller: Caller,
    action: Action,
    named: &Subject,
    shared: Option<InstanceKey>,
) -> Result<Found, StoreError> {
    let host = subject(sql, caller, action, named)?;
    let Some(shared) = shared.filter(|shared| *shared != host.record.key) else {
        return Ok(host);
    };
    let unknown = || -> StoreError {
        Refusal::NotFound(format!(
            "{} serves no shared instance {shared}",
            host.record.key
        ))
        .into()
    };
    let found = by_key(sql, shared)?.ok_or_else(unknown)?;
    if found.record.host == Some(host.record.key) {
        Ok(found)
    } else {
        Err(unknown())
    }
}
