//! What to do with a partition: the Master's wish against what is on disk. No I/O (N 3.2).

use std::time::{Duration, SystemTime};

use slap::InstanceState;
use slap::document::{NodeDocument, PartitionDocument};

/// What the run was asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish {
    /// Process everything, changed or not.
    pub(crate) force: bool,
    /// Stop what shall be started.
    pub(crate) force_stop: bool,
    /// Seconds after which an unchanged partition is processed again.
    pub(crate) maximum_periodicity: i64,
}

/// What is on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Whether the partition's directory is there.
    pub(crate) directory: bool,
    /// `.timestamp`: its text and when it was written.
    pub(crate) mark: Option<(String, SystemTime)>,
    /// The release's own `periodicity`.
    pub(crate) periodicity: Option<i64>,
}

/// What an instance shall become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    Started,
    /// Shall be started, but the administrator wants everything stopped.
    ForceStopped,
    Stopped,
    /// Only stopped here: removal is the report's work.
    Destroyed,
}

impl Goal {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Goal::Started => "started",
            Goal::ForceStopped => "stopped by force",
            Goal::Stopped => "stopped",
            Goal::Destroyed => "destroyed",
        }
    }
}

/// What to do with a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nobody uses it: at most, remove the marks of an earlier use.
    Free,
    /// Its directory is not there.
    Missing,
    /// Nothing changed; look for anomalies where it shall be started.
    Current { check: bool },
    /// Make it what it shall be; on success, leave this mark.
    Process { goal: Goal, mark: Option<String> },
    /// The Master's document makes no sense.
    Refuse(&'static str),
}

/// What to do with a partition. Absence of information never stops or destroys anything.
pub(crate) fn step(
    document: &PartitionDocument,
    observed: &Observed,
    wish: &Wish,
    now: SystemTime,
) -> Step {
    if document.is_free() {
        return Step::Free;
    }
    if !observed.directory {
        return Step::Missing;
    }
    let goal = match document.state {
        Some(InstanceState::Started) if wish.force_stop => Goal::ForceStopped,
        Some(InstanceState::Started) => Goal::Started,
        Some(InstanceState::Stopped) => Goal::Stopped,
        Some(InstanceState::Destroyed) => Goal::Destroyed,
        None => return Step::Refuse("the Master names a release but no requested state"),
    };
    // Without a mark the next ordinary run starts it again.
    let mark = match goal {
        Goal::ForceStopped => None,
        _ => document.timestamp(),
    };
    let periodicity = observed.periodicity.unwrap_or(wish.maximum_periodicity);
    if !wish.force && is_current(mark.as_deref(), observed, periodicity, now) {
        return Step::Current {
            check: goal == Goal::Started,
        };
    }
    Step::Process { goal, mark }
}

/// Texts are compared, not numbers: different in any way counts, even older.
fn is_current(
    wanted: Option<&str>,
    observed: &Observed,
    periodicity: i64,
    now: SystemTime,
) -> bool {
    let (Some(wanted), Some((text, written))) = (wanted, &observed.mark) else {
        return false;
    };
    let in_time = match u64::try_from(periodicity) {
        Err(_) => true,
        Ok(0) => false,
        Ok(seconds) => written
            .checked_add(Duration::from_secs(seconds))
            .is_none_or(|until| now <= until),
    };
    in_time && text == wanted
}

