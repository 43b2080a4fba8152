//! Why an instance has no place yet, for programs and in words that its requester understands.
//!
//! The words are bounded however many nodes there are, and say nothing about what is outside the
//! instance's project, nor which instances of others might serve a shared one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::allocation::{ReleaseOnNode, Wish};
use super::capacity::SILENCE_MAX;
use super::sla::{Category, SlaMistake, cut};
use super::words::{AllocationScope, InstanceKey, NetworkKey, NodeReference, ProjectKey};

/// Nodes that are named for each kind of reason.
const EXAMPLES: usize = 3;

/// Kinds of reasons that are told; of the nodes with others only the number is.
const KINDS_TOLD: usize = 6;

/// Characters of a release's URL that are repeated.
const URL_CHARS: usize = 200;

/// Why one node cannot take an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is in another project. Never told.
    OtherProject,
    /// A shared instance was to be served by an instance that is nothing of the kind. Never told.
    NotAHost,
    /// The SLA names another node.
    OtherNode,
    /// The SLA names another network.
    OtherNetwork,
    /// The SLA wants another category.
    Category {
        /// Which category.
        category: Category,
        /// Where the node stands in it.
        path: Option<String>,
    },
    /// Its owner lets nothing new on it.
    Closed(AllocationScope),
    /// The release is not available there, but this; never [`ReleaseOnNode::Available`].
    Release(ReleaseOnNode),
    /// A gate to another Master does not take this release.
    NotTakenByGate,
    /// It was never in contact.
    NeverSeen,
    /// It has been silent for too long.
    Silent {
        /// For how long.
        since: Duration,
    },
    /// Its last status is an error.
    Faulty {
        /// What it said.
        text: String,
    },
    /// The capacity that is left is too small.
    NoCapacity {
        /// Units that are left.
        left: i64,
        /// Units that are wanted.
        units: i64,
    },
    /// It is in no network, while the tree wants a network for each instance.
    NoNetwork,
    /// The tree has an instance in its network.
    NetworkUsed {
        /// Which network.
        network: NetworkKey,
    },
    /// It has no partition at all.
    NoPartition,
    /// None of its partitions is free.
    AllBusy {
        /// How many it has.
        partitions: i64,
    },
    /// None of its free partitions has the capability asked for.
    NoneWithCapability,
    /// All of its free partitions have capabilities, and none was asked for.
    OnlyWithCapability,
}

/// The kind of a [`Reason`], from the farthest from success to the nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReasonKind {
    /// [`Reason::OtherNode`]
    OtherNode,
    /// [`Reason::OtherNetwork`]
    OtherNetwork,
    /// [`Reason::Category`]
    Category(Category),
    /// [`Reason::Closed`]
    Closed,
    /// [`Reason::NotTakenByGate`]
    NotTakenByGate,
    /// [`ReleaseOnNode::NotRequested`]
    ReleaseNotRequested,
    /// [`ReleaseOnNode::BeingRemoved`]
    ReleaseBeingRemoved,
    /// [`ReleaseOnNode::Failed`]
    ReleaseFailed,
    /// [`ReleaseOnNode::Requested`]
    ReleaseRequested,
    /// [`ReleaseOnNode::Building`]
    ReleaseBuilding,
    /// [`Reason::NeverSeen`]
    NeverSeen,
    /// [`Reason::Silent`]
    Silent,
    /// [`Reason::Faulty`]
    Faulty,
    /// [`Reason::NoCapacity`]
    NoCapacity,
    /// [`Reason::NoNetwork`]
    NoNetwork,
    /// [`Reason::NetworkUsed`]
    NetworkUsed,
    /// [`Reason::NoPartition`]
    NoPartition,
    /// [`Reason::NoneWithCapability`]
    NoneWithCapability,
    /// [`Reason::OnlyWithCapability`]
    OnlyWithCapability,
    /// [`Reason::AllBusy`]
    AllBusy,
}

