//! What `/proc` says at one moment, and what two such moments tell.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Instant, UNIX_EPOCH};

use crate::procfs;

/// Most processes that are looked at.
const PROCESSES_MAX: usize = 100_000;

/// One moment.
pub(super) struct Snapshot {
    at: Instant,
    /// The partitions' processes, by id.
    processes: BTreeMap<u32, Process>,
    cpu: Cpu,
    /// Seconds since 1970 at which the machine was started.
    boot: f64,
}

/// One process, as the kernel tells.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Process {
    pub(super) user: String,
    pub(super) name: String,
    /// Clock ticks it used itself.
    ticks: u64,
    /// Clock ticks of everything that counts as its time: its children's and what it waited, too.
    all_ticks: u64,
    threads: u64,
    /// When it was started, in clock ticks since the machine was.
    started: u64,
    rss_pages: u64,
    io_bytes: u64,
    io_calls: u64,
}

/// Clock ticks of all processors: idle, and altogether.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cpu {
    idle: u64,
    total: u64,
}

/// A row of the table `user`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) user: String,
    pub(super) pid: u32,
    pub(super) process: String,
    pub(super) cpu_percent: f64,
    pub(super) cpu_time: f64,
    pub(super) threads: u64,
    pub(super) memory_percent: f64,
    pub(super) memory_rss: u64,
    pub(super) io_bytes: u64,
    pub(super) io_calls: u64,
}

/// Rows of the tables about the machine.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Machine {
    pub(super) cores: usize,
    pub(super) memory_total: u64,
    pub(super) memory_available: u64,
    pub(super) load: f64,
    pub(super) cpu_percent: f64,
    pub(super) net: Net,
    pub(super) disks: Vec<Disk>,
    pub(super) temperatures: Vec<Temperature>,
}

/// All interfaces together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Net {
    pub(super) in_bytes: u64,
    pub(super) in_errors: u64,
    pub(super) in_dropped: u64,
    pub(super) out_bytes: u64,
    pub(super) out_errors: u64,
    pub(super) out_dropped: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) device: String,
    pub(super) mountpoint: String,
    pub(super) total: u64,
    pub(super) used: u64,
    pub(super) free: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Temperature {
    pub(super) sensor: String,
    pub(super) celsius: f64,
    /// 1: at least its maximum, 2: critical.
    pub(super) alarm: u8,
}

/// What the kernel told this process about itself (`getauxval`).
fn auxiliary(key: u64) -> Option<u64> {
    let bytes = fs::read("/proc/self/auxv").ok()?;
    let (words, _) = bytes.as_chunks::<8>();
    let words: Vec<u64> = words.iter().map(|word| u64::from_ne_bytes(*word)).collect();
    let (pairs, _) = words.as_chunks::<2>();
    pairs
        .iter()
        .find(|[found, _]| *found == key)
        .map(|[_, value]| *value)
}

fn ticks_per_second() -> f64 {
    const AT_CLKTCK: u64 = 17;
    auxiliary(AT_CLKTCK).unwrap_or(100) as f64
}

fn page_bytes() -> u64 {
    const AT_PAGESZ: u64 = 6;
    auxiliary(AT_PAGESZ).unwrap_or(4096)
}

fn text(path: impl AsRef<Path>) -> String {
    // Not all of it is text everywhere.
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

impl Snapshot {
    /// Looks at every process once; those of these users are kept.
    pub(super) fn take(users: &[&str]) -> Snapshot {
        let passwd = text("/etc/passwd");
        let known: BTreeMap<u32, &str> = passwd
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?;
                let uid = fields.nth(1)?.parse().ok()?;
                users.contains(&name).then_some((uid, name))
            })
            .collect();
        let mut processes = BTreeMap::new();
        let pids = procfs::pids().into_iter().flatten();
        for pid in pids.take(PROCESSES_MAX) {
            let directory = format!("/proc/{pid}");
            // Cheaper than reading its status.
            let Some(user) = procfs::owner(pid).and_then(|uid| known.get(&uid)) else {
                continue;
            };
            if let Some(mut process) = parse_stat(&text(format!("{directory}/stat"))) {
                process.user = (*user).to_owned();
                (process.io_bytes, process.io_calls) = parse_io(&text(format!("{directory}/io")));
                processes.insert(pid, process);
            }
        }
        let stat = text("/proc/stat");
        Snapshot {
            at: Instant::now(),
            processes,
            cpu: parse_cpu(&stat),
            boot: stat
                .lines()
                .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
                .unwrap_or_default(),
        }
    }

    /// A process that was there.
    pub(super) fn process(&self, pid: u32) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// When a process was started, in seconds since 1970.
    pub(super) fn started(&self, process: &Process) -> f64 {
        self.boot + process.started as f64 / ticks_per_second()
    }
}

