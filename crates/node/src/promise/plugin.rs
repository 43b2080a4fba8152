//! Promises that are Python plugins (`etc/plugin`), run by the release's own Python (N 4.2–4.4).
//!
//! One interpreter, the partition's runner, runs all plugins that are due, each in a process forked
//! from it. It gets its program, what to run and a stand-in for `slapos.grid.promise` through its
//! arguments and input, so nothing of the node needs to be readable by the partition's user. What
//! it answers is a stranger's word: it is of bounded size, read strictly, and believed only about
//! the promises of its own partition.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::json;

use super::discover::Promise;
use super::files::{self, Answer, Files, Kind};
use super::rules;
use super::runners::{Launch, Runner};
use super::{Checks, Facts, Mode, PromiseError, Ran};
use crate::child::{ChildError, Talk, python_of};
use crate::partition::Partition;
use crate::time;

const RUNNER: &str = include_str!("python/runner.py");

/// Reads the runner, so that lists of processes show a line and not a program. The partition is the
/// working directory: nothing of it shall stand in for a module.
const START: &str = "import sys; sys.path[:1] == [''] and sys.path.pop(0); import json; \
                     exec(compile(json.loads(sys.stdin.readline()), '<promise plugins>', 'exec'))";

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

/// How many runners of a partition may be killed in one run before the rest is left.
const DEATHS_MAX: usize = 10;

/// Longest pause between two executions that is believed, in minutes.
const PERIODICITY_MAX: f64 = 366.0 * 24.0 * 60.0;

/// Longest path of a module that is believed, in bytes.
const PATH_BYTES_MAX: usize = 4096;

/// What the runner says: about one plugin, or that all are through.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Word {
    order: u64,
    #[serde(default)]
    done: bool,
    #[serde(default)]
    title: String,
    #[serde(default)]
    elapsed: f64,
    /// Absent when the plugin could not be loaded.
    facts: Option<Facts>,
    /// A stand-in wants the Master to process the instance again.
    bang: Option<String>,
    outcome: Option<Outcome>,
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

/// Runs plugins side by side; what came of each, by title.
pub(super) fn run(
    checks: &Checks<'_>,
    partition: &Partition<'_>,
    files: &Files,
    due: &[&Promise],
    mode: Mode,
    output: &mut dyn FnMut(&str),
) -> Result<BTreeMap<String, Ran>, PromiseError> {
    let python = interpreter(partition);
    let key = key(partition, &python, due);
    for promise in due {
        if let Err(error) = files.bound_log(&promise.title) {
            output(&format!("the log of {} grows on: {error}", promise.title));
        }
    }
    let mut words: BTreeMap<String, Word> = BTreeMap::new();
    let mut timed_out = false;
    // A runner may be killed: while it waited, then another one gets its order; or by a plugin, then
    // the others are run one by one, so that it harms only itself.
    let mut orders = VecDeque::from([due.to_vec()]);
    let mut deaths = 0;
    while let Some(asked) = orders.pop_front() {
        let taken = checks.runners.take(partition.id(), &key);
        let has_waited = taken.is_some();
        let runner = match taken {
            Some(runner) => Ok((runner, String::new())),
            None => start(checks, partition, &python, &key, &asked),
        };
        let (mut runner, mut text) = match runner {
            Ok(started) => started,
            Err(error) => {
                output(&format!("plugins cannot be run: {error}"));
                break;
            }
        };
        runner.orders += 1;
        let order = order(checks, partition, files, &asked, mode, runner.orders);
        let _ = writeln!(text, "{order}");
        let limit = checks.config.promise_timeout * asked.len() as u32 + GRACE;
        let mut on_word = |word: Word| {
            // Of no promise more than one word counts, and of others none.
            if asked.iter().any(|promise| promise.title == word.title) {
                words.entry(word.title.clone()).or_insert(word);
            }
        };
        match talk(&mut runner, &text, limit, checks, &mut on_word, output) {
            Ok(Talk::Done) => checks.runners.keep(partition.id(), runner),
            Ok(Talk::Ended) => {
                output("the promise runner ended before its work");
                deaths += 1;
                if deaths > DEATHS_MAX {
                    break;
                }
                let alone = asked.len() == 1;
                let left = asked
                    .into_iter()
                    .filter(|promise| !words.contains_key(&promise.title));
                if has_waited && words.is_empty() {
                    orders.push_front(left.collect());
                } else if !alone {
                    orders.extend(left.map(|promise| vec![promise]));
                }
            }
            Ok(Talk::TimedOut) => {
                timed_out = true;
                break;
            }
            Err(ChildError::Cancelled { .. }) => return Err(PromiseError::Cancelled),
            Err(error) => {
                output(&error.to_string());
                break;
            }
        }
    }
    Ok(due
        .iter()
        .map(|promise| {
            let ran = match words.remove(&promise.title) {
                Some(word) => conclude(checks, files, promise, mode, word),
                None => {
                    let said = if timed_out {
                        super::timed_out(checks.config)
                    } else {
                        super::NO_OUTPUT.to_owned()
                    };
                    Ran::new(Duration::ZERO, super::no_answer(files, promise, mode, said))
                }
            };
            (promise.title.clone(), ran)
        })
        .collect())
}

