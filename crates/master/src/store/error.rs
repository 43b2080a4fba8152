//! Why the store did not do what was asked.

use std::path::PathBuf;

use super::sql::SqlError;
use crate::domain::Refusal;

/// Why an operation did not happen. Nothing was changed then, but for
/// [`StoreError::CommitUnknown`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A rule forbids it.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The database.
    #[error("{0}")]
    Sql(#[from] SqlError),
    /// The connection was lost while the database was asked to make changes durable.
    #[error(
        "the database went away while it was storing: what was asked for may or may not have been \
         done; ask again, that is harmless ({0})"
    )]
    CommitUnknown(String),
    /// The Master is stopping.
    #[error("the Master is about to stop")]
    Closed,
    /// A mistake in the program.
    #[error("an internal error was met: {0}")]
    Internal(String),
}

/// Why a database cannot be used. It is as it was then.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another Master has the file.
    #[error(
        "another Master has {path} open; one process at a time uses an SQLite database (several \
         Masters share a PostgreSQL one)"
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The database belongs to something else.
    #[error("{database} is not a database of a SlapOS Master; give an empty one")]
    Foreign {
        /// The database, without its password.
        database: String,
    },
    /// A newer program wrote it.
    #[error(
        "{database} was written by a newer slapos (schema {found}, this one knows {known}); use \
         that one, or restore a backup"
    )]
    TooNew {
        /// The database.
        database: String,
        /// Its schema.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// The address of the database cannot be understood.
    #[error("{0}")]
    Address(String),
    /// The database.
    #[error("cannot use {database}: {source}")]
    Database {
        /// The database, without its password.
        database: String,
        /// Why.
        source: SqlError,
    },
}
