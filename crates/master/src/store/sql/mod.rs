//! The seam to a database: one SQL text, two drivers.
//!
//! What both understand is spoken: `?1` placeholders, integers and texts, `ON CONFLICT`,
//! `RETURNING`, partial indexes. Truth values are 0 and 1, times are microseconds since 1970, JSON is
//! text. Texts hold no NUL character, compare bytewise, and are Unicode.

mod sqlite;

use std::borrow::Cow;

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
pub(crate) enum Connection {
    /// A file.
    Sqlite(Sqlite),
}

impl Connection {
    /// Runs a statement that returns no row; the number of rows it changed.
    pub(crate) fn execute(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64, SqlError> {
        match self {
            Connection::Sqlite(sqlite) => sqlite.execute(sql, params),
        }
    }

    /// All rows a statement returns.
    pub(crate) fn all(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, SqlError> {
        match self {
            Connection::Sqlite(sqlite) => sqlite.rows(sql, params, usize::MAX),
        }
    }

    /// The first row a statement returns, if there is one.
    pub(crate) fn one(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Option<Row>, SqlError> {
        let rows = match self {
            Connection::Sqlite(sqlite) => sqlite.rows(sql, params, 1),
        }?;
        Ok(rows.into_iter().next())
    }

    /// Runs several statements without parameters: a schema.
    pub(crate) fn script(&mut self, sql: &str) -> Result<(), SqlError> {
        match self {
            Connection::Sqlite(sqlite) => sqlite.script(sql),
        }
    }

    /// Begins a transaction that writes; no other writes meanwhile, in this process or another.
    pub(crate) fn begin_write(&mut self) -> Result<(), SqlError> {
        match self {
            Connection::Sqlite(sqlite) => sqlite.script("BEGIN IMMEDIATE"),
        }
    }

    /// Begins a transaction that reads one state of the database.
    pub(crate) fn begin_read(&mut self) -> Result<(), SqlError> {
        match self {
            Connection::Sqlite(sqlite) => sqlite.script("BEGIN"),
        }
    }

    /// Makes the transaction durable.
    pub(crate) fn commit(&mut self) -> Result<(), SqlError> {
        match self {
            Connection::Sqlite(sqlite) => sqlite.script("COMMIT"),
        }
    }

    /// Drops what the transaction did. A connection that cannot is of no use any more.
    pub(crate) fn rollback(&mut self) -> Result<(), SqlError> {
        match self {
            Connection::Sqlite(sqlite) => sqlite.rollback(),
        }
    }

    /// Tells other Masters on this database what the transaction changes, once it is committed.
    pub(crate) fn notify(&mut self, _notice: &str) -> Result<(), SqlError> {
        match self {
            // One process has the file.
            Connection::Sqlite(_) => Ok(()),
        }
    }

    /// The names of the tables there are.
    pub(crate) fn tables(&mut self) -> Result<Vec<String>, SqlError> {
        let rows = match self {
            Connection::Sqlite(sqlite) => sqlite.rows(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
                &[],
                usize::MAX,
            ),
        }?;
        rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
    }

    /// Leaves the database tidy. Only the writer's connection does it, when it ends.
    pub(crate) fn close(self) {
        match self {
            Connection::Sqlite(sqlite) => sqlite.checkpoint(),
        }
    }

    /// How this database writes the parts of the schema in which the two differ.
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Connection::Sqlite(_) => Dialect {
                key: "INTEGER PRIMARY KEY AUTOINCREMENT",
            },
        }
    }
}

/// The parts of a schema in which the databases differ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    /// The type of a primary key that counts itself and is never used twice: `{KEY}`.
    pub(crate) key: &'static str,
}
