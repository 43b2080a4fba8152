//! Carrying out a task: the one-shot commands' code, for one release or one partition.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use slap::document::{InstallationDocument, NodeDocument, PartitionDocument};
use slap::{InstanceState, PartitionId};
use slap_client::Client;

use super::agenda::{Finish, Task};
use super::exits::Exits;
use super::patience::Patience;
use crate::cancel::Cancel;
use crate::collect;
use crate::config::{NodeConfig, Overrides};
use crate::format::{self, FormatConfig};
use crate::instance::{self, Means, ProcessError, Reported};
use crate::observer::{Event, Observer};
use crate::outcome::{Error, Outcome};
use crate::partition;
use crate::promise::{self, Runners};
use crate::report::{Removal, Run as ReportRun};
use crate::services::{Needs, Services};
use crate::software::{self, Builder};

/// Between two looks whether the supervisor still runs, where it does not tell, and while a process
/// needs something.
const SERVICES_PAUSE: Duration = Duration::from_secs(30);
/// The same while it tells of each process that ends, and of its own end.
const SERVICES_PAUSE_TOLD: Duration = Duration::from_secs(600);
/// How old may be what is known of the supervisor's processes.
const NEEDS_AGE_MAX: Duration = Duration::from_secs(2);
/// Between two runs of format: addresses that somebody removed come back.
const FORMAT_PAUSE: Duration = Duration::from_secs(3600);
/// Between two usage reports.
const REPORT_PAUSE: Duration = Duration::from_secs(3600);
/// Until a removal is tried again that waits for something.
const REMOVAL_PAUSE: Duration = Duration::from_secs(5);
/// The same where the instance is to be kept for days.
const KEPT_PAUSE: Duration = Duration::from_secs(60);
/// A partition that is to be processed all the time is processed this often, as by cron.
const PERIODICITY_MIN: Duration = Duration::from_secs(60);
/// Least pause between two checks of a partition's promises.
const PROMISE_PAUSE_MIN: Duration = Duration::from_secs(5);
/// Until something is tried again that could not be done just now.
const LATER: Duration = Duration::from_secs(1);
/// The same for want of the Master. It is resumed at once when that is back; until then promises
/// that are due want to be checked.
const AWAY_PAUSE: Duration = Duration::from_secs(30);

/// What the Master wants, and when that was asked for.
pub(super) struct Wanted {
    pub(super) document: NodeDocument,
    pub(super) fetched: SystemTime,
    /// The same by the clock nobody sets.
    pub(super) asked: Instant,
}

impl Wanted {
    fn partition(&self, id: &PartitionId) -> Option<&PartitionDocument> {
        let mut partitions = self.document.partitions.iter();
        partitions.find(|partition| partition.partition == *id)
    }
}

/// What is known of the supervisor's groups.
#[derive(Default)]
pub(super) struct Known {
    /// What they needed, and when that was asked.
    last: Option<(Instant, Arc<Needs>)>,
    /// What was asked before is no longer true.
    forgotten: Option<Instant>,
    patience: Patience,
}

/// What every task needs.
pub(super) struct Work<'a> {
    pub(super) config: &'a NodeConfig,
    pub(super) client: &'a Client,
    pub(super) builder: &'a dyn Builder,
    pub(super) runners: &'a Runners,
    pub(super) reported: &'a Reported,
    /// What the supervisor's groups needed.
    pub(super) needs: Mutex<Known>,
    /// The ear at the supervisor.
    pub(super) exits: &'a Exits,
    pub(super) observer: &'a dyn Observer,
    pub(super) cancel: &'a Cancel,
}

/// What came of a task.
pub(super) struct Done {
    pub(super) finish: Finish,
    /// The Master could not be reached.
    pub(super) away: bool,
    /// Partitions with something to start: never started since the supervisor runs, or killed.
    pub(super) needy: Vec<PartitionId>,
}

impl From<Finish> for Done {
    fn from(finish: Finish) -> Self {
        Done {
            finish,
            away: false,
            needy: Vec::new(),
        }
    }
}

