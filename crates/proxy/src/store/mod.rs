//! The store: the database is the truth, and this is the only place that speaks SQL.
//!
//! One thread writes: what it acknowledges is on disk. Readers have connections of their own and see
//! whole transactions only. The interface is in the domain's words, so that another database can
//! stand behind it.

mod error;
mod import;
mod operations;
mod queries;
mod request;
mod revision;
mod schema;
mod snapshot;
mod writer;

use std::collections::HashSet;
use std::fs::{File, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use slap::document::TextDict;
use slap::{InstallationState, InstanceTitle, NodeId, ReleaseUrl};

use crate::domain::{
    Clock, Instance, Node, Partition, Place, Refusal, Request, SystemClock, Timestamp,
};
pub use error::{OpenError, StoreError};
pub use operations::NodeDescription;
use revision::Revisions;
pub use schema::VERSION as SCHEMA_VERSION;
pub use snapshot::{InstanceRecord, Snapshot};
use writer::{Write, Writer};

/// Connections for reading. Reads take microseconds: a few serve many.
const READERS: usize = 4;
/// How long SQLite waits for another process, such as one that shows the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of the file a reader may map into its memory.
const READER_MAP_BYTES: i64 = 256 << 20;
/// Prepared statements kept per connection.
const STATEMENTS: usize = 128;

/// A node with all it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeState {
    /// The node.
    pub node: NodeId,
    /// Its partitions in its order.
    pub partitions: Vec<Partition>,
    /// The releases asked for, in the order they were.
    pub installations: Vec<(String, InstallationState)>,
}

/// The database of a Master.
pub struct Store {
    /// Closed before the writer's connection, which as the last one leaves a single file behind.
    readers: Vec<Mutex<Connection>>,
    writer: Writer,
    next_reader: AtomicUsize,
    revisions: Arc<Revisions>,
    default_node: String,
    /// Held as long as the store is open: one process at a time.
    _lock: File,
}

impl Store {
    /// Opens a database, creating or upgrading it where needed. One that upstream's proxy wrote is
    /// taken over, with a copy left beside it (P 6.17).
    ///
    /// `default_node` is where requests go that name no node.
    ///
    /// # Errors
    /// [`OpenError`] when the file cannot be used; it is as it was then.
    pub fn open(path: &Path, default_node: &NodeId) -> Result<Self, OpenError> {
        Self::open_with_clock(path, default_node, Arc::new(SystemClock))
    }

