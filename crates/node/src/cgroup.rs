//! One control group (cgroup v2) for each partition's user: what runs in a partition is counted,
//! limited and ended as a whole, however often it forked.
//!
//! The groups lie in `<mount>/slapos/<user>`, beside what systemd keeps; the node never touches
//! another one. They are made when something is started in a partition and removed when its
//! instance is destroyed. Where there is no cgroup v2, or it may not be written (no root, a
//! container), partitions work without.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::user::User;

/// The directory of all partitions' groups, below the mount.
const PARENT: &str = "slapos";

/// Where cgroup v2 usually is, or what it is below.
const USUAL: &str = "/sys/fs/cgroup";

/// What limits need of the kernel.
const CONTROLLERS: &[&str] = &["memory", "pids", "cpu"];

/// Share of the kernel's tasks that one partition may have unless it is configured.
const DEFAULT_TASKS_PERCENT: u64 = 15;

/// How long the processes of a group may take to end after KILL.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
const KILL_LOOK: Duration = Duration::from_millis(5);

/// The period processor time is limited in, in µs: the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;

/// Most levels of groups an instance may have made in its own.
const DEPTH_MAX: usize = 32;

/// What one partition may use. Absent: as much as there is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Bytes of memory, what the kernel keeps for its processes included.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub tasks: Option<u64>,
    /// Processors, such as 1.5.
    pub cpus: Option<f64>,
}

impl Limits {
    /// The kernel's files and what shall be in them.
    fn files(&self) -> [(&'static str, String); 3] {
        let number = |limit: Option<u64>| limit.map_or_else(|| "max".to_owned(), |n| n.to_string());
        let cpu = match self.cpus {
            Some(cpus) => format!("{} {CPU_PERIOD_US}", (cpus * CPU_PERIOD_US as f64) as u64),
            None => format!("max {CPU_PERIOD_US}"),
        };
        [
            ("memory.max", number(self.memory)),
            ("pids.max", number(self.tasks)),
            ("cpu.max", cpu),
        ]
    }

    /// The limits that are set: their options, and the kernel's controllers that keep them.
    pub(crate) fn set(&self) -> Vec<(&'static str, &'static str)> {
        [
            (self.memory.is_some(), "partition_memory_max", "memory"),
            (self.tasks.is_some(), "partition_tasks_max", "pids"),
            (self.cpus.is_some(), "partition_cpus_max", "cpu"),
        ]
        .into_iter()
        .filter_map(|(set, option, controller)| set.then_some((option, controller)))
        .collect()
    }

    /// With a limit of tasks in any case, the share systemd gives a service: one partition that
    /// forks for ever must leave the others room.
    pub(crate) fn or_default(mut self) -> Limits {
        let kernel = |name: &str| {
            let text = fs::read_to_string(Path::new("/proc/sys/kernel").join(name)).ok()?;
            text.trim().parse::<u64>().ok()
        };
        self.tasks = self.tasks.or_else(|| {
            let most = kernel("pid_max")?.min(kernel("threads-max")?);
            Some(most * DEFAULT_TASKS_PERCENT / 100)
        });
        self
    }
}

/// What a partition used since its group was made. What the kernel does not count is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time.
    pub cpu: Option<Duration>,
    /// Bytes of memory now.
    pub memory: Option<u64>,
    /// Most bytes of memory at once.
    pub memory_peak: Option<u64>,
    /// Processes and threads now; processes only where the kernel does not count tasks.
    pub tasks: Option<u64>,
    /// How often something was killed because the memory was used up.
    pub out_of_memory: Option<u64>,
}

/// Where the groups of this machine's partitions are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    mount: PathBuf,
}

