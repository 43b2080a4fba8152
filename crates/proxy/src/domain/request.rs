//! What a request does to what is known (P 6.3, 6.4, the proxy's special case).

use std::borrow::Cow;

use slap::{InstanceState, InstanceTitle, ReleaseUrl, SoftwareType};
use slap_server::RequestForm;

use super::{Instance, Parameters, Place, Refusal};

/// What a request leaves out: a known instance keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Omitted {
    /// The software type.
    pub software_type: bool,
    /// The parameters.
    pub parameters: bool,
    /// The SLA.
    pub sla: bool,
    /// Whether it is a shared instance.
    pub shared: bool,
}

/// An instance as it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The partition that asks; `None` for a person, who asks for the root of a tree.
    pub requester: Option<Place>,
    /// The release.
    pub release: ReleaseUrl,
    /// The software type.
    pub software_type: SoftwareType,
    /// The title; together with the tree it is the identity.
    pub title: InstanceTitle,
    /// The parameters, flattened unless `shared`.
    pub parameters: Parameters,
    /// Where the instance may be placed, flattened.
    pub sla: Parameters,
    /// What it shall be; `None` keeps what is stored, and is started for a new one.
    pub state: Option<InstanceState>,
    /// Whether a shared instance is asked for.
    pub shared: bool,
    /// What was not said: the fields above hold what a new instance gets.
    pub omitted: Omitted,
}

impl Request {
    /// Understands a request as the wire had it.
    ///
    /// # Errors
    /// A text that says which parameter could not be sent to a partition later.
    pub fn from_form(form: RequestForm) -> Result<Self, String> {
        let shared = form.shared.unwrap_or_default();
        let omitted = Omitted {
            software_type: form.software_type.is_none(),
            parameters: form.parameters.is_none(),
            sla: form.sla.is_none(),
            shared: form.shared.is_none(),
        };
        Ok(Request {
            requester: form.requester.map(Place::from),
            release: form.release,
            software_type: form.software_type.unwrap_or_default(),
            title: form.title,
            parameters: Parameters::new(form.parameters.unwrap_or_default(), shared)?,
            sla: Parameters::from_texts(form.sla.unwrap_or_default())?,
            state: form.state,
            shared,
            omitted,
        })
    }

    /// The request with what it leaves out filled in from what the instance has.
    pub fn completed_by(&self, instance: &Instance) -> Cow<'_, Request> {
        if self.omitted == Omitted::default() {
            return Cow::Borrowed(self);
        }
        let mut whole = self.clone();
        if self.omitted.software_type
            && let Ok(software_type) = instance.software_type.parse()
        {
            whole.software_type = software_type;
        }
        if self.omitted.parameters {
            whole.parameters = instance.parameters.clone();
        }
        if self.omitted.sla {
            whole.sla = instance.sla.clone();
        }
        if self.omitted.shared {
            whole.shared = instance.shared;
        }
        Cow::Owned(whole)
    }

    /// One of the SLA's entries, if it is text and not empty.
    pub fn sla_text(&self, key: &str) -> Option<&str> {
        self.sla
            .0
            .get(key)
            .and_then(slap::Value::as_str)
            .filter(|text| !text.is_empty())
    }
}

/// What is stored about the instance a request names, as far as the decision needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Known<'a> {
    /// The instance.
    pub instance: &'a Instance,
    /// Whether the requester is the one who asked last.
    pub same_requester: bool,
}

/// What a request changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// Release, software type, parameters or state differ: the instance must be processed again.
    pub processing: bool,
    /// The SLA differs: worth storing, nothing to process.
    pub sla: bool,
    /// Another instance of the tree asks now.
    pub requester: bool,
    /// Release or software type of a shared instance differ: its host may not serve it any more.
    pub host: bool,
}

impl Update {
    fn is_nothing(&self) -> bool {
        *self == Update::default()
    }
}

/// What a request leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Nothing differs: nothing is written.
    Unchanged,
    /// A new instance, in this state.
    Create(InstanceState),
    /// The known instance changes, and shall be in this state.
    Update(InstanceState, Update),
    /// A shared instance goes away at once: there is nothing on any node to wait for.
    Remove,
}

/// The state an instance gets, from the one asked for, the one stored and its root's.
///
/// While a tree's root is not started, what its members request follows the root (P 6.4).
pub fn effective_state(
    asked: Option<InstanceState>,
    stored: Option<InstanceState>,
    root: Option<InstanceState>,
) -> InstanceState {
    match root {
        Some(state) if state != InstanceState::Started => match asked {
            // Asking for less than the root has is still granted.
            Some(InstanceState::Destroyed) => InstanceState::Destroyed,
            _ => state,
        },
        _ => asked.or(stored).unwrap_or(InstanceState::Started),
    }
}

