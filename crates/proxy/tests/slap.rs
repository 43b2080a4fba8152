//! The legacy calls through real HTTP, byte by byte where upstream was captured (P 1.3–1.7, 6.x).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Ask, NODE, RELEASE, Rig, ask, description, masked};
use serde_json::json;
use slap::{Value, marshal};

fn marshalled(inner: &str) -> String {
    format!("<marshal>{inner}</marshal>")
}

fn encoded(pairs: &[(&str, Value)]) -> String {
    marshal::encode(&Value::dict(pairs.iter().cloned())).unwrap()
}

/// The parameters of the spec's first request.
fn specimen() -> Vec<(&'static str, Value)> {
    vec![
        ("a", Value::text("b<&>é")),
        ("n", Value::Int(1)),
        ("t", Value::Bool(true)),
    ]
}

#[test]
fn an_unformatted_node_has_an_empty_document() {
    let rig = Rig::new();
    let reply = rig.full();
    assert_eq!(
        reply.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let expected = marshalled(
        "<object id=\"i2\" module=\"slapos.slap.slap\" class=\"Computer\"><tuple>\
         <string>local_computer</string></tuple><dictionary id=\"i3\"><string>_computer_id</string>\
         <string>local_computer</string><string>_computer_partition_list</string><list id=\"i4\"/>\
         <string>_software_release_list</string><list id=\"i5\"/></dictionary></object>",
    );
    assert_eq!(reply.ok(), expected);
    assert_eq!(
        rig.get("/getComputerInformation?computer_id=local_computer")
            .ok(),
        expected
    );
}

#[test]
fn a_free_partition_as_captured() {
    let rig = Rig::new();
    rig.format(NODE, 1);
    assert!(rig.full().ok().contains(
        "<list id=\"i4\"><object id=\"i5\" module=\"slapos.slap.slap\" class=\"ComputerPartition\">\
         <tuple><string>local_computer</string><string>slappart0</string><none/></tuple>\
         <dictionary id=\"i6\"><string>_computer_id</string><string>local_computer</string>\
         <string>_instance_guid</string><string>local_computer-slappart0</string>\
         <string>_need_modification</string><int>0</int><string>_partition_id</string>\
         <string>slappart0</string><string>_request_dict</string><none/>\
         <string>_requested_state</string><string>destroyed</string>\
         <string>_software_release_document</string><none/></dictionary></object></list>"
    ));
}

#[test]
fn the_reply_to_a_request_as_captured() {
    let rig = Rig::new();
    rig.format(NODE, 1);
    let reply = rig.request(&Ask {
        parameters: specimen(),
        sla: vec![("computer_guid", NODE)],
        ..ask("root1")
    });
    assert_eq!(
        masked(&reply.ok()),
        marshalled(
            "<object id=\"i2\" module=\"slapos.slap.slap\" class=\"SoftwareInstance\"><tuple/>\
             <dictionary id=\"i3\"><string>_connection_dict</string><dictionary id=\"i4\"/>\
             <string>_instance_guid</string><string>local_computer-slappart0</string>\
             <string>_parameter_dict</string><dictionary id=\"i5\"><string>a</string>\
             <string>b&amp;lt;&amp;amp;&amp;gt;&#233;</string><string>n</string><string>1</string>\
             <string>t</string><string>True</string><string>timestamp</string>\
             <string>TIMESTAMP</string></dictionary><string>_requested_state</string>\
             <string>started</string><string>connection_xml</string><none/><string>ip_list</string>\
             <list id=\"i6\"><tuple><string>slaptap0</string><string>10.0.0.1</string></tuple>\
             <tuple><string>slaptap0</string><string>fd00::1</string></tuple></list>\
             <string>slap_computer_id</string><string>local_computer</string>\
             <string>slap_computer_partition_id</string><string>slappart0</string>\
             <string>slap_server_url</string><string>slap_server_url</string>\
             <string>slap_software_release_url</string>\
             <string>http://example.com/dummy/software.cfg</string>\
             <string>slap_software_type</string><string>default</string></dictionary></object>"
        )
    );
}

#[test]
fn a_busy_partition_with_shared_instances_and_a_connection_as_captured() {
    let rig = Rig::new();
    rig.format(NODE, 2);
    rig.request(&Ask {
        parameters: specimen(),
        ..ask("root1")
    })
    .ok();
    let shared = |title, number: &'static str, requester| {
        rig.request(&Ask {
            parameters: vec![("p", Value::text(number))],
            shared: true,
            requester,
            ..ask(title)
        })
    };
    // As captured: no guid, no state, no connection document, no timestamp (quirk 28).
    assert_eq!(
        shared("sh1", "1", None).ok(),
        marshalled(
            "<object id=\"i2\" module=\"slapos.slap.slap\" class=\"SoftwareInstance\"><tuple/>\
             <dictionary id=\"i3\"><string>_connection_dict</string><dictionary id=\"i4\"/>\
             <string>_parameter_dict</string><dictionary id=\"i5\"><string>p</string>\
             <string>1</string></dictionary><string>ip_list</string><list id=\"i6\"><tuple>\
             <string>slaptap0</string><string>10.0.0.1</string></tuple><tuple>\
             <string>slaptap0</string><string>fd00::1</string></tuple></list>\
             <string>slap_computer_id</string><string>local_computer</string>\
             <string>slap_computer_partition_id</string><string>slappart0</string>\
             <string>slap_server_url</string><string>slap_server_url</string>\
             <string>slap_software_release_url</string>\
             <string>http://example.com/dummy/software.cfg</string>\
             <string>slap_software_type</string><string>default</string></dictionary></object>"
        )
    );
    shared("sh2", "2", Some("slappart0")).ok();
    let connection = encoded(&[
        ("n", Value::Int(3)),
        ("url", Value::text("http://[::1]/<x>")),
    ]);
    let publish = rig.post(
        "/setComputerPartitionConnectionXml",
        &[
            ("computer_id", NODE),
            ("computer_partition_id", "slappart0"),
            ("connection_xml", &connection),
            ("slave_reference", "None"),
        ],
    );
    assert_eq!(publish.ok(), "done");
    assert_eq!(
        masked(&rig.register("slappart0").ok()),
        marshalled(
            "<object id=\"i2\" module=\"slapos.slap.slap\" class=\"ComputerPartition\"><tuple>\
             <string>local_computer</string><string>slappart0</string><none/></tuple>\
             <dictionary id=\"i3\"><string>_computer_id</string><string>local_computer</string>\
             <string>_connection_dict</string><dictionary id=\"i4\"><string>n</string>\
             <string>3</string><string>url</string>\
             <string>http://[::1]/&amp;lt;x&amp;gt;</string></dictionary>\
             <string>_instance_guid</string><string>local_computer-slappart0</string>\
             <string>_need_modification</string><int>1</int><string>_parameter_dict</string>\
             <dictionary id=\"i5\"><string>a</string>\
             <string>b&amp;lt;&amp;amp;&amp;gt;&#233;</string><string>full_address_list</string>\
             <list id=\"i6\"/><string>instance_title</string><string>root1</string>\
             <string>ip_list</string><list id=\"i7\"><tuple><string>slaptap0</string>\
             <string>10.0.0.1</string></tuple><tuple><string>slaptap0</string>\
             <string>fd00::1</string></tuple></list><string>n</string><string>1</string>\
             <string>root_instance_title</string><string>root1</string>\
             <string>slap_computer_id</string><string>local_computer</string>\
             <string>slap_computer_partition_id</string><string>slappart0</string>\
             <string>slap_software_release_url</string>\
             <string>http://example.com/dummy/software.cfg</string>\
             <string>slap_software_type</string><string>default</string>\
             <string>slave_instance_list</string><list id=\"i8\"><dictionary id=\"i9\">\
             <string>p</string><string>1</string><string>slap_software_type</string>\
             <string>default</string><string>slave_reference</string><string>_sh1</string>\
             <string>slave_title</string><string>_sh1</string></dictionary><dictionary id=\"i10\">\
             <string>p</string><string>2</string><string>slap_software_type</string>\
             <string>default</string><string>slave_reference</string><string>root1_sh2</string>\
             <string>slave_title</string><string>root1_sh2</string></dictionary></list>\
             <string>t</string><string>True</string><string>timestamp</string>\
             <string>TIMESTAMP</string></dictionary><string>_partition_id</string>\
             <string>slappart0</string><string>_request_dict</string><none/>\
             <string>_requested_state</string><string>started</string>\
             <string>_software_release_document</string><object id=\"i11\" \
             module=\"slapos.slap.slap\" class=\"SoftwareRelease\"><tuple>\
             <string>http://example.com/dummy/software.cfg</string><string>local_computer</string>\
             </tuple><dictionary id=\"i12\"><string>_computer_guid</string>\
             <string>local_computer</string><string>_software_instance_list</string>\
             <list id=\"i13\"/><string>_software_release</string>\
             <string>http://example.com/dummy/software.cfg</string></dictionary></object>\
             </dictionary></object>"
        )
    );
    // The one who asks again reads the connection as a dictionary and as a document.
    let again = rig.request(&Ask {
        parameters: specimen(),
        ..ask("root1")
    });
    assert_eq!(
        again.attribute("connection_xml").as_str().unwrap(),
        "<?xml version='1.0' encoding='utf-8'?>\n<instance>\n  <parameter id=\"n\">3</parameter>\n  \
         <parameter id=\"url\">http://[::1]/&lt;x&gt;</parameter>\n</instance>\n"
    );
}

