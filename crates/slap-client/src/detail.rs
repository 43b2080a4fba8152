//! Whole instance trees, nodes and what happened to them: JSON calls that only our Masters answer.
//! Each gives `None` where the Master does not have it.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};
use slap::{NodeId, PartitionId};

use crate::error::Error;
use crate::slap_api::Client;

/// Lines asked for at a time.
const PAGE: usize = 1_000;
/// Most lines that are read of one list.
const LINES_MAX: usize = 100_000;

/// What was last reported of something.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The state: `started`, `available`, …; empty for none.
    pub state: String,
    /// The text, such as `#access Instance correctly started`; empty for none.
    pub text: String,
    /// When, in microseconds since 1970.
    pub at: Option<i64>,
    /// Since when the first word of the text is the same.
    pub since: Option<i64>,
}

/// An instance tree in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSummary {
    /// Its title.
    pub title: String,
    /// Its reference.
    pub reference: String,
    /// The release of its root.
    pub release: String,
    /// What it shall be.
    pub state: String,
    /// How its worst instance is: `started`, `stopped`, `starting`, `stopping`, `destroying`,
    /// `waiting`, `error`.
    pub actual: String,
    /// How many instances it has.
    pub instances: i64,
    /// The nodes they are on.
    pub nodes: Vec<String>,
    /// Why one of them waits.
    pub waiting: Option<String>,
    /// The release it is offered, or upgraded to.
    pub upgrade: Option<String>,
}

/// An instance of a tree.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceInstance {
    /// Its title.
    pub title: String,
    /// Its reference.
    pub reference: String,
    /// The reference of the instance that requested it, where the Master tells.
    pub parent: Option<String>,
    /// Its release.
    pub release: String,
    /// Its software type.
    pub software_type: String,
    /// Whether it is a shared instance.
    pub shared: bool,
    /// What it shall be.
    pub state: String,
    /// How it is, as in [`ServiceSummary`].
    pub actual: String,
    /// What its node last reported.
    pub report: Report,
    /// Its node.
    pub node: Option<String>,
    /// Its partition.
    pub partition: Option<String>,
    /// Why it has no place.
    pub waiting: Option<String>,
    /// What it was requested with.
    pub parameters: Map<String, Json>,
    /// Where it may be placed.
    pub sla: Map<String, Json>,
    /// What it published.
    pub connection: Map<String, Json>,
    /// How many promises its node told of, where it did.
    pub promises: Option<i64>,
    /// Those of them that fail, the first ones: titles and what they say.
    pub failing: Vec<(String, String)>,
}

/// A promise of an instance, as its node told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromiseState {
    /// The title of its instance.
    pub instance: String,
    /// The reference of its instance.
    pub reference: String,
    /// Its title.
    pub title: String,
    /// Whether it fails.
    pub failed: bool,
    /// What it said when it was told of.
    pub message: String,
    /// Since when it fails or does not, in microseconds since 1970.
    pub since: i64,
    /// When it was run before it was told of.
    pub checked_at: i64,
    /// When it was to be run again then.
    pub next_check_at: Option<i64>,
}

/// What a node tells of a promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromiseTold {
    /// Its title.
    pub title: String,
    /// Whether it fails.
    pub failed: bool,
    /// What it said.
    pub message: String,
    /// When it was run, in microseconds since 1970.
    pub checked_at: i64,
    /// When it is to be run again.
    pub next_check_at: Option<i64>,
}

/// A whole instance tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its title.
    pub title: String,
    /// Its reference.
    pub reference: String,
    /// Its project, where the Master has projects.
    pub project: Option<String>,
    /// The login of its owner.
    pub owner: Option<String>,
    /// The release of its root.
    pub release: String,
    /// What it shall be.
    pub state: String,
    /// How its worst instance is, as in [`ServiceSummary`].
    pub actual: String,
    /// Why one of its instances waits.
    pub waiting: Option<String>,
    /// `ask` or `auto`: what happens when a better release exists.
    pub upgrade_policy: Option<String>,
    /// The upgrade that is offered (`planned`) or under way (`accepted`), and its release.
    pub upgrade: Option<(String, String)>,
    /// When it was requested, in microseconds since 1970.
    pub requested_at: Option<i64>,
    /// Its instances, the root first.
    pub instances: Vec<ServiceInstance>,
    /// Whether these are all.
    pub complete: bool,
}

