//! Processes, found by what they have to do with a directory.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

/// A live process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its command line, words joined by blanks.
    pub command: String,
    /// Its working directory, if it can be known.
    pub directory: PathBuf,
}

/// Every live process whose working directory, command line or environment names something below
/// this directory, the caller excepted. Zombies are not alive.
pub fn processes_below(directory: &Path) -> Vec<Process> {
    let needle = directory.as_os_str().as_bytes();
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let proc = entry.path();
        let command = fs::read(proc.join("cmdline")).unwrap_or_default();
        // Kernel threads and zombies have none.
        if command.is_empty() {
            continue;
        }
        let working = fs::read_link(proc.join("cwd")).unwrap_or_default();
        let environment = fs::read(proc.join("environ")).unwrap_or_default();
        let belongs = working.starts_with(directory)
            || contains(&command, needle)
            || contains(&environment, needle);
        if belongs {
            let words = command.split(|byte| *byte == 0);
            let words: Vec<_> = words.map(String::from_utf8_lossy).collect();
            found.insert(Process {
                pid,
                command: words.join(" ").trim_end().to_owned(),
                directory: working,
            });
        }
    }
    found.into_iter().collect()
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

/// Sends a signal to one process; tells whether it existed.
pub fn kill(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}
