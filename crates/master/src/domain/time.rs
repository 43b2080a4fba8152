//! Time: microseconds since 1970, and processing timestamps that rise on every change and never
//! otherwise (P 6.8, quirk 7).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment, in microseconds since 1970. As an instance's processing timestamp, nodes compare it for
/// equality only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The next timestamp after this one: now, or a microsecond later where the clock stands still
    /// or goes back.
    #[must_use]
    pub fn advance(self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.max(self.0.saturating_add(1)))
    }

    /// Whole seconds since 1970.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// How long ago an earlier moment was; nothing when it is in the future.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Timestamp {
        let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_add(microseconds))
    }

    /// As the system's clock has it.
    pub fn system(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(u64::try_from(self.0).unwrap_or(0))
    }
}

/// Where the present comes from, so that tests can make time stand still.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let microseconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_micros());
        Timestamp(i64::try_from(microseconds).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_rises_even_when_the_clock_does_not() {
        let earlier = Timestamp(10);
        assert_eq!(earlier.advance(Timestamp(20)), Timestamp(20));
        assert_eq!(earlier.advance(Timestamp(10)), Timestamp(11));
        assert_eq!(earlier.advance(Timestamp(5)), Timestamp(11));
    }
}
