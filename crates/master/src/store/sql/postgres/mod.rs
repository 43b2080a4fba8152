//! PostgreSQL: a server, which several Masters share.
//!
//! Each transaction that writes first takes one lock of the whole database, so that Masters write one
//! after the other, each seeing what the others have committed. A Master that hangs loses its
//! transaction, and with it the lock, after a while. A connection that was lost is made anew when the
//! next transaction begins; what was under way is not repeated.

mod address;
mod listen;
mod statement;
mod tls;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use postgres::error::{DbError, Severity, SqlState};
use postgres::{Client, SimpleQueryMessage, Statement};

use super::{Param, Row, SqlError};
pub(crate) use address::ServerAddress;
pub(crate) use listen::Listener;
use statement::Statements;

/// The lock of those who write: any number, the same in every version of this program.
const WRITE_LOCK: i64 = 0x534c_4150_4f53;
/// Where Masters tell one another what they change.
const CHANNEL: &str = "slapos_master";
/// Longest text PostgreSQL passes on in a notice, less what is put before it.
const NOTICE_BYTES_MAX: usize = 7_900;
/// The oldest version that has everything that is used: PostgreSQL 12.
const VERSION_MIN: i64 = 120_000;
/// How long to leave a server alone that could not be reached, and how long at most.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long things may take before the server gives them up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// The Master says nothing in a transaction: it hangs, and blocks the others.
    pub(crate) idle: Duration,
    /// Another Master has the lock: longer than it can hang.
    pub(crate) lock: Duration,
    /// One statement.
    pub(crate) statement: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            idle: Duration::from_secs(10),
            lock: Duration::from_secs(30),
            statement: Duration::from_secs(60),
        }
    }
}

/// A server and a database on it, and how to reach it: what all connections of a Master share.
pub(crate) struct Server {
    address: ServerAddress,
    patience: Patience,
    /// Tells this Master's notices from those of others.
    id: String,
    /// What must be so for a transaction that writes.
    condition: OnceLock<Condition>,
    trouble: Mutex<Trouble>,
}

/// A question and the answer that must not change.
pub(crate) struct Condition {
    /// A query of one text.
    pub(crate) sql: &'static str,
    /// What it must answer.
    pub(crate) answer: String,
    /// What to say otherwise.
    pub(crate) complaint: &'static str,
}

/// What is known of a server that could not be reached.
#[derive(Default)]
struct Trouble {
    pause: Option<Duration>,
    until: Option<Instant>,
    error: String,
}

impl Server {
    /// A server, not yet asked for anything.
    pub(crate) fn new(address: ServerAddress) -> Result<Self, SqlError> {
        Self::with_patience(address, Patience::default())
    }

    /// [`Server::new`] with other limits of time, for tests.
    pub(crate) fn with_patience(
        address: ServerAddress,
        patience: Patience,
    ) -> Result<Self, SqlError> {
        let mut id = [0; 8];
        aws_lc_rs::rand::fill(&mut id)
            .map_err(|_| SqlError::Other("the system has no randomness".to_owned()))?;
        Ok(Server {
            address,
            patience,
            id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            condition: OnceLock::new(),
            trouble: Mutex::default(),
        })
    }

    /// Has each transaction that writes begin by asking whether something still is as it was: another
    /// Master may bring the schema up to date while this one runs.
    pub(crate) fn rely_on(&self, condition: Condition) {
        // A second condition would be a mistake; the first one stays.
        let _ = self.condition.set(condition);
    }

