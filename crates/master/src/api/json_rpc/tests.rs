//! The JSON calls from request to document, on a Master without sockets.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use axum::http::Method as Verb;
use serde_json::{Value, json};
use slap_server::json_rpc::{ErrorType, Method};

use super::super::testing::{Rig, START};
use crate::domain::{CertificateOwner, NodeReference, Role};

pub(in crate::api) const RELEASE: &str = "http://example.com/software.cfg";

/// A project at work, by JSON calls only: a node with three partitions and a release, a manager and
/// a member.
pub(in crate::api) struct Yard {
    pub(in crate::api) rig: Rig,
    pub(in crate::api) node: NodeReference,
    pub(in crate::api) node_name: String,
    pub(in crate::api) manager: String,
    pub(in crate::api) member: String,
}

impl Yard {
    pub(in crate::api) async fn new() -> Self {
        let rig = Rig::new().await;
        let (node, node_name) = rig.node("one").await;
        let yard = Yard {
            manager: rig.member("grace", Role::Manager).await,
            member: rig.member("ada", Role::Member).await,
            node,
            node_name,
            rig,
        };
        let partition = |number: u8| {
            json!({"partition_id": format!("slappart{number}"), "ip_list": [
                {"ip-address": format!("fd00::{number}"), "network-interface": "eth0"},
                {"ip-address": "10.8.0.2", "network-interface": "tap0",
                 "gateway-ip-address": "10.8.0.1", "netmask": "255.255.0.0",
                 "network-address": "10.8.0.0"},
            ]})
        };
        let format = json!({"computer_guid": node.to_string(),
            "compute_partition_list": [partition(0), partition(1), partition(2)]});
        yard.success(
            &yard.node_name,
            "put.v0.compute_node_format",
            &format,
            "Format handled",
        )
        .await;
        yard.supply(RELEASE).await;
        yard
    }

    pub(in crate::api) async fn supply(&self, release: &str) {
        let installation = |more: Value| {
            let mut input = json!({"computer_guid": self.node.to_string(),
                "software_release_uri": release});
            input
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            input
        };
        self.success(
            &self.manager,
            "post.v0.software_installation",
            &installation(json!({})),
            "State changed",
        )
        .await;
        for state in ["building", "available"] {
            self.success(
                &self.node_name,
                "put.v0.software_installation_reported_state",
                &installation(json!({"reported_state": state})),
                "State reported",
            )
            .await;
        }
    }

    /// Makes a call, its name without the beginning all names have.
    pub(in crate::api) async fn call(&self, who: &str, name: &str, input: &Value) -> (u16, Value) {
        self.rig.json(who, &format!("slapos.{name}"), input).await
    }

    /// The document of a success.
    pub(in crate::api) async fn get(&self, who: &str, name: &str, input: &Value) -> Value {
        let (status, document) = self.call(who, name, input).await;
        assert_eq!(status, 200, "{name}: {document}");
        document
    }

    pub(in crate::api) async fn success(&self, who: &str, name: &str, input: &Value, title: &str) {
        let document = self.get(who, name, input).await;
        assert_eq!(
            document,
            json!({"type": "success", "title": title}),
            "{name}"
        );
    }

    /// A call that is refused with this kind of error.
    async fn refused(&self, who: &str, name: &str, input: &Value, kind: ErrorType) {
        let (status, document) = self.call(who, name, input).await;
        assert_eq!(document["type"], kind.as_str(), "{name}: {document}");
        assert_eq!(status, kind.status().as_u16());
        assert_eq!(document["status"], status);
        assert!(document["title"].as_str().unwrap().len() > 10);
    }

    /// Requests an instance; the input's other members are in `more`.
    pub(in crate::api) async fn request(&self, who: &str, title: &str, more: Value) -> Value {
        let mut input = json!({"title": title, "software_release_uri": RELEASE,
            "software_type": "default"});
        input
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.get(who, "post.v0.software_instance", &input).await
    }

    /// The name of a certificate of an instance.
    pub(in crate::api) async fn instance_name(&self, document: &Value) -> String {
        let key = document["instance_guid"].as_str().unwrap().parse().unwrap();
        self.rig.certificate(CertificateOwner::Instance(key)).await
    }
}

