//! `node promise`, and promises after and between deployments: checks that tell whether an
//! instance works (N 4).

mod executable;
mod files;
mod plugin;
mod rules;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use slap::InstanceState;

use files::{Answer, Cache, Files, Kind, Status};

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

/// Runs the promises of every instance that shall be started. Tells the Master nothing (N 3.7).
///
/// # Errors
/// When the run could not be made at all; failed promises are an [`Outcome`].
pub fn run(
    config: &NodeConfig,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Outcome, Error> {
    let _lock = start::begin(config, &config.pidfile_instance, &options.cancel, observer)?;
    let client = config.master.client()?;
    let document = fetch(config, &client)?;
    let selected = plan::select(&document, &options.only).map_err(Error::UnknownPartitions)?;
    let started: Vec<_> = selected
        .into_iter()
        .filter(|partition| !partition.is_free())
        .filter(|partition| partition.state == Some(InstanceState::Started))
        .collect();
    let results = parallel::map(&started, config.workers, |document| {
        let id = &document.partition;
        let partition = Partition::open(config, document)?;
        let mut output = |line: &str| {
            observer.event(&Event::PartitionOutput {
                partition: id,
                line,
            });
        };
        match check(config, &partition, Mode::Test, &options.cancel, &mut output) {
            Ok(()) => Ok(true),
            Err(PromiseError::Cancelled) => Err(Error::Cancelled),
            Err(PromiseError::Failed(text) | PromiseError::Broken(text)) => {
                observer.event(&Event::PromiseFailed {
                    partition: id,
                    message: &text,
                });
                Ok(false)
            }
        }
    });
    let mut outcome = Outcome::Success;
    for result in results {
        match result {
            Ok(true) => {}
            Ok(false) => outcome = Outcome::PromiseFailure,
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => {
                observer.event(&Event::Failure(&error.to_string()));
                outcome = Outcome::PromiseFailure;
            }
        }
    }
    Ok(outcome)
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

/// Most promises of a partition.
const PROMISES_MAX: usize = 1000;

/// A promise of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Promise {
    title: String,
    name: String,
    path: PathBuf,
    /// A Python plugin, or an executable.
    is_plugin: bool,
}

/// What a plugin says about itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Facts {
    is_tested: bool,
    is_anomaly_detected: bool,
    periodicity: serde_json::Number,
    /// It did nothing in this mode.
    #[serde(default)]
    is_empty: bool,
}

/// A promise that was run.
#[derive(Debug)]
struct Ran {
    elapsed: Duration,
    answer: Answer,
    /// Absent when a plugin could not be loaded; always absent for executables.
    facts: Option<Facts>,
}

/// Whether to run a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Run,
    /// Not in this mode.
    Skip,
    /// Not yet: the saved result still holds.
    Later,
}

/// Whether a promise is due (N 4.3). No I/O.
fn due(cache: Option<&Cache>, mode: Mode, now: f64) -> Due {
    match (cache, mode) {
        (None, _) => Due::Run,
        (Some(cache), Mode::Test) if !cache.is_tested => Due::Skip,
        (Some(_), Mode::Test) => Due::Run,
        (Some(cache), Mode::Anomaly) if !cache.is_anomaly_detected => Due::Skip,
        (Some(cache), Mode::Anomaly) if now < cache.next_run_after => Due::Later,
        (Some(_), Mode::Anomaly) => Due::Run,
    }
}

