//! The audit trail: who changed what, and when. One row per change, in the change's transaction.

use super::StoreError;
use super::sql::params;
use super::writer::Tx;
use crate::domain::{Caller, ProjectKey};

/// How a caller is written into rows: its kind, and its key where it has one.
pub(crate) fn actor(caller: Caller) -> (&'static str, Option<i64>) {
    match caller {
        Caller::Anonymous => ("anonymous", None),
        Caller::Person { person, .. } => ("person", Some(person.0)),
        Caller::Node(node) => ("node", Some(node.0)),
        Caller::Instance { instance, .. } => ("instance", Some(instance.0)),
        Caller::Master => ("master", None),
    }
}

/// Notes a change: one INSERT. `action` is what was done, such as `instance.request`; `subject` the
/// reference of what it was done with; `project` whose managers may read of it, if any; `detail`
/// what else is worth knowing, never a secret (`json!({})` for nothing).
///
/// # Errors
/// The database.
pub(crate) fn audit(
    tx: &mut Tx<'_>,
    caller: Caller,
    action: &str,
    subject: &str,
    project: Option<ProjectKey>,
    detail: serde_json::Value,
) -> Result<(), StoreError> {
    let (kind, key) = actor(caller);
    let now = tx.now();
    tx.execute(
        "INSERT INTO audit (at, actor_kind, actor_id, action, subject, project_id, detail) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            now.0,
            kind,
            key,
            action,
            subject,
            project.map(|project| project.0),
            detail.to_string(),
        ],
    )?;
    Ok(())
}
