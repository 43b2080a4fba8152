//! The audit trail: who changed what, and when. One row per change, in the change's transaction.

use super::people::{PAGE_MAX, check_administrator};
use super::projects::check_project;
use super::sql::{Connection, Row, SqlError, params};
use super::writer::Tx;
use super::{Store, StoreError};
use crate::domain::access::Action;
use crate::domain::{
    Caller, InstanceKey, Login, NodeKey, NodeKind, NodeReference, ProjectKey, Timestamp,
};

/// How a caller is written into rows: its kind, and its key where it has one.
pub(crate) fn actor(caller: Caller) -> (&'static str, Option<i64>) {
    match caller {
        Caller::Anonymous => ("anonymous", None),
        Caller::Person { person, .. } => ("person", Some(person.0)),
        Caller::Node(node) => ("node", Some(node.0)),
        Caller::Instance { instance, .. } => ("instance", Some(instance.0)),
        Caller::Master => ("master", None),
    }
}

/// Notes a change: one INSERT. `action` is what was done, such as `request`; `subject` the
/// reference of what it was done with; `project` whose managers may read of it, if any; `detail`
/// what else is worth knowing, never a secret (`json!({})` for nothing).
///
/// # Errors
/// The database.
pub(crate) fn audit(
    tx: &mut Tx<'_>,
    caller: Caller,
    action: &str,
    subject: &str,
    project: Option<ProjectKey>,
    detail: serde_json::Value,
) -> Result<(), StoreError> {
    let (kind, key) = actor(caller);
    let now = tx.now();
    tx.execute(
        "INSERT INTO audit (at, actor_kind, actor_id, action, subject, project_id, detail) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            now.0,
            kind,
            key,
            action,
            subject,
            project.map(|project| project.0),
            detail.to_string(),
        ],
    )?;
    Ok(())
}

/// Which notes are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditQuery {
    /// Of this project only.
    pub project: Option<ProjectKey>,
    /// About this subject only.
    pub subject: Option<String>,
    /// What this one did only, as [`AuditRecord::actor`] names it.
    pub actor: Option<String>,
    /// Older than this note.
    pub before: Option<i64>,
    /// So many at most; [`PAGE_MAX`] at the very most.
    pub limit: usize,
}

/// A note of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its number: later notes have higher ones.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who: a login name, the reference of a node or an instance, or `master`.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// With what.
    pub subject: String,
    /// The project it belongs to, if any.
    pub project: Option<ProjectKey>,
    /// What else is worth knowing.
    pub detail: serde_json::Value,
}

