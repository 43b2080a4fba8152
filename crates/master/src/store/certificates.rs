//! Who certificates speak for (P 5.1, 5.5). The certificates are with their owners; a certificate
//! that has no row here is worth nothing.

use serde_json::json;

use super::audit::audit;
use super::people::{check_acts_for, check_administrator, person};
use super::projects::role_of;
use super::sql::{Connection, Row, SqlError, params};
use super::writer::Tx;
use super::{Store, StoreError};
use crate::domain::access::{self, Action, Caller, Facts};
use crate::domain::{
    CertificateOwner, InstanceKey, NodeKey, NodeReference, PersonKey, ProjectKey, Refusal,
    Timestamp, TreeKey,
};

/// Certificates of one person that are good at once.
const PERSON_CERTIFICATES_MAX: i64 = 100;

/// A certificate that was made, to be made known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCertificate {
    /// Who it speaks for.
    pub owner: CertificateOwner,
    /// Its common name.
    pub common_name: String,
    /// Its serial number, upper-case hexadecimal digits.
    pub serial: String,
    /// SHA-256 of its DER bytes, lower-case hexadecimal digits.
    pub fingerprint: String,
    /// The end of its life.
    pub expires_at: Timestamp,
}

/// A certificate that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRecord {
    /// Who it speaks for.
    pub owner: CertificateOwner,
    /// Its common name.
    pub common_name: String,
    /// Its serial number, upper-case hexadecimal digits.
    pub serial: String,
    /// SHA-256 of its DER bytes, lower-case hexadecimal digits.
    pub fingerprint: String,
    /// Since when it is known.
    pub issued_at: Timestamp,
    /// The end of its life.
    pub expires_at: Timestamp,
    /// Since when it is worth nothing any more, if so.
    pub revoked_at: Option<Timestamp>,
}

/// What access to a certificate's owner depends on.
struct Owner {
    facts: Facts,
    project: Option<ProjectKey>,
    /// As messages name it.
    shown: String,
    /// As the audit trail names it.
    reference: String,
}

/// Who owns certificates, if there still is such a one.
fn owner(
    sql: &mut Connection,
    caller: Caller,
    owner: CertificateOwner,
) -> Result<Option<Owner>, SqlError> {
    let (project, mut facts, what, reference) = match owner {
        CertificateOwner::Person(key) => {
            let Some(person) = person(sql, key)? else {
                return Ok(None);
            };
            let facts = Facts {
                owner: Some(key),
                ..Facts::default()
            };
            (None, facts, "person", person.login.to_string())
        }
        CertificateOwner::Node(node) => {
            let row = sql.one(
                "SELECT project_id FROM node WHERE id = ?1 AND kind = ?2 AND removed_at IS NULL",
                params![node.key.0, node.kind.as_str()],
            )?;
            let Some(row) = row else { return Ok(None) };
            let facts = Facts {
                node: Some(node.key),
                ..Facts::default()
            };
            let project = ProjectKey(row.int(0)?);
            (Some(project), facts, "node", node.to_string())
        }
        CertificateOwner::Instance(instance) => {
            let row = sql.one(
                "SELECT i.project_id, i.tree_id, t.person_id FROM instance i \
                 JOIN tree t ON t.id = i.tree_id \
                 WHERE i.id = ?1 AND i.removed_at IS NULL AND i.shared = 0",
                params![instance.0],
            )?;
            let Some(row) = row else { return Ok(None) };
            let facts = Facts {
                instance: Some(instance),
                tree: Some(TreeKey(row.int(1)?)),
                owner: Some(PersonKey(row.int(2)?)),
                ..Facts::default()
            };
            let project = ProjectKey(row.int(0)?);
            (Some(project), facts, "instance", instance.to_string())
        }
    };
    if let Some(project) = project {
        facts.project = Some(project);
        facts.role = role_of(sql, caller, project)?;
    }
    Ok(Some(Owner {
        facts,
        project,
        shown: format!("{what} {reference}"),
        reference,
    }))
}

