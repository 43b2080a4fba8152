//! SQLite: a file, one process.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{ErrorCode, OpenFlags, ToSql};

use super::{Cell, Param, Row, SqlError};

/// How long to wait for another process, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Prepared statements kept per connection.
const STATEMENTS: usize = 256;
/// Memory for pages of the writing connection, in KiB.
const WRITER_CACHE_KIB: i64 = 64 << 10;
/// How much of the file a reader may map into its memory.
const READER_MAP_BYTES: i64 = 1 << 30;
/// Pages in the write-ahead log after which it is worked into the file.
const CHECKPOINT_PAGES: i64 = 16_384;

/// A connection to a file.
pub(crate) struct Sqlite(rusqlite::Connection);

impl Sqlite {
    /// The connection that writes. What it commits survives a power cut.
    pub(crate) fn writer(path: &Path) -> Result<Self, SqlError> {
        let connection = rusqlite::Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        keep_statements(&connection)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
        // As PostgreSQL has it.
        connection.pragma_update(None, "case_sensitive_like", "ON")?;
        Ok(Self(connection))
    }

    /// A connection that only reads.
    pub(crate) fn reader(path: &Path) -> Result<Self, SqlError> {
        let connection = rusqlite::Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        keep_statements(&connection)?;
        connection.pragma_update(None, "mmap_size", READER_MAP_BYTES)?;
        connection.pragma_update(None, "query_only", "ON")?;
        connection.pragma_update(None, "case_sensitive_like", "ON")?;
        Ok(Self(connection))
    }

    pub(super) fn execute(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64, SqlError> {
        let changed = self
            .0
            .prepare_cached(sql)?
            .execute(rusqlite::params_from_iter(params))?;
        Ok(changed as u64)
    }

    pub(super) fn rows(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
        limit: usize,
    ) -> Result<Vec<Row>, SqlError> {
        let mut statement = self.0.prepare_cached(sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query(rusqlite::params_from_iter(params))?;
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(row) = rows.next()? else { break };
            let cells = (0..columns)
                .map(|column| cell(row.get_ref(column)?))
                .collect::<Result<_, SqlError>>()?;
            found.push(Row(cells));
        }
        Ok(found)
    }

    pub(super) fn script(&mut self, sql: &str) -> Result<(), SqlError> {
        Ok(self.0.execute_batch(sql)?)
    }

    pub(super) fn rollback(&mut self) -> Result<(), SqlError> {
        if self.0.is_autocommit() {
            return Ok(());
        }
        self.script("ROLLBACK")
    }

    /// Works the write-ahead log into the file, which can then be copied alone.
    pub(super) fn checkpoint(&self) {
        let done = self
            .0
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = done {
            tracing::warn!("the database could not be tidied up on closing: {error}");
        }
    }

    /// A connection to a file that only it uses, and that stays one file: a backup.
    pub(crate) fn alone(path: &Path) -> Result<Self, SqlError> {
        let connection = rusqlite::Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "DELETE")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
        connection.pragma_update(None, "case_sensitive_like", "ON")?;
        Ok(Self(connection))
    }

    /// Copies the database as it is at this moment into a file, while others write on.
    pub(crate) fn backup(&self, to: &Path) -> Result<(), SqlError> {
        let mut copy = rusqlite::Connection::open(to)?;
        let backup = rusqlite::backup::Backup::new(&self.0, &mut copy)?;
        // In one step: between steps others would write, and it would begin anew each time.
        match backup.step(-1)? {
            rusqlite::backup::StepResult::Done => Ok(()),
            _ => Err(SqlError::Other("another process holds the file".to_owned())),
        }
    }
}

/// Statements are compiled once. By default SQLite looks at the values bound to them whenever a
/// partial index might serve, and compiles them anew for every other value: most of the time of a
/// request.
fn keep_statements(connection: &rusqlite::Connection) -> Result<(), SqlError> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn cell(value: ValueRef<'_>) -> Result<Cell, SqlError> {
    match value {
        ValueRef::Null => Ok(Cell::Null),
        ValueRef::Integer(value) => Ok(Cell::Int(value)),
        ValueRef::Text(bytes) => std::str::from_utf8(bytes)
            .map(|text| Cell::Text(text.to_owned()))
            .map_err(|error| SqlError::Shape(error.to_string())),
        other => Err(SqlError::Shape(format!(
            "a column holds {:?}",
            other.data_type()
        ))),
    }
}

impl ToSql for Param<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Param::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Param::Int(value) => ToSqlOutput::Borrowed(ValueRef::Integer(*value)),
            Param::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

impl From<rusqlite::Error> for SqlError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => SqlError::Constraint(error.to_string()),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                SqlError::Busy(error.to_string())
            }
            _ => SqlError::Other(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rusqlite::StatementStatus;

    use super::*;

    #[test]
    fn a_statement_is_compiled_once_whatever_is_bound_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m.db");
        let mut writer = Sqlite::writer(&path).unwrap();
        writer
            .script(
                "CREATE TABLE t (id INTEGER PRIMARY KEY, a BIGINT, b BIGINT NOT NULL); \
                 CREATE INDEX t_a ON t (a) WHERE b = 0; \
                 INSERT INTO t VALUES (1, 1, 0), (2, 2, 1);",
            )
            .unwrap();
        for connection in [writer, Sqlite::reader(&path).unwrap()] {
            let sql = "SELECT id FROM t WHERE a = ?1 AND b = ?2";
            let mut statement = connection.0.prepare_cached(sql).unwrap();
            for value in 0..10 {
                let _ = statement.query_row([value, value % 2], |_| Ok(()));
            }
            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
        }
    }
}