    /// [`Store::open`] with another clock, for tests.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with_clock(
        path: &Path,
        default_node: &NodeId,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io {
            path: path.to_owned(),
            source,
        };
        let database = |source| OpenError::Database {
            path: path.to_owned(),
            source,
        };
        let lock = lock(path)?;
        create_private(path).map_err(io)?;
        let mut connection = Connection::open(path).map_err(database)?;
        prepare(path, &mut connection, default_node, &*clock)?;
        make_private(path).map_err(io)?;
        let readers = (0..READERS)
            .map(|_| reader(path).map(Mutex::new))
            .collect::<Result<_, _>>()
            .map_err(database)?;
        let revisions = Arc::new(Revisions::default());
        Ok(Self {
            writer: Writer::start(connection, clock, Arc::clone(&revisions)).map_err(io)?,
            readers,
            next_reader: AtomicUsize::new(0),
            revisions,
            default_node: default_node.as_str().to_owned(),
            _lock: lock,
        })
    }

    /// Reads on one connection, within one transaction.
    fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let start = self.next_reader.fetch_add(1, Ordering::Relaxed);
        let free = (0..self.readers.len())
            .filter_map(|offset| self.readers.get((start + offset) % self.readers.len()))
            .find_map(|reader| reader.try_lock().ok());
        let connection = match free {
            Some(connection) => connection,
            None => self
                .readers
                .get(start % self.readers.len())
                .ok_or(StoreError::Closed)?
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        };
        let execute = |sql| connection.prepare_cached(sql)?.execute([]);
        execute("BEGIN")?;
        let result = work(&connection);
        execute("COMMIT")?;
        result
    }

    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Write<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer.write(work).await
    }

    /// Rises with every change of a node's document. Documents read after this call are at least as
    /// new as the number.
    pub fn node_revision(&self, node: &str) -> u64 {
        self.revisions.of_node(node)
    }

    /// Rises with every change of any node's document; otherwise as [`Store::node_revision`].
    pub fn revision(&self) -> u64 {
        self.revisions.total()
    }

    /// Wakes at changes of any node's document from now on.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<()> {
        self.revisions.changes()
    }

    /// Carries out a request (P 6.3, 6.4): returns the instance as it now is, or for a shared one
    /// that was to be destroyed, as it was. One that changes nothing writes nothing.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with the reason; nothing was changed then.
    pub async fn request(&self, request: Arc<Request>) -> Result<Instance, StoreError> {
        if let Some(instance) = self.read(|connection| request::peek(connection, &request))? {
            return Ok(instance);
        }
        let default_node = self.default_node.clone();
        self.write(move |write| request::execute(write, &request, &default_node))
            .await
    }

    /// Whether a title is an instance of the requester's tree, or a root, here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn is_known(&self, request: &Request) -> Result<bool, StoreError> {
        self.read(|connection| request::is_known(connection, request))
    }

    /// Stores what a node tells about itself. An unchanged description writes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn format(&self, description: NodeDescription) -> Result<(), StoreError> {
        if !self.read(|connection| operations::differs(connection, &description))? {
            return Ok(());
        }
        self.write(move |write| operations::format(write, &description))
            .await
    }

    /// Asks for a release on a node, or for its removal.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn supply(
        &self,
        node: NodeId,
        release: ReleaseUrl,
        state: InstallationState,
    ) -> Result<(), StoreError> {
        self.write(move |write| operations::supply(write, &node, &release, state))
            .await
    }

    /// A node reports that it removed a release.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn release_removed(&self, node: String, release: String) -> Result<(), StoreError> {
        self.write(move |write| operations::release_removed(write, &node, &release))
            .await
    }

    /// Publishes connection parameters of the instance on a partition, or of a shared one it serves.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such partition, instance or shared instance.
    pub async fn publish(
        &self,
        place: Place,
        shared: Option<String>,
        parameters: TextDict,
    ) -> Result<(), StoreError> {
        let known = self.read(|connection| {
            let row = operations::subject(connection, &place, shared.as_deref())?;
            Ok(row.instance.connection.as_ref() == Some(&parameters))
        })?;
        if known {
            return Ok(());
        }
        self.write(move |write| {
            let row = operations::subject(write.connection, &place, shared.as_deref())?;
            operations::publish(write, &row, &parameters)
        })
        .await
    }

    /// Asks for reprocessing of the tree of the instance on a partition.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such partition or nothing on it.
    pub async fn bang(&self, place: Place) -> Result<(), StoreError> {
        self.write(move |write| {
            let row = operations::subject(write.connection, &place, None)?;
            operations::bang(write, &row)
        })
        .await
    }

    /// Asks for reprocessing of all that is on a node.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn bang_node(&self, node: String) -> Result<(), StoreError> {
        self.write(move |write| operations::bang_node(write, &node))
            .await
    }

    /// Renames the instance on a partition, or a shared one it serves.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such one or the title is taken.
    pub async fn rename(
        &self,
        place: Place,
        shared: Option<String>,
        title: InstanceTitle,
    ) -> Result<(), StoreError> {
        self.write(move |write| {
            let row = operations::subject(write.connection, &place, shared.as_deref())?;
            operations::rename(write, &row, &title)
        })
        .await
    }

    /// A node reports that it destroyed what was on a partition. The inner result says why the
    /// partition is not free, if it is not (P 6.10).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn destroyed(&self, place: Place) -> Result<Result<(), Refusal>, StoreError> {
        self.write(move |write| operations::destroyed(write, &place))
            .await
    }

    /// Remembers that another Master answers a title.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remember_forwarded(
        &self,
        title: String,
        master_url: String,
    ) -> Result<(), StoreError> {
        let known = self.forwarded()?;
        if known.contains(&(title.clone(), master_url.clone())) {
            return Ok(());
        }
        self.write(move |write| {
            write
                .connection
                .prepare_cached(
                    "INSERT INTO forwarded_request (title, master_url) VALUES (?1, ?2) \
                     ON CONFLICT DO NOTHING",
                )?
                .execute((title, master_url))?;
            Ok(())
        })
        .await
    }

    /// Forgets that another Master answered a title.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_forwarded(
        &self,
        title: String,
        master_url: String,
    ) -> Result<(), StoreError> {
        self.write(move |write| {
            write
                .connection
                .prepare_cached(
                    "DELETE FROM forwarded_request WHERE title = ?1 AND master_url = ?2",
                )?
                .execute((title, master_url))?;
            Ok(())
        })
        .await
    }

    /// Titles other Masters answer, with the Master's URL.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forwarded(&self) -> Result<Vec<(String, String)>, StoreError> {
        self.read(queries::forwarded)
    }

    /// A node with all it is told; `None` when nobody has named it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn node(&self, node: &NodeId) -> Result<Option<NodeState>, StoreError> {
        self.read(|connection| {
            let Some(id) = queries::node_by_reference(connection, node.as_str())? else {
                return Ok(None);
            };
            Ok(Some(NodeState {
                node: node.clone(),
                partitions: queries::partitions(connection, node, id)?,
                installations: queries::installations(connection, id)?,
            }))
        })
    }

    /// A partition with all that is on it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn partition(&self, place: &Place) -> Result<Option<Partition>, StoreError> {
        self.read(|connection| queries::partition(connection, place))
    }

    /// Whether a node has told of this partition.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_partition(&self, node: &str, partition: &str) -> Result<bool, StoreError> {
        self.read(|connection| {
            Ok(queries::partition_by_place(connection, node, partition)?.is_some())
        })
    }

    /// The nodes that described themselves.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        self.read(queries::nodes)
    }

    /// The roots of all trees: ordinary ones first, each in the order they came.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn roots(&self) -> Result<Vec<Instance>, StoreError> {
        self.read(|connection| instances(queries::all_roots(connection)?))
    }

    /// The root of a tree.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn root(&self, title: &str, shared: bool) -> Result<Option<Instance>, StoreError> {
        self.read(|connection| {
            queries::root(connection, title, shared)?
                .map(|row| queries::with_addresses(connection, row))
                .transpose()
        })
    }

    /// All instances of the trees of a title, roots first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tree(&self, title: &str) -> Result<Vec<Instance>, StoreError> {
        self.read(|connection| instances(queries::instances_of_tree(connection, title)?))
    }

    /// The first ordinary instance of this title in any tree that is not its root.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn member_titled(&self, title: &str) -> Result<Option<Instance>, StoreError> {
        self.read(|connection| {
            Ok(queries::member_of_any_tree(connection, title)?.map(|row| row.instance))
        })
    }

    /// The instance that a reference of the JSON API names.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn instance_by_guid(&self, guid: &str) -> Result<Option<Instance>, StoreError> {
        self.read(|connection| {
            queries::instance_by_guid(connection, guid)?
                .map(|row| queries::with_addresses(connection, row))
                .transpose()
        })
    }

    /// The shared instances that an instance serves, stopped ones left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn shared_on(&self, host: &Instance) -> Result<Vec<Instance>, StoreError> {
        self.read(|connection| instances(queries::shared_on(connection, host.id.0)?))
    }

    /// How many nodes, partitions, busy partitions, shared instances and installations there are.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn counts(&self) -> Result<Counts, StoreError> {
        self.read(|connection| {
            Ok(connection
                .prepare_cached(
                    "SELECT (SELECT count(*) FROM node WHERE formatted = 1), \
                     (SELECT count(*) FROM partition), \
                     (SELECT count(*) FROM partition WHERE busy = 1), \
                     (SELECT count(*) FROM instance WHERE shared = 1), \
                     (SELECT count(*) FROM installation)",
                )?
                .query_row([], |row| {
                    Ok(Counts {
                        nodes: row.get(0)?,
                        partitions: row.get(1)?,
                        busy: row.get(2)?,
                        shared: row.get(3)?,
                        installations: row.get(4)?,
                    })
                })?)
        })
    }
}

