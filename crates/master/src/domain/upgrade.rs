//! Which release of a product is the one to use, and when an instance tree is to be upgraded
//! (P 6.14).

use std::fmt;
use std::str::FromStr;

use super::time::Timestamp;
use super::words::{DecisionKey, ReleaseKey, UnknownWord};

/// A release of a product, with what ranks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dated {
    /// Which release.
    pub release: ReleaseKey,
    /// From when on it is the one to use; none for the moment it was added.
    pub effective: Option<Timestamp>,
    /// When it was added to the product.
    pub added: Timestamp,
}

impl Dated {
    /// Newer is greater. Of two of the same date, the one added last is the newer.
    fn age(&self) -> (Timestamp, ReleaseKey) {
        (self.effective.unwrap_or(self.added), self.release)
    }

    fn is_future(&self, now: Timestamp) -> bool {
        self.effective.is_some_and(|effective| effective > now)
    }
}

/// Puts the releases of a product into the order they are recommended in: those in effect, the
/// newest first, then those of the future, the nearest first.
pub fn rank(releases: &mut [Dated], now: Timestamp) {
    releases.sort_by(|a, b| {
        let future = a.is_future(now);
        let in_effect_first = future.cmp(&b.is_future(now));
        let newest_first = b.age().cmp(&a.age());
        in_effect_first.then(if future {
            newest_first.reverse()
        } else {
            newest_first
        })
    });
}

/// What an instance tree does about better releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum UpgradePolicy {
    /// Its owner is asked.
    #[default]
    Ask,
    /// It is upgraded without asking.
    Automatic,
}

impl UpgradePolicy {
    /// The word it is stored and shown under.
    pub fn as_str(self) -> &'static str {
        match self {
            UpgradePolicy::Ask => "ask",
            UpgradePolicy::Automatic => "auto",
        }
    }
}

impl FromStr for UpgradePolicy {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "ask" => Ok(UpgradePolicy::Ask),
            "auto" => Ok(UpgradePolicy::Automatic),
            _ => Err(UnknownWord::new(text, "`ask` or `auto`")),
        }
    }
}

/// How far a proposal to upgrade a tree has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DecisionState {
    /// Its owner is asked.
    Planned,
    /// It is to be carried out.
    Accepted,
    /// Its owner does not want that release.
    Rejected,
    /// The tree has that release.
    Done,
}

impl DecisionState {
    /// The word it is stored and shown under.
    pub fn as_str(self) -> &'static str {
        match self {
            DecisionState::Planned => "planned",
            DecisionState::Accepted => "accepted",
            DecisionState::Rejected => "rejected",
            DecisionState::Done => "done",
        }
    }
}

impl fmt::Display for DecisionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DecisionState {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "planned" => Ok(DecisionState::Planned),
            "accepted" => Ok(DecisionState::Accepted),
            "rejected" => Ok(DecisionState::Rejected),
            "done" => Ok(DecisionState::Done),
            _ => Err(UnknownWord::new(
                text,
                "`planned`, `accepted`, `rejected` or `done`",
            )),
        }
    }
}

/// A proposal to upgrade a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decision {
    /// Which proposal.
    pub key: DecisionKey,
    /// The release it proposes.
    pub to: ReleaseKey,
    /// How far it has come.
    pub state: DecisionState,
}

/// Something to do about a tree's upgrades.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// This proposal has been overtaken: remove it, nobody has decided on it.
    Withdraw(DecisionKey),
    /// The tree has the release of this proposal: it is done.
    Finish(DecisionKey),
    /// Nobody needs to be asked any more: carry this proposal out.
    Accept(DecisionKey),
    /// Make a proposal, in this state.
    Propose {
        /// The release to propose.
        to: ReleaseKey,
        /// [`DecisionState::Planned`] or, when nobody is asked, [`DecisionState::Accepted`].
        state: DecisionState,
    },
}

/// Whether a release may replace the present one: both are of the product, it is in effect and newer.
pub fn is_better(
    candidate: ReleaseKey,
    present: ReleaseKey,
    releases: &[Dated],
    now: Timestamp,
) -> bool {
    let find = |wanted| releases.iter().find(|dated| dated.release == wanted);
    match (find(candidate), find(present)) {
        (Some(candidate), Some(present)) => {
            !candidate.is_future(now) && candidate.age() > present.age()
        }
        _ => false,
    }
}

