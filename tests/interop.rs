//! With the released upstream, from PyPI: its client, library and node against our Master, and our
//! client and node against its Master.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::{Value as Json, json};
use testkit::{Peer, Rig, RigBuilder, Run, Unprivileged, eventually, http_get};

const SOON: Duration = Duration::from_secs(60);
const SERVICES: &str = "tests/software/services";
const LIBRARY: &str = include_str!("interop/library.py");

fn builder() -> RigBuilder {
    Rig::builder(env!("CARGO_BIN_EXE_slapos"))
        .proxy_option("software_product_list =\n  hello http://example.org/hello/software.cfg")
}

/// Starts upstream's Master in the rig's place.
fn start_upstream_master(rig: &Rig, peer: &Peer) {
    rig.start_master_as(&peer.slapos(rig, &["proxy", "start"]));
}

// ---------------------------------------------------------------------------------------------
// The library

/// What one step of the Python program saw.
type Step = BTreeMap<String, Json>;

fn transcript(run: Run) -> Vec<(String, Step)> {
    let run = run.ok();
    run.stdout
        .lines()
        .map(|line| {
            let mut step: Step = serde_json::from_str(line).unwrap();
            let name = step.remove("step").unwrap().as_str().unwrap().to_owned();
            (name, step)
        })
        .collect()
}

/// Steps where our Master answers otherwise than upstream's, on purpose: what ours gives, and why.
fn on_purpose() -> BTreeMap<&'static str, (Json, &'static str)> {
    BTreeMap::from([
        (
            "unknown node: getState of a partition",
            (
                json!({
                    "raises": "NotFoundError",
                    "says": "MASTER/registerComputerPartition - {'computer_reference': 'COMP-9', \
                             'computer_partition_reference': 'part0'}",
                }),
                "upstream crashes with 500",
            ),
        ),
        (
            "shared: publish for nobody",
            (
                json!({
                    "raises": "NotFoundError",
                    "says": "MASTER/setComputerPartitionConnectionXml",
                }),
                "upstream's proxy loses it without a word, ERP5 refuses",
            ),
        ),
    ])
}

