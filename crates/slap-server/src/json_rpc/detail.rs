//! What there is of an instance tree or a node, for who watches it: documents of our own calls, the
//! same from both Masters. What a Master does not know is left out.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use slap::InstanceState;

use super::schema::{Kind, Member, may, need};
use crate::promises::Promise;
use crate::status::Record;

/// How an instance is, as far as its Master knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Actual {
    /// As it shall be: stopped.
    Stopped,
    /// As it shall be: started.
    Started,
    /// Its node is to remove it.
    Destroying,
    /// Its node has not said yet that it is stopped.
    Stopping,
    /// Its node has not said yet that it is started as it shall be now.
    Starting,
    /// It has no place.
    Waiting,
    /// Something is wrong with it.
    Error,
}

impl Actual {
    /// The wire's words, in the order of their weight: a tree is as its worst instance.
    pub const WORDS: &'static [&'static str] = &[
        "stopped",
        "started",
        "destroying",
        "stopping",
        "starting",
        "waiting",
        "error",
    ];

    /// The wire's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Actual::Stopped => "stopped",
            Actual::Started => "started",
            Actual::Destroying => "destroying",
            Actual::Stopping => "stopping",
            Actual::Starting => "starting",
            Actual::Waiting => "waiting",
            Actual::Error => "error",
        }
    }

    /// How an instance is. `changed` is when it was last asked to be something else: a report older
    /// than that says nothing about what it shall be now.
    pub fn of(
        wanted: InstanceState,
        is_placed: bool,
        is_shared: bool,
        report: Option<&Record>,
        changed: SystemTime,
    ) -> Actual {
        let failed = report.is_some_and(|report| report.text.starts_with("#error"));
        match (wanted, is_placed) {
            (InstanceState::Destroyed, _) => Actual::Destroying,
            (InstanceState::Stopped, false) => Actual::Stopped,
            (InstanceState::Started, false) => Actual::Waiting,
            _ if failed => Actual::Error,
            // Nodes say nothing of those that others serve.
            (InstanceState::Started, true) if is_shared => Actual::Started,
            (InstanceState::Stopped, true) if is_shared => Actual::Stopped,
            (state, true) => {
                let done = report
                    .is_some_and(|report| report.at >= changed && report.state == state.as_str());
                match (state, done) {
                    (InstanceState::Stopped, true) => Actual::Stopped,
                    (InstanceState::Stopped, false) => Actual::Stopping,
                    (_, true) => Actual::Started,
                    (_, false) => Actual::Starting,
                }
            }
        }
    }
}

/// A moment as these documents have it: microseconds since 1970.
pub fn moment(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// An instance of a tree.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceDetail {
    /// Its title.
    pub title: String,
    /// Its reference.
    pub guid: String,
    /// The instance that requested it, where it is known; none for the root.
    pub parent: Option<String>,
    /// The instance that serves it, if it is shared.
    pub host: Option<String>,
    /// Its release.
    pub release: String,
    /// Its software type.
    pub software_type: String,
    /// Whether it is a shared instance.
    pub shared: bool,
    /// What it shall be.
    pub state: InstanceState,
    /// How it is.
    pub actual: Actual,
    /// What its node last reported.
    pub report: Option<Record>,
    /// Its node and partition.
    pub place: Option<(String, String)>,
    /// Why it has no place.
    pub waiting: Option<String>,
    /// What it was requested with.
    pub parameters: Map<String, Value>,
    /// Where it may be placed.
    pub sla: Map<String, Value>,
    /// What it published.
    pub connection: Map<String, Value>,
    /// When it was last asked to be something else, or processed again.
    pub changed: SystemTime,
    /// Its promises, where its node told of them and it shall be started.
    pub promises: Option<Vec<Promise>>,
}

/// Promises of an instance that fail and are named with it.
const FAILING_MAX: usize = 20;

/// A promise in a list.
pub fn promise(promise: &Promise, instance: (&str, &str)) -> Value {
    let mut document = json!({
        "instance_guid": instance.0,
        "instance_title": instance.1,
        "title": promise.title,
        "failed": promise.failed,
        "message": promise.message,
        "since": promise.since,
        "checked_at": promise.checked_at,
    });
    put(&mut document, "next_check_at", promise.next_check_at);
    document
}

