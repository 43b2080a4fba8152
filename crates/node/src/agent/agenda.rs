//! What the agent shall do when: the Master's wishes, failures and the clock in, the next task out.
//! No I/O.
//!
//! A task is only a name: what has to be done is found out anew each time it is carried out, by the
//! same code that the one-shot commands run. So a task too many is harmless, and one that is
//! forgotten is the only mistake that can be made here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use slap::document::{NodeDocument, PartitionDocument};
use slap::{InstallationState, InstanceState, PartitionId, ReleaseUrl};

/// Pause after the first failure of a task; it doubles with each further one.
const RETRY_MIN: Duration = Duration::from_secs(2);
/// Longest pause between two tries of a partition: a profile that fails costs most of a second.
const RETRY_MAX: Duration = Duration::from_secs(120);
/// The same for a release: a build may take an hour to fail.
const BUILD_RETRY_MIN: Duration = Duration::from_secs(10);
const BUILD_RETRY_MAX: Duration = Duration::from_secs(600);
/// Least pause between two tasks of a partition that its own files or processes ask for: they are a
/// stranger's, and may do so for ever.
const OWN_PAUSE: Duration = Duration::from_secs(2);

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// Look after the supervisor and what shall run since a reboot.
    Services,
    /// Prepare the machine: addresses, users, directories.
    Format,
    /// Make a release available, or remove it.
    Release(ReleaseUrl),
    /// Make a partition what its instance shall be, and check its promises.
    Partition(PartitionId),
    /// Remove an instance for good.
    Removal(PartitionId),
    /// Measure what the machine and its partitions use, and write it down.
    Collect,
    /// Gather and send what the instances used.
    Report,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Task::Services => f.write_str("services"),
            Task::Format => f.write_str("format"),
            Task::Release(release) => write!(f, "release {release}"),
            Task::Partition(id) => write!(f, "partition {id}"),
            Task::Removal(id) => write!(f, "removal of {id}"),
            Task::Collect => f.write_str("collect"),
            Task::Report => f.write_str("usage report"),
        }
    }
}

/// Tasks that share threads and a lock with the one-shot command that does the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Services,
    Format,
    Software,
    Instance,
    Collect,
    Report,
}

impl Task {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Task::Services => Kind::Services,
            Task::Format => Kind::Format,
            Task::Release(_) => Kind::Software,
            Task::Partition(_) => Kind::Instance,
            Task::Collect => Kind::Collect,
            Task::Removal(_) | Task::Report => Kind::Report,
        }
    }

    fn partition(&self) -> Option<&PartitionId> {
        match self {
            Task::Partition(id) | Task::Removal(id) => Some(id),
            _ => None,
        }
    }
}

/// Why something is done, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The agent has just started.
    Start,
    /// The Master wants something else than before.
    Wanted,
    /// Its time has come: a promise, the periodicity.
    Time,
    /// It failed before.
    Retry,
    /// Its release is ready now.
    ReleaseReady,
    /// Files in the partition changed.
    Files,
    /// A process of the partition ended.
    Exit,
    /// The Master can be reached again.
    Back,
    /// An instance was removed: its partition is made ready for the next one.
    Removed,
}

impl Why {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Why::Start => "the agent started",
            Why::Wanted => "the Master wants it so",
            Why::Time => "its time came",
            Why::Retry => "it failed before",
            Why::ReleaseReady => "its release is ready",
            Why::Files => "its files changed",
            Why::Exit => "one of its processes ended",
            Why::Back => "the Master can be reached again",
            Why::Removed => "an instance was removed",
        }
    }

    /// Whether the partition itself asks for it.
    fn is_own(self) -> bool {
        matches!(self, Why::Files | Why::Exit)
    }
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finish {
    /// All is as it shall be; nothing to do before this time has passed.
    Done { next: Option<Duration> },
    /// It failed and is tried again after a pause.
    Failed { reason: String },
    /// It cannot be done now, which is no failure.
    Postponed { after: Duration, reason: String },
}

