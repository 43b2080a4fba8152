//! Gates to other Masters: what is to be asked of them, and what they answered (P 6.15, 6.16).
//!
//! An instance that is placed at a gate is requested at the other Master by a task of this one. What
//! was sent is written down with the timestamp it had; whatever differs from that is sent again,
//! which is harmless, so any Master on the database may do it, after any crash.

use std::time::Duration;

use serde_json::json;
use slap::InstanceState;

use super::audit::audit;
use super::instances::{self, Found, from_row, select_instances};
use super::records::{Address, InstanceRecord, Texts};
use super::sql::{Connection, Row, SqlError, params};
use super::{Store, StoreError, nodes, reports};
use crate::domain::access::{Action, Caller};
use crate::domain::{
    InstanceKey, NodeKey, NodeKind, NodeReference, ProjectKey, Refusal, Timestamp,
};

/// Instances of one gate that are looked at in one go.
const WORK_MAX: i64 = 200;

/// How another Master is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteRecord {
    /// The gate, `REMOTE-n`.
    pub node: NodeReference,
    /// Its project.
    pub project: ProjectKey,
    /// Its title.
    pub title: String,
    /// The other Master's URL.
    pub master_url: String,
    /// The authority that signed its certificate; none for a public one.
    pub authority: Option<String>,
    /// Our certificate there.
    pub certificate: Option<String>,
    /// The key of that, sealed.
    pub sealed_key: Option<String>,
    /// The releases it takes; all when there are none.
    pub releases: Vec<String>,
    /// When it last answered.
    pub contact_at: Option<Timestamp>,
    /// Why it does not.
    pub error: Option<String>,
}

/// How another Master is to be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSettings {
    /// Its URL.
    pub master_url: String,
    /// The authority that signed its certificate, PEM; none for a public one.
    pub authority: Option<String>,
    /// Our certificate there, PEM.
    pub certificate: Option<String>,
    /// The key of that, sealed.
    pub sealed_key: Option<String>,
    /// The releases it takes; all when there are none.
    pub releases: Vec<String>,
}

/// An instance that another Master is to be asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteWork {
    /// The instance as it is here.
    pub instance: InstanceRecord,
    /// Its title there.
    pub title: String,
    /// Whether the other Master was told all of this already, and is asked for what it has to say.
    pub told: bool,
}

/// What another Master answered about an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteAnswer {
    /// It is there.
    Placed {
        /// What it published.
        connection: Texts,
        /// Its addresses.
        addresses: Vec<Address>,
    },
    /// It was accepted, and there is nothing to show yet.
    NotReady,
    /// It will be destroyed there, or is not there.
    Destroyed,
    /// It was refused, for this reason.
    Refused(String),
}

const SELECT_REMOTE: &str = "SELECT n.id, n.project_id, n.title, m.master_url, m.ca_certificate, m.certificate, \
     m.sealed_key, m.releases, m.contact_at, m.error FROM remote m JOIN node n ON n.id = m.node_id \
     WHERE n.removed_at IS NULL ";

fn remote_from_row(row: &Row) -> Result<RemoteRecord, SqlError> {
    Ok(RemoteRecord {
        node: NodeKey(row.int(0)?).reference(NodeKind::Remote),
        project: ProjectKey(row.int(1)?),
        title: row.text(2)?.to_owned(),
        master_url: row.text(3)?.to_owned(),
        authority: row.maybe_text(4)?.map(str::to_owned),
        certificate: row.maybe_text(5)?.map(str::to_owned),
        sealed_key: row.maybe_text(6)?.map(str::to_owned),
        releases: row.json(7)?,
        contact_at: row.maybe_int(8)?.map(Timestamp),
        error: row.maybe_text(9)?.map(str::to_owned),
    })
}

/// The title an instance has at another Master: unique among all that come from anywhere (P 6.16).
fn title_there(instance: &InstanceRecord) -> String {
    format!("_remote_{}_{}", instance.project, instance.key)
}

fn on_gate(
    sql: &mut Connection,
    key: InstanceKey,
    node: NodeReference,
) -> Result<Option<Found>, StoreError> {
    Ok(instances::by_key(sql, key)?.filter(|found| found.node() == Some(node.key)))
}