impl ReasonKind {
    /// The word for programs. It does not change between versions.
    pub fn code(self) -> &'static str {
        match self {
            ReasonKind::OtherNode => "other_node",
            ReasonKind::OtherNetwork => "other_network",
            ReasonKind::Category(_) => "category",
            ReasonKind::Closed => "closed",
            ReasonKind::NotTakenByGate => "not_taken_by_gate",
            ReasonKind::ReleaseNotRequested => "release_not_requested",
            ReasonKind::ReleaseBeingRemoved => "release_being_removed",
            ReasonKind::ReleaseFailed => "release_failed",
            ReasonKind::ReleaseRequested => "release_requested",
            ReasonKind::ReleaseBuilding => "release_building",
            ReasonKind::NeverSeen => "never_seen",
            ReasonKind::Silent => "silent",
            ReasonKind::Faulty => "faulty",
            ReasonKind::NoCapacity => "no_capacity",
            ReasonKind::NoNetwork => "no_network",
            ReasonKind::NetworkUsed => "network_used",
            ReasonKind::NoPartition => "no_partition",
            ReasonKind::NoneWithCapability => "none_with_capability",
            ReasonKind::OnlyWithCapability => "only_with_capability",
            ReasonKind::AllBusy => "all_busy",
        }
    }

    /// What several nodes do, if it is about the release of the wish.
    fn about_release(self) -> Option<&'static str> {
        match self {
            ReasonKind::ReleaseNotRequested => Some("not asked to install it"),
            ReasonKind::ReleaseBeingRemoved => Some("removing it"),
            ReasonKind::ReleaseFailed => Some("failed to build it"),
            ReasonKind::ReleaseRequested => Some("asked to install it but not building yet"),
            ReasonKind::ReleaseBuilding => Some("building it"),
            _ => None,
        }
    }
}

impl Reason {
    /// What kind of reason it is; none if it is never told.
    pub fn kind(&self) -> Option<ReasonKind> {
        Some(match self {
            Reason::OtherProject | Reason::NotAHost => return None,
            Reason::OtherNode => ReasonKind::OtherNode,
            Reason::OtherNetwork => ReasonKind::OtherNetwork,
            Reason::Category { category, .. } => ReasonKind::Category(*category),
            Reason::Closed(_) => ReasonKind::Closed,
            Reason::Release(ReleaseOnNode::NotRequested) => ReasonKind::ReleaseNotRequested,
            Reason::Release(ReleaseOnNode::Requested | ReleaseOnNode::Available) => {
                ReasonKind::ReleaseRequested
            }
            Reason::Release(ReleaseOnNode::Building) => ReasonKind::ReleaseBuilding,
            Reason::Release(ReleaseOnNode::Failed) => ReasonKind::ReleaseFailed,
            Reason::Release(ReleaseOnNode::BeingRemoved) => ReasonKind::ReleaseBeingRemoved,
            Reason::NotTakenByGate => ReasonKind::NotTakenByGate,
            Reason::NeverSeen => ReasonKind::NeverSeen,
            Reason::Silent { .. } => ReasonKind::Silent,
            Reason::Faulty { .. } => ReasonKind::Faulty,
            Reason::NoCapacity { .. } => ReasonKind::NoCapacity,
            Reason::NoNetwork => ReasonKind::NoNetwork,
            Reason::NetworkUsed { .. } => ReasonKind::NetworkUsed,
            Reason::NoPartition => ReasonKind::NoPartition,
            Reason::AllBusy { .. } => ReasonKind::AllBusy,
            Reason::NoneWithCapability => ReasonKind::NoneWithCapability,
            Reason::OnlyWithCapability => ReasonKind::OnlyWithCapability,
        })
    }
}

/// Nodes that cannot take an instance for reasons of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Which kind.
    pub kind: ReasonKind,
    /// How many nodes; for a shared instance, how many instances that might serve it.
    pub count: usize,
    /// The first few of them, by kind and key, with the very reason of each.
    pub examples: Vec<(NodeReference, Reason)>,
}

/// Gathers one reason for each node that was looked at.
#[derive(Debug, Default)]
pub struct Refusals {
    groups: BTreeMap<ReasonKind, Group>,
}

impl Refusals {
    /// Notes why a node cannot take the instance. The order of calls does not matter.
    pub fn note(&mut self, node: NodeReference, reason: Reason) {
        let Some(kind) = reason.kind() else {
            return;
        };
        let group = self.groups.entry(kind).or_insert_with(|| Group {
            kind,
            count: 0,
            examples: Vec::new(),
        });
        group.count += 1;
        let known = group.examples.binary_search_by_key(&node, |known| known.0);
        if let Err(index) = known {
            group.examples.insert(index, (node, reason));
            group.examples.truncate(EXAMPLES);
        }
    }