#[test]
fn empty_values_come_back_as_nothing_and_types_reach_hosts() {
    let rig = Rig::new();
    rig.format(NODE, 1);
    let reply = rig.request(&Ask {
        parameters: vec![("e", Value::text("")), ("none", Value::None)],
        ..ask("host")
    });
    let parameters = reply.attribute("_parameter_dict");
    assert_eq!(parameters.as_dict().unwrap()["e"], Value::None);
    assert_eq!(parameters.as_dict().unwrap()["none"], Value::text("None"));
    rig.request(&Ask {
        parameters: vec![("p", Value::Int(1)), ("e", Value::text(""))],
        shared: true,
        ..ask("sh")
    })
    .ok();
    let hosted = rig.register("slappart0").attribute("_parameter_dict");
    let list = &hosted.as_dict().unwrap()["slave_instance_list"];
    let item = list.as_sequence().unwrap()[0].as_dict().unwrap();
    assert_eq!(item["p"], Value::Int(1));
    assert_eq!(item["e"], Value::text(""));
}

#[test]
fn what_nodes_report_can_be_asked_for() {
    let rig = Rig::new();
    rig.format(NODE, 1);
    rig.request(&ask("x")).ok();
    let place = [
        ("computer_id", NODE),
        ("computer_partition_id", "slappart0"),
    ];
    let status = |path: &str| {
        let value = slap::marshal::decode(rig.get(path).ok().as_bytes()).unwrap();
        let entries = value.as_dict().unwrap().clone();
        let text = |name: &str| entries.get(name).map(slap::python::str).unwrap_or_default();
        (text("text"), text("state"), text("current"))
    };
    let instance =
        "/getComputerPartitionStatus?computer_id=local_computer&computer_partition_id=slappart0";
    let words = |text: &str, state: &str, current: &str| {
        (text.to_owned(), state.to_owned(), current.to_owned())
    };
    assert_eq!(
        status(instance),
        words("#error no data found for local_computer-slappart0", "", "")
    );
    rig.post("/startedComputerPartition", &place).ok();
    assert_eq!(
        status(instance),
        words("#access Instance correctly started", "started", "1")
    );
    // A change makes the report one about the past, until the node reports again.
    let mut changed = ask("x");
    changed.state = Some("stopped");
    rig.request(&changed).ok();
    assert_eq!(
        status(instance),
        words("#access Instance correctly started", "started", "0")
    );
    let news = rig.get("/hateoas/partitions/x").ok();
    assert!(
        news.contains("#access Instance correctly started"),
        "{news}"
    );

    let release = "/getSoftwareInstallationStatus?url=http://x/a&computer_id=local_computer";
    assert_eq!(
        status(release),
        words("#error no data found for http://x/a", "", "")
    );
    rig.post(
        "/buildingSoftwareRelease",
        &[("url", "http://x/a"), ("computer_id", NODE)],
    )
    .ok();
    assert_eq!(
        status(release),
        words("#building software release http://x/a", "building", "1")
    );
}

