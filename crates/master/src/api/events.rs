//! `GET /events`: whoever waits for a change is told of it at once, as server-sent events.
//!
//! An event says that something changed and which state it is in now, not how it changed: who reads
//! it asks for the document. So nothing is missed by who was away: the first event of a stream tells
//! the present state, unless `Last-Event-ID` says that it is known.
//!
//! | caller | asks | is told |
//! |---|---|---|
//! | node | | `node` `{"computer_guid", "revision"}`: what it is told to do |
//! | instance | | `instance` `{"instance_guid", "processing_timestamp", …}`: its partition |
//! | person | `?node=COMP-1` | `node`, of that one; also when only its releases or its life sign are news |
//! | person | `?tree=HOSTSUBS-1`, or a title | `tree` `{"tree_guid", "title"}` |
//! | person | | `reset` `{}` (read all anew), then `node` and `tree` of all it may see |
//!
//! A stream ends when its caller is not who it was any more: a certificate that is revoked ends it
//! with the next event or heartbeat.

mod stream;
mod streams;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::Response;
use serde_json::json;
use slap_server::{Fields, Problem};
use tokio::sync::broadcast;

use super::call::Origin;
use super::endpoint::handler;
use super::problem::unauthenticated;
use super::{Api, App, Call, Endpoint, reply};
use crate::domain::{Caller, InstanceKey, NodeKind, NodeReference, TreeKey};
use crate::events::{Subscription, Topic};
use crate::store::{Changes, InstanceRecord, Placement, StoreError, Subject};
pub(super) use streams::Streams;

pub(super) const ENDPOINTS: &[Endpoint] =
    // Browsers come with a session, which the door does not know.
    &[Endpoint::get(Api::Events, "events", handler!(events)).public()];

/// The media type; the server knows such answers as endless by it.
const EVENT_STREAM: &str = "text/event-stream";

async fn events(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let last = call.header("last-event-id").map(str::to_owned);
    let arguments = call.arguments();
    let visitor = Visitor::of(&app, &call).await?;
    let wanted = wanted(&app, visitor.caller, &arguments).await?;
    let mut source = Source::new(&app, visitor.caller, &wanted).await?;
    // What cannot be told is refused here, with a status.
    let first = source.look(&app, visitor.caller).await?;
    let seat = app.streams.open(visitor.caller)?;
    let body = stream::start(app, visitor, source, first, last, seat);
    let mut response = reply::with(StatusCode::OK, EVENT_STREAM, Body::new(body));
    reply::set(&mut response, header::CACHE_CONTROL, "no-store");
    // Proxies in front of us shall hand on what they get.
    reply::set(
        &mut response,
        HeaderName::from_static("x-accel-buffering"),
        "no",
    );
    Ok(response)
}

/// Who reads a stream.
struct Visitor {
    caller: Caller,
    headers: HeaderMap,
    origin: Origin,
}

impl Visitor {
    async fn of(app: &App, call: &Call) -> Result<Self, Problem> {
        let mut visitor = Visitor {
            caller: Caller::Anonymous,
            headers: call.headers.clone(),
            origin: call.origin.clone(),
        };
        visitor.caller = visitor.identify(app).await?;
        if visitor.caller == Caller::Anonymous {
            return Err(unauthenticated());
        }
        Ok(visitor)
    }

    #[cfg(test)]
    fn nobody(caller: Caller) -> Self {
        let peer = crate::server::Peer {
            address: std::net::SocketAddr::from(([127, 0, 0, 1], 1)),
            certificate: None,
            tls: false,
        };
        let headers = HeaderMap::new();
        Visitor {
            caller,
            origin: Origin::of(&peer, &headers, &[], ""),
            headers,
        }
    }

    /// Who it is now: by certificate, else by session.
    async fn identify(&self, app: &App) -> Result<Caller, StoreError> {
        let caller = app.auth.caller(&self.headers, &self.origin.peer).await?;
        if caller != Caller::Anonymous {
            return Ok(caller);
        }
        let secure = self.origin.is_secure();
        let session = app.auth.session(&self.headers, secure).await?;
        Ok(session.map_or(Caller::Anonymous, |session| session.caller))
    }

    /// Whether it still is who it was.
    async fn is_known(&self, app: &App) -> bool {
        match self.identify(app).await {
            Ok(caller) => caller == self.caller,
            Err(error) => {
                tracing::debug!("a stream of events ends: {error}");
                false
            }
        }
    }
}

/// What a stream is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Node(NodeReference),
    Instance(InstanceKey),
    Tree(TreeKey),
    All,
}

