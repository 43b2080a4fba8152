//! Randomness that can be repeated.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A sequence of numbers that its seed decides (SplitMix64).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Seeded by `SLAPOS_TEST_SEED`, or else by the clock. The seed is printed, so that a failing
    /// run can be repeated.
    pub fn from_environment(who: &str) -> Self {
        let seed = match std::env::var("SLAPOS_TEST_SEED") {
            Ok(text) => text.parse().expect("SLAPOS_TEST_SEED is a number"),
            Err(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::from(since.subsec_nanos()) ^ since.as_secs()),
        };
        eprintln!("{who}: SLAPOS_TEST_SEED={seed}");
        Random(seed)
    }

    /// Seeded by a number.
    pub fn seeded(seed: u64) -> Self {
        Random(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// A moment somewhere in this time span.
    pub fn moment(&mut self, span: Duration) -> Duration {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.below(micros))
    }
}
