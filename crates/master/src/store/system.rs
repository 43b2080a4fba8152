//! What belongs to the Master as a whole: settings that are the same for all Masters on a database,
//! and how much there is.

use super::sql::{Row, SqlError, params};
use super::{Store, StoreError};
use crate::domain::{NodeKey, NodeReference};

/// Nodes whose usage is told, at most.
const NODES_MAX: i64 = 10_000;

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Nodes.
    pub nodes: i64,
    /// Nodes that answer.
    pub nodes_alive: i64,
    /// Partitions that are free.
    pub partitions_free: i64,
    /// Partitions with an instance.
    pub partitions_busy: i64,
}

impl Store {
    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read(|sql| Ok(sql.one("SELECT 1", &[])?)).await?;
        Ok(())
    }

    /// How much there is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn counts(&self) -> Result<Counts, StoreError> {
        self.read(|sql| {
            let mut count = |statement: &str| -> Result<i64, StoreError> {
                Ok(match sql.one(statement, &[])? {
                    Some(row) => row.maybe_int(0)?.unwrap_or_default(),
                    None => 0,
                })
            };
            Ok(Counts {
                nodes: count("SELECT COUNT(*) FROM node WHERE removed_at IS NULL")?,
                nodes_alive: count(
                    "SELECT COUNT(*) FROM node WHERE removed_at IS NULL AND alive = 1",
                )?,
                partitions_free: count(
                    "SELECT COUNT(*) FROM partition WHERE instance_id IS NULL AND active = 1",
                )?,
                partitions_busy: count(
                    "SELECT COUNT(*) FROM partition WHERE instance_id IS NOT NULL",
                )?,
            })
        })
        .await
    }

    /// What each node said last that it used.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn latest_usage(&self) -> Result<Vec<(NodeReference, String)>, StoreError> {
        self.read(|sql| {
            let rows = sql.all(
                "SELECT n.id, n.kind, u.body FROM node n JOIN usage_report u ON u.id = \
                 (SELECT MAX(x.id) FROM usage_report x WHERE x.node_id = n.id) \
                 WHERE n.removed_at IS NULL ORDER BY n.id LIMIT ?1",
                params![NODES_MAX],
            )?;
            let entry = |row: &Row| {
                let node = NodeKey(row.int(0)?).reference(row.parsed(1)?);
                Ok((node, row.text(2)?.to_owned()))
            };
            Ok(rows.iter().map(entry).collect::<Result<_, SqlError>>()?)
        })
        .await
    }

    /// A setting.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn setting(&self, name: &'static str) -> Result<Option<String>, StoreError> {
        self.read(move |sql| {
            let row = sql.one("SELECT value FROM setting WHERE name = ?1", params![name])?;
            Ok(match row {
                Some(row) => Some(row.text(0)?.to_owned()),
                None => None,
            })
        })
        .await
    }

    /// Keeps settings that belong together, unless the first of them is there already: of several
    /// Masters that start at once one wins, and all use what it kept. Whether these were kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn keep_settings(
        &self,
        settings: Vec<(&'static str, String)>,
    ) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let mut settings = settings.iter();
            let Some((name, value)) = settings.next() else {
                return Ok(true);
            };
            let kept = tx.execute(
                "INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
                params![*name, value],
            )?;
            if kept == 0 {
                return Ok(false);
            }
            for (name, value) in settings {
                tx.execute(
                    "INSERT INTO setting (name, value) VALUES (?1, ?2) \
                     ON CONFLICT (name) DO UPDATE SET value = ?2",
                    params![*name, value],
                )?;
            }
            Ok(true)
        })
        .await
    }
}