/// The partitions to look at, in the Master's order.
///
/// # Errors
/// The names in `only` that are none of the node's partitions, joined.
pub(crate) fn select<'a>(
    document: &'a NodeDocument,
    only: &[String],
) -> Result<Vec<&'a PartitionDocument>, String> {
    let has = |name: &String| {
        document
            .partitions
            .iter()
            .any(|partition| partition.partition.as_str() == name)
    };
    let unknown: Vec<&str> = only
        .iter()
        .filter(|name| !has(name))
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        return Err(unknown.join(", "));
    }
    Ok(document
        .partitions
        .iter()
        .filter(|partition| {
            only.is_empty() || only.iter().any(|name| name == partition.partition.as_str())
        })
        .collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use slap::document::ReleaseForm;
    use slap::{NodeId, PartitionId, ReleaseUrl, Value};

    use super::*;

    fn document(state: Option<InstanceState>, timestamp: Option<&str>) -> PartitionDocument {
        let mut document = PartitionDocument::new(
            NodeId::new("COMP-1").unwrap(),
            PartitionId::new("slappart0").unwrap(),
        );
        document.state = state;
        document.release = Some(ReleaseForm::Url(ReleaseUrl::new("/a.cfg").unwrap()));
        document.parameters = Some(
            timestamp
                .map(|text| ("timestamp".to_owned(), Value::text(text)))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
        );
        document
    }

    const NOW: u64 = 1_000_000;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn observed(mark: Option<(&str, u64)>, periodicity: Option<i64>) -> Observed {
        Observed {
            directory: true,
            mark: mark.map(|(text, written)| (text.to_owned(), at(written))),
            periodicity,
        }
    }

    fn wish() -> Wish {
        Wish {
            maximum_periodicity: 86_400,
            ..Wish::default()
        }
    }

    #[test]
    fn n_3_2_when_a_partition_is_processed() {
        use InstanceState::{Destroyed, Started, Stopped};
        let process = |goal, mark: Option<&str>| Step::Process {
            goal,
            mark: mark.map(str::to_owned),
        };
        let current = |check| Step::Current { check };
        let fresh = Some(("7", NOW - 10));
        let old = Some(("7", NOW - 90_000));
        let plain = wish();
        let force = Wish {
            force: true,
            ..plain
        };
        let stop = Wish {
            force_stop: true,
            ..plain
        };
        // (state, Master's timestamp, mark, release's periodicity, wish, what is done)
        let table = [
            (Started, Some("7"), fresh, None, plain, current(true)),
            (Stopped, Some("7"), fresh, None, plain, current(false)),
            (Destroyed, Some("7"), fresh, None, plain, current(false)),
            (
                Started,
                Some("7"),
                None,
                None,
                plain,
                process(Goal::Started, Some("7")),
            ),
            (
                Started,
                Some("8"),
                fresh,
                None,
                plain,
                process(Goal::Started, Some("8")),
            ),
            (
                Started,
                Some("6"),
                fresh,
                None,
                plain,
                process(Goal::Started, Some("6")),
            ),
            (
                Started,
                Some("7.0"),
                fresh,
                None,
                plain,
                process(Goal::Started, Some("7.0")),
            ),
            (
                Started,
                None,
                fresh,
                None,
                plain,
                process(Goal::Started, None),
            ),
            (
                Started,
                Some("7"),
                old,
                None,
                plain,
                process(Goal::Started, Some("7")),
            ),
            (Started, Some("7"), old, Some(-1), plain, current(true)),
            (
                Started,
                Some("7"),
                fresh,
                Some(0),
                plain,
                process(Goal::Started, Some("7")),
            ),
            (
                Started,
                Some("7"),
                fresh,
                Some(5),
                plain,
                process(Goal::Started, Some("7")),
            ),
            (Started, Some("7"), fresh, Some(10), plain, current(true)),
            (
                Started,
                Some("7"),
                fresh,
                None,
                force,
                process(Goal::Started, Some("7")),
            ),
            (
                Started,
                Some("7"),
                fresh,
                None,
                stop,
                process(Goal::ForceStopped, None),
            ),
            (Stopped, Some("7"), fresh, None, stop, current(false)),
            (
                Stopped,
                Some("8"),
                fresh,
                None,
                stop,
                process(Goal::Stopped, Some("8")),
            ),
            (
                Destroyed,
                Some("8"),
                fresh,
                None,
                plain,
                process(Goal::Destroyed, Some("8")),
            ),
        ];
        for (state, timestamp, mark, periodicity, wish, expected) in table {
            let found = step(
                &document(Some(state), timestamp),
                &observed(mark, periodicity),
                &wish,
                at(NOW),
            );
            assert_eq!(
                found, expected,
                "{state} {timestamp:?} {mark:?} {periodicity:?} {wish:?}"
            );
        }
    }

    #[test]
    fn what_is_not_there_or_makes_no_sense() {
        let mut free = document(Some(InstanceState::Destroyed), None);
        free.release = None;
        let nothing = Observed::default();
        assert_eq!(step(&free, &nothing, &wish(), at(NOW)), Step::Free);
        let started = document(Some(InstanceState::Started), None);
        assert_eq!(step(&started, &nothing, &wish(), at(NOW)), Step::Missing);
        let stateless = document(None, None);
        let there = observed(None, None);
        assert!(matches!(
            step(&stateless, &there, &wish(), at(NOW)),
            Step::Refuse(_)
        ));
    }

    #[test]
    fn n_3_2_unknown_names_are_listed() {
        let document = NodeDocument {
            node: NodeId::new("COMP-1").unwrap(),
            partitions: vec![document(None, None)],
            installations: Vec::new(),
        };
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(select(&document, &[]).unwrap().len(), 1);
        assert_eq!(select(&document, &names(&["slappart0"])).unwrap().len(), 1);
        assert_eq!(
            select(&document, &names(&["a", "slappart0", "b"])).unwrap_err(),
            "a, b"
        );
    }

    proptest! {
        /// P3: only the Master's own word stops or destroys.
        #[test]
        fn n_3_2_nothing_stops_without_the_masters_word(
            timestamp in proptest::option::of("[0-9]{1,3}"),
            mark in proptest::option::of(("[0-9]{1,3}", 0..2_000_000u64)),
            periodicity in proptest::option::of(-2..100_000i64),
            force: bool,
            directory: bool,
            state in prop_oneof![Just(None), Just(Some(InstanceState::Started))],
        ) {
            let document = document(state, timestamp.as_deref());
            let mut observed = observed(mark.as_ref().map(|(text, at)| (text.as_str(), *at)), periodicity);
            observed.directory = directory;
            let wish = Wish { force, ..wish() };
            let found = step(&document, &observed, &wish, at(NOW));
            let stops = matches!(found, Step::Process { goal, .. } if goal != Goal::Started);
            prop_assert!(!stops, "{found:?}");
        }
    }
}