/// What there is, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Nodes that described themselves.
    pub nodes: i64,
    /// Their partitions.
    pub partitions: i64,
    /// Those with an instance.
    pub busy: i64,
    /// Shared instances.
    pub shared: i64,
    /// Releases asked for.
    pub installations: i64,
}

fn instances(rows: Vec<queries::InstanceRow>) -> Result<Vec<Instance>, StoreError> {
    Ok(rows.into_iter().map(|row| row.instance).collect())
}

/// The number of a partition somebody named.
fn known_partition(connection: &Connection, place: &Place) -> Result<i64, StoreError> {
    let (node, partition) = (place.node.as_str(), place.partition.as_str());
    queries::partition_by_place(connection, node, partition)?.ok_or_else(|| {
        StoreError::Refused(Refusal::UnknownPartition {
            node: node.to_owned(),
            partition: partition.to_owned(),
        })
    })
}

/// Advances an instance's timestamp: it will be processed again.
fn touch(write: &mut Write<'_>, instance: i64) -> Result<(), StoreError> {
    let Some(row) = queries::instance_by_id(write.connection, instance)? else {
        return Ok(());
    };
    write
        .connection
        .prepare_cached("UPDATE instance SET timestamp = ?2 WHERE id = ?1")?
        .execute((
            instance,
            row.instance.timestamp.advance(write.now).nanoseconds(),
        ))?;
    if let Some(place) = &row.instance.place {
        write.changes.node(place.node.as_str());
    }
    Ok(())
}

