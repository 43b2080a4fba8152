//! Persons.

use serde_json::json;

use super::audit::audit;
use super::details::like;
use super::sql::{Connection, Row, SqlError, params};
use super::writer::Tx;
use super::{Page, Store, StoreError};
use crate::domain::access::{self, Action, Caller, Facts};
use crate::domain::{Login, PersonKey, Refusal, Timestamp};

/// The longest name of a person and title of a project, in characters.
pub const NAME_MAX: usize = 200;
/// Rows in one answer of a list, at most.
pub const PAGE_MAX: usize = 500;

/// A person to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPerson {
    /// What it signs in with.
    pub login: Login,
    /// What it is called; its login name where this is empty.
    pub name: String,
    /// Whether it administrates the Master.
    pub administrator: bool,
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonRecord {
    /// Its key.
    pub key: PersonKey,
    /// What it signs in with.
    pub login: Login,
    /// What it is called.
    pub name: String,
    /// Whether it administrates the Master.
    pub administrator: bool,
    /// Whether it has set a password.
    pub has_password: bool,
    /// Since when nothing of it is accepted any more, if so.
    pub disabled_at: Option<Timestamp>,
    /// Since when it is known.
    pub created_at: Timestamp,
}

/// What signing in needs to know.
#[derive(Clone)]
pub struct SignIn {
    /// Who.
    pub person: PersonKey,
    /// The hash of its password, if it has set one and may sign in.
    pub password_hash: Option<String>,
}

/// Whether the caller administrates the Master; `what` is what it asks for.
pub(super) fn check_administrator(caller: Caller, what: &str) -> Result<(), Refusal> {
    access::check(caller, Action::Administrate, &Facts::default(), what)
}

/// Whether the caller may act for a person.
pub(super) fn check_acts_for(
    caller: Caller,
    person: PersonKey,
    shown: &str,
) -> Result<(), Refusal> {
    let facts = Facts {
        owner: Some(person),
        ..Facts::default()
    };
    access::check(caller, Action::ActAsPerson, &facts, shown)
}

/// A name people chose: one line, not empty, not too long.
pub(super) fn plain_line(what: &str, text: &str) -> Result<String, Refusal> {
    let line = text.trim();
    let good =
        !line.is_empty() && line.chars().count() <= NAME_MAX && !line.chars().any(char::is_control);
    if good {
        Ok(line.to_owned())
    } else {
        Err(Refusal::Invalid(format!(
            "the {what} must be one line of 1 to {NAME_MAX} characters"
        )))
    }
}

/// Persons, in the columns [`person_of`] reads.
macro_rules! select_persons {
    ($rest:literal) => {
        concat!(
            "SELECT id, login, name, administrator, \
             CASE WHEN password_hash IS NULL THEN 0 ELSE 1 END, disabled_at, created_at \
             FROM person ",
            $rest
        )
    };
}

fn person_of(row: &Row) -> Result<PersonRecord, SqlError> {
    Ok(PersonRecord {
        key: PersonKey(row.int(0)?),
        login: row.parsed(1)?,
        name: row.text(2)?.to_owned(),
        administrator: row.flag(3)?,
        has_password: row.flag(4)?,
        disabled_at: row.maybe_int(5)?.map(Timestamp),
        created_at: Timestamp(row.int(6)?),
    })
}

/// A person by its key.
pub(super) fn person(
    sql: &mut Connection,
    key: PersonKey,
) -> Result<Option<PersonRecord>, SqlError> {
    sql.one(select_persons!("WHERE id = ?1"), params![key.0])?
        .map(|row| person_of(&row))
        .transpose()
}

/// A person by its login name.
pub(super) fn person_by_login(
    sql: &mut Connection,
    login: &Login,
) -> Result<Option<PersonRecord>, SqlError> {
    sql.one(select_persons!("WHERE login = ?1"), params![login.as_str()])?
        .map(|row| person_of(&row))
        .transpose()
}

/// A person the caller administrates.
fn administrated(
    tx: &mut Tx<'_>,
    caller: Caller,
    login: &Login,
) -> Result<PersonRecord, StoreError> {
    check_administrator(caller, &format!("person {login}"))?;
    Ok(person_by_login(tx.sql(), login)?.ok_or_else(|| Refusal::unknown("person", login))?)
}

