//! Where an instance is placed (P 6.9). Pure, deterministic, and it explains itself.
//!
//! **Policy.** Of the nodes that can take an instance, the one with the most free partitions that
//! fit it; of equals, the one with the lowest key. On it, the first free partition in the order of
//! positions. So instances spread evenly, and a node that has just been added is used at once. Gates
//! to other Masters ([`NodeKind::Remote`]) count as having no free partition: they come last.
//! Without a capability asked for, partitions that have any are kept for those who ask.
//!
//! **Shared instances** go to an instance that serves them: one of the requester's own tree first,
//! unless the SLA names an instance or a node; then the one that serves the fewest; of equals, the
//! one with the lowest key. A gate to another Master takes what no instance here can serve.
//!
//! The store keeps an index in the order of this policy, walks it with [`first`] (or [`eligible`])
//! and stops at the first node accepted. [`place`] looks at all nodes in any order: the two agree.
//! Only `place`, given every node of the project, can tell fully why nothing was found.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use slap::InstanceState;

use super::capacity::{Liveness, fits};
use super::sla::{Category, Sla, path_matches};
use super::waiting::{Reason, Refusals, Waiting};
use super::words::{
    AllocationScope, InstanceKey, NetworkKey, NodeKind, NodeReference, PartitionKey, ProjectKey,
    TreeKey,
};

/// What is to be placed.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The project it belongs to. It is placed there only.
    pub project: ProjectKey,
    /// The tree it belongs to.
    pub tree: TreeKey,
    /// The URL of its software release.
    pub release: &'a str,
    /// Its software type. Decides only who can serve a shared instance.
    pub software_type: &'a str,
    /// Where it may be placed.
    pub sla: &'a Sla,
    /// Units of a node's capacity it takes; see [`units_of`](super::capacity::units_of).
    pub units: i64,
    /// Networks on which the tree has an instance already. Needed with `mode=unique_by_network`
    /// only.
    pub networks_used_by_tree: &'a BTreeSet<NetworkKey>,
}

/// What placement wants to know about a node, whatever is placed on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Which node, and of which kind.
    pub reference: NodeReference,
    /// Its project.
    pub project: ProjectKey,
    /// Whether its owner lets new instances on it.
    pub scope: AllocationScope,
    /// Whether it answers. Not looked at for a gate to another Master.
    pub liveness: Liveness,
    /// Units that are left on it; none when it has no limit. Not looked at for a gate.
    pub capacity_left: Option<i64>,
    /// The network it is in.
    pub network: Option<NetworkKey>,
    /// Where it stands in each category. May be left empty when the SLA asks for none.
    pub categories: BTreeMap<Category, String>,
}

/// What a node says about the release of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReleaseOnNode {
    /// Nobody has asked for it there.
    NotRequested,
    /// It was asked for; the node has not begun.
    Requested,
    /// It is being built.
    Building,
    /// It is there.
    Available,
    /// It could not be built.
    Failed,
    /// It is to be removed.
    BeingRemoved,
}

impl ReleaseOnNode {
    /// What a gate to another Master says about a release: it takes those in its list, or all when
    /// the list is empty.
    pub fn of_gate(releases: &[String], release: &str) -> ReleaseOnNode {
        if releases.is_empty() || releases.iter().any(|one| one == release) {
            ReleaseOnNode::Available
        } else {
            ReleaseOnNode::NotRequested
        }
    }
}

/// Free partitions of a node that have the same capabilities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreeGroup {
    /// What they can do that others cannot.
    pub capabilities: BTreeSet<String>,
    /// The first one in the order of positions, then of keys.
    pub first: PartitionKey,
    /// Its position.
    pub position: i64,
    /// How many they are, at least one.
    pub free: i64,
}

impl FreeGroup {
    /// Groups free partitions, given as key, position and capabilities.
    pub fn collect(
        partitions: impl IntoIterator<Item = (PartitionKey, i64, BTreeSet<String>)>,
    ) -> Vec<FreeGroup> {
        let mut groups: BTreeMap<BTreeSet<String>, (i64, PartitionKey, i64)> = BTreeMap::new();
        for (key, position, capabilities) in partitions {
            groups
                .entry(capabilities)
                .and_modify(|(first_position, first, free)| {
                    (*first_position, *first) = (*first_position, *first).min((position, key));
                    *free += 1;
                })
                .or_insert((position, key, 1));
        }
        groups
            .into_iter()
            .map(|(capabilities, (position, first, free))| FreeGroup {
                capabilities,
                first,
                position,
                free,
            })
            .collect()
    }

    fn takes(&self, wish: &Wish) -> bool {
        match &wish.sla.capability {
            Some(capability) => self.capabilities.contains(capability),
            None => self.capabilities.is_empty(),
        }
    }
}

/// A node as a wish sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// What it is.
    pub facts: NodeFacts,
    /// What it says about the release of the wish.
    pub release: ReleaseOnNode,
    /// How many partitions it has, free or not.
    pub partitions: i64,
    /// Its free partitions.
    pub free: Vec<FreeGroup>,
}

