//! Whether nodes answer. A node's call is its heartbeat: it is remembered in memory, and written
//! only as often as placement needs it, so that an idle node costs a look-up.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::records::NodeRecord;
use super::sql::params;
use super::writer::Tx;
use super::{Store, StoreError, nodes};
use crate::domain::access::Caller;
use crate::domain::capacity::SILENCE_MAX;
use crate::domain::{NodeKey, NodeReference, ProjectKey, Timestamp};

/// How old what is written may become while a node goes on calling. Several of these fit into the
/// silence after which a node counts as away.
const WRITE_EVERY: Duration = Duration::from_secs(150);

/// When nodes called this Master last.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    called: Mutex<HashMap<NodeKey, Called>>,
}

#[derive(Debug, Clone, Copy)]
struct Called {
    at: Timestamp,
    /// When it was last handed to the writer.
    handed: Option<Timestamp>,
}

impl Contacts {
    /// Notes a call; whether it is time to write it.
    fn note(&self, node: NodeKey, now: Timestamp, written: Option<Timestamp>, alive: bool) -> bool {
        let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = called.entry(node).or_insert(Called {
            at: now,
            handed: None,
        });
        entry.at = entry.at.max(now);
        let fresh = |moment: Timestamp| now.since(moment) < WRITE_EVERY;
        let due = !alive || !written.is_some_and(fresh);
        // What was handed over a moment ago is on its way.
        let on_its_way = entry
            .handed
            .is_some_and(|handed| now.since(handed) < Duration::from_secs(1) && handed <= now);
        if due && !on_its_way {
            entry.handed = Some(now);
            return true;
        }
        false
    }

    /// What was handed to the writer has arrived, or will not.
    fn written(&self, node: NodeKey) {
        let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(called) = called.get_mut(&node) {
            called.handed = None;
        }
    }

    fn of(&self, node: NodeKey) -> Option<Timestamp> {
        let called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        called.get(&node).map(|called| called.at)
    }
}

/// Writes that a node called: it is alive. `alive` and `before` are what is written of it so far.
pub(super) fn write(
    tx: &mut Tx<'_>,
    node: NodeReference,
    project: ProjectKey,
    alive: bool,
    before: Option<Timestamp>,
) -> Result<(), StoreError> {
    let now = tx.now();
    // It may have been silent for too long, and nobody has noticed but who was not placed on it.
    let answered = alive && before.is_some_and(|before| now.since(before) <= SILENCE_MAX);
    let text = format!("#access {node}");
    tx.execute(
        "UPDATE node SET contact_at = ?2, alive = 1, \
         status_since = CASE WHEN status_text LIKE '#access%' THEN status_since ELSE ?2 END, \
         status_text = ?3, status_at = ?2 WHERE id = ?1",
        params![node.key.0, now.0, text],
    )?;
    if !answered {
        tx.changes.shown.insert(node.key);
        nodes::reopened(tx, node.key, project)?;
    }
    Ok(())
}

/// Writes what a node says of itself. With an error it takes nothing new until it calls again.
pub(super) fn set_status(
    tx: &mut Tx<'_>,
    node: NodeReference,
    project: ProjectKey,
    text: &str,
) -> Result<(), StoreError> {
    let now = tx.now();
    tx.execute(
        "UPDATE node SET alive = 0, status_text = ?3, status_at = ?2, \
         status_since = CASE WHEN status_text LIKE '#error%' THEN status_since ELSE ?2 END \
         WHERE id = ?1",
        params![node.key.0, now.0, text],
    )?;
    tx.changes.shown.insert(node.key);
    nodes::recount(tx, node.key, project)
}

impl Store {
    /// Notes that a node called, if the caller is that node.
    pub(super) async fn heard(
        &self,
        caller: Caller,
        node: NodeReference,
        alive: bool,
        written: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        if caller != Caller::Node(node.key) {
            return Ok(());
        }
        let now = self.clock().now();
        if !self.contacts.note(node.key, now, written, alive) {
            return Ok(());
        }
        let written = self.write(move |tx| {
            let Some(row) = tx.one(
                "SELECT project_id, alive, contact_at FROM node \
                 WHERE id = ?1 AND removed_at IS NULL",
                params![node.key.0],
            )?
            else {
                return Ok(());
            };
            let contact = row.maybe_int(2)?.map(Timestamp);
            write(tx, node, ProjectKey(row.int(0)?), row.flag(1)?, contact)
        });
        let written = written.await;
        self.contacts.written(node.key);
        written
    }

    /// Notes a call of a node that needs nothing read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn touch(&self, caller: Caller) -> Result<(), StoreError> {
        let Caller::Node(node) = caller else {
            return Ok(());
        };
        let row = self
            .read(move |sql| {
                Ok(sql.one(
                    "SELECT alive, contact_at, kind FROM node WHERE id = ?1",
                    params![node.0],
                )?)
            })
            .await?;
        match row {
            Some(row) => {
                let reference = node.reference(row.parsed(2)?);
                let written = row.maybe_int(1)?.map(Timestamp);
                self.heard(caller, reference, row.flag(0)?, written).await
            }
            None => Ok(()),
        }
    }

    /// Puts into a record what this Master knows better than the database.
    pub(super) fn refresh(&self, record: &mut NodeRecord) {
        let Some(at) = self.contacts.of(record.node.key) else {
            return;
        };
        if record.contact_at.is_none_or(|written| written < at) {
            record.contact_at = Some(at);
            if record
                .status
                .text
                .as_deref()
                .is_some_and(|text| text.starts_with("#access"))
            {
                record.status.at = Some(at);
            }
        }
    }

    /// Closes nodes that have been silent for too long; called now and then. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn close_silent_nodes(&self) -> Result<usize, StoreError> {
        let limit = i64::try_from(SILENCE_MAX.as_micros()).unwrap_or(i64::MAX);
        let now = self.clock().now();
        let silent = self
            .read(move |sql| {
                Ok(sql.all(
                    "SELECT id, project_id FROM node WHERE alive = 1 AND kind = 'compute' \
                     AND removed_at IS NULL AND contact_at < ?1",
                    params![now.0.saturating_sub(limit)],
                )?)
            })
            .await?;
        let count = silent.len();
        for row in silent {
            let (node, project) = (NodeKey(row.int(0)?), ProjectKey(row.int(1)?));
            self.write(move |tx| {
                let since = tx.now().0.saturating_sub(limit);
                let closed = tx.execute(
                    "UPDATE node SET alive = 0 WHERE id = ?1 AND alive = 1 AND contact_at < ?2",
                    params![node.0, since],
                )?;
                if closed > 0 {
                    tx.changes.shown.insert(node);
                    nodes::recount(tx, node, project)?;
                }
                Ok(())
            })
            .await?;
        }
        Ok(count)
    }
}