/// Who owns certificates, if the caller may give it some or take them away.
fn managed(
    sql: &mut Connection,
    caller: Caller,
    key: CertificateOwner,
) -> Result<Owner, StoreError> {
    let (action, named) = match key {
        CertificateOwner::Person(person) => {
            // Before the look-up: whether there is such a person is not for everybody.
            check_acts_for(caller, person, "such person")?;
            (Action::ActAsPerson, "such person".to_owned())
        }
        CertificateOwner::Node(node) => (Action::ManageNode, format!("node {node}")),
        CertificateOwner::Instance(key) => (Action::ManageTree, format!("instance {key}")),
    };
    let found = owner(sql, caller, key)?;
    let nothing = Facts::default();
    let facts = found.as_ref().map_or(&nothing, |owner| &owner.facts);
    access::check(caller, action, facts, &named)?;
    Ok(found.ok_or_else(|| Refusal::NotFound(format!("there is no {named} that you may see")))?)
}

/// How many certificates of an owner are good now.
fn good(sql: &mut Connection, owner: CertificateOwner, now: Timestamp) -> Result<i64, SqlError> {
    sql.one(
        "SELECT COUNT(*) FROM certificate WHERE owner_kind = ?1 AND owner_id = ?2 \
         AND revoked_at IS NULL AND expires_at > ?3",
        params![owner.kind(), owner.key(), now.0],
    )?
    .map_or(Ok(0), |row| row.int(0))
}

/// Refuses a further certificate where there are enough.
fn check_room(
    sql: &mut Connection,
    owner: CertificateOwner,
    shown: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let good = good(sql, owner, now)?;
    match owner {
        // Released clients look for exactly these words (P 5.4).
        CertificateOwner::Node(_) if good > 0 => Err(Refusal::Conflict(format!(
            "Certificate still active. {shown} has one: revoke it first, or choose another title"
        ))
        .into()),
        CertificateOwner::Person(_) if good >= PERSON_CERTIFICATES_MAX => Err(Refusal::Conflict(
            format!("{shown} has {good} certificates: revoke those that are not used"),
        )
        .into()),
        _ => Ok(()),
    }
}

fn insert(
    tx: &mut Tx<'_>,
    caller: Caller,
    new: &NewCertificate,
    subject: &str,
    project: Option<ProjectKey>,
) -> Result<(), StoreError> {
    let now = tx.now();
    tx.execute(
        "INSERT INTO certificate (common_name, serial, fingerprint, owner_kind, owner_id, \
         issued_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            &new.common_name,
            &new.serial,
            &new.fingerprint,
            new.owner.kind(),
            new.owner.key(),
            now.0,
            new.expires_at.0
        ],
    )?;
    let detail = json!({ "serial": new.serial, "common_name": new.common_name });
    audit(tx, caller, "issue_certificate", subject, project, detail)
}

/// Revokes all certificates of an owner, and forgets the key kept for an instance: it will be given
/// another one. For those who decided already, such as the operation that removes the owner; how
/// many there were.
pub(crate) fn revoke_of(
    tx: &mut Tx<'_>,
    caller: Caller,
    owner: CertificateOwner,
    project: Option<ProjectKey>,
) -> Result<u64, StoreError> {
    revoke_all(tx, caller, owner, &owner.to_string(), project)
}

fn revoke_all(
    tx: &mut Tx<'_>,
    caller: Caller,
    owner: CertificateOwner,
    subject: &str,
    project: Option<ProjectKey>,
) -> Result<u64, StoreError> {
    let now = tx.now();
    let revoked = tx.execute(
        "UPDATE certificate SET revoked_at = ?3 \
         WHERE owner_kind = ?1 AND owner_id = ?2 AND revoked_at IS NULL",
        params![owner.kind(), owner.key(), now.0],
    )?;
    if let CertificateOwner::Instance(instance) = owner {
        forget_key(tx, instance)?;
    }
    if revoked > 0 {
        let detail = json!({ "certificates": revoked });
        audit(tx, caller, "revoke_certificate", subject, project, detail)?;
    }
    Ok(revoked)
}

