//! The JSON calls with the proxy's specifics (P 3), through real HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Ask, NODE, RELEASE, Rig, ask};
use serde_json::{Value as Json, json};
use slap::Value;

fn rig() -> Rig {
    let rig = Rig::new();
    rig.format(NODE, 4);
    rig.request(&Ask {
        parameters: vec![
            ("a", Value::text("b<&>é")),
            ("n", Value::Int(1)),
            ("t", Value::Bool(true)),
        ],
        ..ask("x")
    })
    .ok();
    rig.request(&Ask {
        requester: Some("slappart0"),
        ..ask("child1")
    })
    .ok();
    rig.request(&Ask {
        shared: true,
        parameters: vec![("p", Value::Int(1))],
        ..ask("sh1")
    })
    .ok();
    rig
}

#[track_caller]
fn error(rig: &Rig, method: &str, input: Json, status: u16, title: &str) {
    let reply = rig.rpc(method, input);
    let name = match status {
        400 => "Bad Request",
        403 => "Forbidden",
        _ => panic!("no name for {status}"),
    };
    assert_eq!(
        reply.json(),
        json!({"status": status, "type": name, "title": title})
    );
    assert_eq!(reply.status, status);
}

#[test]
fn the_instance_document_as_captured() {
    let rig = rig();
    let connection = slap::marshal::encode(&Value::dict([
        ("n", Value::Int(3)),
        ("url", Value::text("http://[::1]/<x>")),
    ]))
    .unwrap();
    rig.post(
        "/setComputerPartitionConnectionXml",
        &[
            ("computer_id", NODE),
            ("computer_partition_id", "slappart0"),
            ("connection_xml", &connection),
        ],
    )
    .ok();
    let reply = rig.rpc(
        "slapos.get.v0.compute_partition",
        json!({"computer_guid": NODE, "compute_partition_id": "slappart0"}),
    );
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let body = reply.ok();
    let at = body.find("\"processing_timestamp\": ").unwrap();
    assert_eq!(
        &body[..at],
        r#"{"title": "x", "instance_guid": "x______0", "software_release_uri": "http://example.com/dummy/software.cfg", "software_type": "default", "state": "started", "connection_parameters": {"n": "3", "url": "http://[::1]/<x>"}, "parameters": {"a": "b<&>\u00e9", "n": "1", "t": "True"}, "shared": false, "root_instance_title": "x", "ip_list": [["slaptap0", "10.0.0.1"], ["slaptap0", "fd00::1"]], "full_ip_list": [], "sla_parameters": {}, "computer_guid": "local_computer", "compute_partition_id": "slappart0", "#
    );
    assert!(body.ends_with(", \"access_status_message\": \"\"}"));
}

#[test]
fn lists() {
    let rig = rig();
    rig.rpc(
        "slapos.post.v0.software_installation",
        json!({"computer_guid": NODE, "software_release_uri": RELEASE}),
    )
    .ok();
    for (method, input, expected) in [
        (
            "slapos.allDocs.v0.compute_node_instance_list",
            json!({"computer_guid": NODE}),
            json!([
                {"title": "x", "instance_guid": "x______0", "state": "started", "compute_partition_id": "slappart0", "software_release_uri": RELEASE},
                {"title": "child1", "instance_guid": "child1___x___0", "state": "started", "compute_partition_id": "slappart1", "software_release_uri": RELEASE},
            ]),
        ),
        (
            "slapos.allDocs.v0.compute_node_software_installation_list",
            json!({"computer_guid": NODE}),
            json!([{"software_release_uri": RELEASE, "state": "available"}]),
        ),
        (
            "slapos.allDocs.v0.instance_node_instance_list",
            json!({"instance_guid": "x______0"}),
            json!([{"title": "sh1", "instance_guid": "sh1______1", "software_type": "default", "state": "started", "parameters": {"p": 1}, "compute_partition_id": "slappart0"}]),
        ),
        (
            "slapos.allDocs.v0.instance_tree_list",
            json!({}),
            json!([{"title": "x"}, {"title": "sh1"}]),
        ),
        (
            "slapos.allDocs.WIP.compute_node_list",
            json!({}),
            json!([{"computer_guid": NODE}]),
        ),
    ] {
        assert_eq!(
            rig.rpc(method, input).json(),
            json!({"result_list": expected}),
            "{method}"
        );
    }
}

