//! Backups: the whole database in one file, whichever database it is; and what is made of one again.
//!
//! A backup is an SQLite database with the Master's own schema. Of an SQLite database it is a copy of
//! one moment, made by SQLite itself; of a PostgreSQL one all rows are read in one transaction. So a
//! backup of either can be restored into either.

use std::fs::{File, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check::{Contradiction, contradictions};
use super::people::check_administrator;
use super::schema::{self, Found};
use super::sql::{
    Connection, Param, Postgres, Row, Server, ServerAddress, SqlError, Sqlite, params,
};
use super::{Database, OpenError, SCHEMA_VERSION, Store, StoreError, prepare};
use crate::domain::Timestamp;
use crate::domain::access::Caller;
use crate::files::{DataDir, FilesError};
use crate::pki::{PkiError, Sealer};

/// Settings only a backup has.
const TAKEN_AT: &str = "backup_taken_at";
const SECRET_KEY: &str = "backup_secret_key";
/// The setting by which revisions before and after a restore are told apart.
const EPOCH: &str = "epoch";
/// Rows read at a time.
const PAGE: i64 = 2_000;
/// Values written in one statement.
const VALUES_MAX: usize = 4_000;

/// All tables, each after those it points to, with the columns of its key.
const TABLES: &[(&str, &[&str])] = &[
    ("setting", &["name"]),
    ("release", &["id"]),
    ("person", &["id"]),
    ("project", &["id"]),
    ("member", &["project_id", "person_id"]),
    ("certificate", &["id"]),
    ("token", &["id"]),
    ("session", &["hash"]),
    ("network", &["id"]),
    ("node", &["id"]),
    ("partition", &["id"]),
    ("installation", &["id"]),
    ("tree", &["id"]),
    ("instance", &["id"]),
    ("instance_key", &["instance_id"]),
    ("instance_promises", &["instance_id"]),
    ("instance_version", &["id"]),
    ("product", &["id"]),
    ("product_release", &["product_id", "release_id"]),
    ("product_type", &["product_id", "software_type"]),
    ("upgrade_decision", &["id"]),
    ("usage_report", &["id"]),
    ("remote", &["node_id"]),
    ("remote_instance", &["instance_id"]),
    ("audit", &["id"]),
];

/// Why a backup cannot be restored. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file system.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The Master's directory.
    #[error("{0}")]
    Files(#[from] FilesError),
    /// The database.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// Something is there.
    #[error("{what} is not empty: a backup is restored into a new place")]
    NotEmpty {
        /// The directory or database.
        what: String,
    },
    /// The file is no backup.
    #[error("{path} is no backup of a SlapOS Master: {why}")]
    NoBackup {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        why: String,
    },
    /// The key of the secrets is not known.
    #[error(
        "{path} was made without --with-secret: its secrets open with the file secret.key of the \
         Master it was made of; name that file with --secret-key"
    )]
    NoSecret {
        /// The backup.
        path: PathBuf,
    },
    /// It holds contradictions.
    #[error("the backup holds {} contradictions", .0.len())]
    Contradictions(Vec<Contradiction>),
    /// Secrets.
    #[error("{0}")]
    Pki(#[from] PkiError),
    /// The database while it was filled.
    #[error("cannot fill {database}: {source}")]
    Fill {
        /// The database, without its password.
        database: String,
        /// Why.
        source: StoreError,
    },
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// When the backup was begun; none for a plain copy of a database.
    pub taken_at: Option<Timestamp>,
    /// The schema it had.
    pub schema: i64,
    /// What was found wrong, where that was to be accepted.
    pub contradictions: Vec<Contradiction>,
}