#[test]
fn small_replies_are_upstreams_texts() {
    let rig = Rig::with(|settings| {
        settings.products = vec![("kvm".into(), "http://x/kvm.cfg".into())];
    });
    rig.format(NODE, 1);
    rig.request(&ask("x")).ok();
    let place = [
        ("computer_id", NODE),
        ("computer_partition_id", "slappart0"),
    ];
    let with = |more: &[(&'static str, &'static str)]| {
        let mut fields = place.to_vec();
        fields.extend_from_slice(more);
        fields
    };
    for (path, fields, expected) in [
        (
            "/supplySupply",
            vec![
                ("url", "http://x/a"),
                ("computer_id", NODE),
                ("state", "available"),
            ],
            "Supplied 'http://x/a' to be available",
        ),
        (
            "/supplySupply",
            vec![
                ("url", "http://x/s'a"),
                ("computer_id", NODE),
                ("state", "destroyed"),
            ],
            "Supplied \"http://x/s'a\" to be destroyed",
        ),
        (
            "/buildingSoftwareRelease",
            vec![("url", "a"), ("computer_id", NODE)],
            "Ignored",
        ),
        (
            "/availableSoftwareRelease",
            vec![("url", "a"), ("computer_id", NODE)],
            "Ignored",
        ),
        (
            "/softwareReleaseError",
            vec![("url", "a"), ("computer_id", NODE), ("error_log", "x")],
            "Ignored",
        ),
        (
            "/destroyedSoftwareRelease",
            vec![("url", "nosuch"), ("computer_id", NODE)],
            "OK",
        ),
        ("/startedComputerPartition", place.to_vec(), "Ignored"),
        ("/stoppedComputerPartition", place.to_vec(), "Ignored"),
        (
            "/softwareInstanceError",
            with(&[("error_log", "x")]),
            "Ignored",
        ),
        ("/softwareInstanceBang", with(&[("message", "x")]), "OK"),
        (
            "/softwareInstanceRename",
            with(&[("new_name", "y")]),
            "done",
        ),
        (
            "/useComputer",
            vec![("computer_id", NODE), ("use_string", "x")],
            "Ignored",
        ),
        (
            "/computerBang",
            vec![("computer_id", NODE), ("message", "x")],
            "<marshal><string></string></marshal>",
        ),
        (
            "/destroyedComputerPartition",
            vec![
                ("computer_id", NODE),
                ("computer_partition_id", "slappartX"),
            ],
            "Unknown partition 'slappartX' on 'local_computer'",
        ),
    ] {
        assert_eq!(rig.post(path, &fields).ok(), expected, "{path} {fields:?}");
    }
    for (path, expected) in [
        (
            "/getComputerPartitionCertificate?computer_id=c&computer_partition_id=p",
            "<marshal><dictionary id=\"i2\"><string>certificate</string><string></string><string>key</string><string></string></dictionary></marshal>",
        ),
        (
            "/getSoftwareReleaseListFromSoftwareProduct?software_product_reference=kvm",
            "<marshal><list id=\"i2\"><string>http://x/kvm.cfg</string></list></marshal>",
        ),
        (
            "/getSoftwareReleaseListFromSoftwareProduct?software_product_reference=zz",
            "<marshal><list id=\"i2\"/></marshal>",
        ),
        (
            "/getSoftwareReleaseListFromSoftwareProduct?software_release_url=http://x/kvm.cfg",
            "<marshal><list id=\"i2\"><string>http://x/kvm.cfg</string></list></marshal>",
        ),
    ] {
        assert_eq!(rig.get(path).ok(), expected, "{path}");
    }
    let run = rig.get("/getRunId").ok();
    assert_eq!(run.len(), 32);
    assert_eq!(rig.get("/getRunId").ok(), run);
}