/// What is there only where it is known.
fn put(document: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let (Some(object), Some(value)) = (document.as_object_mut(), value) {
        object.insert(name.to_owned(), value.into());
    }
}

/// Adds what was last reported.
pub fn put_report(document: &mut Value, report: Option<&Record>) {
    put(
        document,
        "reported_state",
        Some(report.map_or("", |report| report.state.as_str())),
    );
    put(
        document,
        "status",
        Some(report.map_or("", |report| report.text.as_str())),
    );
    put(
        document,
        "status_at",
        report.map(|report| moment(report.at)),
    );
    put(
        document,
        "status_since",
        report.map(|report| moment(report.since)),
    );
}

impl From<InstanceDetail> for Value {
    fn from(instance: InstanceDetail) -> Value {
        let mut document = json!({
            "title": instance.title,
            "instance_guid": instance.guid,
            "software_release_uri": instance.release,
            "software_type": instance.software_type,
            "shared": instance.shared,
            "state": instance.state.as_str(),
            "actual_state": instance.actual.as_str(),
            "parameters": instance.parameters,
            "sla_parameters": instance.sla,
            "connection_parameters": instance.connection,
            "changed_at": moment(instance.changed),
        });
        put_report(&mut document, instance.report.as_ref());
        put(&mut document, "parent_instance_guid", instance.parent);
        put(&mut document, "host_instance_guid", instance.host);
        put(&mut document, "waiting_reason", instance.waiting);
        let (node, partition) = instance.place.unzip();
        put(&mut document, "computer_guid", node);
        put(&mut document, "compute_partition_id", partition);
        if let Some(promises) = instance.promises {
            put(&mut document, "promise_count", Some(promises.len()));
            let failing: Vec<Value> = promises
                .iter()
                .filter(|promise| promise.failed)
                .take(FAILING_MAX)
                .map(|promise| {
                    json!({
                        "title": promise.title,
                        "message": promise.message,
                        "since": promise.since,
                    })
                })
                .collect();
            put(&mut document, "failing_promise_list", Some(failing));
        }
        document
    }
}

/// An instance tree.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TreeDetail {
    /// Its title.
    pub title: String,
    /// Its reference.
    pub guid: String,
    /// Its project.
    pub project: Option<String>,
    /// The login of its owner.
    pub owner: Option<String>,
    /// `ask` or `auto`: what happens when a better release exists.
    pub upgrade_policy: Option<String>,
    /// The upgrade that is offered or under way: `planned` or `accepted`, and its release.
    pub upgrade: Option<(String, String)>,
    /// When it was requested.
    pub requested: Option<SystemTime>,
    /// Its instances, the root first.
    pub instances: Vec<InstanceDetail>,
    /// Whether these are all.
    pub complete: bool,
}

impl From<TreeDetail> for Value {
    fn from(tree: TreeDetail) -> Value {
        let actual = tree.instances.iter().map(|instance| instance.actual).max();
        let waiting = tree
            .instances
            .iter()
            .find_map(|instance| instance.waiting.clone());
        let root = tree.instances.first();
        let mut document = json!({
            "title": tree.title,
            "tree_guid": tree.guid,
            "software_release_uri": root.map_or("", |root| root.release.as_str()),
            "state": root.map_or(InstanceState::Destroyed, |root| root.state).as_str(),
            "actual_state": actual.unwrap_or(Actual::Destroying).as_str(),
            "complete": tree.complete,
        });
        put(&mut document, "project_guid", tree.project);
        put(&mut document, "owner", tree.owner);
        put(&mut document, "upgrade_policy", tree.upgrade_policy);
        put(&mut document, "waiting_reason", waiting);
        put(&mut document, "requested_at", tree.requested.map(moment));
        let (state, release) = tree.upgrade.unzip();
        put(&mut document, "upgrade_state", state);
        put(&mut document, "upgrade_release_uri", release);
        let instances: Vec<Value> = tree.instances.into_iter().map(Value::from).collect();
        put(&mut document, "instance_list", Some(instances));
        document
    }
}

