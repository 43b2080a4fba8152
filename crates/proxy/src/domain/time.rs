//! Processing timestamps: they rise on every change and never otherwise (P 6.8, quirk 7).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const NANOSECONDS_PER_SECOND: i64 = 1_000_000_000;
const NANOSECONDS_PER_MICROSECOND: i64 = 1_000;

/// When an instance last changed. Nodes compare it for equality only.
///
/// Ours have microseconds; nanoseconds are kept so that the text of a timestamp taken over from an
/// upstream database stays the same and no instance is reprocessed because its Master was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From nanoseconds since the epoch.
    pub fn from_nanoseconds(nanoseconds: i64) -> Self {
        Self(nanoseconds)
    }

    /// From a decimal number of seconds, as Python writes a float; `None` when it is none.
    pub fn from_seconds_text(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if fraction.len() > 9 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let whole: i64 = whole.parse().ok()?;
        let fraction: i64 = format!("{fraction:0<9}").parse().ok()?;
        Some(Self(
            whole
                .checked_mul(NANOSECONDS_PER_SECOND)?
                .checked_add(fraction)?,
        ))
    }

    /// Nanoseconds since the epoch.
    pub fn nanoseconds(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(NANOSECONDS_PER_SECOND)
    }

    /// As the system's clock has it.
    pub fn system(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(u64::try_from(self.0).unwrap_or_default())
    }

    /// The proxy's wire form: the text of a float of seconds.
    pub fn to_seconds_text(self) -> String {
        let fraction = format!("{:09}", self.0.rem_euclid(NANOSECONDS_PER_SECOND));
        let digits = fraction.trim_end_matches('0');
        let digits = if digits.is_empty() { "0" } else { digits };
        format!("{}.{digits}", self.seconds())
    }

    /// The next timestamp after this one: now, or a microsecond later where the clock stands still
    /// or goes back.
    #[must_use]
    pub fn advance(self, now: Timestamp) -> Timestamp {
        let floor = |timestamp: Timestamp| timestamp.0.div_euclid(NANOSECONDS_PER_MICROSECOND);
        let microseconds = floor(now).max(floor(self) + 1);
        Timestamp(microseconds * NANOSECONDS_PER_MICROSECOND)
    }
}

/// Where the present comes from, so that tests can make time stand still.
pub trait Clock: Send + Sync {
    /// Now, in whole microseconds.
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
        let microseconds = i64::try_from(microseconds).unwrap_or(i64::MAX / 1_000);
        Timestamp(microseconds * NANOSECONDS_PER_MICROSECOND)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_text_is_that_of_a_python_float() {
        for text in ["1795334859.5746188", "1795334859.574619", "1795334859.0"] {
            assert_eq!(
                Timestamp::from_seconds_text(text)
                    .unwrap()
                    .to_seconds_text(),
                text
            );
        }
        for bad in ["", "x", "1.2.3", "1.0000000001", "1e9"] {
            assert_eq!(Timestamp::from_seconds_text(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn time_only_rises(before in 0..i64::MAX / 4, now in 0..i64::MAX / 4) {
            let before = Timestamp::from_nanoseconds(before);
            let next = before.advance(Timestamp::from_nanoseconds(now));
            prop_assert!(next > before);
            prop_assert_eq!(next.nanoseconds() % 1_000, 0);
        }

        #[test]
        fn ours_print_as_python_prints_the_float(microseconds in 1_700_000_000_000_000_i64..2_000_000_000_000_000) {
            let timestamp = Timestamp::from_nanoseconds(microseconds * 1_000);
            prop_assert_eq!(
                timestamp.to_seconds_text(),
                slap::python::float(microseconds as f64 / 1e6)
            );
        }
    }
}
