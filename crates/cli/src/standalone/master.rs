//! The Master as a process of its own: started, watched, started again when it dies.

use std::fs::OpenOptions;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
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

/// A running Master.
pub(super) struct Master {
    layout: Layout,
    child: Child,
    client: Client,
}

impl Master {
    /// Starts the Master and waits until it answers.
    pub(super) fn start(layout: &Layout, port: u16) -> Result<Master, Failure> {
        let client = Client::new(Settings::new(format!("http://127.0.0.1:{port}/")))?;
        let mut master = Master {
            layout: layout.clone(),
            child: spawn(layout)?,
            client,
        };
        master.wait_until_it_answers()?;
        Ok(master)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Starts the Master again if it died.
    pub(super) fn keep_alive(&mut self) -> Result<(), Failure> {
        if let Some(status) = self.child.try_wait()? {
            tracing::warn!("the Master ended ({status}); starting it again");
            self.child = spawn(&self.layout)?;
            self.wait_until_it_answers()?;
        }
        Ok(())
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
            if let Some(status) = self.child.try_wait()? {
                if begin.elapsed() > PREDECESSOR_MAX {
                    return Err(Failure::new(format!("the Master ended at once ({status})"))
                        .hint(format!("see {}", self.layout.master_log().display())));
                }
                std::thread::sleep(RETRY);
                self.child = spawn(&self.layout)?;
            }
            if begin.elapsed() > START_MAX {
                return Err(Failure::new("the Master does not answer")
                    .hint(format!("see {}", self.layout.master_log().display())));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Asks the Master to stop, and kills it when it does not.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + STOP_MAX;
        let pid = Pid::from_child(&self.child);
        // It may be gone already.
        let _ = kill_process(pid, Signal::TERM);
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.child.kill()?;
                self.child.wait()?;
                break;
            }
            std::thread::sleep(POLL);
        }
        Ok(())
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
