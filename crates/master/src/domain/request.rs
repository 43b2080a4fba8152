//! What a request does to what is known (P 6.3, 6.4).

use std::collections::BTreeMap;

use slap::InstanceState;

use super::{InstanceKey, Refusal};

/// Instances one instance may request (P 6.4).
pub const SUCCESSORS_MAX: usize = 100;

/// What is stored about the instance a request names.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// Its release.
    pub release: &'a str,
    /// Its software type.
    pub software_type: &'a str,
    /// Its parameters.
    pub parameters: &'a BTreeMap<String, String>,
    /// Its SLA.
    pub sla: &'a BTreeMap<String, String>,
    /// What it shall be.
    pub state: InstanceState,
    /// Whether it is a shared one.
    pub shared: bool,
    /// Who asked for it last.
    pub requester: Option<InstanceKey>,
}

/// What a request asks for; what is absent keeps what is stored.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The release.
    pub release: &'a str,
    /// The software type.
    pub software_type: Option<&'a str>,
    /// The parameters.
    pub parameters: Option<&'a BTreeMap<String, String>>,
    /// The SLA.
    pub sla: Option<&'a BTreeMap<String, String>>,
    /// The state.
    pub state: Option<InstanceState>,
    /// Whether a shared instance is asked for.
    pub shared: Option<bool>,
    /// Who asks.
    pub requester: Option<InstanceKey>,
}

/// What differs between what is stored and what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Differences {
    /// The release.
    pub release: bool,
    /// The software type.
    pub software_type: bool,
    /// The parameters.
    pub parameters: bool,
    /// The SLA.
    pub sla: bool,
    /// The state.
    pub state: bool,
    /// Who asks.
    pub requester: bool,
}

impl Differences {
    /// Whether the instance must be processed again: everything but who asks (P 6.8).
    pub fn processing(self) -> bool {
        self.tells() || self.state
    }

    /// Whether it is told something else than before.
    pub fn tells(self) -> bool {
        self.release || self.software_type || self.parameters || self.sla
    }
}

/// What a request leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing differs: nothing is written.
    Unchanged,
    /// A new instance, in this state.
    Create(InstanceState),
    /// The known instance changes, and shall be in this state.
    Update(InstanceState, Differences),
    /// It and all that it requested shall be destroyed.
    Destroy,
    /// What is to be destroyed does not exist.
    NothingToDestroy,
    /// It is being destroyed; the title is free when that is done.
    BeingDestroyed,
}

/// The state an instance gets: in a stopped tree nothing is started (P 6.4).
fn granted(asked: InstanceState, root: Option<InstanceState>) -> InstanceState {
    match (asked, root) {
        (InstanceState::Started, Some(InstanceState::Stopped)) => InstanceState::Stopped,
        _ => asked,
    }
}