/// What is to be done about the upgrades of a tree that has the release `present`, given all the
/// releases of the product it is of and all proposals ever made for this tree. The tree is not
/// destroyed.
///
/// The best release that nobody has decided on is proposed: one that was rejected is not proposed
/// again, but a release between it and the present one still is. There is one proposal at a time, and
/// none while one is being carried out. Doing the steps and asking again gives no step.
pub fn due(
    present: ReleaseKey,
    releases: &[Dated],
    decisions: &[Decision],
    policy: UpgradePolicy,
    now: Timestamp,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut under_way = false;
    for decision in decisions {
        if decision.state == DecisionState::Accepted {
            if decision.to == present {
                steps.push(Step::Finish(decision.key));
            } else {
                under_way = true;
            }
        }
    }
    let decided = |release| {
        let mut decisions = decisions.iter().filter(|decision| decision.to == release);
        decisions.any(|decision| decision.state != DecisionState::Planned)
    };
    let best = releases
        .iter()
        .filter(|dated| is_better(dated.release, present, releases, now))
        .filter(|dated| !under_way && !decided(dated.release))
        .max_by_key(|dated| dated.age())
        .map(|dated| dated.release);
    let mut proposed = false;
    for decision in decisions {
        if decision.state != DecisionState::Planned {
            continue;
        }
        if best != Some(decision.to) {
            steps.push(Step::Withdraw(decision.key));
            continue;
        }
        proposed = true;
        if policy == UpgradePolicy::Automatic {
            steps.push(Step::Accept(decision.key));
        }
    }
    match best {
        Some(to) if !proposed => {
            let state = match policy {
                UpgradePolicy::Ask => DecisionState::Planned,
                UpgradePolicy::Automatic => DecisionState::Accepted,
            };
            steps.push(Step::Propose { to, state });
        }
        _ => {}
    }
    steps
}

/// An owner's answer to a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Carry it out.
    Accept,
    /// Do not, and do not propose that release again.
    Reject,
}

/// Why an answer changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerRefused {
    /// It is being carried out, or was.
    #[error("this upgrade was accepted already and cannot be rejected any more")]
    TooLate,
    /// The tree has a newer release, or the release was taken out of the product.
    #[error("this upgrade has been overtaken: its release is not better than the present one")]
    Overtaken,
}