use operations::remove_shared;

/// Makes the file when it is not there: parameters hold passwords, so it is its owner's alone.
fn create_private(path: &Path) -> std::io::Result<()> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

/// Takes a database that is ours, with the files beside it, away from all others.
fn make_private(path: &Path) -> std::io::Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::set_permissions(PathBuf::from(name), Permissions::from_mode(0o600)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Takes the lock that keeps a second process off the database.
fn lock(path: &Path) -> Result<File, OpenError> {
    let io = |source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(PathBuf::from(name))
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: path.to_owned(),
        }),
        Err(std::fs::TryLockError::Error(source)) => Err(io(source)),
    }
}

fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    tune(&connection)?;
    connection.pragma_update(None, "mmap_size", READER_MAP_BYTES)?;
    Ok(connection)
}

/// What all connections have in common.
fn tune(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Otherwise SQLite compiles a statement anew for each new value of some of its parameters, which
    // costs far more than running it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Brings a database to the present schema and its connection into the mode for writing.
fn prepare(
    path: &Path,
    connection: &mut Connection,
    default_node: &NodeId,
    clock: &dyn Clock,
) -> Result<(), OpenError> {
    let database = |source| OpenError::Database {
        path: path.to_owned(),
        source,
    };
    tune(connection).map_err(database)?;
    let kind = kind(path, connection)?;
    if let Kind::Upstream { version } = kind {
        import::run(path, connection, version, default_node, clock)?;
    }
    (|| {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let transaction = connection.transaction()?;
        schema::migrate(&transaction)?;
        transaction.execute(
            "INSERT INTO node (reference) VALUES (?1) ON CONFLICT DO NOTHING",
            [default_node.as_str()],
        )?;
        transaction.commit()
    })()
    .map_err(database)
}

/// Whose database a file is.
enum Kind {
    /// Nobody's yet.
    Empty,
    /// Ours, of this version or an earlier one.
    Ours,
    /// Upstream's.
    Upstream { version: u32 },
}

fn kind(path: &Path, connection: &Connection) -> Result<Kind, OpenError> {
    let database = |source| OpenError::Database {
        path: path.to_owned(),
        source,
    };
    let tables: HashSet<String> = schema::tables(connection)
        .map_err(|error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase) => OpenError::Foreign {
                path: path.to_owned(),
            },
            _ => database(error),
        })?
        .into_iter()
        .collect();
    let application: i64 = connection
        .query_row("PRAGMA application_id", [], |row| row.get(0))
        .map_err(database)?;
    if application == schema::APPLICATION_ID {
        let found = schema::version(connection).map_err(database)?;
        return if found > SCHEMA_VERSION {
            Err(OpenError::TooNew {
                path: path.to_owned(),
                found,
                known: SCHEMA_VERSION,
            })
        } else {
            Ok(Kind::Ours)
        };
    }
    if tables.is_empty() {
        return Ok(Kind::Empty);
    }
    import::upstream_version(&tables)
        .map(|version| Kind::Upstream { version })
        .ok_or_else(|| OpenError::Foreign {
            path: path.to_owned(),
        })
}