impl Store {
    /// Notes of the audit trail, the newest first.
    ///
    /// # Errors
    /// A project's notes are for its managers, all of them for administrators.
    pub async fn audit_trail(
        &self,
        caller: Caller,
        query: AuditQuery,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        self.read(move |sql| {
            match query.project {
                Some(project) => check_project(sql, caller, Action::ManageProject, project)?,
                None => check_administrator(caller, "whole audit trail")?,
            }
            let rows = match &query.actor {
                None => page(sql, &query)?,
                Some(name) => match actor_named(sql, name)? {
                    Some(actor) => page_of(sql, &query, actor)?,
                    None => Vec::new(),
                },
            };
            Ok(rows.iter().map(record_of).collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// Notes with what is told of who wrote them.
macro_rules! select_notes {
    ($rest:literal) => {
        concat!(
            "SELECT a.id, a.at, a.actor_kind, a.actor_id, p.login, n.kind, a.action, a.subject, \
             a.project_id, a.detail FROM audit a \
             LEFT JOIN person p ON a.actor_kind = 'person' AND p.id = a.actor_id \
             LEFT JOIN node n ON a.actor_kind = 'node' AND n.id = a.actor_id ",
            $rest,
            " ORDER BY a.id DESC LIMIT ?2"
        )
    };
}

/// Each kind of question has its own statement, so that each has its index.
fn page(sql: &mut Connection, query: &AuditQuery) -> Result<Vec<Row>, SqlError> {
    let before = query.before.unwrap_or(i64::MAX);
    let limit = query.limit.min(PAGE_MAX) as i64;
    match (query.project, &query.subject) {
        (None, None) => sql.all(select_notes!("WHERE a.id < ?1"), params![before, limit]),
        (Some(project), None) => sql.all(
            select_notes!("WHERE a.id < ?1 AND a.project_id = ?3"),
            params![before, limit, project.0],
        ),
        (None, Some(subject)) => sql.all(
            select_notes!("WHERE a.id < ?1 AND a.subject = ?3"),
            params![before, limit, subject],
        ),
        (Some(project), Some(subject)) => sql.all(
            select_notes!("WHERE a.id < ?1 AND a.subject = ?3 AND a.project_id = ?4"),
            params![before, limit, subject, project.0],
        ),
    }
}

/// What somebody did. Few ask, and the index of who did it leaves few rows to look at.
fn page_of(
    sql: &mut Connection,
    query: &AuditQuery,
    (kind, key): (&'static str, Option<i64>),
) -> Result<Vec<Row>, SqlError> {
    sql.all(
        select_notes!(
            "WHERE a.id < ?1 AND a.actor_kind = ?3 AND COALESCE(a.actor_id, 0) = ?4 \
             AND (?5 = '' OR a.subject = ?5) AND (CAST(?6 AS BIGINT) = 0 OR a.project_id = ?6)"
        ),
        params![
            query.before.unwrap_or(i64::MAX),
            query.limit.min(PAGE_MAX) as i64,
            kind,
            key.unwrap_or(0),
            query.subject.clone().unwrap_or_default(),
            query.project.map_or(0, |project| project.0),
        ],
    )
}

/// Who has this name in the trail: what [`actor_of`] says, read backwards. `None`: nobody.
fn actor_named(
    sql: &mut Connection,
    name: &str,
) -> Result<Option<(&'static str, Option<i64>)>, SqlError> {
    if let Ok(node) = name.parse::<NodeReference>() {
        return Ok(Some(("node", Some(node.key.0))));
    }
    if let Ok(instance) = name.parse::<InstanceKey>() {
        return Ok(Some(("instance", Some(instance.0))));
    }
    if let Ok(login) = name.parse::<Login>() {
        let person = "SELECT id FROM person WHERE login = ?1";
        if let Some(row) = sql.one(person, params![login.as_str()])? {
            return Ok(Some(("person", Some(row.int(0)?))));
        }
    }
    Ok(["master", "anonymous"]
        .into_iter()
        .find(|kind| *kind == name)
        .map(|kind| (kind, None)))
}

/// Who did something, by the columns from this one on: the kind, the key, a person's login, a node's
/// kind.
pub(super) fn actor_of(row: &Row, from: usize) -> Result<String, SqlError> {
    let key = row.maybe_int(from + 1)?;
    Ok(match (row.text(from)?, key) {
        ("person", Some(key)) => match row.maybe_text(from + 2)? {
            Some(login) => login.to_owned(),
            None => format!("PERSON-{key}"),
        },
        ("node", Some(key)) => {
            let kind = match row.maybe_text(from + 3)? {
                Some(_) => row.parsed(from + 3)?,
                None => NodeKind::Compute,
            };
            NodeKey(key).reference(kind).to_string()
        }
        ("instance", Some(key)) => InstanceKey(key).to_string(),
        (kind, _) => kind.to_owned(),
    })
}

pub(super) fn record_of(row: &Row) -> Result<AuditRecord, SqlError> {
    let actor = actor_of(row, 2)?;
    Ok(AuditRecord {
        id: row.int(0)?,
        at: Timestamp(row.int(1)?),
        actor,
        action: row.text(6)?.to_owned(),
        subject: row.text(7)?.to_owned(),
        project: row.maybe_int(8)?.map(ProjectKey),
        detail: row.json(9)?,
    })
}
