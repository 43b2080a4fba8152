//! One-time tokens (P 5.2), known by hashes only.

use std::time::Duration;

use serde_json::json;

use super::audit::audit;
use super::people::{check_acts_for, check_administrator, person, store_password};
use super::projects::{check_open, check_project, projects_of};
use super::sql::{Connection, Row, SqlError, params};
use super::writer::Tx;
use super::{Store, StoreError};
use crate::domain::access::{Action, Caller};
use crate::domain::{Login, PersonKey, ProjectKey, Refusal, Timestamp, TokenPurpose};
use crate::pki;

/// How long a token lives unless asked for otherwise (P 5.2).
pub const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
/// The longest life of a token.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// The shortest life of a token.
const TOKEN_LIFE_MIN: Duration = Duration::from_secs(60);
/// Tokens of one person that wait to be used.
const TOKENS_MAX: i64 = 100;
/// How long what is over is remembered, so that messages can tell it from what never was.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// A token to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// What it is for.
    pub purpose: TokenPurpose,
    /// Who it speaks for.
    pub person: PersonKey,
    /// The project a node is registered in. Where it is absent and needed, the single one the
    /// person manages.
    pub project: Option<ProjectKey>,
    /// How long it lives, [`TOKEN_LIFE_MAX`] at most.
    pub life: Duration,
}

/// A token that was made. This is the only moment at which it is known.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// The token. Secret.
    pub token: String,
    /// Who it speaks for.
    pub login: Login,
    /// The project a node would be registered in.
    pub project: Option<ProjectKey>,
    /// The end of its life.
    pub expires_at: Timestamp,
}

/// A token, as far as one may know it later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Its number.
    pub id: i64,
    /// What it is for.
    pub purpose: TokenPurpose,
    /// Who it speaks for.
    pub person: PersonKey,
    /// The project a node is registered in.
    pub project: Option<ProjectKey>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The end of its life.
    pub expires_at: Timestamp,
    /// When it was used, if it was.
    pub used_at: Option<Timestamp>,
}

/// Whoever showed a token that was good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// The person it speaks for.
    pub caller: Caller,
    /// That person.
    pub person: PersonKey,
    /// What that person signs in with.
    pub login: Login,
    /// The project a node is registered in.
    pub project: Option<ProjectKey>,
}

/// Tokens, in the columns [`token_of`] reads.
macro_rules! select_tokens {
    ($rest:literal) => {
        concat!(
            "SELECT id, purpose, person_id, project_id, created_at, expires_at, used_at FROM token ",
            $rest
        )
    };
}

fn token_of(row: &Row) -> Result<TokenRecord, SqlError> {
    Ok(TokenRecord {
        id: row.int(0)?,
        purpose: row.parsed(1)?,
        person: PersonKey(row.int(2)?),
        project: row.maybe_int(3)?.map(ProjectKey),
        created_at: Timestamp(row.int(4)?),
        expires_at: Timestamp(row.int(5)?),
        used_at: row.maybe_int(6)?.map(Timestamp),
    })
}

/// A token that can still be used; in words, why not, for whoever has it.
fn usable(
    sql: &mut Connection,
    hash: &str,
    now: Timestamp,
) -> Result<Result<TokenRecord, Refusal>, SqlError> {
    let row = sql.one(select_tokens!("WHERE hash = ?1"), params![hash])?;
    let why = match row.as_ref().map(token_of).transpose()? {
        None => "this token is not known here, or it is long gone: make a new one",
        Some(token) if token.used_at.is_some() => {
            "this token was used already, and each works once: make a new one"
        }
        Some(token) if token.expires_at <= now => "this token has expired: make a new one",
        Some(token) => return Ok(Ok(token)),
    };
    Ok(Err(Refusal::Forbidden(why.to_owned())))
}

/// Uses a token up, and says who it speaks for. The inner refusal stands although the use is stored
/// (P 5.2): the caller must not turn it into an error of the job.
fn redeem(
    tx: &mut Tx<'_>,
    hash: &str,
    wanted: TokenPurpose,
) -> Result<Result<Bearer, Refusal>, StoreError> {
    let now = tx.now();
    let token = match usable(tx.sql(), hash, now)? {
        Ok(token) => token,
        Err(refusal) => return Ok(Err(refusal)),
    };
    tx.execute(
        "UPDATE token SET used_at = ?2 WHERE id = ?1",
        params![token.id, now.0],
    )?;
    let person = person(tx.sql(), token.person)?
        .ok_or_else(|| StoreError::Internal(format!("token {} is nobody's", token.id)))?;
    let caller = Caller::Person {
        person: person.key,
        administrator: person.administrator,
    };
    let refusal = if person.disabled_at.is_some() {
        Some(format!("{} is disabled", person.login))
    } else if !token.purpose.covers(wanted) {
        Some(format!(
            "this token was made for {}, not for {}; as each works once, make a new one",
            shown(token.purpose),
            shown(wanted),
        ))
    } else {
        None
    };
    let detail = json!({ "for": wanted.as_str(), "granted": refusal.is_none() });
    let subject = format!("token {}", token.id);
    audit(tx, caller, "use_token", &subject, token.project, detail)?;
    Ok(match refusal {
        Some(why) => Err(Refusal::Forbidden(why)),
        None => Ok(Bearer {
            caller,
            person: person.key,
            login: person.login,
            project: token.project,
        }),
    })
}