impl NodeView {
    /// How many of its partitions are free and fit a wish: what nodes are ordered by, most first.
    /// A gate to another Master has none.
    pub fn fitting(&self, wish: &Wish) -> i64 {
        if self.facts.reference.kind == NodeKind::Remote {
            return 0;
        }
        let fitting = self.free.iter().filter(|group| group.takes(wish));
        fitting.map(|group| group.free).sum()
    }
}

/// What an instance is given on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// This partition of a compute node.
    Partition(PartitionKey),
    /// Whatever the other Master gives it.
    Gate,
}

/// Where an instance is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// On which node.
    pub node: NodeReference,
    /// Where on it.
    pub slot: Slot,
}

impl Wish<'_> {
    /// Checks what needs no look at any node. The store does so before it walks its index.
    ///
    /// # Errors
    /// [`Waiting`] when no node whatsoever can take it.
    pub fn check(&self, shared: bool) -> Result<(), Waiting> {
        if self.sla.master_url.is_some() {
            return Err(Waiting::OtherMaster);
        }
        if let Some(asked) = self.sla.project.filter(|asked| *asked != self.project) {
            return Err(Waiting::OtherProject {
                project: self.project,
                asked,
            });
        }
        match self.sla.host {
            Some(host) if !shared => Err(Waiting::HostOfOrdinary { host }),
            _ => Ok(()),
        }
    }
}

/// Whether a node can take an ordinary instance, and where. A gate is also asked for shared ones.
///
/// [`Wish::check`] has been passed. The reason is the first in this order: what the SLA asks for,
/// scope, release, silence, capacity, networks, partitions.
///
/// # Errors
/// [`Reason`] why it cannot.
pub fn eligible(wish: &Wish, node: &NodeView) -> Result<Slot, Reason> {
    let facts = &node.facts;
    let gate = facts.reference.kind == NodeKind::Remote;
    check_asked(wish, facts)?;
    if node.release != ReleaseOnNode::Available {
        return Err(match gate {
            true => Reason::NotTakenByGate,
            false => Reason::Release(node.release),
        });
    }
    if !gate {
        check_room(wish, facts)?;
    }
    check_networks(wish, facts)?;
    if gate {
        return match wish.sla.capability {
            Some(_) => Err(Reason::NoneWithCapability),
            None => Ok(Slot::Gate),
        };
    }
    let fitting = node.free.iter().filter(|group| group.takes(wish));
    if let Some(group) = fitting.min_by_key(|group| (group.position, group.first)) {
        return Ok(Slot::Partition(group.first));
    }
    Err(if node.partitions == 0 {
        Reason::NoPartition
    } else if node.free.is_empty() {
        Reason::AllBusy {
            partitions: node.partitions,
        }
    } else if wish.sla.capability.is_some() {
        Reason::NoneWithCapability
    } else {
        Reason::OnlyWithCapability
    })
}

/// Places an ordinary instance, given the nodes of its project in any order.
///
/// # Errors
/// [`Waiting`], with one reason for each node.
pub fn place(wish: &Wish, nodes: impl IntoIterator<Item = NodeView>) -> Result<Place, Waiting> {
    wish.check(false)?;
    let mut refusals = Refusals::default();
    let mut best: Option<(Reverse<i64>, NodeReference, Slot)> = None;
    for node in nodes {
        let reference = node.facts.reference;
        match eligible(wish, &node) {
            Ok(slot) => {
                let this = (Reverse(node.fitting(wish)), reference, slot);
                let better = |that: &(Reverse<i64>, NodeReference, Slot)| {
                    (this.0, this.1.key) < (that.0, that.1.key)
                };
                if best.as_ref().is_none_or(better) {
                    best = Some(this);
                }
            }
            Err(reason) => refusals.note(reference, reason),
        }
    }
    match best {
        Some((_, node, slot)) => Ok(Place { node, slot }),
        None => Err(refusals.waiting(wish, false)),
    }
}

/// Places an ordinary instance on the first node that can take it, given nodes in the order of the
/// policy: by [`NodeView::fitting`], most first, then by key.
///
/// # Errors
/// [`Waiting`], with one reason for each node that was given.
pub fn first(wish: &Wish, nodes: impl IntoIterator<Item = NodeView>) -> Result<Place, Waiting> {
    wish.check(false)?;
    let mut refusals = Refusals::default();
    for node in nodes {
        let reference = node.facts.reference;
        match eligible(wish, &node) {
            Ok(slot) => {
                return Ok(Place {
                    node: reference,
                    slot,
                });
            }
            Err(reason) => refusals.note(reference, reason),
        }
    }
    Err(refusals.waiting(wish, false))
}