    /// The conclusion, when no node was found.
    pub fn waiting(self, wish: &Wish, shared: bool) -> Waiting {
        Waiting::Nobody(Box::new(Nobody {
            project: wish.project,
            release: wish.release.chars().take(URL_CHARS).collect(),
            software_type: cut(wish.software_type),
            shared,
            node: wish.sla.node,
            host: wish.sla.host,
            network: wish.sla.network,
            categories: wish
                .sla
                .categories
                .iter()
                .map(|(category, path)| (*category, cut(path)))
                .collect(),
            capability: wish.sla.capability.as_deref().map(cut),
            groups: self.groups.into_values().rev().collect(),
        }))
    }
}

/// Why an instance has no place yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// Its SLA can match nothing.
    Mistake(SlaMistake),
    /// It is for another Master, which has not taken it yet.
    OtherMaster,
    /// Its SLA names a project that is not its own.
    OtherProject {
        /// Its own.
        project: ProjectKey,
        /// The one named.
        asked: ProjectKey,
    },
    /// It is no shared instance, yet names one to be served by.
    HostOfOrdinary {
        /// The one named.
        host: InstanceKey,
    },
    /// It is requested stopped: it is placed when it is to be started.
    Stopped,
    /// Of all that were looked at, nobody can take it now.
    Nobody(Box<Nobody>),
}

/// What was looked for, and who cannot take it for which reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nobody {
    project: ProjectKey,
    release: String,
    software_type: String,
    shared: bool,
    node: Option<NodeReference>,
    host: Option<InstanceKey>,
    network: Option<NetworkKey>,
    categories: BTreeMap<Category, String>,
    capability: Option<String>,
    groups: Vec<Group>,
}

impl Nobody {
    /// Reasons, the nearest to success first.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }
}

impl From<SlaMistake> for Waiting {
    fn from(mistake: SlaMistake) -> Self {
        Waiting::Mistake(mistake)
    }
}

impl Waiting {
    /// The word for programs. It does not change between versions.
    pub fn code(&self) -> &'static str {
        match self {
            Waiting::Mistake(_) => "sla_mistake",
            Waiting::OtherMaster => "other_master",
            Waiting::OtherProject { .. } => "other_project",
            Waiting::HostOfOrdinary { .. } => "host_of_ordinary",
            Waiting::Stopped => "stopped",
            Waiting::Nobody(nobody) => match nobody.groups.first() {
                Some(group) => group.kind.code(),
                None => "nobody",
            },
        }
    }

    /// Whether only another request can end it: nothing that happens to nodes will.
    pub fn for_ever(&self) -> bool {
        match self {
            Waiting::Mistake(_) | Waiting::OtherProject { .. } | Waiting::HostOfOrdinary { .. } => {
                true
            }
            Waiting::OtherMaster | Waiting::Stopped | Waiting::Nobody(_) => false,
        }
    }

    /// Reasons with counts and examples, the nearest to success first.
    pub fn groups(&self) -> &[Group] {
        match self {
            Waiting::Nobody(nobody) => nobody.groups(),
            _ => &[],
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Waiting::Mistake(mistake) => mistake.fmt(f),
            Waiting::OtherMaster => f.write_str("another Master has not taken it yet"),
            Waiting::OtherProject { project, asked } => write!(
                f,
                "its SLA names project {asked}, but it belongs to {project}; request it again \
                 without project_guid"
            ),
            Waiting::HostOfOrdinary { host } => write!(
                f,
                "its SLA names {host} as the instance to be served by, but it is no shared \
                 instance; request it again without instance_guid"
            ),
            Waiting::Stopped => {
                f.write_str("it is requested stopped; it is placed when it is to be started")
            }
            Waiting::Nobody(nobody) => nobody.fmt(f),
        }
    }
}

