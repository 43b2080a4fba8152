//! Whether a node takes more: does it answer, is there room, is it open (P 6.2, 6.5).

use std::time::Duration;

use super::sla::cut;
use super::time::Timestamp;
use super::words::AllocationScope;

/// How long a node may be silent before nothing more is placed on it.
pub const SILENCE_MAX: Duration = Duration::from_secs(600);

/// Units a node takes when nobody has said how many.
pub const CAPACITY_DEFAULT: i64 = 1_000_000;

/// Units an instance takes when its product does not say how many.
pub const UNITS_DEFAULT: i64 = 1;

/// Whether a node answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Liveness {
    /// It was in contact lately, and had nothing to complain about.
    Alive,
    /// It was never in contact.
    NeverSeen,
    /// It has been silent for longer than [`SILENCE_MAX`].
    Silent {
        /// For how long.
        since: Duration,
    },
    /// Its last status is an error.
    Faulty {
        /// What it said, cut to a printable length.
        text: String,
    },
}

impl Liveness {
    /// Judges a node by its last contact and by the last status text about itself. A contact in the
    /// future is one made just now: clocks are set back.
    pub fn of(contact: Option<Timestamp>, status: Option<&str>, now: Timestamp) -> Liveness {
        let Some(contact) = contact else {
            return Liveness::NeverSeen;
        };
        let since = now.since(contact);
        if since > SILENCE_MAX {
            return Liveness::Silent { since };
        }
        match status {
            Some(text) if text.contains("#error") => Liveness::Faulty { text: cut(text) },
            _ => Liveness::Alive,
        }
    }
}

/// Units that are left on a node. Negative when its capacity was lowered below what it holds.
pub fn capacity_left(capacity: Option<i64>, used: i64) -> i64 {
    capacity.unwrap_or(CAPACITY_DEFAULT).saturating_sub(used)
}

/// Units that an instance takes, given what its product says about its type. Never negative.
pub fn units_of(declared: Option<i64>) -> i64 {
    declared.unwrap_or(UNITS_DEFAULT).max(0)
}

/// Whether so many units fit into what is left.
///
/// Upstream's Master closes a node once its capacity is reached, so the last instance may exceed
/// it; here nothing ever does.
pub fn fits(units: i64, left: i64) -> bool {
    left >= units.max(0)
}

/// What setting a node's scope means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeChange {
    /// It has that scope already.
    Nothing,
    /// It has another scope from now on. The instances it has stay; when it opens, those that wait
    /// are to be tried.
    Set,
    /// As `Set`, and the node leaves: closed for ever and empty, it is removed, and its certificates
    /// are revoked.
    SetAndRemove,
}

/// What happens when a node's owner sets its scope. `empty` says that no instance is on it, not even
/// one that is being destroyed.
///
/// A node that is closed for ever while it still has instances leaves when the last one is gone: ask
/// again then.
pub fn set_scope(present: AllocationScope, wanted: AllocationScope, empty: bool) -> ScopeChange {
    if wanted == AllocationScope::Forever && empty {
        ScopeChange::SetAndRemove
    } else if wanted == present {
        ScopeChange::Nothing
    } else {
        ScopeChange::Set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

    fn ago(microseconds: i64) -> Option<Timestamp> {
        Some(Timestamp(NOW.0 - microseconds))
    }

    #[test]
    fn a_node_is_alive_while_it_is_heard_of_and_does_not_complain() {
        let ten_minutes = 600_000_000;
        let error = "#error bang: disk full";
        for (contact, status, expected) in [
            (None, None, Liveness::NeverSeen),
            (None, Some("#access COMP-1"), Liveness::NeverSeen),
            (ago(0), None, Liveness::Alive),
            (ago(0), Some("#access COMP-1"), Liveness::Alive),
            (ago(ten_minutes), None, Liveness::Alive),
            (
                ago(ten_minutes + 1),
                Some(error),
                Liveness::Silent {
                    since: Duration::from_micros(600_000_001),
                },
            ),
            (ago(-5_000_000), None, Liveness::Alive),
            (
                ago(0),
                Some(error),
                Liveness::Faulty {
                    text: error.to_owned(),
                },
            ),
            (
                ago(0),
                Some("late #error"),
                Liveness::Faulty {
                    text: "late #error".to_owned(),
                },
            ),
        ] {
            assert_eq!(Liveness::of(contact, status, NOW), expected);
        }
    }

    #[test]
    fn capacity_is_never_exceeded() {
        for (capacity, used, units, expected) in [
            (Some(10), 9, 1, true),
            (Some(10), 9, 2, false),
            (Some(10), 10, 1, false),
            (Some(10), 10, 0, true),
            (Some(10), 12, 0, false),
            (Some(0), 0, 1, false),
            (None, 999_999, 1, true),
            (None, 1_000_000, 1, false),
            (Some(i64::MIN), i64::MAX, 1, false),
            (Some(1), 0, -5, true),
            (Some(0), 3, -5, false),
        ] {
            assert_eq!(
                fits(units, capacity_left(capacity, used)),
                expected,
                "{capacity:?} {used} {units}"
            );
        }
        assert_eq!(units_of(None), 1);
        assert_eq!(units_of(Some(5)), 5);
        assert_eq!(units_of(Some(-5)), 0);
    }

    #[test]
    fn closing_for_ever_removes_an_empty_node_and_nothing_else_does() {
        for present in AllocationScope::ALL {
            for wanted in AllocationScope::ALL {
                let full = set_scope(present, wanted, false);
                assert_eq!(full == ScopeChange::Nothing, present == wanted);
                assert_ne!(full, ScopeChange::SetAndRemove);
                let empty = set_scope(present, wanted, true);
                let removed = empty == ScopeChange::SetAndRemove;
                assert_eq!(removed, wanted == AllocationScope::Forever);
            }
        }
    }
}