impl Hierarchy {
    /// The machine's; `None` where there is none for us.
    pub(crate) fn find() -> Option<Hierarchy> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        mount_point(&mounts).map(|mount| Hierarchy { mount })
    }

    /// Names of the controllers it has.
    pub(crate) fn controllers(&self) -> Vec<String> {
        let text = fs::read_to_string(self.mount.join("cgroup.controllers")).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// The group of a partition's user. Partitions that share our own user have none.
    pub(crate) fn group(&self, user: &User) -> Option<PathBuf> {
        let plain =
            !user.name.is_empty() && !user.name.contains('/') && !user.name.starts_with('.');
        (!user.is_us() && plain).then(|| self.mount.join(PARENT).join(&user.name))
    }

    /// Makes a group where it is missing and has it keep the limits.
    pub(crate) fn settle(&self, group: &Path, limits: &Limits) -> io::Result<()> {
        let limits = limits.files();
        // The supervisor makes groups, too, but only to count what is in them.
        if limits.iter().any(|(name, _)| !group.join(name).exists()) {
            let parent = self.mount.join(PARENT);
            fs::create_dir_all(&parent)?;
            // Each by itself: one that another hierarchy has would make all of them fail.
            for directory in [&self.mount, &parent] {
                for controller in CONTROLLERS {
                    let path = directory.join("cgroup.subtree_control");
                    let _ = fs::write(path, format!("+{controller}"));
                }
            }
        }
        match fs::create_dir(group) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        for (name, value) in limits {
            let path = group.join(name);
            // A file that is not there belongs to a controller that is not.
            if let Ok(now) = fs::read_to_string(&path)
                && now.trim() != value
            {
                fs::write(&path, &value)
                    .map_err(|error| io::Error::other(format!("{name} = {value}: {error}")))?;
            }
        }
        Ok(())
    }

    /// Kills whatever runs in a group and removes it. A group that is not there is fine.
    pub(crate) fn end(&self, group: &Path) -> io::Result<()> {
        if !group.exists() {
            return Ok(());
        }
        let deadline = Instant::now() + KILL_TIMEOUT;
        loop {
            // At once and for all where the kernel can (5.14), one after the other where not.
            if fs::write(group.join("cgroup.kill"), "1").is_err() {
                kill_each(group, DEPTH_MAX);
            }
            if !is_populated(group)? {
                break;
            }
            if Instant::now() >= deadline {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("processes in {} survive being killed", group.display()),
                ));
            }
            sleep(KILL_LOOK);
        }
        remove(group, DEPTH_MAX)?;
        // Only succeeds when it was the last one.
        let _ = fs::remove_dir(self.mount.join(PARENT));
        Ok(())
    }
}

/// A process that writes `0` to this file joins the group.
pub(crate) fn door(group: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .open(group.join("cgroup.procs"))
}

/// What a partition used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionUsage {
    /// The partition's user.
    pub user: String,
    /// Its directory, which is the user's home.
    pub directory: PathBuf,
    /// What it used.
    pub usage: Usage,
}

/// What the partitions of this machine used, by user; only those in which something was started.
///
/// # Errors
/// When the groups cannot be listed.
pub fn usages(hierarchy: &Hierarchy) -> io::Result<Vec<PartitionUsage>> {
    let parent = hierarchy.mount.join(PARENT);
    if !parent.exists() {
        return Ok(Vec::new());
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut found: Vec<PartitionUsage> = below(&parent)?
        .into_iter()
        .filter_map(|group| {
            let user = group.file_name()?.to_str()?.to_owned();
            let directory = crate::user::home(&passwd, &user)?;
            Some(PartitionUsage {
                usage: usage(&group),
                user,
                directory,
            })
        })
        .collect();
    found.sort_by(|a, b| (a.user.len(), &a.user).cmp(&(b.user.len(), &b.user)));
    Ok(found)
}

/// What a group used.
fn usage(group: &Path) -> Usage {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let tasks = || Some(read("cgroup.procs")?.lines().count() as u64);
    Usage {
        cpu: read("cpu.stat")
            .and_then(|text| field(&text, "usage_usec"))
            .map(Duration::from_micros),
        memory: number("memory.current"),
        memory_peak: number("memory.peak"),
        tasks: number("pids.current").or_else(tasks),
        out_of_memory: read("memory.events").and_then(|text| field(&text, "oom_kill")),
    }
}

/// The number behind a word at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(found, _)| *found == name)
        .and_then(|(_, value)| value.trim().parse().ok())
}

