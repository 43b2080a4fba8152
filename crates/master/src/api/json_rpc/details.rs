//! Calls of our own, for who watches: whole trees, nodes, what happened to them, upgrades.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use slap_server::json_rpc::detail::{
    self, Actual, InstallationDetail, InstanceDetail, NodeRow, PartitionDetail, TreeDetail, TreeRow,
};
use slap_server::json_rpc::{ErrorType, Input, JsonError, answer};
use slap_server::status::Record;

use super::super::{App, Call};
use super::{Answer, error, node as node_of, refused, unknown};
use crate::domain::upgrade::Answer as Reply;
use crate::domain::{Timestamp, TreeKey};
use crate::store::{
    EventQuery, EventRecord, InstallationRecord, InstanceRecord, MemberState, NodeRecord, Page,
    Status, StoreError, Texts, TreeFilter, TreeState, TreesOf, WholeTree,
};

/// Trees in one answer, if nothing else is asked for, and at most.
const TREES: i64 = 1_000;
/// Events in one answer, if nothing else is asked for.
const EVENTS: i64 = 100;
/// Nodes of a tree that are named in a list.
const NODES_MAX: usize = 20;

fn report(status: &Status) -> Option<Record> {
    let (text, at) = (status.text.clone()?, status.at?);
    Some(Record {
        text,
        state: status.reported.clone(),
        at: at.system(),
        since: status.since.unwrap_or(at).system(),
    })
}

fn texts(texts: Texts) -> Map<String, Value> {
    texts
        .into_iter()
        .map(|(name, text)| (name, Value::String(text)))
        .collect()
}

pub(crate) fn actual(record: &InstanceRecord) -> Actual {
    Actual::of(
        record.state,
        record.placement.is_some(),
        record.shared,
        report(&record.status).as_ref(),
        record.timestamp.system(),
    )
}

fn actual_of(member: &MemberState) -> Actual {
    Actual::of(
        member.state,
        member.node.is_some(),
        member.shared,
        report(&member.status).as_ref(),
        member.timestamp.system(),
    )
}

/// The promises of a tree, those of the root first.
pub(super) async fn tree_promises(app: &App, call: &Call, input: &Input) -> Answer {
    let key = seen_tree(app, call, input).await?;
    let found = app.store.tree_promises(call.caller, key).await;
    let found = found.map_err(no_such_tree)?;
    Ok(answer::list(found.iter().flat_map(
        |(key, title, promises)| {
            let guid = key.to_string();
            promises
                .iter()
                .map(move |promise| detail::promise(promise, (&guid, title)))
        },
    )))
}

/// A number that is asked for, or not.
fn number(input: &Input, name: &str) -> Option<i64> {
    input.as_json().get(name).and_then(Value::as_i64)
}

fn no_such_tree(error: StoreError) -> JsonError {
    refused(error, ErrorType::TreeNotFound)
}

/// The tree a call is about.
async fn tree_of(app: &App, call: &Call, input: &Input) -> Result<TreeKey, JsonError> {
    named_tree(input, async |title| {
        app.store.tree_titled(call.caller, title).await
    })
    .await
}

/// The tree a call wants to see, which may be one that is being destroyed.
async fn seen_tree(app: &App, call: &Call, input: &Input) -> Result<TreeKey, JsonError> {
    named_tree(input, async |title| {
        app.store.tree_last_titled(call.caller, title).await
    })
    .await
}

async fn named_tree(
    input: &Input,
    titled: impl AsyncFnOnce(String) -> Result<Option<TreeKey>, StoreError>,
) -> Result<TreeKey, JsonError> {
    let kind = ErrorType::TreeNotFound;
    if let Some(guid) = input.optional("tree_guid") {
        return guid
            .parse()
            .map_err(|_| unknown(kind, "instance tree", guid));
    }
    let title = input.optional("title").ok_or_else(|| {
        JsonError::new(
            ErrorType::InvalidInput,
            "name the instance tree: by `title` or by `tree_guid`",
        )
    })?;
    titled(title.to_owned())
        .await
        .map_err(no_such_tree)?
        .ok_or_else(|| unknown(kind, "instance tree", title))
}

