//! The files of a partition's promises: logs, results, and when to run again (N 4.5).

use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::partition::Partition;
use crate::pyjson;
use crate::safe_fs::{Dir, Durable, Owner};
use crate::time;

/// How much of the end of a log is read: executions before it do not matter.
const LOG_TAIL_BYTES: u64 = 256 << 10;
/// Bytes of a log, and of the one kept from before.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// Seconds by which a clock may be corrected without everything being due.
const CLOCK_SLACK: f64 = 5.0;

/// Largest cache or result file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// When a promise was run, and what it wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cache {
    pub(crate) is_tested: bool,
    pub(crate) is_anomaly_detected: bool,
    /// Minutes between two executions; an integer stays one in the file.
    pub(crate) periodicity: serde_json::Number,
    pub(crate) next_run_after: f64,
    pub(crate) timestamp: f64,
    pub(crate) module_file: String,
    pub(crate) module_file_mtime: f64,
}

/// What kind of answer a result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    #[serde(rename = "Test Result")]
    Test,
    #[serde(rename = "Anomaly Result")]
    Anomaly,
}

/// A result as others (monitors) read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) title: String,
    pub(crate) name: String,
    pub(crate) path: String,
    #[serde(rename = "execution-time")]
    pub(crate) execution_time: f64,
    pub(crate) result: Answer,
}

/// The answer in a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    pub(crate) failed: bool,
    pub(crate) date: String,
    pub(crate) message: Option<String>,
}

/// What is recorded of a partition's promises, only to be read.
pub(crate) struct Past {
    result: Option<Dir>,
    cache: Option<Dir>,
}

impl Past {
    pub(crate) fn open(partition: &Dir) -> Past {
        let root = partition
            .dir(".slapgrid")
            .ok()
            .flatten()
            .and_then(|dir| dir.dir("promise").ok().flatten());
        let dir = |name: &str| root.as_ref().and_then(|root| root.dir(name).ok().flatten());
        Past {
            result: dir("result"),
            cache: dir("cache"),
        }
    }

    /// What is known about a promise. What is broken, or older than the promise's file, or from the
    /// future (the clock was set back), or of a module that is gone or another by now, is not known.
    pub(crate) fn cache(&self, title: &str, promise: &Path) -> Option<Cache> {
        read_cache(self.cache.as_ref()?, title, promise)
    }

    /// When a result was last written, in seconds since 1970.
    pub(crate) fn answered(&self, title: &str) -> Option<f64> {
        let (_, written) = self
            .result
            .as_ref()?
            .read_with_time(status_name(title), FILE_BYTES_MAX)
            .ok()??;
        Some(time::unix(written))
    }
}

fn read_cache(dir: &Dir, title: &str, promise: &Path) -> Option<Cache> {
    let (bytes, _) = dir.read_with_time(title, FILE_BYTES_MAX).ok()??;
    let cache: Cache = serde_json::from_slice(&bytes).ok()?;
    let now = time::unix(SystemTime::now());
    if cache.timestamp > now + CLOCK_SLACK {
        return None;
    }
    let module = modified(Path::new(&cache.module_file))?;
    let changed =
        modified(promise).is_none_or(|changed| changed > cache.timestamp && changed <= now);
    ((module - cache.module_file_mtime).abs() < 0.001 && !changed).then_some(cache)
}

fn status_name(title: &str) -> String {
    format!("{title}.status.json")
}

/// `.slapgrid/promise` of a partition.
pub(crate) struct Files {
    log: Dir,
    result: Dir,
    cache: Dir,
    owner: Owner,
}

/// Files of upstream before its 1.22, which it removes as well.
const OUTDATED: &[&str] = &[
    "promise_stats.json",
    "promise_status.json",
    "global.json",
    "public.json",
];

impl Files {
    pub(crate) fn open(partition: &Partition<'_>) -> Result<Files, crate::Error> {
        let owner = partition.owner();
        let path = partition.path.join(".slapgrid/promise");
        let make = |parent: &Dir, name: &str, mode| {
            parent
                .make_dir(name, mode, owner)
                .map_err(crate::Error::io("create", path.join(name)))
        };
        let root = make(&partition.node_directory()?, "promise", 0o755)?;
        tidy(&root);
        Ok(Files {
            log: make(&root, "log", 0o700)?,
            result: make(&root, "result", 0o700)?,
            cache: make(&root, "cache", 0o700)?,
            owner,
        })
    }

    pub(crate) fn log_directory(&self) -> &Path {
        self.log.path()
    }

    /// As [`Past::cache`].
    pub(crate) fn cache(&self, title: &str, promise: &Path) -> Option<Cache> {
        read_cache(&self.cache, title, promise)
    }

