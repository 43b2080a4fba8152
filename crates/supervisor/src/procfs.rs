//! What the kernel tells about processes.

use std::fs;

use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal};

/// One line of `/proc/<pid>/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: i32,
    pub(crate) group: i32,
    pub(crate) session: i32,
    /// Clock ticks from boot to its start: with the pid, a name that is never given twice.
    pub(crate) start: u64,
    /// It has ended and only waits to be reaped.
    pub(crate) dead: bool,
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The command's name may hold anything, also blanks and parentheses.
    let (head, tail) = text.rsplit_once(')')?;
    let pid = head.split(' ').next()?.parse().ok()?;
    let mut fields = tail.split_ascii_whitespace();
    let state = fields.next()?;
    let _parent = fields.next()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    let start = fields.nth(15)?.parse().ok()?;
    Some(Stat {
        pid,
        group,
        session,
        start,
        dead: matches!(state, "Z" | "X" | "x"),
    })
}

/// One process, if it exists.
pub(crate) fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Every process id.
pub(crate) fn all() -> Vec<i32> {
    fs::read_dir("/proc").map_or_else(
        |_| Vec::new(),
        |entries| {
            entries
                .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
                .collect()
        },
    )
}

/// Our own children, where the kernel lists them.
pub(crate) fn children() -> Option<Vec<i32>> {
    let text = fs::read_to_string("/proc/thread-self/children").ok()?;
    Some(
        text.split_ascii_whitespace()
            .filter_map(|p| p.parse().ok())
            .collect(),
    )
}

/// The value of a variable in the environment a process was executed with.
pub(crate) fn environment(pid: i32) -> Option<Vec<u8>> {
    fs::read(format!("/proc/{pid}/environ")).ok()
}

/// One variable of it.
pub(crate) fn variable<'a>(environment: &'a [u8], name: &str) -> Option<&'a str> {
    environment
        .split(|b| *b == 0)
        .filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// A name for the time since the last boot.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// A handle on exactly this process; `None` when it is gone or the number was given again.
pub(crate) fn open(pid: i32, start: u64) -> Option<OwnedFd> {
    let handle = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    stat(pid)
        .filter(|s| s.start == start && !s.dead)
        .map(|_| handle)
}

/// Signals exactly this process.
pub(crate) fn signal(pid: i32, start: u64, signal: i32) {
    if let (Some(handle), Some(signal)) = (open(pid, start), Signal::from_named_raw(signal)) {
        let _ = rustix::process::pidfd_send_signal(handle, signal);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn odd_names_do_not_shift_fields() {
        let line = "42 (a) R (b c)) S 1 40 39 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1";
        assert_eq!(
            parse_stat(line),
            Some(Stat {
                pid: 42,
                group: 40,
                session: 39,
                start: 777,
                dead: false
            })
        );
        assert_eq!(parse_stat("42 (x"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn this_process_is_found() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let me = stat(pid).unwrap();
        assert!(open(pid, me.start).is_some());
        assert!(open(pid, me.start + 1).is_none());
        assert!(all().contains(&pid));
        assert!(!boot_id().is_empty());
    }

    #[test]
    fn variables_are_found() {
        assert_eq!(variable(b"A=1\0B=x=y\0", "B"), Some("x=y"));
        assert_eq!(variable(b"A=1\0B=x\0", "C"), None);
    }
}
