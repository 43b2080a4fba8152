//! What nodes tell of the promises of their instances.

use std::collections::BTreeMap;

use serde_json::json;
use slap_server::promises::{self, Promise};

use super::audit::audit;
use super::history;
use super::instances;
use super::listing::see_tree;
use super::records::Subject;
use super::sql::{Connection, params};
use super::writer::Tx;
use super::{Store, StoreError};
use crate::domain::access::{Action, Caller};
use crate::domain::{InstanceKey, TreeKey};

/// Transitions of an instance's promises that are kept.
const TRANSITIONS_MAX: i64 = 200;

/// The promises of an instance, with its title.
pub type PromisesOf = (InstanceKey, String, Vec<Promise>);

fn known(sql: &mut Connection, instance: InstanceKey) -> Result<Vec<Promise>, StoreError> {
    let row = sql.one(
        "SELECT document FROM instance_promises WHERE instance_id = ?1",
        params![instance.0],
    )?;
    Ok(match row {
        Some(row) => serde_json::from_str(row.text(0)?).unwrap_or_default(),
        None => Vec::new(),
    })
}

/// The promises of the instances of a tree that shall be started: of others nobody looks.
pub(super) fn of_tree(
    sql: &mut Connection,
    tree: TreeKey,
) -> Result<BTreeMap<InstanceKey, (String, Vec<Promise>)>, StoreError> {
    let rows = sql.all(
        "SELECT i.id, i.title, p.document FROM instance i \
         JOIN instance_promises p ON p.instance_id = i.id \
         WHERE i.tree_id = ?1 AND i.removed_at IS NULL AND i.state = 'started' ORDER BY i.id",
        params![tree.0],
    )?;
    let mut found = BTreeMap::new();
    for row in &rows {
        let promises = serde_json::from_str(row.text(2)?).unwrap_or_default();
        found.insert(
            InstanceKey(row.int(0)?),
            (row.text(1)?.to_owned(), promises),
        );
    }
    Ok(found)
}

/// Forgets those of an instance that is gone.
pub(super) fn forget(tx: &mut Tx<'_>, instance: InstanceKey) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM instance_promises WHERE instance_id = ?1",
        params![instance.0],
    )?;
    Ok(())
}

impl Store {
    /// A node tells how the promises of an instance are. What is no news writes nothing; that one
    /// began to fail, or does no more, is kept as history.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not, or there is no such instance.
    pub async fn report_promises(
        &self,
        caller: Caller,
        subject: Subject,
        told: Vec<Promise>,
    ) -> Result<(), StoreError> {
        let is_news = {
            let (subject, mut told) = (subject.clone(), told.clone());
            self.read(move |sql| {
                let found = instances::subject(sql, caller, Action::ReportInstance, &subject)?;
                let known = known(sql, found.record.key)?;
                Ok(promises::follow(&known, &mut told).is_some())
            })
            .await?
        };
        if !is_news {
            return Ok(());
        }
        self.write(move |tx| {
            let mut told = told.clone();
            let found = instances::subject(tx.sql(), caller, Action::ReportInstance, &subject)?;
            let key = found.record.key;
            let known = known(tx.sql(), key)?;
            let Some(transitions) = promises::follow(&known, &mut told) else {
                return Ok(());
            };
            let document = serde_json::to_string(&told)
                .map_err(|error| StoreError::Internal(error.to_string()))?;
            tx.execute(
                "INSERT INTO instance_promises (instance_id, document) VALUES (?1, ?2) \
                 ON CONFLICT (instance_id) DO UPDATE SET document = excluded.document",
                params![key.0, document],
            )?;
            tx.changes.trees.insert(found.record.tree);
            let name = key.to_string();
            for transition in &transitions {
                audit(
                    tx,
                    caller,
                    "promise",
                    &name,
                    Some(found.record.project),
                    json!({
                        "promise": transition.title,
                        "failed": transition.failed,
                        "message": transition.message,
                    }),
                )?;
            }
            if !transitions.is_empty() {
                history::forget(tx, &name, "promise", TRANSITIONS_MAX)?;
            }
            Ok(())
        })
        .await
    }

    /// The promises of a tree's instances that shall be started.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such tree for the caller.
    pub async fn tree_promises(
        &self,
        caller: Caller,
        tree: TreeKey,
    ) -> Result<Vec<PromisesOf>, StoreError> {
        self.read(move |sql| {
            see_tree(sql, caller, tree)?;
            let found = of_tree(sql, tree)?;
            Ok(found
                .into_iter()
                .map(|(key, (title, promises))| (key, title, promises))
                .collect())
        })
        .await
    }
}