    fn trouble(&self) -> std::sync::MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a session, unless the last attempt failed only a moment ago.
    fn session(&self) -> Result<Client, SqlError> {
        {
            let trouble = self.trouble();
            if trouble.until.is_some_and(|until| Instant::now() < until) {
                return Err(SqlError::Lost(trouble.error.clone()));
            }
        }
        let result = self
            .address
            .connect()
            .map_err(|error| lost(&error))
            .and_then(|mut client| self.set_up(&mut client).map(|()| client));
        let mut trouble = self.trouble();
        match &result {
            Ok(_) => *trouble = Trouble::default(),
            Err(error) => {
                let pause = trouble
                    .pause
                    .map_or(PAUSE_FIRST, |pause| (pause * 2).min(PAUSE_MAX));
                trouble.pause = Some(pause);
                trouble.until = Some(Instant::now() + pause);
                trouble.error = match error {
                    SqlError::Lost(text) => text.clone(),
                    other => other.to_string(),
                };
            }
        }
        result
    }

    /// Makes a session what this program relies on, and looks whether the server can be relied on.
    fn set_up(&self, client: &mut Client) -> Result<(), SqlError> {
        let Patience {
            idle,
            lock,
            statement,
        } = self.patience;
        // A peer that is gone is noticed by the server as soon as by us; without statistics of a
        // young table, its indexes are the better choice all the same.
        let settings = format!(
            "SET idle_in_transaction_session_timeout = {};
             SET lock_timeout = {};
             SET statement_timeout = {};
             SET tcp_user_timeout = {};
             SET tcp_keepalives_idle = 10;
             SET tcp_keepalives_interval = 5;
             SET tcp_keepalives_count = 4;
             SET default_transaction_isolation = 'read committed';
             SET default_transaction_read_only = off;
             SET standard_conforming_strings = on;
             SET jit = off;
             SET enable_seqscan = off;
             SELECT set_config('synchronous_commit', 'on', false)
               WHERE current_setting('synchronous_commit') = 'off';
             SELECT current_setting('server_version_num'), current_setting('server_encoding'),
               current_setting('synchronous_commit'), current_setting('fsync')",
            idle.as_millis(),
            lock.as_millis(),
            statement.as_millis(),
            (idle * 2).as_millis(),
        );
        // Older servers do not know the first settings at all: ask them first.
        let version = answer(client, "SHOW server_version_num")?
            .first()
            .and_then(|text| text.parse::<i64>().ok())
            .unwrap_or_default();
        if version < VERSION_MIN {
            return Err(SqlError::Other(format!(
                "PostgreSQL {} is too old, 12 or newer is needed",
                version / 10_000
            )));
        }
        let facts = answer(client, &settings)?;
        let fact = |nth: usize| facts.get(nth).map_or("", String::as_str);
        if fact(1) != "UTF8" {
            return Err(SqlError::Other(format!(
                "the database keeps texts as {}; make it anew with: CREATE DATABASE … ENCODING \
                 'UTF8' TEMPLATE template0",
                fact(1)
            )));
        }
        if fact(2) == "off" {
            return Err(SqlError::Other(
                "the server does not let synchronous_commit be on".to_owned(),
            ));
        }
        if fact(3) != "on" {
            tracing::warn!(
                "the PostgreSQL server runs with fsync = {}: a power cut loses what was acknowledged",
                fact(3)
            );
        }
        Ok(())
    }
}

impl fmt::Display for Server {
    /// The address without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// The last row that a query, which takes no parameters, answers.
fn answer(client: &mut Client, sql: &str) -> Result<Vec<String>, SqlError> {
    let messages = client.simple_query(sql).map_err(error)?;
    let row = messages.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    Ok(row.map_or_else(Vec::new, |row| {
        (0..row.len())
            .map(|column| row.get(column).unwrap_or_default().to_owned())
            .collect()
    }))
}

/// A connection, which heals when a transaction begins.
pub(crate) struct Postgres {
    server: Arc<Server>,
    session: Option<Session>,
}

struct Session {
    client: Client,
    statements: Statements,
    plans: Plans,
}

/// When the server shall plan its prepared statements anew. A plan made for an empty table may walk
/// through all of an index; the server itself reconsiders only when it has taken statistics, minutes
/// later, and a table can grow by a hundred thousand rows until then.
struct Plans {
    executed: u64,
    anew_at: u64,
}

/// Statements executed before plans are made anew for the first time; then after twice as many,
/// until the interval is the longest: to plan all statements costs a few milliseconds.
const PLANS_FIRST: u64 = 256;
const PLANS_INTERVAL_MAX: u64 = 8_192;

impl Plans {
    fn new() -> Self {
        Plans {
            executed: 0,
            anew_at: PLANS_FIRST,
        }
    }

