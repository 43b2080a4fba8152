//! Becoming somebody else between fork and exec.
//!
//! The only unsafe code of the node: `pre_exec` runs in the child after `fork`, where only
//! async-signal-safe calls are allowed. The closure below makes nothing but direct system calls on
//! values prepared before the fork: no allocation, no locks, no environment.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal, umask};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use crate::cgroup;
use crate::user::User;

/// Makes the command run as this user, in their control group, with this umask, and not outlive a
/// killed node.
///
/// Nothing changes where we already are the user or may not become anybody else: installations of
/// a single user work this way. Root runs as root only what root owns.
pub(super) fn apply(command: &mut Command, user: &User, mask: Option<u32>) -> io::Result<()> {
    let change = !user.is_us();
    if change && user.gid == 0 {
        return Err(io::Error::other(format!(
            "refusing to become {} with the group of root; give the directory its user's own group",
            user.name
        )));
    }
    let (uid, gid) = user.ids();
    let groups: Vec<Gid> = user
        .groups
        .iter()
        .map(|group| Gid::from_raw(*group))
        .collect();
    let mask = mask.map(Mode::from_raw_mode);
    let door = user
        .cgroup
        .as_deref()
        .and_then(|group| cgroup::door(group).ok());
    // SAFETY: see the module's head. `groups` lives in the closure, nothing is freed or allocated.
    unsafe {
        command.pre_exec(move || {
            if let Some(door) = &door {
                rustix::io::write(door, b"0")?;
            }
            if let Some(mask) = mask {
                umask(mask);
            }
            if change {
                set_thread_groups(&groups)?;
                set_thread_gid(gid)?;
                set_thread_uid(uid)?;
                if set_thread_uid(Uid::ROOT) != Err(Errno::PERM) {
                    return Err(Errno::PERM.into());
                }
            }
            // After the change of identity, which would clear it.
            set_parent_process_death_signal(Some(Signal::KILL))?;
            Ok(())
        });
    }
    Ok(())
}
