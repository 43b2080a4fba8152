//! What the Master is told of the promises of a partition: all of them, when one of them changed.
//!
//! What was told last is noted beside the node's locks, so that single runs do not tell it again
//! and again. It is told again after a while all the same: a Master may keep it in its memory only.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use md5::{Digest, Md5};
use slap::PartitionId;
use slap_client::PromiseTold;

use super::Checks;
use super::discover::Promise;
use super::files::Files;
use crate::config::NodeConfig;
use crate::partition::Partition;
use crate::safe_fs::{self, Durable};

/// After so long everything is told again, and a Master that could not be told is asked again.
const AGAIN: Duration = Duration::from_secs(600);

/// Notes that the Master has no use for all this.
const LACKING: &str = "master-without-promises";

/// Most promises of a partition that are told, those that fail first.
const TOLD_MAX: usize = 300;

/// Longest message that is told, in characters: its end.
const MESSAGE_CHARS_MAX: usize = 1000;

/// Tells how the promises are, if that is news. Nothing depends on it: what cannot be told now is
/// told after the next check.
pub(super) fn tell(
    checks: &Checks<'_>,
    partition: &Partition<'_>,
    files: Option<&Files>,
    promises: &[Promise],
) {
    let (Some(client), config, id) = (checks.client, checks.config, partition.id()) else {
        return;
    };
    let record = record(config, id);
    if promises.is_empty() && !record.exists() {
        return;
    }
    let mut told: Vec<PromiseTold> = promises
        .iter()
        .filter_map(|promise| state(files?, promise))
        .collect();
    told.sort_by(|one, other| (!one.failed, &one.title).cmp(&(!other.failed, &other.title)));
    told.truncate(TOLD_MAX);
    let news = digest(partition, &told);
    let lacking = config.instance_root.join("var/run").join(LACKING);
    if is_fresh(&record, &news) || is_fresh(&lacking, &config.master.url) {
        return;
    }
    let noted = match client.tell_promises(&config.node, id, &told) {
        Ok(Some(())) => note(&record, &news),
        // Upstream's Masters do not have this call.
        Ok(None) => note(&lacking, &config.master.url),
        Err(error) => {
            tracing::debug!("{id}: the Master cannot be told of the promises: {error}");
            Ok(())
        }
    };
    if let Err(error) = noted {
        tracing::debug!("{id}: cannot note what the Master was told: {error}");
    }
}

/// Forgets what was told of an instance that is gone.
pub(crate) fn forget(config: &NodeConfig, partition: &PartitionId) -> io::Result<()> {
    match std::fs::remove_file(record(config, partition)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Forgets what was told of all instances: each is told again with its next check. For whoever begins
/// to work, and does not know what became of the Master meanwhile.
pub(crate) fn forget_all(config: &NodeConfig) {
    let directory = config.instance_root.join("var/run");
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".promises") || name == LACKING {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// What was told last: in a directory of the node's, where no partition can write.
fn record(config: &NodeConfig, partition: &PartitionId) -> PathBuf {
    config
        .instance_root
        .join(format!("var/run/{partition}.promises"))
}

fn note(path: &std::path::Path, text: &str) -> io::Result<()> {
    safe_fs::write(path, text.as_bytes(), 0o600, Durable::No)
}

/// Whether this was noted, and not too long ago.
fn is_fresh(path: &std::path::Path, text: &str) -> bool {
    let Ok(noted) = std::fs::read_to_string(path) else {
        return false;
    };
    let written = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let age = written.map(|written| SystemTime::now().duration_since(written));
    noted == text && matches!(age, Ok(Ok(age)) if age < AGAIN)
}

/// How a promise is, by its last result. One that has none yet is not told.
fn state(files: &Files, promise: &Promise) -> Option<PromiseTold> {
    let status = files.status(&promise.title)?;
    let cache = files.cache(&promise.title, &promise.path);
    let micros = |seconds: f64| (seconds * 1e6) as i64;
    let message = status.result.message.unwrap_or_default();
    let skip = message.chars().count().saturating_sub(MESSAGE_CHARS_MAX);
    Some(PromiseTold {
        title: promise.title.clone(),
        failed: status.result.failed,
        message: message.chars().skip(skip).collect(),
        checked_at: micros(cache.as_ref().map_or(0.0, |cache| cache.timestamp)),
        next_check_at: cache.map(|cache| micros(cache.next_run_after)),
    })
}

/// What counts as news: which promises there are and fail, and what those that fail say.
fn digest(partition: &Partition<'_>, told: &[PromiseTold]) -> String {
    let mut digest = Md5::new();
    let guid = partition.document.guid.as_deref().unwrap_or_default();
    digest.update(format!("{}\0{guid}", partition.config.master.url));
    for promise in told {
        let said = if promise.failed { &promise.message } else { "" };
        digest.update(format!("\0{}\0{}\0{said}", promise.title, promise.failed));
    }
    let mut text = String::new();
    for byte in digest.finalize() {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
