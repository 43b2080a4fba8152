//! `node promise`, and promises after and between deployments: checks that tell whether an
//! instance works (N 4).

mod discover;
mod executable;
mod files;
mod plugin;
mod rules;
mod runners;
mod schedule;
mod told;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use slap::document::PartitionDocument;
use slap::{InstanceState, PartitionId};
use slap_client::Client;

use discover::{Promise, discover};
use files::{Answer, Cache, Files, Kind, Status};
use schedule::{Due, due};

pub use runners::Runners;
pub use schedule::next_due;
pub(crate) use told::{forget, forget_all};

use crate::cancel::Cancel;
use crate::config::NodeConfig;
use crate::instance::{fetch, plan};
use crate::observer::{Event, Observer};
use crate::outcome::{Error, Outcome};
use crate::parallel;
use crate::partition::Partition;
use crate::start;
use crate::time;

/// What `node promise` is asked on its command line.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only these partitions; empty: all.
    pub only: Vec<String>,
    /// Raised to interrupt the run.
    pub cancel: Cancel,
}

/// What came of the promises of all partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How the command ends.
    pub outcome: Outcome,
    /// How many promises there are in the partitions that were looked at.
    pub promises: usize,
    /// Those that fail, in the order of the partitions.
    pub failing: Vec<Failing>,
}

/// A promise that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The partition.
    pub partition: PartitionId,
    /// The promise's file.
    pub promise: String,
    /// What it said.
    pub message: String,
}

/// Runs the promises of every instance that shall be started. Tells the Master nothing (N 3.7).
///
/// # Errors
/// When the run could not be made at all; failed promises are told in the [`Report`].
pub fn run(
    config: &NodeConfig,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Report, Error> {
    let _lock = start::begin(config, &config.pidfile_instance, &options.cancel, observer)?;
    let client = config.master.client()?;
    let document = fetch(config, &client)?;
    let selected = plan::select(&document, &options.only).map_err(Error::UnknownPartitions)?;
    let started: Vec<_> = selected
        .into_iter()
        .filter(|partition| !partition.is_free())
        .filter(|partition| partition.state == Some(InstanceState::Started))
        .collect();
    let runners = Runners::new();
    let checks = Checks {
        config,
        client: None,
        runners: &runners,
        cancel: &options.cancel,
    };
    let results = parallel::map(&started, config.workers, |document| {
        run_in(&checks, document, observer)
    });
    let mut report = Report {
        outcome: Outcome::Success,
        promises: 0,
        failing: Vec::new(),
    };
    for result in results {
        match result {
            Ok((succeeded, promises, mut failing)) => {
                if !succeeded {
                    report.outcome = Outcome::PromiseFailure;
                }
                report.promises += promises;
                report.failing.append(&mut failing);
            }
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => {
                observer.event(&Event::Failure(&error.to_string()));
                report.outcome = Outcome::PromiseFailure;
            }
        }
    }
    Ok(report)
}

/// Runs the promises of one partition; whether all is well, how many there are, which fail.
fn run_in(
    checks: &Checks<'_>,
    document: &PartitionDocument,
    observer: &dyn Observer,
) -> Result<(bool, usize, Vec<Failing>), Error> {
    let id = &document.partition;
    let partition = Partition::open(checks.config, document)?;
    let mut output = |line: &str| {
        observer.event(&Event::PartitionOutput {
            partition: id,
            line,
        });
    };
    let result = check(checks, &partition, Mode::Test, &mut output);
    let promises = discover(&partition.dir, &mut |_| {}).unwrap_or_default();
    let mut failing = Vec::new();
    let succeeded = match result {
        Ok(()) => true,
        Err(PromiseError::Cancelled) => return Err(Error::Cancelled),
        Err(PromiseError::Failed(text)) => {
            observer.event(&Event::PromiseFailed {
                partition: id,
                message: &text,
            });
            failing = failures(&partition, &promises)?;
            false
        }
        Err(PromiseError::Broken(text)) => {
            observer.event(&Event::PromiseFailed {
                partition: id,
                message: &text,
            });
            false
        }
    };
    observer.event(&Event::PromisesChecked {
        partition: id,
        promises: promises.len(),
        failing: failing.len(),
    });
    Ok((succeeded, promises.len(), failing))
}

/// Those that fail by their last results.
fn failures(partition: &Partition<'_>, promises: &[Promise]) -> Result<Vec<Failing>, Error> {
    let files = Files::open(partition)?;
    let failing = promises.iter().filter_map(|promise| {
        let status = files.status(&promise.title)?;
        // A plugin and an executable of one title share a result.
        (status.result.failed && status.name == promise.name).then(|| Failing {
            partition: partition.id().clone(),
            promise: promise.name.clone(),
            message: status.result.message.unwrap_or_default(),
        })
    });
    Ok(failing.collect())
}

/// Why promises are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// After a deployment: all are run now.
    Test,
    /// Nothing changed: those that are due are run.
    Anomaly,
}

