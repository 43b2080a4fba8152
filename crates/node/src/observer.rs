//! What a command tells while it works. The crate itself never prints.

use std::path::Path;
use std::time::Duration;

use slap::{PartitionId, ReleaseUrl};

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The builder's own environment is being made (first use only).
    BuilderSetup {
        /// What is being done, for people.
        step: &'a str,
    },
    /// A line the making of the builder's environment printed.
    BuilderOutput {
        /// The line, without its end.
        line: &'a str,
    },
    /// A release begins to be built.
    ReleaseStarted {
        /// The release.
        release: &'a ReleaseUrl,
        /// Its directory.
        directory: &'a Path,
        /// Where its log is kept.
        log: &'a Path,
    },
    /// A line its build printed.
    ReleaseOutput {
        /// The release.
        release: &'a ReleaseUrl,
        /// The line, without its end.
        line: &'a str,
    },
    /// A release is built, or failed to be.
    ReleaseFinished {
        /// The release.
        release: &'a ReleaseUrl,
        /// How long it took.
        elapsed: Duration,
        /// Why it failed; the last lines of its log are in it.
        error: Option<&'a str>,
    },
    /// A release was removed.
    ReleaseRemoved {
        /// The release.
        release: &'a ReleaseUrl,
    },
    /// A partition begins to be processed.
    PartitionStarted {
        /// The partition.
        partition: &'a PartitionId,
        /// What it shall become, such as `started`.
        goal: &'a str,
        /// The release of its instance.
        release: Option<&'a ReleaseUrl>,
    },
    /// A line printed while a partition was processed.
    PartitionOutput {
        /// The partition.
        partition: &'a PartitionId,
        /// The line, without its end.
        line: &'a str,
    },
    /// A partition was processed.
    PartitionFinished {
        /// The partition.
        partition: &'a PartitionId,
        /// How long it took.
        elapsed: Duration,
        /// Why it failed.
        error: Option<&'a str>,
    },
    /// Nothing was to do in a partition.
    PartitionUpToDate {
        /// The partition.
        partition: &'a PartitionId,
    },
    /// A partition was emptied for good.
    PartitionDestroyed {
        /// The partition.
        partition: &'a PartitionId,
    },
    /// A promise failed.
    PromiseFailed {
        /// The partition.
        partition: &'a PartitionId,
        /// Which promise and why.
        message: &'a str,
    },
    /// The promises of a partition were run.
    PromisesChecked {
        /// The partition.
        partition: &'a PartitionId,
        /// How many it has.
        promises: usize,
        /// How many of them fail.
        failing: usize,
    },
    /// The Master cannot be reached; what is known locally is done.
    Offline {
        /// Why.
        reason: &'a str,
    },
    /// Something worth knowing.
    Info(&'a str),
    /// Something that should be looked at.
    Warning(&'a str),
    /// Something failed that concerns no single release or partition.
    Failure(&'a str),
    /// The summary after the run: one line each (N 3.2).
    Summary(&'a [String]),
}

/// Whoever wants to know what happens. Called from several threads.
pub trait Observer: Sync {
    /// Something happened.
    fn event(&self, event: &Event<'_>);
}

/// Writes every event to the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogObserver;

impl Observer for LogObserver {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::BuilderSetup { step } => tracing::info!("builder: {step}"),
            Event::BuilderOutput { line } => tracing::debug!("builder: {line}"),
            Event::ReleaseStarted { release, log, .. } => {
                tracing::info!("building {release}, log in {}", log.display());
            }
            Event::ReleaseOutput { line, .. } => tracing::info!("{line}"),
            Event::ReleaseFinished {
                release,
                elapsed,
                error: None,
            } => {
                tracing::info!("built {release} in {:.1} s", elapsed.as_secs_f64());
            }
            Event::ReleaseFinished {
                release,
                error: Some(error),
                ..
            } => tracing::error!("{release}: {error}"),
            Event::ReleaseRemoved { release } => tracing::info!("removed {release}"),
            Event::PartitionStarted {
                partition, goal, ..
            } => {
                tracing::info!("{partition}: processing, shall be {goal}");
            }
            Event::PartitionOutput { partition, line } => tracing::info!("{partition}: {line}"),
            Event::PartitionFinished {
                partition,
                elapsed,
                error: None,
            } => tracing::info!("{partition}: processed in {:.1} s", elapsed.as_secs_f64()),
            Event::PartitionFinished {
                partition,
                error: Some(error),
                ..
            } => tracing::error!("{partition}: {error}"),
            Event::PartitionUpToDate { partition } => {
                tracing::info!("{partition}: already up to date");
            }
            Event::PartitionDestroyed { partition } => tracing::info!("{partition}: destroyed"),
            Event::PromiseFailed { partition, message } => {
                tracing::error!("{partition}: {message}");
            }
            Event::PromisesChecked {
                partition,
                promises,
                failing,
            } => tracing::info!("{partition}: {promises} promises, {failing} of them fail"),
            Event::Offline { reason } => {
                tracing::warn!("the Master cannot be reached, working offline: {reason}");
            }
            Event::Info(text) => tracing::info!("{text}"),
            Event::Warning(text) => tracing::warn!("{text}"),
            Event::Failure(text) => tracing::error!("{text}"),
            Event::Summary(lines) => {
                for line in *lines {
                    tracing::info!("{line}");
                }
            }
        }
    }
}
