//! Numbers that others do not choose as well; nothing secret depends on them.

use std::hash::{BuildHasher, RandomState};

/// A random number.
pub(crate) fn number() -> u64 {
    RandomState::new().hash_one(0_u8)
}
