//! Rules about an instance tree: who goes down with whom, who may request whom, and who is to
//! process again after a change (P 6.4, 6.8, 6.10).

use std::collections::{BTreeMap, BTreeSet};

use slap::InstanceState;

use super::request::SUCCESSORS_MAX;
use super::words::{InstanceKey, NodeKind};

/// Most instances from the root of a tree down to any other, both counted.
pub const DEPTH_MAX: usize = 100;

/// An instance of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Member {
    /// Which instance.
    pub key: InstanceKey,
    /// The instance that requested it; none when the tree itself did, as for its root.
    pub requester: Option<InstanceKey>,
    /// What it shall be.
    pub state: InstanceState,
    /// The instance that serves it, when it is a shared one and has a place. It may be of another
    /// tree.
    pub host: Option<InstanceKey>,
}

/// A new state for an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Change {
    /// Which instance.
    pub key: InstanceKey,
    /// What it shall be from now on.
    pub state: InstanceState,
}

/// What the state of a tree, and of those who requested, makes of its instances.
///
/// Everything in a destroyed tree is destroyed, and so is whoever was requested by an instance that
/// is destroyed or gone. Everything in a stopped tree is stopped. Starting a tree again starts nobody:
/// each instance is requested again by its requester.
///
/// `members` are all instances of the tree that are not gone. A requester that is not among them is
/// gone: **part of a tree is not enough**, those whose requester is left out would be destroyed.
/// Requesters come before those they requested, otherwise the order is that of the keys. Doing the
/// changes and asking again gives no change.
pub fn propagate(tree: InstanceState, members: &[Member]) -> Vec<Change> {
    let states: BTreeMap<InstanceKey, InstanceState> = members
        .iter()
        .map(|member| (member.key, member.state))
        .collect();
    let mut requested: BTreeMap<InstanceKey, Vec<&Member>> = BTreeMap::new();
    let mut doomed: Vec<&Member> = Vec::new();
    for member in members {
        let dead = member.state == InstanceState::Destroyed || tree == InstanceState::Destroyed;
        match member.requester {
            _ if dead => doomed.push(member),
            Some(requester) if !states.contains_key(&requester) => doomed.push(member),
            Some(requester) => requested.entry(requester).or_default().push(member),
            None => {}
        }
    }
    let mut changes = Vec::new();
    while !doomed.is_empty() {
        doomed.sort_by_key(|member| member.key);
        let mut next = Vec::new();
        for member in doomed {
            if member.state != InstanceState::Destroyed {
                changes.push(Change {
                    key: member.key,
                    state: InstanceState::Destroyed,
                });
            }
            next.extend(requested.remove(&member.key).unwrap_or_default());
        }
        doomed = next;
    }
    if tree == InstanceState::Stopped {
        let dead: BTreeSet<InstanceKey> = changes.iter().map(|change| change.key).collect();
        let mut stopped: Vec<Change> = members
            .iter()
            .filter(|member| member.state == InstanceState::Started && !dead.contains(&member.key))
            .map(|member| Change {
                key: member.key,
                state: InstanceState::Stopped,
            })
            .collect();
        stopped.sort_by_key(|change| change.key);
        changes.extend(stopped);
    }
    changes
}

/// Why an instance may not request another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkMistake {
    /// It would have requested itself, perhaps through others.
    #[error(
        "{requester} cannot request {requested}, by which it was requested itself, directly or \
         through others"
    )]
    Cycle {
        /// Who requests.
        requester: InstanceKey,
        /// Who is requested.
        requested: InstanceKey,
    },
    /// It has requested as many as one may.
    #[error(
        "{requester} has requested {SUCCESSORS_MAX} instances already; let some of them request \
         the others"
    )]
    TooMany {
        /// Who requests.
        requester: InstanceKey,
    },
    /// The tree would become too deep.
    #[error(
        "{requester} is {DEPTH_MAX} requests away from the root of its tree; let an instance \
         nearer to the root request this one"
    )]
    TooDeep {
        /// Who requests.
        requester: InstanceKey,
    },
}

