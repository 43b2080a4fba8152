//! Creates processes.
#![allow(
    unsafe_code,
    reason = "what must happen between fork and exec can only be said with pre_exec"
)]

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::Mode;
use rustix::pipe::PipeFlags;
use rustix::process::{Gid, Resource, Rlimit, Uid};

use crate::config::{ProgramConfig, split_command};
use crate::users::{self, Identity};

/// Where a command without a slash is looked for: the daemon's own environment is empty.
const PATH: [&str; 3] = ["/bin", "/usr/bin", "/usr/local/bin"];

/// The command's process leaves the caller's session and terminal, and inherits none of its open
/// files: a lock of the caller must not live as long as the daemon.
pub(crate) fn in_own_session(command: &mut Command) {
    // SAFETY: both make system calls only and touch no memory.
    unsafe {
        command.pre_exec(|| {
            keep_only_stdio();
            rustix::process::setsid().map(drop).map_err(Into::into)
        });
    }
}

/// Everything but standard input, output and error is closed by the coming exec. Kernels before
/// 5.11 cannot: there, what was opened without close-on-exec by others is inherited.
fn keep_only_stdio() {
    // SAFETY: the system call takes three numbers.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3_u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
    }
}

/// Why a command cannot be executed, known before trying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missing {
    NoFile(String),
    NotExecutable(String),
}

impl Missing {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::NoFile(text) | Self::NotExecutable(text) => text,
        }
    }
}

/// The file to execute and its arguments, the first being the command as written.
pub(crate) fn executable(program: &ProgramConfig) -> Result<(PathBuf, Vec<String>), Missing> {
    let arguments = split_command(&program.command).map_err(|why| {
        Missing::NotExecutable(format!("can't parse command '{}': {why}", program.command))
    })?;
    let Some(name) = arguments.first() else {
        return Err(Missing::NoFile("command is empty".into()));
    };
    let path = if name.contains('/') {
        program
            .directory
            .as_deref()
            .unwrap_or_else(|| Path::new(""))
            .join(name)
    } else {
        let found = PATH
            .iter()
            .map(|d| Path::new(d).join(name))
            .find(|p| p.exists());
        found.unwrap_or_else(|| PathBuf::from(name))
    };
    let metadata =
        fs::metadata(&path).map_err(|_| Missing::NoFile(format!("can't find command '{name}'")))?;
    if metadata.is_dir() {
        return Err(Missing::NotExecutable(format!(
            "command at '{name}' is a directory"
        )));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(Missing::NotExecutable(format!(
            "command at '{name}' is not executable"
        )));
    }
    Ok((path, arguments))
}

/// What a process gets besides its configuration.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) group: &'a str,
    /// `SUPERVISOR_SERVER_URL` of this daemon.
    pub(crate) url: &'a str,
    pub(crate) umask: u32,
    /// The limit of open files before the daemon raised its own.
    pub(crate) open_files: Rlimit,
    /// Its end of the input FIFO.
    pub(crate) stdin: OwnedFd,
    /// Its ends of the output FIFOs; `None` = thrown away.
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

/// Who the program would run as: nobody else, when the daemon is not root.
pub(crate) fn identity(program: &ProgramConfig) -> Result<Option<Identity>, String> {
    match &program.user {
        Some(user) if rustix::process::geteuid().is_root() => {
            users::identity(user, program.gid).map(|i| Some(i).filter(|i| i.uid != 0))
        }
        _ => Ok(None),
    }
}