fn forget_key(tx: &mut Tx<'_>, instance: InstanceKey) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM instance_key WHERE instance_id = ?1",
        params![instance.0],
    )?;
    Ok(())
}

/// Certificates, in the columns [`certificate_of`] reads.
macro_rules! select_certificates {
    ($rest:literal) => {
        concat!(
            "SELECT c.owner_kind, c.owner_id, n.kind, c.common_name, c.serial, c.fingerprint, \
             c.issued_at, c.expires_at, c.revoked_at FROM certificate c \
             LEFT JOIN node n ON c.owner_kind = 'node' AND n.id = c.owner_id ",
            $rest
        )
    };
}

fn certificate_of(row: &Row) -> Result<CertificateRecord, SqlError> {
    let key = row.int(1)?;
    let owner = match row.text(0)? {
        "person" => CertificateOwner::Person(PersonKey(key)),
        "instance" => CertificateOwner::Instance(InstanceKey(key)),
        "node" => CertificateOwner::Node(NodeReference {
            kind: row.parsed(2)?,
            key: NodeKey(key),
        }),
        other => return Err(SqlError::Shape(format!("a certificate of a {other:?}"))),
    };
    Ok(CertificateRecord {
        owner,
        common_name: row.text(3)?.to_owned(),
        serial: row.text(4)?.to_owned(),
        fingerprint: row.text(5)?.to_owned(),
        issued_at: Timestamp(row.int(6)?),
        expires_at: Timestamp(row.int(7)?),
        revoked_at: row.maybe_int(8)?.map(Timestamp),
    })
}

impl Store {
    /// Who a certificate speaks for: one look-up. [`Caller::Anonymous`] when it is unknown,
    /// revoked, expired, or its owner is disabled or gone.
    ///
    /// `shown` is the serial number and the fingerprint of the certificate that was shown, where
    /// the Master saw it itself: then they must be the known ones. A proxy hands on the common name
    /// only.
    pub(crate) async fn certificate_caller(
        &self,
        common_name: &str,
        shown: Option<(&str, &str)>,
    ) -> Result<Caller, StoreError> {
        let common_name = common_name.to_owned();
        let shown = shown.map(|(serial, print)| (serial.to_owned(), print.to_owned()));
        let now = self.clock().now();
        self.read(move |sql| {
            let row = sql.one(
                "SELECT c.serial, c.fingerprint, c.owner_kind, c.owner_id, p.administrator, \
                 p.id, n.id, i.id, i.tree_id FROM certificate c \
                 LEFT JOIN person p ON c.owner_kind = 'person' AND p.id = c.owner_id \
                   AND p.disabled_at IS NULL \
                 LEFT JOIN node n ON c.owner_kind = 'node' AND n.id = c.owner_id \
                   AND n.removed_at IS NULL \
                 LEFT JOIN instance i ON c.owner_kind = 'instance' AND i.id = c.owner_id \
                   AND i.removed_at IS NULL \
                 WHERE c.common_name = ?1 AND c.revoked_at IS NULL AND c.expires_at > ?2",
                params![&common_name, now.0],
            )?;
            let Some(row) = row else {
                return Ok(Caller::Anonymous);
            };
            if let Some((serial, fingerprint)) = &shown
                && (row.text(0)? != serial || row.text(1)? != fingerprint)
            {
                return Ok(Caller::Anonymous);
            }
            // The owner's row is there if the owner is.
            let caller = if let Some(person) = row.maybe_int(5)? {
                Caller::Person {
                    person: PersonKey(person),
                    administrator: row.flag(4)?,
                }
            } else if let Some(node) = row.maybe_int(6)? {
                Caller::Node(NodeKey(node))
            } else if let Some(instance) = row.maybe_int(7)? {
                Caller::Instance {
                    instance: InstanceKey(instance),
                    tree: TreeKey(row.int(8)?),
                }
            } else {
                Caller::Anonymous
            };
            Ok(caller)
        })
        .await
    }

