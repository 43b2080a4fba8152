//! Programs: run to the end and measured, or started and stopped.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::failure::{Context, Failure};
use crate::os;

/// What one run of a program took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) code: i32,
    pub(crate) wall_s: f64,
    /// Of the program and the descendants it waited for.
    pub(crate) cpu_s: f64,
    /// Of the largest of them.
    pub(crate) max_rss_kib: u64,
}

/// Whom programs are run as that refuse to work as root.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// The present user; `nobody` when that is root.
    pub(crate) fn unprivileged() -> Result<User, Failure> {
        let uid = rustix::process::geteuid().as_raw();
        if uid == 0 {
            return Ok(User {
                name: "nobody".to_owned(),
                uid: 65_534,
                gid: 65_534,
            });
        }
        let output = Command::new("id")
            .arg("-un")
            .output()
            .context("starting id")?;
        let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(User {
            name,
            uid,
            gid: rustix::process::getegid().as_raw(),
        })
    }

    /// Gives a directory, and what is in it, to this user.
    pub(crate) fn own(&self, directory: &Path) -> Result<(), Failure> {
        let give =
            |path: &Path| {
                std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid))
                    .context(format_args!("giving {} to {}", path.display(), self.name))
            };
        give(directory)?;
        for entry in fs::read_dir(directory)
            .context("reading a directory")?
            .flatten()
        {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.own(&entry.path())?;
            } else {
                give(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// The hidden command behind [`measure`]: starts, waits, prints what was used as one line of JSON.
///
/// A process of its own, because a child's peak memory starts at that of the process it was made
/// from: this one is small and does nothing else.
pub(crate) fn launcher(ids: Option<(u32, u32)>, command: &[String]) -> Result<(), Failure> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| Failure::new("no command to measure"))?;
    let mut command = Command::new(program);
    if let Some((uid, gid)) = ids {
        command.uid(uid).gid(gid);
    }
    let start = Instant::now();
    let child = command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::from(std::io::stderr()))
        .spawn()
        .context(format_args!("starting {program}"))?;
    let usage = os::wait4(child.id()).context(format_args!("waiting for {program}"))?;
    let measured = Measured {
        code: usage.code,
        wall_s: start.elapsed().as_secs_f64(),
        cpu_s: (usage.user + usage.system).as_secs_f64(),
        max_rss_kib: usage.max_rss_kib,
    };
    let line = serde_json::to_string(&measured).context("writing what was measured")?;
    writeln!(std::io::stdout(), "{line}").context("writing what was measured")
}

/// Runs a command to its end, as another user if wanted, at home in this directory then; its output
/// goes to a file. Any exit code is a result.
pub(crate) fn measure(
    command: &mut Command,
    user: Option<(&User, &Path)>,
    log: &Path,
) -> Result<Measured, Failure> {
    let me = std::env::current_exe().context("finding the benchmark program")?;
    let mut launcher = Command::new(me);
    launcher.arg("measure");
    if let Some((user, home)) = user {
        launcher.args([
            "--uid",
            &user.uid.to_string(),
            "--gid",
            &user.gid.to_string(),
        ]);
        launcher
            .env("HOME", home)
            .env("USER", &user.name)
            .current_dir(home);
    }
    let environment = command.get_envs();
    let output = launcher
        .envs(environment.filter_map(|(name, value)| Some((name, value?))))
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .stderr(append(log)?)
        .output()
        .context("starting the launcher")?;
    if os::interrupted() {
        return Err(Failure::new("interrupted"));
    }
    serde_json::from_slice(&output.stdout).context(format_args!(
        "{:?} could not be measured; see {}",
        command,
        log.display()
    ))
}

/// The last lines of a file.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

fn append(log: &Path) -> Result<File, Failure> {
    File::options()
        .create(true)
        .append(true)
        .open(log)
        .context(format_args!("opening {}", log.display()))
}

/// A server that is stopped when this goes out of scope.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Running, Failure> {
        let child = command
            .stdin(Stdio::null())
            .stdout(append(log)?)
            .stderr(append(log)?)
            .spawn()
            .context(format_args!("starting {command:?}"))?;
        Ok(Running { child })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        stop(self.pid(), || {
            self.child.try_wait().is_ok_and(|status| status.is_none())
        });
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks a process to end and gives it some seconds; kills it if it does not.
pub(crate) fn stop(pid: u32, mut lives: impl FnMut() -> bool) {
    use rustix::process::{Pid, Signal, kill_process};
    let Some(target) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return;
    };
    for (signal, patience) in [(Signal::TERM, 30), (Signal::KILL, 5)] {
        if !lives() {
            return;
        }
        let _ = kill_process(target, signal);
        let deadline = Instant::now() + Duration::from_secs(patience);
        while lives() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Whether a process that is not our child exists and is no zombie.
pub(crate) fn exists(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .starts_with(" Z")
    })
}

/// Processor time that a process has used, all its threads together, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name, which may contain anything: user and system time are fields 14 and 15.
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11);
    let ticks: f64 = fields
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / os::clock_ticks_per_second()
}

/// Memory of a process and its descendants.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Resident, as `ps` and `top` tell it: with the program's code, which the system can drop and
    /// several processes share.
    pub(crate) resident_kib: u64,
    /// The part that belongs to nobody else and cannot be dropped.
    pub(crate) private_kib: u64,
}

impl Memory {
    /// Of one process only.
    pub(crate) fn of_one(pid: u32) -> Memory {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        Memory {
            resident_kib: field("VmRSS:").unwrap_or(0),
            private_kib: field("RssAnon:").unwrap_or(0),
        }
    }

    /// Of a process and all its descendants.
    pub(crate) fn of_all(pid: u32) -> Memory {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let mut sum = Memory::of_one(pid);
        for child in children.unwrap_or_default().split_whitespace() {
            let child = child.parse().map(Memory::of_all).unwrap_or_default();
            sum.resident_kib += child.resident_kib;
            sum.private_kib += child.private_kib;
        }
        sum
    }
}