/// What an owner's answer makes of a proposal. Giving the same answer again changes nothing, and
/// whoever rejected may still accept. `better` says whether the release [`is_better`] today.
///
/// # Errors
/// [`AnswerRefused`] when it is too late for that answer.
pub fn answer(
    state: DecisionState,
    answer: Answer,
    better: bool,
) -> Result<DecisionState, AnswerRefused> {
    match (state, answer) {
        (DecisionState::Accepted | DecisionState::Done, Answer::Accept) => Ok(state),
        (DecisionState::Accepted | DecisionState::Done, Answer::Reject) => {
            Err(AnswerRefused::TooLate)
        }
        (_, Answer::Reject) => Ok(DecisionState::Rejected),
        (_, Answer::Accept) if better => Ok(DecisionState::Accepted),
        (_, Answer::Accept) => Err(AnswerRefused::Overtaken),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(100);

    fn dated(release: i64, effective: Option<i64>, added: i64) -> Dated {
        Dated {
            release: ReleaseKey(release),
            effective: effective.map(Timestamp),
            added: Timestamp(added),
        }
    }

    fn decision(key: i64, to: i64, state: DecisionState) -> Decision {
        Decision {
            key: DecisionKey(key),
            to: ReleaseKey(to),
            state,
        }
    }

    #[test]
    fn releases_are_ranked_by_date() {
        let mut releases = [
            dated(1, Some(10), 50),
            dated(2, None, 30),
            dated(3, Some(300), 1),
            dated(4, Some(200), 2),
            dated(5, Some(100), 3),
            dated(6, Some(30), 4),
            dated(7, None, 101),
        ];
        rank(&mut releases, NOW);
        let order: Vec<i64> = releases.iter().map(|dated| dated.release.0).collect();
        // 7 was added a moment ago by a clock that is ahead: it has no date in the future.
        assert_eq!(order, [7, 5, 6, 2, 1, 4, 3]);
    }

    #[test]
    fn an_upgrade_is_due_when_a_better_release_exists() {
        use DecisionState::{Accepted, Done, Planned, Rejected};
        use UpgradePolicy::{Ask, Automatic};
        let three = [
            dated(1, Some(10), 0),
            dated(2, Some(20), 0),
            dated(3, Some(30), 0),
            dated(4, Some(500), 0),
        ];
        let propose = |to, state| Step::Propose {
            to: ReleaseKey(to),
            state,
        };
        let withdraw = |key| Step::Withdraw(DecisionKey(key));
        type Case = (i64, Vec<Decision>, UpgradePolicy, Vec<Step>);
        let table: Vec<Case> = vec![
            (1, vec![], Ask, vec![propose(3, Planned)]),
            (1, vec![], Automatic, vec![propose(3, Accepted)]),
            (3, vec![], Ask, vec![]),
            // A tree that tries the future is not taken back.
            (4, vec![], Automatic, vec![]),
            // A release that is no longer of the product.
            (9, vec![], Automatic, vec![]),
            (1, vec![decision(1, 3, Planned)], Ask, vec![]),
            (
                1,
                vec![decision(1, 3, Planned)],
                Automatic,
                vec![Step::Accept(DecisionKey(1))],
            ),
            // Something better came up before the owner answered.
            (
                1,
                vec![decision(1, 2, Planned)],
                Ask,
                vec![withdraw(1), propose(3, Planned)],
            ),
            // The tree was upgraded in some other way.
            (3, vec![decision(1, 3, Planned)], Ask, vec![withdraw(1)]),
            // One at a time.
            (1, vec![decision(1, 2, Accepted)], Automatic, vec![]),
            (
                2,
                vec![decision(1, 2, Accepted)],
                Ask,
                vec![Step::Finish(DecisionKey(1)), propose(3, Planned)],
            ),
            (
                1,
                vec![decision(1, 3, Rejected)],
                Ask,
                vec![propose(2, Planned)],
            ),
            (2, vec![decision(1, 3, Rejected)], Automatic, vec![]),
            (
                1,
                vec![decision(1, 3, Rejected), decision(2, 2, Rejected)],
                Ask,
                vec![],
            ),
            // It was there, and went back: that was meant.
            (2, vec![decision(1, 3, Done)], Automatic, vec![]),
            (9, vec![decision(1, 3, Planned)], Ask, vec![withdraw(1)]),
        ];
        for (present, decisions, policy, expected) in table {
            let steps = due(ReleaseKey(present), &three, &decisions, policy, NOW);
            assert_eq!(steps, expected, "{present} {decisions:?} {policy:?}");
        }
    }

    #[test]
    fn an_answer_holds() {
        use DecisionState::{Accepted, Done, Planned, Rejected};
        for (state, given, better, expected) in [
            (Planned, Answer::Accept, true, Ok(Accepted)),
            (
                Planned,
                Answer::Accept,
                false,
                Err(AnswerRefused::Overtaken),
            ),
            (Planned, Answer::Reject, false, Ok(Rejected)),
            (Rejected, Answer::Reject, true, Ok(Rejected)),
            (Rejected, Answer::Accept, true, Ok(Accepted)),
            (Accepted, Answer::Accept, false, Ok(Accepted)),
            (Accepted, Answer::Reject, true, Err(AnswerRefused::TooLate)),
            (Done, Answer::Accept, false, Ok(Done)),
            (Done, Answer::Reject, true, Err(AnswerRefused::TooLate)),
        ] {
            assert_eq!(answer(state, given, better), expected);
        }
    }

    #[test]
    fn every_word_reads_back() {
        use DecisionState::{Accepted, Done, Planned, Rejected};
        for state in [Planned, Accepted, Rejected, Done] {
            assert_eq!(state.as_str().parse::<DecisionState>().unwrap(), state);
        }
        for policy in [UpgradePolicy::Ask, UpgradePolicy::Automatic] {
            assert_eq!(policy.as_str().parse::<UpgradePolicy>().unwrap(), policy);
        }
        assert!("cancelled".parse::<DecisionState>().is_err());
    }

    fn any_releases() -> impl Strategy<Value = Vec<Dated>> {
        let dates = (prop::option::of(95..106_i64), 95..101_i64);
        prop::collection::vec(dates, 0..7)
            .prop_map(|dates| {
                let dates = dates.into_iter().zip(1..);
                dates
                    .map(|((effective, added), release)| dated(release, effective, added))
                    .collect::<Vec<_>>()
            })
            .prop_shuffle()
    }

    fn any_decisions() -> impl Strategy<Value = Vec<Decision>> {
        use DecisionState::{Accepted, Done, Planned, Rejected};
        let state = prop::sample::select(&[Planned, Accepted, Rejected, Done][..]);
        // As in the store, one for each release at most.
        prop::collection::btree_map(1..7_i64, state, 0..5).prop_map(|decisions| {
            let decisions = decisions.into_iter().zip(1..);
            decisions
                .map(|((to, state), key)| decision(key, to, state))
                .collect()
        })
    }

    /// The order found by taking the best that is left, again and again.
    fn ranked_slowly(releases: &[Dated]) -> Vec<ReleaseKey> {
        let mut left = releases.to_vec();
        let mut order = Vec::new();
        while !left.is_empty() {
            let future = |dated: &Dated| dated.effective.is_some_and(|date| date.0 > 100);
            let date = |dated: &Dated| dated.effective.map_or(dated.added.0, |date| date.0);
            let beats = |a: &Dated, b: &Dated| match (future(a), future(b)) {
                (false, true) => true,
                (true, false) => false,
                (false, false) => (date(a), a.release.0) > (date(b), b.release.0),
                (true, true) => (date(a), a.release.0) < (date(b), b.release.0),
            };
            let best = (0..left.len())
                .find(|&i| (0..left.len()).all(|j| i == j || beats(&left[i], &left[j])))
                .unwrap();
            order.push(left.remove(best).release);
        }
        order
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn ranking_is_what_the_model_says(releases in any_releases()) {
            let expected = ranked_slowly(&releases);
            let mut ranked = releases;
            rank(&mut ranked, NOW);
            let order: Vec<ReleaseKey> = ranked.iter().map(|dated| dated.release).collect();
            prop_assert_eq!(order, expected);
        }

        #[test]
        fn steps_lead_to_rest(
            releases in any_releases(),
            present in 1..8_i64,
            decisions in any_decisions(),
            automatic in any::<bool>(),
        ) {
            let policy = if automatic { UpgradePolicy::Automatic } else { UpgradePolicy::Ask };
            let present = ReleaseKey(present);
            let mut after = decisions.clone();
            for step in due(present, &releases, &decisions, policy, NOW) {
                match step {
                    Step::Withdraw(key) => after.retain(|decision| decision.key != key),
                    Step::Finish(key) | Step::Accept(key) => {
                        let decision = after.iter_mut().find(|decision| decision.key == key);
                        decision.unwrap().state = match step {
                            Step::Finish(_) => DecisionState::Done,
                            _ => DecisionState::Accepted,
                        };
                    }
                    Step::Propose { to, state } => {
                        // Never twice for a release: the store could not keep it.
                        prop_assert!(after.iter().all(|decision| decision.to != to));
                        prop_assert!(is_better(to, present, &releases, NOW));
                        after.push(Decision { key: DecisionKey(99), to, state });
                    }
                }
            }
            prop_assert_eq!(due(present, &releases, &after, policy, NOW), vec![]);
            // What an owner has decided stays.
            for decision in decisions {
                if matches!(decision.state, DecisionState::Rejected | DecisionState::Done) {
                    prop_assert!(after.contains(&decision));
                }
            }
            let open = after.iter().filter(|decision| decision.state == DecisionState::Planned);
            prop_assert!(open.count() <= 1);
        }
    }
}
