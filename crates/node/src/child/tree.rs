//! The end of a process and everything it started.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::procfs;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Rounds of looking for new children before killing: each round stops what it found, so a tree
/// that grows faster than this is stopped as far as it was seen.
const ROUNDS_MAX: usize = 20;

/// Kills a process, its process group and all its descendants, also those that left the group.
///
/// Everything is suspended first, so that nothing can start or adopt children meanwhile.
pub(crate) fn kill_tree(pid: u32) {
    let Some(root) = as_pid(pid) else { return };
    let mut seen = BTreeSet::from([pid]);
    let _ = kill_process_group(root, Signal::STOP);
    let _ = kill_process(root, Signal::STOP);
    for _ in 0..ROUNDS_MAX {
        let new: Vec<u32> = descendants(&seen)
            .into_iter()
            .filter(|pid| !seen.contains(pid))
            .collect();
        if new.is_empty() {
            break;
        }
        for pid in new {
            if let Some(pid) = as_pid(pid) {
                let _ = kill_process(pid, Signal::STOP);
            }
            seen.insert(pid);
        }
    }
    for pid in seen {
        if let Some(pid) = as_pid(pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    let _ = kill_process_group(root, Signal::KILL);
}

fn as_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// All living processes that descend from these.
fn descendants(roots: &BTreeSet<u32>) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pid in procfs::pids().into_iter().flatten() {
        if let Some(parent) = fs::read_to_string(format!("/proc/{pid}/stat"))
            .ok()
            .as_deref()
            .and_then(parent_in_stat)
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = BTreeSet::new();
    let mut open: Vec<u32> = roots.iter().copied().collect();
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if found.insert(*child) {
                open.push(*child);
            }
        }
    }
    found
}

/// The parent in a line of `/proc/<pid>/stat`; the command's name in it may hold anything.
fn parent_in_stat(line: &str) -> Option<u32> {
    let (_, after_name) = line.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        assert_eq!(parent_in_stat("12 (a) S 7 (b)) S 99 12 12 0"), Some(99));
        assert_eq!(parent_in_stat("garbage"), None);
    }
}
