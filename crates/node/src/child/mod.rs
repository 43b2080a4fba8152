//! Children: clean environment, somebody else's identity, one pipe for what they print, and an end
//! to their whole process tree when time is up or the command is interrupted (N 2.7).

mod identity;
mod resident;
mod tree;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::cancel::Cancel;
use crate::user::User;

pub(crate) use resident::{Resident, Talk};
pub(crate) use tree::kill_tree;

/// How often a running child's supervisor looks at the cancel flag and the clock.
const TICK: Duration = Duration::from_millis(100);

/// How long output is still read after the child ended, for what it left in the pipe.
/// A daemon that kept the pipe open is not waited for.
const DRAIN: Duration = Duration::from_millis(300);

/// Most bytes of a child's output that are kept in memory: its beginning and its end.
pub(crate) const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// Longest line passed on as one; longer ones are cut.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Environment variables no child inherits (N 2.7); beside upstream's, what is between the node and
/// its service manager, and a token.
const REMOVED: &[&str] = &[
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "JOURNAL_STREAM",
    "INVOCATION_ID",
    "CREDENTIALS_DIRECTORY",
    "SLAPOS_TOKEN",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONY2K",
    "PYTHONOPTIMIZE",
    "PYTHONDEBUG",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONINSPECT",
    "PYTHONUNBUFFERED",
    "PYTHONVERBOSE",
    "CONFIG_SITE",
    "ENV",
    "LOGNAME",
    "TEMP",
    "TMP",
    "TMPDIR",
    // Words for the service manager are the agent's own.
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LANG",
    "LANGUAGE",
    "LC_ADDRESS",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_IDENTIFICATION",
    "LC_MEASUREMENT",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NAME",
    "LC_NUMERIC",
    "LC_PAPER",
    "LC_SOURCED",
    "LC_TELEPHONE",
    "LC_TIME",
];

/// What to run, and as whom.
#[derive(Debug)]
pub(crate) struct Spawn<'a> {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) directory: &'a Path,
    pub(crate) user: &'a User,
    /// Value of `HOME`.
    pub(crate) home: &'a Path,
    /// Exported as `SLAPGRID_INSTANCE_ROOT` where a partition is processed.
    pub(crate) instance_root: Option<&'a Path>,
    /// Further variables.
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) umask: Option<u32>,
    pub(crate) timeout: Option<Duration>,
    /// What the child reads from its standard input; without it, it reads nothing at all.
    pub(crate) input: Option<Vec<u8>>,
}

impl<'a> Spawn<'a> {
    /// A child in this directory, as this user with the user's own home.
    pub(crate) fn new(
        program: impl Into<OsString>,
        directory: &'a Path,
        user: &'a User,
    ) -> Spawn<'a> {
        Spawn {
            program: program.into(),
            args: Vec::new(),
            directory,
            user,
            home: &user.home,
            instance_root: None,
            environment: Vec::new(),
            umask: None,
            timeout: None,
            input: None,
        }
    }

    pub(crate) fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }
}

/// Why a child has no exit status of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    #[error("cannot start {program}: {source}")]
    Start { program: String, source: io::Error },
    #[error("cannot follow {program}: {source}")]
    Follow { program: String, source: io::Error },
    #[error("{program} did not end within {} seconds and was killed with all its children", .after.as_secs_f64())]
    Timeout {
        program: String,
        after: Duration,
        output: String,
    },
    #[error("interrupted while {program} was running; it was killed with all its children")]
    Cancelled { program: String },
}

/// A child that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// What it printed; the middle is left out when it is very long.
    pub(crate) output: String,
}

impl Ended {
    /// How it ended, for people.
    pub(crate) fn describe(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "an unknown status".to_owned(),
        }
    }
}

/// Runs a child to its end, passing on each line it prints.
pub(crate) fn run(
    spawn: Spawn<'_>,
    cancel: &Cancel,
    on_line: &mut dyn FnMut(&str),
) -> Result<Ended, ChildError> {
    let program = spawn.program.to_string_lossy().into_owned();
    let start_error = |source: io::Error| ChildError::Start {
        program: program.clone(),
        source,
    };
    if cancel.is_cancelled() {
        return Err(ChildError::Cancelled { program });
    }
    let timeout = spawn.timeout;
    let (child, pipe) = start(spawn).map_err(start_error)?;
    let mut follower = Follower {
        child: Guard(Some(child)),
        pipe: Some(pipe),
        lines: Lines::default(),
        kept: Kept::default(),
        on_line,
    };
    follower.follow(program, timeout, cancel)
}

