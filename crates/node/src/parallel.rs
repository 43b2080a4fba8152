//! Doing independent things side by side, a bounded number at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::observer::{Event, Observer};

/// Calls `work` for each item, in order, at most `workers` at once, and gives the results in order.
pub(crate) fn map<T: Sync, R: Send>(
    items: &[T],
    workers: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                return done;
            };
            done.push((index, work(item)));
        }
    };
    let workers = workers.min(items.len());
    if workers <= 1 {
        return take().into_iter().map(|(_, result)| result).collect();
    }
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(take)).collect();
        threads
            .into_iter()
            .flat_map(|thread| match thread.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Waits a random time of at most `seconds`, so that a thousand nodes do not call at once.
/// Tells whether it was cancelled meanwhile.
pub(crate) fn random_delay(seconds: u64, cancel: &Cancel, observer: &dyn Observer) -> bool {
    if seconds == 0 {
        return cancel.is_cancelled();
    }
    let random = u64::from(std::process::id()) ^ {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        u64::from(now.map_or(0, |now| now.subsec_nanos())).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20
    };
    let delay = 1 + random % seconds;
    observer.event(&Event::Info(&format!(
        "waiting {delay} s, so that not all nodes ask the Master at once; --now starts at once"
    )));
    let end = Instant::now() + Duration::from_secs(delay);
    while !cancel.is_cancelled() {
        let Some(left) = end.checked_duration_since(Instant::now()) else {
            return false;
        };
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_and_the_bound_holds() {
        let items: Vec<usize> = (0..100).collect();
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let results = map(&items, 4, |item| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
            item * 2
        });
        assert_eq!(
            results,
            items.iter().map(|item| item * 2).collect::<Vec<_>>()
        );
        assert!(most.load(Ordering::SeqCst) <= 4);
        assert!(map(&[] as &[u8], 4, |_| 1).is_empty());
    }
}
