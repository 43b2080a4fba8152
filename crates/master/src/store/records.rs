//! What the store answers with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use slap::{InstallationState, InstanceState, InstanceTitle, ReleaseUrl, SoftwareType};

use crate::domain::{
    AllocationScope, InstallationKey, InstanceKey, NetworkKey, NodeReference, ProjectKey,
    Timestamp, TreeKey,
};

/// Parameters, SLA, connection parameters: flat texts (P 6.4).
pub type Texts = BTreeMap<String, String>;

/// An address of a partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// The network interface; may be empty.
    pub interface: String,
    /// The address.
    pub ip: String,
    /// Set for an address that is reached through a gateway (P 6.11).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
}

/// How an address is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// The gateway.
    pub gateway: String,
    /// The netmask.
    pub netmask: String,
    /// The network.
    pub network: String,
}

/// What was last reported of something (P 1.6).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// `#access …`, `#error …`, `#building …`; nothing when nothing was reported.
    pub text: Option<String>,
    /// When.
    pub at: Option<Timestamp>,
    /// Since when the first word of the text is the same.
    pub since: Option<Timestamp>,
    /// The state that was reported last: `started`, `available`, …; empty for none.
    pub reported: String,
}

/// Where an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The node.
    pub node: NodeReference,
    /// The partition's name on it.
    pub partition: String,
}

/// An instance.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceRecord {
    /// Its key, `SOFTINST-n`.
    pub key: InstanceKey,
    /// Its tree.
    pub tree: TreeKey,
    /// The title of its tree, which is its root's.
    pub root_title: String,
    /// Its project.
    pub project: ProjectKey,
    /// Its title, unique in the tree.
    pub title: String,
    /// The instance that requested it; none for the root.
    pub requester: Option<InstanceKey>,
    /// Whether it has no partition of its own.
    pub shared: bool,
    /// Its release.
    pub release: String,
    /// Its software type.
    pub software_type: String,
    /// Its parameters.
    pub parameters: Texts,
    /// Where it may be placed.
    pub sla: Texts,
    /// What it published.
    pub connection: Option<Texts>,
    /// What it shall be.
    pub state: InstanceState,
    /// Rises with every change that needs processing; of a partition's instance it is at least that
    /// of the shared ones it serves.
    pub timestamp: Timestamp,
    /// Where it is; for a shared one, where its host is.
    pub placement: Option<Placement>,
    /// The instance that serves a shared one.
    pub host: Option<InstanceKey>,
    /// The addresses of its partition.
    pub addresses: Vec<Address>,
    /// What its node last reported.
    pub status: Status,
}

/// A partition with what is on it.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionRecord {
    /// Its node.
    pub node: NodeReference,
    /// Its name there.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// The instance on it.
    pub instance: Option<InstanceRecord>,
    /// The shared instances it serves that shall be started (P 6.7).
    pub shared: Vec<InstanceRecord>,
}

/// A release asked for on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallationRecord {
    /// Its key, `SOFTINSTALL-n`.
    pub key: InstallationKey,
    /// The node.
    pub node: NodeReference,
    /// The release.
    pub release: String,
    /// What is asked for.
    pub state: InstallationState,
    /// What the node last reported.
    pub status: Status,
}

/// A compute node, or a gate to another Master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecord {
    /// `COMP-n` or `REMOTE-n`.
    pub node: NodeReference,
    /// Its project.
    pub project: ProjectKey,
    /// Its title.
    pub title: String,
    /// Whether it takes new instances.
    pub scope: AllocationScope,
    /// Its partitions.
    pub partitions: i64,
    /// Those that are free.
    pub free: i64,
    /// Units it takes at most.
    pub capacity: Option<i64>,
    /// Units its instances take.
    pub used: i64,
    /// Whether it answers.
    pub alive: bool,
    /// Its network.
    pub network: Option<NetworkKey>,
    /// Its categories.
    pub categories: Texts,
    /// What it last reported.
    pub status: Status,
    /// When it last called, as far as the database knows.
    pub contact_at: Option<Timestamp>,
    /// Rises with every change of what it is told.
    pub revision: i64,
}

/// All a node is told.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeDocument {
    /// The node.
    pub node: NodeRecord,
    /// Its partitions in its own order.
    pub partitions: Vec<PartitionRecord>,
    /// The releases asked for, in the order they were.
    pub installations: Vec<InstallationRecord>,
}

/// A tree with its root.
#[derive(Debug, Clone, PartialEq)]
pub struct TreeRecord {
    /// Its key, `HOSTSUBS-n`.
    pub key: TreeKey,
    /// Its title.
    pub title: String,
    /// Its project.
    pub project: ProjectKey,
    /// The login of its owner.
    pub owner: String,
    /// Its root.
    pub root: InstanceRecord,
}

/// How a call names an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The one on a partition.
    At {
        /// The node.
        node: NodeReference,
        /// The partition's name.
        partition: String,
    },
    /// This one.
    Instance(InstanceKey),
}

/// An instance as it is asked for. What is absent keeps what is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The instance that asks; none for a person, who asks for the root of a tree, and for an
    /// instance, which asks for itself.
    pub requester: Option<Subject>,
    /// The project; guessed when absent (P 6.3).
    pub project: Option<ProjectKey>,
    /// The title.
    pub title: InstanceTitle,
    /// The release.
    pub release: ReleaseUrl,
    /// The software type.
    pub software_type: Option<SoftwareType>,
    /// The parameters.
    pub parameters: Option<Texts>,
    /// Where it may be placed.
    pub sla: Option<Texts>,
    /// What it shall be.
    pub state: Option<InstanceState>,
    /// Whether a shared instance is asked for.
    pub shared: Option<bool>,
}

/// What a request leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Requested {
    /// It is on a partition.
    Placed(Box<InstanceRecord>),
    /// It is accepted, and there is nothing to show yet.
    Waiting {
        /// The instance, unless there is none.
        instance: Option<InstanceKey>,
        /// Why, for the one who asks.
        why: String,
    },
}

/// What a node says of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// It runs.
    Started,
    /// It does not run.
    Stopped,
    /// Nothing is left of it.
    Destroyed,
}

/// What a node says of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstallationReport {
    /// It is being built.
    Building,
    /// It can be used.
    Available,
    /// It could not be built.
    Error(String),
    /// Nothing is left of it.
    Destroyed,
}

/// A partition as its node describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// What it can do beyond the ordinary.
    pub capabilities: Vec<String>,
}

/// What a node tells about itself (P 6.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDescription {
    /// Its partitions in its own order.
    pub partitions: Vec<PartitionDescription>,
    /// The rest, as JSON, for people to see.
    pub further: String,
}
