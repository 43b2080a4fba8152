//! The files of a partition's promises: logs, results, and when to run again (N 4.5).

use std::ffi::OsStr;
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

/// `.slapgrid/promise` of a partition.
pub(crate) struct Files {
    log: Dir,
    result: Dir,
    cache: Dir,
    owner: Owner,
}

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

    /// What is known about a promise. What is broken, or of another file, is not known.
    pub(crate) fn cache(&self, title: &str, promise: &Path) -> Option<Cache> {
        let (bytes, _) = self.cache.read_with_time(title, FILE_BYTES_MAX).ok()??;
        let cache: Cache = serde_json::from_slice(&bytes).ok()?;
        let modified = modified(Path::new(&cache.module_file))?;
        let same_file = Path::new(&cache.module_file) != promise
            || (modified - cache.module_file_mtime).abs() < 0.001;
        same_file.then_some(cache)
    }

    pub(crate) fn write_cache(&self, title: &str, cache: &Cache) -> io::Result<()> {
        let text = pyjson::line(cache);
        self.cache
            .write(title, text.as_bytes(), 0o644, self.owner, Durable::No)
    }

    pub(crate) fn status(&self, title: &str) -> Option<Status> {
        let name = format!("{title}.status.json");
        let (bytes, _) = self.result.read_with_time(name, FILE_BYTES_MAX).ok()??;
        serde_json::from_slice(&bytes).ok()
    }

    pub(crate) fn write_status(&self, status: &Status) -> io::Result<()> {
        let name = format!("{}.status.json", status.title);
        let text = pyjson::line(status);
        self.result
            .write(name, text.as_bytes(), 0o644, self.owner, Durable::No)
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

/// When a file was last written, as Python's `os.path.getmtime`.
pub(crate) fn modified(path: &Path) -> Option<f64> {
    Some(time::unix(
        std::fs::symlink_metadata(path).ok()?.modified().ok()?,
    ))
}

/// A promise's title: its file's name without the last extension.
pub(crate) fn title(name: &OsStr) -> Option<String> {
    Path::new(name)
        .file_stem()
        .and_then(OsStr::to_str)
        .map(str::to_owned)
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
    fn files_are_written_as_python_writes_them() {
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