fn not_ready() -> Value {
    json!({"message": "Software Instance Not Ready", "status": 102,
        "name": "SoftwareInstanceNotReady"})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_of_an_instance() {
    let yard = Yard::new().await;
    yard.rig.clock.advance(Duration::from_secs(1));
    let requested = yard
        .request(
            &yard.member,
            "root",
            json!({"parameters": {"a": "b<&>é", "n": 1, "t": true, "none": null, "l": ["x", 1.5]},
                   "sla_parameters": {"computer_guid": "COMP-1", "retention_delay": 2}}),
        )
        .await;
    let expected = json!({
        "title": "root",
        "instance_guid": "SOFTINST-1",
        "software_release_uri": RELEASE,
        "software_type": "default",
        "state": "started",
        "connection_parameters": {},
        "parameters": {"a": "b<&>é", "l": "['x', 1.5]", "n": "1", "none": "None", "t": "True"},
        "shared": false,
        "root_instance_title": "root",
        "ip_list": [["eth0", "fd00::0"]],
        "full_ip_list": [["tap0", "10.8.0.2", "10.8.0.1", "255.255.0.0", "10.8.0.0"]],
        "sla_parameters": {"computer_guid": "COMP-1", "retention_delay": "2"},
        "computer_guid": "COMP-1",
        "compute_partition_id": "slappart0",
        "processing_timestamp": START.0 + 1_000_000,
        "access_status_message": "",
    });
    assert_eq!(requested, expected);
    let guid = json!({"instance_guid": "SOFTINST-1"});
    let place = json!({"computer_guid": "COMP-1", "compute_partition_id": "slappart0"});
    for (who, name, input) in [
        (&yard.member, "get.v0.software_instance", &guid),
        (&yard.manager, "get.v0.software_instance", &guid),
        (&yard.node_name, "get.v0.software_instance", &guid),
        (&yard.node_name, "get.v0.compute_partition", &place),
        (&yard.member, "get.v0.compute_partition", &place),
        (
            &yard.member,
            "get.v0.instance_tree",
            &json!({"title": "root"}),
        ),
    ] {
        assert_eq!(yard.get(who, name, input).await, expected, "{name}");
    }
    // Bytes, as Python writes them.
    let headers = [("content-type", "application/json; charset=utf-8")];
    let path = "slapos.get.v0.software_instance";
    let reply = yard
        .rig
        .send(
            Some(&yard.member),
            Verb::POST,
            path,
            &headers,
            guid.to_string(),
        )
        .await;
    assert!(
        reply.body.starts_with(
            "{\"title\": \"root\", \"instance_guid\": \"SOFTINST-1\", \"software_release_uri\": "
        ),
        "{}",
        reply.body
    );
    assert!(
        reply.body.contains("\"a\": \"b<&>\\u00e9\""),
        "{}",
        reply.body
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_is_who_requests() {
    let yard = Yard::new().await;
    let root = yard.request(&yard.member, "root", json!({})).await;
    let root_name = yard.instance_name(&root).await;
    let child = yard
        .request(&root_name, "child", json!({"parameters": {"k": "v"}}))
        .await;
    assert_eq!(child["root_instance_title"], "root");
    assert_eq!(child["compute_partition_id"], "slappart1");
    // One that waits: to a person it is not ready, to an instance a document without a place.
    let nowhere = json!({"sla_parameters": {"computer_guid": "COMP-99"}});
    assert_eq!(
        yard.request(&yard.member, "waits", nowhere.clone()).await,
        not_ready()
    );
    let waiting = yard.request(&root_name, "waits", nowhere).await;
    assert_eq!(waiting["computer_guid"], "");
    assert_eq!(waiting["compute_partition_id"], "");
    assert_eq!(waiting["ip_list"], json!([]));
    assert_eq!(waiting["root_instance_title"], "root");
    assert_eq!(
        yard.get(
            &yard.member,
            "get.v0.instance_tree",
            &json!({"title": "waits"})
        )
        .await,
        not_ready()
    );
    let trees = yard
        .get(&yard.member, "allDocs.v0.instance_tree_list", &json!({}))
        .await;
    assert_eq!(
        trees,
        json!({"result_list": [{"title": "root"}, {"title": "waits"}]})
    );
    for who in [&yard.manager, &yard.node_name] {
        let trees = yard
            .get(who, "allDocs.v0.instance_tree_list", &json!({}))
            .await;
        assert_eq!(trees, json!({"result_list": []}), "trees of its own only");
    }
    // A node asks for an instance on it, by the header of its partition.
    let input = json!({"title": "by-node", "software_release_uri": RELEASE,
        "software_type": "default"});
    let header = "X-SlapPartition computer_id=COMP-1, computer_partition_id=slappart0";
    let headers = [
        ("content-type", "application/json"),
        ("authorization", header),
    ];
    let path = "slapos.post.v0.software_instance";
    let reply = yard
        .rig
        .send(
            Some(&yard.node_name),
            Verb::POST,
            path,
            &headers,
            input.to_string(),
        )
        .await;
    assert!(
        reply.body.contains("\"root_instance_title\": \"root\""),
        "{}",
        reply.body
    );
    // Destroying what is not there makes nothing.
    let gone = yard
        .request(&yard.member, "never-was", json!({"state": "destroyed"}))
        .await;
    assert_eq!(gone, not_ready());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_told_by_the_node() {
    let yard = Yard::new().await;
    let node = json!({"computer_guid": "COMP-1"});
    let root = yard.request(&yard.member, "root", json!({})).await;
    let guid = json!({"instance_guid": "SOFTINST-1"});
    let with = |name: &str, value: Value| {
        let mut input = guid.clone();
        input[name] = value;
        input
    };
    let list = yard
        .get(
            &yard.node_name,
            "allDocs.v0.compute_node_instance_list",
            &node,
        )
        .await;
    assert_eq!(
        list,
        json!({"result_list": [{"title": "root", "instance_guid": "SOFTINST-1",
            "state": "started", "compute_partition_id": "slappart0",
            "software_release_uri": RELEASE}]})
    );
    let installations = "allDocs.v0.compute_node_software_installation_list";
    assert_eq!(
        yard.get(&yard.node_name, installations, &node).await,
        json!({"result_list": [{"software_release_uri": RELEASE, "state": "available"}]})
    );
    let report = "put.v0.software_instance_reported_state";
    let started = with("reported_state", json!("started"));
    yard.success(&yard.node_name, report, &started, "State reported")
        .await;
    let status = |document: Value| document["access_status_message"].clone();
    let shown = yard
        .get(&yard.member, "get.v0.software_instance", &guid)
        .await;
    assert_eq!(status(shown), "#access Instance correctly started");
    let error = with("message", json!("broken"));
    yard.success(
        &yard.node_name,
        "put.v0.software_instance_error",
        &error,
        "Error reported",
    )
    .await;
    let shown = yard
        .get(&yard.member, "get.v0.software_instance", &guid)
        .await;
    assert_eq!(status(shown), "#error while instanciating: broken");

    // The instance acts for itself, and its node for it.
    let own = yard.instance_name(&root).await;
    let publish = "put.v0.software_instance_connection_parameter";
    let parameters = with(
        "connection_parameter_dict",
        json!({"url": "http://x", "n": 3}),
    );
    yard.success(&own, publish, &parameters, "connection parameter updated")
        .await;
    yard.success(
        &yard.node_name,
        publish,
        &parameters,
        "connection parameter not modified as identical",
    )
    .await;
    let shown = yard.get(&own, "get.v0.software_instance", &guid).await;
    assert_eq!(
        shown["connection_parameters"],
        json!({"n": "3", "url": "http://x"})
    );
    let before = shown["processing_timestamp"].as_i64().unwrap();
    let bang = with("message", json!("again"));
    yard.success(&own, "put.v0.software_instance_bang", &bang, "Bang handled")
        .await;
    let bang = json!({"computer_guid": "COMP-1", "message": "all"});
    yard.success(
        &yard.node_name,
        "put.v0.compute_node_bang",
        &bang,
        "Bang handled",
    )
    .await;
    let rename = with("title", json!("other"));
    yard.success(
        &own,
        "put.v0.software_instance_title",
        &rename,
        "Title updated",
    )
    .await;
    let shown = yard.get(&own, "get.v0.software_instance", &guid).await;
    assert!(shown["processing_timestamp"].as_i64().unwrap() > before);
    assert_eq!(shown["title"], "other");
    assert_eq!(shown["instance_guid"], "SOFTINST-1", "it is the same one");

    // Nothing vanishes that was not asked to.
    let destroyed = with("reported_state", json!("destroyed"));
    let wrong = ErrorType::InstanceWrongReportedState;
    yard.refused(&yard.node_name, report, &destroyed, wrong)
        .await;
    let answer = yard
        .request(&yard.member, "other", json!({"state": "destroyed"}))
        .await;
    assert_eq!(answer, not_ready());
    yard.success(&yard.node_name, report, &destroyed, "State reported")
        .await;
    let unknown = ErrorType::InstanceNotFound;
    yard.refused(&yard.member, "get.v0.software_instance", &guid, unknown)
        .await;
    let (status, document) = yard.call(&own, "get.v0.software_instance", &guid).await;
    assert_eq!((status, &document["type"]), (401, &json!("Unauthorized")));
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_on_a_node() {
    let yard = Yard::new().await;
    let release = |more: Value| {
        let mut input = json!({"computer_guid": "COMP-1", "software_release_uri": RELEASE});
        input
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        input
    };
    let report = "put.v0.software_installation_reported_state";
    let destroyed = release(json!({"reported_state": "destroyed"}));
    let not_asked = ErrorType::InstallationDestroyNotRequested;
    yard.refused(&yard.node_name, report, &destroyed, not_asked)
        .await;
    let error = release(json!({"message": "no compiler"}));
    yard.success(
        &yard.node_name,
        "put.v0.software_installation_error",
        &error,
        "Error reported",
    )
    .await;
    let supply = "post.v0.software_installation";
    yard.refused(
        &yard.member,
        supply,
        &release(json!({})),
        ErrorType::SupplyFailed,
    )
    .await;
    let remove = release(json!({"state": "destroyed"}));
    yard.success(&yard.manager, supply, &remove, "State changed")
        .await;
    yard.success(&yard.node_name, report, &destroyed, "State reported")
        .await;
    yard.refused(
        &yard.node_name,
        report,
        &destroyed,
        ErrorType::InstallationNotFound,
    )
    .await;
    let list = "allDocs.v0.compute_node_software_installation_list";
    let node = json!({"computer_guid": "COMP-1"});
    assert_eq!(
        yard.get(&yard.node_name, list, &node).await,
        json!({"result_list": []})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_instances_and_their_host() {
    let yard = Yard::new().await;
    let host = yard.request(&yard.member, "host", json!({})).await;
    let shared = yard
        .request(
            &yard.member,
            "site",
            json!({"shared": true, "parameters": {"name": "s"}}),
        )
        .await;
    assert_eq!(shared["shared"], true);
    assert_eq!(shared["compute_partition_id"], host["compute_partition_id"]);
    let list = "allDocs.v0.instance_node_instance_list";
    let host_name = yard.instance_name(&host).await;
    let guid = json!({"instance_guid": host["instance_guid"]});
    let expected = json!({"result_list": [{"title": "site", "instance_guid": "SOFTINST-2",
        "software_type": "default", "state": "started", "parameters": {"name": "s"},
        "software_release_uri": RELEASE, "compute_partition_id": "slappart0"}]});
    for who in [&host_name, &yard.node_name, &yard.member] {
        assert_eq!(yard.get(who, list, &guid).await, expected);
    }
    // The host acts for what it serves.
    let publish = json!({"instance_guid": "SOFTINST-2", "connection_parameter_dict": {"u": "x"}});
    let name = "put.v0.software_instance_connection_parameter";
    yard.success(&host_name, name, &publish, "connection parameter updated")
        .await;
    let seen = yard
        .get(
            &yard.member,
            "get.v0.instance_tree",
            &json!({"title": "site"}),
        )
        .await;
    assert_eq!(seen["connection_parameters"], json!({"u": "x"}));
    for guid in ["SOFTINST-2", "SOFTINST-99", "nonsense"] {
        let input = json!({"instance_guid": guid});
        let kind = ErrorType::HostInstanceNotFound;
        yard.refused(&yard.node_name, list, &input, kind).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_status_and_usage() {
    let yard = Yard::new().await;
    let node = json!({"computer_guid": "COMP-1"});
    let root = yard.request(&yard.member, "root", json!({})).await;
    let guid = json!({"instance_guid": root["instance_guid"]});
    let name = "get.v0.software_instance_certificate";
    let certificate = yard.get(&yard.node_name, name, &guid).await;
    assert!(certificate["key"].as_str().unwrap().contains("PRIVATE KEY"));
    assert!(
        certificate["certificate"]
            .as_str()
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
    assert_eq!(yard.get(&yard.node_name, name, &guid).await, certificate);
    let (status, document) = yard.call(&yard.member, name, &guid).await;
    assert_eq!((status, &document["type"]), (403, &json!("Forbidden")));

    let status = yard
        .get(&yard.manager, "get.v0.compute_node_status", &node)
        .await;
    assert_eq!(status["reference"], "COMP-1");
    assert_eq!(status["text"], "#access COMP-1");
    // A node's lists are its heartbeat.
    yard.rig.clock.advance(Duration::from_secs(3600));
    yard.get(&yard.node_name, "allDocs.v0.instance_tree_list", &json!({}))
        .await;
    let later = yard
        .get(&yard.manager, "get.v0.compute_node_status", &node)
        .await;
    assert_ne!(later["created_at"], status["created_at"]);
    assert_eq!(later["no_data_since_15_minutes"], 0);

    let usage = |text: &str| json!({"computer_guid": "COMP-1", "tioxml": text});
    let name = "post.v0.compute_node_usage";
    yard.refused(
        &yard.node_name,
        name,
        &usage("<nonsense"),
        ErrorType::InvalidTioxml,
    )
    .await;
    let good = "<?xml version='1.0' encoding='utf-8'?><journal><transaction \
        type=\"Sale Packing List\"><title>Resource consumptions</title><start_date>2026-01-01 \
        00:00:00</start_date><stop_date>2026-01-01 23:59:59</stop_date><reference>2026-01-01-global\
        </reference><currency></currency><payment_mode></payment_mode><category></category>\
        <arrow type=\"Administration\"><source></source><destination></destination></arrow>\
        <movement><resource>service_module/cpu_load_percent</resource><title>CPU</title>\
        <reference>slappart0</reference><quantity>1.5</quantity><price>0.0</price><VAT>None</VAT>\
        <category>None</category></movement></transaction></journal>";
    yard.success(&yard.node_name, name, &usage(good), "Usage reported")
        .await;

    let name = "post.v0.compute_node_certificate";
    let (status, document) = yard.call(&yard.manager, name, &node).await;
    assert_eq!(status, 409, "{document}");
    assert!(
        document["title"]
            .as_str()
            .unwrap()
            .contains("Certificate still active.")
    );
    let remove = "slapos.remove.v0.compute_node_certificate";
    let (status, document) = yard.rig.json(&yard.manager, remove, &node).await;
    assert_eq!(
        (status, &document["title"]),
        (200, &json!("Certificate removed"))
    );
    // Revoked at once.
    let (status, _) = yard
        .call(&yard.node_name, "get.v0.compute_node_status", &node)
        .await;
    assert_eq!(status, 401);
    let certificate = yard.get(&yard.manager, name, &node).await;
    assert!(
        certificate["certificate"]
            .as_str()
            .unwrap()
            .contains("CN=CERTLOGIN-")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_not_and_what_one_may_not_know_are_one() {
    let yard = Yard::new().await;
    yard.request(&yard.member, "root", json!({})).await;
    let (other_node, _) = yard.rig.node("two").await;
    let (_, stranger) = yard.rig.person("mallory", false).await;
    for guid in ["SOFTINST-1", "SOFTINST-77", "SOFTINST-x"] {
        let input = json!({"instance_guid": guid});
        let kind = ErrorType::InstanceNotFound;
        yard.refused(&stranger, "get.v0.software_instance", &input, kind)
            .await;
    }
    for guid in [other_node.to_string(), "COMP-77".to_owned(), "x".to_owned()] {
        let input = json!({"computer_guid": guid});
        let kind = ErrorType::NodeNotFound;
        for name in [
            "allDocs.v0.compute_node_instance_list",
            "allDocs.v0.compute_node_software_installation_list",
            "get.v0.compute_node_status",
        ] {
            yard.refused(&yard.node_name, name, &input, kind).await;
            yard.refused(&stranger, name, &input, kind).await;
        }
    }
    let title = json!({"title": "root"});
    for who in [&stranger, &yard.manager, &yard.node_name] {
        yard.refused(who, "get.v0.instance_tree", &title, ErrorType::TreeNotFound)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_have_their_documents() {
    let yard = Yard::new().await;
    let name = "slapos.get.v0.software_instance";
    let send = async |verb: Verb, name: &str, kind: Option<&str>, body: &str| {
        let headers: Vec<(&'static str, &str)> =
            kind.iter().map(|kind| ("content-type", *kind)).collect();
        let reply = yard
            .rig
            .send(Some(&yard.member), verb, name, &headers, body.to_owned())
            .await;
        let document: Value = serde_json::from_str(&reply.body).unwrap();
        (reply.status, document["type"].clone(), document)
    };
    let json_type = Some("application/json");
    for (verb, name, kind, body, status, expected) in [
        (
            Verb::POST,
            name,
            json_type,
            "{",
            400,
            "not-parsable-json-content",
        ),
        (
            Verb::POST,
            name,
            json_type,
            "[]",
            400,
            "not-json-object-content",
        ),
        (
            Verb::POST,
            name,
            json_type,
            "{}",
            400,
            "invalid-json-object-content",
        ),
        (
            Verb::POST,
            name,
            json_type,
            "{\"instance_guid\": \"x\", \"more\": 1}",
            400,
            "invalid-json-object-content",
        ),
        (
            Verb::POST,
            name,
            Some("text/plain"),
            "{}",
            415,
            "unexpected-media-type",
        ),
        (Verb::POST, name, None, "{}", 415, "unexpected-media-type"),
        (Verb::GET, name, None, "", 405, "not-allowed-http-method"),
        (
            Verb::POST,
            "slapos.get.v0.nope",
            json_type,
            "{}",
            404,
            "not-found",
        ),
    ] {
        let (found, kind, document) = send(verb, name, kind, body).await;
        assert_eq!((found, &kind), (status, &json!(expected)), "{document}");
        assert_eq!(
            document.get("status").is_none(),
            status == 404,
            "{document}"
        );
    }
    let (_, _, document) = send(Verb::GET, name, None, "").await;
    assert_eq!(document["title"], "Only HTTP POST accepted");
    let kind = ErrorType::InvalidInput;
    let bad = json!({"title": "x\u{0}", "software_release_uri": RELEASE,
        "software_type": "default"});
    yard.refused(&yard.member, "post.v0.software_instance", &bad, kind)
        .await;
    let reply = yard
        .rig
        .send(
            None,
            Verb::POST,
            name,
            &[("content-type", "application/json")],
            "{}",
        )
        .await;
    let document: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(
        (reply.status, &document["type"]),
        (401, &json!("Unauthorized"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_public_and_complete() {
    let rig = Rig::new().await;
    let reply = rig.send(None, Verb::GET, "openapi.json", &[], "").await;
    assert!(reply.header("cache-control").is_some());
    let document: Value = serde_json::from_str(&reply.ok()).unwrap();
    assert_eq!(document["openapi"], "3.0.0");
    assert_eq!(
        document["paths"].as_object().unwrap().len(),
        Method::ALL.len() - 1
    );
    assert_eq!(document["servers"][0]["url"], "http://inner:8080");
    let (_, name) = rig.node("one").await;
    for method in Method::ALL {
        let (status, document) = rig.json(&name, method.name(), &json!({"zz": 1})).await;
        assert_eq!(status, 400, "{}: {document}", method.name());
    }
    let (_, document) = rig
        .json(&name, "slapos.get.v0.hateoas_url", &json!({}))
        .await;
    assert_eq!(document["hateoas_url"], "http://inner:8080/hateoas/");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_watch_are_told_of_trees_and_nodes_in_one_call() {
    let yard = Yard::new().await;
    let me = &yard.member;
    yard.rig.clock.advance(Duration::from_secs(1));
    yard.request(me, "web", json!({"parameters": {"a": 1}}))
        .await;
    let instance = json!({"instance_guid": "SOFTINST-1"});
    let of = |more: Value| {
        let mut input = instance.clone();
        input
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        input
    };
    let detail = async |input: &Value| {
        let name = "get.v0.instance_tree_detail";
        let document = yard.get(me, name, input).await;
        Method::TreeDetail.check_answer(&document).unwrap();
        document
    };
    let by_title = json!({"title": "web"});
    let tree = detail(&by_title).await;
    assert_eq!(tree, detail(&json!({"tree_guid": "HOSTSUBS-1"})).await);
    let at = START.0 + 1_000_000;
    assert_eq!(
        tree,
        json!({
            "title": "web", "tree_guid": "HOSTSUBS-1", "project_guid": "PROJ-1", "owner": "ada",
            "software_release_uri": RELEASE, "state": "started", "actual_state": "starting",
            "upgrade_policy": "ask", "requested_at": at, "complete": true,
            "instance_list": [{
                "title": "web", "instance_guid": "SOFTINST-1", "software_release_uri": RELEASE,
                "software_type": "default", "shared": false, "state": "started",
                "actual_state": "starting", "reported_state": "", "status": "",
                "computer_guid": "COMP-1", "compute_partition_id": "slappart0",
                "parameters": {"a": "1"}, "sla_parameters": {}, "connection_parameters": {},
                "changed_at": at,
            }],
        })
    );
    let name = "put.v0.software_instance_error";
    let input = of(json!({"message": "first line\nno space left"}));
    yard.success(&yard.node_name, name, &input, "Error reported")
        .await;
    assert_eq!(detail(&by_title).await["actual_state"], "error");
    yard.rig.clock.advance(Duration::from_secs(1));
    let name = "put.v0.software_instance_reported_state";
    let input = of(json!({"reported_state": "started"}));
    yard.success(&yard.node_name, name, &input, "State reported")
        .await;
    let tree = detail(&by_title).await;
    assert_eq!(tree["actual_state"], "started");
    assert_eq!(tree["instance_list"][0]["status_at"], at + 1_000_000);

    // Lists.
    let name = "allDocs.v0.instance_tree_detail_list";
    let list = yard
        .get(me, name, &json!({"title": "WE", "limit": 5}))
        .await;
    Method::TreeDetails.check_answer(&list).unwrap();
    let row = &list["result_list"][0];
    assert_eq!(row["actual_state"], "started");
    assert_eq!(row["computer_guid_list"], json!(["COMP-1"]));
    assert_eq!(row["instance_count"], 1);
    let list = yard.get(me, name, &json!({"offset": 1})).await;
    assert_eq!(list, json!({"result_list": []}));

    // What happened.
    let name = "allDocs.v0.instance_tree_event_list";
    let list = yard.get(me, name, &by_title).await;
    Method::TreeEvents.check_answer(&list).unwrap();
    let events = list["result_list"].as_array().unwrap();
    let actions: Vec<&str> = events
        .iter()
        .map(|event| event["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["report", "report", "request"]);
    assert_eq!(events[1]["detail"]["log"], "first line\nno space left");
    assert_eq!(events[1]["actor"], "COMP-1");
    assert_eq!(events[2]["detail"]["at"], "COMP-1");
    let node = json!({"computer_guid": "COMP-1"});
    let list = yard
        .get(me, "allDocs.v0.compute_node_event_list", &node)
        .await;
    Method::NodeEvents.check_answer(&list).unwrap();
    assert_eq!(list["result_list"][0]["action"], "report_release");

    // Nodes.
    let list = yard
        .get(me, "allDocs.v0.compute_node_detail_list", &json!({}))
        .await;
    Method::NodeDetails.check_answer(&list).unwrap();
    assert_eq!(list["result_list"][0]["free_count"], 2);
    assert_eq!(list["result_list"][0]["alive"], true);
    let shown = yard.get(me, "get.v0.compute_node_detail", &node).await;
    Method::NodeDetail.check_answer(&shown).unwrap();
    assert_eq!(shown["partition_list"][0]["title"], "web");
    assert_eq!(
        shown["partition_list"][1],
        json!({"compute_partition_id": "slappart1", "busy": false})
    );
    assert_eq!(
        shown["software_installation_list"][0]["reported_state"],
        "available"
    );
    let release = json!({"software_release_uri": RELEASE});
    let list = yard
        .get(me, "allDocs.v0.software_release_node_list", &release)
        .await;
    Method::ReleaseNodes.check_answer(&list).unwrap();
    assert_eq!(list["result_list"][0]["computer_guid"], "COMP-1");

    // Upgrades.
    let name = "put.v0.instance_tree_upgrade";
    let input = json!({"title": "web", "policy": "auto"});
    yard.success(me, name, &input, "Upgrade policy: auto").await;
    assert_eq!(detail(&by_title).await["upgrade_policy"], "auto");
    let input = json!({"title": "web", "answer": "accept"});
    let (status, document) = yard.call(me, name, &input).await;
    assert_eq!(status, 409, "{document}");
    for input in [json!({"title": "web"}), json!({"policy": "ask"})] {
        yard.refused(me, name, &input, ErrorType::InvalidInput)
            .await;
    }

    // Nobody else's.
    for name in [
        "get.v0.instance_tree_detail",
        "allDocs.v0.instance_tree_event_list",
    ] {
        for input in [
            by_title.clone(),
            json!({"tree_guid": "HOSTSUBS-9"}),
            json!({"tree_guid": "x"}),
        ] {
            yard.refused(&yard.node_name, name, &input, ErrorType::TreeNotFound)
                .await;
        }
    }
}
