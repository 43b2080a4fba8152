//! The one thread that writes. It drains its queue into one transaction, commits it durably, and
//! only then lets those who asked know. Each job has its own savepoint: a failing one spoils none.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::revision::{Changes, Revisions};
use super::{Clock, StoreError, Timestamp};

/// Jobs that may wait. Those who have more wait to hand them in.
const QUEUE_JOBS_MAX: usize = 1024;
/// Jobs in one transaction at most: bounds how long the first one waits for its answer.
const BATCH_JOBS_MAX: usize = 256;

/// What a job works with: the connection inside its savepoint, the time, and where it notes which
/// nodes' documents it changes.
pub(super) struct Write<'a> {
    pub(super) connection: &'a Connection,
    pub(super) now: Timestamp,
    pub(super) changes: Changes,
}

/// A job of any result type, in the three steps the loop needs.
trait Job: Send {
    /// Does the work; `false` when it must be rolled back.
    fn run(&mut self, write: &mut Write<'_>) -> bool;
    /// The work ended in a panic.
    fn fail(&mut self, detail: &str);
    /// Tells who asked. `Err` when the transaction did not reach the disk.
    fn finish(self: Box<Self>, committed: Result<(), String>);
}

struct TypedJob<T, F> {
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for TypedJob<T, F>
where
    T: Send,
    F: FnOnce(&mut Write<'_>) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, write: &mut Write<'_>) -> bool {
        let result = match self.work.take() {
            Some(work) => work(write),
            None => Err(StoreError::Closed),
        };
        let done = result.is_ok();
        self.result = Some(result);
        done
    }

    fn fail(&mut self, detail: &str) {
        self.result = Some(Err(StoreError::NotCommitted(detail.to_owned())));
    }

    fn finish(self: Box<Self>, committed: Result<(), String>) {
        let result = match (self.result, committed) {
            // A refusal stands whatever became of the others' changes.
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(_)), Err(detail)) => Err(StoreError::NotCommitted(detail)),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Err(detail)) => Err(StoreError::NotCommitted(detail)),
            (None, Ok(())) => Err(StoreError::Closed),
        };
        // Who asked may have gone away meanwhile.
        let _ = self.reply.send(result);
    }
}

/// The way to the writing thread.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread on this connection.
    pub(super) fn start(
        connection: Connection,
        clock: Arc<dyn Clock>,
        revisions: Arc<Revisions>,
    ) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE_JOBS_MAX);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(&connection, jobs, &*clock, &revisions))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Runs a job in the next transaction; returns once that is on disk.
    ///
    /// The job is carried out even when the returned future is dropped.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Write<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(TypedJob {
            work: Some(work),
            result: None,
            reply,
        });
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        queue.send(job).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}

impl Drop for Writer {
    /// Lets the thread finish what is queued, and waits for it.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes to the database ended in a panic");
        }
    }
}

fn run(
    connection: &Connection,
    mut jobs: mpsc::Receiver<Box<dyn Job>>,
    clock: &dyn Clock,
    revisions: &Revisions,
) {
    let mut batch = Vec::with_capacity(BATCH_JOBS_MAX);
    while let Some(first) = jobs.blocking_recv() {
        batch.push(first);
        let mut changes = Changes::default();
        let committed = transact(connection, &mut batch, &mut jobs, clock, &mut changes);
        if committed.is_ok() {
            // Readers may now trust no document older than this.
            revisions.bump(&changes);
        }
        for job in batch.drain(..) {
            job.finish(committed.clone());
        }
    }
    // What is left in the write-ahead log goes to the database: the file can be copied alone.
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        tracing::warn!("the database could not be tidied up on closing: {error}");
    }
}

fn transact(
    connection: &Connection,
    batch: &mut Vec<Box<dyn Job>>,
    jobs: &mut mpsc::Receiver<Box<dyn Job>>,
    clock: &dyn Clock,
    changes: &mut Changes,
) -> Result<(), String> {
    let execute = |sql: &str| {
        connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]))
            .map_err(|error| error.to_string())
    };
    let attempt = (|| {
        execute("BEGIN IMMEDIATE")?;
        let mut next = 0;
        loop {
            while let Some(job) = batch.get_mut(next) {
                next += 1;
                execute("SAVEPOINT job")?;
                let mut write = Write {
                    connection,
                    now: clock.now(),
                    changes: Changes::default(),
                };
                match catch_unwind(AssertUnwindSafe(|| job.run(&mut write))) {
                    Ok(true) => changes.merge(write.changes),
                    Ok(false) => {
                        execute("ROLLBACK TO job")?;
                    }
                    Err(_) => {
                        execute("ROLLBACK TO job")?;
                        job.fail("an internal error was met; see the log");
                    }
                }
                execute("RELEASE job")?;
            }
            if batch.len() >= BATCH_JOBS_MAX {
                break;
            }
            match jobs.try_recv() {
                Ok(job) => batch.push(job),
                Err(_) => break,
            }
        }
        execute("COMMIT")?;
        Ok(())
    })();
    if attempt.is_err() && !connection.is_autocommit() {
        // The error of the attempt is the one to tell.
        let _ = execute("ROLLBACK");
    }
    attempt
}