/// Something that happened to a tree or a node.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceEvent {
    /// Its number: later events have higher ones.
    pub id: i64,
    /// When, in microseconds since 1970.
    pub at: i64,
    /// Who: a login, the reference of a node or an instance, or `master`.
    pub actor: String,
    /// What: `request`, `placed`, `report`, `publish`, …
    pub action: String,
    /// To what, by its reference.
    pub subject: String,
    /// The title of the instance.
    pub title: Option<String>,
    /// What else there is to say: `release`, `state`, `status`, `log`, `keys`, …
    pub detail: Json,
}

/// A node, with what is on it where one asked for one.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeState {
    /// Its reference.
    pub reference: String,
    /// Its title.
    pub title: String,
    /// Its project.
    pub project: Option<String>,
    /// Whether it takes new instances, where the Master tells: `open`, …
    pub scope: Option<String>,
    /// Whether it answers, where the Master tells.
    pub alive: Option<bool>,
    /// Its partitions.
    pub partitions: i64,
    /// Those that are free.
    pub free: i64,
    /// When it last called, in microseconds since 1970.
    pub contact_at: Option<i64>,
    /// What it last reported.
    pub report: Report,
    /// What is on its partitions.
    pub places: Vec<NodePartition>,
    /// Its releases.
    pub installations: Vec<NodeRelease>,
}

/// A partition of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePartition {
    /// Its name.
    pub name: String,
    /// Whether something is on it.
    pub busy: bool,
    /// What is on it, if one may see it: title, title of its tree, how it is.
    pub instance: Option<(String, String, String)>,
}

/// A release on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRelease {
    /// The node.
    pub node: String,
    /// The node's title.
    pub node_title: String,
    /// The release.
    pub release: String,
    /// What is asked for: `available` or `destroyed`.
    pub state: String,
    /// What the node last reported.
    pub report: Report,
}

/// Which events are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventRange {
    /// Younger than this one.
    pub after: Option<i64>,
    /// Older than this one.
    pub before: Option<i64>,
    /// So many at most, the latest of them.
    pub limit: Option<i64>,
}

/// What an owner says of an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeAnswer {
    /// Take it.
    Accept,
    /// Never that one.
    Reject,
}

fn text(entry: &Json, name: &str) -> String {
    maybe(entry, name).unwrap_or_default()
}

fn maybe(entry: &Json, name: &str) -> Option<String> {
    entry[name].as_str().map(str::to_owned)
}

fn object(entry: &Json, name: &str) -> Map<String, Json> {
    entry[name].as_object().cloned().unwrap_or_default()
}

fn entries<'a>(answer: &'a Json, name: &str) -> impl Iterator<Item = &'a Json> {
    answer[name].as_array().into_iter().flatten()
}

fn report(entry: &Json) -> Report {
    Report {
        state: text(entry, "reported_state"),
        text: text(entry, "status"),
        at: entry["status_at"].as_i64(),
        since: entry["status_since"].as_i64(),
    }
}

fn summary(entry: &Json) -> ServiceSummary {
    ServiceSummary {
        title: text(entry, "title"),
        reference: text(entry, "tree_guid"),
        release: text(entry, "software_release_uri"),
        state: text(entry, "state"),
        actual: text(entry, "actual_state"),
        instances: entry["instance_count"].as_i64().unwrap_or_default(),
        nodes: entries(entry, "computer_guid_list")
            .filter_map(|node| node.as_str().map(str::to_owned))
            .collect(),
        waiting: maybe(entry, "waiting_reason"),
        upgrade: maybe(entry, "upgrade_release_uri"),
    }
}