/// Whoever administrates must not be the last one who does.
fn check_not_last(tx: &mut Tx<'_>, person: &PersonRecord) -> Result<(), StoreError> {
    if !person.administrator || person.disabled_at.is_some() {
        return Ok(());
    }
    let other = tx.one(
        "SELECT 1 FROM person WHERE administrator = 1 AND disabled_at IS NULL AND id <> ?1",
        params![person.key.0],
    )?;
    match other {
        Some(_) => Ok(()),
        None => Err(Refusal::Conflict(format!(
            "{} is the only administrator: make another one first",
            person.login
        ))
        .into()),
    }
}

/// Ends whatever somebody knows to pass for this person: sessions and tokens. Certificates of a
/// disabled person are refused as long as it is disabled.
fn end_sessions(tx: &mut Tx<'_>, person: PersonKey) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM session WHERE person_id = ?1",
        params![person.0],
    )?;
    Ok(())
}

/// Stores a password's hash; whoever was signed in is no more.
pub(super) fn store_password(
    tx: &mut Tx<'_>,
    caller: Caller,
    person: &PersonRecord,
    hash: &str,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE person SET password_hash = ?2 WHERE id = ?1",
        params![person.key.0, hash],
    )?;
    end_sessions(tx, person.key)?;
    audit(
        tx,
        caller,
        "set_password",
        person.login.as_str(),
        None,
        json!({}),
    )
}

impl Store {
    /// Makes a person known. It has no password yet: give it a token to set one.
    ///
    /// # Errors
    /// Only administrators may; [`Refusal::Conflict`] when the login name is taken.
    pub async fn create_person(
        &self,
        caller: Caller,
        new: NewPerson,
    ) -> Result<PersonKey, StoreError> {
        let name = if new.name.trim().is_empty() {
            new.login.to_string()
        } else {
            plain_line("name", &new.name)?
        };
        self.write(move |tx| {
            let login = &new.login;
            check_administrator(caller, &format!("person {login}"))?;
            if person_by_login(tx.sql(), login)?.is_some() {
                return Err(Refusal::Conflict(format!(
                    "there is a person {login} already: choose another login name"
                ))
                .into());
            }
            let now = tx.now();
            let key = tx.insert(
                "INSERT INTO person (login, name, administrator, created_at) \
                 VALUES (?1, ?2, ?3, ?4) RETURNING id",
                params![login.as_str(), &name, new.administrator, now.0],
            )?;
            let detail = json!({ "administrator": new.administrator });
            audit(tx, caller, "create_person", login.as_str(), None, detail)?;
            Ok(PersonKey(key))
        })
        .await
    }

