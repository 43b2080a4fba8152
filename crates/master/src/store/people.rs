//! Persons, projects, and who is what in which project.

use super::sql::{Connection, SqlError, params};
use crate::domain::{PersonKey, ProjectKey, Role};

/// What a person is in a project: a fact for [`crate::domain::access`].
pub(crate) fn role(
    sql: &mut Connection,
    project: ProjectKey,
    person: PersonKey,
) -> Result<Option<Role>, SqlError> {
    sql.one(
        "SELECT role FROM member WHERE project_id = ?1 AND person_id = ?2",
        params![project.0, person.0],
    )?
    .map(|row| row.parsed(0))
    .transpose()
}

/// The open projects a person belongs to, the oldest first. A request that names no project is for
/// the single one of them (P 6.3, step 2).
pub(crate) fn projects_of(
    sql: &mut Connection,
    person: PersonKey,
) -> Result<Vec<ProjectKey>, SqlError> {
    sql.all(
        "SELECT project.id FROM member JOIN project ON project.id = member.project_id \
         WHERE member.person_id = ?1 AND project.closed_at IS NULL ORDER BY project.id",
        params![person.0],
    )?
    .iter()
    .map(|row| Ok(ProjectKey(row.int(0)?)))
    .collect()
}
