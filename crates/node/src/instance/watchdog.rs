//! What upstream's watchdog does (N 3.6): an instance with a watched service that does not stay up is
//! processed again, with all of its tree.
//!
//! Upstream's is a process that hears of every exit, and nothing else starts the service again. Ours
//! is started again by the supervisor; only one that keeps dying is a reason to process the tree.

use std::time::{Duration, SystemTime};

use super::process::Means;
use crate::observer::Event;
use crate::partition::{MARK, Partition};
use crate::safe_fs::Durable;

/// The mark of the deployment after which the last bang was.
const BANGED: &str = ".slapos_latest_bang_timestamp";
/// Least time between two bangs of one partition: processing does not heal everything, and costs the
/// whole tree.
const PAUSE: Duration = Duration::from_secs(300);
/// Bytes of a mark that are read.
const MARK_BYTES_MAX: u64 = 4096;

/// Has the Master process the instance again, once for each deployment, because this process of it
/// does not stay up. What goes wrong is only told: the next look tries again.
pub(super) fn bang(means: &Means<'_>, partition: &Partition<'_>, process: &str) {
    let id = partition.id();
    let read = |name| {
        let read = partition.dir.read_with_time(name, MARK_BYTES_MAX);
        read.ok().flatten()
    };
    let Some((deployed, _)) = read(MARK) else {
        return;
    };
    let last = read(BANGED);
    let last = last.as_ref().map(|(mark, at)| (mark.as_slice(), *at));
    if !is_due(&deployed, last, SystemTime::now()) {
        return;
    }
    let message = format!("{process} process in partition {id} encountered a problem");
    let banged = means
        .client
        .instance_bang(&means.config.node, id, &message)
        .map_err(|error| error.to_string())
        .and_then(|()| {
            partition
                .dir
                .write(BANGED, &deployed, 0o644, None, Durable::No)
                .map_err(|error| error.to_string())
        });
    means.observer.event(&Event::Warning(&match banged {
        Ok(()) => format!("{message}; its tree is processed again"),
        Err(error) => format!("{message}, and the bang failed: {error}"),
    }));
}

/// Whether to bang: not twice for one deployment, and not too often.
fn is_due(deployed: &[u8], last: Option<(&[u8], SystemTime)>, now: SystemTime) -> bool {
    match last {
        None => true,
        Some((mark, at)) => {
            let pause = now.duration_since(at).unwrap_or_default();
            mark.trim_ascii() != deployed.trim_ascii() && pause >= PAUSE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n_3_6_there_is_one_bang_for_each_deployment() {
        let now = SystemTime::now();
        let before = now - PAUSE;
        // Marks of Masters are whole or broken numbers.
        for (deployed, last, due) in [
            ("1795336213.402521", None, true),
            ("12", Some(("12", before)), false),
            ("12", Some(("12\n", before)), false),
            ("13.5", Some(("12", before)), true),
            ("13", Some(("12", now - Duration::from_secs(10))), false),
            // A clock that was set back.
            ("13", Some(("12", now + PAUSE)), false),
        ] {
            let last = last.map(|(mark, at)| (mark.as_bytes(), at));
            assert_eq!(is_due(deployed.as_bytes(), last, now), due, "{deployed}");
        }
    }
}