impl Store {
    /// Says how a gate reaches its Master.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not, or it is no gate.
    pub async fn set_remote(
        &self,
        caller: Caller,
        node: NodeReference,
        settings: RemoteSettings,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let gate = nodes::gate(tx.sql(), caller, Action::ManageNode, node)?;
            if node.kind != NodeKind::Remote {
                return Err(
                    Refusal::Invalid(format!("{node} is no gate to another Master")).into(),
                );
            }
            let releases = serde_json::to_string(&settings.releases)
                .map_err(|error| StoreError::Internal(error.to_string()))?;
            tx.execute(
                "INSERT INTO remote (node_id, master_url, ca_certificate, certificate, sealed_key, \
                 releases) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                 ON CONFLICT (node_id) DO UPDATE SET master_url = excluded.master_url, \
                 ca_certificate = excluded.ca_certificate, certificate = excluded.certificate, \
                 sealed_key = excluded.sealed_key, releases = excluded.releases, error = NULL",
                params![
                    node.key.0,
                    settings.master_url.as_str(),
                    settings.authority.as_deref(),
                    settings.certificate.as_deref(),
                    settings.sealed_key.as_deref(),
                    releases
                ],
            )?;
            // Whoever waits in this project may go there.
            for row in tx.all(
                "SELECT DISTINCT release_id FROM instance WHERE project_id = ?1 AND placed = 0 \
                 AND state = 'started' AND removed_at IS NULL",
                params![gate.project.0],
            )? {
                tx.changes.placeable.insert((gate.project, row.int(0)?));
            }
            tx.changes.nodes.insert(node.key);
            audit(
                tx,
                caller,
                "set_remote",
                &node.to_string(),
                Some(gate.project),
                json!({"master_url": settings.master_url, "releases": settings.releases}),
            )
        })
        .await
    }

    /// The gates the caller may see.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remotes(&self, caller: Caller) -> Result<Vec<RemoteRecord>, StoreError> {
        let all = self
            .read(|sql| {
                let rows = sql.all(&format!("{SELECT_REMOTE} ORDER BY n.id"), &[])?;
                Ok(rows
                    .iter()
                    .map(remote_from_row)
                    .collect::<Result<Vec<_>, _>>()?)
            })
            .await?;
        if caller == Caller::Master {
            return Ok(all);
        }
        let seen = self.nodes(caller).await?;
        Ok(all
            .into_iter()
            .filter(|remote| seen.iter().any(|node| node.node == remote.node))
            .collect())
    }

    /// What another Master is to be asked: first what it was not told yet, then what has not been
    /// asked about for `every`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn remote_work(
        &self,
        node: NodeReference,
        every: Duration,
    ) -> Result<Vec<RemoteWork>, StoreError> {
        let now = self.clock().now();
        let before = now
            .0
            .saturating_sub(i64::try_from(every.as_micros()).unwrap_or(i64::MAX));
        self.read(move |sql| {
            let rows = sql.all(
                select_instances!(
                    "LEFT JOIN remote_instance m ON m.instance_id = i.id \
                     WHERE i.id IN (SELECT q.instance_id FROM partition q WHERE q.node_id = ?1 \
                     AND q.instance_id IS NOT NULL) AND i.removed_at IS NULL \
                     AND (m.sent_timestamp IS NULL OR m.sent_timestamp <> i.timestamp \
                          OR m.answered_at IS NULL OR m.answered_at < ?2) \
                     ORDER BY COALESCE(m.answered_at, 0), i.id LIMIT ?3"
                ),
                params![node.key.0, before, WORK_MAX],
            )?;
            let mut work = Vec::with_capacity(rows.len());
            for row in &rows {
                let instance = from_row(row)?.record;
                let told = sql
                    .one(
                        "SELECT sent_timestamp FROM remote_instance WHERE instance_id = ?1",
                        params![instance.key.0],
                    )?
                    .map(|row| row.maybe_int(0))
                    .transpose()?
                    .flatten()
                    == Some(instance.timestamp.0);
                work.push(RemoteWork {
                    title: title_there(&instance),
                    instance,
                    told,
                });
            }
            Ok(work)
        })
        .await
    }

    /// Writes down what another Master answered to a request that was made when the instance's
    /// timestamp was `sent`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn remote_answered(
        &self,
        node: NodeReference,
        key: InstanceKey,
        sent: Timestamp,
        answer: RemoteAnswer,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let Some(found) = on_gate(tx.sql(), key, node)? else {
                return Ok(());
            };
            let gate = Caller::Node(node.key);
            let now = tx.now();
            let error = match &answer {
                RemoteAnswer::Refused(reason) => Some(reason.as_str()),
                _ => None,
            };
            tx.execute(
                "INSERT INTO remote_instance (instance_id, node_id, title, sent_timestamp, \
                 answered_at, error) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                 ON CONFLICT (instance_id) DO UPDATE SET sent_timestamp = excluded.sent_timestamp, \
                 answered_at = excluded.answered_at, error = excluded.error",
                params![
                    key.0,
                    node.key.0,
                    title_there(&found.record),
                    sent.0,
                    now.0,
                    error
                ],
            )?;
            match &answer {
                RemoteAnswer::Destroyed if found.record.state == InstanceState::Destroyed => {
                    reports::gone(tx, gate, &found)
                }
                RemoteAnswer::Placed {
                    connection,
                    addresses,
                } => {
                    if !connection.is_empty() || found.record.connection.is_some() {
                        reports::publish(tx, gate, &found, connection)?;
                    }
                    if *addresses != found.record.addresses
                        && let Some(partition) = found.partition
                    {
                        let text = serde_json::to_string(addresses)
                            .map_err(|error| StoreError::Internal(error.to_string()))?;
                        tx.execute(
                            "UPDATE partition SET addresses = ?2 WHERE id = ?1",
                            params![partition.0, text],
                        )?;
                    }
                    let state = found.record.state.as_str();
                    reports::set_status(
                        tx,
                        &found,
                        &format!("#access Instance is {state} at another Master"),
                        Some(state),
                    )?;
                    Ok(())
                }
                RemoteAnswer::Refused(reason) => {
                    let text = format!("#error another Master refused it: {reason}");
                    reports::set_status(tx, &found, &text, None)?;
                    Ok(())
                }
                RemoteAnswer::NotReady | RemoteAnswer::Destroyed => Ok(()),
            }
        })
        .await
    }

    /// Writes down whether another Master answers.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn remote_reached(
        &self,
        node: NodeReference,
        error: Option<String>,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let now = tx.now();
            match &error {
                None => tx.execute(
                    "UPDATE remote SET contact_at = ?2, error = NULL WHERE node_id = ?1",
                    params![node.key.0, now.0],
                )?,
                Some(error) => tx.execute(
                    "UPDATE remote SET error = ?2 WHERE node_id = ?1",
                    params![node.key.0, error.as_str()],
                )?,
            };
            Ok(())
        })
        .await
    }
}
