//! Projects, and who is what in them.

use serde_json::json;

use super::audit::audit;
use super::details::like;
use super::listing::known;
use super::people::{PAGE_MAX, check_acts_for, check_administrator, person_by_login, plain_line};
use super::sql::{Connection, Row, SqlError, params};
use super::standing::project_named;
use super::{Page, Store, StoreError};
use crate::domain::access::{self, Action, Caller, Facts};
use crate::domain::{Login, PersonKey, ProjectKey, Refusal, Role, Timestamp};

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectRecord {
    /// Its key.
    pub key: ProjectKey,
    /// What it is called.
    pub title: String,
    /// What the one who asks is in it.
    pub role: Option<Role>,
    /// Since when it takes nothing new, if so.
    pub closed_at: Option<Timestamp>,
    /// Since when it is there.
    pub created_at: Timestamp,
}

/// A project in a list, with how much there is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectState {
    /// The project.
    pub project: ProjectRecord,
    /// Whether the caller manages it: its role, or all of the Master.
    pub is_managed: bool,
    /// Persons.
    pub members: i64,
    /// Nodes.
    pub nodes: i64,
    /// Products.
    pub products: i64,
    /// Instance trees: all of them for who manages it, else the caller's own.
    pub trees: i64,
}

/// A person of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRecord {
    /// Who.
    pub person: PersonKey,
    /// What it signs in with.
    pub login: Login,
    /// What it is called.
    pub name: String,
    /// What it is there.
    pub role: Role,
}

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

/// The caller's role in a project, if it is a person.
pub(super) fn role_of(
    sql: &mut Connection,
    caller: Caller,
    project: ProjectKey,
) -> Result<Option<Role>, SqlError> {
    match caller {
        Caller::Person { person, .. } => role(sql, project, person),
        _ => Ok(None),
    }
}

/// Whether the caller may do this with a project, which there is.
pub(super) fn check_project(
    sql: &mut Connection,
    caller: Caller,
    action: Action,
    project: ProjectKey,
) -> Result<(), StoreError> {
    let facts = Facts {
        project: Some(project),
        role: role_of(sql, caller, project)?,
        ..Facts::default()
    };
    access::check(caller, action, &facts, &format!("project {project}"))?;
    sql.one("SELECT 1 FROM project WHERE id = ?1", params![project.0])?
        .map(|_| ())
        .ok_or_else(|| Refusal::unknown("project", project).into())
}

/// Refuses what a closed project does not take any more. There is such a project.
pub(crate) fn check_open(sql: &mut Connection, project: ProjectKey) -> Result<(), StoreError> {
    let open = sql.one(
        "SELECT 1 FROM project WHERE id = ?1 AND closed_at IS NULL",
        params![project.0],
    )?;
    match open {
        Some(_) => Ok(()),
        None => Err(Refusal::Conflict(format!(
            "project {project} is closed: it takes nothing new"
        ))
        .into()),
    }
}

/// Projects the caller belongs to, all for administrators: those whose title contains a text or that
/// have this key, or only one of them.
fn states(
    sql: &mut Connection,
    caller: Caller,
    only: Option<ProjectKey>,
    text: &str,
    page: Page,
) -> Result<Vec<ProjectState>, StoreError> {
    let everything = check_administrator(caller, "").is_ok();
    let person = match caller {
        Caller::Person { person, .. } => person.0,
        _ => 0,
    };
    let rows = sql.all(
        "SELECT p.id, p.title, m.role, p.closed_at, p.created_at, \
         (SELECT COUNT(*) FROM member a WHERE a.project_id = p.id), \
         (SELECT COUNT(*) FROM node n WHERE n.project_id = p.id AND n.removed_at IS NULL), \
         (SELECT COUNT(*) FROM product s WHERE s.project_id = p.id), \
         (SELECT COUNT(*) FROM tree t WHERE t.project_id = p.id AND t.archived_at IS NULL \
           AND (?2 = 1 OR m.role = 'manager' OR t.person_id = ?1)) \
         FROM project p LEFT JOIN member m ON m.project_id = p.id AND m.person_id = ?1 \
         WHERE (?2 = 1 OR m.role IS NOT NULL) \
         AND (LOWER(p.title) LIKE ?3 ESCAPE '\\' OR p.id = ?4) AND (?5 = 0 OR p.id = ?5) \
         ORDER BY p.id LIMIT ?6 OFFSET ?7",
        params![
            person,
            everything,
            format!("%{}%", like(&text.to_lowercase())),
            project_named(text),
            only.map_or(0, |key| key.0),
            page.limit,
            page.skip
        ],
    )?;
    let state = |row: &Row| {
        let project = record(row)?;
        Ok::<_, SqlError>(ProjectState {
            is_managed: everything || project.role == Some(Role::Manager),
            project,
            members: row.int(5)?,
            nodes: row.int(6)?,
            products: row.int(7)?,
            trees: row.int(8)?,
        })
    };
    Ok(rows.iter().map(state).collect::<Result<_, _>>()?)
}