/// A tree in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct TreeRow {
    /// Its title.
    pub title: String,
    /// Its reference.
    pub guid: String,
    /// Its project.
    pub project: Option<String>,
    /// The release of its root.
    pub release: String,
    /// What its root shall be.
    pub state: InstanceState,
    /// How its worst instance is.
    pub actual: Actual,
    /// How many instances it has.
    pub instances: usize,
    /// The nodes they are on.
    pub nodes: Vec<String>,
    /// Why the first of them that waits has no place.
    pub waiting: Option<String>,
    /// The release it is offered or upgraded to.
    pub upgrade: Option<String>,
    /// When it was requested.
    pub requested: Option<SystemTime>,
}

impl From<TreeRow> for Value {
    fn from(row: TreeRow) -> Value {
        let mut document = json!({
            "title": row.title,
            "tree_guid": row.guid,
            "software_release_uri": row.release,
            "state": row.state.as_str(),
            "actual_state": row.actual.as_str(),
            "instance_count": row.instances,
            "computer_guid_list": row.nodes,
        });
        put(&mut document, "project_guid", row.project);
        put(&mut document, "waiting_reason", row.waiting);
        put(&mut document, "upgrade_release_uri", row.upgrade);
        put(&mut document, "requested_at", row.requested.map(moment));
        document
    }
}

/// A node in a list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NodeRow {
    /// Its reference.
    pub guid: String,
    /// Its title.
    pub title: String,
    /// Its project.
    pub project: Option<String>,
    /// Whether it takes new instances: `open`, `close`, …
    pub scope: Option<String>,
    /// Whether it answers.
    pub alive: Option<bool>,
    /// Its partitions.
    pub partitions: i64,
    /// Those that are free.
    pub free: i64,
    /// Units it takes at most, and those taken.
    pub capacity: Option<i64>,
    /// Units taken.
    pub used: Option<i64>,
    /// Its network.
    pub network: Option<String>,
    /// When it last called.
    pub contact: Option<SystemTime>,
    /// What it last reported of itself.
    pub report: Option<Record>,
}

impl From<NodeRow> for Value {
    fn from(row: NodeRow) -> Value {
        let mut document = json!({
            "computer_guid": row.guid,
            "title": row.title,
            "partition_count": row.partitions,
            "free_count": row.free,
        });
        put(&mut document, "project_guid", row.project);
        put(&mut document, "allocation_scope", row.scope);
        put(&mut document, "alive", row.alive);
        put(&mut document, "capacity", row.capacity);
        put(&mut document, "used", row.used);
        put(&mut document, "network_guid", row.network);
        put(&mut document, "contact_at", row.contact.map(moment));
        put_report(&mut document, row.report.as_ref());
        document
    }
}

/// A release on a node.
#[derive(Debug, Clone, PartialEq)]
pub struct InstallationDetail {
    /// The release.
    pub release: String,
    /// `available` or `destroyed`: what is asked for.
    pub state: String,
    /// What the node last reported.
    pub report: Option<Record>,
}

impl From<InstallationDetail> for Value {
    fn from(installation: InstallationDetail) -> Value {
        let mut document = json!({
            "software_release_uri": installation.release,
            "state": installation.state,
        });
        put_report(&mut document, installation.report.as_ref());
        document
    }
}

/// A partition of a node: what is on it is there as far as the caller may see it.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionDetail {
    /// Its name.
    pub name: String,
    /// Whether something is on it.
    pub busy: bool,
    /// The instance on it: reference, title, title of its tree, what it shall be, how it is.
    pub instance: Option<(String, String, String, InstanceState, Actual)>,
}

impl From<PartitionDetail> for Value {
    fn from(partition: PartitionDetail) -> Value {
        let mut document = json!({
            "compute_partition_id": partition.name,
            "busy": partition.busy,
        });
        if let Some((guid, title, tree, state, actual)) = partition.instance {
            put(&mut document, "instance_guid", Some(guid));
            put(&mut document, "title", Some(title));
            put(&mut document, "root_instance_title", Some(tree));
            put(&mut document, "state", Some(state.as_str()));
            put(&mut document, "actual_state", Some(actual.as_str()));
        }
        document
    }
}

