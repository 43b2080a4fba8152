//! What an instance may have left outside its partition: everything its user owns on this machine.
//!
//! Only where the user is the partition's alone. Nothing is followed and nothing is searched: these
//! are the places where any user may leave something.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::AtFlags;
use rustix::process::{Pid, Signal, kill_process};

use crate::partition::Partition;
use crate::procfs;
use crate::safe_fs::Dir;

/// Directories in which every user may make files.
const SHARED: &[&str] = &["/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue"];
/// Where tables of cron and jobs of at are.
const SPOOLS: &[&str] = &[
    "/var/spool/cron/crontabs",
    "/var/spool/cron",
    "/var/spool/cron/atjobs",
];
/// Kinds of System V objects: their list in `/proc/sysvipc`, and what `ipcrm` calls them.
const SYSTEM_V: &[(&str, &str)] = &[("shm", "-m"), ("msg", "-q"), ("sem", "-s")];
/// How often processes that fork are killed again.
const KILLS_MAX: usize = 100;
const KILL_PAUSE: Duration = Duration::from_millis(10);

/// Removes what the partition's user has elsewhere, and ends their processes. What cannot be removed
/// is told: the partition is free all the same.
pub(super) fn remove(partition: &Partition<'_>) -> Vec<String> {
    let uid = partition.user.uid;
    if partition.user.is_us() || uid == 0 || is_shared(partition) {
        return Vec::new();
    }
    let mut troubles = Vec::new();
    let mut note = |what: &str, result: io::Result<()>| {
        if let Err(error) = result {
            troubles.push(format!("{what} of {}: {error}", partition.user.name));
        }
    };
    note("the processes", kill(uid));
    for spool in SPOOLS {
        note(&format!("what is in {spool}"), empty(Path::new(spool), uid));
    }
    for (kind, option) in SYSTEM_V {
        note(
            &format!("the System V objects ({kind})"),
            remove_system_v(kind, option, uid),
        );
    }
    for shared in SHARED {
        note(
            &format!("what is in {shared}"),
            empty(Path::new(shared), uid),
        );
    }
    troubles
}

/// Whether another partition belongs to the same user, or it cannot be told.
fn is_shared(partition: &Partition<'_>) -> bool {
    let Ok(entries) = fs::read_dir(&partition.config.instance_root) else {
        return true;
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name() != partition.id().as_str())
        .filter_map(|entry| fs::metadata(entry.path()).ok())
        .any(|metadata| metadata.uid() == partition.user.uid)
}

/// Kills everything that runs as this user, until nothing does.
fn kill(uid: u32) -> io::Result<()> {
    for _ in 0..KILLS_MAX {
        let mut found = false;
        for pid in procfs::pids()?.filter(|pid| runs_as(*pid, uid)) {
            found = true;
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // It may have ended meanwhile.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if !found {
            return Ok(());
        }
        sleep(KILL_PAUSE);
    }
    Err(io::Error::other("some survive being killed"))
}

/// Whether a process lives and has this user's identity, by its status: one that has hidden itself
/// from its user ([`procfs::owner`]) must not escape.
fn runs_as(pid: u32, uid: u32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
        return false;
    };
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let is_dead = field("State:").is_some_and(|state| state.trim_start().starts_with('Z'));
    let real = field("Uid:").and_then(|ids| ids.split_whitespace().next()?.parse::<u32>().ok());
    !is_dead && real == Some(uid)
}

/// Removes what this user owns directly in a directory.
fn empty(path: &Path, uid: u32) -> io::Result<()> {
    let Some(dir) = Dir::open_if_present(path)? else {
        return Ok(());
    };
    for name in dir.names()? {
        let stat = rustix::fs::statat(dir.as_fd(), &name, AtFlags::SYMLINK_NOFOLLOW);
        if stat.is_ok_and(|stat| stat.st_uid == uid) {
            dir.remove_tree(&name)?;
        }
    }
    Ok(())
}

fn remove_system_v(kind: &str, option: &str, uid: u32) -> io::Result<()> {
    let list = match fs::read_to_string(Path::new("/proc/sysvipc").join(kind)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        list => list?,
    };
    for id in owned(&list, uid) {
        let status = Command::new("ipcrm").arg(option).arg(&id).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("ipcrm {option} {id}: {status}")));
        }
    }
    Ok(())
}

/// The ids in a list of `/proc/sysvipc` that belong to this user; columns are named in its first
/// line and differ between kinds.
fn owned(list: &str, uid: u32) -> Vec<String> {
    let mut lines = list.lines();
    let names: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let column = |name: &str| names.iter().position(|found| *found == name);
    let id = column("shmid").or(column("msqid")).or(column("semid"));
    let (Some(id), Some(owner)) = (id, column("uid")) else {
        return Vec::new();
    };
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(owner).and_then(|uid| uid.parse().ok()) == Some(uid))
        .filter_map(|fields| fields.get(id).map(|id| (*id).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_v_objects_are_found_by_their_owner_in_every_list() {
        let shm = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid\n\
                   0          3   600                  4096   120   120      0   990   991   990   991\n\
                   0          5   600                  4096   120   120      0   991   991   990   991\n";
        assert_eq!(owned(shm, 990), ["3"]);
        let sem = "       key      semid perms      nsems   uid   gid  cuid  cgid\n 1 7 666 1 990 0 0 0\n";
        assert_eq!(owned(sem, 990), ["7"]);
        assert!(owned("", 990).is_empty());
    }
}
