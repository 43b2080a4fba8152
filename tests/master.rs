//! The full Master as a process: its first start, the released client and library over TLS, its end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use testkit::{Peer, Rig};

const LIFE: &str = include_str!("interop/master.py");

/// A rig whose Master is the full one, with TLS.
struct World {
    rig: Rig,
    url: String,
}

impl World {
    fn new() -> Self {
        let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
        rig.start_full_master();
        let url = format!("{}/", rig.full_master_url());
        World { rig, url }
    }

    /// Has the released client fetch its certificate.
    fn configure(&self, peer: &Peer) {
        let web = self.url.trim_end_matches('/');
        let token = self.rig.welcome().token;
        let arguments = [
            "configure",
            "client",
            "--master-url",
            &self.url,
            "--master-url-web",
            web,
            "--token",
            &token,
        ];
        let cfg = self.rig.path().join("home/.slapos/slapos-client.cfg");
        peer.slapos(&self.rig, &arguments)
            .env("SLAPOS_CLIENT_CONFIGURATION", cfg)
            .run()
            .ok();
    }
}

#[test]
fn the_released_commands_read_services_and_nodes() {
    let world = World::new();
    let Some(peer) = Peer::get(&world.rig) else {
        return;
    };
    world.configure(&peer);
    let home = world.rig.path().join("home/.slapos");
    let slapos = |arguments: &[&str]| {
        peer.slapos(&world.rig, arguments)
            .env(
                "SLAPOS_CLIENT_CONFIGURATION",
                home.join("slapos-client.cfg"),
            )
            .run()
    };
    assert_eq!(slapos(&["service", "list"]).ok().stdout, "{}\n");
    assert_eq!(
        slapos(&["computer", "list"]).ok().stdout,
        "No existing computer.\n"
    );
    let mut settings = slap_client::Settings::new(world.url.clone());
    settings.certificate = Some((home.join("client.crt"), home.join("client.key")));
    settings.trust = slap_client::Trust::CaFile(world.rig.full_master_data().join("ca.crt"));
    let person = slap_client::Client::new(settings.clone()).unwrap();
    let node = person.request_node("my node").unwrap().node;
    let issued = person.issue_node_certificate(&node).unwrap();
    settings.certificate = None;
    settings.identity = Some(slap_client::Identity {
        certificate: issued.certificate,
        key: issued.key,
    });
    let speaker = slap_client::Client::new(settings).unwrap();
    let partition: slap::PartitionId = "part0".parse().unwrap();
    let address = slap::Value::dict([("addr", "fd00::1".into()), ("netmask", "".into())]);
    let described = slap::Value::dict([
        ("reference", slap::Value::text(partition.as_str())),
        ("address_list", slap::Value::List(vec![address])),
    ]);
    let description = slap::Value::dict([
        ("reference", slap::Value::text(node.as_str())),
        ("partition_list", slap::Value::List(vec![described])),
    ]);
    speaker.post_format(&description).unwrap();
    let release = world.rig.release("tests/software/services");
    slapos(&["supply", &release, node.as_str()]).ok();
    let url = release.parse().unwrap();
    speaker.release_available(&url, &node).unwrap();

    let parameters = ["--parameters", "name=Ada"];
    slapos(&[&["request", "a \"b\" c", &release], &parameters[..]].concat()).ok();
    let connection = slap::document::TextDict::from([("url".to_owned(), "http://x".to_owned())]);
    speaker
        .publish(&node, &partition, &connection, None)
        .unwrap();
    speaker.instance_started(&node, &partition).unwrap();
    assert_eq!(
        slapos(&["service", "list"]).ok().json(),
        json!({"a \"b\" c": release})
    );
    assert_eq!(
        slapos(&["service", "info", "a \"b\" c"]).ok().json(),
        json!({
            "software-url": release,
            "software-type": "default",
            "shared": false,
            "requested-state": "start_requested",
            "instance-parameters": {"name": "Ada"},
            "connection-parameters": {"url": "http://x"},
            "status": "green",
        })
    );
    slapos(&["service", "info", "nope"]).exits(2);
    assert_eq!(
        slapos(&["computer", "list"]).ok().stdout,
        format!("List of Computers:\n{node} my node\n")
    );
    assert_eq!(
        slapos(&["computer", "info", node.as_str()]).ok().stdout,
        format!("Computer Reference: {node}\nComputer Title    : my node\n")
    );
    slapos(&["computer", "info", "COMP-99"]).exits(2);
    slapos(&["computer", "token"]).ok();
}

