//! The seam to a database: one SQL text, two drivers.
//!
//! What both understand is spoken: `?1` placeholders, integers and texts, `ON CONFLICT`,
//! `RETURNING`, partial indexes. Truth values are 0 and 1, times are microseconds since 1970, JSON is
//! text. Texts hold no NUL character, compare bytewise, and are Unicode.
//!
//! How to write a statement that means the same to both: `LIKE` minds case and is written with
//! `ESCAPE '\'`; `lower()` knows ASCII only; a truth value is compared with 1, never used bare; a
//! sum is never of nothing (`COALESCE(SUM(x), 0)`); `LIMIT 1` where one row is wanted; a parameter
//! that may be nothing stands where its type is known from a column. A statement that fails takes
//! the whole transaction with it.

mod postgres;
mod sqlite;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub(crate) use postgres::{Condition, Listener, Postgres, Server, ServerAddress};
pub(crate) use sqlite::Sqlite;

/// A value handed to a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Param<'a> {
    /// Nothing.
    Null,
    /// A whole number; a truth value; a time.
    Int(i64),
    /// A text.
    Text(Cow<'a, str>),
}

/// A value a statement returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Nothing.
    Null,
    /// A whole number.
    Int(i64),
    /// A text.
    Text(String),
}

/// A row a statement returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row(pub(crate) Vec<Cell>);

/// Why a statement failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// It would break a rule of the schema.
    #[error("a rule of the schema forbids it: {0}")]
    Constraint(String),
    /// The database is away; nothing is known of what was under way.
    #[error("the database went away: {0}")]
    Lost(String),
    /// The database had no time for it; nothing was done.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// A text cannot be stored.
    #[error("a text cannot be stored: {0}")]
    Text(String),
    /// A row is not what the program expects: a mistake in it, or in the database.
    #[error("unexpected row: {0}")]
    Shape(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl<'a> From<&'a Cell> for Param<'a> {
    fn from(cell: &'a Cell) -> Self {
        match cell {
            Cell::Null => Param::Null,
            Cell::Int(value) => Param::Int(*value),
            Cell::Text(text) => Param::Text(Cow::Borrowed(text)),
        }
    }
}

impl From<i64> for Param<'_> {
    fn from(value: i64) -> Self {
        Param::Int(value)
    }
}

impl From<bool> for Param<'_> {
    fn from(value: bool) -> Self {
        Param::Int(i64::from(value))
    }
}

impl<'a> From<&'a str> for Param<'a> {
    fn from(value: &'a str) -> Self {
        Param::Text(Cow::Borrowed(value))
    }
}

impl<'a> From<&'a String> for Param<'a> {
    fn from(value: &'a String) -> Self {
        Param::Text(Cow::Borrowed(value))
    }
}

impl From<String> for Param<'_> {
    fn from(value: String) -> Self {
        Param::Text(Cow::Owned(value))
    }
}

impl<'a, T: Into<Param<'a>>> From<Option<T>> for Param<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Param::Null, Into::into)
    }
}

/// The parameters of a statement, each by its own conversion.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::store::sql::Param::from($value)),*][..]
    };
}
pub(crate) use params;

impl Row {
    fn cell(&self, column: usize) -> Result<&Cell, SqlError> {
        self.0
            .get(column)
            .ok_or_else(|| SqlError::Shape(format!("there is no column {column}")))
    }

    /// A column that may be empty and else is a number.
    pub(crate) fn maybe_int(&self, column: usize) -> Result<Option<i64>, SqlError> {
        match self.cell(column)? {
            Cell::Null => Ok(None),
            Cell::Int(value) => Ok(Some(*value)),
            Cell::Text(_) => Err(SqlError::Shape(format!("column {column} holds a text"))),
        }
    }

    /// A number.
    pub(crate) fn int(&self, column: usize) -> Result<i64, SqlError> {
        self.maybe_int(column)?
            .ok_or_else(|| SqlError::Shape(format!("column {column} is empty")))
    }

    /// A truth value.
    pub(crate) fn flag(&self, column: usize) -> Result<bool, SqlError> {
        Ok(self.int(column)? != 0)
    }

    /// A column that may be empty and else is a text.
    pub(crate) fn maybe_text(&self, column: usize) -> Result<Option<&str>, SqlError> {
        match self.cell(column)? {
            Cell::Null => Ok(None),
            Cell::Text(value) => Ok(Some(value)),
            Cell::Int(_) => Err(SqlError::Shape(format!("column {column} holds a number"))),
        }
    }

