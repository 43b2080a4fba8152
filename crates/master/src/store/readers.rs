//! Connections that read. Each read sees one state of the database.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::StoreError;
use super::sql::{Connection, SqlError};

/// The connections for reading of a store.
pub(super) enum Readers {
    /// Local and fast: used in place.
    InPlace {
        connections: Vec<Mutex<Connection>>,
        next: AtomicUsize,
    },
    /// To a server: used on threads that may wait.
    Pool(Arc<Pool>),
}

/// Connections that are made as they are needed, and kept.
pub(super) struct Pool {
    connect: Box<dyn Fn() -> Result<Connection, SqlError> + Send + Sync>,
    /// How many more may be in use at once.
    free: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    /// Readers of something local, at least one.
    pub(super) fn in_place(connections: Vec<Connection>) -> Self {
        Readers::InPlace {
            connections: connections.into_iter().map(Mutex::new).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// At most so many readers of something far away.
    pub(super) fn pool(
        most: usize,
        connect: impl Fn() -> Result<Connection, SqlError> + Send + Sync + 'static,
    ) -> Self {
        Readers::Pool(Arc::new(Pool {
            connect: Box::new(connect),
            free: Arc::new(Semaphore::new(most)),
            idle: Mutex::default(),
        }))
    }

    /// Reads one state of the database.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        match self {
            Readers::InPlace { connections, next } => {
                let start = next.fetch_add(1, Ordering::Relaxed);
                let nth = |offset: usize| connections.get((start + offset) % connections.len());
                let free = (0..connections.len())
                    .filter_map(nth)
                    .find_map(|reader| reader.try_lock().ok());
                let mut connection = match free {
                    Some(connection) => connection,
                    None => nth(0)
                        .ok_or(StoreError::Closed)?
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner),
                };
                read_on(&mut connection, work)
            }
            Readers::Pool(pool) => {
                let place = Arc::clone(&pool.free)
                    .acquire_owned()
                    .await
                    .map_err(|_| StoreError::Closed)?;
                let pool = Arc::clone(pool);
                let read = move || {
                    // Given back once the connection is.
                    let _place = place;
                    let idle = pool.idle().pop();
                    let mut connection = idle.map_or_else(|| (pool.connect)(), Ok)?;
                    let result = read_on(&mut connection, work);
                    pool.idle().push(connection);
                    result
                };
                tokio::task::spawn_blocking(read)
                    .await
                    .unwrap_or_else(|error| Err(StoreError::Internal(format!("a read: {error}"))))
            }
        }
    }
}

impl Pool {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_on<T>(
    connection: &mut Connection,
    work: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection.begin_read()?;
    let result = work(connection);
    // Nothing was changed: whichever way it ends, the next reader begins anew.
    connection.rollback()?;
    result
}