pub(super) async fn tree(app: &App, call: &Call, input: &Input) -> Answer {
    let key = seen_tree(app, call, input).await?;
    let tree = app
        .store
        .whole_tree(call.caller, key)
        .await
        .map_err(no_such_tree)?;
    Ok(whole(tree).into())
}

fn whole(mut tree: WholeTree) -> TreeDetail {
    let instances = tree.members.into_iter().map(|(record, waiting)| {
        let actual = actual(&record);
        InstanceDetail {
            guid: record.key.to_string(),
            parent: record.requester.map(|key| key.to_string()),
            host: record.host.map(|key| key.to_string()),
            state: record.state,
            actual,
            report: report(&record.status),
            place: record
                .placement
                .map(|place| (place.node.to_string(), place.partition)),
            waiting,
            parameters: texts(record.parameters),
            sla: texts(record.sla),
            connection: texts(record.connection.unwrap_or_default()),
            changed: record.timestamp.system(),
            promises: tree.promises.remove(&record.key),
            title: record.title,
            release: record.release,
            software_type: record.software_type,
            shared: record.shared,
        }
    });
    TreeDetail {
        title: tree.title,
        guid: tree.key.to_string(),
        project: Some(tree.project.to_string()),
        owner: Some(tree.owner),
        upgrade_policy: Some(tree.policy.as_str().to_owned()),
        upgrade: tree
            .upgrade
            .map(|(state, release)| (state.as_str().to_owned(), release)),
        requested: Some(tree.created_at.system()),
        instances: instances.collect(),
        complete: tree.complete,
    }
}

pub(super) async fn trees(app: &App, call: &Call, input: &Input) -> Answer {
    let page = Page {
        skip: number(input, "offset").unwrap_or(0).max(0),
        limit: number(input, "limit").unwrap_or(TREES).clamp(1, TREES),
    };
    let title = input.optional("title").unwrap_or_default().to_owned();
    let trees = app
        .store
        .tree_states(call.caller, TreesOf::Caller, title, TreeFilter::All, page)
        .await
        .map_err(|failure| error(failure.into()))?;
    Ok(answer::list(
        trees.into_iter().map(|tree| Value::from(row(tree))),
    ))
}

fn row(tree: TreeState) -> TreeRow {
    let nodes: BTreeSet<_> = tree
        .members
        .iter()
        .filter_map(|member| member.node)
        .collect();
    TreeRow {
        title: tree.title,
        guid: tree.key.to_string(),
        project: Some(tree.project.to_string()),
        release: tree.release,
        state: tree.state,
        actual: tree
            .members
            .iter()
            .map(actual_of)
            .max()
            .unwrap_or(Actual::Destroying),
        instances: tree.members.len(),
        nodes: nodes
            .iter()
            .take(NODES_MAX)
            .map(ToString::to_string)
            .collect(),
        waiting: tree.waiting,
        upgrade: tree.upgrade,
        requested: Some(tree.created_at.system()),
    }
}

fn events_asked_for(input: &Input) -> EventQuery {
    EventQuery {
        before: number(input, "before"),
        after: number(input, "after"),
        limit: number(input, "limit").unwrap_or(EVENTS),
    }
}

fn events(events: Vec<EventRecord>) -> Value {
    answer::list(events.into_iter().map(|event| {
        let mut document = json!({
            "event_id": event.note.id,
            "at": event.note.at.0,
            "actor": event.note.actor,
            "action": event.note.action,
            "subject": event.note.subject,
            "detail": event.note.detail,
        });
        if let Some(title) = event.title {
            document["title"] = json!(title);
        }
        document
    }))
}

pub(super) async fn tree_events(app: &App, call: &Call, input: &Input) -> Answer {
    let key = seen_tree(app, call, input).await?;
    let found = app
        .store
        .tree_events(call.caller, key, events_asked_for(input))
        .await;
    found.map(events).map_err(no_such_tree)
}