fn is_populated(group: &Path) -> io::Result<bool> {
    let events = fs::read_to_string(group.join("cgroup.events"))?;
    Ok(field(&events, "populated") == Some(1))
}

fn kill_each(group: &Path, depth: usize) {
    let pids = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in pids.lines().filter_map(|line| line.parse().ok()) {
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    for below in below(group).unwrap_or_default() {
        if depth > 0 {
            kill_each(&below, depth - 1);
        }
    }
}

fn remove(group: &Path, depth: usize) -> io::Result<()> {
    for below in below(group)? {
        if depth > 0 {
            remove(&below, depth - 1)?;
        }
    }
    fs::remove_dir(group)
}

fn below(group: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Where cgroup v2 is mounted: the usual place before any other.
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    let mut found: Vec<&str> = mountinfo
        .lines()
        .filter_map(|line| {
            let (place, kind) = line.split_once(" - ")?;
            (kind.split(' ').next() == Some("cgroup2")).then(|| place.split(' ').nth(4))?
        })
        .collect();
    found.sort_by_key(|path| (*path != USUAL, !path.starts_with(USUAL)));
    found.first().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn cgroup_v2_is_found_where_it_is_mounted() {
        let hybrid = "\
29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - tmpfs tmpfs ro,mode=755
30 29 0:27 / /mnt/other rw shared:5 - cgroup2 none rw
31 29 0:28 / /sys/fs/cgroup/unified rw,nosuid shared:6 - cgroup2 cgroup2 rw,nsdelegate
32 29 0:29 / /sys/fs/cgroup/pids rw shared:7 - cgroup cgroup rw,pids
";
        assert_eq!(
            mount_point(hybrid).unwrap(),
            Path::new("/sys/fs/cgroup/unified")
        );
        let unified = "24 1 0:22 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(unified).unwrap(), Path::new("/sys/fs/cgroup"));
        assert_eq!(mount_point("29 23 0:26 / / rw - ext4 /dev/vda rw\n"), None);
    }

    #[test]
    fn limits_are_what_the_kernel_reads() {
        let limits = Limits {
            memory: Some(1 << 30),
            tasks: Some(100),
            cpus: Some(1.5),
        };
        assert_eq!(
            limits.files().map(|(_, value)| value),
            ["1073741824", "100", "150000 100000"]
        );
        assert_eq!(
            limits
                .set()
                .iter()
                .map(|(_, name)| *name)
                .collect::<Vec<_>>(),
            ["memory", "pids", "cpu"]
        );
        assert_eq!(
            Limits::default().files().map(|(_, value)| value),
            ["max", "max", "max 100000"]
        );
    }

    #[test]
    fn limits_are_written_where_they_differ_and_usage_is_read() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("slapuser0");
        fs::create_dir(&group).unwrap();
        fs::write(group.join("memory.max"), "max\n").unwrap();
        fs::write(group.join("cpu.stat"), "usage_usec 2500000\nuser_usec 1\n").unwrap();
        fs::write(group.join("memory.events"), "low 0\noom 1\noom_kill 3\n").unwrap();
        fs::write(group.join("cgroup.procs"), "12\n13\n").unwrap();
        let limits = Limits {
            memory: Some(4096),
            tasks: Some(9),
            cpus: None,
        };
        let hierarchy = Hierarchy {
            mount: root.path().to_owned(),
        };
        hierarchy.settle(&group, &limits).unwrap();
        assert_eq!(
            fs::read_to_string(group.join("memory.max")).unwrap(),
            "4096"
        );
        assert!(!group.join("pids.max").exists(), "no such controller here");
        for asked in [root.path().to_owned(), root.path().join(PARENT)] {
            assert!(asked.join("cgroup.subtree_control").exists());
        }
        let usage = usage(&group);
        assert_eq!(usage.cpu, Some(Duration::from_millis(2500)));
        assert_eq!(usage.out_of_memory, Some(3));
        assert_eq!(usage.tasks, Some(2));
        assert_eq!(usage.memory, None);
        fs::write(root.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
        assert_eq!(hierarchy.controllers(), ["cpu", "memory"]);
    }
}