#[test]
fn successes() {
    let rig = rig();
    for (method, input, title) in [
        (
            "slapos.post.v0.software_installation",
            json!({"computer_guid": NODE, "software_release_uri": "http://x/y.cfg"}),
            "Supplied http://x/y.cfg to be available",
        ),
        (
            "slapos.post.v0.compute_node_usage",
            json!({"computer_guid": NODE, "tioxml": "x"}),
            "Ignored",
        ),
        (
            "slapos.remove.v0.compute_node_certificate",
            json!({"computer_guid": NODE}),
            "Ignored",
        ),
        (
            "slapos.put.v0.compute_node_bang",
            json!({"computer_guid": NODE, "message": "x"}),
            "Bang handled",
        ),
        (
            "slapos.put.v0.software_installation_error",
            json!({"computer_guid": NODE, "software_release_uri": "a", "message": "x"}),
            "Ignored",
        ),
        (
            "slapos.put.v0.software_installation_reported_state",
            json!({"computer_guid": NODE, "software_release_uri": "a", "reported_state": "building"}),
            "Ignored",
        ),
        (
            "slapos.put.v0.software_installation_reported_state",
            json!({"computer_guid": NODE, "software_release_uri": "a", "reported_state": "destroyed"}),
            "Destroyed",
        ),
        (
            "slapos.put.v0.software_instance_bang",
            json!({"instance_guid": "x______0", "message": "x"}),
            "Bang handled",
        ),
        (
            "slapos.put.v0.software_instance_connection_parameter",
            json!({"instance_guid": "sh1______1", "connection_parameter_dict": {"k": 1}}),
            "Updated",
        ),
        (
            "slapos.put.v0.software_instance_error",
            json!({"instance_guid": "nope", "message": "x"}),
            "Ignored",
        ),
        (
            "slapos.put.v0.software_instance_reported_state",
            json!({"instance_guid": "x______0", "reported_state": "started"}),
            "Ignored",
        ),
        (
            "slapos.put.v0.software_instance_title",
            json!({"instance_guid": "x______0", "title": "y"}),
            "Renamed",
        ),
        (
            "slapos.put.v0.compute_node_format",
            json!({"computer_guid": "n3", "compute_partition_list": [{"partition_id": "a", "ip_list": [{"ip-address": "1.2.3.4"}, {"ip-address": "1.2.3.5", "netmask": "255.0.0.0", "gateway-ip-address": "1.2.3.1", "network-address": "1.2.3.0"}]}]}),
            "Formatted",
        ),
    ] {
        assert_eq!(
            rig.rpc(method, input).json(),
            json!({"type": "success", "title": title}),
            "{method}"
        );
    }
    assert_eq!(
        rig.rpc(
            "slapos.get.v0.compute_node_status",
            json!({"computer_guid": "x"})
        )
        .ok(),
        "{\"text\": \"Unknown (not implemented)\"}"
    );
    for method in [
        "slapos.post.v0.compute_node_certificate",
        "slapos.get.v0.software_instance_certificate",
    ] {
        let name = if method.contains("node") {
            "computer_guid"
        } else {
            "instance_guid"
        };
        assert_eq!(
            rig.rpc(method, json!({name: "x"})).ok(),
            "{\"key\": \"\", \"certificate\": \"\"}"
        );
    }
    let child = rig
        .rpc(
            "slapos.get.v0.software_instance",
            json!({"instance_guid": "child1___y___0"}),
        )
        .json();
    assert_eq!(child["root_instance_title"], "y");
    let shared = rig
        .rpc(
            "slapos.get.v0.software_instance",
            json!({"instance_guid": "sh1______1"}),
        )
        .json();
    assert_eq!(
        (&shared["parameters"], &shared["connection_parameters"]),
        (&json!({"p": 1}), &json!({"k": "1"}))
    );
    let request = json!({"title": "there", "software_release_uri": RELEASE, "software_type": "default", "sla_parameters": {"computer_guid": "n3"}});
    let there = rig.rpc("slapos.post.v0.software_instance", request).json();
    assert_eq!(there["ip_list"], json!([["a", "1.2.3.4"]]));
    assert_eq!(
        there["full_ip_list"],
        json!([["a", "1.2.3.5", "1.2.3.1", "255.0.0.0", "1.2.3.0"]])
    );
    let url = rig.rpc("slapos.get.v0.hateoas_url", json!({})).json();
    assert_eq!(
        url["hateoas_url"],
        format!("http://{}/hateoas/", rig.address())
    );
}