/// A task and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// When it is to be done next; never when absent.
    pub(crate) due: Option<Instant>,
    pub(crate) why: Why,
    /// Since when it is being done.
    pub(crate) running: Option<Instant>,
    /// When it was last begun.
    begun: Option<Instant>,
    /// Somebody asked for it while it was being done.
    again: Option<Why>,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// What the last failure or delay was.
    pub(crate) trouble: Option<String>,
    /// It succeeded at least once since it was last wanted.
    done: bool,
    /// Nobody wants it any more; forgotten when it ends.
    dropped: bool,
}

impl Entry {
    fn new(due: Instant, why: Why) -> Self {
        Entry {
            due: Some(due),
            why,
            running: None,
            begun: None,
            again: None,
            failures: 0,
            trouble: None,
            done: false,
            dropped: false,
        }
    }
}

/// How much may be done at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Width {
    /// Partitions, removals among them.
    pub(crate) partitions: usize,
    /// Releases.
    pub(crate) releases: usize,
}

/// What of a partition's document makes it different for the node: not what was reported about it.
type Wish = (Option<InstanceState>, Option<ReleaseUrl>, Option<String>);

fn wish(document: &PartitionDocument) -> Wish {
    (
        document.state,
        document
            .release
            .as_ref()
            .map(|release| release.url().clone()),
        document.timestamp(),
    )
}

/// Everything there is to do.
#[derive(Debug)]
pub(crate) struct Agenda {
    width: Width,
    entries: BTreeMap<Task, Entry>,
    wishes: BTreeMap<PartitionId, Wish>,
    installations: BTreeMap<ReleaseUrl, InstallationState>,
    /// Releases that are there already.
    ready: BTreeSet<ReleaseUrl>,
    /// Whether a document was ever seen.
    informed: bool,
}

impl Agenda {
    /// An agenda on which only the machine itself is to be looked after.
    pub(crate) fn new(width: Width, now: Instant) -> Self {
        let entries = BTreeMap::from([(Task::Services, Entry::new(now, Why::Start))]);
        Agenda {
            width,
            entries,
            wishes: BTreeMap::new(),
            installations: BTreeMap::new(),
            ready: BTreeSet::new(),
            informed: false,
        }
    }

    /// Adds a task that is done again and again.
    pub(crate) fn add(&mut self, task: Task, due: Instant) {
        self.entries
            .entry(task)
            .or_insert_with(|| Entry::new(due, Why::Start));
    }

    /// These releases are there already: their instances do not wait, whatever is being built.
    pub(crate) fn are_ready(&mut self, releases: BTreeSet<ReleaseUrl>) {
        self.ready = releases;
    }

    /// The Master's wishes. What differs from those before is due at once.
    pub(crate) fn want(&mut self, document: &NodeDocument, now: Instant) {
        let why = if self.informed {
            Why::Wanted
        } else {
            Why::Start
        };
        self.informed = true;
        let installations: BTreeMap<ReleaseUrl, InstallationState> = document
            .installations
            .iter()
            .map(|installation| (installation.release.clone(), installation.requested_state()))
            .collect();
        for (release, state) in &installations {
            if self.installations.get(release) != Some(state) {
                self.renew(Task::Release(release.clone()), why, now);
            }
        }
        let gone: Vec<ReleaseUrl> = self
            .installations
            .keys()
            .filter(|release| !installations.contains_key(*release))
            .cloned()
            .collect();
        for release in gone {
            self.drop_task(&Task::Release(release));
        }
        self.installations = installations;

        let wishes: BTreeMap<PartitionId, Wish> = document
            .partitions
            .iter()
            .filter(|partition| !partition.is_free())
            .map(|partition| (partition.partition.clone(), wish(partition)))
            .collect();
        for (id, wish) in &wishes {
            if self.wishes.get(id) == Some(wish) {
                continue;
            }
            let (partition, removal) = (Task::Partition(id.clone()), Task::Removal(id.clone()));
            let (wanted, other) = match wish.0 {
                Some(InstanceState::Destroyed) => (removal, partition),
                _ => (partition, removal),
            };
            self.drop_task(&other);
            self.renew(wanted, why, now);
        }
        let gone: Vec<PartitionId> = self
            .wishes
            .keys()
            .filter(|id| !wishes.contains_key(*id))
            .cloned()
            .collect();
        for id in gone {
            self.drop_task(&Task::Partition(id.clone()));
            self.drop_task(&Task::Removal(id));
        }
        self.wishes = wishes;
    }