/// A node with all that is on it.
pub fn node(
    row: NodeRow,
    partitions: impl IntoIterator<Item = PartitionDetail>,
    installations: impl IntoIterator<Item = InstallationDetail>,
) -> Value {
    let mut document = Value::from(row);
    let partitions: Vec<Value> = partitions.into_iter().map(Value::from).collect();
    let installations: Vec<Value> = installations.into_iter().map(Value::from).collect();
    put(&mut document, "partition_list", Some(partitions));
    put(
        &mut document,
        "software_installation_list",
        Some(installations),
    );
    document
}

const STATES: Kind = Kind::Word(&["started", "stopped", "destroyed"]);
const ACTUAL: Kind = Kind::Word(Actual::WORDS);

/// Members of [`InstanceDetail`].
pub(super) const INSTANCE: &[Member] = &[
    need("title", Kind::Text),
    need("instance_guid", Kind::Text),
    may("parent_instance_guid", Kind::Text),
    may("host_instance_guid", Kind::Text),
    need("software_release_uri", Kind::Text),
    need("software_type", Kind::Text),
    need("shared", Kind::Bool),
    need("state", STATES),
    need("actual_state", ACTUAL),
    need("reported_state", Kind::Text),
    need("status", Kind::Text),
    may("status_at", Kind::Integer),
    may("status_since", Kind::Integer),
    may("computer_guid", Kind::Text),
    may("compute_partition_id", Kind::Text),
    may("waiting_reason", Kind::Text),
    need("parameters", Kind::Object),
    need("sla_parameters", Kind::Object),
    need("connection_parameters", Kind::Object),
    need("changed_at", Kind::Integer),
    may("promise_count", Kind::Integer),
    may("failing_promise_list", Kind::List(FAILING)),
];

const FAILING: &[Member] = &[
    need("title", Kind::Text),
    need("message", Kind::Text),
    need("since", Kind::Integer),
];

/// Members of [`promise`].
pub(super) const PROMISE: &[Member] = &[
    need("instance_guid", Kind::Text),
    need("instance_title", Kind::Text),
    need("title", Kind::Text),
    need("failed", Kind::Bool),
    need("message", Kind::Text),
    need("since", Kind::Integer),
    need("checked_at", Kind::Integer),
    may("next_check_at", Kind::Integer),
];

/// A promise a node tells of.
pub(super) const PROMISE_TOLD: &[Member] = &[
    need("title", Kind::Text),
    need("failed", Kind::Bool),
    may("message", Kind::Text),
    may("checked_at", Kind::Integer),
    may("next_check_at", Kind::Integer),
];

/// Members of [`TreeDetail`].
pub(super) const TREE: &[Member] = &[
    need("title", Kind::Text),
    need("tree_guid", Kind::Text),
    may("project_guid", Kind::Text),
    may("owner", Kind::Text),
    need("software_release_uri", Kind::Text),
    need("state", STATES),
    need("actual_state", ACTUAL),
    may("waiting_reason", Kind::Text),
    may("upgrade_policy", Kind::Text),
    may("upgrade_state", Kind::Text),
    may("upgrade_release_uri", Kind::Text),
    may("requested_at", Kind::Integer),
    need("complete", Kind::Bool),
    need("instance_list", Kind::List(INSTANCE)),
];

/// Members of [`TreeRow`].
pub(super) const TREE_ROW: &[Member] = &[
    need("title", Kind::Text),
    need("tree_guid", Kind::Text),
    may("project_guid", Kind::Text),
    need("software_release_uri", Kind::Text),
    need("state", STATES),
    need("actual_state", ACTUAL),
    need("instance_count", Kind::Integer),
    need("computer_guid_list", Kind::Texts),
    may("waiting_reason", Kind::Text),
    may("upgrade_release_uri", Kind::Text),
    may("requested_at", Kind::Integer),
];

macro_rules! node_members {
    ($($more:expr),*) => {
        &[
            need("computer_guid", Kind::Text),
            need("title", Kind::Text),
            may("project_guid", Kind::Text),
            may("allocation_scope", Kind::Text),
            may("alive", Kind::Bool),
            need("partition_count", Kind::Integer),
            need("free_count", Kind::Integer),
            may("capacity", Kind::Integer),
            may("used", Kind::Integer),
            may("network_guid", Kind::Text),
            may("contact_at", Kind::Integer),
            need("reported_state", Kind::Text),
            need("status", Kind::Text),
            may("status_at", Kind::Integer),
            may("status_since", Kind::Integer),
            $($more),*
        ]
    };
}