    /// A text.
    pub(crate) fn text(&self, column: usize) -> Result<&str, SqlError> {
        self.maybe_text(column)?
            .ok_or_else(|| SqlError::Shape(format!("column {column} is empty")))
    }

    /// A text of some known words, or of a format.
    pub(crate) fn parsed<T>(&self, column: usize) -> Result<T, SqlError>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        self.text(column)?
            .parse()
            .map_err(|error: T::Err| SqlError::Shape(format!("column {column}: {error}")))
    }

    /// A text that holds JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(
        &self,
        column: usize,
    ) -> Result<T, SqlError> {
        serde_json::from_str(self.text(column)?)
            .map_err(|error| SqlError::Shape(format!("column {column}: {error}")))
    }
}

/// A connection to either database. Statements are prepared once per connection and kept.
///
/// A statement that fails spoils the transaction it is in, whatever the database: nothing more is
/// done in it, and it cannot be committed.
pub(crate) struct Connection {
    driver: Driver,
    transaction: Transaction,
}

enum Driver {
    /// A file.
    Sqlite(Sqlite),
    /// A server.
    Postgres(Box<Postgres>),
}

/// How the transaction is.
enum Transaction {
    None,
    Open,
    Spoiled(SqlError),
}

impl From<Sqlite> for Connection {
    fn from(sqlite: Sqlite) -> Self {
        Connection {
            driver: Driver::Sqlite(sqlite),
            transaction: Transaction::None,
        }
    }
}

impl From<Postgres> for Connection {
    fn from(postgres: Postgres) -> Self {
        Connection {
            driver: Driver::Postgres(Box::new(postgres)),
            transaction: Transaction::None,
        }
    }
}