/// Decides what a request does. `root` is the state of the tree's root, `None` for a root request.
///
/// # Errors
/// [`Refusal::NotCreated`] when the destruction of something unknown is asked for.
pub fn decide(
    request: &Request,
    known: Option<&Known<'_>>,
    root: Option<InstanceState>,
) -> Result<Decision, Refusal> {
    let Some(known) = known else {
        let state = effective_state(request.state, None, root);
        if state == InstanceState::Destroyed {
            return Err(Refusal::NotCreated {
                title: request.title.as_str().to_owned(),
            });
        }
        return Ok(Decision::Create(state));
    };
    let instance = known.instance;
    let state = effective_state(request.state, Some(instance.state), root);
    if instance.shared && state == InstanceState::Destroyed {
        return Ok(Decision::Remove);
    }
    let other_software = instance.release != request.release.as_str()
        || instance.software_type != request.software_type.as_str();
    let update = Update {
        processing: other_software
            || instance.state != state
            || instance.parameters != request.parameters,
        sla: instance.sla != request.sla,
        requester: !known.same_requester,
        host: instance.shared && (other_software || instance.place.is_none()),
    };
    if update.is_nothing() {
        Ok(Decision::Unchanged)
    } else {
        Ok(Decision::Update(state, update))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use slap::{NodeId, PartitionId, Value};

    use super::super::{InstanceId, Timestamp};
    use super::*;
    use InstanceState::{Destroyed, Started, Stopped};

    fn request(state: Option<InstanceState>, shared: bool) -> Request {
        Request {
            requester: None,
            release: ReleaseUrl::new("http://x/sw.cfg").unwrap(),
            software_type: SoftwareType::default(),
            title: InstanceTitle::new("t").unwrap(),
            parameters: Parameters::default(),
            sla: Parameters::default(),
            state,
            shared,
            omitted: Omitted::default(),
        }
    }

    fn instance(state: InstanceState, shared: bool) -> Instance {
        Instance {
            id: InstanceId(1),
            title: "t".into(),
            root_title: "t".into(),
            is_root: true,
            shared,
            reference: None,
            release: "http://x/sw.cfg".into(),
            software_type: "default".into(),
            state,
            parameters: Parameters::default(),
            sla: Parameters::default(),
            connection: None,
            timestamp: Timestamp::from_nanoseconds(0),
            place: Some(Place {
                node: NodeId::new("n").unwrap(),
                partition: PartitionId::new("p").unwrap(),
            }),
            addresses: Vec::new(),
        }
    }

    #[test]
    fn the_table_of_states() {
        for (asked, stored, root, expected) in [
            (None, None, None, Started),
            (Some(Stopped), None, None, Stopped),
            (None, Some(Stopped), None, Stopped),
            (None, Some(Destroyed), None, Destroyed),
            (Some(Started), Some(Stopped), Some(Started), Started),
            (Some(Started), Some(Started), Some(Stopped), Stopped),
            (Some(Destroyed), Some(Started), Some(Stopped), Destroyed),
            (Some(Started), None, Some(Destroyed), Destroyed),
            (None, Some(Stopped), Some(Started), Stopped),
        ] {
            assert_eq!(
                effective_state(asked, stored, root),
                expected,
                "asked {asked:?}, stored {stored:?}, root {root:?}"
            );
        }
    }

    #[test]
    fn destroying_the_unknown_creates_nothing() {
        for shared in [false, true] {
            assert!(matches!(
                decide(&request(Some(Destroyed), shared), None, None),
                Err(Refusal::NotCreated { .. })
            ));
        }
        assert!(decide(&request(Some(Started), false), None, Some(Destroyed)).is_err());
    }

    #[test]
    fn asking_again_changes_nothing() {
        for shared in [false, true] {
            for state in [Started, Stopped] {
                let stored = instance(state, shared);
                let known = Known {
                    instance: &stored,
                    same_requester: true,
                };
                for asked in [None, Some(state)] {
                    assert_eq!(
                        decide(&request(asked, shared), Some(&known), None).unwrap(),
                        Decision::Unchanged
                    );
                }
            }
        }
    }

    #[test]
    fn each_difference_is_told_apart() {
        let stored = instance(Started, true);
        let known = |same_requester| Known {
            instance: &stored,
            same_requester,
        };
        let decided = |request: &Request, same| decide(request, Some(&known(same)), None).unwrap();
        let base = request(None, true);

        let mut other = base.clone();
        other.parameters = Parameters(BTreeMap::from([("a".into(), Value::Int(1))]));
        let processing = Update {
            processing: true,
            ..Update::default()
        };
        assert_eq!(
            decided(&other, true),
            Decision::Update(Started, processing.clone())
        );
        let mut other = base.clone();
        other.software_type = SoftwareType::new("other").unwrap();
        let host = Update {
            processing: true,
            host: true,
            ..Update::default()
        };
        assert_eq!(decided(&other, true), Decision::Update(Started, host));
        let mut other = base.clone();
        other.sla = Parameters(BTreeMap::from([("a".into(), Value::text("b"))]));
        assert!(matches!(
            decided(&other, false),
            Decision::Update(
                Started,
                Update {
                    processing: false,
                    sla: true,
                    requester: true,
                    host: false
                }
            )
        ));
        assert_eq!(
            decided(&request(Some(Stopped), true), true),
            Decision::Update(Stopped, processing)
        );
        assert_eq!(
            decided(&request(Some(Destroyed), true), true),
            Decision::Remove
        );
    }
}