/// What came of promises that are not all fine.
#[derive(Debug)]
pub(crate) enum PromiseError {
    /// One failed: `Promise '<file>' failed with output: <message>`.
    Failed(String),
    /// They could not be run.
    Broken(String),
    /// The command was interrupted.
    Cancelled,
}

const NO_OUTPUT: &str = "Error: No output returned by the promise";

/// Minutes between two executions of an executable promise.
const PERIODICITY_MINUTES: u64 = 2;

/// Most promises of a partition that run at once.
const SIDE_BY_SIDE_MAX: usize = 8;

/// What running promises needs besides the partition.
pub(crate) struct Checks<'a> {
    pub(crate) config: &'a NodeConfig,
    /// To pass on a bang and to tell how promises are; without it nobody is told anything.
    pub(crate) client: Option<&'a Client>,
    pub(crate) runners: &'a Runners,
    pub(crate) cancel: &'a Cancel,
}

/// What a plugin says about itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    is_tested: bool,
    is_anomaly_detected: bool,
    periodicity: serde_json::Number,
    /// The module its class is defined in, and when that was changed.
    module_file: Option<String>,
    #[serde(default)]
    module_file_mtime: f64,
}

/// A promise that was run.
#[derive(Debug)]
struct Ran {
    elapsed: Duration,
    answer: Answer,
    /// Absent when a plugin could not be loaded; always absent for executables.
    facts: Option<Facts>,
    /// It did nothing in this mode.
    is_empty: bool,
    /// What to tell the Master that processes the instance again.
    bang: Option<String>,
}

impl Ran {
    fn new(elapsed: Duration, answer: Answer) -> Ran {
        Ran {
            elapsed,
            answer,
            facts: None,
            is_empty: false,
            bang: None,
        }
    }
}

/// How many promises of a partition run at once: they wait more than they work.
fn side_by_side() -> usize {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(SIDE_BY_SIDE_MAX)
}

/// Runs the partition's promises that are due in this mode, several at once, and records what came
/// of them in their order: plugins first, then executables, each by name. No Python is started when
/// no plugin is due.
pub(crate) fn check(
    checks: &Checks<'_>,
    partition: &Partition<'_>,
    mode: Mode,
    output: &mut dyn FnMut(&str),
) -> Result<(), PromiseError> {
    let promises = discover(&partition.dir, output).map_err(|error| {
        PromiseError::Broken(format!(
            "cannot list the promises of {}: {error}",
            partition.path.display()
        ))
    })?;
    if promises.is_empty() {
        told::tell(checks, partition, None, &promises);
        return Ok(());
    }
    let files = Files::open(partition).map_err(|error| PromiseError::Broken(error.to_string()))?;
    let now = time::unix(SystemTime::now());
    let decided: Vec<(&Promise, Due)> = promises
        .iter()
        .map(|promise| {
            let cache = files.cache(&promise.title, &promise.path);
            (promise, due(cache.as_ref(), mode, now))
        })
        .collect();
    let mut ran = run_due(checks, partition, &files, &decided, mode, output)?;
    let mut first_failure = None;
    let mut skipped = 0;
    for (promise, due) in decided {
        let failure = match due {
            Due::Skip => {
                skipped += 1;
                None
            }
            Due::Later => {
                skipped += 1;
                files
                    .status(&promise.title)
                    .filter(|status| status.result.failed)
                    .map(|status| status.result.message.unwrap_or_default())
            }
            Due::Run => {
                let ran = ran.remove(&(promise.is_plugin, promise.name.as_str()));
                if let Some(message) = ran.as_ref().and_then(|ran| ran.bang.as_deref()) {
                    bang(checks, partition, message, output);
                }
                ran.and_then(|ran| conclude(&files, promise, mode, ran, now, output))
            }
        };
        if let Some(message) = failure {
            let text = format!("Promise '{}' failed with output: {message}", promise.name);
            output(&text);
            first_failure.get_or_insert(text);
        }
    }
    told::tell(checks, partition, Some(&files), &promises);
    if skipped > 0 {
        output(&format!("{skipped} promises didn't need to be checked."));
    }
    match first_failure {
        None => Ok(()),
        Some(text) => Err(PromiseError::Failed(text)),
    }
}