fn instance(entry: &Json) -> ServiceInstance {
    ServiceInstance {
        title: text(entry, "title"),
        reference: text(entry, "instance_guid"),
        parent: maybe(entry, "parent_instance_guid"),
        release: text(entry, "software_release_uri"),
        software_type: text(entry, "software_type"),
        shared: entry["shared"].as_bool().unwrap_or_default(),
        state: text(entry, "state"),
        actual: text(entry, "actual_state"),
        report: report(entry),
        node: maybe(entry, "computer_guid"),
        partition: maybe(entry, "compute_partition_id"),
        waiting: maybe(entry, "waiting_reason"),
        parameters: object(entry, "parameters"),
        sla: object(entry, "sla_parameters"),
        connection: object(entry, "connection_parameters"),
        promises: entry["promise_count"].as_i64(),
        failing: entries(entry, "failing_promise_list")
            .map(|promise| (text(promise, "title"), text(promise, "message")))
            .collect(),
    }
}

fn promise(entry: &Json) -> PromiseState {
    let number = |name: &str| entry[name].as_i64();
    PromiseState {
        instance: text(entry, "instance_title"),
        reference: text(entry, "instance_guid"),
        title: text(entry, "title"),
        failed: entry["failed"] == true,
        message: text(entry, "message"),
        since: number("since").unwrap_or_default(),
        checked_at: number("checked_at").unwrap_or_default(),
        next_check_at: number("next_check_at"),
    }
}

fn told(promise: &PromiseTold) -> Json {
    let mut document = json!({
        "title": promise.title,
        "failed": promise.failed,
        "message": promise.message,
        "checked_at": promise.checked_at,
    });
    if let Some(next) = promise.next_check_at {
        document["next_check_at"] = json!(next);
    }
    document
}

fn service(entry: &Json) -> Service {
    let upgrade = maybe(entry, "upgrade_state").zip(maybe(entry, "upgrade_release_uri"));
    Service {
        title: text(entry, "title"),
        reference: text(entry, "tree_guid"),
        project: maybe(entry, "project_guid"),
        owner: maybe(entry, "owner"),
        release: text(entry, "software_release_uri"),
        state: text(entry, "state"),
        actual: text(entry, "actual_state"),
        waiting: maybe(entry, "waiting_reason"),
        upgrade_policy: maybe(entry, "upgrade_policy"),
        upgrade,
        requested_at: entry["requested_at"].as_i64(),
        instances: entries(entry, "instance_list").map(instance).collect(),
        complete: entry["complete"].as_bool().unwrap_or(true),
    }
}

fn event(entry: &Json) -> ServiceEvent {
    ServiceEvent {
        id: entry["event_id"].as_i64().unwrap_or_default(),
        at: entry["at"].as_i64().unwrap_or_default(),
        actor: text(entry, "actor"),
        action: text(entry, "action"),
        subject: text(entry, "subject"),
        title: maybe(entry, "title"),
        detail: entry["detail"].clone(),
    }
}

fn release(entry: &Json, node: Option<(&str, &str)>) -> NodeRelease {
    NodeRelease {
        node: node.map_or_else(|| text(entry, "computer_guid"), |(node, _)| node.to_owned()),
        node_title: node.map_or_else(|| text(entry, "title"), |(_, title)| title.to_owned()),
        release: text(entry, "software_release_uri"),
        state: text(entry, "state"),
        report: report(entry),
    }
}

fn node(entry: &Json) -> NodeState {
    let (reference, title) = (text(entry, "computer_guid"), text(entry, "title"));
    NodeState {
        project: maybe(entry, "project_guid"),
        scope: maybe(entry, "allocation_scope"),
        alive: entry["alive"].as_bool(),
        partitions: entry["partition_count"].as_i64().unwrap_or_default(),
        free: entry["free_count"].as_i64().unwrap_or_default(),
        contact_at: entry["contact_at"].as_i64(),
        report: report(entry),
        places: entries(entry, "partition_list")
            .map(|place| NodePartition {
                name: text(place, "compute_partition_id"),
                busy: place["busy"].as_bool().unwrap_or_default(),
                instance: maybe(place, "title").map(|title| {
                    let tree = text(place, "root_instance_title");
                    (title, tree, text(place, "actual_state"))
                }),
            })
            .collect(),
        installations: entries(entry, "software_installation_list")
            .map(|there| release(there, Some((&reference, &title))))
            .collect(),
        reference,
        title,
    }
}

