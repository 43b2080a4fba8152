//! Looks for contradictions in the database: what the program promises, asked of the data.
//!
//! Every rule is one statement that finds what breaks it, so that a database of millions of instances
//! is checked by its indexes and not in memory. Nothing is repaired here.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::people::check_administrator;
use super::sql::{Connection, Sqlite, params};
use super::{Address, Database, Store, StoreError, Texts};
use crate::domain::access::Caller;
use crate::pki::Sealer;

/// What is told of one rule at most.
const PROBLEMS_MAX: i64 = 100;
/// Rows read at a time where each has to be looked at.
const PAGE: i64 = 5_000;

/// A contradiction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// The rule that is broken.
    pub rule: &'static str,
    /// What breaks it.
    pub subject: String,
    /// How, in words.
    pub problem: String,
}

/// A rule, and the statement that finds what breaks it: the subject, and the words.
type Rule = (&'static str, &'static str);

/// What the counters of nodes must be is computed as [`super::nodes`] does it.
const RULES: &[Rule] = &[
    (
        "a partition holds one living instance",
        "SELECT 'partition ' || p.name || ' of node ' || p.node_id, \
           'it holds SOFTINST-' || p.instance_id || ', which ' || CASE \
             WHEN i.id IS NULL THEN 'there never was' \
             WHEN i.removed_at IS NOT NULL THEN 'is gone' \
             WHEN i.placed = 0 THEN 'counts as waiting' \
             ELSE 'is a shared instance' END \
         FROM partition p JOIN node n ON n.id = p.node_id \
         LEFT JOIN instance i ON i.id = p.instance_id \
         WHERE p.instance_id IS NOT NULL AND (i.id IS NULL OR i.removed_at IS NOT NULL \
           OR i.placed = 0 OR (i.shared = 1 AND n.kind = 'compute'))",
    ),
    (
        "a placed instance is in a partition",
        "SELECT 'SOFTINST-' || i.id, 'it counts as placed, and no partition holds it' \
         FROM instance i WHERE i.placed = 1 AND i.shared = 0 \
         AND NOT EXISTS (SELECT 1 FROM partition p WHERE p.instance_id = i.id)",
    ),
    (
        "a placed shared instance has a living host",
        "SELECT 'SOFTINST-' || i.id, CASE \
             WHEN i.shared = 0 THEN 'it has a host and is no shared instance' \
             WHEN i.removed_at IS NOT NULL THEN 'it is gone and still has a host' \
             WHEN i.placed = 1 AND i.host_id IS NULL AND p.id IS NULL THEN 'it counts as placed without a host' \
             WHEN i.placed = 0 THEN 'it has a host and counts as waiting' \
             ELSE 'its host SOFTINST-' || i.host_id || ' is gone or has no partition' END \
         FROM instance i LEFT JOIN instance h ON h.id = i.host_id \
         LEFT JOIN partition p ON p.instance_id = i.id \
         WHERE (i.host_id IS NOT NULL AND (i.shared = 0 OR i.removed_at IS NOT NULL OR i.placed = 0 \
           OR h.id IS NULL OR h.removed_at IS NOT NULL OR h.placed = 0 OR h.shared = 1)) \
         OR (i.shared = 1 AND i.placed = 1 AND i.host_id IS NULL AND p.id IS NULL)",
    ),
    (
        "what is gone takes no place",
        "SELECT 'SOFTINST-' || id, 'it is gone and counts as placed, or is not destroyed' FROM instance \
         WHERE removed_at IS NOT NULL AND (placed = 1 OR state <> 'destroyed')",
    ),
    (
        "no member of a destroyed tree runs",
        "SELECT 'SOFTINST-' || i.id, 'it shall be ' || i.state || ', and its tree HOSTSUBS-' || t.id \
           || ' was destroyed' \
         FROM instance i JOIN tree t ON t.id = i.tree_id \
         WHERE t.archived_at IS NOT NULL AND i.removed_at IS NULL AND i.state <> 'destroyed'",
    ),
    (
        "who requested is there",
        "SELECT 'SOFTINST-' || i.id, CASE \
             WHEN r.id IS NULL THEN 'it was requested by SOFTINST-' || i.requester_id || ', which there never was' \
             WHEN r.tree_id <> i.tree_id THEN 'it was requested by an instance of another tree' \
             ELSE 'it shall be ' || i.state || ', and SOFTINST-' || r.id || ', which requested it, was destroyed' END \
         FROM instance i LEFT JOIN instance r ON r.id = i.requester_id \
         WHERE i.requester_id IS NOT NULL AND i.removed_at IS NULL \
         AND (r.id IS NULL OR r.tree_id <> i.tree_id OR (i.state <> 'destroyed' \
           AND (r.removed_at IS NOT NULL OR r.state = 'destroyed')))",
    ),
    (
        "a tree and its members are of one project",
        "SELECT 'SOFTINST-' || i.id, 'it is of PROJ-' || i.project_id || ', its tree of PROJ-' || t.project_id \
         FROM instance i JOIN tree t ON t.id = i.tree_id WHERE i.project_id <> t.project_id",
    ),
    (
        "a node and its installations are of one project",
        "SELECT 'SOFTINSTALL-' || s.id, 'it is of PROJ-' || s.project_id || ', its node of PROJ-' || n.project_id \
         FROM installation s JOIN node n ON n.id = s.node_id WHERE s.project_id <> n.project_id",
    ),
    (
        "a removed node holds nothing",
        "SELECT 'node ' || n.id, 'it was removed, and its partition ' || p.name || ' holds SOFTINST-' || p.instance_id \
         FROM partition p JOIN node n ON n.id = p.node_id \
         WHERE n.removed_at IS NOT NULL AND p.instance_id IS NOT NULL",
    ),
    (
        "free partitions are counted right",
        "SELECT 'node ' || c.id, 'it has ' || c.counted || ' free partitions, and ' || c.free || ' are noted' \
         FROM (SELECT n.id AS id, n.free AS free, (SELECT COUNT(*) FROM partition p \
             WHERE p.node_id = n.id AND p.active = 1 AND p.instance_id IS NULL \
             AND p.capabilities = '[]') AS counted FROM node n WHERE n.removed_at IS NULL) c \
         WHERE c.free <> c.counted",
    ),
    (
        "used units are counted right",
        "SELECT 'node ' || c.id, 'its instances take ' || c.counted || ' units, and ' || c.used || ' are noted' \
         FROM (SELECT n.id AS id, n.used AS used, COALESCE((SELECT SUM(i.units) FROM partition p \
             JOIN instance i ON i.id = p.instance_id WHERE p.node_id = n.id), 0) AS counted \
           FROM node n WHERE n.removed_at IS NULL) c \
         WHERE c.used <> c.counted",
    ),
    (
        "the order in which nodes are filled is right",
        "SELECT 'SOFTINSTALL-' || c.id, 'it is noted with ' || c.free || ' free partitions instead of ' || c.counted \
         FROM (SELECT s.id AS id, s.free AS free, CASE WHEN s.removed_at IS NULL AND n.alive = 1 \
             AND n.scope = 'open' AND n.kind = 'compute' AND n.removed_at IS NULL \
             AND (n.capacity IS NULL OR n.used < n.capacity) AND s.state = 'available' \
             AND s.reported = 'available' THEN n.free ELSE 0 END AS counted \
           FROM installation s JOIN node n ON n.id = s.node_id) c \
         WHERE c.free <> c.counted",
    ),
    (
        "who is gone has no certificate that is good",
        "SELECT c.common_name, 'it speaks for ' || c.owner_kind || ' ' || c.owner_id || ', which is not there' \
         FROM certificate c \
         LEFT JOIN node n ON c.owner_kind = 'node' AND n.id = c.owner_id AND n.removed_at IS NULL \
         LEFT JOIN instance i ON c.owner_kind = 'instance' AND i.id = c.owner_id AND i.removed_at IS NULL \
         LEFT JOIN person p ON c.owner_kind = 'person' AND p.id = c.owner_id \
         WHERE c.revoked_at IS NULL AND n.id IS NULL AND i.id IS NULL AND p.id IS NULL",
    ),
    (
        "an instance's key has its instance",
        "SELECT 'SOFTINST-' || k.instance_id, 'it is gone, and its key is kept' \
         FROM instance_key k LEFT JOIN instance i ON i.id = k.instance_id AND i.removed_at IS NULL \
         WHERE i.id IS NULL",
    ),
    (
        "states are words",
        "SELECT 'SOFTINST-' || id, 'its state is ' || state FROM instance \
         WHERE state NOT IN ('started', 'stopped', 'destroyed')",
    ),
    (
        "a host and what it serves are of one project",
        "SELECT 'SOFTINST-' || i.id, 'its host SOFTINST-' || h.id || ' is of another project' \
         FROM instance i JOIN instance h ON h.id = i.host_id \
         WHERE i.host_id IS NOT NULL AND i.removed_at IS NULL AND h.project_id <> i.project_id",
    ),
    (
        "somebody administrates",
        "SELECT 'persons', 'there are some, and none is an administrator who may come in' \
         FROM (SELECT COUNT(*) AS everybody, COALESCE(SUM(CASE WHEN administrator = 1 \
             AND disabled_at IS NULL THEN 1 ELSE 0 END), 0) AS administrators FROM person) c \
         WHERE c.everybody > 0 AND c.administrators = 0",
    ),
];

