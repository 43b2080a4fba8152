//! How often somebody may try: a bucket of attempts per address and per login name, refilled in
//! time. Pure: the time is given. Memory is bounded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::{Refusal, Timestamp};

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Attempts that may follow each other at once.
    pub burst: u32,
    /// How long it takes until one more may be made.
    pub refill: Duration,
}

/// Who tries. Networks are as large as what one subscriber usually has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Who {
    /// An IPv4 address, or the first 64 bits of an IPv6 address.
    Network(u64),
    /// Somebody whose address a proxy does not tell.
    Nowhere,
    /// Whoever tries this name, from anywhere.
    Name(String),
}

impl Who {
    /// Whoever is at an address.
    pub fn at(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Who::Nowhere,
            Some(IpAddr::V4(address)) => Who::Network(u32::from(address).into()),
            // The lower half is the subscriber's to choose. No network begins with 32 zero bits.
            Some(IpAddr::V6(address)) => Who::Network((u128::from(address) >> 64) as u64),
        }
    }
}

/// Buckets of attempts. Those of many are forgotten before memory grows: the ones used least
/// recently.
#[derive(Debug)]
pub struct Limiter {
    rate: Rate,
    /// Buckets kept per generation.
    most: usize,
    buckets: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    recent: HashMap<Who, Bucket>,
    older: HashMap<Who, Bucket>,
}

/// As of that time, it had so many parts of an attempt, each worth one microsecond of refill.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    parts: u64,
    at: Timestamp,
}

impl Limiter {
    /// Allows that rate to each, remembering twice `most` of them.
    pub fn new(rate: Rate, most: usize) -> Self {
        Limiter {
            rate,
            most: most.max(1),
            buckets: Mutex::default(),
        }
    }

    fn part_of_one(&self) -> u64 {
        u64::try_from(self.rate.refill.as_micros())
            .unwrap_or(u64::MAX)
            .max(1)
    }

    fn full(&self) -> u64 {
        self.part_of_one().saturating_mul(self.rate.burst.into())
    }

    /// One attempt.
    ///
    /// # Errors
    /// How long to wait until the next one; this one does not count.
    pub fn attempt(&self, who: Who, now: Timestamp) -> Result<(), Duration> {
        let (one, full) = (self.part_of_one(), self.full());
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = match buckets.take(&who) {
            Some(bucket) => {
                let since = u64::try_from(now.since(bucket.at).as_micros()).unwrap_or(u64::MAX);
                bucket.parts.saturating_add(since).min(full)
            }
            None => full,
        };
        let (parts, result) = match bucket.checked_sub(one) {
            Some(rest) => (rest, Ok(())),
            None => (bucket, Err(Duration::from_micros(one - bucket))),
        };
        buckets.put(who, Bucket { parts, at: now }, self.most);
        result
    }

    /// Gives an attempt back: it was a good one.
    pub fn give_back(&self, who: Who) {
        let (one, full) = (self.part_of_one(), self.full());
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut bucket) = buckets.take(&who) {
            bucket.parts = bucket.parts.saturating_add(one).min(full);
            buckets.put(who, bucket, self.most);
        }
    }
}

impl Generations {
    fn take(&mut self, who: &Who) -> Option<Bucket> {
        self.recent.remove(who).or_else(|| self.older.remove(who))
    }

    fn put(&mut self, who: Who, bucket: Bucket, most: usize) {
        if self.recent.len() >= most {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(who, bucket);
    }
}

/// The refusal for whoever has to wait that long.
pub fn too_many(wait: Duration) -> Refusal {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Refusal::TooMany(format!(
        "too many attempts: try again in {seconds} {}",
        if seconds == 1 { "second" } else { "seconds" }
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        refill: Duration::from_secs(10),
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    fn ip(text: &str) -> Who {
        Who::at(Some(text.parse().unwrap()))
    }

    #[test]
    fn attempts_run_out_and_come_back_in_time() {
        let limiter = Limiter::new(RATE, 100);
        let who = || ip("192.0.2.1");
        for _ in 0..3 {
            limiter.attempt(who(), at(100)).unwrap();
        }
        let wait = limiter.attempt(who(), at(100)).unwrap_err();
        assert_eq!(wait, Duration::from_secs(10));
        let wait = limiter.attempt(who(), at(104)).unwrap_err();
        assert_eq!(
            wait,
            Duration::from_secs(6),
            "a refused attempt costs nothing"
        );
        assert_eq!(
            too_many(wait).to_string(),
            "too many attempts: try again in 6 seconds"
        );
        limiter.attempt(who(), at(110)).unwrap();
        limiter.attempt(who(), at(110)).unwrap_err();
        limiter.give_back(who());
        limiter.attempt(who(), at(110)).unwrap();
        // A clock that goes back gives nothing, and takes nothing.
        limiter.attempt(who(), at(50)).unwrap_err();
        for _ in 0..3 {
            limiter.attempt(who(), at(1000)).unwrap();
        }
        limiter.attempt(who(), at(1000)).unwrap_err();
    }

    #[test]
    fn each_has_a_bucket_of_its_own_and_a_network_is_one() {
        let limiter = Limiter::new(RATE, 100);
        let names = |name: &str| Who::Name(name.to_owned());
        for (first, second, shared) in [
            (ip("192.0.2.1"), ip("192.0.2.2"), false),
            (ip("192.0.2.3"), ip("::ffff:192.0.2.3"), true),
            (ip("2001:db8::1"), ip("2001:db8::ffff:2"), true),
            (ip("2001:db8:1::1"), ip("2001:db8:2::1"), false),
            (names("ada"), names("eve"), false),
            (Who::Nowhere, Who::at(None), true),
        ] {
            for _ in 0..3 {
                limiter.attempt(first.clone(), at(0)).unwrap();
            }
            assert_eq!(
                limiter.attempt(second.clone(), at(0)).is_err(),
                shared,
                "{second:?}"
            );
        }
    }

    #[test]
    fn memory_is_bounded_and_the_recent_are_remembered() {
        let limiter = Limiter::new(RATE, 100);
        let watched = || ip("192.0.2.1");
        for _ in 0..3 {
            limiter.attempt(watched(), at(0)).unwrap();
        }
        for nth in 0..10_000_u64 {
            limiter.attempt(Who::Network(nth), at(0)).unwrap();
            if nth % 50 == 0 {
                limiter.attempt(watched(), at(0)).unwrap_err();
            }
        }
        let buckets = limiter.buckets.lock().unwrap();
        assert!(buckets.recent.len() + buckets.older.len() <= 200);
    }

    proptest! {
        /// However attempts are spread, no more are let through than the rate allows.
        #[test]
        fn never_more_than_the_rate(gaps in prop::collection::vec(0_i64..15_000_000, 1..200)) {
            let limiter = Limiter::new(RATE, 10);
            let mut now = at(1000);
            let mut good = 0;
            for gap in &gaps {
                now = Timestamp(now.0 + gap);
                good += i64::from(limiter.attempt(Who::Nowhere, now).is_ok());
            }
            let total: i64 = gaps.iter().sum();
            prop_assert!(good <= 3 + total / 10_000_000 + 1);
        }
    }
}