impl Work<'_> {
    /// Carries out a task. `wanted` is absent as long as the Master has told nothing.
    pub(super) fn carry_out(&self, task: &Task, wanted: Option<&Wanted>) -> Done {
        let result = match (task, wanted) {
            (Task::Services, _) => self.services(),
            (Task::Format, _) => self.format(),
            (Task::Collect, _) => self.collect(),
            (Task::Release(release), Some(wanted)) => {
                let found = wanted
                    .document
                    .installations
                    .iter()
                    .find(|installation| installation.release == *release);
                match found {
                    Some(installation) => self.release(installation),
                    None => Ok(never().into()),
                }
            }
            (Task::Partition(id), Some(wanted)) => self.partition(id, wanted),
            (Task::Removal(id), Some(wanted)) => self.removal(id, wanted),
            (Task::Report, Some(wanted)) => self.report(wanted),
            (_, None) => Ok(later("the Master has not told yet what it wants").into()),
        };
        result.unwrap_or_else(|error| self.failed(&error))
    }

    fn failed(&self, error: &Error) -> Done {
        match error {
            Error::Cancelled => later("the agent stops").into(),
            Error::Master(error) if error.is_master_unreachable() => cut_off(&error.to_string()),
            error => Finish::Failed {
                reason: error.to_string(),
            }
            .into(),
        }
    }

    /// The supervisor runs; what it should have started since it does, is told.
    fn services(&self) -> Result<Done, Error> {
        let services = Services::connect(self.config)?;
        let needs = self.look(&services);
        let pause = if self.exits.are_heard() && needs.is_empty() {
            SERVICES_PAUSE_TOLD
        } else {
            SERVICES_PAUSE
        };
        let now = Instant::now();
        let held_back = needs.held_back.values().map(|due| *due - now);
        let pause = held_back.fold(pause, Duration::min);
        let ask = needs.dormant.iter().chain(needs.killed.keys());
        let ask = ask.chain(needs.dying.keys());
        Ok(Done {
            needy: ask.filter_map(|group| group.parse().ok()).collect(),
            ..done_for(pause).into()
        })
    }

    /// What the supervisor's groups need, looked up now.
    fn look(&self, services: &Services<'_>) -> Arc<Needs> {
        let now = Instant::now();
        let mut needs = services.needs();
        let mut known = self.needs.lock().unwrap_or_else(PoisonError::into_inner);
        needs.held_back = known.patience.hold_back(&mut needs.killed, now);
        Arc::clone(&known.last.insert((now, Arc::new(needs))).1)
    }

    /// A process ended: what was known of all is no longer true.
    pub(super) fn forget_needs(&self) {
        let mut known = self.needs.lock().unwrap_or_else(PoisonError::into_inner);
        known.forgotten = Some(Instant::now());
    }

    /// The same as it was just now: the supervisor tells of all partitions at once, and promises of
    /// many may be due together.
    fn needs(&self, services: &Services<'_>) -> Arc<Needs> {
        let known = self.needs.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match &known.last {
            Some((when, needs))
                if now < *when + NEEDS_AGE_MAX
                    && known.forgotten < Some(*when)
                    && needs.held_back.values().all(|due| now < *due) =>
            {
                Arc::clone(needs)
            }
            _ => {
                drop(known);
                self.look(services)
            }
        }
    }

    fn format(&self) -> Result<Done, Error> {
        let config = FormatConfig::load(&self.config.file, Overrides::new().set("now", "true"))?;
        let options = format::Options {
            undo: false,
            cancel: self.cancel.clone(),
        };
        Ok(match format::run(&config, &options, self.observer)? {
            Outcome::Success => done_for(FORMAT_PAUSE).into(),
            Outcome::FormatOffline => Finish::Failed {
                reason: "the Master could not be told what this machine has".to_owned(),
            }
            .into(),
            _ => Finish::Failed {
                reason: "the machine could not be prepared; see the log".to_owned(),
            }
            .into(),
        })
    }

    fn collect(&self) -> Result<Done, Error> {
        let options = collect::Options {
            interval: collect::INTERVAL,
            cancel: self.cancel.clone(),
        };
        Ok(
            match collect::run(&self.config.file, &options, self.observer)? {
                Outcome::Success => done_for(self.config.collect_interval).into(),
                _ => Finish::Failed {
                    reason: "some figures could not be written; see the log".to_owned(),
                }
                .into(),
            },
        )
    }

    fn release(&self, installation: &InstallationDocument) -> Result<Done, Error> {
        let result = software::process_one(
            self.config,
            self.client,
            self.builder,
            installation,
            self.cancel,
            self.observer,
        )?;
        Ok(match result {
            Ok(()) => never().into(),
            Err(error) => Finish::Failed {
                reason: error.summary(1),
            }
            .into(),
        })
    }

    fn partition(&self, id: &PartitionId, wanted: &Wanted) -> Result<Done, Error> {
        let Some(document) = wanted.partition(id) else {
            return Ok(never().into());
        };
        let document = self.reported.apply(document, wanted.asked);
        let services = Services::connect(self.config)?;
        let needs = self.needs(&services);
        let means = Means {
            config: self.config,
            client: self.client,
            builder: self.builder,
            services: &services,
            runners: self.runners,
            reported: self.reported,
            observer: self.observer,
            cancel: self.cancel,
        };
        if document.state != Some(InstanceState::Started) {
            self.runners.end(id);
        }
        Ok(
            match instance::process_one(&means, &document, wanted.fetched, &needs) {
                Ok(()) if self.cancel.is_cancelled() => later("the agent stops").into(),
                Ok(()) => match (self.settled(&document), needs.held_back.get(id.as_str())) {
                    (Finish::Done { next }, Some(due)) => {
                        let held_back = *due - Instant::now();
                        let next = next.map_or(held_back, |next| next.min(held_back));
                        Finish::Done { next: Some(next) }.into()
                    }
                    (finish, _) => finish.into(),
                },
                Err(ProcessError::Unreachable(reason)) => cut_off(&reason),
                Err(ProcessError::Cancelled(reason)) => later(&reason).into(),
                Err(error) => Finish::Failed {
                    reason: error.shown().to_owned(),
                }
                .into(),
            },
        )
    }

    /// Whether the partition is now as the document says, and when to look again: its next promise
    /// is due, or it is to be processed although nothing changed.
    fn settled(&self, document: &PartitionDocument) -> Finish {
        let observed = partition::observe(self.config, document);
        if !observed.directory {
            return Finish::Failed {
                reason: "its directory does not exist".to_owned(),
            };
        }
        let Some(wanted) = document.timestamp() else {
            return done_for(PERIODICITY_MIN);
        };
        let Some((_, written)) = observed.mark.filter(|(text, _)| *text == wanted) else {
            return later("another command works on it");
        };
        let now = SystemTime::now();
        let until = |moment: SystemTime| moment.duration_since(now).unwrap_or_default();
        let promise = (document.state == Some(InstanceState::Started))
            .then(|| promise::next_due(self.config, &document.partition))
            .flatten()
            // They were just run: what is due all the same could not be recorded, on a full disk.
            .map(|moment| until(moment).max(PROMISE_PAUSE_MIN));
        let seconds = observed
            .periodicity
            .unwrap_or(self.config.maximum_periodicity);
        let periodicity = u64::try_from(seconds)
            .ok()
            .and_then(|seconds| written.checked_add(Duration::from_secs(seconds)))
            .map(|moment| until(moment).max(PERIODICITY_MIN));
        Finish::Done {
            next: promise.into_iter().chain(periodicity).min(),
        }
    }

    fn removal(&self, id: &PartitionId, wanted: &Wanted) -> Result<Done, Error> {
        let Some(document) = wanted.partition(id) else {
            return Ok(never().into());
        };
        self.runners.end(id);
        let services = Services::connect(self.config)?;
        let removal = self.reporting(&services).usage_and_removal(document);
        Ok(match removal {
            Removal::Done => never().into(),
            Removal::Postponed => Finish::Postponed {
                after: KEPT_PAUSE,
                reason: "it must be kept for now".to_owned(),
            }
            .into(),
            Removal::NotFreed(reply) => Finish::Postponed {
                after: REMOVAL_PAUSE,
                reason: reply.trim().to_owned(),
            }
            .into(),
            Removal::Failed(reason) => Finish::Failed { reason }.into(),
        })
    }

    fn report(&self, wanted: &Wanted) -> Result<Done, Error> {
        let services = Services::connect(self.config)?;
        let (good, _) = self.reporting(&services).usage(&wanted.document)?;
        Ok(if good {
            done_for(REPORT_PAUSE).into()
        } else {
            Finish::Failed {
                reason: "what the instances used could not be reported".to_owned(),
            }
            .into()
        })
    }

    fn reporting<'a>(&'a self, services: &'a Services<'a>) -> ReportRun<'a> {
        ReportRun {
            config: self.config,
            observer: self.observer,
            client: self.client,
            services,
            cancel: self.cancel,
        }
    }

    /// Without a Master since the start: what ran before runs again (P7).
    pub(super) fn start_without_master(&self, reason: &str) {
        match Services::connect(self.config) {
            Ok(services) => {
                instance::offline(self.config, &services, self.observer, reason);
            }
            Err(error) => self.observer.event(&Event::Failure(&error.to_string())),
        }
    }
}

fn never() -> Finish {
    Finish::Done { next: None }
}

fn done_for(pause: Duration) -> Finish {
    Finish::Done { next: Some(pause) }
}

/// The Master could not be reached: done again when it is back, or to find out whether it is.
fn cut_off(reason: &str) -> Done {
    let finish = Finish::Postponed {
        after: AWAY_PAUSE,
        reason: reason.to_owned(),
    };
    Done {
        away: true,
        ..finish.into()
    }
}

fn later(reason: &str) -> Finish {
    Finish::Postponed {
        after: LATER,
        reason: reason.to_owned(),
    }
}