/// Executes a program in a session of its own and returns its process id. The error text says
/// which step failed.
pub(crate) fn spawn(program: &ProgramConfig, around: Surroundings<'_>) -> Result<i32, String> {
    let (path, arguments) = executable(program).map_err(|m| m.text().to_owned())?;
    let identity = identity(program)?;
    let output = |fd: Option<OwnedFd>| fd.map_or_else(Stdio::null, Stdio::from);
    let mut command = Command::new(&path);
    if let Some((first, rest)) = arguments.split_first() {
        command.arg0(first).args(rest);
    }
    command.env_clear();
    for (key, value) in environment(program, &around) {
        command.env(key, value);
    }
    if program.redirect_stderr {
        let stderr = around.stdout.as_ref().map(OwnedFd::try_clone).transpose();
        command.stderr(output(
            stderr.map_err(|e| format!("cannot redirect stderr: {e}"))?,
        ));
    } else {
        command.stderr(output(around.stderr));
    }
    command.stdout(output(around.stdout));
    command.stdin(Stdio::from(around.stdin));

    let directory = match &program.directory {
        Some(directory) => {
            Some(CString::new(directory.as_os_str().as_bytes()).map_err(|e| e.to_string())?)
        }
        None => None,
    };
    let mask = Mode::from_raw_mode(program.umask.unwrap_or(around.umask));
    let (failed_step, report) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .map_err(|e| format!("too many open files to spawn: {e}"))?;
    let report_in_child = report.try_clone().map_err(|e| e.to_string())?;
    let groups: Vec<Gid> = identity
        .iter()
        .flat_map(|i| &i.groups)
        .map(|g| Gid::from_raw(*g))
        .collect();
    let open_files = around.open_files;
    let cgroup = program.cgroup.as_deref().and_then(cgroup_door);
    let who = identity
        .as_ref()
        .map(|i| (Uid::from_raw(i.uid), Gid::from_raw(i.gid)));
    // SAFETY: after the fork only system calls are made, on values prepared before it.
    unsafe {
        command.pre_exec(move || {
            let step = |step: u8, result: rustix::io::Result<()>| {
                result.map_err(|error| {
                    let _ = rustix::io::write(&report_in_child, &[step]);
                    io::Error::from(error)
                })
            };
            step(b's', rustix::process::setsid().map(drop))?;
            if let Some(door) = &cgroup {
                step(b'c', rustix::io::write(door, b"0").map(drop))?;
            }
            if let Some((uid, gid)) = who {
                step(b'g', rustix::thread::set_thread_groups(&groups))?;
                step(b'g', rustix::thread::set_thread_res_gid(gid, gid, gid))?;
                step(b'u', rustix::thread::set_thread_res_uid(uid, uid, uid))?;
            }
            if let Some(directory) = &directory {
                step(b'd', rustix::process::chdir(directory.as_c_str()))?;
            }
            rustix::process::umask(mask);
            let _ = rustix::process::setrlimit(Resource::Nofile, open_files);
            keep_only_stdio();
            Ok(())
        });
    }
    let spawned = command.spawn();
    drop(command);
    drop(report);
    match spawned {
        // Dropping the handle neither waits nor kills: the daemon reaps every child itself.
        Ok(child) => i32::try_from(child.id()).map_err(|e| e.to_string()),
        Err(error) => {
            let mut step = [0_u8];
            let failed = rustix::io::read(&failed_step, &mut step).is_ok_and(|n| n == 1);
            let reason = error.to_string();
            Err(match (failed, step[0]) {
                (true, b's') => format!("couldn't start a session: {reason}"),
                (true, b'c') => format!("couldn't join its control group: {reason}"),
                (true, b'g') => format!(
                    "couldn't set groups {:?}: {reason}",
                    identity.map(|i| i.groups)
                ),
                (true, b'u') => {
                    format!("couldn't setuid to {:?}: {reason}", identity.map(|i| i.uid))
                }
                (true, _) => {
                    let directory = program
                        .directory
                        .as_deref()
                        .unwrap_or_else(|| Path::new(""))
                        .display();
                    format!("couldn't chdir to {directory}: {reason}")
                }
                (false, _) => format!("couldn't exec {}: {reason}", path.display()),
            })
        }
    }
}

/// A process that writes `0` to this file joins the group, which is made where it is missing (after
/// a reboot, the kernel knows none). Where there is none to join, the program runs without: that it
/// runs comes first.
fn cgroup_door(group: &Path) -> Option<fs::File> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    fs::create_dir_all(group).ok()?;
    let procs = group.join("cgroup.procs");
    fs::OpenOptions::new().write(true).open(procs).ok()
}

/// The whole environment of a program.
fn environment(program: &ProgramConfig, around: &Surroundings<'_>) -> Vec<(String, String)> {
    let url = program.serverurl.as_deref().unwrap_or(around.url);
    let mut all = vec![
        ("SUPERVISOR_ENABLED".into(), "1".into()),
        ("SUPERVISOR_SERVER_URL".into(), url.to_owned()),
        ("SUPERVISOR_PROCESS_NAME".into(), program.name.clone()),
        ("SUPERVISOR_GROUP_NAME".into(), around.group.to_owned()),
    ];
    all.extend(program.environment.iter().cloned());
    all
}