async fn wanted(app: &App, caller: Caller, arguments: &Fields<'_>) -> Result<Wanted, Problem> {
    if let Some(text) = arguments.given("node") {
        let node = text.parse().map_err(Problem::not_found)?;
        return Ok(Wanted::Node(node));
    }
    if let Some(text) = arguments.given("tree") {
        if let Ok(key) = text.parse() {
            return Ok(Wanted::Tree(key));
        }
        let found = app.store.tree_titled(caller, text.to_owned()).await?;
        let shown: String = text.chars().take(80).collect();
        return found.map(Wanted::Tree).ok_or_else(|| {
            Problem::not_found(format!(
                "there is no instance tree {shown:?} that you may see"
            ))
        });
    }
    match caller {
        Caller::Node(key) => Ok(Wanted::Node(key.reference(NodeKind::Compute))),
        Caller::Instance { instance, .. } => Ok(Wanted::Instance(instance)),
        Caller::Person { .. } | Caller::Master => Ok(Wanted::All),
        Caller::Anonymous => Err(unauthenticated()),
    }
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    /// The state that is told, where it has a name: who has it already is not told again.
    id: Option<String>,
    kind: &'static str,
    data: serde_json::Value,
}

impl Event {
    /// As it is sent. Nothing in it can hold the end of a line: data is JSON, ids are ours.
    fn text(&self) -> String {
        let (kind, data) = (self.kind, &self.data);
        match &self.id {
            Some(id) => format!("event: {kind}\nid: {id}\ndata: {data}\n\n"),
            None => format!("event: {kind}\ndata: {data}\n\n"),
        }
    }
}

/// Where the events of a stream come from: what wakes it, and what is then looked at.
enum Source {
    Node {
        node: NodeReference,
        change: Subscription,
    },
    /// A node as people are shown it.
    Shown {
        node: NodeReference,
        change: Subscription,
        /// Whether something changed since it was told.
        changed: bool,
    },
    Instance {
        key: InstanceKey,
        tree: Subscription,
        /// The node it is on, whose partitions' documents hold more than what is of its tree.
        node: Option<(NodeReference, Subscription)>,
    },
    Tree {
        key: TreeKey,
        change: Subscription,
        /// Whether something changed since it was told.
        changed: bool,
    },
    All {
        changes: broadcast::Receiver<Arc<Changes>>,
        gathered: Changes,
    },
}

/// Most things that are told one by one; more are "anything".
const GATHERED_MAX: usize = 256;

impl Source {
    /// Begins to wait before the first look: nothing falls between the two.
    async fn new(app: &App, caller: Caller, wanted: &Wanted) -> Result<Self, Problem> {
        let hub = app.store.hub();
        Ok(match *wanted {
            Wanted::Node(node) if matches!(caller, Caller::Person { .. }) => Source::Shown {
                node,
                change: hub.subscribe(Topic::Shown(node.key)),
                changed: false,
            },
            Wanted::Node(node) => Source::Node {
                node,
                change: hub.subscribe(Topic::Node(node.key)),
            },
            Wanted::Instance(key) => {
                let record = app.store.instance(caller, Subject::Instance(key)).await?;
                Source::Instance {
                    key,
                    tree: hub.subscribe(Topic::Tree(record.tree)),
                    node: None,
                }
            }
            Wanted::Tree(key) => Source::Tree {
                key,
                change: hub.subscribe(Topic::Tree(key)),
                changed: true,
            },
            Wanted::All => Source::All {
                changes: hub.follow(),
                gathered: Changes {
                    everything: true,
                    ..Changes::default()
                },
            },
        })
    }

    /// Returns when there may be something new.
    async fn changed(&mut self) {
        match self {
            Source::Node { change, .. } => change.changed().await,
            Source::Instance { tree, node, .. } => match node {
                Some((_, node)) => {
                    tokio::select! {
                        () = tree.changed() => {}
                        () = node.changed() => {}
                    }
                }
                None => tree.changed().await,
            },
            Source::Tree {
                change, changed, ..
            }
            | Source::Shown {
                change, changed, ..
            } => {
                change.changed().await;
                *changed = true;
            }
            Source::All { changes, gathered } => {
                gather(gathered, changes.recv().await);
            }
        }
    }