#[test]
fn what_is_not_served_and_what_is_not_allowed() {
    let rig = Rig::new();
    for path in [
        "/nope",
        "/getComputerStatus?computer_id=x",
        "/getHostingSubscriptionIpList?computer_id=x&computer_partition_id=y",
        "/getFullComputerInformation/",
    ] {
        let reply = rig.get(path);
        assert_eq!(reply.status, 404, "{path}");
        assert!(reply.body.starts_with("<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>The requested URL was not found on the server."));
    }
    for path in [
        "/requestComputer",
        "/generateComputerCertificate",
        "/revokeComputerCertificate",
        "/updateComputerPartitionRelatedInstanceList",
    ] {
        assert_eq!(rig.post(path, &[]).status, 404, "{path}");
    }
    for (method, path, allow) in [
        ("POST", "/getFullComputerInformation", "OPTIONS, GET, HEAD"),
        ("PUT", "/getRunId", "OPTIONS, GET, HEAD"),
        ("GET", "/supplySupply", "OPTIONS, POST"),
        ("DELETE", "/slapos.get.v0.hateoas_url", "OPTIONS, POST"),
    ] {
        let reply = rig.send(method, path, &[], "");
        assert_eq!(reply.status, 405, "{method} {path}");
        assert_eq!(reply.header("allow"), Some(allow));
    }
    let options = rig.send("OPTIONS", "/supplySupply", &[], "");
    assert_eq!(
        (options.status, options.header("allow")),
        (200, Some("OPTIONS, POST"))
    );
    let head = rig.send("HEAD", "/getRunId", &[], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn bad_input_is_refused_with_words_and_changes_nothing() {
    let rig = Rig::new();
    rig.format(NODE, 2);
    rig.request(&ask("x")).ok();
    let before = rig.full().ok();
    let none = "<marshal><none/></marshal>";
    let request = |name: &str, document: &str| {
        let mut fields = vec![
            ("software_release", RELEASE),
            ("partition_reference", "y"),
            ("software_type", "default"),
        ];
        fields.push((name, document));
        rig.post("/requestComputerPartition", &fields)
    };
    let bogus = marshal::encode(&Value::text("bogus")).unwrap();
    let bomb = format!(
        "<marshal>{}{}</marshal>",
        "<list>".repeat(5000),
        "</list>".repeat(5000)
    );
    for reply in [
        rig.get("/getFullComputerInformation"),
        rig.get("/registerComputerPartition"),
        rig.get("/getSoftwareReleaseListFromSoftwareProduct"),
        rig.post("/supplySupply", &[("url", "a"), ("computer_id", NODE)]),
        rig.post(
            "/supplySupply",
            &[("url", "a"), ("computer_id", NODE), ("state", "bogus")],
        ),
        rig.post("/loadComputerConfigurationFromXML", &[("xml", "zz")]),
        rig.post("/loadComputerConfigurationFromXML", &[("xml", none)]),
        rig.post("/loadComputerConfigurationFromXML", &[]),
        rig.post("/requestComputerPartition", &[("software_release", "a")]),
        rig.post("/requestComputerPartition", &[("partition_reference", "a")]),
        request("state", &bogus),
        request("state", "zz"),
        request("partition_parameter_xml", &bogus),
        request("partition_parameter_xml", &bomb),
        request(
            "filter_xml",
            "<marshal><dictionary><string>a</string></dictionary></marshal>",
        ),
        request("shared_xml", &bogus),
        rig.request(&ask("")),
        rig.request(&ask(&"x".repeat(201))),
        rig.post(
            "/setComputerPartitionConnectionXml",
            &[
                ("computer_id", NODE),
                ("computer_partition_id", "slappart0"),
                ("connection_xml", "zz"),
            ],
        ),
        rig.post_as(
            Some("slappart9"),
            "/requestComputerPartition",
            &[("software_release", "a"), ("partition_reference", "b")],
        ),
    ] {
        assert_eq!(reply.status, 400, "{}", reply.body);
        assert!(reply.body.contains("<p>") && !reply.body.contains("<p></p>"));
    }
    for reply in [
        rig.get("/getFullComputerInformation?computer_id=unknown"),
        rig.register("slappart9"),
        rig.register_on("unknown", "slappart0"),
        rig.post(
            "/softwareInstanceBang",
            &[
                ("computer_id", NODE),
                ("computer_partition_id", "slappart1"),
            ],
        ),
        rig.request(&Ask {
            sla: vec![("computer_guid", "unknown")],
            ..ask("z")
        }),
        rig.request(&Ask {
            shared: true,
            software_type: "other",
            ..ask("z")
        }),
        rig.request(&Ask {
            requester: Some("slappart1"),
            ..ask("z")
        }),
        rig.request(&Ask {
            requester: Some("../x"),
            ..ask("z")
        }),
    ] {
        assert_eq!(reply.status, 404, "{}", reply.body);
    }
    assert_eq!(rig.full().ok(), before);
    // Fields that hold documents may be left out (quirk 43).
    let lenient = rig.post(
        "/requestComputerPartition",
        &[("software_release", RELEASE), ("partition_reference", "y")],
    );
    assert_eq!(lenient.status, 200);
}

#[test]
fn what_a_request_leaves_out_stays_as_it_is() {
    let rig = Rig::new();
    rig.format(NODE, 3);
    let given = Ask {
        parameters: vec![("a", Value::text("1"))],
        ..ask("x")
    };
    rig.request(&given).ok();
    let node = rig.rpc("slapos.get.v0.hateoas_url", json!({})).json();
    assert_eq!(node["keeps_omitted"], true, "{node}");
    let before = rig.full().ok();
    let bare = [("software_release", RELEASE), ("partition_reference", "x")];
    assert_eq!(rig.post("/requestComputerPartition", &bare).status, 200);
    assert_eq!(rig.full().ok(), before, "not even its timestamp");
    // What is given, even if it is nothing, is what counts.
    rig.request(&Ask {
        parameters: vec![],
        ..ask("x")
    })
    .ok();
    assert_ne!(rig.full().ok(), before);
}

#[test]
fn a_shared_instance_is_found_by_its_title_alone() {
    let rig = Rig::new();
    rig.format(NODE, 3);
    rig.request(&ask("host")).ok();
    let shared = Ask {
        shared: true,
        parameters: vec![("p", Value::text("1"))],
        ..ask("s")
    };
    rig.request(&shared).ok();
    let before = rig.full().ok();
    let bare = [("software_release", RELEASE), ("partition_reference", "s")];
    assert_eq!(rig.post("/requestComputerPartition", &bare).status, 200);
    assert_eq!(rig.full().ok(), before);
}

#[test]
fn the_texts_of_refusals_are_upstreams() {
    let rig = Rig::new();
    let text = |ask: &Ask<'_>| {
        let reply = rig.request(ask);
        (reply.status, reply.body)
    };
    let (status, body) = text(&ask("t/\"x"));
    assert_eq!(status, 404);
    assert!(
        body.contains("<p>No free computer partition found for: t/&#34;x</p>"),
        "{body}"
    );
    let (status, body) = text(&Ask {
        shared: true,
        ..ask("s")
    });
    assert_eq!(status, 404);
    assert!(
        body.contains("<p>No partition corresponding to slave request: [&#39;http://example.com/dummy/software.cfg&#39;, &#39;local_computer&#39;, &#39;default&#39;]</p>"),
        "{body}"
    );
    let reply = rig.post_as(
        Some("slappart9"),
        "/requestComputerPartition",
        &[("software_release", "a"), ("partition_reference", "b")],
    );
    assert!(
        reply.body.contains(
            "No partition matching the authorization header: (local_computer / slappart9)"
        ),
        "{}",
        reply.body
    );
}

#[test]
fn states_and_timestamps_change_on_change_only() {
    let rig = Rig::new();
    rig.format(NODE, 3);
    let first = rig.request(&ask("x"));
    let same = rig.request(&ask("x"));
    assert_eq!(same.timestamp(), first.timestamp());
    rig.format(NODE, 3);
    let stopped = rig.request(&Ask {
        state: Some("stopped"),
        ..ask("x")
    });
    assert_ne!(stopped.timestamp(), first.timestamp());
    // No state keeps the stored one, and the reply says so (quirk 26 is a bug).
    let kept = rig.request(&ask("x"));
    assert_eq!(kept.attribute("_requested_state"), Value::text("stopped"));
    assert_eq!(kept.timestamp(), stopped.timestamp());
    // A member of a stopped tree is stopped.
    let child = Ask {
        requester: Some("slappart0"),
        ..ask("c")
    };
    assert_eq!(
        rig.request(&child).attribute("_requested_state"),
        Value::text("stopped")
    );
    rig.request(&Ask {
        state: Some("started"),
        ..ask("x")
    })
    .ok();
    let started = rig.request(&Ask {
        state: Some("started"),
        ..child.clone()
    });
    assert_eq!(
        started.attribute("_requested_state"),
        Value::text("started")
    );
    // A publication bangs who requested it, and only when it differs.
    let root = || rig.register("slappart0").timestamp();
    let publish = |url: &str| {
        let connection = encoded(&[("url", Value::text(url))]);
        rig.post(
            "/setComputerPartitionConnectionXml",
            &[
                ("computer_id", NODE),
                ("computer_partition_id", "slappart1"),
                ("connection_xml", &connection),
            ],
        )
        .ok()
    };
    let before = root();
    publish("a");
    let published = root();
    assert_ne!(published, before);
    publish("a");
    assert_eq!(root(), published);
    assert_eq!(rig.register("slappart1").timestamp(), started.timestamp());
    // A bang reaches the whole tree.
    rig.post(
        "/softwareInstanceBang",
        &[
            ("computer_id", NODE),
            ("computer_partition_id", "slappart1"),
            ("message", "x"),
        ],
    )
    .ok();
    assert_ne!(root(), published);
    assert_ne!(rig.register("slappart1").timestamp(), started.timestamp());
    let banged = root();
    rig.post("/computerBang", &[("computer_id", NODE), ("message", "x")])
        .ok();
    assert_ne!(root(), banged);
}

#[test]
fn destruction_takes_an_order_and_members_go_first() {
    let rig = Rig::new();
    rig.format(NODE, 3);
    let destroyed = |partition: &str| {
        rig.post(
            "/destroyedComputerPartition",
            &[("computer_id", NODE), ("computer_partition_id", partition)],
        )
        .ok()
    };
    // Unknown titles are not created to be destroyed (P 6.3).
    assert_eq!(
        rig.request(&Ask {
            state: Some("destroyed"),
            ..ask("never")
        })
        .status,
        408
    );
    rig.request(&ask("root")).ok();
    rig.request(&Ask {
        requester: Some("slappart0"),
        ..ask("child")
    })
    .ok();
    rig.request(&Ask {
        requester: Some("slappart1"),
        ..ask("grandchild")
    })
    .ok();
    rig.request(&Ask {
        requester: Some("slappart0"),
        shared: true,
        ..ask("sh")
    })
    .ok();
    assert_eq!(
        destroyed("slappart0"),
        "Not destroying root: its destruction was not requested (it shall be started)"
    );
    let reply = rig.request(&Ask {
        state: Some("destroyed"),
        ..ask("root")
    });
    assert_eq!(
        reply.attribute("_requested_state"),
        Value::text("destroyed")
    );
    assert_eq!(
        destroyed("slappart0"),
        "Not destroying yet because this partition has child partitions: child, grandchild"
    );
    for partition in ["slappart1", "slappart2"] {
        assert_eq!(
            rig.register(partition).attribute("_requested_state"),
            Value::text("destroyed")
        );
        assert_eq!(destroyed(partition), "OK");
    }
    assert_eq!(destroyed("slappart0"), "OK");
    assert_eq!(destroyed("slappart0"), "OK");
    assert!(!rig.full().ok().contains("<int>1</int>"));
    assert_eq!(rig.get("/hateoas/?mode=search&query=portal_type:%22Instance%20Tree%22%20AND%20validation_state:validated").json()["_embedded"]["contents"], serde_json::json!([]));
    // The same title is a new instance.
    rig.request(&ask("root")).ok();
}

#[test]
fn a_supply_lives_until_its_removal_is_reported() {
    let rig = Rig::new();
    rig.format(NODE, 1);
    let supply = |state| {
        rig.post(
            "/supplySupply",
            &[("url", RELEASE), ("computer_id", NODE), ("state", state)],
        )
        .ok()
    };
    let removed = || {
        rig.post(
            "/destroyedSoftwareRelease",
            &[("url", RELEASE), ("computer_id", NODE)],
        )
        .ok()
    };
    supply("available");
    let document = rig.full().ok();
    assert!(document.contains("<string>_requested_state</string><string>available</string><string>_software_instance_list</string>"));
    // A removal that is reported after the release was asked for again loses nothing.
    supply("destroyed");
    supply("available");
    assert_eq!(removed(), "OK");
    assert_eq!(rig.full().ok(), document);
    supply("destroyed");
    assert_eq!(removed(), "OK");
    assert!(!rig.full().ok().contains(RELEASE));
    // Without a node the supply is for the default one.
    rig.post(
        "/supplySupply",
        &[
            ("url", RELEASE),
            ("computer_id", "None"),
            ("state", "available"),
        ],
    )
    .ok();
    assert!(rig.full().ok().contains(RELEASE));
}

#[test]
fn nodes_with_equally_named_partitions_never_mix() {
    let rig = Rig::new();
    rig.format(NODE, 1);
    rig.format("other", 1);
    rig.request(&ask("here")).ok();
    let there = rig.request(&Ask {
        sla: vec![("computer_guid", "other")],
        ..ask("there")
    });
    assert_eq!(
        there.attribute("_instance_guid"),
        Value::text("other-slappart0")
    );
    assert_eq!(there.attribute("ip_list").as_sequence().unwrap().len(), 2);
    assert_eq!(rig.request(&ask("no more")).status, 404);
    rig.post(
        "/setComputerPartitionConnectionXml",
        &[
            ("computer_id", "other"),
            ("computer_partition_id", "slappart0"),
            ("connection_xml", &encoded(&[("k", Value::text("v"))])),
        ],
    )
    .ok();
    assert_eq!(
        rig.register("slappart0").attribute("_connection_dict"),
        Value::dict::<String>([])
    );
}

#[test]
fn a_partition_that_is_not_listed_any_more_keeps_its_instance() {
    let rig = Rig::new();
    rig.format(NODE, 3);
    rig.request(&ask("x")).ok();
    rig.request(&ask("y")).ok();
    rig.post(
        "/loadComputerConfigurationFromXML",
        &[("xml", &description(NODE, 1))],
    )
    .ok();
    assert_eq!(
        rig.register("slappart1").attribute("_requested_state"),
        Value::text("started")
    );
    assert_eq!(rig.register("slappart2").status, 404);
    assert_eq!(rig.request(&ask("z")).status, 404);
    rig.request(&Ask {
        state: Some("destroyed"),
        ..ask("y")
    })
    .ok();
    rig.post(
        "/destroyedComputerPartition",
        &[
            ("computer_id", NODE),
            ("computer_partition_id", "slappart1"),
        ],
    )
    .ok();
    assert_eq!(rig.register("slappart1").status, 404);
}

#[test]
fn shared_instances_come_go_and_move() {
    let rig = Rig::new();
    rig.format(NODE, 3);
    rig.request(&ask("host")).ok();
    let hosted = || {
        let parameters = rig.register("slappart0").attribute("_parameter_dict");
        parameters.as_dict().unwrap()["slave_instance_list"]
            .as_sequence()
            .unwrap()
            .len()
    };
    let shared = Ask {
        shared: true,
        ..ask("s")
    };
    let before = rig.register("slappart0").timestamp();
    rig.request(&shared).ok();
    let with = rig.register("slappart0").timestamp();
    assert_ne!(with, before);
    rig.request(&shared).ok();
    assert_eq!(rig.register("slappart0").timestamp(), with);
    // The host publishes for it; an unknown reference is told.
    let publish = |reference: &str| {
        rig.post(
            "/setComputerPartitionConnectionXml",
            &[
                ("computer_id", NODE),
                ("computer_partition_id", "slappart0"),
                ("connection_xml", &encoded(&[("k", Value::text("v"))])),
                ("slave_reference", reference),
            ],
        )
    };
    publish("_s").ok();
    assert_eq!(publish("_nosuch").status, 404);
    assert_eq!(
        rig.request(&shared).attribute("_connection_dict"),
        Value::dict([("k", Value::text("v"))])
    );
    // A stopped one is not served; a destroyed one is gone.
    rig.request(&Ask {
        state: Some("stopped"),
        ..shared.clone()
    })
    .ok();
    assert_eq!(hosted(), 0);
    rig.request(&Ask {
        state: Some("started"),
        ..shared.clone()
    })
    .ok();
    assert_eq!(hosted(), 1);
    rig.request(&Ask {
        state: Some("destroyed"),
        ..shared.clone()
    })
    .ok();
    assert_eq!(hosted(), 0);
    assert_eq!(
        rig.request(&Ask {
            state: Some("destroyed"),
            ..shared.clone()
        })
        .status,
        408
    );
    // One whose host is gone finds another, or is told that there is none.
    rig.request(&shared).ok();
    rig.request(&Ask {
        state: Some("destroyed"),
        ..ask("host")
    })
    .ok();
    rig.post(
        "/destroyedComputerPartition",
        &[
            ("computer_id", NODE),
            ("computer_partition_id", "slappart0"),
        ],
    )
    .ok();
    assert_eq!(rig.request(&shared).status, 404);
    rig.request(&ask("host2")).ok();
    rig.request(&shared).ok();
    assert_eq!(hosted(), 1);
    // A host can be named.
    rig.request(&ask("host3")).ok();
    let named = Ask {
        sla: vec![("instance_guid", "local_computer-slappart1")],
        shared: true,
        ..ask("n")
    };
    assert_eq!(
        rig.request(&named).attribute("slap_computer_partition_id"),
        Value::text("slappart1")
    );
}

#[test]
fn a_rename_moves_the_title_of_the_whole_tree() {
    let rig = Rig::new();
    rig.format(NODE, 3);
    rig.request(&ask("root")).ok();
    rig.request(&Ask {
        requester: Some("slappart0"),
        ..ask("child")
    })
    .ok();
    rig.request(&ask("other")).ok();
    let rename = |partition: &str, title: &str| {
        rig.post(
            "/softwareInstanceRename",
            &[
                ("computer_id", NODE),
                ("computer_partition_id", partition),
                ("new_name", title),
            ],
        )
    };
    assert_eq!(rename("slappart0", "new").ok(), "done");
    let root_title = |partition: &str| {
        rig.register(partition)
            .attribute("_parameter_dict")
            .as_dict()
            .unwrap()["root_instance_title"]
            .clone()
    };
    assert_eq!(root_title("slappart0"), Value::text("new"));
    assert_eq!(root_title("slappart1"), Value::text("new"));
    assert_eq!(rename("slappart0", "other").status, 409);
    assert_eq!(
        rename("slappart9", "x").ok(),
        "Unknown partition 'slappart9' on 'local_computer'"
    );
    assert_eq!(
        rig.request(&ask("new"))
            .attribute("slap_computer_partition_id"),
        Value::text("slappart0")
    );
}

#[test]
fn short_cuts_answer_for_front_ends() {
    let rig = Rig::new();
    let reply = rig.request(&Ask {
        release: "http://git.erp5.org/gitweb/slapos.git/blob_plain/HEAD:/software/apache-frontend/software.cfg",
        parameters: vec![("url", Value::text("http://[::1]:8080/x?y=1"))],
        shared: true,
        ..ask("fe")
    });
    assert_eq!(
        reply.ok(),
        marshalled(
            "<object id=\"i2\" module=\"slapos.slap.slap\" class=\"ComputerPartition\"><tuple>\
             <string></string><string>Fake frontend for http://[::1]:8080/x?y=1</string><none/>\
             </tuple><dictionary id=\"i3\"><string>_computer_id</string><string></string>\
             <string>_connection_dict</string><dictionary id=\"i4\"><string>domain</string>\
             <string>[::1]:8080</string><string>secure_access</string>\
             <string>http://[::1]:8080/x?y=1</string></dictionary><string>_parameter_dict</string>\
             <dictionary id=\"i5\"/><string>_partition_id</string>\
             <string>Fake frontend for http://[::1]:8080/x?y=1</string>\
             <string>_request_dict</string><none/><string>slap_computer_id</string>\
             <string></string><string>slap_computer_partition_id</string><string></string>\
             </dictionary></object>"
        )
    );
    let kvm = rig.request(&Ask {
        release: "http://git.erp5.org/gitweb/slapos.git/blob_plain/refs/tags/slapos-0.92:/software/kvm/software.cfg",
        software_type: "frontend",
        parameters: vec![("host", Value::text("::1")), ("port", Value::Int(5900))],
        shared: true,
        ..ask("kv")
    });
    let connection = kvm.attribute("_connection_dict");
    assert_eq!(
        connection.as_dict().unwrap()["url"],
        Value::text("https://[::1]:5900/")
    );
    assert_eq!(connection.as_dict().unwrap()["port"], Value::Int(5900));
}

#[test]
fn pages_of_other_sites_give_no_orders() {
    let rig = Rig::new();
    for headers in [
        vec![("Origin", "http://evil.example")],
        vec![("Origin", "null")],
        vec![("Sec-Fetch-Site", "cross-site")],
    ] {
        let reply = rig.send(
            "POST",
            "/supplySupply",
            &headers,
            "url=a&computer_id=b&state=available",
        );
        assert_eq!(reply.status, 403, "{headers:?}");
    }
    let host = rig.address().to_string();
    let origin = format!("http://{host}");
    let own = rig.send(
        "POST",
        "/supplySupply",
        &[("Origin", &origin)],
        "url=a&computer_id=b&state=available",
    );
    assert_eq!(own.status, 200);
}

#[test]
fn large_bodies_are_refused() {
    let rig = Rig::new();
    let reply = rig.post("/useComputer", &[("use_string", &"x".repeat(17 << 20))]);
    assert_eq!(reply.status, 413);
    rig.full().ok();
}