impl Client {
    /// My instance trees whose titles contain a text, with their states, by title.
    ///
    /// # Errors
    /// As any call.
    pub fn service_list(&self, part: &str) -> Result<Option<Vec<ServiceSummary>>, Error> {
        let mut found = Vec::new();
        loop {
            let input = json!({"title": part, "offset": found.len(), "limit": PAGE});
            let call = "slapos.allDocs.v0.instance_tree_detail_list";
            let Some(answer) = self.json(call, &input)? else {
                return Ok(None);
            };
            let before = found.len();
            found.extend(entries(&answer, "result_list").map(summary));
            if found.len() < before + PAGE || found.len() >= LINES_MAX {
                return Ok(Some(found));
            }
        }
    }

    /// A whole instance tree, by its title.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 403 when there is none of this title.
    pub fn whole_service(&self, title: &str) -> Result<Option<Service>, Error> {
        let call = "slapos.get.v0.instance_tree_detail";
        let answer = self.json(call, &json!({"title": title}))?;
        Ok(answer.as_ref().map(service))
    }

    /// As [`Client::whole_service`], by the tree's reference, which it keeps to its end.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 403 when there is none, or nothing is left of it.
    pub fn whole_tree(&self, reference: &str) -> Result<Option<Service>, Error> {
        let call = "slapos.get.v0.instance_tree_detail";
        let answer = self.json(call, &json!({"tree_guid": reference}))?;
        Ok(answer.as_ref().map(service))
    }

    /// The promises of an instance tree, by its title; those of the root first.
    ///
    /// # Errors
    /// As [`Client::whole_service`].
    pub fn service_promises(&self, title: &str) -> Result<Option<Vec<PromiseState>>, Error> {
        let call = "slapos.allDocs.v0.instance_tree_promise_list";
        let answer = self.json(call, &json!({"title": title}))?;
        Ok(answer.map(|answer| entries(&answer, "result_list").map(promise).collect()))
    }

    /// Tells how the promises of the instance on a partition are: all of them.
    ///
    /// # Errors
    /// As any call.
    pub fn tell_promises(
        &self,
        node: &NodeId,
        partition: &PartitionId,
        promises: &[PromiseTold],
    ) -> Result<Option<()>, Error> {
        let list: Vec<Json> = promises.iter().map(told).collect();
        let input = json!({
            "computer_guid": node.as_str(),
            "compute_partition_id": partition.as_str(),
            "promise_list": list,
        });
        let call = "slapos.put.v0.software_instance_promise_list";
        Ok(self.json(call, &input)?.map(drop))
    }

    /// What happened to an instance tree, the latest first.
    ///
    /// # Errors
    /// As [`Client::whole_service`].
    pub fn service_events(
        &self,
        title: &str,
        range: EventRange,
    ) -> Result<Option<Vec<ServiceEvent>>, Error> {
        let call = "slapos.allDocs.v0.instance_tree_event_list";
        self.events_of(call, ("title", title), range)
    }

    /// As [`Client::service_events`], by the tree's reference, which stays when it is renamed.
    ///
    /// # Errors
    /// As [`Client::whole_service`].
    pub fn tree_events(
        &self,
        reference: &str,
        range: EventRange,
    ) -> Result<Option<Vec<ServiceEvent>>, Error> {
        let call = "slapos.allDocs.v0.instance_tree_event_list";
        self.events_of(call, ("tree_guid", reference), range)
    }

    /// What happened to a node, the latest first.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 403 when there is no such node.
    pub fn node_events(
        &self,
        node: &str,
        range: EventRange,
    ) -> Result<Option<Vec<ServiceEvent>>, Error> {
        let call = "slapos.allDocs.v0.compute_node_event_list";
        self.events_of(call, ("computer_guid", node), range)
    }