impl fmt::Display for Nobody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nodes that were not asked for are of no interest once the one asked for was found.
        let told: Vec<&Group> = self
            .groups
            .iter()
            .filter(|group| group.kind != ReasonKind::OtherNode)
            .collect();
        self.headline(f, told.first().copied())?;
        for (index, group) in told.iter().take(KINDS_TOLD).enumerate() {
            let before = &told[..index];
            let same = before
                .last()
                .is_some_and(|last| last.kind.about_release().is_some())
                && group.kind.about_release().is_some();
            f.write_str(match index {
                0 => ": ",
                _ if same => ", ",
                _ => "; ",
            })?;
            self.group(f, group)?;
        }
        let rest: usize = told.iter().skip(KINDS_TOLD).map(|group| group.count).sum();
        if rest > 0 {
            write!(f, "; {rest} more cannot for other reasons")?;
        }
        Ok(())
    }
}

impl Nobody {
    fn headline(&self, f: &mut fmt::Formatter<'_>, nearest: Option<&Group>) -> fmt::Result {
        let (project, release, kind) = (self.project, &self.release, &self.software_type);
        if self.shared {
            return match (self.host, nearest) {
                (Some(host), None) => write!(
                    f,
                    "{host} cannot serve it: no instance of that name in project {project} has \
                     release {release} and type {kind:?}"
                ),
                (Some(host), Some(_)) => write!(f, "{host} cannot serve it now"),
                (None, None) => {
                    write!(
                        f,
                        "no instance of project {project} with release {release} and type {kind:?} \
                         is there to serve it"
                    )?;
                    match self.node {
                        Some(node) => write!(f, " on {node}"),
                        None => Ok(()),
                    }
                }
                (None, Some(_)) => write!(
                    f,
                    "no instance of project {project} with release {release} and type {kind:?} can \
                     serve it now"
                ),
            };
        }
        match (self.node, nearest) {
            (Some(node), None) => write!(f, "project {project} has no node {node}"),
            (None, None) => write!(
                f,
                "project {project} has no node yet (slapos node register)"
            ),
            (_, Some(group)) if group.kind.about_release().is_some() => {
                write!(
                    f,
                    "no node of project {project} has release {release} available"
                )
            }
            (_, Some(_)) => write!(f, "no node of project {project} can take it now"),
        }
    }

    fn group(&self, f: &mut fmt::Formatter<'_>, group: &Group) -> fmt::Result {
        let names = Names(group);
        if let Some(doing) = group.kind.about_release() {
            write!(f, "{} {doing} ({names})", group.count)?;
            return match (group.kind, group.examples.first()) {
                (ReasonKind::ReleaseNotRequested, Some((node, _))) => {
                    write!(f, ", try: slapos supply {} {node}", self.release)
                }
                _ => Ok(()),
            };
        }
        match (group.count, group.examples.first()) {
            (1, Some((node, reason))) => {
                write!(f, "{node}: ")?;
                self.one(f, reason)
            }
            (count, _) if self.shared && group.kind != ReasonKind::NotTakenByGate => {
                write!(f, "{count} possible hosts are on nodes that ")?;
                self.several(f, group.kind)?;
                write!(f, " ({names})")
            }
            (count, _) => {
                write!(f, "{count} nodes ")?;
                self.several(f, group.kind)?;
                write!(f, " ({names})")
            }
        }
    }