/// The environment children get: ours, cleaned, with their home (N 2.7).
fn environment(spawn: &Spawn<'_>) -> Vec<(OsString, OsString)> {
    let mut variables: Vec<(OsString, OsString)> = std::env::vars_os()
        .filter(|(name, _)| !REMOVED.iter().any(|removed| name == removed))
        .filter(|(name, _)| name != "HOME" && name != "SLAPGRID_INSTANCE_ROOT")
        .collect();
    variables.push(("HOME".into(), spawn.home.into()));
    variables.push(("PYTHONNOUSERSITE".into(), "true".into()));
    if let Some(root) = spawn.instance_root {
        variables.push(("SLAPGRID_INSTANCE_ROOT".into(), root.into()));
    }
    variables.extend(spawn.environment.iter().cloned());
    variables
}

fn start(mut spawn: Spawn<'_>) -> io::Result<(Child, OwnedFd)> {
    let input = spawn.input.take();
    let stdin = match input {
        Some(_) => Stdio::piped(),
        None => Stdio::null(),
    };
    let (mut child, reader) = launch(&spawn, stdin)?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // The inputs we give are read to the end by what we start; a thread keeps a child that
        // prints before it reads from stopping both.
        std::thread::spawn(move || {
            let _ = stdin.write_all(&input);
        });
    }
    Ok((child, reader))
}

/// Starts it; the end of the pipe it prints into, which does not block.
fn launch(spawn: &Spawn<'_>, stdin: Stdio) -> io::Result<(Child, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    let mut command = Command::new(&spawn.program);
    command
        .args(&spawn.args)
        .current_dir(spawn.directory)
        .env_clear()
        .envs(environment(spawn))
        .process_group(0)
        .stdin(stdin)
        .stdout(writer.try_clone()?)
        .stderr(writer);
    identity::apply(&mut command, spawn.user, spawn.umask)?;
    let child = command.spawn()?;
    // The command holds the pipe's writing end: without this its end would never be seen.
    drop(command);
    Ok((child, reader))
}

/// Kills what it holds with all its children when it is dropped before the child ended.
#[derive(Debug)]
struct Guard(Option<Child>);

impl Guard {
    /// Kills a child that has no children: theirs need not be looked for among all processes.
    fn kill_alone(mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            kill_tree(child.id());
            let _ = child.wait();
        }
    }
}

struct Follower<'a> {
    child: Guard,
    pipe: Option<OwnedFd>,
    lines: Lines,
    kept: Kept,
    on_line: &'a mut dyn FnMut(&str),
}