    /// A task is wanted anew: whatever went wrong before is forgotten.
    fn renew(&mut self, task: Task, why: Why, now: Instant) {
        let entry = self
            .entries
            .entry(task)
            .or_insert_with(|| Entry::new(now, why));
        entry.dropped = false;
        entry.done = false;
        entry.failures = 0;
        entry.trouble = None;
        if entry.running.is_some() {
            entry.again = Some(why);
        } else {
            entry.due = Some(now);
            entry.why = why;
        }
    }

    fn drop_task(&mut self, task: &Task) {
        match self.entries.get_mut(task) {
            Some(entry) if entry.running.is_some() => {
                entry.dropped = true;
                entry.again = None;
            }
            _ => {
                self.entries.remove(task);
            }
        }
    }

    /// Somebody asks for a task that is on the agenda. What asks for itself is not heard too often,
    /// and never cuts short the pause after a failure.
    pub(crate) fn wake(&mut self, task: &Task, why: Why, now: Instant) {
        let Some(entry) = self.entries.get_mut(task) else {
            return;
        };
        if entry.dropped || (why.is_own() && entry.failures > 0) {
            return;
        }
        if entry.running.is_some() {
            entry.again = Some(why);
            return;
        }
        let at = match entry.begun {
            Some(begun) if why.is_own() => now.max(begun + OWN_PAUSE),
            _ => now,
        };
        if entry.due.is_none_or(|due| at < due) {
            entry.due = Some(at);
            entry.why = why;
        }
    }

    /// The Master is back: what was put off is due now, and so are instances of which it does not
    /// know that they work; it may have forgotten. Not at once what has just been begun: something
    /// may go wrong for it alone.
    pub(crate) fn resume(&mut self, document: &NodeDocument, now: Instant) {
        let works = |partition: &PartitionDocument| {
            let status = partition.access_status.as_deref();
            status.is_some_and(|status| status.starts_with("#access"))
        };
        let unknown: BTreeSet<Task> = document
            .partitions
            .iter()
            .filter(|partition| !partition.is_free() && !works(partition))
            .map(|partition| Task::Partition(partition.partition.clone()))
            .collect();
        for (task, entry) in &mut self.entries {
            let waits = entry.trouble.is_some() || unknown.contains(task);
            if entry.running.is_some() || entry.failures > 0 || !waits {
                continue;
            }
            let at = entry.begun.map_or(now, |begun| now.max(begun + OWN_PAUSE));
            if entry.due.is_none_or(|due| at < due) {
                entry.due = Some(at);
                entry.why = Why::Back;
            }
        }
    }