/// `/proc/<pid>/stat`: the name may hold blanks and brackets.
fn parse_stat(stat: &str) -> Option<Process> {
    let (head, tail) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let number = |index: usize| -> u64 {
        // Field 3, the state, is the first here.
        fields
            .get(index - 3)
            .and_then(|field| field.parse().ok())
            .unwrap_or(0)
    };
    Some(Process {
        name: name.to_owned(),
        ticks: number(14) + number(15),
        all_ticks: number(14) + number(15) + number(16) + number(17) + number(42),
        threads: number(20),
        started: number(22),
        rss_pages: number(24),
        ..Process::default()
    })
}

/// Bytes read and written, and how often.
fn parse_io(io: &str) -> (u64, u64) {
    let get = |name: &str| -> u64 {
        io.lines()
            .find_map(|line| {
                line.strip_prefix(name)?
                    .strip_prefix(": ")?
                    .trim()
                    .parse()
                    .ok()
            })
            .unwrap_or(0)
    };
    (
        get("read_bytes") + get("write_bytes"),
        get("syscr") + get("syscw"),
    )
}

fn parse_cpu(stat: &str) -> Cpu {
    let fields: Vec<u64> = stat
        .lines()
        .find_map(|line| line.strip_prefix("cpu "))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    Cpu {
        idle: fields.get(3).copied().unwrap_or(0),
        // What guests used is in what their hosts' processes used.
        total: fields.iter().take(8).sum(),
    }
}

/// The processes that are there, with what they used since the snapshot before.
pub(super) fn processes(before: &Snapshot, after: &Snapshot) -> Vec<Row> {
    let seconds = after.at.duration_since(before.at).as_secs_f64().max(0.001);
    let page = page_bytes();
    let ticks = ticks_per_second();
    let memory = meminfo(&text("/proc/meminfo"), "MemTotal").max(1);
    after
        .processes
        .iter()
        .map(|(pid, process)| {
            let earlier = before
                .processes
                .get(pid)
                .filter(|earlier| earlier.started == process.started);
            let used = earlier.map_or(0, |earlier| process.ticks.saturating_sub(earlier.ticks));
            let rss = process.rss_pages * page;
            Row {
                user: process.user.clone(),
                pid: *pid,
                process: format!("{pid}-{}", slap::python::float(after.started(process))),
                cpu_percent: round(used as f64 / ticks / seconds * 100.0),
                cpu_time: process.all_ticks as f64 / ticks,
                threads: process.threads,
                memory_percent: rss as f64 / memory as f64 * 100.0,
                memory_rss: rss,
                io_bytes: process.io_bytes,
                io_calls: process.io_calls,
            }
        })
        .collect()
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// A line of `/proc/meminfo`, in bytes.
fn meminfo(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|rest| {
            rest.trim()
                .trim_end_matches("kB")
                .trim()
                .parse::<u64>()
                .ok()
        })
        .unwrap_or(0)
        * 1024
}

impl Machine {
    pub(super) fn read(before: &Snapshot, after: &Snapshot) -> Machine {
        let memory = text("/proc/meminfo");
        let total = after.cpu.total.saturating_sub(before.cpu.total);
        let idle = after.cpu.idle.saturating_sub(before.cpu.idle);
        Machine {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_total: meminfo(&memory, "MemTotal"),
            memory_available: meminfo(&memory, "MemAvailable"),
            load: text("/proc/loadavg")
                .split_whitespace()
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(0.0),
            cpu_percent: if total == 0 {
                0.0
            } else {
                round(100.0 - idle as f64 / total as f64 * 100.0)
            },
            net: parse_net(&text("/proc/net/dev")),
            disks: disks(&text("/proc/filesystems"), &text("/proc/self/mounts")),
            temperatures: temperatures(Path::new("/sys/class/hwmon")),
        }
    }
}

fn parse_net(dev: &str) -> Net {
    let mut net = Net::default();
    for line in dev.lines() {
        let Some((_, figures)) = line.split_once(':') else {
            continue;
        };
        let fields: Vec<u64> = figures
            .split_whitespace()
            .filter_map(|field| field.parse().ok())
            .collect();
        if let [
            in_bytes,
            _,
            in_errors,
            in_dropped,
            _,
            _,
            _,
            _,
            out_bytes,
            _,
            out_errors,
            out_dropped,
            ..,
        ] = fields[..]
        {
            net.in_bytes += in_bytes;
            net.in_errors += in_errors;
            net.in_dropped += in_dropped;
            net.out_bytes += out_bytes;
            net.out_errors += out_errors;
            net.out_dropped += out_dropped;
        }
    }
    net
}

