//! Where a shared instance goes. An ordinary instance goes to the first free partition of its node
//! in the order the node listed them, which the store finds by its index.

use slap::InstanceState;

use super::{InstanceId, Place};

/// An instance that might serve a shared one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCandidate {
    /// The instance.
    pub id: InstanceId,
    /// Its partition.
    pub place: Place,
    /// What it shall be.
    pub state: InstanceState,
    /// Its release.
    pub release: String,
    /// Its software type.
    pub software_type: String,
}

/// What a shared instance wants of its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostWish<'a> {
    /// The release the host must run.
    pub release: &'a str,
    /// The software type it must have.
    pub software_type: &'a str,
    /// The node it must be on; `None` for any, when `guid` names the host.
    pub node: Option<&'a str>,
    /// The host itself, as `<node>-<partition>`.
    pub guid: Option<&'a str>,
}

impl HostWish<'_> {
    fn accepts(&self, candidate: &HostCandidate) -> bool {
        candidate.state != InstanceState::Destroyed
            && candidate.release == self.release
            && candidate.software_type == self.software_type
            && self
                .node
                .is_none_or(|node| candidate.place.node.as_str() == node)
            && self.guid.is_none_or(|guid| candidate.place.guid() == guid)
    }
}

/// The first candidate, in the order given, that the wish accepts. One that is to be destroyed is
/// never chosen.
pub fn choose_host<'a>(
    wish: &HostWish<'_>,
    candidates: &'a [HostCandidate],
) -> Option<&'a HostCandidate> {
    candidates.iter().find(|candidate| wish.accepts(candidate))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use slap::{NodeId, PartitionId};

    fn candidate(id: i64, node: &str, software_type: &str, state: InstanceState) -> HostCandidate {
        HostCandidate {
            id: InstanceId(id),
            place: Place {
                node: NodeId::new(node).unwrap(),
                partition: PartitionId::new(format!("slappart{id}")).unwrap(),
            },
            state,
            release: "r".into(),
            software_type: software_type.into(),
        }
    }

    #[test]
    fn the_first_one_that_fits() {
        let candidates = [
            candidate(0, "a", "default", InstanceState::Destroyed),
            candidate(1, "a", "other", InstanceState::Started),
            candidate(2, "b", "default", InstanceState::Stopped),
            candidate(3, "a", "default", InstanceState::Stopped),
            candidate(4, "a", "default", InstanceState::Started),
        ];
        let wish = |node, guid| HostWish {
            release: "r",
            software_type: "default",
            node,
            guid,
        };
        let chosen = |wish: HostWish<'_>| choose_host(&wish, &candidates).map(|host| host.id.0);
        assert_eq!(chosen(wish(Some("a"), None)), Some(3));
        assert_eq!(chosen(wish(None, None)), Some(2));
        assert_eq!(chosen(wish(None, Some("a-slappart4"))), Some(4));
        assert_eq!(chosen(wish(Some("b"), Some("a-slappart4"))), None);
        assert_eq!(chosen(wish(Some("c"), None)), None);
        assert_eq!(chosen(wish(None, Some("a-slappart0"))), None);
        assert_eq!(
            chosen(HostWish {
                release: "x",
                ..wish(None, None)
            }),
            None
        );
    }
}