    /// The task to begin now, which counts as running from here on.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Task> {
        let task = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.running.is_none())
            .filter_map(|(task, entry)| Some((entry.due?, task)))
            .filter(|(due, task)| *due <= now && self.waits_for(task).is_none())
            .min()
            .map(|(_, task)| task.clone())?;
        let entry = self.entries.get_mut(&task)?;
        entry.running = Some(now);
        entry.begun = Some(now);
        entry.due = None;
        Some(task)
    }

    /// When the next task is due that only waits for its time.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.entries
            .iter()
            .filter(|(task, entry)| entry.running.is_none() && self.waits_for(task).is_none())
            .filter_map(|(_, entry)| entry.due)
            .min()
    }

    /// What a task waits for besides its time, for people.
    pub(crate) fn waits_for(&self, task: &Task) -> Option<String> {
        if let Some(id) = task.partition() {
            let other = match task {
                Task::Removal(_) => Task::Partition(id.clone()),
                _ => Task::Removal(id.clone()),
            };
            if self.is_running(&other) {
                return Some(format!("the {other}"));
            }
        }
        if matches!(task, Task::Partition(_))
            && let Some(format) = self.entries.get(&Task::Format)
            && !format.done
            && format.failures == 0
        {
            return Some("the machine to be prepared".to_owned());
        }
        if let Task::Partition(id) = task
            && let Some(release) = self.unfinished_release(id)
        {
            return Some(format!("release {release}"));
        }
        let (same, most) = match task.kind() {
            Kind::Software => (
                self.running(|kind| kind == Kind::Software),
                self.width.releases,
            ),
            Kind::Instance => (
                self.running(|kind| kind == Kind::Instance),
                self.width.partitions,
            ),
            Kind::Report => (
                self.running(|kind| kind == Kind::Report),
                self.width.partitions,
            ),
            Kind::Services | Kind::Format | Kind::Collect => (0, 1),
        };
        (same >= most).then(|| "others to end".to_owned())
    }

    /// The release of a partition's instance, while its first try is still to come or goes on and
    /// it is not there from before. When it failed the instance may say so.
    fn unfinished_release(&self, id: &PartitionId) -> Option<&ReleaseUrl> {
        let release = self.wishes.get(id)?.1.as_ref()?;
        let entry = self.entries.get(&Task::Release(release.clone()))?;
        let is_first = !entry.done && entry.failures == 0;
        (is_first && !self.ready.contains(release)).then_some(release)
    }

    fn is_running(&self, task: &Task) -> bool {
        self.entries
            .get(task)
            .is_some_and(|entry| entry.running.is_some())
    }

    fn running(&self, counts: impl Fn(Kind) -> bool) -> usize {
        self.entries
            .iter()
            .filter(|(task, entry)| entry.running.is_some() && counts(task.kind()))
            .count()
    }

    /// How many tasks of a kind are being done.
    pub(crate) fn running_of(&self, kind: Kind) -> usize {
        self.running(|other| other == kind)
    }

    /// A task ended.
    pub(crate) fn finish(&mut self, task: &Task, finish: Finish, now: Instant) {
        let Some(entry) = self.entries.get_mut(task) else {
            return;
        };
        entry.running = None;
        if entry.dropped {
            self.entries.remove(task);
            return;
        }
        let mut succeeded = false;
        match finish {
            Finish::Done { next } => {
                succeeded = !entry.done;
                entry.done = true;
                entry.failures = 0;
                entry.trouble = None;
                entry.due = next.and_then(|pause| now.checked_add(pause));
                entry.why = Why::Time;
            }
            Finish::Failed { reason } => {
                entry.failures = entry.failures.saturating_add(1);
                entry.trouble = Some(reason);
                entry.due = Some(now + pause(task, entry.failures));
                entry.why = Why::Retry;
            }
            Finish::Postponed { after, reason } => {
                entry.trouble = Some(reason);
                entry.due = Some(now + after);
            }
        }
        if let Some(why) = entry.again.take() {
            self.wake(task, why, now);
        }
        if let Task::Release(release) = task
            && succeeded
        {
            let users: Vec<PartitionId> = self
                .wishes
                .iter()
                .filter(|(_, wish)| wish.1.as_ref() == Some(release))
                .map(|(id, _)| id.clone())
                .collect();
            for id in users {
                let task = Task::Partition(id);
                if self.entries.get(&task).is_some_and(|entry| !entry.done) {
                    self.renew(task, Why::ReleaseReady, now);
                }
            }
        }
        if matches!(task, Task::Removal(_)) && succeeded {
            self.wake(&Task::Format, Why::Removed, now);
        }
    }

    /// Every task and where it stands.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Task, &Entry)> {
        self.entries.iter()
    }
}

fn pause(task: &Task, failures: u32) -> Duration {
    let (min, max) = match task {
        Task::Release(_) => (BUILD_RETRY_MIN, BUILD_RETRY_MAX),
        _ => (RETRY_MIN, RETRY_MAX),
    };
    doubled(min, max, failures)
}

/// The pause after so many failures: the first one, doubled with each further one, and never longer
/// than the longest.
pub(super) fn doubled(first: Duration, longest: Duration, failures: u32) -> Duration {
    first
        .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)))
        .min(longest)
}

#[cfg(test)]
mod tests;
