//! What every command does before its work (N 3.0): may it, shall it wait, does another one work.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::config::NodeConfig;
use crate::lock::Lock;
use crate::observer::{Event, Observer};
use crate::outcome::Error;
use crate::random;

/// Between two looks whether the wait is cancelled.
const LOOK: Duration = Duration::from_millis(100);

/// Checks that the command may work, waits its random delay and takes its lock, which is held as
/// long as what is returned lives.
pub(crate) fn begin(
    config: &NodeConfig,
    pidfile: &Path,
    cancel: &Cancel,
    observer: &dyn Observer,
) -> Result<Lock, Error> {
    config.check_root()?;
    if !config.now {
        random_delay(config.maximal_delay, cancel, observer)?;
    }
    Lock::take(pidfile)
}

/// Waits a random time of at most `seconds`, so that a thousand nodes do not call at once.
///
/// # Errors
/// [`Error::Cancelled`] when it was cancelled meanwhile.
pub(crate) fn random_delay(
    seconds: u64,
    cancel: &Cancel,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let mut left = Duration::ZERO;
    let begin = Instant::now();
    if seconds > 0 {
        left = Duration::from_secs(1 + random::number() % seconds);
        observer.event(&Event::Info(&format!(
            "waiting {} s, so that not all nodes ask the Master at once; --now starts at once",
            left.as_secs()
        )));
    }
    let end = begin + left;
    loop {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        match end.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => std::thread::sleep(left.min(LOOK)),
            _ => return Ok(()),
        }
    }
}