/// An instance on a partition that might serve a shared one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostView {
    /// Which instance.
    pub instance: InstanceKey,
    /// Its tree.
    pub tree: TreeKey,
    /// Its release.
    pub release: String,
    /// Its software type.
    pub software_type: String,
    /// What it shall be.
    pub state: InstanceState,
    /// How many shared instances it serves, whatever their state.
    pub shared: i64,
    /// What its partition can do that others cannot.
    pub capabilities: BTreeSet<String>,
    /// The node it is on.
    pub node: NodeFacts,
}

/// Who serves a shared instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedPlace {
    /// This instance.
    Host(InstanceKey),
    /// Somebody behind this gate to another Master.
    Gate(NodeReference),
}

/// Whether an instance can serve a shared one.
///
/// The host's node must answer, be open and have capacity left, as for an ordinary instance, but
/// capabilities matter only when asked for: a shared instance takes no partition away.
///
/// # Errors
/// [`Reason`] why it cannot; [`Reason::NotAHost`] when it is not what was asked for at all.
pub fn eligible_host(wish: &Wish, host: &HostView) -> Result<(), Reason> {
    let is_host = host.node.project == wish.project
        && host.release == wish.release
        && host.software_type == wish.software_type
        && host.state != InstanceState::Destroyed
        && wish.sla.host.is_none_or(|asked| asked == host.instance);
    if !is_host {
        return Err(Reason::NotAHost);
    }
    check_asked(wish, &host.node)?;
    check_room(wish, &host.node)?;
    check_networks(wish, &host.node)?;
    match &wish.sla.capability {
        Some(capability) if !host.capabilities.contains(capability) => {
            Err(Reason::NoneWithCapability)
        }
        _ => Ok(()),
    }
}

/// Places a shared instance, given the instances of its project that might serve it and the gates of
/// its project, both in any order.
///
/// # Errors
/// [`Waiting`], with one reason for each instance that could serve it but for something.
pub fn place_shared(
    wish: &Wish,
    hosts: impl IntoIterator<Item = HostView>,
    gates: impl IntoIterator<Item = NodeView>,
) -> Result<SharedPlace, Waiting> {
    wish.check(true)?;
    let any_tree = wish.sla.host.is_some() || wish.sla.node.is_some();
    let mut refusals = Refusals::default();
    let mut best: Option<(bool, i64, InstanceKey)> = None;
    for host in hosts {
        match eligible_host(wish, &host) {
            Ok(()) => {
                let foreign = !any_tree && host.tree != wish.tree;
                let this = (foreign, host.shared, host.instance);
                best = Some(best.map_or(this, |that| that.min(this)));
            }
            Err(reason) => refusals.note(host.node.reference, reason),
        }
    }
    if let Some((_, _, instance)) = best {
        return Ok(SharedPlace::Host(instance));
    }
    // An instance that is named is one of ours.
    let mut through: Option<NodeReference> = None;
    for gate in gates {
        let reference = gate.facts.reference;
        if wish.sla.host.is_some() || reference.kind != NodeKind::Remote {
            continue;
        }
        match eligible(wish, &gate) {
            Ok(_) => through = Some(through.map_or(reference, |that| that.min(reference))),
            Err(reason) => refusals.note(reference, reason),
        }
    }
    through
        .map(SharedPlace::Gate)
        .ok_or_else(|| refusals.waiting(wish, true))
}

/// What the SLA asks of a node, and whether its owner lets anything on it.
fn check_asked(wish: &Wish, node: &NodeFacts) -> Result<(), Reason> {
    if node.project != wish.project {
        return Err(Reason::OtherProject);
    }
    if wish.sla.node.is_some_and(|asked| asked != node.reference) {
        return Err(Reason::OtherNode);
    }
    if wish.sla.network.is_some() && wish.sla.network != node.network {
        return Err(Reason::OtherNetwork);
    }
    for (category, asked) in &wish.sla.categories {
        let path = node.categories.get(category);
        if !path.is_some_and(|path| path_matches(asked, path)) {
            return Err(Reason::Category {
                category: *category,
                path: path.cloned(),
            });
        }
    }
    match node.scope {
        AllocationScope::Open => Ok(()),
        closed => Err(Reason::Closed(closed)),
    }
}

fn check_room(wish: &Wish, node: &NodeFacts) -> Result<(), Reason> {
    match &node.liveness {
        Liveness::Alive => {}
        Liveness::NeverSeen => return Err(Reason::NeverSeen),
        Liveness::Silent { since } => return Err(Reason::Silent { since: *since }),
        Liveness::Faulty { text } => return Err(Reason::Faulty { text: text.clone() }),
    }
    match node.capacity_left {
        Some(left) if !fits(wish.units, left) => Err(Reason::NoCapacity {
            left,
            units: wish.units,
        }),
        _ => Ok(()),
    }
}

fn check_networks(wish: &Wish, node: &NodeFacts) -> Result<(), Reason> {
    if !wish.sla.unique_by_network {
        return Ok(());
    }
    match node.network {
        None => Err(Reason::NoNetwork),
        Some(network) if wish.networks_used_by_tree.contains(&network) => {
            Err(Reason::NetworkUsed { network })
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