/// A project of a row that begins with its key, title, the caller's role, and when it was closed and
/// made.
fn record(row: &Row) -> Result<ProjectRecord, SqlError> {
    Ok(ProjectRecord {
        key: ProjectKey(row.int(0)?),
        title: row.text(1)?.to_owned(),
        role: match row.maybe_text(2)? {
            Some(_) => Some(row.parsed(2)?),
            None => None,
        },
        closed_at: row.maybe_int(3)?.map(Timestamp),
        created_at: Timestamp(row.int(4)?),
    })
}

impl Store {
    /// Makes a project. A person who makes one manages it.
    ///
    /// # Errors
    /// Only administrators may.
    pub async fn create_project(
        &self,
        caller: Caller,
        title: String,
    ) -> Result<ProjectKey, StoreError> {
        let title = plain_line("title", &title)?;
        self.write(move |tx| {
            check_administrator(caller, "list of projects")?;
            let now = tx.now();
            let project = ProjectKey(tx.insert(
                "INSERT INTO project (title, created_at) VALUES (?1, ?2) RETURNING id",
                params![&title, now.0],
            )?);
            if let Caller::Person { person, .. } = caller {
                tx.execute(
                    "INSERT INTO member (project_id, person_id, role) VALUES (?1, ?2, ?3)",
                    params![project.0, person.0, Role::Manager.as_str()],
                )?;
            }
            let detail = json!({ "title": title });
            let subject = project.to_string();
            audit(
                tx,
                caller,
                "create_project",
                &subject,
                Some(project),
                detail,
            )?;
            Ok(project)
        })
        .await
    }