impl Connection {
    /// Runs a statement that returns no row; the number of rows it changed.
    pub(crate) fn execute(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64, SqlError> {
        check(params)?;
        self.run(|driver| match driver {
            Driver::Sqlite(sqlite) => sqlite.execute(sql, params),
            Driver::Postgres(postgres) => postgres.execute(sql, params),
        })
    }

    /// All rows a statement returns.
    pub(crate) fn all(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, SqlError> {
        self.rows(sql, params, usize::MAX)
    }

    /// The first row a statement returns, if there is one.
    pub(crate) fn one(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Option<Row>, SqlError> {
        Ok(self.rows(sql, params, 1)?.into_iter().next())
    }

    fn rows(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
        limit: usize,
    ) -> Result<Vec<Row>, SqlError> {
        check(params)?;
        self.run(|driver| match driver {
            Driver::Sqlite(sqlite) => sqlite.rows(sql, params, limit),
            Driver::Postgres(postgres) => postgres.rows(sql, params, limit),
        })
    }

    /// Runs several statements without parameters: a schema.
    pub(crate) fn script(&mut self, sql: &str) -> Result<(), SqlError> {
        self.run(|driver| match driver {
            Driver::Sqlite(sqlite) => sqlite.script(sql),
            Driver::Postgres(postgres) => postgres.script(sql),
        })
    }

    /// Does something in the transaction, if there is one that is not spoiled.
    fn run<T>(
        &mut self,
        work: impl FnOnce(&mut Driver) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        if let Transaction::Spoiled(error) = &self.transaction {
            return Err(error.clone());
        }
        let result = work(&mut self.driver);
        if let Err(error) = &result
            && matches!(self.transaction, Transaction::Open)
        {
            self.transaction = Transaction::Spoiled(error.clone());
        }
        result
    }

    /// Begins a transaction that writes; no other writes meanwhile, in this process or another.
    pub(crate) fn begin_write(&mut self) -> Result<(), SqlError> {
        match &mut self.driver {
            Driver::Sqlite(sqlite) => sqlite.script("BEGIN IMMEDIATE"),
            Driver::Postgres(postgres) => postgres.begin_write(),
        }?;
        self.transaction = Transaction::Open;
        Ok(())
    }

    /// Begins a transaction that reads one state of the database.
    pub(crate) fn begin_read(&mut self) -> Result<(), SqlError> {
        match &mut self.driver {
            Driver::Sqlite(sqlite) => sqlite.script("BEGIN"),
            Driver::Postgres(postgres) => postgres.begin_read(),
        }?;
        self.transaction = Transaction::Open;
        Ok(())
    }

    /// What failed in the transaction, which cannot be committed for it.
    pub(crate) fn spoiled_by(&self) -> Option<&SqlError> {
        match &self.transaction {
            Transaction::Spoiled(error) => Some(error),
            _ => None,
        }
    }

    /// Makes the transaction durable. [`SqlError::Lost`] leaves open whether it is.
    pub(crate) fn commit(&mut self) -> Result<(), SqlError> {
        if let Some(error) = self.spoiled_by() {
            let error = SqlError::Other(format!("an earlier statement failed: {error}"));
            self.rollback()?;
            return Err(error);
        }
        match &mut self.driver {
            Driver::Sqlite(sqlite) => sqlite.script("COMMIT"),
            Driver::Postgres(postgres) => postgres.commit(),
        }?;
        self.transaction = Transaction::None;
        Ok(())
    }

    /// Drops what the transaction did. A connection that cannot is of no use any more.
    pub(crate) fn rollback(&mut self) -> Result<(), SqlError> {
        self.transaction = Transaction::None;
        match &mut self.driver {
            Driver::Sqlite(sqlite) => sqlite.rollback(),
            Driver::Postgres(postgres) => postgres.rollback(),
        }
    }

    /// Tells other Masters on this database what the transaction changes, once it is committed.
    pub(crate) fn notify(&mut self, notice: &str) -> Result<(), SqlError> {
        self.run(|driver| match driver {
            // One process has the file.
            Driver::Sqlite(_) => Ok(()),
            Driver::Postgres(postgres) => postgres.notify(notice),
        })
    }

    /// The names of the tables there are.
    pub(crate) fn tables(&mut self) -> Result<Vec<String>, SqlError> {
        let sql = match &self.driver {
            Driver::Sqlite(_) => {
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
            }
            Driver::Postgres(_) => {
                "SELECT tablename::text FROM pg_catalog.pg_tables WHERE schemaname = current_schema()"
            }
        };
        let rows = self.all(sql, &[])?;
        rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
    }

    /// Leaves the database tidy. Only the writer's connection does it, when it ends.
    pub(crate) fn close(self) {
        match self.driver {
            Driver::Sqlite(sqlite) => sqlite.checkpoint(),
            Driver::Postgres(postgres) => postgres.close(),
        }
    }

    /// The file behind the connection, if there is one: for what only a file needs.
    pub(crate) fn sqlite(&self) -> Option<&Sqlite> {
        match &self.driver {
            Driver::Sqlite(sqlite) => Some(sqlite),
            Driver::Postgres(_) => None,
        }
    }

    /// Goes on counting the keys of a table after the highest one there is: after rows were put into
    /// it with their keys.
    pub(crate) fn continue_keys(&mut self, table: &str) -> Result<(), SqlError> {
        match &self.driver {
            // It looks itself.
            Driver::Sqlite(_) => Ok(()),
            Driver::Postgres(_) => self.script(&format!(
                "SELECT setval(pg_get_serial_sequence('{table}', 'id'), COALESCE(MAX(id), 1), \
                 MAX(id) IS NOT NULL) FROM {table}"
            )),
        }
    }

    /// How this database writes the parts of the schema in which the two differ.
    pub(crate) fn dialect(&self) -> Dialect {
        match &self.driver {
            Driver::Sqlite(_) => Dialect {
                name: "SQLite",
                size: "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
                key: "INTEGER PRIMARY KEY AUTOINCREMENT",
                text: "TEXT",
                keep_keys: "",
            },
            Driver::Postgres(_) => Dialect {
                name: "PostgreSQL",
                size: "SELECT pg_database_size(current_database())",
                key: "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
                // Whatever language the database is for: texts compare bytewise.
                text: "TEXT COLLATE \"C\"",
                keep_keys: "OVERRIDING SYSTEM VALUE",
            },
        }
    }
}

/// What one database does not take, the other refuses too.
fn check(params: &[Param<'_>]) -> Result<(), SqlError> {
    for param in params {
        if let Param::Text(text) = param
            && text.contains('\0')
        {
            return Err(SqlError::Text("it holds a NUL character".to_owned()));
        }
    }
    Ok(())
}

/// The parts of a schema in which the databases differ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    /// What people call the database.
    pub(crate) name: &'static str,
    /// Asks how large it is, in bytes.
    pub(crate) size: &'static str,
    /// The type of a primary key that counts itself and is never used twice: `{KEY}`.
    pub(crate) key: &'static str,
    /// The type of a text: `TEXT`.
    pub(crate) text: &'static str,
    /// What an `INSERT` says that brings keys which otherwise count themselves.
    pub(crate) keep_keys: &'static str,
}

impl Dialect {
    /// A step of the schema in this dialect.
    pub(crate) fn schema(self, step: &str) -> String {
        step.replace("{KEY}", self.key)
            .replace(" TEXT", &format!(" {}", self.text))
    }
}
