//! The Pythons that run plugins: one for a partition, kept while its plugins are due (N 4.6, c).
//!
//! Whoever keeps a [`Runners`] keeps them; whoever makes one for a single run has each plugin forked
//! from one interpreter and that ended with the run. One thread starts and reaps them all: a child
//! of the node dies with the thread that started it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use slap::PartitionId;

use crate::child::{ChildError, Resident, Spawn};
use crate::user::User;

/// How long a runner is kept that has nothing to do: longer than plugins usually pause.
const IDLE: Duration = Duration::from_secs(300);

/// What a waiting runner takes of the machine's memory, in KiB, as a rule.
const RUNNER_KIB: u64 = 64 << 10;

/// Which part of the memory runners that wait may take.
const MEMORY_PART: u64 = 8;

/// Runners that wait for the next plugin that is due. Clones share them; the last one ends them.
#[derive(Debug, Clone, Default)]
pub struct Runners(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// How long one waits.
    limit: Duration,
    idle: Arc<Mutex<Idle>>,
    keeper: Mutex<Option<SyncSender<Message>>>,
}

type Idle = BTreeMap<PartitionId, (Instant, Runner)>;

/// A Python that waits for orders.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) resident: Resident,
    /// What its answers begin with.
    pub(super) token: String,
    /// How many orders it got.
    pub(super) orders: u64,
    /// What it was started for: with another key it is of no use.
    key: String,
}

/// What it takes to start one.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) program: std::ffi::OsString,
    pub(super) args: Vec<String>,
    pub(super) directory: PathBuf,
    pub(super) user: User,
}

enum Message {
    Start(Box<Launch>, SyncSender<Result<Resident, ChildError>>),
    /// Another one waits: look when it has waited long enough.
    Look,
}

impl Default for Inner {
    fn default() -> Self {
        Inner::waiting_for(IDLE)
    }
}

impl Inner {
    fn waiting_for(limit: Duration) -> Self {
        Inner {
            limit,
            idle: Arc::default(),
            keeper: Mutex::default(),
        }
    }
}

impl Runners {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// None yet; they wait as long.
    #[cfg(test)]
    pub(crate) fn waiting_for(limit: Duration) -> Self {
        Runners(Arc::new(Inner::waiting_for(limit)))
    }

    /// Ends the one of a partition, if it waits: its instance is stopped or gone.
    pub fn end(&self, partition: &PartitionId) {
        let ended = lock(&self.0.idle).remove(partition);
        dismiss(ended.into_iter());
    }

    /// The process ids of those that wait.
    pub fn waiting(&self) -> Vec<u32> {
        lock(&self.0.idle)
            .values()
            .filter_map(|(_, runner)| runner.resident.pid())
            .collect()
    }

    /// The one that waits for this partition, if it was started for the same.
    pub(super) fn take(&self, partition: &PartitionId, key: &str) -> Option<Runner> {
        let (since, runner) = lock(&self.0.idle).remove(partition)?;
        if runner.key == key {
            return Some(runner);
        }
        dismiss([(since, runner)].into_iter());
        None
    }

    /// Starts one.
    pub(super) fn start(
        &self,
        launch: Launch,
        key: &str,
        token: String,
    ) -> Result<Runner, ChildError> {
        let program = launch.program.to_string_lossy().into_owned();
        let (reply, answer) = sync_channel(1);
        self.tell(Message::Start(Box::new(launch), reply));
        let resident = answer.recv().unwrap_or_else(|_| {
            Err(ChildError::Start {
                program,
                source: std::io::Error::other("the thread that starts it is gone"),
            })
        })?;
        Ok(Runner {
            resident,
            token,
            orders: 0,
            key: key.to_owned(),
        })
    }

    /// Keeps one until plugins of its partition are due again.
    pub(super) fn keep(&self, partition: &PartitionId, runner: Runner) {
        let left_out = {
            let mut idle = lock(&self.0.idle);
            let replaced = idle.insert(partition.clone(), (Instant::now(), runner));
            let mut left_out: Vec<_> = replaced.into_iter().collect();
            while idle.len() > most() {
                let oldest = idle
                    .iter()
                    .min_by_key(|(_, (since, _))| *since)
                    .map(|(partition, _)| partition.clone());
                left_out.extend(oldest.and_then(|partition| idle.remove(&partition)));
            }
            left_out
        };
        // It takes a moment: not under the lock.
        dismiss(left_out.into_iter());
        self.tell(Message::Look);
    }

    fn tell(&self, message: Message) {
        let mut keeper = lock(&self.0.keeper);
        let sender = keeper.get_or_insert_with(|| {
            let (sender, receiver) = sync_channel(16);
            let idle = Arc::clone(&self.0.idle);
            let limit = self.0.limit;
            std::thread::spawn(move || work(&receiver, &idle, limit));
            sender
        });
        let _ = sender.send(message);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let all = std::mem::take(&mut *lock(&self.idle));
        dismiss(all.into_values());
    }
}

/// Starts what is asked for, and ends what has waited too long, until nobody is left to ask.
fn work(messages: &Receiver<Message>, idle: &Mutex<Idle>, limit: Duration) {
    loop {
        let oldest = lock(idle).values().map(|(since, _)| *since).min();
        let message = match oldest {
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(since) => messages.recv_timeout(limit.saturating_sub(since.elapsed())),
        };
        match message {
            Ok(Message::Start(launch, reply)) => {
                let mut spawn = Spawn::new(&launch.program, &launch.directory, &launch.user);
                spawn.args = launch.args.iter().map(Into::into).collect();
                let _ = reply.send(Resident::start(&spawn));
            }
            Ok(Message::Look) => {}
            Err(RecvTimeoutError::Timeout) => {
                let mut kept = lock(idle);
                let all = std::mem::take(&mut *kept);
                let (stay, ended): (Idle, Idle) = all
                    .into_iter()
                    .partition(|(_, (since, _))| since.elapsed() < limit);
                *kept = stay;
                drop(kept);
                dismiss(ended.into_values());
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Ends runners that wait.
fn dismiss(runners: impl Iterator<Item = (Instant, Runner)>) {
    for (_, runner) in runners {
        runner.resident.dismiss();
    }
}

/// How many may wait at once.
fn most() -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok())
        .unwrap_or(0);
    usize::try_from(total / MEMORY_PART / RUNNER_KIB)
        .unwrap_or(1)
        .clamp(1, 256)
}

/// A thread that panicked leaves what can only be ended.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