/// Runs the partition's promises as the mode demands: plugins first, then executables, each in the
/// order of their names. No Python is started when no plugin is due.
pub(crate) fn check(
    config: &NodeConfig,
    partition: &Partition<'_>,
    mode: Mode,
    cancel: &Cancel,
    output: &mut dyn FnMut(&str),
) -> Result<(), PromiseError> {
    let promises = discover(partition, output).map_err(|error| {
        PromiseError::Broken(format!(
            "cannot list the promises of {}: {error}",
            partition.path.display()
        ))
    })?;
    if promises.is_empty() {
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
    let plugins: Vec<&Promise> = decided
        .iter()
        .filter(|(promise, due)| promise.is_plugin && *due == Due::Run)
        .map(|(promise, _)| *promise)
        .collect();
    let mut ran = if plugins.is_empty() {
        BTreeMap::new()
    } else {
        plugin::run(config, partition, &files, &plugins, mode, cancel, output)?
    };
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
                let ran = if promise.is_plugin {
                    ran.remove(&promise.title).flatten()
                } else {
                    let ran = executable::run(config, partition, &files, promise, mode, cancel);
                    Some(ran.ok_or(PromiseError::Cancelled)?)
                };
                ran.and_then(|ran| conclude(&files, promise, ran, now, output))
            }
        };
        if let Some(message) = failure {
            let text = format!("Promise '{}' failed with output: {message}", promise.name);
            output(&text);
            first_failure.get_or_insert(text);
        }
    }
    if skipped > 0 {
        output(&format!("{skipped} promises didn't need to be checked."));
    }
    match first_failure {
        None => Ok(()),
        Some(text) => Err(PromiseError::Failed(text)),
    }
}

/// Records what came of a promise; gives its message if it failed.
fn conclude(
    files: &Files,
    promise: &Promise,
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
    let facts = match (&ran.facts, promise.is_plugin) {
        (Some(facts), _) => Some(facts.clone()),
        (None, true) => None,
        (None, false) => Some(Facts {
            is_tested: true,
            is_anomaly_detected: true,
            periodicity: PERIODICITY_MINUTES.into(),
            is_empty: false,
        }),
    };
    if let Some(facts) = &facts
        && let Some(modified) = files::modified(&promise.path)
    {
        let minutes = facts.periodicity.as_f64().unwrap_or_default();
        let pause = if facts.is_empty { 0.0 } else { 60.0 * minutes };
        tell(files.write_cache(
            &promise.title,
            &Cache {
                is_tested: facts.is_tested,
                is_anomaly_detected: facts.is_anomaly_detected,
                periodicity: facts.periodicity.clone(),
                next_run_after: now + pause,
                timestamp: now,
                module_file: promise.path.display().to_string(),
                module_file_mtime: modified,
            },
        ));
    }
    if facts.is_some_and(|facts| facts.is_empty) {
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
        execution_time: (ran.elapsed.as_secs_f64() * 20.0).floor() / 20.0,
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

/// The promises of a partition.
fn discover(
    partition: &Partition<'_>,
    output: &mut dyn FnMut(&str),
) -> std::io::Result<Vec<Promise>> {
    let mut found = Vec::new();
    let Some(etc) = partition.dir.dir("etc")? else {
        return Ok(found);
    };
    for (directory, is_plugin) in [("plugin", true), ("promise", false)] {
        let Some(dir) = etc.dir(directory)? else {
            continue;
        };
        for name in dir.names()? {
            let path = dir.path().join(&name);
            let Some((text, title)) = name.to_str().zip(files::title(&name)) else {
                output(&format!("Bad promise file at {}.", path.display()));
                continue;
            };
            let suitable = if is_plugin {
                text.ends_with(".py") && !text.starts_with("__init__")
            } else {
                is_executable(&path)
            };
            if suitable {
                found.push(Promise {
                    title,
                    name: text.to_owned(),
                    path,
                    is_plugin,
                });
            } else if !is_plugin {
                output(&format!("Bad promise file at {}.", path.display()));
            }
        }
    }
    if found.len() > PROMISES_MAX {
        output(&format!(
            "only the first {PROMISES_MAX} of {} promises are run",
            found.len()
        ));
        found.truncate(PROMISES_MAX);
    }
    Ok(found)
}

/// Links are followed here: the file is run as the partition's user, who chose it.
fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests;
