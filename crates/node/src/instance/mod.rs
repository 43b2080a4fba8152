//! `node instance`: every partition is made what its instance shall be (N 3.2).
//!
//! The Master's document is compared with what is on disk (`plan`, without I/O), then what differs
//! is processed, several partitions side by side. Whatever goes wrong with the connection leads to
//! offline mode: everything the supervisor knows is started, nothing is stopped.

mod buildout_cfg;
pub(crate) mod firewall;
mod log;
pub(crate) mod plan;
mod process;
mod reported;
mod watchdog;

use std::sync::Mutex;
use std::time::SystemTime;

use slap::InstanceState;
use slap::document::{NodeDocument, PartitionDocument};
use slap_client::Client;

use crate::cancel::Cancel;
use crate::config::NodeConfig;
use crate::manager::{Managers, Place};
use crate::observer::{Event, Observer};
use crate::outcome::{Error, Outcome};
use crate::parallel;
use crate::partition::{self, Partition, PartitionLock};
use crate::promise::Runners;
use crate::safe_fs::Dir;
use crate::services::{Needs, Services};
use crate::software::{Builder, ZcBuildout};
use crate::start;

use plan::{Step, Wish};
pub(crate) use process::{Means, ProcessError};
pub(crate) use reported::Reported;

/// What `node instance` is asked on its command line.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only these partitions; empty: all.
    pub only: Vec<String>,
    /// Stop what shall be started, without telling the Master otherwise.
    pub force_stop: bool,
    /// Raised to interrupt the run.
    pub cancel: Cancel,
    /// The Pythons of promises, kept from run to run by whoever keeps this.
    pub runners: Runners,
}

