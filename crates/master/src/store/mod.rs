//! The store: the database is the truth, and this is the only place that speaks SQL.
//!
//! One thread writes: what it acknowledges is on disk. Readers have connections of their own and see
//! whole transactions only. SQLite and PostgreSQL stand behind one seam, [`sql`], and run the same
//! statements; operations are grouped by subject, each one a function on a transaction that decides,
//! by the rules of [`crate::domain`], before it writes.

mod audit;
mod backup;
mod cached;
mod certificates;
mod changes;
mod check;
#[cfg(test)]
mod conformance;
mod contact;
mod deployed;
mod details;
mod documents;
mod error;
mod format;
mod history;
mod instances;
mod lifecycle;
mod listing;
mod nodes;
mod overview;
mod people;
mod placement;
mod products;
mod projects;
mod promises;
mod readers;
mod records;
mod remotes;
mod reports;
mod request;
mod schema;
mod sessions;
mod situation;
mod software;
pub(crate) mod sql;
mod standing;
mod system;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_identity;
mod tokens;
mod trees;
mod upgrades;
mod versions;
mod writer;

use std::fmt;
use std::fs::{File, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use audit::{AuditQuery, AuditRecord};
pub use backup::{RestoreError, Restored, restore};
pub use certificates::{CertificateRecord, NewCertificate};
pub use changes::Changes;
pub use check::Contradiction;
pub use deployed::{Deployed, INSTANCES_COUNTED, LooseRelease, ProductDetail, ProductState};
pub use details::{
    InstalledOn, MemberState, PartitionState, TreeFilter, TreeState, TreesOf, WholeNode, WholeTree,
};
pub use error::{OpenError, StoreError};
pub use history::{EventQuery, EventRecord};
pub use listing::{InstanceNews, NodeLine, Page, SeenChanges, TreeLine};
pub use overview::{NetworkRecord, ProjectCounts};
pub use people::{NAME_MAX, NewPerson, PAGE_MAX, PersonRecord, SignIn};
pub use products::{ProductRecord, ReleaseRecord};
pub use projects::{MemberRecord, ProjectRecord, ProjectState};
pub use promises::PromisesOf;
pub use records::*;
pub use remotes::{RemoteAnswer, RemoteRecord, RemoteSettings, RemoteWork};
pub use schema::VERSION as SCHEMA_VERSION;
pub(crate) use sessions::session_id;
pub use sessions::{Browser, SESSION_LIFE, SessionRecord};
pub use sql::SqlError;
pub use standing::{
    FailingPromise, MasterStanding, NodeFilter, NodeState, NodesStanding, ServicesStanding,
    UsageRecord,
};
pub use system::Counts;
pub use tokens::{Bearer, IssuedToken, NewToken, TOKEN_LIFE, TOKEN_LIFE_MAX, TokenRecord};
pub use upgrades::{DecisionRecord, UpgradeWatch};
pub use versions::VersionRecord;

use crate::domain::{Clock, SystemClock};
use crate::events::Hub;
use contact::Contacts;
use lifecycle::touch_host;
use readers::Readers;
use sql::{Condition, Connection, Listener, Postgres, Server, ServerAddress, Sqlite};
use writer::{Duties, Tx, Writer};

/// Connections for reading a file. Reads take microseconds: a few serve many.
const FILE_READERS: usize = 4;
/// Connections for reading from a server: most of the time is spent on the way.
const SERVER_READERS: usize = 8;

/// Where a Master keeps everything. It prints without the password.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// A file, which one Master has open.
    Sqlite(PathBuf),
    /// A PostgreSQL database, which several Masters may share; its URL.
    Postgres(String),
}

impl Database {
    /// Reads `sqlite:PATH` or `postgres://…`.
    ///
    /// # Errors
    /// [`OpenError::Address`] for anything else.
    pub fn parse(text: &str) -> Result<Self, OpenError> {
        if let Some(path) = text.strip_prefix("sqlite:")
            && !path.is_empty()
        {
            return Ok(Database::Sqlite(PathBuf::from(path)));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Database::Postgres(text.to_owned()));
        }
        Err(OpenError::Address(
            "a database is given as sqlite:PATH or postgres://USER@HOST/NAME".to_owned(),
        ))
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Database::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Database::Postgres(url) => match ServerAddress::parse(url) {
                Ok(address) => address.fmt(f),
                Err(_) => f.write_str("postgres://…"),
            },
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The database of a Master.
pub struct Store {
    /// Told to stop before the writer, on closing, says the last word.
    _listener: Option<Listener>,
    /// Closed before the writer's connection, which as the last one leaves a single file behind.
    readers: Readers,
    writer: Writer,
    hub: Arc<Hub>,
    clock: Arc<dyn Clock>,
    contacts: Contacts,
    /// Held as long as the store is open: one process at a time has a file.
    _lock: Option<File>,
}

impl Store {
    /// Opens a database, creating or upgrading its schema where needed.
    ///
    /// # Errors
    /// [`OpenError`]; the database is as it was then.
    pub fn open(database: &Database, hub: Arc<Hub>) -> Result<Self, OpenError> {
        Self::open_with_clock(database, hub, Arc::new(SystemClock))
    }

    /// [`Store::open`] with another clock, for tests.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with_clock(
        database: &Database,
        hub: Arc<Hub>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        match database {
            Database::Sqlite(path) => Self::open_file(path, hub, clock),
            Database::Postgres(url) => off_the_runtime(|| Self::open_server(url, hub, clock)),
        }
    }

