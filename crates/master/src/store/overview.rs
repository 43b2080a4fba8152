//! What an administrator sees of the whole Master.

use super::instances;
use super::people::check_administrator;
use super::sql::{SqlError, params};
use super::{CertificateRecord, InstanceRecord, Store, StoreError, TokenRecord};
use crate::domain::access::Caller;
use crate::domain::{
    CertificateOwner, InstanceKey, NetworkKey, NodeKey, NodeKind, PersonKey, ProjectKey, Timestamp,
};

/// Rows one is shown at a time.
const PAGE_MAX: i64 = 10_000;

/// How much there is in a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProjectCounts {
    /// Persons.
    pub members: i64,
    /// Nodes, gates to other Masters included.
    pub nodes: i64,
    /// Instance trees.
    pub trees: i64,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRecord {
    /// Its key, `NET-n`.
    pub key: NetworkKey,
    /// Its title.
    pub title: String,
    /// Its project.
    pub project: ProjectKey,
    /// How many nodes belong to it.
    pub nodes: i64,
}

impl Store {
    /// How much there is in a project.
    ///
    /// # Errors
    /// Only administrators may know.
    pub async fn project_counts(
        &self,
        caller: Caller,
        project: ProjectKey,
    ) -> Result<ProjectCounts, StoreError> {
        self.read(move |sql| {
            check_administrator(caller, "list of projects")?;
            let mut count = |statement: &str| -> Result<i64, StoreError> {
                let row = sql.one(statement, params![project.0])?;
                Ok(row.map_or(Ok(0), |row| row.int(0))?)
            };
            Ok(ProjectCounts {
                members: count("SELECT COUNT(*) FROM member WHERE project_id = ?1")?,
                nodes: count(
                    "SELECT COUNT(*) FROM node WHERE project_id = ?1 AND removed_at IS NULL",
                )?,
                trees: count(
                    "SELECT COUNT(*) FROM tree WHERE project_id = ?1 AND archived_at IS NULL",
                )?,
            })
        })
        .await
    }

    /// All networks.
    ///
    /// # Errors
    /// Only administrators may know.
    pub async fn networks(&self, caller: Caller) -> Result<Vec<NetworkRecord>, StoreError> {
        self.read(move |sql| {
            check_administrator(caller, "list of networks")?;
            let rows = sql.all(
                "SELECT w.id, w.title, w.project_id, (SELECT COUNT(*) FROM node n \
                   WHERE n.network_id = w.id AND n.removed_at IS NULL) \
                 FROM network w ORDER BY w.id LIMIT ?1",
                params![PAGE_MAX],
            )?;
            Ok(rows
                .iter()
                .map(|row| {
                    Ok(NetworkRecord {
                        key: NetworkKey(row.int(0)?),
                        title: row.text(1)?.to_owned(),
                        project: ProjectKey(row.int(2)?),
                        nodes: row.int(3)?,
                    })
                })
                .collect::<Result<_, SqlError>>()?)
        })
        .await
    }

    /// Instances that shall be started and have no place, with the reason, those that have waited
    /// longest first; and since when.
    ///
    /// # Errors
    /// Only administrators may know.
    pub async fn waiting(
        &self,
        caller: Caller,
        limit: i64,
    ) -> Result<Vec<(InstanceRecord, Timestamp, String)>, StoreError> {
        let found = self
            .read(move |sql| {
                check_administrator(caller, "list of waiting instances")?;
                let rows = sql.all(
                    "SELECT id, created_at FROM instance WHERE placed = 0 AND state = 'started' \
                     AND removed_at IS NULL ORDER BY id LIMIT ?1",
                    params![limit.min(PAGE_MAX)],
                )?;
                let mut found = Vec::with_capacity(rows.len());
                for row in &rows {
                    let since = Timestamp(row.int(1)?);
                    if let Some(instance) = instances::by_key(sql, InstanceKey(row.int(0)?))? {
                        found.push((instance.record, since));
                    }
                }
                Ok(found)
            })
            .await?;
        let mut waiting = Vec::with_capacity(found.len());
        for (record, since) in found {
            let why = self.why_waiting(caller, record.key).await?;
            waiting.push((record, since, why));
        }
        Ok(waiting)
    }

    /// All certificates, the newest first.
    ///
    /// # Errors
    /// Only administrators may know.
    pub async fn all_certificates(
        &self,
        caller: Caller,
    ) -> Result<Vec<CertificateRecord>, StoreError> {
        self.read(move |sql| {
            check_administrator(caller, "list of certificates")?;
            let rows = sql.all(
                "SELECT c.owner_kind, c.owner_id, n.kind, c.common_name, c.serial, c.fingerprint, \
                 c.issued_at, c.expires_at, c.revoked_at FROM certificate c \
                 LEFT JOIN node n ON c.owner_kind = 'node' AND n.id = c.owner_id \
                 ORDER BY c.id DESC LIMIT ?1",
                params![PAGE_MAX],
            )?;
            let mut records = Vec::with_capacity(rows.len());
            for row in &rows {
                let key = row.int(1)?;
                let owner = match row.text(0)? {
                    "person" => CertificateOwner::Person(PersonKey(key)),
                    "instance" => CertificateOwner::Instance(InstanceKey(key)),
                    _ => {
                        let kind = match row.maybe_text(2)? {
                            Some(_) => row.parsed(2)?,
                            None => NodeKind::Compute,
                        };
                        CertificateOwner::Node(NodeKey(key).reference(kind))
                    }
                };
                records.push(CertificateRecord {
                    owner,
                    common_name: row.text(3)?.to_owned(),
                    serial: row.text(4)?.to_owned(),
                    fingerprint: row.text(5)?.to_owned(),
                    issued_at: Timestamp(row.int(6)?),
                    expires_at: Timestamp(row.int(7)?),
                    revoked_at: row.maybe_int(8)?.map(Timestamp),
                });
            }
            Ok(records)
        })
        .await
    }

    /// All tokens that are remembered, the newest first, with the login of their person.
    ///
    /// # Errors
    /// Only administrators may know.
    pub async fn all_tokens(
        &self,
        caller: Caller,
    ) -> Result<Vec<(TokenRecord, String)>, StoreError> {
        self.read(move |sql| {
            check_administrator(caller, "list of tokens")?;
            let rows = sql.all(
                "SELECT t.id, t.purpose, t.person_id, t.project_id, t.created_at, t.expires_at, \
                 t.used_at, p.login FROM token t JOIN person p ON p.id = t.person_id \
                 ORDER BY t.id DESC LIMIT ?1",
                params![PAGE_MAX],
            )?;
            Ok(rows
                .iter()
                .map(|row| {
                    let record = TokenRecord {
                        id: row.int(0)?,
                        purpose: row.parsed(1)?,
                        person: PersonKey(row.int(2)?),
                        project: row.maybe_int(3)?.map(ProjectKey),
                        created_at: Timestamp(row.int(4)?),
                        expires_at: Timestamp(row.int(5)?),
                        used_at: row.maybe_int(6)?.map(Timestamp),
                    };
                    Ok((record, row.text(7)?.to_owned()))
                })
                .collect::<Result<_, SqlError>>()?)
        })
        .await
    }
}
