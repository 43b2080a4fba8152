//! Starts the daemon when none runs, from any command, at most once.

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::client::{Client, ClientError};
use crate::fault::FaultCode;

/// How much of a failing daemon's output is kept.
const MAX_OUTPUT: u64 = 64 << 10;

/// Why no daemon runs.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The program could not be executed.
    #[error("cannot start the supervisor {program}: {source}")]
    Execute {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended at once.
    #[error("Failed to launch supervisord:\n{output}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// What it wrote.
        output: String,
    },
    /// It runs but does not answer.
    #[error(
        "the supervisor does not answer on {socket} after {seconds} s; see its log, then try again"
    )]
    Timeout {
        /// The control socket.
        socket: String,
        /// How long was waited.
        seconds: u64,
    },
    /// A daemon answers, but not as it should.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Makes sure that a daemon answers on `socket`, and returns a client for it.
///
/// `program args…` must run [`crate::daemon::run`] in its own process. It is started detached: in
/// a session of its own, with an empty environment (N 3.5), so it outlives the caller. Two callers
/// at the same time end with one daemon: the second daemon finds the first one's lock and leaves.
/// A daemon that is shutting down is waited for. `within` bounds the whole.
pub fn ensure_running<S: AsRef<OsStr>>(
    socket: &Path,
    program: &Path,
    args: &[S],
    within: Duration,
) -> Result<Client, LaunchError> {
    let deadline = Instant::now() + within;
    let client = Client::new(socket);
    let timeout = || LaunchError::Timeout {
        socket: socket.display().to_string(),
        seconds: within.as_secs(),
    };
    let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
    loop {
        match answers(&client) {
            Ok(true) => return Ok(client),
            // It stops everything and begins anew.
            Ok(false) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            Ok(false) => return Err(timeout()),
            Err(error) if error.fault() == Some(FaultCode::ShutdownState) => {
                client
                    .shutdown_and_wait(left(deadline))
                    .map_err(|_| timeout())?;
            }
            Err(error) if error.fault().is_some() => return Err(error.into()),
            _ => {}
        }
        let mut child = start(program, args)?;
        loop {
            // The daemon lets go of its standard error once it listens, or when it dies.
            wait_readable(&mut child, left(deadline).min(Duration::from_millis(20)));
            if matches!(answers(&client), Ok(true)) {
                adopt(child);
                return Ok(client);
            }
            let ended = child
                .try_wait()
                .map_err(|source| execute_error(program, source))?;
            match ended {
                Some(status) if !status.success() => {
                    return Err(LaunchError::Ended {
                        status,
                        output: output_of(child),
                    });
                }
                // Another daemon holds the lock: it is starting, or ending.
                Some(_) => break,
                None if Instant::now() >= deadline => {
                    adopt(child);
                    return Err(timeout());
                }
                None => {}
            }
        }
        if Instant::now() >= deadline {
            return Err(timeout());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn answers(client: &Client) -> Result<bool, ClientError> {
    client
        .clone()
        .with_timeouts(Duration::from_secs(5), Duration::from_secs(5))
        .state()
        .map(|s| s == "RUNNING")
}

fn execute_error(program: &Path, source: io::Error) -> LaunchError {
    LaunchError::Execute {
        program: program.display().to_string(),
        source,
    }
}

fn start<S: AsRef<OsStr>>(program: &Path, args: &[S]) -> Result<Child, LaunchError> {
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    crate::spawn::in_own_session(&mut command);
    command
        .spawn()
        .map_err(|source| execute_error(program, source))
}

fn wait_readable(child: &mut Child, timeout: Duration) {
    let Some(stderr) = &child.stderr else {
        return std::thread::sleep(timeout);
    };
    let mut fds = [PollFd::new(stderr, PollFlags::IN)];
    let timeout = Timespec::try_from(timeout).unwrap_or(Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    });
    let _ = rustix::event::poll(&mut fds, Some(&timeout));
    if fds[0].revents().contains(PollFlags::IN) {
        // It has said something and lives: what it says is read if it ends.
        std::thread::sleep(Duration::from_millis(5));
    } else if fds[0].revents().contains(PollFlags::HUP) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn output_of(mut child: Child) -> String {
    let mut output = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(MAX_OUTPUT).read_to_end(&mut output);
    }
    String::from_utf8_lossy(&output).trim_end().to_owned()
}

/// A caller that lives long must not keep a zombie when the daemon ends one day.
fn adopt(mut child: Child) {
    drop(child.stderr.take());
    let _ = std::thread::Builder::new()
        .name("supervisor-reaper".into())
        .spawn(move || child.wait());
}
