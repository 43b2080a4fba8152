//! Calls of our own, for who watches: whole trees and nodes. This Master keeps no history, and has no
//! accounts whose upgrades could be asked about.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use slap::{InstanceState, NodeId};
use slap_server::json_rpc::detail::{
    self, Actual, InstallationDetail, InstanceDetail, NodeRow, PartitionDetail, TreeDetail, TreeRow,
};
use slap_server::json_rpc::{Input, answer};
use slap_server::promises::Promise;
use slap_server::status::Record;

use super::super::reports::Subject;
use super::super::{App, Problem};
use super::{Answer, document};
use crate::domain::Instance;
use crate::store::NodeState;

/// Trees in one answer, if nothing else is asked for, and at most.
const TREES: i64 = 1_000;
/// Nodes of a tree that are named in a list.
const NODES_MAX: usize = 20;

fn report(app: &App, instance: &Instance) -> Option<Record> {
    let place = instance.place.as_ref().filter(|_| !instance.shared)?;
    app.reports.get(&Subject::Partition(place.clone()))
}

fn actual(instance: &Instance, report: Option<&Record>) -> Actual {
    Actual::of(
        instance.state,
        instance.place.is_some(),
        instance.shared,
        report,
        instance.timestamp.system(),
    )
}

fn waiting(instance: &Instance) -> Option<String> {
    let waits = instance.place.is_none();
    waits.then(|| "no instance on this machine serves it".to_owned())
}

fn object(texts: impl IntoIterator<Item = (String, Value)>) -> Map<String, Value> {
    texts.into_iter().collect()
}

fn instance(app: &App, instance: &Instance) -> InstanceDetail {
    let report = report(app, instance);
    InstanceDetail {
        title: instance.title.clone(),
        guid: document::guid(instance),
        parent: None,
        host: None,
        release: instance.release.clone(),
        software_type: instance.software_type.clone(),
        shared: instance.shared,
        state: instance.state,
        actual: actual(instance, report.as_ref()),
        report,
        place: instance
            .place
            .as_ref()
            .map(|place| (place.node.to_string(), place.partition.to_string())),
        waiting: waiting(instance),
        parameters: document::parameters(instance),
        sla: object(
            instance
                .sla
                .0
                .iter()
                .map(|(name, value)| (name.clone(), value.to_json())),
        ),
        connection: object(
            instance
                .connection
                .iter()
                .flatten()
                .map(|(name, text)| (name.clone(), Value::from(text.as_str()))),
        ),
        changed: instance.timestamp.system(),
        promises: promises(app, instance),
    }
}

/// The promises of an instance that shall be started: of others nobody looks.
fn promises(app: &App, instance: &Instance) -> Option<Vec<Promise>> {
    let place = instance.place.as_ref().filter(|_| !instance.shared)?;
    (instance.state == InstanceState::Started)
        .then(|| app.reports.promises(place))
        .flatten()
}

/// All instances of a tree, its root first.
fn members(app: &App, root: &Instance) -> Result<Vec<Instance>, Problem> {
    let mut members = app.store.tree(&root.root_title)?;
    members.retain(|member| !member.is_root || member.shared == root.shared);
    members.sort_by_key(|member| !member.is_root);
    Ok(members)
}

/// The root of the tree a call is about.
fn root_of(app: &App, input: &Input) -> Result<Instance, Problem> {
    let name = input
        .optional("tree_guid")
        .or_else(|| input.optional("title"))
        .ok_or_else(|| {
            Problem::bad_request("name the instance tree: by `title` or by `tree_guid`")
        })?;
    let found = match input.optional("tree_guid") {
        Some(guid) => app.store.instance_by_guid(guid)?,
        None => match app.store.root(name, false)? {
            Some(root) => Some(root),
            None => app.store.root(name, true)?,
        },
    };
    found
        .filter(|found| found.is_root)
        .ok_or_else(|| Problem::forbidden(format!("No instance tree {name} found.")))
}

/// The promises of a tree, those of the root first.
pub(super) fn tree_promises(app: &App, input: &Input) -> Answer {
    let root = root_of(app, input)?;
    let mut list = Vec::new();
    for member in members(app, &root)? {
        let guid = document::guid(&member);
        let found = promises(app, &member).unwrap_or_default();
        let named = |promise: &Promise| detail::promise(promise, (&guid, &member.title));
        list.extend(found.iter().map(named));
    }
    Ok(answer::list(list))
}