/// Finds what breaks any rule, in the state the connection sees.
pub(super) fn contradictions(
    sql: &mut Connection,
    sealer: Option<&Sealer>,
) -> Result<Vec<Contradiction>, StoreError> {
    let mut found = Vec::new();
    damage(sql, &mut found)?;
    for (rule, statement) in RULES {
        let rows = sql.all(&format!("{statement} LIMIT ?1"), params![PROBLEMS_MAX])?;
        for row in &rows {
            found.push(Contradiction {
                rule,
                subject: row.text(0)?.to_owned(),
                problem: row.text(1)?.to_owned(),
            });
        }
    }
    documents(sql, &mut found)?;
    if let Some(sealer) = sealer {
        secrets(sql, sealer, &mut found)?;
    }
    Ok(found)
}

/// What the database itself says of its file. A server looks after itself.
fn damage(sql: &mut Connection, found: &mut Vec<Contradiction>) -> Result<(), StoreError> {
    if sql.sqlite().is_none() {
        return Ok(());
    }
    for row in sql.all("PRAGMA quick_check(20)", &[])? {
        if row.text(0)? != "ok" {
            found.push(Contradiction {
                rule: "the file is not damaged",
                subject: "the database file".to_owned(),
                problem: row.text(0)?.to_owned(),
            });
        }
    }
    for row in sql.all("PRAGMA foreign_key_check", &[])?.iter().take(100) {
        found.push(Contradiction {
            rule: "what a row points to is there",
            subject: row.text(0)?.to_owned(),
            problem: format!(
                "row {} points to a row of {} that is not there",
                row.maybe_int(1)?.unwrap_or_default(),
                row.text(2)?
            ),
        });
    }
    Ok(())
}