/// Every device with a real file system, once.
fn disks(filesystems: &str, mounts: &str) -> Vec<Disk> {
    let real: Vec<&str> = filesystems
        .lines()
        .filter(|line| !line.starts_with("nodev"))
        .map(str::trim)
        .chain(["zfs"])
        .collect();
    let mut found: Vec<Disk> = Vec::new();
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [device, mountpoint, kind, ..] = fields[..] else {
            continue;
        };
        let known = found.iter().any(|disk| disk.device == device);
        if device.is_empty() || device == "none" || known || !real.contains(&kind) {
            continue;
        }
        let mountpoint = mountpoint.replace("\\040", " ");
        let Ok(stat) = rustix::fs::statvfs(mountpoint.as_str()) else {
            continue;
        };
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        found.push(Disk {
            device: device.to_owned(),
            mountpoint,
            total: bytes(stat.f_blocks),
            used: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
            free: bytes(stat.f_bavail),
        });
    }
    found
}

/// The machine's thermometers, from the kernel itself.
fn temperatures(hwmon: &Path) -> Vec<Temperature> {
    let mut found = Vec::new();
    for chip in fs::read_dir(hwmon).into_iter().flatten().flatten() {
        let chip = chip.path();
        let name = text(chip.join("name")).trim().to_owned();
        for index in 1..=64 {
            let read = |what: &str| -> Option<f64> {
                let value = text(chip.join(format!("temp{index}_{what}")));
                value.trim().parse::<f64>().ok().map(|value| value / 1000.0)
            };
            let Some(celsius) = read("input") else {
                continue;
            };
            let label = text(chip.join(format!("temp{index}_label")));
            let label = match label.trim() {
                "" => format!("temp{index}"),
                label => label.to_owned(),
            };
            let reached = |what| read(what).is_some_and(|limit| limit > 0.0 && celsius >= limit);
            found.push(Temperature {
                sensor: format!("{name} {label}"),
                celsius,
                alarm: match (reached("crit"), reached("max")) {
                    (true, _) => 2,
                    (false, true) => 1,
                    _ => 0,
                },
            });
        }
    }
    found.sort_by(|one, other| one.sensor.cmp(&other.sensor));
    found
}

/// When a process was started, local, as upstream's files say it.
pub(super) fn started_text(seconds: f64) -> String {
    let since = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    crate::time::local(UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn n_6_6_the_kernels_texts_are_read() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 10 0 0 0 700 50 30 20 20 0 3 0 12345 \
                    999 77 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 5 0 0";
        let process = parse_stat(stat).unwrap();
        assert_eq!(process.name, "a b) c");
        assert_eq!((process.ticks, process.all_ticks), (750, 805));
        assert_eq!(
            (process.threads, process.started, process.rss_pages),
            (3, 12345, 77)
        );
        assert!(parse_stat("rubbish").is_none());
        let io = "rchar: 9\nwchar: 9\nsyscr: 3\nsyscw: 4\nread_bytes: 100\nwrite_bytes: 20\n";
        assert_eq!(parse_io(io), (120, 7));
        let cpu = parse_cpu("cpu  10 0 20 60 5 0 0 5 9 9\ncpu0 1 1\n");
        assert_eq!((cpu.idle, cpu.total), (60, 100));
        let net = parse_net(
            "Inter-| x\n face |bytes\n lo: 10 1 2 3 0 0 0 0 20 1 4 5 0 0 0 0\n\
             e0:1 1 1 1 0 0 0 0 1 1 1 1 0 0 0 0\n",
        );
        assert_eq!((net.in_bytes, net.in_errors, net.in_dropped), (11, 3, 4));
        assert_eq!((net.out_bytes, net.out_errors, net.out_dropped), (21, 5, 6));
        assert_eq!(
            meminfo("MemTotal:   10 kB\nMemTotalX: 3 kB\n", "MemTotal"),
            10_240
        );
    }

    #[test]
    fn n_6_6_thermometers_say_when_it_is_too_hot() {
        let dir = tempfile::tempdir().unwrap();
        let chip = dir.path().join("hwmon0");
        fs::create_dir(&chip).unwrap();
        for (name, value) in [
            ("name", "coretemp"),
            ("temp1_input", "85000"),
            ("temp1_max", "80000"),
            ("temp1_crit", "100000"),
            ("temp1_label", "Core 0"),
            ("temp2_input", "40500"),
        ] {
            fs::write(chip.join(name), format!("{value}\n")).unwrap();
        }
        let found = temperatures(dir.path());
        let shown: Vec<_> = found
            .iter()
            .map(|found| (found.sensor.as_str(), found.celsius, found.alarm))
            .collect();
        assert_eq!(
            shown,
            [("coretemp Core 0", 85.0, 1), ("coretemp temp2", 40.5, 0)]
        );
    }
}
