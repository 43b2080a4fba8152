//! The one thread that writes. It drains its queue into one transaction, commits it durably, and
//! only then lets those who asked know.
//!
//! A job decides before it writes: a refusal leaves nothing to undo. One that fails after it wrote
//! takes the whole transaction back, and the others are run again without it; so a job may run more
//! than once, and what it returns counts only from the run that was committed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::sql::{Connection, Param, Row, SqlError};
use super::{Changes, StoreError};
use crate::domain::{Clock, Timestamp};

/// Jobs that may wait. Those who have more wait to hand them in.
const QUEUE_JOBS_MAX: usize = 4096;
/// Jobs in one transaction at most: bounds how long the first one waits for its answer.
const BATCH_JOBS_MAX: usize = 512;
/// How long to wait before the next attempt to reach a database that went away.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// What a job works with: the connection inside the transaction, the time, and where it notes what
/// it changes.
pub(crate) struct Tx<'a> {
    connection: &'a mut Connection,
    now: Timestamp,
    dirty: bool,
    /// Whose documents change, and what may have become placeable.
    pub(crate) changes: Changes,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(connection: &'a mut Connection, now: Timestamp) -> Self {
        Tx {
            connection,
            now,
            dirty: false,
            changes: Changes::default(),
        }
    }

    /// The time of this job.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// Changes rows; how many.
    pub(crate) fn execute(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64, SqlError> {
        self.dirty = true;
        self.connection.execute(sql, params)
    }

    /// Changes rows that must be there.
    pub(crate) fn insert(&mut self, sql: &str, params: &[Param<'_>]) -> Result<i64, SqlError> {
        self.dirty = true;
        self.connection
            .one(sql, params)?
            .ok_or_else(|| SqlError::Shape("an INSERT returned no key".to_owned()))?
            .int(0)
    }

    /// Changes a row and returns what is asked of it; none when no row was changed.
    pub(crate) fn one_changed(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Option<Row>, SqlError> {
        self.dirty = true;
        self.connection.one(sql, params)
    }

    /// For reading.
    pub(crate) fn sql(&mut self) -> &mut Connection {
        self.connection
    }

    /// The first row.
    pub(crate) fn one(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Option<Row>, SqlError> {
        self.connection.one(sql, params)
    }

    /// All rows.
    pub(crate) fn all(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, SqlError> {
        self.connection.all(sql, params)
    }
}

/// A job of any result type, in the steps the loop needs.
trait Job: Send {
    fn run(&mut self, tx: &mut Tx<'_>) -> Outcome;
    /// The job is not run again; this is its answer.
    fn fail(&mut self, error: StoreError);
    /// Tells who asked. `Err` when the transaction did not reach the disk.
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

/// What became of one run of a job.
enum Outcome {
    Done,
    Failed,
}

struct TypedJob<T, F> {
    work: F,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for TypedJob<T, F>
where
    T: Send,
    F: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Outcome {
        let result = (self.work)(tx);
        let outcome = match &result {
            Ok(_) => Outcome::Done,
            Err(_) => Outcome::Failed,
        };
        self.result = Some(result);
        outcome
    }

    fn fail(&mut self, error: StoreError) {
        self.result = Some(Err(error));
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        let result = match (self.result, committed) {
            // A refusal stands whatever became of the others' changes.
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(StoreError::Closed),
        };
        // Who asked may have gone away meanwhile.
        let _ = self.reply.send(result);
    }
}

/// What the writing thread needs from those who start it.
pub(crate) struct Duties {
    /// Opens the connection, again after it was lost.
    pub(crate) connect: Box<dyn FnMut() -> Result<Connection, SqlError> + Send>,
    /// What follows a job that made room: those who wait are placed before the next job.
    pub(crate) settle: fn(&mut Tx<'_>) -> Result<(), StoreError>,
    /// What belongs into each transaction after its jobs: goes on with what was too much, raises
    /// revisions.
    pub(crate) conclude: fn(&mut Tx<'_>) -> Result<(), StoreError>,
    /// Hears what was committed.
    pub(crate) committed: Box<dyn Fn(&Changes) + Send>,
    /// The time.
    pub(crate) clock: Arc<dyn Clock>,
}

/// The way to the writing thread.
pub(crate) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(connection: Connection, duties: Duties) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE_JOBS_MAX);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(connection, jobs, duties))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Runs a job in the next transaction; returns once that is on disk.
    ///
    /// The job is carried out even when the returned future is dropped.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(TypedJob {
            work,
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

fn run(mut connection: Connection, mut jobs: mpsc::Receiver<Box<dyn Job>>, mut duties: Duties) {
    let mut batch: Vec<Box<dyn Job>> = Vec::with_capacity(BATCH_JOBS_MAX);
    let mut left = Changes::default();
    loop {
        if left.resume.is_empty() {
            let Some(first) = jobs.blocking_recv() else {
                break;
            };
            batch.push(first);
        }
        while batch.len() < BATCH_JOBS_MAX {
            match jobs.try_recv() {
                Ok(job) => batch.push(job),
                Err(_) => break,
            }
        }
        let begun = std::mem::take(&mut left);
        let mut committed = transact(&mut connection, &mut batch, &mut jobs, &begun, &duties);
        if let Ok(changes) = &mut committed {
            // What one transaction did not finish goes on in the next one.
            left.resume = std::mem::take(&mut changes.resume);
            left.placeable = left.resume.keys().copied().collect();
            (duties.committed)(changes);
        } else {
            if !begun.resume.is_empty() {
                // Nobody waits for this: no hurry.
                std::thread::sleep(RECONNECT_PAUSE);
            }
            left = begun;
        }
        let lost = matches!(
            committed,
            Err(StoreError::Sql(SqlError::Lost(_)) | StoreError::CommitUnknown(_))
        );
        let answer = committed.map(|_| ());
        for job in batch.drain(..) {
            job.finish(answer.clone());
        }
        if lost {
            match (duties.connect)() {
                Ok(fresh) => connection = fresh,
                Err(error) => {
                    tracing::warn!("the database is away: {error}");
                    std::thread::sleep(RECONNECT_PAUSE);
                }
            }
        }
    }
    connection.close();
}

/// Runs a batch in one transaction, with what arrives meanwhile.
fn transact(
    connection: &mut Connection,
    batch: &mut Vec<Box<dyn Job>>,
    jobs: &mut mpsc::Receiver<Box<dyn Job>>,
    begun: &Changes,
    duties: &Duties,
) -> Result<Changes, StoreError> {
    // Jobs whose answer is settled: run again by nobody.
    let mut settled = vec![false; batch.len()];
    'again: loop {
        connection.begin_write()?;
        let mut changes = begun.clone();
        let mut next = 0;
        loop {
            while let Some(job) = batch.get_mut(next) {
                let index = next;
                next += 1;
                if settled.get(index).copied().unwrap_or_default() {
                    continue;
                }
                let mut tx = Tx::new(connection, duties.clock.now());
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    let outcome = job.run(&mut tx);
                    if matches!(outcome, Outcome::Done)
                        && tx.changes.makes_room()
                        && let Err(error) = (duties.settle)(&mut tx)
                    {
                        job.fail(error);
                        return Outcome::Failed;
                    }
                    outcome
                }));
                let (dirty, noted) = (tx.dirty, tx.changes);
                let spoiled = connection.spoiled_by().cloned();
                if let Some(lost @ SqlError::Lost(_)) = spoiled {
                    return Err(lost.into());
                }
                match outcome {
                    Ok(Outcome::Done) if spoiled.is_none() => changes.merge(noted),
                    Ok(Outcome::Failed) if spoiled.is_none() && !dirty => {}
                    failed => {
                        match (failed, spoiled) {
                            // Whatever it made of the error: nothing of it can be committed.
                            (Ok(Outcome::Done), Some(error)) => job.fail(error.into()),
                            (Ok(_), _) => {}
                            (Err(_), _) => {
                                let error = "a job ended in a panic".to_owned();
                                job.fail(StoreError::Internal(error));
                            }
                        }
                        if let Some(mark) = settled.get_mut(index) {
                            *mark = true;
                        }
                        connection.rollback()?;
                        continue 'again;
                    }
                }
            }
            if batch.len() >= BATCH_JOBS_MAX {
                break;
            }
            match jobs.try_recv() {
                Ok(job) => {
                    batch.push(job);
                    settled.push(false);
                }
                Err(_) => break,
            }
        }
        let changes = match conclude(connection, changes, duties) {
            Ok(changes) => changes,
            Err(error) => {
                tracing::error!("a transaction could not be concluded: {error}");
                connection.rollback()?;
                return Err(error);
            }
        };
        return match connection.commit() {
            Ok(()) => Ok(changes),
            Err(SqlError::Lost(detail)) => Err(StoreError::CommitUnknown(detail)),
            Err(error) => {
                connection.rollback()?;
                Err(error.into())
            }
        };
    }
}

/// Does what belongs into each transaction, and lets the other Masters know.
fn conclude(
    connection: &mut Connection,
    changes: Changes,
    duties: &Duties,
) -> Result<Changes, StoreError> {
    let mut tx = Tx::new(connection, duties.clock.now());
    tx.changes = changes;
    (duties.conclude)(&mut tx)?;
    let changes = tx.changes;
    if let Some(notice) = changes.notice() {
        connection.notify(&notice)?;
    }
    Ok(changes)
}