/// A column with texts of one form: table, reference, column.
struct Documents {
    rule: &'static str,
    subject: &'static str,
    statement: &'static str,
    read: fn(&str) -> Option<String>,
}

/// Why a text is not of its form, if so.
fn fault<T: DeserializeOwned>(text: &str) -> Option<String> {
    serde_json::from_str::<T>(text)
        .err()
        .map(|error| error.to_string())
}

const DOCUMENTS: &[Documents] = &[
    Documents {
        rule: "parameters can be read",
        subject: "SOFTINST-",
        statement: "SELECT id, parameters FROM instance WHERE id > ?1 ORDER BY id LIMIT ?2",
        read: fault::<Texts>,
    },
    Documents {
        rule: "an SLA can be read",
        subject: "SOFTINST-",
        statement: "SELECT id, sla FROM instance WHERE id > ?1 ORDER BY id LIMIT ?2",
        read: fault::<Texts>,
    },
    Documents {
        rule: "connection parameters can be read",
        subject: "SOFTINST-",
        statement: "SELECT id, COALESCE(connection, '{}') FROM instance WHERE id > ?1 \
                    ORDER BY id LIMIT ?2",
        read: fault::<Texts>,
    },
    Documents {
        rule: "categories can be read",
        subject: "node ",
        statement: "SELECT id, categories FROM node WHERE id > ?1 ORDER BY id LIMIT ?2",
        read: fault::<BTreeMap<String, String>>,
    },
    Documents {
        rule: "addresses can be read",
        subject: "partition number ",
        statement: "SELECT id, addresses FROM partition WHERE id > ?1 ORDER BY id LIMIT ?2",
        read: fault::<Vec<Address>>,
    },
    Documents {
        rule: "capabilities can be read",
        subject: "partition number ",
        statement: "SELECT id, capabilities FROM partition WHERE id > ?1 ORDER BY id LIMIT ?2",
        read: fault::<Vec<String>>,
    },
];

