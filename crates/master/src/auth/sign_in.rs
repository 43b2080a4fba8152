//! Signing in with a browser: login name and password, then a cookie.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use tokio::sync::Semaphore;

use super::limit::{Limiter, Rate, Who, too_many};
use super::password::{self, PasswordMistake};
use super::{Auth, REMEMBERED};
use crate::domain::{Caller, Login, PersonKey, Refusal, Timestamp};
use crate::pki;
use crate::store::{Browser, SESSION_LIFE, StoreError, session_id};

/// What the cookie is called. The prefix has browsers refuse it where it is not `Secure`, or comes
/// from a neighbour domain.
const SECURE_COOKIE: &str = "__Host-slapos";
/// What it is called where people come through plain HTTP: by a loopback address.
const PLAIN_COOKIE: &str = "slapos";
/// Attempts from one address, whichever names it tries.
const PER_ADDRESS: Rate = Rate {
    burst: 20,
    refill: Duration::from_secs(5),
};
/// Attempts on one name, from wherever: 14,400 a day at most.
const PER_NAME: Rate = Rate {
    burst: 10,
    refill: Duration::from_secs(6),
};
/// Passwords that are hashed at the same time: each takes [`password::MEMORY_KIB`].
const HASHES_AT_ONCE: usize = 4;
/// Passwords that wait for that, the ones under way included. Further ones are refused: whoever
/// floods us from many addresses shall not fill our memory too.
const HASHES_WAITING_MAX: usize = 64;

/// What signing in keeps between attempts.
pub(super) struct Passwords {
    per_address: Limiter,
    per_name: Limiter,
    turns: Semaphore,
    room: Semaphore,
}

impl Passwords {
    pub(super) fn new() -> Self {
        Passwords {
            per_address: Limiter::new(PER_ADDRESS, REMEMBERED),
            per_name: Limiter::new(PER_NAME, REMEMBERED),
            turns: Semaphore::new(HASHES_AT_ONCE),
            room: Semaphore::new(HASHES_WAITING_MAX),
        }
    }

    /// Works with a password, when it is its turn.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let Ok(_room) = self.room.try_acquire() else {
            let text = "too many people sign in at this moment: try again in a minute";
            return Err(Refusal::TooMany(text.to_owned()).into());
        };
        let _turn = self.turns.acquire().await.map_err(internal)?;
        tokio::task::spawn_blocking(work).await.map_err(internal)
    }
}

/// A browser that was signed in.
pub struct SignedIn {
    /// Who.
    pub person: PersonKey,
    /// The secret for the cookie.
    pub cookie: String,
    /// The end of its life.
    pub expires_at: Timestamp,
}

impl SignedIn {
    /// The header that has the browser keep the cookie; `secure` when it came through HTTPS.
    pub fn set_cookie(&self, secure: bool) -> String {
        cookie_header(&self.cookie, secure, SESSION_LIFE.as_secs())
    }
}

/// The header that has the browser forget the cookie.
pub fn clear_cookie(secure: bool) -> String {
    cookie_header("", secure, 0)
}

fn cookie_header(value: &str, secure: bool, seconds: u64) -> String {
    let (name, flag) = if secure {
        (SECURE_COOKIE, "; Secure")
    } else {
        (PLAIN_COOKIE, "")
    };
    // Lax: who follows a link from a mail is signed in. Forms carry a token of their own.
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{flag}")
}

/// A browser that is signed in.
#[derive(Clone)]
pub struct Session {
    /// Who.
    pub caller: Caller,
    /// That person.
    pub person: PersonKey,
    /// What that person signs in with.
    pub login: Login,
    /// That person's name.
    pub name: String,
    /// The secret in its cookie.
    cookie: String,
}

impl Session {
    /// What forms of this browser carry, so that pages of others cannot send them.
    pub fn form_token(&self) -> String {
        // The cookie is 186 random bits: the hash tells nothing of it.
        pki::token_hash(&format!("form {}", self.cookie))
    }

    /// What it is called in the list of sessions.
    pub fn id(&self) -> String {
        session_id(&self.cookie)
    }

    /// Whether a form carries it.
    pub fn sent(&self, form_token: &str) -> bool {
        // Both are hashes: what the time tells about one of them is worth nothing.
        self.form_token() == form_token
    }
}

