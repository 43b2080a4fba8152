//! Waiting for what happens elsewhere.

use std::fmt::Debug;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(30);

/// Asks again and again until the answer is `Ok`; panics with the last `Err` at the deadline.
///
/// The deadline only decides when to give up: nothing is measured by it.
pub fn eventually<T, E: Debug>(
    what: &str,
    deadline: Duration,
    mut ask: impl FnMut() -> Result<T, E>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(reason) if Instant::now() >= end => {
                panic!(
                    "{what}: not within {} s; last: {reason:#?}",
                    deadline.as_secs()
                )
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// As [`eventually`], for answers without a reason.
pub fn eventually_some<T>(what: &str, deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    eventually(what, deadline, || ask().ok_or("nothing yet"))
}