    /// Counts a statement; whether it is time.
    fn executed(&mut self) -> bool {
        self.executed += 1;
        if self.executed < self.anew_at {
            return false;
        }
        self.anew_at += self.executed.min(PLANS_INTERVAL_MAX);
        true
    }
}

impl Session {
    fn new(client: Client) -> Self {
        Session {
            client,
            statements: Statements::default(),
            plans: Plans::new(),
        }
    }

    /// The statement for these parameters.
    fn statement(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Statement, SqlError> {
        if self.plans.executed() {
            self.client.batch_execute("DISCARD PLANS").map_err(error)?;
        }
        self.statements.get(&mut self.client, sql, params)
    }
}

impl Postgres {
    /// A connection that is made when its first transaction begins.
    pub(crate) fn new(server: Arc<Server>) -> Self {
        Postgres {
            server,
            session: None,
        }
    }

    pub(super) fn begin_write(&mut self) -> Result<(), SqlError> {
        // What the transaction sees, it sees from its next statement on: after it has the lock.
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({WRITE_LOCK})"
        );
        let server = Arc::clone(&self.server);
        let Some(condition) = server.condition.get() else {
            return self.begin(&begin).map(drop);
        };
        let found = self.begin(&format!("{begin}; {}", condition.sql))?;
        if found == [condition.answer.as_str()] {
            return Ok(());
        }
        self.rollback()?;
        Err(SqlError::Other(condition.complaint.to_owned()))
    }

    pub(super) fn begin_read(&mut self) -> Result<(), SqlError> {
        self.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .map(drop)
    }

    /// Begins; the last row that was answered.
    fn begin(&mut self, sql: &str) -> Result<Vec<String>, SqlError> {
        if self.session.is_some() {
            match self.with(|session| answer(&mut session.client, sql)) {
                // The server may have gone away, and come back, since the last transaction.
                Err(SqlError::Lost(_)) => {}
                result => return self.or_rollback(result),
            }
        }
        self.session = Some(Session::new(self.server.session()?));
        let result = self.with(|session| answer(&mut session.client, sql));
        self.or_rollback(result)
    }

    /// After an error, the server still counts the transaction as begun.
    fn or_rollback<T>(&mut self, result: Result<T, SqlError>) -> Result<T, SqlError> {
        if result.is_err() {
            self.rollback()?;
        }
        result
    }

