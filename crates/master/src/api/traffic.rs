//! What came in during the last minutes, for whoever looks at the Master's health. Counted without
//! locks, in slots that are used over and over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a slot counts, in seconds.
pub(crate) const SLOT_SECONDS: u64 = 10;
/// Slots that are told: ten minutes. One more is being filled.
const SLOTS: usize = 60;

/// What was answered during a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Slot {
    /// Requests.
    pub(crate) requests: u64,
    /// Those that failed by our own fault: 5xx.
    pub(crate) failed: u64,
    /// The time they took together, in microseconds.
    pub(crate) microseconds: u64,
}

#[derive(Default)]
struct Counter {
    /// Which slot this counts, from one on.
    slot: AtomicU64,
    requests: AtomicU64,
    failed: AtomicU64,
    microseconds: AtomicU64,
}

pub(crate) struct Traffic {
    begun: Instant,
    counters: [Counter; SLOTS + 1],
}

impl Traffic {
    pub(crate) fn new() -> Self {
        Traffic {
            begun: Instant::now(),
            counters: std::array::from_fn(|_| Counter::default()),
        }
    }

    /// How long this Master has run.
    pub(crate) fn uptime(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Counts an answer of now.
    pub(crate) fn answered(&self, failed: bool, microseconds: u64) {
        self.count(self.slot(), failed, microseconds);
    }

    /// The last ten minutes, or what there is of them since the start, the latest last.
    pub(crate) fn recent(&self) -> Vec<Slot> {
        self.before(self.slot())
    }

    fn slot(&self) -> u64 {
        self.begun.elapsed().as_secs() / SLOT_SECONDS + 1
    }

    fn counter(&self, slot: u64) -> Option<&Counter> {
        let index = usize::try_from(slot).unwrap_or_default() % self.counters.len();
        self.counters.get(index)
    }

    fn count(&self, slot: u64, failed: bool, microseconds: u64) {
        let Some(counter) = self.counter(slot) else {
            return;
        };
        let before = counter.slot.swap(slot, Ordering::Relaxed);
        if before != slot {
            // Who comes in between is lost: a request in millions.
            counter.requests.store(0, Ordering::Relaxed);
            counter.failed.store(0, Ordering::Relaxed);
            counter.microseconds.store(0, Ordering::Relaxed);
        }
        counter.requests.fetch_add(1, Ordering::Relaxed);
        counter
            .failed
            .fetch_add(u64::from(failed), Ordering::Relaxed);
        counter
            .microseconds
            .fetch_add(microseconds, Ordering::Relaxed);
    }

    /// The whole slots before this one.
    fn before(&self, slot: u64) -> Vec<Slot> {
        let first = slot.saturating_sub(SLOTS as u64).max(1);
        let told = |slot: u64| {
            let counter = self.counter(slot)?;
            (counter.slot.load(Ordering::Relaxed) == slot).then(|| Slot {
                requests: counter.requests.load(Ordering::Relaxed),
                failed: counter.failed.load(Ordering::Relaxed),
                microseconds: counter.microseconds.load(Ordering::Relaxed),
            })
        };
        let slots = first..slot;
        slots.map(|slot| told(slot).unwrap_or_default()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_told_when_they_are_whole_and_used_again() {
        let traffic = Traffic::new();
        assert_eq!(traffic.before(1), []);
        traffic.count(1, false, 5);
        traffic.count(1, true, 7);
        traffic.count(3, false, 1);
        let first = Slot {
            requests: 2,
            failed: 1,
            microseconds: 12,
        };
        let third = Slot {
            requests: 1,
            failed: 0,
            microseconds: 1,
        };
        assert_eq!(traffic.before(1), [], "it is not over");
        assert_eq!(traffic.before(2), [first]);
        assert_eq!(traffic.before(4), [first, Slot::default(), third]);
        let later = 3 + SLOTS as u64;
        let told = traffic.before(later);
        assert_eq!(told.len(), SLOTS);
        assert_eq!(told[0], third);
        // The same place again, an hour later.
        traffic.count(1 + 61, false, 9);
        assert_eq!(traffic.before(63).last().map(|slot| slot.requests), Some(1));
        assert_eq!(traffic.before(10_000), vec![Slot::default(); SLOTS]);
    }
}
