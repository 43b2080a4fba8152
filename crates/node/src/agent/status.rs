//! What the agent does and why, for people: told over a socket, so that an idle agent writes nothing.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Message;
use super::agenda::Agenda;
use super::link::{Clock, Hearing};
use crate::config::NodeConfig;

/// Longest an answer may take: the agent's loop only ever waits for work, never does it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Its name below the instance root.
const SOCKET: &str = "ag.sock";

/// What the agent does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Its process.
    pub pid: u32,
    /// Seconds it runs.
    pub seconds: u64,
    /// How it hears of the Master.
    pub master: MasterStatus,
    /// Everything on its agenda, what is being done first, then by time.
    pub tasks: Vec<TaskStatus>,
}

/// How the agent hears of the Master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterStatus {
    /// Its URL.
    pub url: String,
    /// `events`: it tells of changes; `polled`: it is asked; `away`: it cannot be reached.
    pub state: String,
    /// Why it cannot be reached, or what it refused.
    pub trouble: Option<String>,
    /// Seconds until it is asked next.
    pub next_seconds: u64,
}

/// Something the agent does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// What, such as `partition slappart0`.
    pub task: String,
    /// `running`, `waiting` for something, `scheduled` or `done`.
    pub state: String,
    /// Why it is or was done last.
    pub why: String,
    /// What it waits for besides its time.
    pub waits_for: Option<String>,
    /// Seconds since it runs.
    pub running_seconds: Option<u64>,
    /// Seconds until it is done.
    pub due_seconds: Option<u64>,
    /// Failures in a row.
    pub failures: u32,
    /// What the last failure or delay was.
    pub trouble: Option<String>,
}

/// The status of the agent of this node; `None` when none runs.
///
/// # Errors
/// When one runs but does not answer.
pub fn agent_status(config: &NodeConfig) -> io::Result<Option<AgentStatus>> {
    let stream = match UnixStream::connect(socket(config)) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(ANSWER_TIMEOUT * 2))?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    serde_json::from_str(&text)
        .map(Some)
        .map_err(io::Error::other)
}

fn socket(config: &NodeConfig) -> PathBuf {
    config.instance_root.join(SOCKET)
}

/// Answers whoever asks, until the agent ends.
pub(super) struct Answering {
    path: PathBuf,
    ended: Arc<AtomicBool>,
}

impl Answering {
    pub(super) fn start(config: &NodeConfig, to: Sender<Message>) -> io::Result<Answering> {
        let path = socket(config);
        // The lock says that no other agent lives: whose socket this was is dead.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let ended = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ended);
        thread::Builder::new()
            .name("status".to_owned())
            .spawn(move || {
                for stream in listener.incoming() {
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    let (reply, status) = channel();
                    if to.send(Message::Status(reply)).is_err() {
                        return;
                    }
                    if let Ok(status) = status.recv_timeout(ANSWER_TIMEOUT) {
                        let _ = answer(stream, &status);
                    }
                }
            })?;
        Ok(Answering { path, ended })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread, while it can still be reached.
        let _ = UnixStream::connect(&self.path);
        let _ = std::fs::remove_file(&self.path);
    }
}

fn answer(mut stream: UnixStream, status: &AgentStatus) -> io::Result<()> {
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(&serde_json::to_vec(status)?)
}

/// What is so now.
pub(super) fn status(
    config: &NodeConfig,
    agenda: &Agenda,
    clock: &Clock,
    started: Instant,
    now: Instant,
) -> AgentStatus {
    let until = |moment: Instant| moment.saturating_duration_since(now).as_secs();
    let mut tasks: Vec<(Option<Instant>, TaskStatus)> = agenda
        .entries()
        .map(|(task, entry)| {
            let waits_for = match (entry.running, entry.due) {
                (None, Some(due)) if due <= now => agenda.waits_for(task),
                _ => None,
            };
            let state = match (entry.running, entry.due, &waits_for) {
                (Some(_), _, _) => "running",
                (None, _, Some(_)) => "waiting",
                (None, Some(_), None) => "scheduled",
                (None, None, None) => "done",
            };
            let order = entry.running.map_or(entry.due, |_| Some(started));
            let status = TaskStatus {
                task: task.to_string(),
                state: state.to_owned(),
                why: entry.why.as_str().to_owned(),
                waits_for,
                running_seconds: entry.running.map(|since| (now - since).as_secs()),
                due_seconds: entry.due.filter(|_| entry.running.is_none()).map(until),
                failures: entry.failures,
                trouble: entry.trouble.clone(),
            };
            (order, status)
        })
        .collect();
    // What has no time comes last.
    tasks.sort_by_key(|(order, _)| (order.is_none(), *order));
    AgentStatus {
        pid: std::process::id(),
        seconds: (now - started).as_secs(),
        master: MasterStatus {
            url: config.master.url.clone(),
            state: match clock.hearing() {
                Hearing::Away => "away",
                Hearing::Told => "events",
                Hearing::Asking => "polled",
            }
            .to_owned(),
            trouble: clock.trouble.clone(),
            next_seconds: until(clock.next),
        },
        tasks: tasks.into_iter().map(|(_, status)| status).collect(),
    }
}