impl Follower<'_> {
    fn follow(
        &mut self,
        program: String,
        timeout: Option<Duration>,
        cancel: &Cancel,
    ) -> Result<Ended, ChildError> {
        let error = |source: io::Error| ChildError::Follow {
            program: program.clone(),
            source,
        };
        let pid = self.child.0.as_ref().map_or(0, Child::id);
        let handle = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| error(io::Error::other("no process")))?;
        let handle = pidfd_open(handle, PidfdFlags::empty()).map_err(|e| error(e.into()))?;
        let begin = Instant::now();
        loop {
            if cancel.is_cancelled() {
                return Err(ChildError::Cancelled { program });
            }
            if let Some(after) = timeout
                && begin.elapsed() >= after
            {
                // Killed first: what it printed until now is complete then.
                drop(std::mem::replace(&mut self.child, Guard(None)));
                self.read(Some(Instant::now() + DRAIN)).map_err(error)?;
                return Err(ChildError::Timeout {
                    program,
                    after,
                    output: self.finish(),
                });
            }
            let ended = self.wait(&handle, TICK).map_err(error)?;
            self.read(None).map_err(error)?;
            if ended {
                break;
            }
        }
        self.read(Some(Instant::now() + DRAIN)).map_err(error)?;
        let status = match self.child.0.take() {
            Some(mut child) => child.wait().map_err(error)?,
            None => return Err(error(io::Error::other("no process"))),
        };
        Ok(Ended {
            status,
            output: self.finish(),
        })
    }

    /// Waits until there is something to read or the child ended; tells whether it ended.
    fn wait(&self, handle: &OwnedFd, limit: Duration) -> io::Result<bool> {
        let mut watched = vec![PollFd::new(handle, PollFlags::IN)];
        if let Some(pipe) = &self.pipe {
            watched.push(PollFd::new(pipe, PollFlags::IN));
        }
        let limit = Timespec {
            tv_sec: limit.as_secs() as i64,
            tv_nsec: i64::from(limit.subsec_nanos()),
        };
        match poll(&mut watched, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(!watched[0].revents().is_empty())
    }

    /// Reads what is there; with a deadline, waits until then for the pipe's end.
    fn read(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while let Some(pipe) = &self.pipe {
            match rustix::io::read(pipe, &mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    self.kept.push(&buffer[..count]);
                    self.lines.push(&buffer[..count], self.on_line);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let Some(left) =
                        deadline.and_then(|at| at.checked_duration_since(Instant::now()))
                    else {
                        return Ok(());
                    };
                    let limit = Timespec {
                        tv_sec: left.as_secs() as i64,
                        tv_nsec: i64::from(left.subsec_nanos()),
                    };
                    let mut watched = [PollFd::new(pipe, PollFlags::IN)];
                    match poll(&mut watched, Some(&limit)) {
                        Ok(0) => return Ok(()),
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> String {
        self.lines.end(self.on_line);
        std::mem::take(&mut self.kept).into_text()
    }
}

/// Cuts output into lines.
#[derive(Debug, Default)]
struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], on_line: &mut dyn FnMut(&str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.partial.len() >= LINE_BYTES_MAX {
                self.end(on_line);
            }
        }
    }

    fn end(&mut self, on_line: &mut dyn FnMut(&str)) {
        if !self.partial.is_empty() {
            let line = String::from_utf8_lossy(&self.partial);
            on_line(line.trim_end_matches(['\n', '\r']));
            self.partial.clear();
        }
    }
}

/// The beginning and the end of a text that may be very long.
#[derive(Default)]
struct Kept {
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
    left_out: usize,
}

impl Kept {
    const HEAD: usize = OUTPUT_BYTES_MAX / 8;
    const TAIL: usize = OUTPUT_BYTES_MAX - Self::HEAD;

    fn push(&mut self, bytes: &[u8]) {
        let room = Self::HEAD.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        self.tail.extend(&bytes[room..]);
        let excess = self.tail.len().saturating_sub(Self::TAIL);
        self.tail.drain(..excess);
        self.left_out += excess;
    }

    fn into_text(mut self) -> String {
        let mut bytes = self.head;
        if self.left_out > 0 {
            bytes.extend_from_slice(
                format!("\n[… {} bytes left out …]\n", self.left_out).as_bytes(),
            );
        }
        bytes.extend_from_slice(self.tail.make_contiguous());
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The words of a script's first line that run it, so that the kernel's limit on its length does
/// not matter: `#!<words>`, or `#!/bin/sh` followed by `exec <words> …` (N 3.1).
pub(crate) fn shebang(script: &[u8]) -> Option<Vec<OsString>> {
    use std::os::unix::ffi::OsStrExt;
    let mut lines = script.split(|byte| *byte == b'\n');
    let words = |line: &[u8]| -> Vec<OsString> {
        line.split(|byte| byte.is_ascii_whitespace())
            .filter(|word| !word.is_empty())
            .map(|word| OsStr::from_bytes(word).to_owned())
            .collect()
    };
    let first = words(lines.next()?.strip_prefix(b"#!")?);
    (!first.is_empty()).then_some(first)
}

/// The Python a script runs with: the first word of its first line, or behind `#!/bin/sh` the word
/// after `exec` on the second (N 4.2).
pub(crate) fn python_of(script: &[u8]) -> Option<OsString> {
    use std::os::unix::ffi::OsStrExt;
    let first = shebang(script)?.into_iter().next()?;
    if first != "/bin/sh" {
        return Some(first);
    }
    let second = script.split(|byte| *byte == b'\n').nth(1)?;
    // The trampoline is also written `'''exec' <python> …`, valid in shell and Python alike.
    let mut words = second
        .split(|byte| byte.is_ascii_whitespace())
        .map(unquoted)
        .filter(|word| !word.is_empty());
    if words.next()? != b"exec" {
        return None;
    }
    let word = words.next()?;
    Some(OsStr::from_bytes(word).to_owned())
}

fn unquoted(mut word: &[u8]) -> &[u8] {
    while let [b'\'' | b'"', rest @ ..] = word {
        word = rest;
    }
    while let [rest @ .., b'\'' | b'"'] = word {
        word = rest;
    }
    word
}

#[cfg(test)]
mod tests;