/// Processes the node's partitions with the real buildout.
///
/// # Errors
/// When the run could not be made at all; failures of single partitions are an [`Outcome`].
pub fn run(
    config: &NodeConfig,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Outcome, Error> {
    let builder = ZcBuildout::new(config, observer);
    run_with(config, options, observer, &builder)
}

/// Processes the node's partitions with this builder.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    config: &NodeConfig,
    options: &Options,
    observer: &dyn Observer,
    builder: &dyn Builder,
) -> Result<Outcome, Error> {
    let _lock = start::begin(config, &config.pidfile_instance, &options.cancel, observer)?;
    config.warn_unsupported(observer);
    config.prepare_structure()?;
    let services = Services::connect(config)?;
    let client = config.master.client()?;
    let fetched = SystemTime::now();
    let document = match client.node(&config.node) {
        Ok(document) => document,
        // Whatever a Master answers that is not about this node, what is deployed runs on (P7).
        Err(error) if !error.is_not_found() && !error.is_not_ready() => {
            return Ok(offline(config, &services, observer, &error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    let selected = plan::select(&document, &options.only).map_err(Error::UnknownPartitions)?;
    let means = Means {
        config,
        client: &client,
        builder,
        services: &services,
        runners: &options.runners,
        reported: &Reported::default(),
        observer,
        cancel: &options.cancel,
    };
    let run = Run {
        means: &means,
        wish: Wish {
            force: config.force,
            force_stop: options.force_stop,
            maximum_periodicity: config.maximum_periodicity,
        },
        needs: &services.needs(),
        fetched,
        interrupts_are_told: true,
        stopped: Mutex::new(None),
    };
    let results = parallel::map(&selected, config.workers, |document| {
        run.partition(document)
    });
    run.conclude(&selected, results)
}

/// Processes one partition with a document the caller fetched at this moment, without the command's
/// lock. What fails is reported to the Master.
pub(crate) fn process_one(
    means: &Means<'_>,
    document: &PartitionDocument,
    fetched: SystemTime,
    needs: &Needs,
) -> Result<(), ProcessError> {
    let run = Run {
        means,
        wish: Wish {
            force: means.config.force,
            force_stop: false,
            maximum_periodicity: means.config.maximum_periodicity,
        },
        needs,
        fetched,
        // An agent that is restarted goes on where it was: that is nothing to tell the user.
        interrupts_are_told: false,
        stopped: Mutex::new(None),
    };
    run.partition(document)
}

/// Why no further partition is begun.
enum Stop {
    Offline(String),
    Cancelled,
}

struct Run<'a> {
    means: &'a Means<'a>,
    wish: Wish,
    /// What else than the Master's wishes has something started.
    needs: &'a Needs,
    /// When the Master's document was asked for.
    fetched: SystemTime,
    /// Whether the Master is told that a partition failed because of an interrupt (N 3).
    interrupts_are_told: bool,
    stopped: Mutex<Option<Stop>>,
}

impl Run<'_> {
    /// Does what is to be done for one partition; an error has been reported already.
    fn partition(&self, document: &PartitionDocument) -> Result<(), ProcessError> {
        if self.is_stopped() {
            return Ok(());
        }
        let result = self.act(document);
        if let Err(error) = &result {
            self.report(document, error);
        }
        result
    }

    fn act(&self, document: &PartitionDocument) -> Result<(), ProcessError> {
        let means = self.means;
        let id = &document.partition;
        let observed = partition::observe(means.config, document);
        match plan::step(document, &observed, &self.wish, SystemTime::now()) {
            Step::Free => {
                if let Some(warning) = partition::tidy_free(means.config, id)? {
                    means.observer.event(&Event::Warning(&warning));
                }
                Ok(())
            }
            Step::Missing => {
                self.report_missing(document);
                Ok(())
            }
            Step::Current { check } => {
                means
                    .observer
                    .event(&Event::PartitionUpToDate { partition: id });
                let has_managers = !means.config.managers.names.is_empty();
                if !check && !has_managers {
                    return Ok(());
                }
                let partition = Partition::open(means.config, document)?;
                self.managed(&partition, || {
                    if !check {
                        return Ok(());
                    }
                    if self.needs.dormant.contains(id.as_str()) {
                        means.services.start(id, &partition.user)?;
                    }
                    for killed in self.needs.killed.get(id.as_str()).into_iter().flatten() {
                        means.services.start_again(&killed.name)?;
                    }
                    if let Some(process) = self.needs.dying.get(id.as_str()) {
                        watchdog::bang(means, &partition, process);
                    }
                    process::check(means, &partition)
                })
            }
            Step::Process { goal, mark } => {
                let Some(lock) = PartitionLock::take(means.config, id)? else {
                    means.observer.event(&Event::Info(&format!(
                        "{id}: another command works on it, it is processed next time"
                    )));
                    return Ok(());
                };
                if lock.was_destroyed_after(self.fetched) {
                    means.observer.event(&Event::Info(&format!(
                        "{id}: its instance was destroyed meanwhile"
                    )));
                    return Ok(());
                }
                let partition = Partition::open(means.config, document)?;
                self.managed(&partition, || {
                    process::process(means, &partition, goal, mark.as_deref())
                })
            }
            Step::Refuse(reason) => Err(ProcessError::Failed {
                text: reason.to_owned(),
                shown: reason.to_owned(),
            }),
        }
    }

    /// Does something with a partition between what its managers do before and after (N 7).
    fn managed(
        &self,
        partition: &Partition<'_>,
        work: impl FnOnce() -> Result<(), ProcessError>,
    ) -> Result<(), ProcessError> {
        let means = self.means;
        let managers = Managers::new(means.config);
        if managers.is_empty() {
            return work();
        }
        let warn = |text: &str| {
            let text = format!("{}: {text}", partition.id());
            means.observer.event(&Event::Warning(&text));
        };
        let is_started = partition.document.state == Some(InstanceState::Started);
        let place = Place {
            partition,
            services: means.services,
            is_started: is_started && !self.wish.force_stop,
            warn: &warn,
        };
        let failed = |text: String| ProcessError::Failed {
            shown: text.clone(),
            text,
        };
        let result = managers
            .instance(&place)
            .map_err(failed)
            .and_then(|()| work());
        // In any case; of two failures the first explains more.
        let after = managers.instance_tear_down(&place).map_err(failed);
        result.and(after)
    }

    fn is_stopped(&self) -> bool {
        if self.means.cancel.is_cancelled() {
            self.stop(Stop::Cancelled);
        }
        self.stopped.lock().is_ok_and(|stopped| stopped.is_some())
    }

    fn stop(&self, why: Stop) {
        if let Ok(mut stopped) = self.stopped.lock()
            && stopped.is_none()
        {
            *stopped = Some(why);
        }
    }

    fn report(&self, document: &PartitionDocument, error: &ProcessError) {
        match error {
            ProcessError::Unreachable(reason) => {
                self.stop(Stop::Offline(reason.clone()));
                return;
            }
            ProcessError::Cancelled(_) => {
                self.stop(Stop::Cancelled);
                if !self.interrupts_are_told {
                    return;
                }
            }
            ProcessError::Promise(_) | ProcessError::Failed { .. } => {}
        }
        self.tell(document, error.text());
    }

    fn report_missing(&self, document: &PartitionDocument) {
        let path = self.means.config.partition_directory(&document.partition);
        let text = format!(
            "Partition directory {} does not exist; run `slapos node format` to create it",
            path.display()
        );
        self.means.observer.event(&Event::Failure(&text));
        self.tell(document, &text);
    }

    fn tell(&self, document: &PartitionDocument, text: &str) {
        if let Err(error) = self.means.tell_error(&document.partition, text) {
            self.means.observer.event(&Event::Warning(&format!(
                "cannot tell the Master that {} failed: {error}",
                document.partition
            )));
        }
    }

    fn conclude(
        self,
        selected: &[&PartitionDocument],
        results: Vec<Result<(), ProcessError>>,
    ) -> Result<Outcome, Error> {
        let means = self.means;
        let stopped = self
            .stopped
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match stopped {
            Some(Stop::Cancelled) => return Err(Error::Cancelled),
            Some(Stop::Offline(reason)) => {
                return Ok(offline(
                    means.config,
                    means.services,
                    means.observer,
                    &reason,
                ));
            }
            None => {}
        }
        let (mut failed, mut promises) = (Vec::new(), Vec::new());
        for (document, result) in selected.iter().zip(results) {
            let Err(error) = result else { continue };
            let kind = document
                .parameter("slap_software_type")
                .unwrap_or_else(|| "(not ready)".to_owned());
            let line = format!("  {}[{kind}]: {}", document.partition, error.shown());
            match error {
                ProcessError::Promise(_) => promises.push(line),
                _ => failed.push(line),
            }
        }
        let outcome = match (failed.is_empty(), promises.is_empty()) {
            (false, _) => Outcome::Failure,
            (true, false) => Outcome::PromiseFailure,
            (true, true) => Outcome::Success,
        };
        let mut summary = vec!["=".repeat(80)];
        if !failed.is_empty() {
            summary.push("Error while processing the following partitions:".to_owned());
            summary.append(&mut failed);
        }
        if !promises.is_empty() {
            summary.push("Error with promises for the following partitions:".to_owned());
            summary.append(&mut promises);
        }
        means.observer.event(&Event::Summary(&summary));
        Ok(outcome)
    }
}

/// Without a Master: what shall not run is stopped as old nodes noted it, everything else started.
pub(crate) fn offline(
    config: &NodeConfig,
    services: &Services<'_>,
    observer: &dyn Observer,
    reason: &str,
) -> Outcome {
    observer.event(&Event::Offline { reason });
    let result = stop_noted(config, services).and_then(|()| services.start_all());
    match result {
        Ok(()) => Outcome::Offline,
        Err(error) => {
            observer.event(&Event::Failure(&error.to_string()));
            Outcome::Failure
        }
    }
}

/// Honours `.requested_state`, which old nodes wrote.
fn stop_noted(config: &NodeConfig, services: &Services<'_>) -> Result<(), Error> {
    const NOTE: &str = ".requested_state";
    let root = &config.instance_root;
    let entries = std::fs::read_dir(root).map_err(Error::io("list", root))?;
    for entry in entries.flatten() {
        let Ok(dir) = Dir::open(&entry.path()) else {
            continue;
        };
        let Ok(Some(state)) = dir.read_text(NOTE) else {
            continue;
        };
        let name = entry.file_name();
        if state.trim() == "stopped"
            && let Some(id) = name.to_str().and_then(|name| name.parse().ok())
        {
            services.stop(&id)?;
        }
        let _ = dir.remove(NOTE);
    }
    Ok(())
}

/// The node's document, for commands that cannot work without it.
pub(crate) fn fetch(config: &NodeConfig, client: &Client) -> Result<NodeDocument, Error> {
    Ok(client.node(&config.node)?)
}
