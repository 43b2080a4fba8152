//! Promises that are plain executables (`etc/promise`), run without any Python (N 4.4, end).

use std::time::{Instant, SystemTime};

use super::discover::Promise;
use super::files::{Answer, Files, Kind};
use super::rules::{self, Rule};
use super::{Checks, Mode, Ran};
use crate::child::{self, ChildError, Spawn};
use crate::partition::Partition;

/// Runs one and judges its log. `None` when it was interrupted.
pub(super) fn run(
    checks: &Checks<'_>,
    partition: &Partition<'_>,
    files: &Files,
    promise: &Promise,
    mode: Mode,
) -> Option<Ran> {
    let begin = Instant::now();
    let started = SystemTime::now();
    let mut spawn = Spawn::new(&promise.path, &partition.path, &partition.user);
    spawn.timeout = Some(checks.config.promise_timeout);
    let (failed, message) = match child::run(spawn, checks.cancel, &mut |_| {}) {
        Ok(ended) => (!ended.status.success(), ended.output.trim().to_owned()),
        Err(ChildError::Cancelled { .. }) => return None,
        Err(ChildError::Timeout { .. }) => {
            let said = super::timed_out(checks.config);
            let answer = super::no_answer(files, promise, mode, said);
            return Some(Ran::new(begin.elapsed(), answer));
        }
        Err(error) => (true, error.to_string()),
    };
    let judged = files
        .bound_log(&promise.title)
        .and_then(|()| files.append_log(&promise.title, &rules::line(started, failed, &message)))
        .and_then(|()| files.log_tail(&promise.title));
    // Never an anomaly result: an executable that fails does not bang.
    let answer = match judged {
        Ok(log) => {
            let rule = match mode {
                Mode::Test => Rule::TEST,
                Mode::Anomaly => Rule::ANOMALY,
            };
            let verdict = rules::judge(&log, rule);
            Answer::new(Kind::Test, verdict.failed, verdict.message)
        }
        // Without its log only this execution can be judged.
        Err(error) => Answer::new(
            Kind::Test,
            failed,
            format!("{message}\n(its log cannot be used: {error})"),
        ),
    };
    Some(Ran::new(begin.elapsed(), answer))
}