    /// Why one node cannot.
    fn one(&self, f: &mut fmt::Formatter<'_>, reason: &Reason) -> fmt::Result {
        match reason {
            Reason::OtherProject | Reason::NotAHost | Reason::OtherNode => {
                f.write_str("it is not the one asked for")
            }
            Reason::OtherNetwork => write!(f, "it is not in {}", self.network()),
            Reason::Category { category, path } => {
                let asked = self.path(*category);
                match path {
                    Some(path) => write!(f, "its {category} is {:?}, not {asked:?}", cut(path)),
                    None => write!(f, "it has no {category}, and {asked:?} is asked for"),
                }
            }
            Reason::Closed(scope) => write!(f, "it is closed ({scope})"),
            Reason::Release(_) => f.write_str("the release is not available there"),
            Reason::NotTakenByGate => f.write_str("the Master behind it does not take the release"),
            Reason::NeverSeen => f.write_str("it was never in contact"),
            Reason::Silent { since } => write!(f, "no contact for {}", Span(*since)),
            Reason::Faulty { text } => write!(f, "its last status is an error: {:?}", cut(text)),
            Reason::NoCapacity { left, units } => write!(
                f,
                "{} of its capacity left, and {units} wanted",
                Units(*left)
            ),
            Reason::NoNetwork => {
                f.write_str("it is in no network, and mode=unique_by_network wants one")
            }
            Reason::NetworkUsed { network } => {
                write!(
                    f,
                    "the tree already has an instance in its network {network}"
                )
            }
            Reason::NoPartition => f.write_str("it has no partition yet (slapos node format)"),
            Reason::AllBusy { partitions: 1 } => f.write_str("its only partition is busy"),
            Reason::AllBusy { partitions } => write!(f, "all {partitions} partitions are busy"),
            Reason::NoneWithCapability => {
                write!(
                    f,
                    "no free partition has capability {:?}",
                    self.capability()
                )
            }
            Reason::OnlyWithCapability => {
                f.write_str("its free partitions are kept for those who ask for a capability")
            }
        }
    }

    /// What several nodes do or have, after "nodes".
    fn several(&self, f: &mut fmt::Formatter<'_>, kind: ReasonKind) -> fmt::Result {
        match kind {
            ReasonKind::OtherNode => f.write_str("are not the one asked for"),
            ReasonKind::OtherNetwork => write!(f, "are not in {}", self.network()),
            ReasonKind::Category(category) => {
                write!(f, "are not of {category} {:?}", self.path(category))
            }
            ReasonKind::Closed => f.write_str("are closed"),
            ReasonKind::NotTakenByGate => {
                f.write_str("lead to Masters that do not take the release")
            }
            ReasonKind::NeverSeen => f.write_str("were never in contact"),
            ReasonKind::Silent => {
                write!(f, "had no contact for more than {}", Span(SILENCE_MAX))
            }
            ReasonKind::Faulty => f.write_str("have an error as their last status"),
            ReasonKind::NoCapacity => f.write_str("have too little capacity left"),
            ReasonKind::NoNetwork => {
                f.write_str("are in no network, and mode=unique_by_network wants one")
            }
            ReasonKind::NetworkUsed => {
                f.write_str("are in networks where the tree already has an instance")
            }
            ReasonKind::NoPartition => f.write_str("have no partition yet"),
            ReasonKind::AllBusy => f.write_str("have all partitions busy"),
            ReasonKind::NoneWithCapability => write!(
                f,
                "have no free partition with capability {:?}",
                self.capability()
            ),
            ReasonKind::OnlyWithCapability => {
                f.write_str("keep their free partitions for those who ask for a capability")
            }
            ReasonKind::ReleaseNotRequested
            | ReasonKind::ReleaseBeingRemoved
            | ReasonKind::ReleaseFailed
            | ReasonKind::ReleaseRequested
            | ReasonKind::ReleaseBuilding => f.write_str("do not have the release"),
        }
    }

    fn network(&self) -> String {
        match self.network {
            Some(network) => format!("network {network}"),
            None => "the network asked for".to_owned(),
        }
    }

    fn path(&self, category: Category) -> &str {
        self.categories.get(&category).map_or("", String::as_str)
    }

    fn capability(&self) -> &str {
        self.capability.as_deref().unwrap_or("")
    }
}

/// The first nodes of a group, with a sign that there are more.
struct Names<'a>(&'a Group);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Names(group) = self;
        for (index, (node, _)) in group.examples.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{node}")?;
        }
        if group.count > group.examples.len() && group.examples.len() == EXAMPLES {
            f.write_str(", …")?;
        }
        Ok(())
    }
}

/// A time span in its largest whole unit.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (number, unit) = match seconds {
            0..120 => (seconds, "second"),
            120..7200 => (seconds / 60, "minute"),
            7200..172_800 => (seconds / 3600, "hour"),
            _ => (seconds / 86_400, "day"),
        };
        let plural = if number == 1 { "" } else { "s" };
        write!(f, "{number} {unit}{plural}")
    }
}

/// Units of capacity that are left.
struct Units(i64);

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ..=0 => f.write_str("nothing"),
            1 => f.write_str("1 unit"),
            units => write!(f, "{units} units"),
        }
    }
}