fn documents(sql: &mut Connection, found: &mut Vec<Contradiction>) -> Result<(), StoreError> {
    for kind in DOCUMENTS {
        let (mut after, mut told) = (0, 0);
        loop {
            let rows = sql.all(kind.statement, params![after, PAGE])?;
            for row in &rows {
                after = row.int(0)?;
                if let Some(why) = (kind.read)(row.text(1)?)
                    && told < PROBLEMS_MAX
                {
                    told += 1;
                    found.push(Contradiction {
                        rule: kind.rule,
                        subject: format!("{}{after}", kind.subject),
                        problem: why,
                    });
                }
            }
            if i64::try_from(rows.len()).unwrap_or(PAGE) < PAGE {
                break;
            }
        }
    }
    Ok(())
}

/// Secrets: their subject, what they were sealed for, and themselves, after a key.
const SECRETS: &[(&str, &str)] = &[
    (
        "the certificate authority's key",
        "SELECT 1, 'authority-key', value FROM setting \
         WHERE name = 'authority_key' AND ?1 < 1 LIMIT ?2",
    ),
    (
        "the key of an instance",
        "SELECT instance_id, 'key of SOFTINST-' || instance_id, sealed_key FROM instance_key \
         WHERE instance_id > ?1 ORDER BY instance_id LIMIT ?2",
    ),
    (
        "the key of a gate",
        "SELECT node_id, 'remote-key REMOTE-' || node_id, sealed_key FROM remote \
         WHERE node_id > ?1 AND sealed_key IS NOT NULL ORDER BY node_id LIMIT ?2",
    ),
];

fn secrets(
    sql: &mut Connection,
    sealer: &Sealer,
    found: &mut Vec<Contradiction>,
) -> Result<(), StoreError> {
    for (subject, statement) in SECRETS {
        let (mut after, mut told) = (0, 0);
        loop {
            let rows = sql.all(statement, params![after, PAGE])?;
            for row in &rows {
                after = row.int(0)?;
                if sealer.open(row.text(1)?, row.text(2)?).is_err() && told < PROBLEMS_MAX {
                    told += 1;
                    found.push(Contradiction {
                        rule: "secrets open with secret.key",
                        subject: (*subject).to_owned(),
                        problem: format!("what is sealed for {:?} does not open", row.text(1)?),
                    });
                }
            }
            if i64::try_from(rows.len()).unwrap_or(PAGE) < PAGE {
                break;
            }
        }
    }
    Ok(())
}

impl Store {
    /// Looks for contradictions; none is the right answer. With the key of the secrets it is also
    /// looked whether these open. A large database takes its time, and is used meanwhile: its file is
    /// read over a connection of its own.
    ///
    /// # Errors
    /// Only administrators may; the database.
    pub(crate) async fn check(
        &self,
        caller: Caller,
        database: &Database,
        sealer: Option<Arc<Sealer>>,
    ) -> Result<Vec<Contradiction>, StoreError> {
        check_administrator(caller, "state of the database")?;
        match database {
            Database::Sqlite(path) => {
                let path = path.clone();
                tokio::task::spawn_blocking(move || {
                    let mut sql = Connection::from(Sqlite::reader(&path)?);
                    sql.begin_read()?;
                    contradictions(&mut sql, sealer.as_deref())
                })
                .await
                .map_err(|error| StoreError::Internal(error.to_string()))?
            }
            Database::Postgres(_) => {
                self.read(move |sql| contradictions(sql, sealer.as_deref()))
                    .await
            }
        }
    }
}