    pub(super) fn execute(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64, SqlError> {
        self.with(|session| {
            let statement = session.statement(sql, params)?;
            let values = statement::values(&statement, params);
            session.client.execute(&statement, &values).map_err(error)
        })
    }

    pub(super) fn rows(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
        limit: usize,
    ) -> Result<Vec<Row>, SqlError> {
        self.with(|session| {
            let statement = session.statement(sql, params)?;
            let values = statement::values(&statement, params);
            let rows = session.client.query(&statement, &values).map_err(error)?;
            rows.iter().take(limit).map(statement::row).collect()
        })
    }

    pub(super) fn script(&mut self, sql: &str) -> Result<(), SqlError> {
        // A new schema takes the time it takes.
        self.send(&format!("SET LOCAL statement_timeout = 0; {sql}"))
    }

    pub(super) fn commit(&mut self) -> Result<(), SqlError> {
        self.send("COMMIT")
    }

    pub(super) fn rollback(&mut self) -> Result<(), SqlError> {
        if self.session.is_none() {
            return Ok(());
        }
        match self.send("ROLLBACK") {
            // Gone, and the transaction with it.
            Err(SqlError::Lost(_)) => Ok(()),
            result => result,
        }
    }

    pub(super) fn notify(&mut self, notice: &str) -> Result<(), SqlError> {
        let notice = if notice.len() > NOTICE_BYTES_MAX {
            ""
        } else {
            notice
        };
        let text = format!("{} {notice}", self.server.id);
        let params = [Param::from(CHANNEL), Param::from(text)];
        self.rows("SELECT 1 FROM pg_notify(?1, ?2)", &params, 1)?;
        Ok(())
    }

    /// Wakes this Master's listener, which looks then whether it is needed any more.
    pub(super) fn close(mut self) {
        let told = self
            .begin("BEGIN")
            .and_then(|_| self.notify(""))
            .and_then(|()| self.commit());
        if let Err(error) = told {
            tracing::debug!("nobody was told that this Master closes: {error}");
        }
    }

    fn send(&mut self, sql: &str) -> Result<(), SqlError> {
        self.with(|session| session.client.batch_execute(sql).map_err(error))
    }

    /// Works with the session; one that was lost is dropped.
    fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Session) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        let session = self
            .session
            .as_mut()
            .ok_or_else(|| SqlError::Lost("there is no connection".to_owned()))?;
        let result = work(session);
        if matches!(result, Err(SqlError::Lost(_))) {
            self.drop_session();
        }
        result
    }

    /// Ends the session. The client waits for that, which an asynchronous thread must not.
    fn drop_session(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        if tokio::runtime::Handle::try_current().is_ok() {
            let done = std::thread::spawn(move || drop(session)).join();
            if done.is_err() {
                tracing::error!("a connection to PostgreSQL ended in a panic");
            }
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.drop_session();
    }
}

/// An error of the server, or of the way there.
fn error(error: postgres::Error) -> SqlError {
    let Some(told) = error.as_db_error() else {
        return lost(&error);
    };
    let text = told_text(told);
    let code = told.code();
    let fatal = matches!(
        told.parsed_severity(),
        Some(Severity::Fatal | Severity::Panic)
    );
    if fatal || code.code().starts_with("08") || code.code().starts_with("57P") {
        return SqlError::Lost(text);
    }
    match code {
        code if code.code().starts_with("23") => SqlError::Constraint(text),
        &SqlState::LOCK_NOT_AVAILABLE => {
            SqlError::Busy(format!("another Master writes for too long ({text})"))
        }
        &SqlState::QUERY_CANCELED
        | &SqlState::T_R_SERIALIZATION_FAILURE
        | &SqlState::T_R_DEADLOCK_DETECTED => SqlError::Busy(text),
        // The last: it is too long for an index.
        &SqlState::CHARACTER_NOT_IN_REPERTOIRE
        | &SqlState::UNTRANSLATABLE_CHARACTER
        | &SqlState::PROGRAM_LIMIT_EXCEEDED => SqlError::Text(text),
        code => SqlError::Other(format!("{text} (SQLSTATE {})", code.code())),
    }
}

fn told_text(told: &DbError) -> String {
    let mut text = told.message().to_owned();
    for more in [told.detail(), told.hint()].into_iter().flatten() {
        text.push_str("; ");
        text.push_str(more);
    }
    text
}

/// All of an error that did not come from a statement: it tells its causes one by one.
fn lost(error: &postgres::Error) -> SqlError {
    if let Some(told) = error.as_db_error() {
        return SqlError::Lost(told_text(told));
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    SqlError::Lost(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_made_anew_less_and_less_often() {
        let mut plans = Plans::new();
        let anew: Vec<u64> = (1..=40_000).filter(|_| plans.executed()).collect();
        let expected = [256, 512, 1024, 2048, 4096, 8192, 16_384, 24_576, 32_768];
        assert_eq!(anew, expected);
    }
}
