//! When a promise is run (N 4.3).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use slap::PartitionId;

use super::Mode;
use super::discover::discover;
use super::files::{Cache, Past};
use crate::config::NodeConfig;
use crate::safe_fs::Dir;
use crate::time;

/// Least seconds between two executions of a promise between deployments, whatever it wishes.
const PAUSE_MIN: f64 = 5.0;

/// Seconds after which a plugin that cannot even say how often it wants to run is tried again.
const PAUSE_UNKNOWN: f64 = 60.0;

/// Whether to run a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Run,
    /// Not in this mode.
    Skip,
    /// Not yet: the saved result still holds.
    Later,
}

/// Whether a promise is due. No I/O.
pub(super) fn due(cache: Option<&Cache>, mode: Mode, now: f64) -> Due {
    match (cache, mode) {
        (None, _) => Due::Run,
        (Some(cache), Mode::Test) if !cache.is_tested => Due::Skip,
        (Some(_), Mode::Test) => Due::Run,
        (Some(cache), Mode::Anomaly) if !cache.is_anomaly_detected => Due::Skip,
        (Some(cache), Mode::Anomaly) if now < cache.next_run_after => Due::Later,
        (Some(_), Mode::Anomaly) => Due::Run,
    }
}

/// When the next promise of a partition is due between deployments: a moment in the past when one
/// is due now, `None` when there is none at all.
///
/// Reads the names of the promises and what is recorded of each; runs and writes nothing.
pub fn next_due(config: &NodeConfig, partition: &PartitionId) -> Option<SystemTime> {
    let dir = Dir::open_trusted(&config.partition_directory(partition)).ok()?;
    let promises = discover(&dir, &mut |_| {}).ok()?;
    let past = Past::open(&dir);
    let now = time::unix(SystemTime::now());
    let next = promises
        .iter()
        .filter_map(|promise| match past.cache(&promise.title, &promise.path) {
            Some(cache) if !cache.is_anomaly_detected => None,
            Some(cache) => Some(cache.next_run_after.max(cache.timestamp + PAUSE_MIN)),
            None => Some(
                past.answered(&promise.title)
                    .filter(|moment| *moment <= now)
                    .map_or(0.0, |moment| moment + PAUSE_UNKNOWN),
            ),
        })
        .fold(f64::INFINITY, f64::min);
    (!promises.is_empty() && next.is_finite())
        .then(|| Duration::try_from_secs_f64(next).ok())
        .flatten()
        .map(|since| UNIX_EPOCH + since)
}