    /// The projects the caller belongs to, closed ones too, in the order they came; for
    /// administrators all. Those after a key, [`PAGE_MAX`] at most.
    ///
    /// # Errors
    /// [`Refusal::Unauthenticated`].
    pub async fn projects(
        &self,
        caller: Caller,
        after: Option<ProjectKey>,
    ) -> Result<Vec<ProjectRecord>, StoreError> {
        self.read(move |sql| {
            if caller == Caller::Anonymous {
                check_administrator(caller, "list of projects")?;
            }
            let everything = check_administrator(caller, "").is_ok();
            let person = match caller {
                Caller::Person { person, .. } => person.0,
                _ => 0,
            };
            let rows = sql.all(
                "SELECT project.id, title, role, closed_at, created_at FROM project \
                 LEFT JOIN member ON project_id = project.id AND person_id = ?1 \
                 WHERE project.id > ?2 AND (role IS NOT NULL OR CAST(?3 AS BIGINT) = 1) \
                 ORDER BY project.id LIMIT ?4",
                params![
                    person,
                    after.map_or(0, |key| key.0),
                    everything,
                    PAGE_MAX as i64
                ],
            )?;
            Ok(rows.iter().map(record).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// A page of the projects the caller belongs to, closed ones too, in the order they came; for
    /// administrators of all. Those whose title contains a text, or whose key it is.
    ///
    /// # Errors
    /// [`Refusal::Unauthenticated`].
    pub async fn project_states(
        &self,
        caller: Caller,
        text: String,
        page: Page,
    ) -> Result<Vec<ProjectState>, StoreError> {
        self.read(move |sql| {
            known(caller, "project")?;
            states(sql, caller, None, &text, page)
        })
        .await
    }

    /// A project.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] for who does not belong to it.
    pub async fn project_state(
        &self,
        caller: Caller,
        project: ProjectKey,
    ) -> Result<ProjectState, StoreError> {
        self.read(move |sql| {
            check_project(sql, caller, Action::SeeProject, project)?;
            let found = states(sql, caller, Some(project), "", Page::first(1))?.pop();
            Ok(found.ok_or_else(|| Refusal::unknown("project", project))?)
        })
        .await
    }

    /// The projects a person belongs to, closed ones too, [`PAGE_MAX`] at most.
    ///
    /// # Errors
    /// Others than itself and administrators may not know.
    pub async fn memberships(
        &self,
        caller: Caller,
        person: PersonKey,
    ) -> Result<Vec<ProjectRecord>, StoreError> {
        self.read(move |sql| {
            check_acts_for(caller, person, "such person")?;
            let rows = sql.all(
                "SELECT p.id, p.title, m.role, p.closed_at, p.created_at FROM member m \
                 JOIN project p ON p.id = m.project_id WHERE m.person_id = ?1 \
                 ORDER BY p.id LIMIT ?2",
                params![person.0, PAGE_MAX as i64],
            )?;
            Ok(rows.iter().map(record).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Closes a project: it takes nothing new. It must be empty.
    ///
    /// # Errors
    /// Only administrators may; [`Refusal::Conflict`] when it still has instances or nodes.
    pub async fn close_project(
        &self,
        caller: Caller,
        project: ProjectKey,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            check_administrator(caller, &format!("project {project}"))?;
            let row = tx
                .one(
                    "SELECT closed_at, \
                     (SELECT MIN(node.id) FROM node WHERE node.project_id = project.id \
                       AND node.removed_at IS NULL), \
                     (SELECT MIN(instance.id) FROM tree JOIN instance ON tree_id = tree.id \
                       WHERE tree.project_id = project.id AND instance.removed_at IS NULL) \
                     FROM project WHERE id = ?1",
                    params![project.0],
                )?
                .ok_or_else(|| Refusal::unknown("project", project))?;
            if row.maybe_int(0)?.is_some() {
                return Ok(());
            }
            let left = match (row.maybe_int(1)?, row.maybe_int(2)?) {
                (_, Some(_)) => "instances: destroy them first",
                (Some(_), None) => "nodes: remove them first",
                (None, None) => "",
            };
            if !left.is_empty() {
                return Err(
                    Refusal::Conflict(format!("project {project} still has {left}")).into(),
                );
            }
            let now = tx.now();
            tx.execute(
                "UPDATE project SET closed_at = ?2 WHERE id = ?1",
                params![project.0, now.0],
            )?;
            let subject = project.to_string();
            audit(
                tx,
                caller,
                "close_project",
                &subject,
                Some(project),
                json!({}),
            )
        })
        .await
    }

    /// Makes a person a member or manager of a project; with no role, neither any more (its trees
    /// stay).
    ///
    /// # Errors
    /// Only the project's managers may; [`Refusal::NotFound`] for an unknown login name.
    pub async fn set_member(
        &self,
        caller: Caller,
        project: ProjectKey,
        login: Login,
        role: Option<Role>,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            check_project(tx.sql(), caller, Action::ManageProject, project)?;
            let person = person_by_login(tx.sql(), &login)?
                .ok_or_else(|| Refusal::unknown("person", &login))?;
            let before = self::role(tx.sql(), project, person.key)?;
            if before == role {
                return Ok(());
            }
            match role {
                Some(role) => {
                    check_open(tx.sql(), project)?;
                    tx.execute(
                        "INSERT INTO member (project_id, person_id, role) VALUES (?1, ?2, ?3) \
                         ON CONFLICT (project_id, person_id) DO UPDATE SET role = excluded.role",
                        params![project.0, person.key.0, role.as_str()],
                    )?;
                }
                None => {
                    tx.execute(
                        "DELETE FROM member WHERE project_id = ?1 AND person_id = ?2",
                        params![project.0, person.key.0],
                    )?;
                }
            }
            let detail = json!({
                "project": project.to_string(),
                "role": role.map(Role::as_str),
                "before": before.map(Role::as_str),
            });
            audit(
                tx,
                caller,
                "set_member",
                login.as_str(),
                Some(project),
                detail,
            )
        })
        .await
    }

    /// The persons of a project in the order of their login names, those after one, so many and
    /// [`PAGE_MAX`] at most.
    ///
    /// # Errors
    /// Only the project's managers may.
    pub async fn members(
        &self,
        caller: Caller,
        project: ProjectKey,
        after: Option<Login>,
        limit: usize,
    ) -> Result<Vec<MemberRecord>, StoreError> {
        self.read(move |sql| {
            check_project(sql, caller, Action::ManageProject, project)?;
            let rows = sql.all(
                "SELECT person.id, login, name, role FROM member \
                 JOIN person ON person.id = person_id \
                 WHERE project_id = ?1 AND login > ?2 ORDER BY login LIMIT ?3",
                params![
                    project.0,
                    after.as_ref().map_or("", Login::as_str),
                    limit.min(PAGE_MAX) as i64
                ],
            )?;
            let record = |row: &Row| {
                Ok::<_, SqlError>(MemberRecord {
                    person: PersonKey(row.int(0)?),
                    login: row.parsed(1)?,
                    name: row.text(2)?.to_owned(),
                    role: row.parsed(3)?,
                })
            };
            Ok(rows.iter().map(record).collect::<Result<_, _>>()?)
        })
        .await
    }
}