    /// Whether the caller may give somebody a certificate, and that one may have a further one:
    /// asked before a key is made, which takes long.
    ///
    /// # Errors
    /// For a person: itself and administrators may; for a node: the project's managers.
    /// [`Refusal::Conflict`] with the words `Certificate still active.` when a node has one.
    pub async fn may_certify(
        &self,
        caller: Caller,
        key: CertificateOwner,
    ) -> Result<(), StoreError> {
        let now = self.clock().now();
        self.read(move |sql| {
            let owner = managed(sql, caller, key)?;
            check_room(sql, key, &owner.shown, now)
        })
        .await
    }

    /// Makes a certificate known: from now on it is good.
    ///
    /// # Errors
    /// As [`Store::may_certify`].
    pub async fn record_certificate(
        &self,
        caller: Caller,
        new: NewCertificate,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let owner = managed(tx.sql(), caller, new.owner)?;
            let now = tx.now();
            check_room(tx.sql(), new.owner, &owner.shown, now)?;
            insert(tx, caller, &new, &owner.reference, owner.project)
        })
        .await
    }

    /// The certificate an instance was given and its sealed key, if it was given some already.
    ///
    /// # Errors
    /// Only its node and itself may: [`Refusal`].
    pub(crate) async fn instance_key(
        &self,
        caller: Caller,
        instance: InstanceKey,
    ) -> Result<Option<(String, String)>, StoreError> {
        self.read(move |sql| {
            check_takes_key(sql, caller, instance)?;
            stored_key(sql, instance)
        })
        .await
    }

    /// Keeps the certificate and the sealed key an instance is given, and makes the certificate
    /// known; what was kept first stays. The one that is kept.
    ///
    /// # Errors
    /// As [`Store::instance_key`].
    pub(crate) async fn keep_instance_key(
        &self,
        caller: Caller,
        instance: InstanceKey,
        new: NewCertificate,
        certificate: String,
        sealed_key: String,
    ) -> Result<(String, String), StoreError> {
        self.write(move |tx| {
            let project = check_takes_key(tx.sql(), caller, instance)?;
            if let Some(kept) = stored_key(tx.sql(), instance)? {
                return Ok(kept);
            }
            tx.execute(
                "INSERT INTO instance_key (instance_id, certificate, sealed_key) \
                 VALUES (?1, ?2, ?3)",
                params![instance.0, &certificate, &sealed_key],
            )?;
            insert(tx, caller, &new, &instance.to_string(), Some(project))?;
            Ok((certificate.clone(), sealed_key.clone()))
        })
        .await
    }

    /// The certificates of somebody, in the order they came.
    ///
    /// # Errors
    /// Only those who may give it some.
    pub async fn certificates(
        &self,
        caller: Caller,
        owner: CertificateOwner,
    ) -> Result<Vec<CertificateRecord>, StoreError> {
        self.read(move |sql| {
            managed(sql, caller, owner)?;
            let rows = sql.all(
                select_certificates!("WHERE c.owner_kind = ?1 AND c.owner_id = ?2 ORDER BY c.id"),
                params![owner.kind(), owner.key()],
            )?;
            Ok(rows.iter().map(certificate_of).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Revokes one certificate, at once.
    ///
    /// # Errors
    /// Only those who may give its owner some; [`Refusal::NotFound`] for a serial number that is
    /// not known.
    pub async fn revoke_certificate(
        &self,
        caller: Caller,
        serial: String,
    ) -> Result<CertificateOwner, StoreError> {
        let serial = serial.replace(':', "").to_ascii_uppercase();
        self.write(move |tx| {
            let unknown = || {
                let shown: String = serial.chars().take(80).collect();
                Refusal::unknown("certificate", shown)
            };
            if caller == Caller::Anonymous {
                access::check(caller, Action::ActAsPerson, &Facts::default(), "")?;
            }
            let row = tx
                .one(
                    select_certificates!("WHERE c.serial = ?1"),
                    params![&serial],
                )?
                .ok_or_else(unknown)?;
            let found = certificate_of(&row)?;
            let owner = match managed(tx.sql(), caller, found.owner) {
                // That there is such a certificate is not for everybody to know.
                Err(StoreError::Refused(Refusal::NotFound(_))) => return Err(unknown().into()),
                other => other?,
            };
            if found.revoked_at.is_some() {
                return Ok(found.owner);
            }
            let now = tx.now();
            tx.execute(
                "UPDATE certificate SET revoked_at = ?2 WHERE serial = ?1",
                params![&serial, now.0],
            )?;
            if let CertificateOwner::Instance(instance) = found.owner {
                forget_key(tx, instance)?;
            }
            let detail = json!({ "serial": serial });
            audit(
                tx,
                caller,
                "revoke_certificate",
                &owner.reference,
                owner.project,
                detail,
            )?;
            Ok(found.owner)
        })
        .await
    }

    /// Revokes all certificates of somebody, at once; how many.
    ///
    /// # Errors
    /// Only those who may give it some; [`Refusal::NotFound`] with the words `No certificate` when
    /// there is none (P 5.5).
    pub async fn revoke_certificates(
        &self,
        caller: Caller,
        key: CertificateOwner,
    ) -> Result<u64, StoreError> {
        self.write(move |tx| {
            let owner = managed(tx.sql(), caller, key)?;
            let now = tx.now();
            if good(tx.sql(), key, now)? == 0 {
                return Err(Refusal::NotFound(format!(
                    "No certificate: {} has none that is good",
                    owner.shown
                ))
                .into());
            }
            revoke_all(tx, caller, key, &owner.reference, owner.project)
        })
        .await
    }

    /// Serial numbers of the revoked certificates that have not expired, with the time of
    /// revocation: what a revocation list holds.
    ///
    /// # Errors
    /// Only administrators may.
    pub async fn revoked_certificates(
        &self,
        caller: Caller,
    ) -> Result<Vec<(String, Timestamp)>, StoreError> {
        let now = self.clock().now();
        self.read(move |sql| {
            check_administrator(caller, "list of revoked certificates")?;
            let rows = sql.all(
                "SELECT serial, revoked_at FROM certificate \
                 WHERE revoked_at IS NOT NULL AND expires_at > ?1 ORDER BY id",
                params![now.0],
            )?;
            let pair = |row: &Row| Ok((row.text(0)?.to_owned(), Timestamp(row.int(1)?)));
            Ok(rows.iter().map(pair).collect::<Result<_, SqlError>>()?)
        })
        .await
    }
}

/// Refuses those who may not be given an instance's key; its project.
fn check_takes_key(
    sql: &mut Connection,
    caller: Caller,
    instance: InstanceKey,
) -> Result<ProjectKey, StoreError> {
    let shown = format!("instance {instance}");
    let found = owner(sql, caller, CertificateOwner::Instance(instance))?;
    let mut facts = found
        .as_ref()
        .map_or_else(Facts::default, |owner| owner.facts);
    if found.is_some() {
        facts.node = sql
            .one(
                "SELECT node_id FROM partition WHERE instance_id = ?1",
                params![instance.0],
            )?
            .map(|row| row.int(0).map(NodeKey))
            .transpose()?;
    }
    access::check(caller, Action::TakeInstanceKey, &facts, &shown)?;
    found
        .and_then(|owner| owner.project)
        .ok_or_else(|| Refusal::NotFound(format!("there is no {shown} that you may see")).into())
}

fn stored_key(
    sql: &mut Connection,
    instance: InstanceKey,
) -> Result<Option<(String, String)>, StoreError> {
    let row = sql.one(
        "SELECT certificate, sealed_key FROM instance_key WHERE instance_id = ?1",
        params![instance.0],
    )?;
    Ok(match row {
        Some(row) => Some((row.text(0)?.to_owned(), row.text(1)?.to_owned())),
        None => None,
    })
}