    fn events_of(
        &self,
        call: &str,
        (name, value): (&str, &str),
        range: EventRange,
    ) -> Result<Option<Vec<ServiceEvent>>, Error> {
        let numbers = [
            ("after", range.after),
            ("before", range.before),
            ("limit", range.limit),
        ];
        let mut input: BTreeMap<&str, Json> = numbers
            .into_iter()
            .filter_map(|(name, number)| Some((name, json!(number?))))
            .collect();
        input.insert(name, json!(value));
        let answer = self.json(call, &json!(input))?;
        Ok(answer.map(|answer| entries(&answer, "result_list").map(event).collect()))
    }

    /// The nodes I may see, with their states.
    ///
    /// # Errors
    /// As any call.
    pub fn node_list(&self) -> Result<Option<Vec<NodeState>>, Error> {
        let call = "slapos.allDocs.v0.compute_node_detail_list";
        let answer = self.json(call, &json!({}))?;
        Ok(answer.map(|answer| entries(&answer, "result_list").map(node).collect()))
    }

    /// A node with its partitions and releases.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 403 when there is no such node.
    pub fn whole_node(&self, reference: &str) -> Result<Option<NodeState>, Error> {
        let call = "slapos.get.v0.compute_node_detail";
        let answer = self.json(call, &json!({"computer_guid": reference}))?;
        Ok(answer.as_ref().map(node))
    }

    /// The nodes on which a release was asked for.
    ///
    /// # Errors
    /// As any call.
    pub fn release_nodes(&self, url: &str) -> Result<Option<Vec<NodeRelease>>, Error> {
        let call = "slapos.allDocs.v0.software_release_node_list";
        let answer = self.json(call, &json!({"software_release_uri": url}))?;
        Ok(answer.map(|answer| {
            entries(&answer, "result_list")
                .map(|entry| release(entry, None))
                .collect()
        }))
    }

    /// Answers the upgrade a tree is offered; what the Master says.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 409 when none is offered.
    pub fn answer_upgrade(
        &self,
        title: &str,
        reply: UpgradeAnswer,
    ) -> Result<Option<String>, Error> {
        let reply = match reply {
            UpgradeAnswer::Accept => "accept",
            UpgradeAnswer::Reject => "reject",
        };
        self.upgrade(&json!({"title": title, "answer": reply}))
    }

    /// Says whether better releases are asked about (`ask`) or taken (`auto`).
    ///
    /// # Errors
    /// As any call.
    pub fn set_upgrade_policy(&self, title: &str, policy: &str) -> Result<Option<String>, Error> {
        self.upgrade(&json!({"title": title, "policy": policy}))
    }

    fn upgrade(&self, input: &Json) -> Result<Option<String>, Error> {
        let answer = self.json("slapos.put.v0.instance_tree_upgrade", input)?;
        Ok(answer.map(|answer| text(&answer, "title")))
    }

    /// Gives the root of an instance tree, and with it the tree, another title. `None` where the
    /// Master cannot be asked.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is none of this title, or the new one is taken.
    pub fn rename_service(&self, title: &str, new: &str) -> Result<Option<()>, Error> {
        let reference = match self.whole_service(title)? {
            Some(service) => service
                .instances
                .first()
                .map(|root| root.reference.clone())
                .unwrap_or_default(),
            None => {
                let call = "slapos.get.v0.instance_tree";
                let Some(root) = self.json(call, &json!({"title": title}))? else {
                    return Ok(None);
                };
                text(&root, "instance_guid")
            }
        };
        if reference.is_empty() {
            return Err(Error::NotReady {
                what: format!("renaming {title}"),
                detail: "the Master does not tell its reference yet".to_owned(),
            });
        }
        let call = "slapos.put.v0.software_instance_title";
        let done = self.json(call, &json!({"instance_guid": reference, "title": new}))?;
        Ok(done.map(drop))
    }
}