#[test]
fn the_library_sees_the_same_with_both_masters() {
    let (theirs, ours) = (builder().build(), builder().build());
    let Some(peer) = Peer::get(&theirs) else {
        return;
    };
    start_upstream_master(&theirs, &peer);
    ours.start_master();
    let expected = transcript(peer.python(&theirs, LIBRARY));
    let found = transcript(peer.python(&ours, LIBRARY));
    assert!(
        expected.len() > 80,
        "the program ran to its end: {expected:#?}"
    );
    let on_purpose = on_purpose();
    let mut differences = Vec::new();
    for ((name, expected), (same, found)) in expected.iter().zip(&found) {
        assert_eq!(name, same);
        let expected = match on_purpose.get(name.as_str()) {
            Some((ours, _)) => ours.clone(),
            None => json!(expected),
        };
        if expected != json!(found) {
            differences.push(format!(
                "{name}:\n  expected {expected}\n  found    {}",
                json!(found)
            ));
        }
    }
    assert_eq!(expected.len(), found.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    ours.shut_down();
}

// ---------------------------------------------------------------------------------------------
// The command line

#[test]
fn upstreams_commands_work_with_our_master() {
    let rig = builder().build();
    let Some(peer) = Peer::get(&rig) else { return };
    let upstream = |arguments: &[&str]| peer.slapos(&rig, arguments).run();
    rig.start_master();
    assert_eq!(upstream(&["service", "list"]).ok().stdout, "{}\n");
    assert_eq!(
        upstream(&["computer", "list"]).ok().stdout,
        "No existing computer.\n"
    );
    rig.node("format", &[]).ok();
    let release = rig.release(SERVICES);

    upstream(&["supply", &release, "local_computer"])
        .ok()
        .says("Done.");
    upstream(&["supply", "product.hello", "local_computer"])
        .ok()
        .says("Found as http://example.org/hello/software.cfg.");
    let node = rig.client().node(&rig.node_id()).unwrap();
    let supplied: Vec<_> = node
        .installations
        .iter()
        .map(|i| i.release.to_string())
        .collect();
    assert_eq!(
        supplied,
        [release.as_str(), "http://example.org/hello/software.cfg"]
    );
    upstream(&[
        "remove",
        "http://example.org/hello/software.cfg",
        "local_computer",
    ])
    .ok();
    rig.run(&["remove", "product.hello", "local_computer"]).ok();

    upstream(&[
        "request",
        "a",
        &release,
        "--parameters",
        "text=h\u{e9}llo",
        "x=1=2",
    ])
    .ok()
    .says("State is : started.");
    upstream(&["request", "b", &release, "--state", "stopped"])
        .ok()
        .says("Instance requested.");
    assert_eq!(
        upstream(&["service", "list"]).ok().stdout,
        format!("{{\n  \"a\": \"{release}\",\n  \"b\": \"{release}\"\n}}\n")
    );
    let expected = json!({
        "software-url": release,
        "software-type": "default",
        "shared": false,
        "requested-state": "started",
        "instance-parameters": {"text": "h\u{e9}llo", "x": "1=2"},
        "connection-parameters": {},
        "status": "unsupported",
    });
    assert_eq!(upstream(&["service", "info", "a"]).ok().json(), expected);
    // Both clients print the same bytes.
    for arguments in [
        &["service", "list"][..],
        &["service", "info", "a"],
        &["service", "info", "b"],
        &["computer", "list"],
        &["computer", "info", "local_computer"],
    ] {
        assert_eq!(
            rig.run(arguments).ok().stdout,
            upstream(arguments).ok().stdout,
            "{arguments:?}"
        );
    }
    for arguments in [
        &["service", "info", "nope"][..],
        &["computer", "info", "nope"],
    ] {
        let (ours, theirs) = (rig.run(arguments), upstream(arguments));
        assert_eq!((ours.code(), theirs.code()), (2, 2), "{ours}{theirs}");
    }
    // No place: upstream's client gets its NotFoundError.
    upstream(&["request", "c", &release]).ok();
    upstream(&["request", "d", &release])
        .exits(1)
        .says("NotFoundError");
    upstream(&["request", "c", &release, "--state", "destroyed"])
        .ok()
        .says("State is : destroyed.");
    rig.node("report", &[]).ok();
    assert_eq!(
        upstream(&["service", "list"]).ok().json(),
        json!({"a": release, "b": release})
    );
    rig.shut_down();
}

#[test]
fn our_commands_work_with_upstreams_master() {
    let rig = builder().build();
    let Some(peer) = Peer::get(&rig) else { return };
    start_upstream_master(&rig, &peer);
    assert_eq!(rig.run(&["service", "list"]).ok().stdout, "{}\n");
    assert_eq!(
        rig.run(&["computer", "list"]).ok().stdout,
        "No existing computer.\n"
    );
    rig.node("format", &[]).ok();
    let release = rig.release(SERVICES);
    rig.supply(&release);
    rig.run(&["supply", "product.hello", "local_computer"]).ok();
    rig.request("a", &release, &["--parameters", "text=h\u{e9}llo"])
        .ok()
        .says("State is : started.");
    rig.request("a", &release, &["--state", "stopped"]).ok();
    assert_eq!(
        rig.info("a"),
        json!({
            "software-url": release,
            "software-type": "default",
            "shared": false,
            "requested-state": "stopped",
            "instance-parameters": {"text": "h\u{e9}llo"},
            "connection-parameters": {},
            "status": "unsupported",
        }),
        "what was not named stays"
    );
    assert_eq!(
        rig.run(&["service", "list"]).ok().json(),
        json!({"a": release})
    );
    assert_eq!(
        rig.run(&["computer", "info", "local_computer"]).ok().stdout,
        "Computer Reference: local_computer\nComputer Title    : local_computer\n"
    );
    for title in ["b", "c"] {
        rig.request(title, &release, &[]).ok();
    }
    rig.request("d", &release, &[])
        .exits(1)
        .says("No free computer partition found");
    rig.run(&["service", "info", "nope"])
        .exits(2)
        .says("Instance nope does not exist.");
    rig.run(&["computer", "info", "nope"])
        .exits(2)
        .says("Computer nope does not exist.");
}

// ---------------------------------------------------------------------------------------------
// Nodes

/// Deploys the web application, changes, stops and destroys it, with whatever node and Master.
fn web_application_lives(rig: &Rig, node: impl Fn(&str) -> Run) {
    let release = rig.release("software/helloworld");
    node("format").ok();
    rig.supply(&release);
    node("software").ok();
    rig.request("web", &release, &["--parameters", "name=Ada"])
        .ok();
    node("instance").ok();
    let connection = rig.info("web")["connection-parameters"].clone();
    let url = connection["url"]
        .as_str()
        .unwrap_or_else(|| panic!("{connection}"));
    assert_eq!(connection["health-url"], json!(format!("{url}health")));
    let shows = |text: &str| {
        eventually("the page answers", SOON, || match http_get(url) {
            Ok(page) if page.body.contains(text) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    shows("Hello, Ada!");
    rig.request("web", &release, &["--parameters", "name=Grace"])
        .ok();
    node("instance").ok();
    shows("Hello, Grace!");

    rig.request("web", &release, &["--state", "stopped"]).ok();
    node("instance").ok();
    eventually("nobody listens", SOON, || match http_get(url) {
        Err(_) => Ok(()),
        Ok(page) => Err(page),
    });
    rig.request("web", &release, &["--state", "started"]).ok();
    node("instance").ok();
    shows("Hello, Grace!");

    rig.request("web", &release, &["--state", "destroyed"]).ok();
    node("instance").ok();
    node("report").ok();
    http_get(url).expect_err("nobody listens");
    assert_eq!(rig.run(&["service", "list"]).ok().json(), json!({}));
    assert_eq!(rig.services("part0", ""), []);
    let left: Vec<_> = fs::read_dir(rig.partition("part0"))
        .unwrap()
        .flatten()
        .collect();
    assert!(left.is_empty(), "{left:?}");
    rig.run(&["remove", &release, "local_computer"]).ok();
    node("software").ok();
}

#[test]
fn upstreams_node_deploys_with_our_master() {
    let rig = builder().user(Unprivileged::when_root()).build();
    let Some(peer) = Peer::get(&rig) else { return };
    rig.start_master();
    web_application_lives(&rig, |command| peer.node(&rig, &[command, "--now"]).run());
    // What the node told the Master, byte by byte as ours would.
    let node = rig.client().node(&rig.node_id()).unwrap();
    assert_eq!(node.installations, []);
    assert_eq!(
        node.partitions
            .iter()
            .filter(|partition| partition.is_free())
            .count(),
        3
    );
}

#[test]
fn our_node_deploys_with_upstreams_master() {
    let rig = builder().build();
    let Some(peer) = Peer::get(&rig) else { return };
    start_upstream_master(&rig, &peer);
    web_application_lives(&rig, |command| rig.node(command, &[]));
    let log = fs::read_to_string(rig.path().join("log/master.log")).unwrap();
    assert!(
        !log.contains("Traceback"),
        "our calls made upstream's Master fail:\n{log}"
    );
    assert!(
        !log.contains("\" 500 "),
        "our calls made upstream's Master fail:\n{log}"
    );
}

/// Partitions of upstream's node are taken over by ours, and given back: they read and write the
/// same files, speak the same words to the same supervisor, and leave alone what is up to date.
#[test]
fn a_node_can_be_upgraded_in_place_and_back() {
    let rig = builder().user(Unprivileged::when_root()).build();
    let Some(peer) = Peer::get(&rig) else { return };
    rig.start_master();
    let release = rig.release(SERVICES);
    let theirs = |command: &str| peer.node(&rig, &[command, "--now"]).run();
    theirs("format").ok();
    rig.supply(&release);
    theirs("software").ok();
    rig.request("a", &release, &[]).ok();
    theirs("instance").ok();
    let state = || {
        let file = rig.partition("part0").join("buildout.cfg");
        let written = fs::metadata(file).unwrap().modified().unwrap();
        (written, rig.running("part0", "sleep", 3))
    };
    let before = state();

    rig.node("format", &[]).ok();
    rig.node("software", &[]).ok();
    rig.node("instance", &[]).ok();
    assert_eq!(state(), before, "what is up to date is not touched");

    // When something changes our node processes it, with upstream's supervisor and its builder.
    rig.request("a", &release, &["--parameters", "text=ours"])
        .ok();
    rig.node("instance", &[]).ok();
    assert_eq!(
        rig.info("a")["connection-parameters"]["text"],
        json!("ours")
    );
    let ours = state();
    theirs("instance").ok();
    assert_eq!(state(), ours, "what is up to date is not touched");

    rig.request("a", &release, &["--parameters", "text=theirs"])
        .ok();
    theirs("instance").ok();
    assert_eq!(
        rig.info("a")["connection-parameters"]["text"],
        json!("theirs")
    );
    rig.running("part0", "sleep", 3);
    rig.request("a", &release, &["--state", "destroyed"]).ok();
    rig.node("report", &[]).ok();
    assert_eq!(rig.services("part0", ""), []);
    assert_eq!(fs::read_dir(rig.partition("part0")).unwrap().count(), 0);
}

// ---------------------------------------------------------------------------------------------
// The database

#[test]
fn upstreams_database_is_taken_over() {
    let rig = builder().build();
    let Some(peer) = Peer::get(&rig) else { return };
    start_upstream_master(&rig, &peer);
    rig.node("format", &[]).ok();
    let release = rig.release(SERVICES);
    rig.supply(&release);
    rig.request("a", &release, &["--parameters", "text=h\u{e9}llo"])
        .ok();
    rig.request("b", &release, &["--state", "stopped", "--type", "special"])
        .ok();
    let program = r#"
import os, slapos.slap
slap = slapos.slap.slap()
slap.initializeConnection(os.environ["MASTER_URL"])
partition = slap.registerComputerPartition("local_computer", "part0")
partition.setConnectionDict({"url": "http://[::1]/"})
partition.request("/r/software.cfg", "default", "child", partition_parameter_kw={"x": "y"})
slap.registerOpenOrder().request(
    RELEASE, "guest", {"who": "me"}, shared=True,
    filter_kw={"instance_guid": "local_computer-part0"})
"#;
    peer.python(&rig, &program.replace("RELEASE", &format!("{release:?}")))
        .ok();
    // Times are theirs or ours; everything else has to be the same.
    let state = || {
        let mut node = rig.client().node(&rig.node_id()).unwrap();
        for partition in &mut node.partitions {
            if let Some(parameters) = &mut partition.parameters {
                parameters.remove("timestamp");
            }
        }
        let texts = [
            &["service", "list"][..],
            &["service", "info", "a"],
            &["service", "info", "b"],
        ]
        .map(|arguments| rig.run(arguments).ok().stdout);
        (node, texts)
    };
    let before = state();
    // Flask's server has no clean end.
    rig.kill_master();
    rig.start_master();
    assert_eq!(state(), before);
    // And it is not only read.
    rig.request("a", &release, &["--parameters", "text=new"])
        .ok();
    assert_eq!(rig.info("a")["instance-parameters"], json!({"text": "new"}));
    rig.node("software", &[]).ok();
    rig.stop_master(0);
    rig.start_master();
    assert_eq!(rig.info("a")["instance-parameters"], json!({"text": "new"}));
    rig.shut_down();
}
