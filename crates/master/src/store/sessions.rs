//! Signed-in browsers, known by the hashes of their cookies only.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;

use super::audit::audit;
use super::people::{check_acts_for, person};
use super::sql::{Row, SqlError, params};
use super::{Store, StoreError};
use crate::domain::access::Caller;
use crate::domain::{Login, PersonKey, Refusal, Timestamp};
use crate::pki;

/// How long a browser stays signed in.
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 3600);
/// Browsers one person is signed in with; one more ends the oldest.
const SESSIONS_MAX: i64 = 20;
/// What is kept of what a browser calls itself, in characters.
const AGENT_CHARS_MAX: usize = 300;
/// Digits of a cookie's hash by which its session is named.
const ID_DIGITS: usize = 16;

/// Where somebody signs in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Browser {
    /// Where it is, as far as that is known.
    pub address: Option<IpAddr>,
    /// What it calls itself.
    pub agent: String,
}

/// A browser that is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// What it is called: nothing of its cookie can be told from it.
    pub id: String,
    /// When it signed in.
    pub created_at: Timestamp,
    /// Until when it is signed in.
    pub expires_at: Timestamp,
    /// From where it signed in; empty when that is not known.
    pub address: String,
    /// What it calls itself.
    pub agent: String,
}

/// What a session is called.
pub(crate) fn session_id(cookie: &str) -> String {
    pki::token_hash(cookie).chars().take(ID_DIGITS).collect()
}

/// Who is signed in with a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionPerson {
    /// Which person.
    pub(crate) key: PersonKey,
    /// Whether it may do everything.
    pub(crate) administrator: bool,
    /// What it signs in with.
    pub(crate) login: Login,
    /// Its name.
    pub(crate) name: String,
}

impl Store {
    /// Signs a browser in: `cookie` is the secret it is given.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] for a disabled person.
    pub(crate) async fn open_session(
        &self,
        key: PersonKey,
        cookie: &str,
        from: Browser,
    ) -> Result<Timestamp, StoreError> {
        let hash = pki::token_hash(cookie);
        let address = from.address.map(|address| address.to_string());
        let address = address.unwrap_or_default();
        let plain = |c: &char| !c.is_control();
        let agent: String = from
            .agent
            .chars()
            .filter(plain)
            .take(AGENT_CHARS_MAX)
            .collect();
        self.write(move |tx| {
            let now = tx.now();
            let person = person(tx.sql(), key)?
                .filter(|person| person.disabled_at.is_none())
                .ok_or_else(|| Refusal::Forbidden("you may not sign in".to_owned()))?;
            tx.execute(
                "DELETE FROM session WHERE person_id = ?1 AND (expires_at <= ?2 OR hash IN \
                 (SELECT hash FROM session WHERE person_id = ?1 ORDER BY created_at DESC, hash \
                 LIMIT ?3 OFFSET ?4))",
                params![key.0, now.0, SESSIONS_MAX * 10, SESSIONS_MAX - 1],
            )?;
            let expires_at = now.plus(SESSION_LIFE);
            tx.execute(
                "INSERT INTO session (hash, person_id, created_at, expires_at, address, agent) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![&hash, key.0, now.0, expires_at.0, &address, &agent],
            )?;
            let caller = Caller::Person {
                person: key,
                administrator: person.administrator,
            };
            let login = person.login.as_str();
            audit(tx, caller, "sign_in", login, None, json!({}))?;
            Ok(expires_at)
        })
        .await
    }

    /// Signs a browser out. A cookie that is worth nothing is no error.
    pub(crate) async fn close_session(&self, cookie: &str) -> Result<(), StoreError> {
        let hash = pki::token_hash(cookie);
        self.write(move |tx| {
            tx.execute("DELETE FROM session WHERE hash = ?1", params![&hash])?;
            Ok(())
        })
        .await
    }

    /// Who a browser's cookie speaks for: one look-up. Nobody when it is worth nothing (any more).
    pub(crate) async fn session_person(
        &self,
        cookie: &str,
    ) -> Result<Option<SessionPerson>, StoreError> {
        let hash = pki::token_hash(cookie);
        let now = self.clock().now();
        self.read(move |sql| {
            let row = sql.one(
                "SELECT person.id, person.administrator, person.login, person.name FROM session \
                 JOIN person ON person.id = session.person_id \
                 WHERE session.hash = ?1 AND session.expires_at > ?2 \
                 AND person.disabled_at IS NULL",
                params![&hash, now.0],
            )?;
            Ok(row
                .map(|row| {
                    Ok::<_, SqlError>(SessionPerson {
                        key: PersonKey(row.int(0)?),
                        administrator: row.flag(1)?,
                        login: row.parsed(2)?,
                        name: row.text(3)?.to_owned(),
                    })
                })
                .transpose()?)
        })
        .await
    }

    /// The browsers a person is signed in with, the latest first.
    ///
    /// # Errors
    /// Others than itself and administrators may not know.
    pub async fn sessions(
        &self,
        caller: Caller,
        person: PersonKey,
    ) -> Result<Vec<SessionRecord>, StoreError> {
        let now = self.clock().now();
        self.read(move |sql| {
            check_acts_for(caller, person, "such person")?;
            let rows = sql.all(
                "SELECT hash, created_at, expires_at, address, agent FROM session \
                 WHERE person_id = ?1 AND expires_at > ?2 ORDER BY created_at DESC, hash",
                params![person.0, now.0],
            )?;
            let record = |row: &Row| {
                Ok(SessionRecord {
                    id: row.text(0)?.chars().take(ID_DIGITS).collect(),
                    created_at: Timestamp(row.int(1)?),
                    expires_at: Timestamp(row.int(2)?),
                    address: row.text(3)?.to_owned(),
                    agent: row.text(4)?.to_owned(),
                })
            };
            Ok(rows.iter().map(record).collect::<Result<_, SqlError>>()?)
        })
        .await
    }

    /// Signs out a person's browsers: the one of that name, or all but it. How many.
    ///
    /// # Errors
    /// Others than itself and administrators may not.
    pub async fn end_sessions(
        &self,
        caller: Caller,
        key: PersonKey,
        id: String,
        others: bool,
    ) -> Result<u64, StoreError> {
        let is_id = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_id {
            return Ok(0);
        }
        let pattern = format!("{id}%");
        self.write(move |tx| {
            check_acts_for(caller, key, "such person")?;
            let ended = tx.execute(
                "DELETE FROM session WHERE person_id = ?1 \
                 AND CASE WHEN hash LIKE ?2 THEN 0 ELSE 1 END = ?3",
                params![key.0, pattern.as_str(), others],
            )?;
            if ended > 0 {
                let person = person(tx.sql(), key)?
                    .ok_or_else(|| Refusal::NotFound("there is no such person".to_owned()))?;
                let detail = json!({"browsers": ended});
                audit(tx, caller, "sign_out", person.login.as_str(), None, detail)?;
            }
            Ok(ended)
        })
        .await
    }
}
