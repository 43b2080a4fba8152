//! Streams of events, on a Master without sockets.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use hyper::body::Body as _;
use serde_json::{Value, json};

use super::super::json_rpc::tests::Yard;
use super::super::testing::Rig;
use crate::domain::Caller;
use crate::domain::{CertificateOwner, Role};

/// Longer than anything takes; a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(60);

/// A stream as a client reads it.
struct Reader {
    body: Body,
    text: String,
}

#[derive(Debug, Clone, PartialEq)]
struct Told {
    kind: String,
    id: Option<String>,
    data: Value,
}

impl Reader {
    async fn new(rig: &Rig, who: &str, path: &str, last: Option<&str>) -> Self {
        let headers: Vec<(&'static str, &str)> =
            last.iter().map(|id| ("last-event-id", *id)).collect();
        let response = rig.begin(Some(who), Method::GET, path, &headers, "").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut reader = Reader {
            body: response.into_body(),
            text: String::new(),
        };
        assert_eq!(reader.block().await.unwrap(), "retry: 3000");
        reader
    }

    /// The next block of lines; nothing when the stream ended.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let next = std::future::poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx));
            let frame = tokio::time::timeout(LONG, next).await.unwrap()?;
            let data = frame.unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The next event; heartbeats are skipped.
    async fn event(&mut self) -> Option<Told> {
        loop {
            let block = self.block().await?;
            if block == ":" {
                continue;
            }
            let line = |name: &str| {
                block
                    .lines()
                    .find_map(|line| Some(line.strip_prefix(name)?.to_owned()))
            };
            return Some(Told {
                kind: line("event: ").unwrap(),
                id: line("id: "),
                data: serde_json::from_str(&line("data: ").unwrap()).unwrap(),
            });
        }
    }

    /// Reads until an event is of this kind and has this in its data.
    async fn until(&mut self, kind: &str, key: &str, value: &Value) -> Told {
        loop {
            let told = self.event().await.unwrap();
            if told.kind == kind && &told.data[key] == value {
                return told;
            }
        }
    }

    /// Reads until the stream ends.
    async fn end(mut self) {
        while self.event().await.is_some() {}
    }
}

async fn bang(yard: &Yard) {
    let input = json!({"computer_guid": "COMP-1", "message": "m"});
    yard.success(
        &yard.node_name,
        "put.v0.compute_node_bang",
        &input,
        "Bang handled",
    )
    .await;
}

async fn revoke(yard: &Yard, owner: CertificateOwner) {
    let revoked = yard
        .rig
        .store
        .revoke_certificates(Caller::Master, owner)
        .await;
    assert!(revoked.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_hears_of_its_document() {
    let yard = Yard::new().await;
    let mut reader = Reader::new(&yard.rig, &yard.node_name, "events", None).await;
    let first = reader.event().await.unwrap();
    assert_eq!(first.kind, "node");
    assert_eq!(first.data["computer_guid"], "COMP-1");
    let revision = first.data["revision"].as_i64().unwrap();
    assert_eq!(first.id, Some(format!("epoch.{revision}")));
    // What concerns others tells nothing: the next event is that of the request.
    let (_, second_name) = yard.rig.node("two").await;
    let mut second = Reader::new(&yard.rig, &second_name, "events", None).await;
    assert_eq!(
        second.event().await.unwrap().data["computer_guid"],
        "COMP-2"
    );
    yard.request(&yard.member, "t", json!({})).await;
    let next = reader.event().await.unwrap();
    assert!(next.data["revision"].as_i64().unwrap() > revision);
    // Who comes back and knows it is told the next change; who does not is told at once.
    let known = next.id.clone().unwrap();
    let mut back = Reader::new(&yard.rig, &yard.node_name, "events", Some(&known)).await;
    let mut late = Reader::new(&yard.rig, &yard.node_name, "events", first.id.as_deref()).await;
    assert_eq!(late.event().await.unwrap(), next);
    bang(&yard).await;
    let banged = back.event().await.unwrap();
    assert!(banged.data["revision"].as_i64() > next.data["revision"].as_i64());
    assert_eq!(reader.event().await.unwrap(), banged);
    assert_eq!(late.event().await.unwrap(), banged);
    // Revoked: over with the next change.
    let key = "COMP-1".parse().unwrap();
    revoke(&yard, CertificateOwner::Node(key)).await;
    let input = json!({"computer_guid": "COMP-1", "software_release_uri": "http://x/y.cfg"});
    let supply = "post.v0.software_installation";
    yard.success(&yard.manager, supply, &input, "State changed")
        .await;
    reader.end().await;
    back.end().await;
    late.end().await;
    let refused = yard.rig.get(&yard.node_name, "events").await;
    assert_eq!(refused.status, 401);
    drop(second);
    let gone = tokio::time::timeout(LONG, async {
        while yard.rig.app.streams.count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    gone.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_stream_ends_with_a_heartbeat() {
    let yard = Yard::new().await;
    yard.rig.app.streams.set_heartbeat(20);
    let mut reader = Reader::new(&yard.rig, &yard.node_name, "events", None).await;
    reader.event().await.unwrap();
    assert_eq!(reader.block().await.unwrap(), ":");
    assert_eq!(reader.block().await.unwrap(), ":");
    revoke(&yard, CertificateOwner::Node(yard.node)).await;
    reader.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_hears_of_its_partition() {
    let yard = Yard::new().await;
    let root = yard.request(&yard.member, "t", json!({})).await;
    let own = yard.instance_name(&root).await;
    let mut reader = Reader::new(&yard.rig, &own, "events", None).await;
    let first = reader.event().await.unwrap();
    assert_eq!(
        first.data,
        json!({"instance_guid": "SOFTINST-1", "state": "started", "computer_guid": "COMP-1",
            "compute_partition_id": "slappart0",
            "processing_timestamp": root["processing_timestamp"]})
    );
    // Another tree's shared instance is served by it.
    yard.rig.clock.advance(Duration::from_secs(1));
    yard.request(&yard.manager, "site", json!({"shared": true}))
        .await;
    let served = reader.event().await.unwrap();
    assert!(
        served.data["processing_timestamp"].as_i64() > first.data["processing_timestamp"].as_i64()
    );
    yard.request(&yard.member, "t", json!({"state": "stopped"}))
        .await;
    reader.until("instance", "state", &json!("stopped")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_hears_of_one_tree_or_one_node() {
    let yard = Yard::new().await;
    let root = yard.request(&yard.member, "t u", json!({})).await;
    for path in ["events?tree=HOSTSUBS-1", "events?tree=t+u"] {
        let mut reader = Reader::new(&yard.rig, &yard.member, path, None).await;
        let expected = json!({"tree_guid": "HOSTSUBS-1", "title": "t u"});
        assert_eq!(reader.event().await.unwrap().data, expected);
        yard.request(&yard.member, "another", json!({})).await;
        let publish = json!({"instance_guid": root["instance_guid"],
            "connection_parameter_dict": {"path": path}});
        yard.get(
            &yard.node_name,
            "put.v0.software_instance_connection_parameter",
            &publish,
        )
        .await;
        assert_eq!(reader.event().await.unwrap().data, expected);
    }
    let mut reader = Reader::new(&yard.rig, &yard.member, "events?node=COMP-1", None).await;
    assert_eq!(reader.event().await.unwrap().kind, "node");
    let (_, stranger) = yard.rig.person("mallory", false).await;
    let bob = yard.rig.member("bob", Role::Member).await;
    for (who, path) in [
        (&stranger, "events?tree=HOSTSUBS-1"),
        (&bob, "events?tree=HOSTSUBS-1"),
        (&bob, "events?tree=t+u"),
        (&stranger, "events?node=COMP-1"),
        (&yard.node_name, "events?node=COMP-2"),
        (&yard.member, "events?node=nonsense"),
        (&yard.member, "events?tree=nothing"),
    ] {
        assert_eq!(yard.rig.get(who, path).await.status, 404, "{who} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_hears_of_all_it_may_see() {
    let yard = Yard::new().await;
    let bob = yard.rig.member("bob", Role::Member).await;
    let (_, root) = yard.rig.person("root", true).await;
    let mut ada = Reader::new(&yard.rig, &yard.member, "events", None).await;
    let mut bob = Reader::new(&yard.rig, &bob, "events", None).await;
    let mut root = Reader::new(&yard.rig, &root, "events", None).await;
    for reader in [&mut ada, &mut bob, &mut root] {
        assert_eq!(reader.event().await.unwrap().kind, "reset");
    }
    yard.request(&yard.member, "mine", json!({})).await;
    let title = json!("mine");
    ada.until("tree", "title", &title).await;
    root.until("tree", "title", &title).await;
    bob.until("node", "computer_guid", &json!("COMP-1")).await;
    // Bob is told of the node only: the next tree he hears of is his own.
    let (_, stranger) = yard.rig.person("mallory", false).await;
    let mut none = Reader::new(&yard.rig, &stranger, "events", None).await;
    assert_eq!(none.event().await.unwrap().kind, "reset");
    yard.rig.member("carol", Role::Member).await;
    bang(&yard).await;
    bob.until("node", "computer_guid", &json!("COMP-1")).await;
    assert_eq!(none.text, "");
}

#[test]
fn too_much_at_once_is_anything() {
    use super::{Changes, GATHERED_MAX, gather};
    use crate::domain::NodeKey;
    use std::sync::Arc;
    use tokio::sync::broadcast::error::RecvError;

    let mut gathered = Changes::default();
    for key in 0..=i64::try_from(GATHERED_MAX).unwrap() {
        assert!(!gathered.everything);
        let mut changes = Changes::default();
        changes.nodes.insert(NodeKey(key));
        gather(&mut gathered, Ok(Arc::new(changes)));
    }
    assert!(gathered.everything && gathered.nodes.is_empty());
    let mut gathered = Changes::default();
    gather(&mut gathered, Err(RecvError::Lagged(1)));
    assert!(gathered.everything);
}
