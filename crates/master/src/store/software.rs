//! Releases on nodes: asked for, built, removed (P 6.13).

use serde_json::json;
use slap::{InstallationState, ReleaseUrl};

use super::audit::audit;
use super::documents::{SELECT_INSTALLATION, installation_from_row, installations};
use super::history::{self, tail};
use super::nodes;
use super::records::{InstallationRecord, InstallationReport};
use super::sql::{Connection, params};
use super::writer::Tx;
use super::{Store, StoreError, lifecycle};
use crate::domain::access::{Action, Caller};
use crate::domain::{NodeReference, ProjectKey, Refusal, report as rules};

/// An installation as the operations here need it.
struct Known {
    id: i64,
    state: InstallationState,
    text: Option<String>,
    reported: String,
}

fn known(
    sql: &mut Connection,
    node: NodeReference,
    release: &str,
) -> Result<Option<Known>, StoreError> {
    let row = sql.one(
        "SELECT s.id, s.state, s.status_text, s.reported FROM installation s \
         JOIN release r ON r.id = s.release_id \
         WHERE s.node_id = ?1 AND r.url = ?2 AND s.removed_at IS NULL",
        params![node.key.0, release],
    )?;
    Ok(row
        .map(|row| {
            Ok::<_, super::SqlError>(Known {
                id: row.int(0)?,
                state: row.parsed(1)?,
                text: row.maybe_text(2)?.map(str::to_owned),
                reported: row.text(3)?.to_owned(),
            })
        })
        .transpose()?)
}

fn not_asked_for(node: NodeReference, release: &str) -> Refusal {
    Refusal::NotFound(format!(
        "release {release} is not asked for on {node}; ask for it with `slapos supply {release} \
         {node}`"
    ))
}

/// Asks for a release on a node, on behalf of whoever may.
pub(super) fn supply(
    tx: &mut Tx<'_>,
    caller: Caller,
    node: NodeReference,
    project: ProjectKey,
    release: &ReleaseUrl,
    state: InstallationState,
) -> Result<(), StoreError> {
    let found = known(tx.sql(), node, release.as_str())?;
    let now = tx.now();
    match (state, found) {
        (
            InstallationState::Available,
            Some(Known {
                state: InstallationState::Available,
                ..
            }),
        )
        | (
            InstallationState::Destroyed,
            None
            | Some(Known {
                state: InstallationState::Destroyed,
                ..
            }),
        ) => return Ok(()),
        (InstallationState::Available, found) => {
            if let Some(old) = found {
                // It was to be removed and is not yet: the node builds it anew (P 6.13).
                tx.execute(
                    "UPDATE installation SET removed_at = ?2, free = 0 WHERE id = ?1",
                    params![old.id, now.0],
                )?;
            }
            let key = lifecycle::release_key(tx, release.as_str())?;
            tx.execute(
                "INSERT INTO installation (node_id, project_id, release_id, state, reported, free, \
                 created_at) VALUES (?1, ?2, ?3, 'available', '', 0, ?4)",
                params![node.key.0, project.0, key, now.0],
            )?;
        }
        (InstallationState::Destroyed, Some(old)) => {
            tx.execute(
                "UPDATE installation SET state = 'destroyed', free = 0 WHERE id = ?1",
                params![old.id],
            )?;
        }
    }
    tx.changes.nodes.insert(node.key);
    audit(
        tx,
        caller,
        "supply",
        &node.to_string(),
        Some(project),
        json!({"release": release.as_str(), "state": state.as_str()}),
    )
}