pub(super) fn tree(app: &App, input: &Input) -> Answer {
    let root = root_of(app, input)?;
    let instances = members(app, &root)?;
    let tree = TreeDetail {
        title: root.title.clone(),
        guid: document::guid(&root),
        instances: instances
            .iter()
            .map(|member| instance(app, member))
            .collect(),
        complete: true,
        ..TreeDetail::default()
    };
    Ok(tree.into())
}

pub(super) fn trees(app: &App, input: &Input) -> Answer {
    let number = |name: &str, otherwise: i64| {
        let asked = input.as_json().get(name).and_then(Value::as_i64);
        asked.unwrap_or(otherwise)
    };
    let part = input.optional("title").unwrap_or_default().to_lowercase();
    let mut roots = app.store.roots()?;
    roots.retain(|root| root.title.to_lowercase().contains(&part));
    roots.sort_by(|a, b| a.title.cmp(&b.title));
    let skip = usize::try_from(number("offset", 0)).unwrap_or(0);
    let limit = usize::try_from(number("limit", TREES).clamp(1, TREES)).unwrap_or(1);
    let rows = roots
        .iter()
        .skip(skip)
        .take(limit)
        .map(|root| row(app, root).map(Value::from));
    Ok(answer::list(rows.collect::<Result<Vec<_>, _>>()?))
}

fn row(app: &App, root: &Instance) -> Result<TreeRow, Problem> {
    let members = members(app, root)?;
    let nodes: BTreeSet<&str> = members
        .iter()
        .filter_map(|member| Some(member.place.as_ref()?.node.as_str()))
        .collect();
    Ok(TreeRow {
        title: root.title.clone(),
        guid: document::guid(root),
        project: None,
        release: root.release.clone(),
        state: root.state,
        actual: members
            .iter()
            .map(|member| actual(member, report(app, member).as_ref()))
            .max()
            .unwrap_or(Actual::Destroying),
        instances: members.len(),
        nodes: nodes
            .iter()
            .take(NODES_MAX)
            .map(|node| (*node).to_owned())
            .collect(),
        waiting: members.iter().find_map(waiting),
        upgrade: None,
        requested: None,
    })
}

fn node_row(state: &NodeState) -> NodeRow {
    let free = state
        .partitions
        .iter()
        .filter(|partition| partition.instance.is_none())
        .count();
    NodeRow {
        guid: state.node.to_string(),
        title: state.node.to_string(),
        partitions: i64::try_from(state.partitions.len()).unwrap_or(i64::MAX),
        free: i64::try_from(free).unwrap_or(i64::MAX),
        ..NodeRow::default()
    }
}

pub(super) fn nodes(app: &App) -> Answer {
    let mut rows = Vec::new();
    for node in app.store.nodes()? {
        if let Some(state) = app.store.node(&node.node)? {
            rows.push(Value::from(node_row(&state)));
        }
    }
    Ok(answer::list(rows))
}

fn installation(app: &App, node: &NodeId, release: &str, state: &str) -> InstallationDetail {
    InstallationDetail {
        release: release.to_owned(),
        state: state.to_owned(),
        report: app.reports.get(&Subject::Installation {
            node: node.to_string(),
            release: release.to_owned(),
        }),
    }
}

pub(super) fn node(app: &App, input: &Input) -> Answer {
    let state = super::calls::node(app, input)?;
    let partitions = state.partitions.iter().map(|partition| PartitionDetail {
        name: partition.place.partition.to_string(),
        busy: partition.instance.is_some(),
        instance: partition.instance.as_ref().map(|instance| {
            (
                document::guid(instance),
                instance.title.clone(),
                instance.root_title.clone(),
                instance.state,
                actual(instance, report(app, instance).as_ref()),
            )
        }),
    });
    let installations = state
        .installations
        .iter()
        .map(|(release, wanted)| installation(app, &state.node, release, wanted.as_str()));
    Ok(detail::node(node_row(&state), partitions, installations))
}

pub(super) fn release_nodes(app: &App, input: &Input) -> Answer {
    let wanted = input.text("software_release_uri");
    let mut rows = Vec::new();
    for node in app.store.nodes()? {
        let Some(state) = app.store.node(&node.node)? else {
            continue;
        };
        for (release, asked) in state.installations.iter().filter(|(url, _)| url == wanted) {
            let there = installation(app, &state.node, release, asked.as_str());
            let mut document = Value::from(there);
            document["computer_guid"] = Value::from(state.node.as_str());
            document["title"] = Value::from(state.node.as_str());
            rows.push(document);
        }
    }
    Ok(answer::list(rows))
}
