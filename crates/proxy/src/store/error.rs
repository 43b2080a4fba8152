//! What can go wrong with the store.

use std::path::PathBuf;

use crate::domain::Refusal;

/// Why an operation on the store gave no result.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The rules say no. Nothing was changed.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// Something stored cannot be read back.
    #[error("the database holds {what} that cannot be read: {detail}")]
    Corrupt {
        /// What it should have been.
        what: &'static str,
        /// Why it is not.
        detail: String,
    },
    /// The transaction that held this operation among others could not be committed.
    #[error("the transaction could not be committed: {0}")]
    NotCommitted(String),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the database {path} is in use by another process; stop that one first, \
         or name another database"
    )]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// A later version wrote it.
    #[error(
        "the database {path} has schema version {found}, and this program knows versions up to \
         {known}; use a newer program"
    )]
    TooNew {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The last version known here.
        known: i64,
    },
    /// Upstream's proxy wrote it, with a schema that is not taken over.
    #[error(
        "the database {path} was written by slapos.core's proxy with schema version {found}; only \
         version 18 is taken over. Start it once with `slapos proxy start` of slapos.core 1.26, \
         which brings it to that version"
    )]
    UpstreamSchema {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// What upstream's proxy wrote cannot be taken over. The file is as it was.
    #[error("the database {path} of slapos.core's proxy cannot be taken over: {detail}")]
    Import {
        /// The database.
        path: PathBuf,
        /// Which row, and why.
        detail: String,
    },
    /// Some other program's database.
    #[error("the file {path} is not a database of this program or of slapos.core's proxy")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Upstream's proxy wrote it and this Master was not started on it yet.
    #[error(
        "the database {path} was written by slapos.core's proxy; it is taken over by the first \
         `slapos proxy start` with it"
    )]
    NotTakenOver {
        /// The database.
        path: PathBuf,
    },
    /// Something in it makes no sense.
    #[error("the database {path} cannot be read: {detail}")]
    Unreadable {
        /// The database.
        path: PathBuf,
        /// What.
        detail: String,
    },
    /// There is no such file, and none was to be created.
    #[error("there is no database {path}; `slapos proxy start` creates it")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file system failed.
    #[error("cannot use the database {path}: {source}")]
    Io {
        /// The database.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite failed.
    #[error("cannot use the database {path}: {source}")]
    Database {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}