/// What a token is for, in words.
fn shown(purpose: TokenPurpose) -> &'static str {
    match purpose {
        TokenPurpose::Client => "a person's certificate (`slapos configure client`)",
        TokenPurpose::Node => "registering a node (`slapos node register`)",
        TokenPurpose::Any => "a person's certificate or registering a node",
        TokenPurpose::Password => "setting a password",
    }
}

/// The project in which the person may register a node with this token.
fn project_for(
    tx: &mut Tx<'_>,
    bearer: Caller,
    login: &Login,
    new: &NewToken,
) -> Result<Option<ProjectKey>, StoreError> {
    if !new.purpose.covers(TokenPurpose::Node) {
        if new.project.is_some() {
            return Err(Refusal::Invalid(format!(
                "a token for {} is not bound to a project",
                shown(new.purpose)
            ))
            .into());
        }
        return Ok(None);
    }
    if let Some(project) = new.project {
        check_project(tx.sql(), bearer, Action::ManageProject, project)?;
        check_open(tx.sql(), project)?;
        return Ok(Some(project));
    }
    let mut managed = Vec::new();
    for project in projects_of(tx.sql(), new.person)? {
        match check_project(tx.sql(), bearer, Action::ManageProject, project) {
            Ok(()) => managed.push(project),
            Err(StoreError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    match (managed.as_slice(), new.purpose) {
        ([project], _) => Ok(Some(*project)),
        // It still serves for a certificate.
        (_, TokenPurpose::Any) => Ok(None),
        ([], _) => Err(Refusal::Invalid(format!(
            "{login} manages no project: nodes are registered by the managers of theirs"
        ))
        .into()),
        (several, _) => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(Refusal::Invalid(format!(
                "say which project the node is for: {login} manages {}",
                names.join(", ")
            ))
            .into())
        }
    }
}

impl Store {
    /// Makes a token.
    ///
    /// # Errors
    /// For others than oneself only administrators may, and for passwords only administrators;
    /// [`Refusal::Invalid`] when its person could do nothing with it; [`Refusal::TooMany`].
    pub async fn create_token(
        &self,
        caller: Caller,
        new: NewToken,
    ) -> Result<IssuedToken, StoreError> {
        if !(TOKEN_LIFE_MIN..=TOKEN_LIFE_MAX).contains(&new.life) {
            return Err(Refusal::Invalid(
                "a token lives between one minute and 30 days".to_owned(),
            )
            .into());
        }
        let token = pki::token().map_err(|error| StoreError::Internal(error.to_string()))?;
        let hash = pki::token_hash(&token);
        self.write(move |tx| {
            let now = tx.now();
            match new.purpose {
                TokenPurpose::Password => check_administrator(caller, "such person")?,
                _ => check_acts_for(caller, new.person, "such person")?,
            }
            let person = person(tx.sql(), new.person)?
                .ok_or_else(|| Refusal::NotFound("there is no such person".to_owned()))?;
            let login = person.login;
            if person.disabled_at.is_some() {
                return Err(Refusal::Conflict(format!("{login} is disabled")).into());
            }
            let bearer = Caller::Person {
                person: person.key,
                administrator: person.administrator,
            };
            let project = project_for(tx, bearer, &login, &new)?;
            let waiting = tx
                .one(
                    "SELECT COUNT(*) FROM token \
                     WHERE person_id = ?1 AND used_at IS NULL AND expires_at > ?2",
                    params![new.person.0, now.0],
                )?
                .map_or(Ok(0), |row| row.int(0))?;
            // The Master itself makes new ones at each start until somebody came in.
            if waiting >= TOKENS_MAX && caller != Caller::Master {
                return Err(Refusal::TooMany(format!(
                    "{login} has {waiting} tokens that were not used: use them, or wait until they \
                     expire"
                ))
                .into());
            }
            let expires_at = now.plus(new.life);
            let id = tx.insert(
                "INSERT INTO token (hash, purpose, person_id, project_id, created_at, expires_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING id",
                params![
                    &hash,
                    new.purpose.as_str(),
                    new.person.0,
                    project.map(|project| project.0),
                    now.0,
                    expires_at.0
                ],
            )?;
            let detail = json!({
                "for": new.purpose.as_str(),
                "person": login.as_str(),
                "expires": expires_at.seconds(),
            });
            let subject = format!("token {id}");
            audit(tx, caller, "create_token", &subject, project, detail)?;
            Ok(IssuedToken {
                token: token.clone(),
                login,
                project,
                expires_at,
            })
        })
        .await
    }

    /// Has a person's token that was not used be worth nothing.
    ///
    /// # Errors
    /// Others than that person and administrators may not; [`Refusal::NotFound`] when there is no
    /// such token that waits to be used.
    pub async fn revoke_token(
        &self,
        caller: Caller,
        person: PersonKey,
        id: i64,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            check_acts_for(caller, person, "such person")?;
            let gone = tx.one(
                "DELETE FROM token WHERE id = ?1 AND person_id = ?2 AND used_at IS NULL \
                 RETURNING project_id",
                params![id, person.0],
            )?;
            let Some(row) = gone else {
                return Err(Refusal::NotFound(
                    "there is no such token: it was used, or it has expired".to_owned(),
                )
                .into());
            };
            let project = row.maybe_int(0)?.map(ProjectKey);
            let subject = format!("token {id}");
            audit(tx, caller, "revoke_token", &subject, project, json!({}))
        })
        .await
    }

    /// A person's tokens that were not used and have not expired, in the order they came.
    ///
    /// # Errors
    /// Others than itself and administrators may not know.
    pub async fn tokens(
        &self,
        caller: Caller,
        person: PersonKey,
    ) -> Result<Vec<TokenRecord>, StoreError> {
        let now = self.clock().now();
        self.read(move |sql| {
            check_acts_for(caller, person, "such person")?;
            let rows = sql.all(
                select_tokens!(
                    "WHERE person_id = ?1 AND used_at IS NULL AND expires_at > ?2 ORDER BY id"
                ),
                params![person.0, now.0],
            )?;
            Ok(rows.iter().map(token_of).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Uses a token for something: the first attempt uses it up, even one it was not made for
    /// (P 5.2). Of several at once, one gets it.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] when it is not known, was used, has expired, or is for something
    /// else.
    pub async fn redeem(&self, token: &str, wanted: TokenPurpose) -> Result<Bearer, StoreError> {
        let hash = pki::token_hash(token);
        self.glance(&hash).await?;
        self.write(move |tx| redeem(tx, &hash, wanted))
            .await?
            .map_err(StoreError::Refused)
    }

    /// Whose password a token would set, without using it up: for the page that asks for the
    /// password.
    ///
    /// # Errors
    /// As [`Store::redeem`].
    pub async fn password_token(&self, token: &str) -> Result<Login, StoreError> {
        let token = self.glance(&pki::token_hash(token)).await?;
        if token.purpose != TokenPurpose::Password {
            return Err(Refusal::Forbidden("this token is not for a password".to_owned()).into());
        }
        self.read(move |sql| {
            let person = person(sql, token.person)?
                .filter(|person| person.disabled_at.is_none())
                .ok_or_else(|| Refusal::Forbidden("this token is nobody's any more".to_owned()))?;
            Ok(person.login)
        })
        .await
    }

    /// Sets the password of a token's person, and voids the other tokens for it. `password_hash` is
    /// what [`crate::auth::password::hash`] made.
    ///
    /// # Errors
    /// As [`Store::redeem`].
    pub async fn set_password_by_token(
        &self,
        token: &str,
        password_hash: String,
    ) -> Result<PersonKey, StoreError> {
        let hash = pki::token_hash(token);
        self.glance(&hash).await?;
        self.write(move |tx| {
            let bearer = match redeem(tx, &hash, TokenPurpose::Password)? {
                Ok(bearer) => bearer,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let Some(person) = person(tx.sql(), bearer.person)? else {
                return Err(StoreError::Internal("a token is nobody's".to_owned()));
            };
            store_password(tx, bearer.caller, &person, &password_hash)?;
            tx.execute(
                "DELETE FROM token WHERE person_id = ?1 AND purpose = ?2 AND used_at IS NULL",
                params![person.key.0, TokenPurpose::Password.as_str()],
            )?;
            Ok(Ok(person.key))
        })
        .await?
        .map_err(StoreError::Refused)
    }

    /// Looks whether a token can be used, so that those who guess do not keep the writer busy.
    async fn glance(&self, hash: &str) -> Result<TokenRecord, StoreError> {
        let hash = hash.to_owned();
        let now = self.clock().now();
        self.read(move |sql| usable(sql, &hash, now)?.map_err(StoreError::Refused))
            .await
    }

    /// Forgets tokens and sessions that have been over for a day. To be called now and then.
    pub async fn forget_expired(&self) -> Result<u64, StoreError> {
        self.write(move |tx| {
            let before = Timestamp(tx.now().0 - REMEMBERED.as_micros() as i64);
            let mut gone = 0;
            gone += tx.execute("DELETE FROM token WHERE expires_at < ?1", params![before.0])?;
            gone += tx.execute(
                "DELETE FROM session WHERE expires_at < ?1",
                params![before.0],
            )?;
            Ok(gone)
        })
        .await
    }
}
