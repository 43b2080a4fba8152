//! The log of a partition's processing, kept in the partition (N 2.3).

use std::fs::File;
use std::io::Write;
use std::sync::Mutex;

use crate::outcome::Error;
use crate::partition::Partition;
use crate::time;

/// The log is renamed to `.1` before it is used when it is this large, in bytes.
const ROTATE_BYTES: u64 = 20 << 20;

const NAME: &str = "instance.log";

/// An open `.slapgrid/log/instance.log`.
pub(crate) struct InstanceLog {
    file: Mutex<File>,
    name: String,
}

impl InstanceLog {
    pub(crate) fn open(partition: &Partition<'_>) -> Result<Self, Error> {
        let path = partition.path.join(".slapgrid/log").join(NAME);
        let directory = partition
            .node_directory()?
            .make_dir("log", 0o700, partition.owner())
            .map_err(Error::io("create", &path))?;
        let open = || {
            if let Some(stat) = directory.stat(NAME)?
                && stat.st_size as u64 >= ROTATE_BYTES
            {
                directory.rename(NAME, format!("{NAME}.1"))?;
            }
            directory.append(NAME, 0o644, None)
        };
        Ok(InstanceLog {
            file: Mutex::new(open().map_err(Error::io("open", &path))?),
            name: partition.id().to_string(),
        })
    }

    /// Adds a line. A full disk must not fail the processing for its log.
    pub(crate) fn line(&self, level: &str, text: &str) {
        let moment = time::local_millis(std::time::SystemTime::now());
        if let Ok(mut file) = self.file.lock() {
            let _ = writeln!(file, "[{moment}] {level} {} {text}", self.name);
        }
    }
}