    pub(crate) fn write_cache(&self, title: &str, cache: &Cache) -> io::Result<()> {
        let text = pyjson::line(cache);
        self.cache
            .write(title, text.as_bytes(), 0o644, self.owner, Durable::No)
    }

    pub(crate) fn status(&self, title: &str) -> Option<Status> {
        let name = status_name(title);
        let (bytes, _) = self.result.read_with_time(name, FILE_BYTES_MAX).ok()??;
        serde_json::from_slice(&bytes).ok()
    }

    pub(crate) fn write_status(&self, status: &Status) -> io::Result<()> {
        let name = status_name(&status.title);
        let text = pyjson::line(status);
        self.result
            .write(name, text.as_bytes(), 0o644, self.owner, Durable::No)
    }

    /// Keeps a promise's log, which only ever grows otherwise, within its size: the whole of it becomes
    /// `<title>.log.1` instead of the one before, and what promises are judged by stays.
    pub(crate) fn bound_log(&self, title: &str) -> io::Result<()> {
        let name = format!("{title}.log");
        let size = self.log.stat(&name)?.map_or(0, |stat| stat.st_size);
        if u64::try_from(size).unwrap_or(0) <= LOG_BYTES_MAX {
            return Ok(());
        }
        let Some(all) = self.log.read_tail(&name, LOG_BYTES_MAX)? else {
            return Ok(());
        };
        let end = all.len().saturating_sub(LOG_TAIL_BYTES as usize);
        // From a whole line on, where there is one.
        let line = all[end..].iter().position(|byte| *byte == b'\n');
        let end = line.map_or(end, |at| end + at + 1);
        // The copy first: whoever is killed in between begins anew.
        self.log
            .write(format!("{name}.1"), &all, 0o644, self.owner, Durable::No)?;
        self.log
            .write(&name, &all[end..], 0o644, self.owner, Durable::No)
    }

    /// Adds to a promise's log.
    pub(crate) fn append_log(&self, title: &str, line: &str) -> io::Result<()> {
        let mut file = self.log.append(format!("{title}.log"), 0o644, self.owner)?;
        file.write_all(line.as_bytes())
    }

    /// The end of a promise's log.
    pub(crate) fn log_tail(&self, title: &str) -> io::Result<String> {
        let bytes = self
            .log
            .read_tail(format!("{title}.log"), LOG_TAIL_BYTES)?
            .unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Removes what nobody reads any more; a trouble with that is nobody's trouble.
fn tidy(root: &Dir) {
    for name in root.names().unwrap_or_default() {
        let text = name.to_string_lossy();
        if OUTDATED.contains(&&*text)
            || text.ends_with(".timestamp")
            || text.ends_with(".periodicity")
        {
            let _ = root.remove(&name);
        } else if text == "history" {
            let _ = root.remove_tree(&name);
        }
    }
}

/// When a file was last written, as Python's `os.path.getmtime`: links are followed.
pub(crate) fn modified(path: &Path) -> Option<f64> {
    Some(time::unix(std::fs::metadata(path).ok()?.modified().ok()?))
}

impl Answer {
    pub(crate) fn new(kind: Kind, failed: bool, message: impl Into<String>) -> Answer {
        Answer {
            kind,
            failed,
            date: time::utc_iso(SystemTime::now()),
            message: Some(message.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn n_4_5_files_are_written_as_python_writes_them() {
        let status = Status {
            title: "check".into(),
            name: "check.py".into(),
            path: "/p/etc/plugin/check.py".into(),
            execution_time: 0.05,
            result: Answer {
                kind: Kind::Test,
                failed: false,
                date: "2026-11-22T08:18:01+0000".into(),
                message: Some("success".into()),
            },
        };
        let text = "{\"title\": \"check\", \"name\": \"check.py\", \"path\": \"/p/etc/plugin/check.py\", \
            \"execution-time\": 0.05, \"result\": {\"type\": \"Test Result\", \"failed\": false, \
            \"date\": \"2026-11-22T08:18:01+0000\", \"message\": \"success\"}}";
        assert_eq!(pyjson::line(&status), text);
        assert_eq!(serde_json::from_str::<Status>(text).unwrap(), status);
        let cache = "{\"is_tested\": true, \"is_anomaly_detected\": true, \"periodicity\": 2, \
            \"next_run_after\": 1795335601.5, \"timestamp\": 1795335481.0, \
            \"module_file\": \"/p/etc/plugin/check.py\", \"module_file_mtime\": 1795335000.25}";
        assert_eq!(
            pyjson::line(&serde_json::from_str::<Cache>(cache).unwrap()),
            cache
        );
    }
}
