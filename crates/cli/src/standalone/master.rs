//! The Master as a process of its own: started, watched, started again when it dies.

use std::fs::OpenOptions;
use std::io::{PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use slap::NodeId;
use slap_client::{Client, Settings};

use super::layout::{Layout, NODE};
use crate::failure::Failure;

/// Longest time the Master may take to answer for the first time.
const START_MAX: Duration = Duration::from_secs(30);
/// Longest time it may take to stop before it is killed.
const STOP_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
/// Longest time the Master of a standalone that was killed may go on holding database and port:
/// it stops by itself, and ours cannot start before.
const PREDECESSOR_MAX: Duration = Duration::from_secs(10);
/// Between two tries to start while a predecessor may be there.
const RETRY: Duration = Duration::from_millis(200);
/// Longest pause before a Master that keeps dying is started again.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// A running Master.
pub(super) struct Master {
    client: Client,
    /// Closed to have the watcher stop the Master.
    go_on: PipeWriter,
    watcher: JoinHandle<Result<(), Failure>>,
}

impl Master {
    /// Starts the Master, waits until it answers, and from then on keeps it alive.
    pub(super) fn start(layout: &Layout, port: u16) -> Result<Master, Failure> {
        let client = Client::new(Settings::new(format!("http://127.0.0.1:{port}/")))?;
        let (stop, go_on) = std::io::pipe()?;
        let mut process = Process {
            layout: layout.clone(),
            child: spawn(layout)?,
            client: client.clone(),
            stop,
        };
        process.wait_until_it_answers()?;
        let watcher = std::thread::Builder::new()
            .name("master".to_owned())
            .spawn(move || process.keep_alive())?;
        Ok(Master {
            client,
            go_on,
            watcher,
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Asks the Master to stop, and has it killed when it does not.
    pub(super) fn stop(self) -> Result<(), Failure> {
        drop(self.go_on);
        self.watcher
            .join()
            .map_err(|_| Failure::new("the Master's watcher ended unexpectedly"))?
    }
}

/// The Master's process and who waits for it.
struct Process {
    layout: Layout,
    child: Child,
    client: Client,
    /// Ends when the Master shall.
    stop: PipeReader,
}

impl Process {
    /// Starts the Master again whenever it dies, until it shall stop.
    fn keep_alive(mut self) -> Result<(), Failure> {
        let mut pause = RETRY;
        loop {
            let Some(status) = self.wait_for_end(None)? else {
                return self.terminate();
            };
            tracing::warn!("the Master ended ({status}); starting it again");
            let begun = Instant::now();
            self.child = spawn(&self.layout)?;
            if let Err(failure) = self.wait_until_it_answers() {
                tracing::warn!("{failure}");
            }
            if begun.elapsed() > RETRY_MAX {
                pause = RETRY;
            }
            if self.is_stopped(pause)? {
                return self.terminate();
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// Waits until the process has ended; `None` when it shall stop, or after this time.
    fn wait_for_end(&mut self, limit: Option<Duration>) -> Result<Option<ExitStatus>, Failure> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(status));
        }
        // Not waited for yet, so the number is still its own.
        let process = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())
            .map_err(std::io::Error::from)?;
        let mut fds = vec![PollFd::new(&process, PollFlags::IN)];
        if limit.is_none() {
            fds.push(PollFd::new(&self.stop, PollFlags::IN));
        }
        wait(&mut fds, limit)?;
        Ok(self.child.try_wait()?)
    }

    /// Whether it shall stop, waiting so long for it.
    fn is_stopped(&self, limit: Duration) -> Result<bool, Failure> {
        let mut fds = [PollFd::from_borrowed_fd(self.stop.as_fd(), PollFlags::IN)];
        wait(&mut fds, Some(limit))?;
        Ok(!fds[0].revents().is_empty())
    }

    fn wait_until_it_answers(&mut self) -> Result<(), Failure> {
        let node = NodeId::new(NODE).map_err(|error| Failure::of(&error))?;
        let begin = Instant::now();
        loop {
            match self.client.node(&node) {
                Err(error) if error.is_master_unreachable() => {}
                // Any other answer is one: a fresh Master does not know the node yet.
                _ => return Ok(()),
            }
            let ended = self.child.try_wait()?;
            if let Some(status) = ended
                && begin.elapsed() > PREDECESSOR_MAX
            {
                return Err(Failure::new(format!("the Master ended at once ({status})"))
                    .hint(format!("see {}", self.layout.master_log().display())));
            }
            if begin.elapsed() > START_MAX {
                return Err(Failure::new("the Master does not answer")
                    .hint(format!("see {}", self.layout.master_log().display())));
            }
            if self.is_stopped(if ended.is_some() { RETRY } else { POLL })? {
                return Ok(());
            }
            if ended.is_some() {
                self.child = spawn(&self.layout)?;
            }
        }
    }

    fn terminate(mut self) -> Result<(), Failure> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        // It may be ending already.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        if self.wait_for_end(Some(STOP_MAX))?.is_none() {
            self.child.kill()?;
            self.child.wait()?;
        }
        Ok(())
    }
}

/// Waits until one of these is ready or the time is over.
fn wait(fds: &mut [PollFd<'_>], limit: Option<Duration>) -> Result<(), Failure> {
    let end = limit.map(|limit| Instant::now() + limit);
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(fds, timeout.as_ref()) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
    }
}

fn spawn(layout: &Layout) -> Result<Child, Failure> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(layout.master_log())?;
    let program = std::env::current_exe()?;
    Ok(Command::new(program)
        .args(["proxy", "start", "--with-parent", "--log-time", "--cfg"])
        .arg(layout.configuration())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?)
}