fn talk(
    runner: &mut Runner,
    text: &str,
    limit: Duration,
    checks: &Checks<'_>,
    on_word: &mut dyn FnMut(Word),
    output: &mut dyn FnMut(&str),
) -> Result<Talk, ChildError> {
    let (token, orders) = (&runner.token, runner.orders);
    runner
        .resident
        .ask(text.as_bytes(), limit, checks.cancel, &mut |line| {
            let Some(document) = line.strip_prefix(token.as_str()) else {
                if !line.is_empty() {
                    output(line);
                }
                return ControlFlow::Continue(());
            };
            match serde_json::from_str::<Word>(document) {
                Ok(word) if word.order != orders => {}
                Ok(word) if word.done => return ControlFlow::Break(()),
                Ok(word) => on_word(word),
                Err(error) => output(&format!("the promise runner is not understood: {error}")),
            }
            ControlFlow::Continue(())
        })
}

fn conclude(checks: &Checks<'_>, files: &Files, promise: &Promise, mode: Mode, word: Word) -> Ran {
    let facts = word.facts.map(believable);
    let elapsed = Duration::try_from_secs_f64(word.elapsed).unwrap_or_default();
    let answer = match word.outcome {
        Some(Outcome::Answer(answer)) => Answer {
            date: if time::is_utc_iso(&answer.date) {
                answer.date
            } else {
                time::utc_iso(SystemTime::now())
            },
            message: answer.message.map(|text| rules::clip(&text)),
            ..answer
        },
        Some(Outcome::Empty) => {
            return Ran {
                facts,
                is_empty: true,
                ..Ran::new(elapsed, Answer::new(Kind::Test, false, ""))
            };
        }
        Some(Outcome::TimedOut) => {
            super::no_answer(files, promise, mode, super::timed_out(checks.config))
        }
        Some(Outcome::NoOutput) | None => {
            super::no_answer(files, promise, mode, super::NO_OUTPUT.to_owned())
        }
    };
    Ran {
        facts,
        bang: word.bang.map(|text| rules::clip(&text)),
        ..Ran::new(elapsed, answer)
    }
}

/// What a plugin says about itself, as far as it makes sense.
fn believable(mut facts: Facts) -> Facts {
    let minutes = facts.periodicity.as_f64().unwrap_or(0.0);
    if !(0.0..=PERIODICITY_MAX).contains(&minutes) {
        facts.periodicity = super::PERIODICITY_MINUTES.into();
    }
    facts.module_file = facts
        .module_file
        .filter(|path| path.len() <= PATH_BYTES_MAX && path.starts_with('/'));
    facts
}

/// What a runner is started for: it is of no use when the release was built again, or the plugins
/// are others.
fn key(partition: &Partition<'_>, python: &OsString, due: &[&Promise]) -> String {
    let release = partition.release_directory().unwrap_or_default();
    let built = files::modified(&release.join(".completed"));
    let (uid, gid) = (partition.user.uid, partition.user.gid);
    let mut key = format!("{python:?} {} {built:?} {uid} {gid}", release.display());
    // Any of its plugins: those that are due next time may be others.
    let directory = due.first().and_then(|promise| promise.path.parent());
    let mut plugins: Vec<_> = directory
        .and_then(|directory| std::fs::read_dir(directory).ok())
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "py"))
        .map(|entry| (entry.file_name(), files::modified(&entry.path())))
        .collect();
    plugins.sort_by(|one, other| one.0.cmp(&other.0));
    let _ = write!(key, " {plugins:?}");
    key
}

/// The release's Python, which its buildout script names; without one, the system's.
fn interpreter(partition: &Partition<'_>) -> OsString {
    partition
        .release_directory()
        .and_then(|release| std::fs::read(release.join("bin/buildout")).ok())
        .and_then(|script| python_of(&script))
        .unwrap_or_else(|| "python3".into())
}

/// A new runner, and what it has to read first.
fn start(
    checks: &Checks<'_>,
    partition: &Partition<'_>,
    python: &OsString,
    key: &str,
    due: &[&Promise],
) -> Result<(Runner, String), ChildError> {
    let launch = Launch {
        program: python.clone(),
        args: vec!["-c".to_owned(), START.to_owned()],
        directory: partition.path.clone(),
        user: partition.user.clone(),
    };
    let token = token();
    let runner = checks.runners.start(launch, key, token.clone())?;
    let stand_ins: BTreeMap<_, _> = STAND_INS.iter().copied().collect();
    let first = due
        .first()
        .map(|promise| promise.path.display().to_string());
    let setup = json!({
        "token": token,
        "timeout": checks.config.promise_timeout.as_secs(),
        "first": first,
        "modules": stand_ins,
    });
    Ok((runner, format!("{}\n{setup}\n", json!(RUNNER))))
}

fn order(
    checks: &Checks<'_>,
    partition: &Partition<'_>,
    files: &Files,
    due: &[&Promise],
    mode: Mode,
    number: u64,
) -> serde_json::Value {
    let config = checks.config;
    let (certificate, key) = config.partition_certificate(partition.id()).unzip();
    json!({
        "order": number,
        "check_anomaly": mode == Mode::Anomaly,
        "timeout": config.promise_timeout.as_secs(),
        "parallel": super::side_by_side(),
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
            "partition-cert": certificate.map(|path| path.display().to_string()),
            "partition-key": key.map(|path| path.display().to_string()),
            "partition-id": partition.id().as_str(),
            "computer-id": config.node.as_str(),
            "slapgrid-version": env!("CARGO_PKG_VERSION"),
        },
    })
}

/// A word that plugins do not print by accident.
fn token() -> String {
    use std::io::Read;
    let mut random = [0; 16];
    let source = std::fs::File::open("/dev/urandom");
    // Without randomness the moment must do: it is against accidents, not against attacks.
    let _ = source.and_then(|mut source| source.read_exact(&mut random));
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let moment = time::unix(SystemTime::now());
    format!("\u{1e}slapos-promise-{random}-{moment:.9} ")
}