/// Checks that an instance may request another.
///
/// - `chain`: who requests, who requested that one, and so on up to the root. Not empty.
/// - `successors`: how many instances the requester has requested that are not destroyed, the
///   requested one left out.
/// - `requested`: the instance that is requested, if it exists already.
/// - `height`: how many levels of instances hang below the requested one; 0 for a new one.
///
/// # Errors
/// [`LinkMistake`] when the tree would not be one, or grow beyond its bounds.
pub fn check_link(
    chain: &[InstanceKey],
    successors: usize,
    requested: Option<InstanceKey>,
    height: usize,
) -> Result<(), LinkMistake> {
    let Some(requester) = chain.first().copied() else {
        return Ok(());
    };
    if let Some(requested) = requested.filter(|requested| chain.contains(requested)) {
        return Err(LinkMistake::Cycle {
            requester,
            requested,
        });
    }
    if successors >= SUCCESSORS_MAX {
        return Err(LinkMistake::TooMany { requester });
    }
    if chain.len().saturating_add(height) >= DEPTH_MAX {
        return Err(LinkMistake::TooDeep { requester });
    }
    Ok(())
}

/// Whether a destroyed instance is gone at once, as no node will report it: it has no place, or it is
/// shared and its host just stops to see it. `place` is the kind of the node it is on, for a shared
/// one that of its host.
pub fn gone_at_once(shared: bool, place: Option<NodeKind>) -> bool {
    match place {
        None => true,
        Some(NodeKind::Compute) => shared,
        Some(NodeKind::Remote) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use InstanceState::{Destroyed, Started, Stopped};
    use proptest::prelude::*;

    fn member(key: i64, requester: Option<i64>, state: InstanceState) -> Member {
        Member {
            key: InstanceKey(key),
            requester: requester.map(InstanceKey),
            state,
            host: None,
        }
    }

    fn changes(tree: InstanceState, members: &[Member]) -> Vec<(i64, InstanceState)> {
        let changes = propagate(tree, members);
        changes
            .into_iter()
            .map(|change| (change.key.0, change.state))
            .collect()
    }

    #[test]
    fn destruction_goes_down_the_tree() {
        let members = [
            member(5, Some(3), Stopped),
            member(4, Some(2), Started),
            member(3, Some(1), Started),
            member(2, Some(1), Destroyed),
            member(1, None, Started),
            member(6, Some(4), Started),
        ];
        assert_eq!(
            changes(Started, &members),
            [(4, Destroyed), (6, Destroyed)],
            "level by level, and nobody beside"
        );
        assert_eq!(
            changes(Destroyed, &members),
            [
                (1, Destroyed),
                (3, Destroyed),
                (4, Destroyed),
                (5, Destroyed),
                (6, Destroyed)
            ]
        );
    }

    #[test]
    fn those_whose_requester_is_gone_go_too() {
        let members = [
            member(1, None, Started),
            member(3, Some(2), Started),
            member(4, Some(3), Stopped),
        ];
        assert_eq!(changes(Started, &members), [(3, Destroyed), (4, Destroyed)]);
    }

    #[test]
    fn a_stopped_tree_stops_and_a_started_one_starts_nobody() {
        let members = [
            member(1, None, Started),
            member(2, Some(1), Started),
            member(3, Some(1), Stopped),
            member(4, Some(1), Destroyed),
            member(5, Some(4), Started),
        ];
        assert_eq!(
            changes(Stopped, &members),
            [(5, Destroyed), (1, Stopped), (2, Stopped)]
        );
        let members = [member(1, None, Stopped), member(2, Some(1), Started)];
        assert_eq!(
            changes(Started, &members),
            [],
            "a stopped requester stops nobody while the tree is started"
        );
    }

    #[test]
    fn a_circle_in_a_broken_database_is_no_order_to_destroy() {
        let members = [
            member(1, None, Started),
            member(2, Some(3), Started),
            member(3, Some(2), Started),
        ];
        assert_eq!(changes(Started, &members), []);
    }

    #[test]
    fn a_tree_stays_a_tree_and_within_its_bounds() {
        let chain = [InstanceKey(3), InstanceKey(2), InstanceKey(1)];
        let check =
            |successors, requested, height| check_link(&chain, successors, requested, height).err();
        let requester = InstanceKey(3);
        assert_eq!(check(0, None, 0), None);
        assert_eq!(check(99, Some(InstanceKey(4)), 0), None);
        assert_eq!(
            check(100, Some(InstanceKey(4)), 0),
            Some(LinkMistake::TooMany { requester })
        );
        for requested in chain {
            assert_eq!(
                check(0, Some(requested), 0),
                Some(LinkMistake::Cycle {
                    requester,
                    requested
                })
            );
        }
        assert_eq!(check(0, Some(InstanceKey(4)), 96), None);
        assert_eq!(
            check(0, Some(InstanceKey(4)), 97),
            Some(LinkMistake::TooDeep { requester })
        );
        let deep: Vec<InstanceKey> = (1..=100).map(InstanceKey).collect();
        assert!(check_link(&deep, 0, None, 0).is_err());
        assert!(check_link(&deep[1..], 0, None, 0).is_ok());
    }

    #[test]
    fn whom_no_node_reports_is_gone_at_once() {
        for (shared, place, gone) in [
            (false, None, true),
            (true, None, true),
            (false, Some(NodeKind::Compute), false),
            (true, Some(NodeKind::Compute), true),
            (false, Some(NodeKind::Remote), false),
            (true, Some(NodeKind::Remote), false),
        ] {
            assert_eq!(gone_at_once(shared, place), gone);
        }
    }

    fn any_state() -> impl Strategy<Value = InstanceState> {
        prop_oneof![3 => Just(Started), 2 => Just(Stopped), 1 => Just(Destroyed)]
    }

    /// Up to twelve instances with any requesters: gone ones, themselves and circles included.
    fn any_members() -> impl Strategy<Value = Vec<Member>> {
        let one = (prop::option::weighted(0.8, 1..15_i64), any_state());
        prop::collection::vec(one, 0..12)
            .prop_map(|members| {
                let members = members.into_iter().zip(1..);
                members
                    .map(|((requester, state), key)| member(key, requester, state))
                    .collect::<Vec<_>>()
            })
            .prop_shuffle()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn propagation_is_what_the_model_says(tree in any_state(), members in any_members()) {
            // One rule at a time, to one instance at a time, until no rule applies.
            let mut model = members.clone();
            loop {
                let before = model.clone();
                let wrong = model.iter_mut().find_map(|member| {
                    let requester = member.requester.map(|key| {
                        before.iter().find(|other| other.key == key).map(|other| other.state)
                    });
                    let orphan = matches!(requester, Some(None | Some(Destroyed)));
                    let wanted = match (tree, member.state) {
                        (_, Destroyed) => Destroyed,
                        (Destroyed, _) => Destroyed,
                        _ if orphan => Destroyed,
                        (Stopped, _) => Stopped,
                        (Started, state) => state,
                    };
                    (wanted != member.state).then(|| member.state = wanted)
                });
                if wrong.is_none() {
                    break;
                }
            }
            let mut after = members.clone();
            let mut changed = BTreeSet::new();
            for change in propagate(tree, &members) {
                prop_assert!(changed.insert(change.key), "changed twice");
                for member in after.iter_mut().filter(|member| member.key == change.key) {
                    prop_assert!(member.state != Destroyed, "resurrected or changed in vain");
                    prop_assert!(member.state != change.state);
                    member.state = change.state;
                }
            }
            prop_assert_eq!(&after, &model);
            prop_assert_eq!(propagate(tree, &after), vec![]);
        }

        #[test]
        fn links_that_pass_never_make_a_circle(
            requests in prop::collection::vec((0..12_usize, 0..12_usize), 0..40),
        ) {
            let mut requesters: Vec<Option<usize>> = vec![None];
            let key = |index: usize| InstanceKey(i64::try_from(index).unwrap_or(0));
            for (requester, requested) in requests {
                if requester >= requesters.len() {
                    continue;
                }
                let mut chain = vec![key(requester)];
                let mut at = requester;
                while let Some(up) = requesters[at] {
                    chain.push(key(up));
                    at = up;
                }
                let exists = requested < requesters.len();
                let wanted = exists.then(|| key(requested));
                if check_link(&chain, 0, wanted, 0).is_ok() {
                    if exists {
                        requesters[requested] = Some(requester);
                    } else {
                        requesters.push(Some(requester));
                    }
                }
                // Everybody reaches the root.
                for mut at in 0..requesters.len() {
                    for _ in 0..=requesters.len() {
                        at = requesters[at].unwrap_or(at);
                    }
                    prop_assert_eq!(at, 0);
                }
            }
        }
    }
}
