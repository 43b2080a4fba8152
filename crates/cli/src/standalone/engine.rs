//! The processing loop: what the Master wants, done; failures tried again, ever more slowly.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use node::config::{NodeConfig, Overrides};
use node::format::FormatConfig;
use node::promise::Runners;
use node::{Cancel, Observer, Outcome};
use slap::document::NodeDocument;
use slap::{InstanceState, NodeId};

use super::layout::NODE;
use super::master::Master;
use crate::failure::Failure;

/// Between two looks at the Master's document.
const LOOK: Duration = Duration::from_millis(300);
/// Everything is processed this often even when nothing changed: promises are looked at.
const FULL: Duration = Duration::from_secs(60);
/// After a failure: first and longest pause before it is tried again.
const RETRY_MIN: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// The loop in its thread.
pub(super) struct Engine {
    thread: JoinHandle<Result<Master, Failure>>,
    cancel: Cancel,
}

impl Engine {
    /// Starts the loop, which from now on watches the Master too.
    pub(super) fn start(
        configuration: PathBuf,
        master: Master,
        observer: Arc<dyn Observer + Send + Sync>,
        cancel: Cancel,
    ) -> Result<Engine, Failure> {
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn({
                let cancel = cancel.clone();
                move || run(&configuration, master, &*observer, &cancel)
            })?;
        Ok(Engine { thread, cancel })
    }

    /// Whether the loop ended although nobody asked it to.
    pub(super) fn ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends the loop and gives the Master back.
    pub(super) fn stop(self) -> Result<Master, Failure> {
        self.cancel.cancel();
        self.thread
            .join()
            .map_err(|_| Failure::new("the processing loop ended unexpectedly"))?
    }
}

fn run(
    configuration: &std::path::Path,
    mut master: Master,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Master, Failure> {
    let config =
        NodeConfig::load(configuration, &Overrides::new()).map_err(|error| Failure::of(&error))?;
    let node = NodeId::new(NODE).map_err(|error| Failure::of(&error))?;
    let mut done: Option<NodeDocument> = None;
    let mut next_full = Instant::now();
    let mut pause = RETRY_MIN;
    let runners = Runners::new();
    while !cancel.is_cancelled() {
        if let Err(failure) = master.keep_alive() {
            tracing::warn!("{failure}");
        }
        match master.client().node(&node) {
            Err(error) => tracing::debug!("{error}"),
            Ok(wanted) => {
                let due = Instant::now() >= next_full;
                if due || done.as_ref() != Some(&wanted) {
                    if process(&config, &wanted, &runners, observer, cancel) {
                        done = Some(wanted);
                        next_full = Instant::now() + FULL;
                        pause = RETRY_MIN;
                    } else {
                        done = Some(wanted);
                        next_full = Instant::now() + pause;
                        pause = (pause * 2).min(RETRY_MAX);
                    }
                }
            }
        }
        std::thread::sleep(LOOK);
    }
    Ok(master)
}

/// One pass over everything. Whether all of it succeeded.
fn process(
    config: &NodeConfig,
    wanted: &NodeDocument,
    runners: &Runners,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> bool {
    let mut all = true;
    let mut note = |result: Result<Outcome, node::Error>| match result {
        Ok(Outcome::Success) => {}
        Ok(_) | Err(node::Error::Cancelled) => all = false,
        Err(error) => {
            all = false;
            tracing::warn!("{error}");
        }
    };
    let software = node::software::Options {
        cancel: cancel.clone(),
        ..Default::default()
    };
    note(node::software::run(config, &software, observer));
    let instance = node::instance::Options {
        cancel: cancel.clone(),
        runners: runners.clone(),
        ..Default::default()
    };
    note(node::instance::run(config, &instance, observer));
    let destroying = wanted
        .partitions
        .iter()
        .any(|partition| partition.state == Some(InstanceState::Destroyed) && !partition.is_free());
    if destroying {
        let report = node::report::Options {
            cancel: cancel.clone(),
        };
        note(node::report::run(config, &report, observer));
        // Destroying empties a partition; formatting makes it fit for the next instance.
        note(format(&config.file, observer));
    }
    all && !cancel.is_cancelled()
}

/// Makes the partitions what they shall be, and tells the Master about them.
pub(super) fn format(
    configuration: &std::path::Path,
    observer: &dyn Observer,
) -> Result<Outcome, node::Error> {
    let config = FormatConfig::load(configuration, Overrides::new().set("now", "true"))?;
    node::format::run(&config, &node::format::Options::default(), observer)
}