#[test]
fn requests() {
    let rig = rig();
    let request = |more: Json| {
        let mut input =
            json!({"title": "j", "software_release_uri": RELEASE, "software_type": "default"});
        input
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        rig.rpc("slapos.post.v0.software_instance", input)
    };
    let flat = request(json!({"parameters": {"a": 1, "b": true, "c": null, "d": [1], "e": "", "f": {"x": 1}, "g": 1.5, "h": 1.0}})).json();
    assert_eq!(
        flat["parameters"],
        json!({"a": "1", "b": "True", "c": "None", "d": "[1]", "e": null, "f": "{'x': 1}", "g": "1.5", "h": "1.0"})
    );
    assert_eq!(
        request(json!({"state": "stopped"})).json()["state"],
        "stopped"
    );
    assert_eq!(request(json!({})).json()["state"], "started");
    let not_ready = request(json!({"title": "never", "state": "destroyed"}));
    assert_eq!(not_ready.status, 200);
    assert_eq!(
        not_ready.ok(),
        "{\"message\": \"Software Instance Not Ready\", \"status\": 102, \"name\": \"SoftwareInstanceNotReady\"}"
    );
    let caller = format!("X-SlapPartition computer_id={NODE}, computer_partition_id=slappart1");
    let child = rig.send(
        "POST",
        "/slapos.post.v0.software_instance",
        &[
            ("Content-Type", "application/json"),
            ("Authorization", &caller),
        ],
        &json!({"title": "j4", "software_release_uri": RELEASE, "software_type": "default"})
            .to_string(),
    );
    assert_eq!(child.json()["instance_guid"], "j4___x___0");
    error(
        &rig,
        "slapos.post.v0.software_instance",
        json!({"title": "full", "software_release_uri": RELEASE, "software_type": "default"}),
        403,
        "No free computer partition found for: full",
    );
}

#[test]
fn errors() {
    let rig = rig();
    for (method, input, status, title) in [
        (
            "slapos.get.v0.software_instance",
            json!({"instance_guid": "nope"}),
            403,
            "instance_guid nope not handled.",
        ),
        (
            "slapos.get.v0.software_instance",
            json!({"instance_guid": "zz______0"}),
            403,
            "No software instance zz______0 found.",
        ),
        (
            "slapos.get.v0.software_instance",
            json!({"instance_guid": "zz______1"}),
            403,
            "No shared instance zz______1 found.",
        ),
        (
            "slapos.get.v0.software_instance",
            json!({}),
            400,
            "'instance_guid' is a required property",
        ),
        (
            "slapos.get.v0.hateoas_url",
            json!({"a": 1}),
            400,
            "Additional properties are not allowed ('a' was unexpected)",
        ),
        (
            "slapos.get.v0.hateoas_url",
            json!([]),
            400,
            "[] is not of type 'object'",
        ),
        (
            "slapos.get.v0.instance_tree",
            json!({"title": "child1"}),
            403,
            "No instance tree child1 found.",
        ),
        (
            "slapos.get.v0.compute_partition",
            json!({"computer_guid": NODE, "compute_partition_id": "slappart3"}),
            403,
            "No instance on partition slappart3 found.",
        ),
        (
            "slapos.allDocs.v0.compute_node_instance_list",
            json!({"computer_guid": "nope"}),
            403,
            "nope is not registered.",
        ),
        (
            "slapos.post.v0.software_installation",
            json!({"computer_guid": NODE, "software_release_uri": "a", "state": "bogus"}),
            400,
            "'bogus' is not one of ['available', 'destroyed']",
        ),
        (
            "slapos.put.v0.software_instance_reported_state",
            json!({"instance_guid": "x______0", "reported_state": "bogus"}),
            400,
            "'bogus' is not one of ['started', 'destroyed', 'stopped']",
        ),
        (
            "slapos.put.v0.software_instance_bang",
            json!({"instance_guid": "sh1______1", "message": "x"}),
            403,
            "NotImplemented",
        ),
        (
            "slapos.put.v0.software_instance_title",
            json!({"instance_guid": "sh1______1", "title": "x"}),
            403,
            "NotImplemented",
        ),
        (
            "slapos.put.v0.software_instance_reported_state",
            json!({"instance_guid": "x______0", "reported_state": "destroyed"}),
            403,
            "Not destroying x: its destruction was not requested (it shall be started)",
        ),
    ] {
        error(&rig, method, input, status, title);
    }
    let send = |headers: &[(&str, &str)], body: &str| {
        rig.send("POST", "/slapos.get.v0.hateoas_url", headers, body)
    };
    let media = send(
        &[("Content-Type", "application/x-www-form-urlencoded")],
        "{}",
    );
    assert_eq!(media.status, 415);
    assert_eq!(
        media.body,
        "{\"status\": 415, \"type\": \"Unsupported Media Type\", \"title\": \"Did not attempt to load JSON data because the request Content-Type was not 'application/json'.\"}"
    );
    assert_eq!(
        send(
            &[
                ("Content-Type", "application/json"),
                ("Accept", "text/html")
            ],
            "{}"
        )
        .status,
        406
    );
    assert_eq!(
        send(&[("Content-Type", "application/json")], "zz").status,
        400
    );
    let deep = format!(
        "{{\"title\": \"d\", \"software_release_uri\": \"a\", \"software_type\": \"a\", \"shared\": true, \"parameters\": {{\"a\": {}1{}}}}}",
        "[".repeat(90),
        "]".repeat(90)
    );
    let reply = rig.send(
        "POST",
        "/slapos.post.v0.software_instance",
        &[("Content-Type", "application/json")],
        &deep,
    );
    assert_eq!(reply.status, 400, "{}", reply.body);
    let control = rig.rpc("slapos.post.v0.software_instance", json!({"title": "c", "software_release_uri": RELEASE, "software_type": "default", "parameters": {"a": "\u{1}"}}));
    assert_eq!(control.status, 400, "{}", control.body);
    assert_eq!(rig.rpc("slapos.get.v0.nope", json!({})).status, 404);
    let get = rig.get("/slapos.get.v0.hateoas_url");
    assert_eq!(
        (get.status, get.header("allow")),
        (405, Some("OPTIONS, POST"))
    );
}