    fn open_file(path: &Path, hub: Arc<Hub>, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io {
            path: path.to_owned(),
            source,
        };
        let shown = path.display().to_string();
        let failed = |source| OpenError::Database {
            database: shown.clone(),
            source,
        };
        let lock = lock(path)?;
        create_private(path).map_err(io)?;
        let mut connection = Connection::from(Sqlite::writer(path).map_err(failed)?);
        prepare(&mut connection, &shown)?;
        make_private(path).map_err(io)?;
        let connections = (0..FILE_READERS)
            .map(|_| Sqlite::reader(path).map(Connection::from))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        let file = path.to_owned();
        let writer = start_writer(
            connection,
            Box::new(move || Sqlite::writer(&file).map(Connection::from)),
            &hub,
            &clock,
        )
        .map_err(io)?;
        Ok(Store {
            _listener: None,
            readers: Readers::in_place(connections),
            writer,
            hub,
            clock,
            contacts: Contacts::default(),
            _lock: Some(lock),
        })
    }

    fn open_server(url: &str, hub: Arc<Hub>, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let address = ServerAddress::parse(url).map_err(OpenError::Address)?;
        let shown = address.to_string();
        let failed = |source| OpenError::Database {
            database: shown.clone(),
            source,
        };
        let server = Arc::new(Server::new(address).map_err(failed)?);
        let mut connection = Connection::from(Postgres::new(Arc::clone(&server)));
        prepare(&mut connection, &shown)?;
        server.rely_on(Condition {
            sql: schema::VERSION_SQL,
            answer: SCHEMA_VERSION.to_string(),
            complaint: "a newer slapos has changed the database's schema: restart this Master with \
                        that one",
        });
        let told = Arc::clone(&hub);
        let listener = Listener::start(Arc::clone(&server), move |notice| {
            told.publish(&Changes::from_notice(notice));
        })
        .map_err(failed)?;
        let connect = {
            let server = Arc::clone(&server);
            move || Ok(Connection::from(Postgres::new(Arc::clone(&server))))
        };
        let readers = Readers::pool(SERVER_READERS, connect.clone());
        let writer = start_writer(connection, Box::new(connect), &hub, &clock)
            .map_err(|error| failed(SqlError::Other(format!("cannot start a thread: {error}"))))?;
        Ok(Store {
            _listener: Some(listener),
            readers,
            writer,
            hub,
            clock,
            contacts: Contacts::default(),
            _lock: None,
        })
    }

    /// Who hears of changes.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// The clock all of this Master goes by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Reads one state of the database.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.readers.read(work).await
    }

    /// Changes the database: returns once that is durable. The job decides before it writes, and may
    /// run more than once: see [`writer`].
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer.write(work).await
    }
}

/// Does what waits for a server, on a thread that may wait.
fn off_the_runtime<T: Send>(
    work: impl FnOnce() -> Result<T, OpenError> + Send,
) -> Result<T, OpenError> {
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|_| {
        Err(OpenError::Address(
            "the way to the database ended in a panic; please report it".to_owned(),
        ))
    })
}

fn start_writer(
    connection: Connection,
    connect: Box<dyn FnMut() -> Result<Connection, SqlError> + Send>,
    hub: &Arc<Hub>,
    clock: &Arc<dyn Clock>,
) -> std::io::Result<Writer> {
    let hub = Arc::clone(hub);
    Writer::start(
        connection,
        Duties {
            connect,
            settle,
            conclude,
            committed: Box::new(move |changes| hub.publish(changes)),
            clock: Arc::clone(clock),
        },
    )
}

/// What a job made possible for those who wait. It happens before the next job: who came first is
/// served first.
fn settle(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    upgrades::carry_out_waiting(tx)?;
    placement::place_waiting(tx)
}

/// What belongs into each transaction after its jobs.
fn conclude(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    settle(tx)?;
    let nodes: Vec<i64> = tx.changes.nodes.iter().map(|node| node.0).collect();
    for node in nodes {
        tx.execute(
            "UPDATE node SET revision = revision + 1 WHERE id = ?1",
            sql::params![node],
        )?;
    }
    Ok(())
}

/// Makes an empty database ours, or brings ours up to date.
fn prepare(connection: &mut Connection, shown: &str) -> Result<(), OpenError> {
    let failed = |source| OpenError::Database {
        database: shown.to_owned(),
        source,
    };
    connection.begin_write().map_err(failed)?;
    let from = match schema::found(connection).map_err(failed)? {
        schema::Found::Empty => 0,
        schema::Found::Version(found) if found > SCHEMA_VERSION => {
            return Err(OpenError::TooNew {
                database: shown.to_owned(),
                found,
                known: SCHEMA_VERSION,
            });
        }
        schema::Found::Version(found) => found,
        schema::Found::Foreign => {
            return Err(OpenError::Foreign {
                database: shown.to_owned(),
            });
        }
    };
    if from < SCHEMA_VERSION {
        schema::upgrade(connection, from).map_err(failed)?;
    }
    connection.commit().map_err(failed)
}

/// The file beside the database that says it is in use.
fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let io = |source| OpenError::Io {
        path: name.clone(),
        source,
    };
    let file = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&name)
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::Locked {
            path: path.to_owned(),
        }),
        Err(std::fs::TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Makes the file before SQLite would, readable by nobody else.
fn create_private(path: &Path) -> std::io::Result<()> {
    match File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
    {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn make_private(path: &Path) -> std::io::Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::set_permissions(&name, Permissions::from_mode(0o600)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
