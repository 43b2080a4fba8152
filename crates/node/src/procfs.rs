//! The processes of this machine, as `/proc` shows them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

/// The numbers of all processes.
pub(crate) fn pids() -> io::Result<impl Iterator<Item = u32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

/// Whom a process belongs to; `None` when it has ended. Wrong only for one that root may look at but
/// its own user may not, such as one that changed its identity: that belongs to root.
pub(crate) fn owner(pid: u32) -> Option<u32> {
    let metadata = fs::metadata(format!("/proc/{pid}")).ok()?;
    Some(metadata.uid())
}