pub(super) async fn node_events(app: &App, call: &Call, input: &Input) -> Answer {
    let node = node_of(input)?;
    let found = app
        .store
        .node_events(call.caller, node, events_asked_for(input))
        .await;
    found
        .map(events)
        .map_err(|error| refused(error, ErrorType::NodeNotFound))
}

fn node_row(node: NodeRecord) -> NodeRow {
    NodeRow {
        guid: node.node.to_string(),
        title: node.title,
        project: Some(node.project.to_string()),
        scope: Some(node.scope.to_string()),
        alive: Some(node.alive),
        partitions: node.partitions,
        free: node.free,
        capacity: node.capacity,
        used: Some(node.used),
        network: node.network.map(|network| network.to_string()),
        contact: node.contact_at.map(Timestamp::system),
        report: report(&node.status),
    }
}

pub(super) async fn nodes(app: &App, call: &Call) -> Answer {
    let nodes = app
        .store
        .nodes(call.caller)
        .await
        .map_err(|failure| error(failure.into()))?;
    Ok(answer::list(
        nodes.into_iter().map(|node| Value::from(node_row(node))),
    ))
}

fn installation(record: InstallationRecord) -> InstallationDetail {
    InstallationDetail {
        report: report(&record.status),
        release: record.release,
        state: record.state.as_str().to_owned(),
    }
}

pub(super) async fn node(app: &App, call: &Call, input: &Input) -> Answer {
    let reference = node_of(input)?;
    let whole = app
        .store
        .whole_node(call.caller, reference)
        .await
        .map_err(|error| refused(error, ErrorType::NodeNotFound))?;
    let partitions = whole
        .partitions
        .into_iter()
        .map(|partition| PartitionDetail {
            busy: partition.busy,
            instance: partition.instance.map(|record| {
                let actual = actual(&record);
                let state = record.state;
                (
                    record.key.to_string(),
                    record.title,
                    record.root_title,
                    state,
                    actual,
                )
            }),
            name: partition.name,
        });
    let installations = whole.installations.into_iter().map(installation);
    Ok(detail::node(
        node_row(whole.node),
        partitions,
        installations,
    ))
}

pub(super) async fn release_nodes(app: &App, call: &Call, input: &Input) -> Answer {
    let release = input.text("software_release_uri").to_owned();
    let places = app
        .store
        .installed_on(call.caller, release)
        .await
        .map_err(|failure| error(failure.into()))?;
    Ok(answer::list(places.into_iter().map(|place| {
        let node = place.installation.node.to_string();
        let mut document = Value::from(installation(place.installation));
        document["computer_guid"] = json!(node);
        document["title"] = json!(place.title);
        document
    })))
}

/// Says whether better releases are asked about, and answers the open question.
pub(super) async fn upgrade(app: &App, call: &Call, input: &Input) -> Answer {
    let key = tree_of(app, call, input).await?;
    let invalid = |text: String| JsonError::new(ErrorType::InvalidInput, text);
    let policy = input.optional("policy");
    let reply = match input.optional("answer") {
        Some("accept") => Some(Reply::Accept),
        Some(_) => Some(Reply::Reject),
        None => None,
    };
    if policy.is_none() && reply.is_none() {
        return Err(invalid(
            "say what is to be done: an `answer`, a `policy`, or both".to_owned(),
        ));
    }
    let mut said = Vec::new();
    if let Some(reply) = reply {
        let open = app.store.open_decision(call.caller, key).await;
        let open = open.map_err(no_such_tree)?;
        let done = app
            .store
            .answer_decision(call.caller, open.key, reply)
            .await
            .map_err(no_such_tree)?;
        said.push(format!("Upgrade to {}: {}", done.to, done.state));
    }
    if let Some(policy) = policy {
        let parsed = policy
            .parse()
            .map_err(|error: crate::domain::UnknownWord| invalid(error.to_string()))?;
        app.store
            .set_upgrade_policy(call.caller, key, parsed)
            .await
            .map_err(no_such_tree)?;
        said.push(format!("Upgrade policy: {policy}"));
    }
    Ok(answer::success(said.join("; ")))
}
