//! The node's agent, in a thread of this process.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use node::config::Overrides;
use node::{Cancel, Observer, Outcome};

use crate::failure::Failure;

/// The running agent.
pub(super) struct Agent {
    thread: JoinHandle<Result<Outcome, node::Error>>,
    cancel: Cancel,
}

impl Agent {
    /// Starts the agent; `on_end` is called when it has ended, for whatever reason.
    pub(super) fn start(
        configuration: PathBuf,
        observer: Arc<dyn Observer + Send + Sync>,
        cancel: Cancel,
        on_end: impl FnOnce() + Send + 'static,
    ) -> Result<Agent, Failure> {
        let options = node::agent::Options {
            cancel: cancel.clone(),
            ..Default::default()
        };
        let thread = std::thread::Builder::new()
            .name("agent".to_owned())
            .spawn(move || {
                let ended =
                    node::agent::run(&configuration, &Overrides::new(), &options, &*observer);
                // Nobody waits for what only an agent would do.
                options.cancel.cancel();
                on_end();
                ended
            })?;
        Ok(Agent { thread, cancel })
    }

    /// Ends it; an agent that had ended by itself says why.
    pub(super) fn stop(self) -> Result<(), Failure> {
        self.cancel.cancel();
        let ended = self
            .thread
            .join()
            .map_err(|_| Failure::new("the node's agent ended unexpectedly"))?;
        ended?;
        Ok(())
    }
}
