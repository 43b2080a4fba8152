//! Promises that are Python plugins (`etc/plugin`), run by the release's own Python (N 4.2–4.4).
//!
//! One interpreter runs all plugins of a partition that are due. It gets its program, what to run
//! and a stand-in for `slapos.grid.promise` through its arguments and input, so nothing of the node
//! needs to be readable by the partition's user. It prints what plugins print, and between that,
//! marked by a random word, one JSON document per plugin.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::files::{Answer, Files, Kind};
use super::{Facts, Mode, Promise, PromiseError, Ran};
use crate::cancel::Cancel;
use crate::child::{self, ChildError, Spawn, python_of};
use crate::config::NodeConfig;
use crate::partition::Partition;

const RUNNER: &str = include_str!("python/runner.py");

/// What plugins may import when their own path does not provide it.
const STAND_INS: &[(&str, &str)] = &[
    (
        "slapos.grid.promise.interface",
        include_str!("python/interface.py"),
    ),
    (
        "slapos.grid.promise.generic",
        include_str!("python/generic.py"),
    ),
    ("zope.interface", include_str!("python/zope_interface.py")),
];

/// Grace for the interpreter itself, beside the plugins' own limits.
const GRACE: Duration = Duration::from_secs(10);

/// What the runner tells about one plugin.
#[derive(Debug, Deserialize)]
struct Report {
    title: String,
    elapsed: f64,
    /// Absent when the plugin could not be loaded.
    facts: Option<Facts>,
    outcome: Outcome,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Answer(Answer),
    /// The plugin does nothing in this mode.
    Empty,
    NoOutput,
    TimedOut,
}

/// Runs plugins, by title; those without an entry did not say anything.
pub(super) fn run(
    config: &NodeConfig,
    partition: &Partition<'_>,
    files: &Files,
    due: &[&Promise],
    mode: Mode,
    cancel: &Cancel,
    output: &mut dyn FnMut(&str),
) -> Result<BTreeMap<String, Option<Ran>>, PromiseError> {
    let token = token();
    let limit = config.promise_timeout * due.len() as u32 + GRACE;
    let mut spawn =
        Spawn::new(interpreter(partition), &partition.path, &partition.user).args(["-c", RUNNER]);
    spawn.timeout = Some(limit);
    spawn.input = Some(input(config, partition, files, due, mode, &token).into_bytes());
    let mut reports = BTreeMap::new();
    let result = child::run(
        spawn,
        cancel,
        &mut |line| match line.strip_prefix(token.as_str()) {
            Some(document) => {
                if let Ok(report) = serde_json::from_str::<Report>(document) {
                    reports.insert(report.title.clone(), report);
                }
            }
            None => output(line),
        },
    );
    match result {
        Ok(ended) if ended.status.success() => {}
        Ok(ended) => output(&format!(
            "the promise runner ended with {}",
            ended.describe()
        )),
        Err(ChildError::Cancelled { .. }) => return Err(PromiseError::Cancelled),
        Err(error @ ChildError::Timeout { .. }) => {
            return Err(PromiseError::Broken(format!(
                "promises of {}: {error}",
                partition.id()
            )));
        }
        Err(error) => output(&format!("plugins cannot be run: {error}")),
    }
    Ok(due
        .iter()
        .map(|promise| {
            let ran = match reports.remove(&promise.title) {
                Some(report) => conclude(config, files, promise, mode, report),
                None => Some(Ran {
                    elapsed: Duration::ZERO,
                    answer: super::no_answer(files, promise, mode, super::NO_OUTPUT.to_owned()),
                    facts: None,
                }),
            };
            (promise.title.clone(), ran)
        })
        .collect())
}

fn conclude(
    config: &NodeConfig,
    files: &Files,
    promise: &Promise,
    mode: Mode,
    report: Report,
) -> Option<Ran> {
    let answer = match report.outcome {
        Outcome::Answer(answer) => answer,
        Outcome::Empty => {
            return Some(Ran {
                elapsed: Duration::ZERO,
                answer: Answer {
                    message: None,
                    ..Answer::new(Kind::Test, false, "")
                },
                facts: report.facts.map(|facts| Facts {
                    is_empty: true,
                    ..facts
                }),
            });
        }
        Outcome::NoOutput => super::no_answer(files, promise, mode, super::NO_OUTPUT.to_owned()),
        Outcome::TimedOut => super::no_answer(files, promise, mode, super::timed_out(config)),
    };
    Some(Ran {
        elapsed: Duration::try_from_secs_f64(report.elapsed).unwrap_or_default(),
        answer,
        facts: report.facts,
    })
}

/// The release's Python, which its buildout script names; without one, the system's.
fn interpreter(partition: &Partition<'_>) -> OsString {
    partition
        .release_directory()
        .and_then(|release| std::fs::read(release.join("bin/buildout")).ok())
        .and_then(|script| python_of(&script))
        .unwrap_or_else(|| "python3".into())
}

fn input(
    config: &NodeConfig,
    partition: &Partition<'_>,
    files: &Files,
    due: &[&Promise],
    mode: Mode,
    token: &str,
) -> String {
    let certificate = config.partition_certificate(partition.id());
    let path = |path: Option<&std::path::PathBuf>| {
        path.map_or_else(String::new, |path| path.display().to_string())
    };
    let stand_ins: BTreeMap<_, _> = STAND_INS.iter().copied().collect();
    json!({
        "token": token,
        "check_anomaly": mode == Mode::Anomaly,
        "timeout": config.promise_timeout.as_secs(),
        "partition_folder": partition.path.display().to_string(),
        "log_folder": files.log_directory().display().to_string(),
        "promises": due.iter().map(|promise| json!({
            "title": promise.title,
            "name": promise.name,
            "path": promise.path.display().to_string(),
        })).collect::<Vec<_>>(),
        "config": {
            "promise-timeout": config.promise_timeout.as_secs(),
            "master-url": config.master.url,
            "partition-cert": path(certificate.as_ref().map(|(certificate, _)| certificate)),
            "partition-key": path(certificate.as_ref().map(|(_, key)| key)),
            "partition-id": partition.id().as_str(),
            "computer-id": config.node.as_str(),
            "slapgrid-version": env!("CARGO_PKG_VERSION"),
        },
        "modules": stand_ins,
    })
    .to_string()
}

/// A word that plugins do not print by accident.
fn token() -> String {
    use std::io::Read;
    let mut random = [0; 16];
    let source = std::fs::File::open("/dev/urandom");
    // Without randomness the moment must do: it is against accidents, not against attacks.
    let _ = source.and_then(|mut source| source.read_exact(&mut random));
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let moment = crate::time::unix(std::time::SystemTime::now());
    format!("\u{1e}slapos-promise-{random}-{moment:.9} ")
}