/// Why somebody is not signed in, or has no new password.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The name or the password: it is not told which.
    #[error("this login name and password do not belong together")]
    Wrong,
    /// The new password.
    #[error("{0}")]
    Password(#[from] PasswordMistake),
    /// Too many attempts, a token that is not good, or the database.
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl From<Refusal> for SignInError {
    fn from(refusal: Refusal) -> Self {
        SignInError::Store(refusal.into())
    }
}

fn internal(error: impl std::fmt::Display) -> StoreError {
    StoreError::Internal(error.to_string())
}

impl Auth {
    /// Signs a browser in.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn sign_in(
        &self,
        login: &str,
        password: String,
        from: Browser,
    ) -> Result<SignedIn, SignInError> {
        let person = self.check_password(login, password, from.address).await?;
        self.open(person, from).await
    }

    /// Whose login name and password these are.
    async fn check_password(
        &self,
        login: &str,
        password: String,
        address: Option<IpAddr>,
    ) -> Result<PersonKey, SignInError> {
        let now = self.store.clock().now();
        let limits = &self.passwords;
        limits
            .per_address
            .attempt(Who::at(address), now)
            .map_err(too_many)?;
        let Ok(login) = login.parse::<Login>() else {
            return Err(SignInError::Wrong);
        };
        let name = Who::Name(login.to_string());
        limits
            .per_name
            .attempt(name.clone(), now)
            .map_err(too_many)?;
        // A name that is not known takes the same way: nothing tells it from a wrong password.
        let facts = self.store.sign_in_facts(login.clone()).await?;
        let person = facts.as_ref().map(|facts| facts.person);
        let hash = facts.and_then(|facts| facts.password_hash);
        let good = limits
            .work(move || password::verify(&password, hash.as_deref()))
            .await?;
        let (true, Some(person)) = (good, person) else {
            // Without the name: people type passwords there.
            tracing::info!(
                ?address,
                person = person.map(|key| key.0),
                "a sign-in was refused"
            );
            return Err(SignInError::Wrong);
        };
        limits.per_address.give_back(Who::at(address));
        limits.per_name.give_back(name);
        Ok(person)
    }

    /// Changes the password of who is signed in and knows the present one. All of that person's
    /// browsers are signed out, and this one is signed in again.
    ///
    /// # Errors
    /// [`SignInError`]; nothing is changed then.
    pub async fn change_password(
        &self,
        session: &Session,
        present: String,
        new: String,
        from: Browser,
    ) -> Result<SignedIn, SignInError> {
        let login = session.login.as_str();
        let person = self.check_password(login, present, from.address).await?;
        password::check(&session.login, &new)?;
        let hash = self
            .passwords
            .work(move || password::hash(&new))
            .await?
            .map_err(internal)?;
        self.store
            .set_password(session.caller, person, hash)
            .await?;
        self.open(person, from).await
    }

    /// Sets the password of a token's person and signs the browser in.
    ///
    /// # Errors
    /// [`SignInError`]. A password that is not taken does not use the token up.
    pub async fn set_password(
        &self,
        token: &str,
        password: String,
        from: Browser,
    ) -> Result<SignedIn, SignInError> {
        let login = self.password_token(token, from.address).await?;
        password::check(&login, &password)?;
        let hash = self
            .passwords
            .work(move || password::hash(&password))
            .await?
            .map_err(internal)?;
        let person = self.store.set_password_by_token(token, hash).await?;
        self.open(person, from).await
    }

    /// Whose password a token would set.
    ///
    /// # Errors
    /// [`Refusal::TooMany`], and as [`crate::store::Store::password_token`].
    pub async fn password_token(
        &self,
        token: &str,
        address: Option<IpAddr>,
    ) -> Result<Login, StoreError> {
        self.try_token(address)?;
        self.store.password_token(token).await
    }

    async fn open(&self, person: PersonKey, from: Browser) -> Result<SignedIn, SignInError> {
        let cookie = pki::token().map_err(internal)?;
        let expires_at = self.store.open_session(person, &cookie, from).await?;
        Ok(SignedIn {
            person,
            cookie,
            expires_at,
        })
    }

    /// Who a browser's cookie speaks for, if it is good. Only pages for people ask: nothing else is
    /// done for a cookie. `secure` when the request came through HTTPS.
    ///
    /// # Errors
    /// The database.
    pub async fn session(
        &self,
        headers: &HeaderMap,
        secure: bool,
    ) -> Result<Option<Session>, StoreError> {
        let Some(cookie) = cookie(headers, secure) else {
            return Ok(None);
        };
        let person = self.store.session_person(cookie).await?;
        Ok(person.map(|person| Session {
            caller: Caller::Person {
                person: person.key,
                administrator: person.administrator,
            },
            person: person.key,
            login: person.login,
            name: person.name,
            cookie: cookie.to_owned(),
        }))
    }

    /// Signs a browser out.
    ///
    /// # Errors
    /// The database.
    pub async fn sign_out(&self, session: &Session) -> Result<(), StoreError> {
        self.store.close_session(&session.cookie).await
    }
}

/// The value of our cookie; none when a request has several.
fn cookie(headers: &HeaderMap, secure: bool) -> Option<&str> {
    let wanted = if secure { SECURE_COOKIE } else { PLAIN_COOKIE };
    let mut values = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|pairs| pairs.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == wanted)
        .map(|(_, value)| value);
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, mpsc};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_flood_of_passwords_is_refused_before_it_takes_memory() {
        let passwords = Arc::new(Passwords::new());
        let mut waiting = Vec::new();
        let mut gates = Vec::new();
        for _ in 0..HASHES_WAITING_MAX {
            let (gate, closed) = mpsc::channel::<()>();
            let passwords = Arc::clone(&passwords);
            waiting.push(tokio::spawn(async move {
                passwords.work(move || closed.recv().is_err()).await
            }));
            gates.push(gate);
        }
        while passwords.room.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = passwords.work(|| ()).await;
        assert!(matches!(
            refused,
            Err(StoreError::Refused(Refusal::TooMany(_)))
        ));
        drop(gates);
        for work in waiting {
            assert!(work.await.unwrap().unwrap());
        }
        passwords.work(|| ()).await.unwrap();
    }
}