/// Decides what a request does. `root` is the state of the tree's root, `None` for a request of the
/// root itself.
///
/// # Errors
/// [`Refusal::Conflict`] when an ordinary instance is to become a shared one or the reverse, or the
/// tree is being destroyed.
pub fn decide(
    title: &str,
    asked: &Asked<'_>,
    stored: Option<&Stored<'_>>,
    root: Option<InstanceState>,
) -> Result<Decision, Refusal> {
    let destroys = asked.state == Some(InstanceState::Destroyed);
    if root == Some(InstanceState::Destroyed) && !destroys {
        return Err(Refusal::Conflict(format!(
            "{title:?} is not requested: its instance tree is being destroyed"
        )));
    }
    let Some(stored) = stored else {
        return Ok(if destroys {
            Decision::NothingToDestroy
        } else {
            let state = asked.state.unwrap_or(InstanceState::Started);
            Decision::Create(granted(state, root))
        });
    };
    if stored.state == InstanceState::Destroyed {
        return Ok(Decision::BeingDestroyed);
    }
    if destroys {
        return Ok(Decision::Destroy);
    }
    if asked.shared.is_some_and(|shared| shared != stored.shared) {
        let kind = |shared| if shared { "a shared" } else { "an ordinary" };
        return Err(Refusal::Conflict(format!(
            "{title:?} is {} instance and cannot become {} one; request it under another title, or \
             destroy it first",
            kind(stored.shared),
            kind(!stored.shared)
        )));
    }
    let state = match asked.state {
        Some(state) => granted(state, root),
        None => stored.state,
    };
    let differences = Differences {
        release: stored.release != asked.release,
        software_type: asked
            .software_type
            .is_some_and(|asked| asked != stored.software_type),
        parameters: asked
            .parameters
            .is_some_and(|asked| asked != stored.parameters),
        sla: asked.sla.is_some_and(|asked| asked != stored.sla),
        state: stored.state != state,
        requester: stored.requester != asked.requester,
    };
    Ok(if differences == Differences::default() {
        Decision::Unchanged
    } else {
        Decision::Update(state, differences)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use InstanceState::{Destroyed, Started, Stopped};

    const NOTHING: &BTreeMap<String, String> = &BTreeMap::new();

    fn stored(state: InstanceState) -> Stored<'static> {
        Stored {
            release: "r",
            software_type: "default",
            parameters: NOTHING,
            sla: NOTHING,
            state,
            shared: false,
            requester: None,
        }
    }

    fn asked(state: Option<InstanceState>) -> Asked<'static> {
        Asked {
            release: "r",
            software_type: None,
            parameters: None,
            sla: None,
            state,
            shared: None,
            requester: None,
        }
    }

    #[test]
    fn the_table_of_states() {
        let update = |state| {
            Decision::Update(
                state,
                Differences {
                    state: true,
                    ..Differences::default()
                },
            )
        };
        for (wanted, known, root, expected) in [
            (None, None, None, Decision::Create(Started)),
            (Some(Stopped), None, None, Decision::Create(Stopped)),
            (
                Some(Started),
                None,
                Some(Stopped),
                Decision::Create(Stopped),
            ),
            (None, None, Some(Stopped), Decision::Create(Stopped)),
            (Some(Destroyed), None, None, Decision::NothingToDestroy),
            (
                Some(Destroyed),
                None,
                Some(Destroyed),
                Decision::NothingToDestroy,
            ),
            (None, Some(Stopped), None, Decision::Unchanged),
            (Some(Started), Some(Stopped), None, update(Started)),
            (
                Some(Started),
                Some(Stopped),
                Some(Stopped),
                Decision::Unchanged,
            ),
            (Some(Started), Some(Started), Some(Stopped), update(Stopped)),
            (
                Some(Destroyed),
                Some(Started),
                Some(Stopped),
                Decision::Destroy,
            ),
            (
                Some(Started),
                Some(Destroyed),
                None,
                Decision::BeingDestroyed,
            ),
            (
                Some(Destroyed),
                Some(Destroyed),
                None,
                Decision::BeingDestroyed,
            ),
        ] {
            let known = known.map(stored);
            assert_eq!(
                decide("t", &asked(wanted), known.as_ref(), root).unwrap(),
                expected,
                "asked {wanted:?}, stored {known:?}, root {root:?}"
            );
        }
        assert!(decide("t", &asked(None), None, Some(Destroyed)).is_err());
    }

    #[test]
    fn what_is_absent_keeps_and_what_is_given_overwrites() {
        let values = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let known = Stored {
            parameters: &values,
            sla: &values,
            software_type: "other",
            ..stored(Started)
        };
        let decided = |asked: Asked<'_>| decide("t", &asked, Some(&known), None).unwrap();
        assert_eq!(decided(asked(None)), Decision::Unchanged);
        let all = Asked {
            release: "s",
            software_type: Some("default"),
            parameters: Some(NOTHING),
            sla: Some(NOTHING),
            requester: Some(InstanceKey(3)),
            ..asked(None)
        };
        assert_eq!(
            decided(all),
            Decision::Update(
                Started,
                Differences {
                    release: true,
                    software_type: true,
                    parameters: true,
                    sla: true,
                    state: false,
                    requester: true,
                }
            )
        );
        let shared = Asked {
            shared: Some(true),
            ..asked(None)
        };
        assert!(decide("t", &shared, Some(&known), None).is_err());
    }
}