impl Store {
    /// Asks for a release on a node, or for its removal. Asking again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not.
    pub async fn supply(
        &self,
        caller: Caller,
        node: NodeReference,
        release: ReleaseUrl,
        state: InstallationState,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let gate = nodes::gate(tx.sql(), caller, Action::Supply, node)?;
            supply(tx, caller, node, gate.project, &release, state)
        })
        .await
    }

    /// A release on a node.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not see the node, or it was not asked for there.
    pub async fn installation(
        &self,
        caller: Caller,
        node: NodeReference,
        release: ReleaseUrl,
    ) -> Result<InstallationRecord, StoreError> {
        self.read(move |sql| {
            nodes::gate(sql, caller, Action::SeeNode, node)?;
            let row = sql
                .one(
                    &format!(
                        "{SELECT_INSTALLATION} WHERE s.node_id = ?1 AND r.url = ?2 \
                         AND s.removed_at IS NULL"
                    ),
                    params![node.key.0, release.as_str()],
                )?
                .ok_or_else(|| not_asked_for(node, release.as_str()))?;
            Ok(installation_from_row(&row, node)?)
        })
        .await
    }

    /// The releases asked for on a node.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not see the node.
    pub async fn installations(
        &self,
        caller: Caller,
        node: NodeReference,
    ) -> Result<Vec<InstallationRecord>, StoreError> {
        self.read(move |sql| {
            nodes::gate(sql, caller, Action::SeeNode, node)?;
            installations(sql, node)
        })
        .await
    }

    /// A node says what became of a release. The same again writes nothing.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller is not that node, the release was not asked for, or
    /// was removed without being asked to be.
    pub async fn report_installation(
        &self,
        caller: Caller,
        node: NodeReference,
        release: ReleaseUrl,
        report: InstallationReport,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let gate = nodes::gate(tx.sql(), caller, Action::ActAsNode, node)?;
            let found = known(tx.sql(), node, release.as_str())?
                .ok_or_else(|| not_asked_for(node, release.as_str()))?;
            let now = tx.now();
            let (reported, text) = match &report {
                InstallationReport::Building => {
                    ("building", format!("#building software release {release}"))
                }
                InstallationReport::Available => (
                    "available",
                    format!("#access software release {release} available"),
                ),
                InstallationReport::Error(_) => {
                    ("error", format!("#error while installing {release}"))
                }
                InstallationReport::Destroyed => {
                    rules::report_installation(
                        rules::Life::Wanted(found.state),
                        rules::InstallationReport::Destroyed,
                    )
                    .map_err(|refused| {
                        Refusal::NotFound(format!("release {release} on {node}: {refused}"))
                    })?;
                    tx.execute(
                        "UPDATE installation SET removed_at = ?2, free = 0 WHERE id = ?1",
                        params![found.id, now.0],
                    )?;
                    tx.changes.nodes.insert(node.key);
                    return audit(
                        tx,
                        caller,
                        "removed_release",
                        &node.to_string(),
                        Some(gate.project),
                        json!({"release": release.as_str()}),
                    );
                }
            };
            let word = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
            let same_word = found.text.as_deref().map(word) == Some(word(&text));
            tx.execute(
                "UPDATE installation SET reported = ?2, status_text = ?3, status_at = ?4, \
                 status_since = CASE WHEN ?5 = 1 THEN status_since ELSE ?4 END WHERE id = ?1",
                params![found.id, reported, text, now.0, same_word],
            )?;
            if found.reported != reported {
                tx.changes.shown.insert(node.key);
                nodes::recount(tx, node.key, gate.project)?;
                let detail = match &report {
                    InstallationReport::Error(log) => {
                        history::forget(tx, &node.to_string(), "report_release", REPORTS_MAX)?;
                        let log = tail(log, LOG_CHARS_MAX);
                        json!({"release": release.as_str(), "reported": reported, "log": log})
                    }
                    _ => json!({"release": release.as_str(), "reported": reported}),
                };
                audit(
                    tx,
                    caller,
                    "report_release",
                    &node.to_string(),
                    Some(gate.project),
                    detail,
                )?;
            }
            Ok(())
        })
        .await
    }
}

/// Characters of a log that are kept in the audit trail.
const LOG_CHARS_MAX: usize = 8_000;
/// Reports of releases on a node that are kept when one fails again.
const REPORTS_MAX: i64 = 200;
