//! The state file: what a daemon must know to take over from one that was killed.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::GroupConfig;
use crate::state::Machine;

/// No state file is larger.
const MAX_SIZE: u64 = 256 << 20;
/// Changes when an older daemon could not understand the file.
const VERSION: u32 = 1;

/// Everything that is active.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Journal {
    version: u32,
    /// Process ids mean nothing after a reboot.
    boot: String,
    pub(crate) groups: Vec<GroupRecord>,
}

/// One active group with the configuration it was added with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GroupRecord {
    pub(crate) config: GroupConfig,
    /// In the order of the configuration's programs.
    pub(crate) processes: Vec<ProcessRecord>,
}

/// One process.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    pub(crate) machine: Machine,
    pub(crate) run: Option<RunRecord>,
    /// Unix time in seconds of the last start; 0 = never.
    pub(crate) started_at: i64,
    /// Unix time in seconds of the last exit; 0 = never.
    pub(crate) stopped_at: i64,
}

/// A running process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    pub(crate) pid: i32,
    /// Clock ticks from boot to its start.
    pub(crate) start: u64,
    /// The FIFOs it writes stdout and stderr to.
    pub(crate) fifos: [Option<PathBuf>; 2],
    /// The FIFO it reads stdin from; none when an older daemon started it.
    #[serde(default)]
    pub(crate) stdin: Option<PathBuf>,
}

impl Journal {
    pub(crate) fn new(groups: Vec<GroupRecord>) -> Self {
        Self {
            version: VERSION,
            boot: crate::procfs::boot_id(),
            groups,
        }
    }

    /// What the last daemon of this boot left; `Ok(None)` when there is nothing to take over.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, String> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        if metadata.len() > MAX_SIZE {
            return Err(format!(
                "{} is too large to be a state file",
                path.display()
            ));
        }
        let text = fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let journal: Self = serde_json::from_slice(&text)
            .map_err(|e| format!("{} is damaged: {e}", path.display()))?;
        let usable = journal.version == VERSION && journal.boot == crate::procfs::boot_id();
        Ok(Some(journal).filter(|_| usable))
    }

    /// Replaces the file. Not flushed to disk: it is worth nothing after a power cut.
    pub(crate) fn save(&self, path: &Path) -> std::io::Result<()> {
        let temporary = path.with_extension("tmp");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&serde_json::to_vec(self).map_err(std::io::Error::other)?)?;
        fs::rename(&temporary, path)
    }
}