#[test]
fn whole_trees_and_nodes_in_one_call() {
    let rig = rig();
    let get = |method: &str, input: Json| rig.rpc(method, input).json();
    let tree = get("slapos.get.v0.instance_tree_detail", json!({"title": "x"}));
    assert_eq!(tree["actual_state"], "starting", "{tree}");
    let members = tree["instance_list"].as_array().unwrap();
    let titles: Vec<&str> = members
        .iter()
        .map(|member| member["title"].as_str().unwrap())
        .collect();
    assert_eq!(titles, ["x", "child1"]);
    assert_eq!(members[0]["computer_guid"], NODE);
    let by_guid = json!({"tree_guid": tree["tree_guid"]});
    assert_eq!(get("slapos.get.v0.instance_tree_detail", by_guid), tree);
    rig.post(
        "/startedComputerPartition",
        &[
            ("computer_id", NODE),
            ("computer_partition_id", "slappart0"),
        ],
    )
    .ok();
    let list = get(
        "slapos.allDocs.v0.instance_tree_detail_list",
        json!({"title": "X"}),
    );
    let row = &list["result_list"][0];
    assert_eq!(row["instance_count"], 2, "{list}");
    assert_eq!(row["actual_state"], "starting", "the child is not yet");
    let node = get(
        "slapos.get.v0.compute_node_detail",
        json!({"computer_guid": NODE}),
    );
    assert_eq!(node["partition_count"], 4, "{node}");
    assert_eq!(node["partition_list"][0]["actual_state"], "started");
    let nodes = get("slapos.allDocs.v0.compute_node_detail_list", json!({}));
    assert_eq!(nodes["result_list"][0]["free_count"], node["free_count"]);
    let places = get(
        "slapos.allDocs.v0.software_release_node_list",
        json!({"software_release_uri": RELEASE}),
    );
    assert!(places["result_list"].is_array(), "{places}");
    let missing = rig.rpc("slapos.get.v0.instance_tree_detail", json!({"title": "no"}));
    assert_eq!(missing.status, 403);
    // It keeps no history.
    let history = rig.rpc(
        "slapos.allDocs.v0.instance_tree_event_list",
        json!({"title": "x"}),
    );
    assert_eq!(history.status, 404);
}
