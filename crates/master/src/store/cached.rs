//! Who may give to the network cache, and the notes of who did. What is given is not in here.

use super::audit::{actor, audit};
use super::sql::{Connection, params};
use super::{Store, StoreError};
use crate::domain::access::{self, Action, Facts};
use crate::domain::{Caller, ProjectKey, Role};

impl Store {
    /// Whether the caller may give to the network cache.
    ///
    /// # Errors
    /// Nodes may, and who manages a project or the Master.
    pub async fn check_fills_cache(&self, caller: Caller) -> Result<(), StoreError> {
        self.read(move |sql| check(sql, caller).map(|_| ())).await
    }

    /// Notes what was given.
    ///
    /// # Errors
    /// As [`Store::check_fills_cache`].
    pub async fn note_cached(
        &self,
        caller: Caller,
        action: &'static str,
        subject: String,
        detail: serde_json::Value,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let project = check(tx.sql(), caller)?;
            audit(tx, caller, action, &subject, project, detail.clone())
        })
        .await
    }

    /// The name under which a caller's entries are kept: nobody replaces those of others.
    pub(crate) fn giver(&self, caller: Caller) -> String {
        match actor(caller) {
            (kind, Some(key)) => format!("{kind}-{key}"),
            (kind, None) => kind.to_owned(),
        }
    }
}

/// The project for which somebody gives, if it is one.
fn check(sql: &mut Connection, caller: Caller) -> Result<Option<ProjectKey>, StoreError> {
    let mut facts = Facts::default();
    match caller {
        Caller::Node(node) => {
            let row = sql.one("SELECT project_id FROM node WHERE id = ?1", params![node.0])?;
            facts.node = Some(node);
            facts.project = row.map(|row| row.int(0).map(ProjectKey)).transpose()?;
        }
        Caller::Person { person, .. } => {
            let row = sql.one(
                "SELECT MIN(member.project_id) FROM member \
                 JOIN project ON project.id = member.project_id \
                 WHERE member.person_id = ?1 AND member.role = ?2 AND project.closed_at IS NULL",
                params![person.0, Role::Manager.as_str()],
            )?;
            let managed = row.map(|row| row.maybe_int(0)).transpose()?.flatten();
            facts.project = managed.map(ProjectKey);
            facts.role = managed.map(|_| Role::Manager);
        }
        _ => {}
    }
    access::check(caller, Action::FillCache, &facts, "network cache")?;
    Ok(facts.project)
}
