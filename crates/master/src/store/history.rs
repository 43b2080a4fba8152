//! What happened to an instance tree or a node, as far as it is news for those who use it: the part
//! of the audit trail that is about it.

use serde_json::Value;

use super::audit::record_of;
use super::listing::see_tree;
use super::sql::{Row, SqlError, params};
use super::writer::Tx;
use super::{AuditRecord, Store, StoreError, nodes};
use crate::domain::access::{Action, Caller};
use crate::domain::{NodeReference, TreeKey};

/// Events one is told of at a time.
const EVENTS_MAX: i64 = 1_000;

/// Which events are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventQuery {
    /// Older than this one.
    pub before: Option<i64>,
    /// Younger than this one.
    pub after: Option<i64>,
    /// So many at most.
    pub limit: i64,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// What.
    pub note: AuditRecord,
    /// The title of the instance it happened to.
    pub title: Option<String>,
}

/// What is told to users; the rest, such as who was given a certificate, is for those who manage.
const TOLD: &[&str] = &[
    "request",
    "update",
    "placed",
    "publish",
    "report",
    "promise",
    "bang",
    "rename",
    "destroyed",
    "propose_upgrade",
    "withdraw_upgrade",
    "accept_upgrade",
    "reject_upgrade",
    "upgrade",
    "set_upgrade_policy",
    "supply",
    "removed_release",
    "report_release",
    "format",
    "bang_node",
    "create_node",
    "set_scope",
    "set_capacity",
    "set_network",
    "set_categories",
];

macro_rules! select_events {
    ($title:literal, $from:literal, $where:literal) => {
        concat!(
            "SELECT a.id, a.at, a.actor_kind, a.actor_id, p.login, n.kind, a.action, a.subject, \
             a.project_id, a.detail, ",
            $title,
            " FROM ",
            $from,
            " LEFT JOIN person p ON a.actor_kind = 'person' AND p.id = a.actor_id \
             LEFT JOIN node n ON a.actor_kind = 'node' AND n.id = a.actor_id WHERE ",
            $where,
            " AND a.id < ?1 AND a.id > ?2 ORDER BY a.id DESC LIMIT ?3"
        )
    };
}

impl EventQuery {
    fn bounds(self) -> (i64, i64, i64) {
        (
            self.before.unwrap_or(i64::MAX),
            self.after.unwrap_or(0),
            self.limit.clamp(1, EVENTS_MAX),
        )
    }
}

impl Store {
    /// What happened to an instance tree and the instances it has, the latest first.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such tree for the caller.
    pub async fn tree_events(
        &self,
        caller: Caller,
        tree: TreeKey,
        query: EventQuery,
    ) -> Result<Vec<EventRecord>, StoreError> {
        self.read(move |sql| {
            see_tree(sql, caller, tree)?;
            let (before, after, limit) = query.bounds();
            let of_members = sql.all(
                select_events!(
                    "i.title",
                    "instance i JOIN audit a ON a.subject = 'SOFTINST-' || CAST(i.id AS TEXT)",
                    "i.tree_id = ?4 AND i.removed_at IS NULL"
                ),
                params![before, after, limit, tree.0],
            )?;
            let of_tree = sql.all(
                select_events!("NULL", "audit a", "a.subject = ?4"),
                params![before, after, limit, tree.to_string()],
            )?;
            let mut events = told(of_members.iter().chain(&of_tree))?;
            events.sort_by_key(|event| std::cmp::Reverse(event.note.id));
            events.truncate(usize::try_from(limit).unwrap_or(0));
            Ok(events)
        })
        .await
    }

    /// What happened to a node, the latest first.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such node for the caller.
    pub async fn node_events(
        &self,
        caller: Caller,
        node: NodeReference,
        query: EventQuery,
    ) -> Result<Vec<EventRecord>, StoreError> {
        self.read(move |sql| {
            nodes::gate(sql, caller, Action::SeeNode, node)?;
            let (before, after, limit) = query.bounds();
            let rows = sql.all(
                select_events!("NULL", "audit a", "a.subject = ?4"),
                params![before, after, limit, node.to_string()],
            )?;
            told(rows.iter())
        })
        .await
    }
}

/// Leaves only the latest notes of a kind about a subject: what fails again and again must not fill
/// the database.
pub(super) fn forget(
    tx: &mut Tx<'_>,
    subject: &str,
    action: &str,
    keep: i64,
) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM audit WHERE subject = ?1 AND action = ?2 AND id <= (SELECT a.id FROM audit a \
         WHERE a.subject = ?1 AND a.action = ?2 ORDER BY a.id DESC LIMIT 1 OFFSET ?3)",
        params![subject, action, keep - 1],
    )?;
    Ok(())
}

/// The end of a log.
pub(super) fn tail(log: &str, chars: usize) -> String {
    let skip = log.chars().count().saturating_sub(chars);
    log.chars().skip(skip).collect()
}

fn told<'a>(rows: impl Iterator<Item = &'a Row>) -> Result<Vec<EventRecord>, StoreError> {
    let mut events = Vec::new();
    for row in rows {
        let mut note = record_of(row)?;
        if !TOLD.contains(&note.action.as_str()) {
            continue;
        }
        if !note.detail.is_object() {
            note.detail = Value::Object(serde_json::Map::new());
        }
        let title: Result<_, SqlError> = row.maybe_text(10);
        events.push(EventRecord {
            note,
            title: title?.map(str::to_owned),
        });
    }
    Ok(events)
}