/// Copies all rows.
fn copy(from: &mut Connection, to: &mut Connection) -> Result<(), SqlError> {
    let keep_keys = to.dialect().keep_keys;
    for (table, key) in TABLES {
        let columns = key.join(", ");
        let places: Vec<String> = (1..=key.len()).map(|n| format!("?{n}")).collect();
        let first = format!("SELECT * FROM {table} ORDER BY {columns} LIMIT {PAGE}");
        let next = format!(
            "SELECT * FROM {table} WHERE ({columns}) > ({}) ORDER BY {columns} LIMIT {PAGE}",
            places.join(", ")
        );
        let positions = key_positions(from, table, key)?;
        let mut rows = from.all(&first, &[])?;
        while let Some(last) = rows.last() {
            let after: Vec<Param<'_>> = positions
                .clone()
                .filter_map(|position| last.0.get(position))
                .map(Param::from)
                .collect();
            let page = from.all(&next, &after)?;
            insert(to, table, keep_keys, &rows)?;
            rows = page;
        }
        if *key == ["id"] {
            to.continue_keys(table)?;
        }
    }
    Ok(())
}

/// Which columns of `SELECT *` a key is. All keys here stand first, in this order.
fn key_positions(
    sql: &mut Connection,
    table: &str,
    key: &[&str],
) -> Result<std::ops::Range<usize>, SqlError> {
    let columns = key.join(", ");
    let Some(key_alone) = sql.one(
        &format!("SELECT {columns} FROM {table} ORDER BY {columns} LIMIT 1"),
        &[],
    )?
    else {
        return Ok(0..key.len());
    };
    let whole = sql.one(
        &format!("SELECT * FROM {table} ORDER BY {columns} LIMIT 1"),
        &[],
    )?;
    if whole.is_some_and(|row| row.0.starts_with(&key_alone.0)) {
        Ok(0..key.len())
    } else {
        Err(SqlError::Shape(format!(
            "the key of table {table} does not stand first"
        )))
    }
}

fn insert(to: &mut Connection, table: &str, keep_keys: &str, rows: &[Row]) -> Result<(), SqlError> {
    let columns = rows.first().map_or(1, |row| row.0.len().max(1));
    for rows in rows.chunks((VALUES_MAX / columns).max(1)) {
        let mut values = Vec::with_capacity(rows.len() * columns);
        let mut places = Vec::with_capacity(rows.len());
        for row in rows {
            let first = values.len() + 1;
            values.extend(row.0.iter().map(Param::from));
            let numbers: Vec<String> = (first..=values.len()).map(|n| format!("?{n}")).collect();
            places.push(format!("({})", numbers.join(", ")));
        }
        to.execute(
            &format!(
                "INSERT INTO {table} {keep_keys} VALUES {}",
                places.join(", ")
            ),
            &values,
        )?;
    }
    Ok(())
}