    /// What there is to tell now; refused when the caller may not know any more.
    async fn look(&mut self, app: &App, caller: Caller) -> Result<Vec<Event>, Problem> {
        match self {
            Source::Node { node, .. } => {
                let revision = app.store.watched_revision(caller, *node).await?;
                let mut event = node_event(*node, revision);
                event.id = Some(format!("{}.{revision}", app.epoch));
                Ok(vec![event])
            }
            Source::Shown { node, changed, .. } => {
                let revision = app.store.watched_revision(caller, *node).await?;
                let mut event = node_event(*node, revision);
                if !std::mem::take(changed) {
                    event.id = Some(format!("{}.{revision}", app.epoch));
                }
                Ok(vec![event])
            }
            Source::Instance { key, node, .. } => {
                let record = app.store.instance(caller, Subject::Instance(*key)).await?;
                let place = record.placement.as_ref().map(|place| place.node);
                if place != node.as_ref().map(|(node, _)| *node) {
                    let hub = app.store.hub();
                    let subscribed = |node: NodeReference| {
                        let change = hub.subscribe(Topic::Node(node.key));
                        (node, change)
                    };
                    *node = place.map(subscribed);
                    // It may have changed before we began to wait there.
                    let record = app.store.instance(caller, Subject::Instance(*key)).await?;
                    return Ok(vec![instance_event(app, &record)]);
                }
                Ok(vec![instance_event(app, &record)])
            }
            Source::Tree { key, changed, .. } => {
                let title = app.store.tree_title(caller, *key).await?;
                let told = changed.then(|| tree_event(*key, &title));
                *changed = false;
                Ok(told.into_iter().collect())
            }
            Source::All { changes, gathered } => {
                while let Ok(more) = changes.try_recv_or_lagged() {
                    gather(gathered, more);
                }
                all_events(app, caller, std::mem::take(gathered)).await
            }
        }
    }
}

/// What can be had at once from those who tell of changes.
trait TryRecv {
    fn try_recv_or_lagged(&mut self) -> Result<Told, ()>;
}

type Told = Result<Arc<Changes>, broadcast::error::RecvError>;

impl TryRecv for broadcast::Receiver<Arc<Changes>> {
    fn try_recv_or_lagged(&mut self) -> Result<Told, ()> {
        use broadcast::error::{RecvError, TryRecvError};
        match self.try_recv() {
            Ok(changes) => Ok(Ok(changes)),
            Err(TryRecvError::Lagged(missed)) => Ok(Err(RecvError::Lagged(missed))),
            Err(TryRecvError::Empty | TryRecvError::Closed) => Err(()),
        }
    }
}

fn gather(gathered: &mut Changes, told: Told) {
    match told {
        Ok(changes) => {
            gathered.nodes.extend(&changes.nodes);
            gathered.nodes.extend(&changes.shown);
            gathered.trees.extend(&changes.trees);
            gathered.everything |=
                changes.everything || gathered.nodes.len() + gathered.trees.len() > GATHERED_MAX;
        }
        // Too slow, or the hub is gone with the Master.
        Err(_) => gathered.everything = true,
    }
    if gathered.everything {
        gathered.nodes.clear();
        gathered.trees.clear();
    }
}

async fn all_events(app: &App, caller: Caller, changes: Changes) -> Result<Vec<Event>, Problem> {
    if changes.everything {
        return Ok(vec![Event {
            id: None,
            kind: "reset",
            data: json!({}),
        }]);
    }
    let seen = app
        .store
        .seen_changes(
            caller,
            changes.nodes.into_iter().collect(),
            changes.trees.into_iter().collect(),
        )
        .await?;
    let nodes = seen
        .nodes
        .into_iter()
        .map(|(node, revision)| node_event(node, revision));
    let trees = seen
        .trees
        .into_iter()
        .map(|(tree, title)| tree_event(tree, &title));
    Ok(nodes.chain(trees).collect())
}

fn node_event(node: NodeReference, revision: i64) -> Event {
    Event {
        id: None,
        kind: "node",
        data: json!({"computer_guid": node.to_string(), "revision": revision}),
    }
}

fn tree_event(tree: TreeKey, title: &str) -> Event {
    Event {
        id: None,
        kind: "tree",
        data: json!({"tree_guid": tree.to_string(), "title": title}),
    }
}

fn instance_event(app: &App, record: &InstanceRecord) -> Event {
    let (node, partition) = match &record.placement {
        Some(Placement { node, partition }) => (node.to_string(), partition.as_str()),
        None => Default::default(),
    };
    let state = record.state.as_str();
    Event {
        id: Some(format!(
            "{}.{}.{state}.{node}",
            app.epoch, record.timestamp.0
        )),
        kind: "instance",
        data: json!({
            "instance_guid": record.key.to_string(),
            "processing_timestamp": record.timestamp.0,
            "state": state,
            "computer_guid": node,
            "compute_partition_id": partition,
        }),
    }
}