/// Runs what is due, plugins and executables side by side; what came of each, by the file's name.
fn run_due<'p>(
    checks: &Checks<'_>,
    partition: &Partition<'_>,
    files: &Files,
    decided: &[(&'p Promise, Due)],
    mode: Mode,
    output: &mut dyn FnMut(&str),
) -> Result<BTreeMap<(bool, &'p str), Ran>, PromiseError> {
    let (plugins, executables): (Vec<&Promise>, Vec<&Promise>) = decided
        .iter()
        .filter(|(_, due)| *due == Due::Run)
        .map(|(promise, _)| *promise)
        .partition(|promise| promise.is_plugin);
    let execute = || {
        parallel::map(&executables, side_by_side(), |promise| {
            executable::run(checks, partition, files, promise, mode)
        })
    };
    let (by_plugins, by_executables) = std::thread::scope(|scope| {
        let executed = (!executables.is_empty()).then(|| scope.spawn(execute));
        let by_plugins = if plugins.is_empty() {
            Ok(BTreeMap::new())
        } else {
            plugin::run(checks, partition, files, &plugins, mode, output)
        };
        let executed = match executed.map(std::thread::ScopedJoinHandle::join) {
            Some(Ok(executed)) => executed,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Vec::new(),
        };
        (by_plugins, executed)
    });
    let mut by_plugins = by_plugins?;
    let mut ran = BTreeMap::new();
    for promise in plugins {
        if let Some(one) = by_plugins.remove(&promise.title) {
            ran.insert((true, promise.name.as_str()), one);
        }
    }
    for (promise, one) in executables.into_iter().zip(by_executables) {
        let one = one.ok_or(PromiseError::Cancelled)?;
        ran.insert((false, promise.name.as_str()), one);
    }
    Ok(ran)
}

/// Has the Master process the instance again, as a stand-in asked for.
fn bang(
    checks: &Checks<'_>,
    partition: &Partition<'_>,
    message: &str,
    output: &mut dyn FnMut(&str),
) {
    let Some(client) = checks.client else { return };
    if let Err(error) = client.instance_bang(&checks.config.node, partition.id(), message) {
        output(&format!("the bang did not reach the Master: {error}"));
    }
}

/// Records what came of a promise; gives its message if it failed.
fn conclude(
    files: &Files,
    promise: &Promise,
    mode: Mode,
    ran: Ran,
    now: f64,
    output: &mut dyn FnMut(&str),
) -> Option<String> {
    let mut tell = |result: std::io::Result<()>| {
        if let Err(error) = result {
            output(&format!(
                "cannot record what promise '{}' said: {error}",
                promise.name
            ));
        }
    };
    let own = files::modified(&promise.path);
    let facts = ran.facts.or_else(|| {
        (!promise.is_plugin).then(|| Facts {
            is_tested: true,
            is_anomaly_detected: true,
            periodicity: PERIODICITY_MINUTES.into(),
            module_file: None,
            module_file_mtime: 0.0,
        })
    });
    if let Some(facts) = facts
        && let Some(own) = own
    {
        let minutes = facts.periodicity.as_f64().unwrap_or_default();
        let did_run = match mode {
            Mode::Test => facts.is_tested,
            Mode::Anomaly => facts.is_anomaly_detected,
        };
        let pause = if did_run { 60.0 * minutes } else { 0.0 };
        let (module_file, module_file_mtime) = match facts.module_file {
            Some(path) => (path, facts.module_file_mtime),
            None => (promise.path.display().to_string(), own),
        };
        tell(files.write_cache(
            &promise.title,
            &Cache {
                is_tested: facts.is_tested,
                is_anomaly_detected: facts.is_anomaly_detected,
                periodicity: facts.periodicity,
                next_run_after: now + pause,
                timestamp: now,
                module_file,
                module_file_mtime,
            },
        ));
    }
    if ran.is_empty {
        return None;
    }
    let failure = ran
        .answer
        .failed
        .then(|| ran.answer.message.clone().unwrap_or_default());
    tell(files.write_status(&Status {
        title: promise.title.clone(),
        name: promise.name.clone(),
        path: promise.path.display().to_string(),
        // As upstream counts: every twentieth of a second that was begun.
        execution_time: (ran.elapsed.as_secs_f64() * 20.0).ceil().max(1.0) / 20.0,
        result: ran.answer,
    }));
    failure
}

/// The result of a promise that said nothing: after a deployment a failure; between deployments
/// only when that happened, or it failed, the last time as well (N 4.3).
fn no_answer(files: &Files, promise: &Promise, mode: Mode, message: String) -> Answer {
    match mode {
        Mode::Test => Answer::new(Kind::Test, true, message),
        Mode::Anomaly => {
            let again = files.status(&promise.title).is_some_and(|status| {
                let said = status.result.message.unwrap_or_default();
                status.result.failed || said.to_lowercase().contains("error:")
            });
            Answer::new(Kind::Anomaly, again, message)
        }
    }
}

fn timed_out(config: &NodeConfig) -> String {
    format!(
        "Error: Promise timed out after {} seconds",
        config.promise_timeout.as_secs()
    )
}

#[cfg(test)]
mod peer_tests;
#[cfg(test)]
mod tests;