/// Members of [`NodeRow`].
pub(super) const NODE_ROW: &[Member] = node_members!();

/// Members of a node with all that is on it.
pub(super) const NODE: &[Member] = node_members!(
    need("partition_list", Kind::List(PARTITION)),
    need("software_installation_list", Kind::List(INSTALLATION))
);

const PARTITION: &[Member] = &[
    need("compute_partition_id", Kind::Text),
    need("busy", Kind::Bool),
    may("instance_guid", Kind::Text),
    may("title", Kind::Text),
    may("root_instance_title", Kind::Text),
    may("state", STATES),
    may("actual_state", ACTUAL),
];

const INSTALLATION: &[Member] = &[
    need("software_release_uri", Kind::Text),
    need("state", Kind::Text),
    need("reported_state", Kind::Text),
    need("status", Kind::Text),
    may("status_at", Kind::Integer),
    may("status_since", Kind::Integer),
];

/// Members of a release's place in a list of nodes.
pub(super) const WHERE_INSTALLED: &[Member] = &[
    need("computer_guid", Kind::Text),
    need("title", Kind::Text),
    need("software_release_uri", Kind::Text),
    need("state", Kind::Text),
    need("reported_state", Kind::Text),
    need("status", Kind::Text),
    may("status_at", Kind::Integer),
    may("status_since", Kind::Integer),
];

/// Members of an event.
pub(super) const EVENT: &[Member] = &[
    need("event_id", Kind::Integer),
    need("at", Kind::Integer),
    need("actor", Kind::Text),
    need("action", Kind::Text),
    need("subject", Kind::Text),
    may("title", Kind::Text),
    need("detail", Kind::Object),
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_instance_is_what_its_node_said_since_it_was_last_changed() {
        let changed = UNIX_EPOCH + Duration::from_secs(100);
        let record = |text: &str, state: &str, seconds: u64| Record {
            text: text.to_owned(),
            state: state.to_owned(),
            at: UNIX_EPOCH + Duration::from_secs(seconds),
            since: UNIX_EPOCH,
        };
        use InstanceState::{Destroyed, Started, Stopped};
        let started = Some(record("#access ok", "started", 100));
        let before = Some(record("#access ok", "started", 99));
        let failed = Some(record("#error no", "started", 120));
        for (wanted, placed, shared, report, expected) in [
            (Started, false, false, &None, Actual::Waiting),
            (Started, true, false, &None, Actual::Starting),
            (Started, true, false, &before, Actual::Starting),
            (Started, true, false, &started, Actual::Started),
            (Started, true, false, &failed, Actual::Error),
            (Started, true, true, &None, Actual::Started),
            (Started, true, true, &failed, Actual::Error),
            (Started, false, true, &None, Actual::Waiting),
            (Stopped, false, false, &None, Actual::Stopped),
            (Stopped, true, false, &started, Actual::Stopping),
            (
                Stopped,
                true,
                false,
                &Some(record("#access ok", "stopped", 101)),
                Actual::Stopped,
            ),
            (Destroyed, true, false, &started, Actual::Destroying),
            (Destroyed, true, false, &failed, Actual::Destroying),
            (Destroyed, false, true, &None, Actual::Destroying),
        ] {
            let found = Actual::of(wanted, placed, shared, report.as_ref(), changed);
            assert_eq!(found, expected, "{wanted} {placed} {shared} {report:?}");
        }
    }

    #[test]
    fn the_words_are_in_the_order_of_their_weight() {
        let all = [
            Actual::Stopped,
            Actual::Started,
            Actual::Destroying,
            Actual::Stopping,
            Actual::Starting,
            Actual::Waiting,
            Actual::Error,
        ];
        assert!(all.is_sorted());
        assert!(
            all.iter()
                .map(|actual| actual.as_str())
                .eq(Actual::WORDS.iter().copied())
        );
    }
}
