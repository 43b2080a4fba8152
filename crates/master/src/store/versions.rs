//! What instances were before: their release, type, parameters and SLA until each change.

use super::audit::{actor, actor_of};
use super::instances::{self, Found};
use super::lifecycle::json_text;
use super::records::{Subject, Texts};
use super::sql::{Row, SqlError, params};
use super::writer::Tx;
use super::{Store, StoreError};
use crate::domain::access::{Action, Caller};
use crate::domain::{InstanceKey, Timestamp};

/// Former versions of an instance that are kept.
const VERSIONS_MAX: i64 = 50;

/// What an instance was until it was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRecord {
    /// When it was changed.
    pub until: Timestamp,
    /// Who changed it, as in the audit trail.
    pub changed_by: String,
    /// Its release.
    pub release: String,
    /// Its software type.
    pub software_type: String,
    /// Its parameters.
    pub parameters: Texts,
    /// Where it might be placed.
    pub sla: Texts,
}

/// Keeps what an instance is, which is about to be changed.
pub(super) fn keep(tx: &mut Tx<'_>, caller: Caller, found: &Found) -> Result<(), StoreError> {
    let record = &found.record;
    let (kind, key) = actor(caller);
    let now = tx.now();
    tx.execute(
        "INSERT INTO instance_version (instance_id, until_at, actor_kind, actor_id, release_id, \
         software_type, parameters, sla) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            record.key.0,
            now.0,
            kind,
            key,
            found.release_id,
            record.software_type.as_str(),
            json_text(&record.parameters)?,
            json_text(&record.sla)?,
        ],
    )?;
    tx.execute(
        "DELETE FROM instance_version WHERE instance_id = ?1 AND id <= (SELECT v.id FROM \
         instance_version v WHERE v.instance_id = ?1 ORDER BY v.id DESC LIMIT 1 OFFSET ?2)",
        params![record.key.0, VERSIONS_MAX],
    )?;
    Ok(())
}

/// Forgets those of an instance that is gone.
pub(super) fn forget(tx: &mut Tx<'_>, instance: InstanceKey) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM instance_version WHERE instance_id = ?1",
        params![instance.0],
    )?;
    Ok(())
}

impl Store {
    /// What an instance was before, the latest first; what it is now is not among it.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such instance for the caller.
    pub async fn versions(
        &self,
        caller: Caller,
        instance: InstanceKey,
    ) -> Result<Vec<VersionRecord>, StoreError> {
        self.read(move |sql| {
            let subject = Subject::Instance(instance);
            instances::subject(sql, caller, Action::SeeInstance, &subject)?;
            let rows = sql.all(
                "SELECT v.until_at, v.actor_kind, v.actor_id, p.login, n.kind, r.url, \
                 v.software_type, v.parameters, v.sla FROM instance_version v \
                 JOIN release r ON r.id = v.release_id \
                 LEFT JOIN person p ON v.actor_kind = 'person' AND p.id = v.actor_id \
                 LEFT JOIN node n ON v.actor_kind = 'node' AND n.id = v.actor_id \
                 WHERE v.instance_id = ?1 ORDER BY v.id DESC",
                params![instance.0],
            )?;
            let version = |row: &Row| {
                Ok(VersionRecord {
                    until: Timestamp(row.int(0)?),
                    changed_by: actor_of(row, 1)?,
                    release: row.text(5)?.to_owned(),
                    software_type: row.text(6)?.to_owned(),
                    parameters: row.json(7)?,
                    sla: row.json(8)?,
                })
            };
            Ok(rows.iter().map(version).collect::<Result<_, SqlError>>()?)
        })
        .await
    }
}