    /// Persons in the order they came, those after a key, [`PAGE_MAX`] at most.
    ///
    /// # Errors
    /// Only administrators may.
    pub async fn persons(
        &self,
        caller: Caller,
        after: Option<PersonKey>,
    ) -> Result<Vec<PersonRecord>, StoreError> {
        self.read(move |sql| {
            check_administrator(caller, "list of persons")?;
            let rows = sql.all(
                select_persons!("WHERE id > ?1 ORDER BY id LIMIT ?2"),
                params![after.map_or(0, |key| key.0), PAGE_MAX as i64],
            )?;
            Ok(rows.iter().map(person_of).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// A page of the persons whose login name or name contains a text, in the order of their login
    /// names.
    ///
    /// # Errors
    /// Only administrators may.
    pub async fn persons_like(
        &self,
        caller: Caller,
        text: String,
        page: Page,
    ) -> Result<Vec<PersonRecord>, StoreError> {
        self.read(move |sql| {
            check_administrator(caller, "list of persons")?;
            let pattern = format!("%{}%", like(&text.trim().to_lowercase()));
            let rows = sql.all(
                select_persons!(
                    "WHERE login LIKE ?1 ESCAPE '\\' OR LOWER(name) LIKE ?1 ESCAPE '\\' \
                     ORDER BY login LIMIT ?2 OFFSET ?3"
                ),
                params![pattern, page.limit, page.skip],
            )?;
            Ok(rows.iter().map(person_of).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// A person, by its key.
    ///
    /// # Errors
    /// Others than itself and administrators may not know of it.
    pub async fn person(&self, caller: Caller, key: PersonKey) -> Result<PersonRecord, StoreError> {
        self.read(move |sql| {
            check_acts_for(caller, key, "such person")?;
            Ok(person(sql, key)?
                .ok_or_else(|| Refusal::NotFound("there is no such person".to_owned()))?)
        })
        .await
    }

    /// A person, by its login name.
    ///
    /// # Errors
    /// Only administrators may.
    pub async fn person_by_login(
        &self,
        caller: Caller,
        login: Login,
    ) -> Result<PersonRecord, StoreError> {
        self.read(move |sql| {
            check_administrator(caller, &format!("person {login}"))?;
            Ok(person_by_login(sql, &login)?.ok_or_else(|| Refusal::unknown("person", &login))?)
        })
        .await
    }

    /// Disables a person: from now on its certificates, sessions, tokens and password are worth
    /// nothing; its trees stay. Or enables it again: its certificates are good again, the sessions
    /// and tokens are gone.
    ///
    /// # Errors
    /// Only administrators may; [`Refusal::Conflict`] for the last one.
    pub async fn set_disabled(
        &self,
        caller: Caller,
        login: Login,
        disabled: bool,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let person = administrated(tx, caller, &login)?;
            if person.disabled_at.is_some() == disabled {
                return Ok(());
            }
            if disabled {
                check_not_last(tx, &person)?;
            }
            let since = disabled.then_some(tx.now().0);
            tx.execute(
                "UPDATE person SET disabled_at = ?2 WHERE id = ?1",
                params![person.key.0, since],
            )?;
            end_sessions(tx, person.key)?;
            tx.execute(
                "DELETE FROM token WHERE person_id = ?1 AND used_at IS NULL",
                params![person.key.0],
            )?;
            let action = if disabled {
                "disable_person"
            } else {
                "enable_person"
            };
            audit(tx, caller, action, login.as_str(), None, json!({}))
        })
        .await
    }

    /// Lets a person administrate the Master, or no more.
    ///
    /// # Errors
    /// Only administrators may; [`Refusal::Conflict`] for the last one.
    pub async fn set_administrator(
        &self,
        caller: Caller,
        login: Login,
        administrator: bool,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let person = administrated(tx, caller, &login)?;
            if person.administrator == administrator {
                return Ok(());
            }
            if !administrator {
                check_not_last(tx, &person)?;
            }
            tx.execute(
                "UPDATE person SET administrator = ?2 WHERE id = ?1",
                params![person.key.0, administrator],
            )?;
            let detail = json!({ "administrator": administrator });
            audit(
                tx,
                caller,
                "set_administrator",
                login.as_str(),
                None,
                detail,
            )
        })
        .await
    }

    /// Changes a person's own password; whoever was signed in is no more. `hash` is what
    /// [`crate::auth::password::hash`] made.
    ///
    /// # Errors
    /// Others than itself and administrators may not.
    pub async fn set_password(
        &self,
        caller: Caller,
        key: PersonKey,
        hash: String,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            check_acts_for(caller, key, "such person")?;
            let person = person(tx.sql(), key)?
                .ok_or_else(|| Refusal::NotFound("there is no such person".to_owned()))?;
            store_password(tx, caller, &person, &hash)
        })
        .await
    }

    /// What signing in under this name needs; nothing for a name that is not known. For
    /// [`crate::auth`] only: it tells whether there is such a person.
    pub(crate) async fn sign_in_facts(&self, login: Login) -> Result<Option<SignIn>, StoreError> {
        self.read(move |sql| {
            let row = sql.one(
                "SELECT id, password_hash, disabled_at FROM person WHERE login = ?1",
                params![login.as_str()],
            )?;
            let Some(row) = row else { return Ok(None) };
            let disabled = row.maybe_int(2)?.is_some();
            Ok(Some(SignIn {
                person: PersonKey(row.int(0)?),
                password_hash: row.maybe_text(1)?.filter(|_| !disabled).map(str::to_owned),
            }))
        })
        .await
    }
}