#[test]
fn the_released_client_and_library_live_a_whole_life_with_it() {
    let world = World::new();
    let Some(peer) = Peer::get(&world.rig) else {
        return;
    };
    world.configure(&peer);
    let python = peer.client.with_file_name("python");
    let run = world
        .rig
        .invoke(&python)
        .env("MASTER_URL", &world.url)
        .args(["-W", "ignore", "-c", LIFE])
        .run()
        .ok();
    let mut seen: BTreeMap<String, Json> = run
        .stdout
        .lines()
        .map(|line| {
            let mut step: Json = serde_json::from_str(line).unwrap();
            let name = step["step"].as_str().unwrap().to_owned();
            step.as_object_mut().unwrap().remove("step");
            (name, step)
        })
        .collect();
    let release = "http://example.org/software.cfg";
    let gives = |value: Json| json!({ "gives": value });
    let raises = |error: &str| json!({ "raises": error });
    for (step, expected) in [
        ("nothing is supplied", raises("ResourceNotReady")),
        ("supplied", gives(json!([release, "available"]))),
        ("placed", gives(json!(["part0", "SOFTINST-1", "started"]))),
        (
            "parameters",
            gives(json!({
                "a": "1",
                "full_ip_list": [],
                "instance_title": "tree",
                "ip_list": [["tap0", "fd00::0"]],
                "root_instance_short_title": "tree",
                "root_instance_title": "tree",
                "slap_computer_id": "COMP-1",
                "slap_computer_partition_id": "part0",
                "slap_software_release_url": release,
                "slap_software_type": "default",
                "slave_instance_list": [],
            })),
        ),
        ("the time stands still", gives(json!(true))),
        ("type and release", gives(json!(["default", release]))),
        ("certificate", gives(json!(["certificate", "key"]))),
        (
            "a member of the tree",
            gives(json!(["part1", "SOFTINST-2"])),
        ),
        ("no partition is left", raises("ResourceNotReady")),
        ("a shared instance", gives(json!(["part0", "SOFTINST-4"]))),
        (
            "addresses of the tree",
            gives(json!([["tap0", "fd00::0"], ["tap1", "fd00::1"]])),
        ),
        ("publish", gives(Json::Null)),
        ("publish for the guest", gives(Json::Null)),
        (
            "the guest as its host sees it",
            gives(json!([{
                "slap_software_type": "default",
                "slave_reference": "SOFTINST-4",
                "slave_title": "guest",
                "user": "u",
            }])),
        ),
        ("published", gives(json!({"url": "http://[fd00::1]"}))),
        ("started", gives(Json::Null)),
        (
            "access status",
            gives(json!("#access Instance correctly started")),
        ),
        ("error", gives(Json::Null)),
        (
            "error status",
            gives(json!("#error while instanciating: boo")),
        ),
        ("bang", gives(Json::Null)),
        ("related", gives(Json::Null)),
        ("rename", gives(Json::Null)),
        ("stopped", gives(json!(["part0", "SOFTINST-1", "stopped"]))),
        ("destroyed", raises("ResourceNotReady")),
        (
            "what the node sees",
            gives(json!([
                ["part0", "destroyed", 1],
                ["part1", "destroyed", 1]
            ])),
        ),
        (
            "nothing is left",
            gives(json!([
                ["part0", "destroyed", 0],
                ["part1", "destroyed", 0]
            ])),
        ),
        ("a stranger's node", raises("NotFoundError")),
        ("revoked", gives(Json::Null)),
        ("and out", raises("HTTPError")),
    ] {
        assert_eq!(seen.remove(step), Some(expected), "{step}");
    }
    assert!(seen.is_empty(), "{seen:?}");
}

#[test]
fn it_ends_gracefully_and_comes_back_as_it_was_even_when_killed() {
    let world = World::new();
    let data_dir = world.rig.full_master_data();
    let authority = || std::fs::read_to_string(data_dir.join("ca.crt")).unwrap();
    let first = authority();
    world.rig.kill_master();
    world.rig.start_full_master();
    world.rig.stop_master(0);
    world.rig.start_full_master();
    assert_eq!(authority(), first);
    // Only one process at a time has the database.
    let arguments = ["master", "start", "--data-dir", data_dir.to_str().unwrap()];
    world
        .rig
        .run(&[&arguments[..], &["--listen", "127.0.0.1:0"]].concat())
        .exits(1)
        .says("another Master has");
    world
        .rig
        .run(&["master", "start", "--plain", "0.0.0.0:80"])
        .exits(1)
        .says("can be reached from other machines");
    world.rig.stop_master(0);
}
