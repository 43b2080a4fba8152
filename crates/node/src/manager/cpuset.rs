//! cpuset: processors that single processes have for themselves, by cgroup v1 (N 7).
//!
//! Where cgroup v1 has no cpuset, nothing is done, and that is said: cgroup v2 keeps a partition
//! within its processors by `partition_cpus_max`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Manager, ManagerConfig, Place};
use crate::procfs;
use crate::safe_fs::Durable;

pub(super) const NAME: &str = "cpuset";
const FILE: &str = ".slapos-cpu-exclusive";
const ROOT: &str = "/sys/fs/cgroup/cpuset";
const CPUS: &str = "/sys/devices/system/cpu";
/// Most processes of a partition that may ask.
const PIDS_MAX: usize = 1000;

pub(super) struct CpuSet {
    power_users: Vec<String>,
    root: PathBuf,
    cpus: PathBuf,
}

/// Makes a set of its own for each processor.
pub(super) fn format(warn: &dyn Fn(&str)) {
    if let Err(reason) = format_in(Path::new(ROOT)) {
        warn(&format!("manager {NAME}: {reason}"));
    }
}

fn format_in(root: &Path) -> Result<(), String> {
    let Ok(list) = fs::read_to_string(root.join("cpuset.cpus")) else {
        return Err(
            "this machine has no cpusets of cgroup v1; partition_cpus_max limits processors with \
             cgroup v2"
                .to_owned(),
        );
    };
    for cpu in processors(&list) {
        let set = root.join(format!("cpu{cpu}"));
        let write = |name: &str, value: &str| fs::write(set.join(name), value);
        fs::create_dir_all(&set)
            .and_then(|()| write("cpuset.cpus", &cpu.to_string()))
            .and_then(|()| write("cpuset.cpu_exclusive", "1"))
            .and_then(|()| write("cpuset.mems", "0"))
            .map_err(|error| format!("cannot set up {}: {error}", set.display()))?;
    }
    Ok(())
}

/// `0-2,5` as numbers.
fn processors(list: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for piece in list.trim().split(',') {
        let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            // No machine has more.
            found.extend(first..=last.min(first.saturating_add(65_535)));
        }
    }
    found
}

impl CpuSet {
    pub(super) fn new(config: &ManagerConfig) -> Self {
        CpuSet {
            power_users: config.power_users.clone(),
            root: ROOT.into(),
            cpus: CPUS.into(),
        }
    }

    fn tasks(&self, cpu: u32) -> PathBuf {
        self.root.join(format!("cpu{cpu}/tasks"))
    }

    fn enter(&self, pid: i32, cpu: u32) -> std::io::Result<()> {
        fs::write(self.tasks(cpu), format!("{pid}\n"))
    }

    /// Gives each of these the first processor nobody has; what is left waits.
    fn place(&self, wanted: Vec<i32>) -> Result<Vec<i32>, String> {
        let list = fs::read_to_string(self.root.join("cpuset.cpus"))
            .map_err(|error| format!("manager {NAME}: cannot read the processors: {error}"))?;
        let cpus = processors(&list);
        let Some((general, exclusive)) = cpus.split_first() else {
            return Ok(wanted);
        };
        let everywhere = pids(&self.root.join("tasks"));
        for pid in &everywhere {
            // Threads of the kernel refuse to be moved.
            let _ = self.enter(*pid, *general);
        }
        let running: BTreeSet<i32> = everywhere
            .into_iter()
            .chain(pids(&self.tasks(*general)))
            .collect();
        let settled: BTreeSet<i32> = exclusive
            .iter()
            .flat_map(|cpu| pids(&self.tasks(*cpu)))
            .collect();
        let mut waiting = Vec::new();
        for pid in wanted {
            if settled.contains(&pid) || !running.contains(&pid) {
                continue;
            }
            let free = exclusive
                .iter()
                .find(|cpu| pids(&self.tasks(**cpu)).is_empty());
            match free {
                Some(cpu) if self.enter(pid, *cpu).is_ok() => {
                    let governor = format!("cpu{cpu}/cpufreq/scaling_governor");
                    // Virtual machines have none.
                    let _ = write_existing(&self.cpus.join(governor), "performance\n");
                }
                _ => waiting.push(pid),
            }
        }
        Ok(waiting)
    }
}

fn write_existing(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    fs::OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(text.as_bytes())
}

fn pids(file: &Path) -> Vec<i32> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

impl Manager for CpuSet {
    fn instance(&self, place: &Place<'_>) -> Result<(), String> {
        let partition = place.partition;
        let Ok(Some(text)) = partition.dir.read_text(FILE) else {
            return Ok(());
        };
        if text.trim().is_empty() {
            return Ok(());
        }
        if !self.root.join("cpu0").exists() {
            (place.warn)(&format!(
                "manager {NAME}: this machine's processors are not set up; run `slapos node format`"
            ));
            return Ok(());
        }
        let user = &partition.user;
        if !self.power_users.contains(&user.name) {
            (place.warn)(&format!(
                "manager {NAME}: user {} may not reserve processors; power_user_list in [slapos] \
                 says who may",
                user.name
            ));
            return Ok(());
        }
        // Only its own: somebody else's processes are not the instance's to move.
        let wanted: Vec<i32> = text
            .split_whitespace()
            .take(PIDS_MAX)
            .filter_map(|pid| pid.parse().ok())
            .filter(|pid| u32::try_from(*pid).ok().and_then(procfs::owner) == Some(user.uid))
            .collect();
        let waiting = self.place(wanted)?;
        let text: String = waiting.iter().map(|pid| format!("{pid}\n")).collect();
        partition
            .dir
            .write(FILE, text.as_bytes(), 0o644, partition.owner(), Durable::No)
            .map_err(|error| format!("cannot write {FILE}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn n_7_processors_are_listed() {
        for (list, expected) in [
            ("0-2,5\n", vec![0, 1, 2, 5]),
            ("3", vec![3]),
            ("", vec![]),
            ("x,1-", vec![]),
        ] {
            assert_eq!(processors(list), expected, "{list}");
        }
    }

    #[test]
    fn n_7_each_gets_a_processor_until_none_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("cpuset");
        fs::create_dir(&root).unwrap();
        assert!(format_in(&root).is_err(), "no cgroup v1");
        fs::write(root.join("cpuset.cpus"), "0-2\n").unwrap();
        format_in(&root).unwrap();
        assert_eq!(
            fs::read_to_string(root.join("cpu2/cpuset.cpus")).unwrap(),
            "2"
        );
        let set = CpuSet {
            power_users: Vec::new(),
            root: root.clone(),
            cpus: dir.path().join("none"),
        };
        fs::write(root.join("tasks"), "11 12 13\n").unwrap();
        fs::write(root.join("cpu1/tasks"), "").unwrap();
        fs::write(root.join("cpu2/tasks"), "").unwrap();
        // 14 is gone meanwhile.
        assert_eq!(set.place(vec![11, 14, 12, 13]).unwrap(), [13]);
        assert_eq!(pids(&root.join("cpu1/tasks")), [11]);
        assert_eq!(pids(&root.join("cpu2/tasks")), [12]);
        // Who has one keeps it, and takes no other.
        assert!(set.place(vec![11]).unwrap().is_empty());
    }
}
