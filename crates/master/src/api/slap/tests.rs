//! The legacy calls from request to bytes, on a Master without sockets.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use axum::http::Method;
use slap::Value;

use super::super::testing::{Reply, Rig, START, document, texts};
use crate::domain::{CertificateOwner, InstanceKey, NodeReference, Role};

const RELEASE: &str = "http://example.com/software.cfg";

/// A project at work: a node with two partitions and a release, a manager and a member.
struct Cloud {
    rig: Rig,
    node: NodeReference,
    node_name: String,
    manager: String,
    member: String,
}

fn partition(name: &str, tap: &str, ip: &str, capabilities: &[&str]) -> Value {
    Value::dict([
        ("reference", Value::text(name)),
        (
            "address_list",
            Value::List(vec![Value::dict([
                ("addr", Value::text(ip)),
                ("netmask", Value::text("ffff::")),
            ])]),
        ),
        (
            "tap",
            Value::dict([
                ("name", Value::text(tap)),
                ("ipv4_addr", Value::text("10.8.0.2")),
                ("ipv4_gateway", Value::text("10.8.0.1")),
                ("ipv4_netmask", Value::text("255.255.0.0")),
                ("ipv4_network", Value::text("10.8.0.0")),
            ]),
        ),
        (
            "capability_list",
            Value::List(capabilities.iter().map(|it| Value::text(*it)).collect()),
        ),
    ])
}

fn format(node: NodeReference) -> String {
    document(&Value::dict([
        ("reference", Value::text(node.to_string())),
        ("os_type", Value::text("[\"Linux\"]")),
        (
            "partition_list",
            Value::List(vec![
                partition("slappart0", "tap0", "fd00::1", &[]),
                partition("slappart1", "tap1", "fd00::2", &[]),
            ]),
        ),
    ]))
}

impl Cloud {
    async fn new() -> Self {
        let rig = Rig::new().await;
        let (node, node_name) = rig.node("one").await;
        let cloud = Cloud {
            manager: rig.member("grace", Role::Manager).await,
            member: rig.member("ada", Role::Member).await,
            node,
            node_name,
            rig,
        };
        let reply = cloud
            .rig
            .post(
                &cloud.node_name,
                "loadComputerConfigurationFromXML",
                &[("xml", &format(node))],
            )
            .await;
        assert_eq!(reply.ok(), "Content properly posted.");
        let supply = cloud.node_form(&[("url", RELEASE), ("state", "available")]);
        let reply = cloud.post(&cloud.manager, "supplySupply", &supply).await;
        assert_eq!(reply.ok(), "");
        for call in ["buildingSoftwareRelease", "availableSoftwareRelease"] {
            let form = cloud.node_form(&[("url", RELEASE)]);
            cloud.post(&cloud.node_name, call, &form).await.ok();
        }
        cloud
    }

    fn node_form(&self, fields: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut form = owned(fields);
        form.push(("computer_id".to_owned(), self.node.to_string()));
        form
    }

    fn at(&self, partition: &str, fields: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut form = self.node_form(fields);
        form.push(("computer_partition_id".to_owned(), partition.to_owned()));
        form
    }

    async fn post(&self, who: &str, call: &str, form: &[(String, String)]) -> Reply {
        let form: Vec<(&str, &str)> = form
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        self.rig.post(who, call, &form).await
    }

    async fn request(&self, who: &str, title: &str, fields: &[(&str, &str)]) -> Reply {
        let mut form = owned(&[
            ("software_release", RELEASE),
            ("partition_reference", title),
            ("software_type", "default"),
        ]);
        form.extend(owned(fields));
        self.post(who, "requestComputerPartition", &form).await
    }

    async fn document(&self, who: &str) -> String {
        let path = format!("getFullComputerInformation?computer_id={}", self.node);
        self.rig.get(who, &path).await.ok()
    }

    async fn registered(&self, who: &str, partition: &str) -> Reply {
        let path = format!(
            "registerComputerPartition?computer_reference={}&computer_partition_reference={partition}",
            self.node
        );
        self.rig.get(who, &path).await
    }
}

fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
}

fn attribute(value: &Value, name: &str) -> Value {
    let object = value.as_object().unwrap();
    object.attributes.get(name).cloned().unwrap_or_default()
}

const IPS: &str = "<string>ip_list</string><list id=\"iN\"><tuple><string>tap0</string><string>fd00::1</string></tuple></list>";
const FULL_IPS: &str = "<string>full_ip_list</string><list id=\"iN\"><tuple><string>route_tap0</string><string>10.8.0.2</string><string>10.8.0.1</string><string>255.255.0.0</string><string>10.8.0.0</string></tuple></list>";

/// Numbers the identities of a document that is written with `iN` for each.
fn numbered(text: &str) -> String {
    let mut out = String::new();
    for (position, part) in text.split("\"iN\"").enumerate() {
        if position > 0 {
            out.push_str(&format!("\"i{}\"", position + 1));
        }
        out.push_str(part);
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reply_to_a_request_byte_for_byte() {
    let cloud = Cloud::new().await;
    cloud.rig.clock.advance(Duration::from_secs(1));
    let parameters = document(&Value::dict([
        ("a", Value::text("b<&>é")),
        ("n", Value::Int(1)),
        ("t", Value::Bool(true)),
    ]));
    let reply = cloud
        .request(
            &cloud.member,
            "root1",
            &[
                ("partition_parameter_xml", &parameters),
                ("filter_xml", &texts(&[("computer_guid", "COMP-1")])),
                ("shared_xml", &document(&Value::Bool(false))),
                ("state", &document(&Value::None)),
            ],
        )
        .await;
    assert_eq!(
        reply.header("content-type"),
        Some("text/xml; charset=utf-8")
    );
    let timestamp = START.0 + 1_000_000;
    let expected = format!(
        "<marshal><object id=\"iN\" module=\"slapos.slap.slap\" class=\"SoftwareInstance\"><tuple/>\
         <dictionary id=\"iN\"><string>_connection_dict</string><dictionary id=\"iN\"/>\
         <string>_filter_dict</string><dictionary id=\"iN\"><string>computer_guid</string>\
         <string>COMP-1</string></dictionary><string>_instance_guid</string>\
         <string>SOFTINST-1</string><string>_parameter_dict</string><dictionary id=\"iN\">\
         <string>a</string><string>b&amp;lt;&amp;amp;&amp;gt;&#233;</string><string>n</string>\
         <string>1</string><string>t</string><string>True</string></dictionary>\
         <string>_requested_state</string><string>started</string>{FULL_IPS}\
         <string>instance_title</string><string>root1</string>{IPS}\
         <string>root_instance_short_title</string><string>root1</string>\
         <string>root_instance_title</string><string>root1</string>\
         <string>slap_computer_id</string><string>COMP-1</string>\
         <string>slap_computer_partition_id</string><string>slappart0</string>\
         <string>slap_software_release_url</string><string>{RELEASE}</string>\
         <string>slap_software_type</string><string>default</string>\
         <string>slave_instance_list</string><list id=\"iN\"/>\
         <string>timestamp</string><int>{timestamp}</int></dictionary></object></marshal>"
    );
    assert_eq!(reply.ok(), numbered(&expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_of_a_node_byte_for_byte() {
    let cloud = Cloud::new().await;
    cloud.rig.clock.advance(Duration::from_secs(1));
    // A parameter named like one of the Master's own never wins.
    let parameters = texts(&[("a", "b"), ("ip_list", "mine")]);
    let fields = [("partition_parameter_xml", parameters.as_str())];
    cloud.request(&cloud.member, "root1", &fields).await.ok();
    let published = texts(&[("url", "http://[::1]/<x>"), ("empty", "")]);
    let form = cloud.at(
        "slappart0",
        &[("connection_xml", &published), ("slave_reference", "None")],
    );
    let reply = cloud
        .post(&cloud.node_name, "setComputerPartitionConnectionXml", &form)
        .await;
    assert_eq!(reply.ok(), "");
    let form = cloud.at("slappart0", &[]);
    cloud
        .post(&cloud.node_name, "startedComputerPartition", &form)
        .await
        .ok();
    let timestamp = START.0 + 1_000_000;
    let release = |state: &str| {
        format!(
            "<object id=\"iN\" module=\"slapos.slap.slap\" class=\"SoftwareRelease\">\
             <tuple><string>{RELEASE}</string><string>COMP-1</string></tuple>\
             <dictionary id=\"iN\"><string>_computer_guid</string><string>COMP-1</string>{state}\
             <string>_software_instance_list</string><list id=\"iN\"/>\
             <string>_software_release</string><string>{RELEASE}</string></dictionary></object>"
        )
    };
    let busy = |access: &str, synced: &str| {
        format!(
            "<object id=\"iN\" module=\"slapos.slap.slap\" class=\"ComputerPartition\">\
             <tuple><string>COMP-1</string><string>slappart0</string><none/></tuple>\
             <dictionary id=\"iN\">{access}<string>_computer_id</string><string>COMP-1</string>\
             <string>_connection_dict</string><dictionary id=\"iN\"><string>empty</string>\
             <string></string><string>url</string>\
             <string>http://[::1]/&amp;lt;x&amp;gt;</string></dictionary>\
             <string>_filter_dict</string><dictionary id=\"iN\"/>\
             <string>_instance_guid</string><string>SOFTINST-1</string>\
             <string>_need_modification</string><int>1</int>\
             <string>_parameter_dict</string><dictionary id=\"iN\"><string>a</string>\
             <string>b</string>{FULL_IPS}<string>instance_title</string><string>root1</string>{IPS}\
             <string>root_instance_short_title</string><string>root1</string>\
             <string>root_instance_title</string><string>root1</string>\
             <string>slap_computer_id</string><string>COMP-1</string>\
             <string>slap_computer_partition_id</string><string>slappart0</string>\
             <string>slap_software_release_url</string><string>{RELEASE}</string>\
             <string>slap_software_type</string><string>default</string>\
             <string>slave_instance_list</string><list id=\"iN\"/>\
             <string>timestamp</string><int>{timestamp}</int></dictionary>\
             <string>_partition_id</string><string>slappart0</string>\
             <string>_request_dict</string><none/><string>_requested_state</string>\
             <string>started</string><string>_software_release_document</string>{}{synced}\
             </dictionary></object>",
            release("")
        )
    };
    let free = "<object id=\"iN\" module=\"slapos.slap.slap\" class=\"ComputerPartition\">\
         <tuple><string>COMP-1</string><string>slappart1</string><none/></tuple>\
         <dictionary id=\"iN\"><string>_computer_id</string><string>COMP-1</string>\
         <string>_need_modification</string><int>0</int>\
         <string>_partition_id</string><string>slappart1</string>\
         <string>_request_dict</string><none/><string>_requested_state</string>\
         <string>destroyed</string><string>_software_release_document</string><none/>\
         </dictionary></object>";
    let access = "<string>_access_status</string>\
         <string>#access Instance correctly started</string>";
    let expected = format!(
        "<marshal><object id=\"iN\" module=\"slapos.slap.slap\" class=\"Computer\">\
         <tuple><string>COMP-1</string></tuple><dictionary id=\"iN\">\
         <string>_computer_id</string><string>COMP-1</string>\
         <string>_computer_partition_list</string><list id=\"iN\">{}{free}</list>\
         <string>_software_release_list</string><list id=\"iN\">{}</list>\
         </dictionary></object></marshal>",
        busy(access, ""),
        release("<string>_requested_state</string><string>available</string>")
    );
    assert_eq!(cloud.document(&cloud.node_name).await, numbered(&expected));
    let synced = "<string>_synced</string><bool>1</bool>";
    assert_eq!(
        cloud.registered(&cloud.node_name, "slappart0").await.ok(),
        numbered(&format!("<marshal>{}</marshal>", busy("", synced)))
    );
    assert_eq!(
        cloud.registered(&cloud.node_name, "slappart1").await.ok(),
        numbered(&format!("<marshal>{free}</marshal>"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_finds_nothing_new_carries_nothing() {
    let cloud = Cloud::new().await;
    let path = format!("getFullComputerInformation?computer_id={}", cloud.node);
    let first = cloud.rig.get(&cloud.node_name, &path).await;
    let tag = first.header("etag").unwrap().to_owned();
    let ask = async |who: &str, tag: &str| {
        cloud
            .rig
            .send(Some(who), Method::GET, &path, &[("if-none-match", tag)], "")
            .await
    };
    let again = ask(&cloud.node_name, &tag).await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    assert_eq!(again.header("etag"), Some(tag.as_str()));
    for other in ["\"other.1\"", &tag.replace("epoch", "before")] {
        assert_eq!(ask(&cloud.node_name, other).await.body, first.body);
    }
    cloud.request(&cloud.member, "root1", &[]).await.ok();
    let changed = ask(&cloud.node_name, &tag).await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
    assert!(changed.body.contains("SOFTINST-1"));
    // The same request once more changes nothing.
    let tag = changed.header("etag").unwrap().to_owned();
    cloud.request(&cloud.member, "root1", &[]).await.ok();
    assert_eq!(ask(&cloud.node_name, &tag).await.status, 304);
    // What others see of a node is not the same document.
    let (_, admin) = cloud.rig.person("root", true).await;
    let seen = ask(&admin, &tag).await;
    assert_eq!((seen.status, seen.header("etag")), (200, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_instances_reach_their_host_merged_and_its_requester_raw() {
    let cloud = Cloud::new().await;
    cloud.request(&cloud.member, "host", &[]).await.ok();
    let shared = [
        ("shared_xml", document(&Value::Bool(true))),
        ("partition_parameter_xml", texts(&[("p", "1"), ("q", "2")])),
        ("filter_xml", texts(&[("instance_guid", "SOFTINST-1")])),
    ];
    let shared: Vec<(&str, &str)> = shared.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let reply = cloud.request(&cloud.member, "guest", &shared).await;
    let value = reply.value();
    assert_eq!(
        attribute(&value, "_instance_guid"),
        Value::text("SOFTINST-2")
    );
    assert_eq!(
        attribute(&value, "slap_computer_partition_id"),
        Value::text("slappart0")
    );
    let form = cloud.at(
        "slappart0",
        &[
            (
                "connection_xml",
                &texts(&[("q", "published"), ("url", "u")]),
            ),
            ("slave_reference", "SOFTINST-2"),
        ],
    );
    cloud
        .post(&cloud.node_name, "setComputerPartitionConnectionXml", &form)
        .await
        .ok();
    let value = cloud
        .registered(&cloud.node_name, "slappart0")
        .await
        .value();
    let parameters = attribute(&value, "_parameter_dict");
    let list = parameters.as_dict().unwrap()["slave_instance_list"].clone();
    let [guest] = list.as_sequence().unwrap() else {
        panic!("one guest")
    };
    let guest = guest.as_dict().unwrap();
    for (name, text) in [
        ("p", "1"),
        ("q", "published"),
        ("url", "u"),
        ("slave_reference", "SOFTINST-2"),
        ("slave_title", "guest"),
        ("slap_software_type", "default"),
    ] {
        assert_eq!(guest[name], Value::text(text), "{name}");
    }
    assert!(matches!(guest["timestamp"], Value::Int(_)));

    let value = cloud.request(&cloud.member, "host", &[]).await.value();
    let list = attribute(&value, "slave_instance_list");
    let guest = list.as_sequence().unwrap()[0].as_dict().unwrap();
    let names: Vec<&str> = guest.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "connection_xml",
            "slap_software_type",
            "slave_reference",
            "slave_title",
            "timestamp",
            "xml"
        ]
    );
    assert!(
        guest["xml"]
            .as_str()
            .unwrap()
            .contains("<parameter id=\"p\">1<")
    );
    let value = cloud.request(&cloud.member, "guest", &shared).await.value();
    let connection = attribute(&value, "_connection_dict");
    assert_eq!(connection.as_dict().unwrap()["url"], Value::text("u"));

    // Who is stopped is no guest.
    let mut stopped = shared.clone();
    let state = document(&Value::text("stopped"));
    stopped.push(("state", &state));
    cloud.request(&cloud.member, "guest", &stopped).await;
    let value = cloud
        .registered(&cloud.node_name, "slappart0")
        .await
        .value();
    let parameters = attribute(&value, "_parameter_dict");
    assert_eq!(
        parameters.as_dict().unwrap()["slave_instance_list"],
        Value::List(Vec::new())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_speaks_for_itself_and_sees_its_own() {
    let cloud = Cloud::new().await;
    cloud.request(&cloud.member, "root1", &[]).await.ok();
    let owner = CertificateOwner::Instance(InstanceKey(1));
    let instance = cloud.rig.certificate(owner).await;
    // Its own partition only, and no releases.
    let document = slap::document::NodeDocument::from_value(
        &slap::marshal::decode(cloud.document(&instance).await.as_bytes()).unwrap(),
    )
    .unwrap();
    assert_eq!(document.partitions.len(), 1);
    assert_eq!(document.partitions[0].guid.as_deref(), Some("SOFTINST-1"));
    assert!(document.installations.is_empty());
    // It asks for a member of its tree without saying who it is.
    let child = cloud.request(&instance, "child", &[]).await.value();
    assert_eq!(
        attribute(&child, "_instance_guid"),
        Value::text("SOFTINST-2")
    );
    assert_eq!(
        attribute(&child, "root_instance_title"),
        Value::text("root1")
    );
    // A node says for which partition it asks; the header does as well as the form.
    let header = format!(
        "X-SlapPartition computer_id={}, computer_partition_id=slappart0",
        cloud.node
    );
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("software_release", RELEASE),
            ("partition_reference", "child"),
        ])
        .finish();
    let reply = cloud
        .rig
        .send(
            Some(&cloud.node_name),
            Method::POST,
            "requestComputerPartition",
            &[("authorization", &header)],
            form.clone(),
        )
        .await;
    assert_eq!(
        attribute(&reply.value(), "_instance_guid"),
        Value::text("SOFTINST-2")
    );
    // A person is a person, whatever the header claims.
    let reply = cloud
        .rig
        .send(
            Some(&cloud.member),
            Method::POST,
            "requestComputerPartition",
            &[("authorization", &header)],
            form,
        )
        .await;
    assert_eq!(
        reply.status, 408,
        "a tree of its own, and no partition left"
    );

    let path = format!(
        "getHostingSubscriptionIpList?computer_id={}&computer_partition_id=slappart0",
        cloud.node
    );
    let addresses = cloud.rig.get(&instance, &path);
    assert!(addresses.await.ok().contains("fd00::2"));
    let sibling = cloud.registered(&instance, "slappart1").await;
    assert_eq!(sibling.status, 200, "a member of its tree");
    let form = cloud.at("slappart1", &[("message", "x")]);
    let reply = cloud.post(&instance, "softwareInstanceBang", &form).await;
    assert_eq!(reply.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_from_request_to_destruction() {
    let cloud = Cloud::new().await;
    cloud.request(&cloud.member, "root1", &[]).await.ok();
    let status = async |path: &str| {
        let path = format!("{path}&computer_id={}", cloud.node);
        let value = cloud.rig.get(&cloud.node_name, &path).await.value();
        value.as_dict().unwrap().clone()
    };
    let instance = "getComputerPartitionStatus?computer_partition_id=slappart0";
    let nothing = status(instance).await;
    assert_eq!(nothing["no_data"], Value::Int(1));
    assert_eq!(
        nothing["text"],
        Value::text("#error no data found for SOFTINST-1")
    );
    let long = format!("{}the end", "x".repeat(100));
    for (call, fields, text, state) in [
        (
            "startedComputerPartition",
            vec![],
            "#access Instance correctly started",
            "started",
        ),
        (
            "softwareInstanceError",
            vec![("error_log", long.as_str())],
            "the end",
            "started",
        ),
        (
            "softwareInstanceBang",
            vec![("message", "help")],
            "#error bang called: help",
            "started",
        ),
        (
            "stoppedComputerPartition",
            vec![],
            "#access Instance correctly stopped",
            "stopped",
        ),
    ] {
        let form = cloud.at("slappart0", &fields);
        cloud.post(&cloud.node_name, call, &form).await;
        let found = status(instance).await;
        let said = found["text"].as_str().unwrap().to_owned();
        assert!(said.ends_with(text), "{call}: {said}");
        assert_eq!(found["state"], Value::text(state), "{call}");
        assert_eq!(found["user"], Value::text("COMP-1"));
    }
    let release = format!("getSoftwareInstallationStatus?url={RELEASE}");
    let found = status(&release).await;
    assert_eq!(found["state"], Value::text("available"));
    let node = status("getComputerStatus?x=").await;
    assert_eq!(node["text"], Value::text("#access COMP-1"));
    cloud.rig.clock.advance(Duration::from_secs(300));
    let silent = status(&release).await;
    assert_eq!(silent["no_data_since_5_minutes"], Value::Int(1));
    assert_eq!(silent["no_data_since_15_minutes"], Value::Int(0));

    let form = cloud.at("slappart0", &[("new_name", "other")]);
    cloud
        .post(&cloud.node_name, "softwareInstanceRename", &form)
        .await
        .ok();
    let titles = document(&Value::List(vec![Value::text("x")]));
    let form = cloud.at("slappart0", &[("instance_reference_xml", &titles)]);
    let call = "updateComputerPartitionRelatedInstanceList";
    cloud.post(&cloud.node_name, call, &form).await.ok();

    // What nobody asked to destroy is not destroyed.
    let here = cloud.at("slappart0", &[]);
    let reply = cloud
        .post(&cloud.node_name, "destroyedComputerPartition", &here)
        .await;
    assert_ne!(reply.status, 200);
    let destroyed = document(&Value::text("destroyed"));
    let reply = cloud
        .request(&cloud.member, "other", &[("state", &destroyed)])
        .await;
    assert_eq!(reply.status, 408);
    let value = cloud
        .registered(&cloud.node_name, "slappart0")
        .await
        .value();
    assert_eq!(
        attribute(&value, "_requested_state"),
        Value::text("destroyed")
    );
    assert!(
        attribute(&value, "_software_release_document")
            .as_object()
            .is_some()
    );
    cloud
        .post(&cloud.node_name, "destroyedComputerPartition", &here)
        .await
        .ok();
    let value = cloud
        .registered(&cloud.node_name, "slappart0")
        .await
        .value();
    assert_eq!(attribute(&value, "_software_release_document"), Value::None);

    let form = cloud.node_form(&[("url", RELEASE), ("state", "destroyed")]);
    cloud.post(&cloud.manager, "supplySupply", &form).await.ok();
    let form = cloud.node_form(&[("url", RELEASE)]);
    cloud
        .post(&cloud.node_name, "destroyedSoftwareRelease", &form)
        .await
        .ok();
    assert!(!cloud.document(&cloud.node_name).await.contains(RELEASE));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_its_field_and_changes_nothing() {
    let cloud = Cloud::new().await;
    let before = cloud.document(&cloud.node_name).await;
    let node = cloud.node.to_string();
    let usage = "<journal><transaction/></journal>";
    for (who, call, fields, status, text) in [
        (
            &cloud.member,
            "requestComputerPartition",
            vec![("software_release", RELEASE)],
            400,
            "partition_reference",
        ),
        (
            &cloud.member,
            "requestComputerPartition",
            vec![
                ("software_release", RELEASE),
                ("partition_reference", "t"),
                (
                    "partition_parameter_xml",
                    "<marshal><list id=\"i2\"/></marshal>",
                ),
            ],
            400,
            "partition_parameter_xml",
        ),
        (
            &cloud.member,
            "requestComputerPartition",
            vec![
                ("software_release", RELEASE),
                ("partition_reference", "t"),
                ("state", "<marshal><string>running</string></marshal>"),
            ],
            400,
            "running",
        ),
        (
            &cloud.member,
            "requestComputerPartition",
            vec![
                ("software_release", RELEASE),
                ("partition_reference", "t"),
                ("project_reference", "PROJ-77"),
            ],
            404,
            "PROJ-77",
        ),
        (
            &cloud.manager,
            "supplySupply",
            vec![
                ("url", RELEASE),
                ("computer_id", "None"),
                ("state", "available"),
            ],
            400,
            "computer_id",
        ),
        (
            &cloud.manager,
            "supplySupply",
            vec![
                ("url", RELEASE),
                ("computer_id", "COMP-9"),
                ("state", "available"),
            ],
            404,
            "COMP-9",
        ),
        (
            &cloud.manager,
            "supplySupply",
            vec![("url", RELEASE), ("computer_id", &node), ("state", "gone")],
            400,
            "state",
        ),
        (
            &cloud.member,
            "supplySupply",
            vec![
                ("url", RELEASE),
                ("computer_id", &node),
                ("state", "destroyed"),
            ],
            403,
            "not do this",
        ),
        (
            &cloud.node_name,
            "useComputer",
            vec![("computer_id", &node), ("use_string", usage)],
            400,
            "use_string",
        ),
        (
            &cloud.node_name,
            "loadComputerConfigurationFromXML",
            vec![("xml", "<marshal><none/></marshal>")],
            400,
            "xml",
        ),
        (
            &cloud.node_name,
            "loadComputerConfigurationFromXML",
            vec![],
            400,
            "xml",
        ),
        (
            &cloud.node_name,
            "computerBang",
            vec![("computer_id", "machine")],
            404,
            "machine",
        ),
        (
            &cloud.node_name,
            "setComputerPartitionConnectionXml",
            vec![
                ("computer_id", &node),
                ("computer_partition_id", "slappart0"),
                (
                    "connection_xml",
                    "<marshal><dictionary id=\"i2\"/></marshal>",
                ),
                ("slave_reference", "guest"),
            ],
            404,
            "guest",
        ),
        (
            &cloud.member,
            "requestComputer",
            vec![("computer_title", "n"), ("project_reference", "PROJ-1")],
            403,
            "not do this",
        ),
    ] {
        let reply = cloud.rig.post(who, call, &fields).await;
        assert_eq!(reply.status, status, "{call} {fields:?}: {}", reply.body);
        assert!(reply.body.contains(text), "{call}: {}", reply.body);
    }
    assert_eq!(cloud.document(&cloud.node_name).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_nodes_and_instances() {
    let cloud = Cloud::new().await;
    cloud.request(&cloud.member, "root1", &[]).await.ok();
    let path = format!(
        "getComputerPartitionCertificate?computer_id={}&computer_partition_id=slappart0",
        cloud.node
    );
    let first = cloud.rig.get(&cloud.node_name, &path).await;
    assert_eq!(first.header("cache-control"), Some("private, no-store"));
    let first = first.value();
    let pem = first.as_dict().unwrap();
    assert!(pem["key"].as_str().unwrap().contains("PRIVATE KEY"));
    assert!(pem["certificate"].as_str().unwrap().contains("CERTIFICATE"));
    let again = cloud.rig.get(&cloud.node_name, &path).await.value();
    assert_eq!(again, first, "the same ever after");
    assert_ne!(cloud.rig.get(&cloud.member, &path).await.status, 200);

    let node = [("computer_id", "COMP-1")];
    let call = "generateComputerCertificate";
    let reply = cloud.rig.post(&cloud.manager, call, &node).await;
    assert_eq!(reply.status, 409, "{}", reply.body);
    assert!(
        reply.body.contains("Certificate still active."),
        "{}",
        reply.body
    );
    let revoke = "revokeComputerCertificate";
    cloud.rig.post(&cloud.manager, revoke, &node).await.ok();
    let path = "getFullComputerInformation?computer_id=COMP-1";
    assert_eq!(cloud.rig.get(&cloud.node_name, path).await.status, 401);
    let reply = cloud.rig.post(&cloud.manager, call, &node).await;
    let reply = reply.value();
    let text = reply.as_dict().unwrap()["certificate"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        text.contains("COMP-1/email"),
        "what old clients cut out: {text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn small_words() {
    let cloud = Cloud::new().await;
    let reply = cloud
        .rig
        .send(None, Method::GET, "getHateoasUrl", &[], "")
        .await;
    assert_eq!(reply.ok(), "http://inner:8080/hateoas/");
    let public = [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "slap.example.com"),
    ];
    let reply = cloud
        .rig
        .send(None, Method::GET, "getHateoasUrl", &public, "")
        .await;
    assert_eq!(reply.ok(), "https://slap.example.com/hateoas/");
    let reply = cloud.rig.send(None, Method::GET, "getRunId", &[], "").await;
    assert_eq!(reply.ok().len(), 32);
    let node = cloud.node.to_string();
    let form = [("computer_id", node.as_str()), ("message", "m")];
    let reply = cloud
        .rig
        .post(&cloud.node_name, "computerBang", &form)
        .await;
    assert_eq!(reply.ok(), "OK");
    let form = [("computer_title", "two"), ("project_reference", "PROJ-1")];
    let reply = cloud
        .rig
        .post(&cloud.manager, "requestComputer", &form)
        .await;
    assert!(reply.ok().contains("<string>COMP-2</string>"));
    let reply = cloud
        .rig
        .post(&cloud.manager, "requestComputer", &form[..1])
        .await;
    assert!(
        reply.ok().contains("<string>COMP-2</string>"),
        "the only project"
    );
    let reply = cloud
        .rig
        .post(&cloud.member, "requestComputer", &form[..1])
        .await;
    assert_eq!(reply.status, 403);
    let usage = "<journal><transaction type=\"t\"><start_date/><stop_date/><reference>r</reference>\
                 <currency/><payment_mode/><arrow type=\"a\"/><movement><resource/>\
                 <quantity>1</quantity><price>0</price><VAT/></movement></transaction></journal>";
    let form = [("computer_id", node.as_str()), ("use_string", usage)];
    let reply = cloud.rig.post(&cloud.node_name, "useComputer", &form).await;
    assert_eq!(reply.ok(), "OK");

    for url in ["http://example.com/old.cfg", RELEASE] {
        let (store, project) = (&cloud.rig.store, cloud.rig.project);
        let (caller, product) = (crate::domain::Caller::Master, "app".to_owned());
        store
            .create_product(caller, project, product.clone(), "App".to_owned())
            .await
            .unwrap();
        store
            .add_release(caller, project, product, url.parse().unwrap(), None)
            .await
            .unwrap();
        cloud.rig.clock.advance(Duration::from_secs(1));
    }
    let call = "getSoftwareReleaseListFromSoftwareProduct";
    for query in [
        "software_product_reference=app",
        "software_release_url=http://example.com/old.cfg",
        "software_product_reference=app&project_reference=PROJ-1",
    ] {
        let path = format!("{call}?{query}");
        let reply = cloud.rig.get(&cloud.member, &path);
        let expected = Value::List(vec![
            Value::text(RELEASE),
            Value::text("http://example.com/old.cfg"),
        ]);
        assert_eq!(reply.await.value(), expected, "{query}");
    }
    let path = format!("{call}?software_product_reference=x");
    let reply = cloud.rig.get(&cloud.member, &path);
    assert_eq!(reply.await.value(), Value::List(Vec::new()));
    assert_eq!(cloud.rig.get(&cloud.member, call).await.status, 400);
}