/// Makes an empty file that nobody else can read.
fn create(path: &Path) -> std::io::Result<()> {
    File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

fn sync(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn hexadecimal(key: &[u8; 32]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hexadecimal(text: &str) -> Option<[u8; 32]> {
    let digits = text.trim();
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut key = [0; 32];
    for (byte, at) in key.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(key)
}

fn set(sql: &mut Connection, name: &str, value: &str) -> Result<(), SqlError> {
    schema::set_setting(sql, name, value)
}

/// Does something in a transaction that writes.
fn within<T>(
    sql: &mut Connection,
    work: impl FnOnce(&mut Connection) -> Result<T, SqlError>,
) -> Result<T, SqlError> {
    sql.begin_write()?;
    match work(sql) {
        Ok(value) => {
            sql.commit()?;
            Ok(value)
        }
        Err(error) => {
            // The first error is the one to tell.
            let _ = sql.rollback();
            Err(error)
        }
    }
}

impl Store {
    /// Copies the database, as it is at one moment, into a new file. Everything that was
    /// acknowledged before is in it; others go on writing. With the secret key, the file alone makes
    /// a new Master.
    ///
    /// # Errors
    /// Only administrators may; [`StoreError`]. There is no file then.
    pub(crate) async fn snapshot(
        &self,
        caller: Caller,
        database: &Database,
        to: PathBuf,
        secret_key: Option<[u8; 32]>,
    ) -> Result<(), StoreError> {
        check_administrator(caller, "backup of the Master")?;
        let now = self.clock().now();
        let made = self.copy_into(database, to.clone()).await;
        let finished = made.and_then(|()| {
            let mut copy = Connection::from(Sqlite::alone(&to)?);
            within(&mut copy, |copy| {
                set(copy, TAKEN_AT, &now.0.to_string())?;
                match &secret_key {
                    Some(key) => set(copy, SECRET_KEY, &hexadecimal(key)),
                    None => Ok(()),
                }
            })?;
            drop(copy);
            sync(&to).map_err(|error| {
                StoreError::Internal(format!("cannot write {}: {error}", to.display()))
            })
        });
        if finished.is_err() {
            // It may not even have been made.
            let _ = std::fs::remove_file(&to);
        }
        finished
    }

    async fn copy_into(&self, database: &Database, to: PathBuf) -> Result<(), StoreError> {
        create(&to).map_err(|error| {
            StoreError::Internal(format!("cannot make {}: {error}", to.display()))
        })?;
        match database {
            Database::Sqlite(path) => {
                let path = path.clone();
                tokio::task::spawn_blocking(move || Sqlite::reader(&path)?.backup(&to))
                    .await
                    .map_err(|error| StoreError::Internal(error.to_string()))??;
                Ok(())
            }
            Database::Postgres(_) => {
                self.read(move |sql| {
                    let mut file = Connection::from(Sqlite::alone(&to)?);
                    within(&mut file, |file| {
                        schema::upgrade(file, 0)?;
                        file.execute("DELETE FROM setting", &[])?;
                        copy(sql, file)
                    })?;
                    Ok(())
                })
                .await
            }
        }
    }
}

/// Makes a new Master of a backup: in a directory and a database that are empty. The backup is
/// checked first; with `despite_contradictions` it is taken as it is.
///
/// Sessions and tokens that were not used are not restored. The epoch is a new one, so that nobody
/// takes what is told now for what was told before.
///
/// # Errors
/// [`RestoreError`].
pub fn restore(
    backup: &Path,
    secret_key: Option<[u8; 32]>,
    data_dir: &Path,
    database: &Database,
    despite_contradictions: bool,
) -> Result<Restored, RestoreError> {
    empty_directory(data_dir)?;
    empty_database(database)?;
    let directory = DataDir::prepare(data_dir)?;
    let draft = match database {
        Database::Sqlite(path) => {
            let mut name = path.as_os_str().to_owned();
            name.push(".restoring");
            PathBuf::from(name)
        }
        Database::Postgres(_) => directory.file("restoring.db"),
    };
    let result = restore_by(
        backup,
        secret_key,
        &directory,
        database,
        despite_contradictions,
        &draft,
    );
    for suffix in ["", "-journal", "-wal", "-shm"] {
        let mut name = draft.as_os_str().to_owned();
        name.push(suffix);
        // After success there is none.
        let _ = std::fs::remove_file(name);
    }
    if result.is_err() {
        let _ = std::fs::remove_file(directory.secret_key_path());
    }
    result
}

fn restore_by(
    backup: &Path,
    secret_key: Option<[u8; 32]>,
    directory: &DataDir,
    database: &Database,
    despite_contradictions: bool,
    draft: &Path,
) -> Result<Restored, RestoreError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| RestoreError::Io { path, source }
    };
    let no_backup = |why: String| RestoreError::NoBackup {
        path: backup.to_owned(),
        why,
    };
    let broken = |error: SqlError| no_backup(error.to_string());

    File::open(backup).map_err(io(backup))?;
    create(draft).map_err(io(draft))?;
    Sqlite::reader(backup)
        .and_then(|file| file.backup(draft))
        .map_err(broken)?;
    let mut sql = Connection::from(Sqlite::alone(draft).map_err(broken)?);
    let schema = match schema::found(&mut sql).map_err(broken)? {
        Found::Version(version) if version <= SCHEMA_VERSION => version,
        Found::Version(found) => {
            return Err(OpenError::TooNew {
                database: backup.display().to_string(),
                found,
                known: SCHEMA_VERSION,
            }
            .into());
        }
        Found::Empty => return Err(no_backup("it is empty".to_owned())),
        Found::Foreign => return Err(no_backup("it is another database".to_owned())),
    };
    let taken_at = schema::setting(&mut sql, TAKEN_AT)
        .map_err(broken)?
        .and_then(|text| text.parse().ok())
        .map(Timestamp);
    let kept = schema::setting(&mut sql, SECRET_KEY).map_err(broken)?;
    let key = secret_key
        .or_else(|| kept.as_deref().and_then(from_hexadecimal))
        .ok_or_else(|| RestoreError::NoSecret {
            path: backup.to_owned(),
        })?;
    prepare(&mut sql, &backup.display().to_string())?;
    let epoch = crate::pki::random_hex(6)?;
    within(&mut sql, |sql| {
        sql.execute(
            "DELETE FROM setting WHERE name IN (?1, ?2)",
            params![TAKEN_AT, SECRET_KEY],
        )?;
        sql.execute("DELETE FROM session", &[])?;
        sql.execute("DELETE FROM token WHERE used_at IS NULL", &[])?;
        set(sql, EPOCH, &epoch)
    })
    .map_err(broken)?;
    let sealer = Sealer::from_key(&key)?;
    let found = contradictions(&mut sql, Some(&sealer)).map_err(|error| match error {
        StoreError::Sql(error) => broken(error),
        other => no_backup(other.to_string()),
    })?;
    if !found.is_empty() && !despite_contradictions {
        return Err(RestoreError::Contradictions(found));
    }
    directory.write("secret.key", &format!("{}\n", hexadecimal(&key)))?;
    match database {
        Database::Sqlite(path) => {
            drop(sql);
            std::fs::set_permissions(draft, Permissions::from_mode(0o600)).map_err(io(draft))?;
            sync(draft).map_err(io(draft))?;
            // Unlike a rename, a link replaces nothing.
            std::fs::hard_link(draft, path).map_err(io(path))?;
            sync(path).map_err(io(path))?;
        }
        Database::Postgres(url) => fill(&mut sql, url)?,
    }
    Ok(Restored {
        taken_at,
        schema,
        contradictions: found,
    })
}

/// A connection to a server, and how its database is shown.
fn server(url: &str) -> Result<(Connection, String), OpenError> {
    let address = ServerAddress::parse(url).map_err(OpenError::Address)?;
    let shown = address.to_string();
    let server = Server::new(address).map_err(|source| OpenError::Database {
        database: shown.clone(),
        source,
    })?;
    Ok((Connection::from(Postgres::new(Arc::new(server))), shown))
}

/// Fills an empty database of a server in one transaction.
fn fill(from: &mut Connection, url: &str) -> Result<(), RestoreError> {
    let (mut to, database) = server(url)?;
    let filled = within(&mut to, |to| {
        if !to.tables()?.is_empty() {
            return Err(SqlError::Other("it is not empty any more".to_owned()));
        }
        schema::upgrade(to, 0)?;
        to.execute("DELETE FROM setting", &[])?;
        copy(from, to)
    });
    filled.map_err(|source| RestoreError::Fill {
        database,
        source: source.into(),
    })
}

fn empty_directory(path: &Path) -> Result<(), RestoreError> {
    match std::fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(RestoreError::NotEmpty {
                what: path.display().to_string(),
            }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(RestoreError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

fn empty_database(database: &Database) -> Result<(), RestoreError> {
    match database {
        Database::Sqlite(path) if path.exists() => Err(RestoreError::NotEmpty {
            what: path.display().to_string(),
        }),
        Database::Sqlite(_) => Ok(()),
        Database::Postgres(url) => {
            let (mut sql, shown) = server(url)?;
            let tables = sql
                .begin_read()
                .and_then(|()| sql.tables())
                .map_err(|source| OpenError::Database {
                    database: shown.clone(),
                    source,
                })?;
            if tables.is_empty() {
                Ok(())
            } else {
                Err(RestoreError::NotEmpty { what: shown })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_table_is_copied() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m.db");
        let mut sql = Connection::from(Sqlite::alone(&path).unwrap());
        prepare(&mut sql, "m.db").unwrap();
        let mut tables = sql.tables().unwrap();
        let mut copied: Vec<&str> = TABLES.iter().map(|(table, _)| *table).collect();
        tables.sort();
        copied.sort_unstable();
        assert_eq!(tables, copied);
    }
}
