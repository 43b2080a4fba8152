//! `slapos service …` and `slapos computer …` with a Master that tells everything, and with one that
//! keeps no history.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};
use slap::document::TextDict;
use slap::{NodeId, PartitionId, Value};
use slap_client::{Client, Identity, PromiseTold, Request, Settings, Trust};
use testkit::{Invocation, Rig, Run, eventually};

const SOON: Duration = Duration::from_secs(30);
const RELEASE: &str = "https://example.com/1/software.cfg";
const BETTER: &str = "https://example.com/2/software.cfg";

/// A full Master, its administrator as client, and a node that says what the test wants.
struct World {
    rig: Rig,
    cfg: PathBuf,
    node: NodeId,
    speaker: Client,
}

fn partition(number: usize) -> PartitionId {
    format!("part{number}").parse().unwrap()
}

impl World {
    fn new(partitions: usize) -> Self {
        let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
        rig.start_full_master();
        let (url, welcome) = (rig.full_master_url(), rig.welcome());
        let cfg = rig.path().join("home/.slapos/slapos-client.cfg");
        rig.slapos(["configure", "client", "--master-url", &url])
            .args(["--token", &welcome.token, "--fingerprint"])
            .arg(&welcome.fingerprint)
            .env("SLAPOS_CLIENT_CONFIGURATION", &cfg)
            .run()
            .ok();
        let home = cfg.parent().unwrap();
        let mut settings = Settings::new(format!("{url}/"));
        settings.certificate = Some((home.join("client.crt"), home.join("client.key")));
        settings.trust = Trust::CaFile(rig.full_master_data().join("ca.crt"));
        let person = Client::new(settings.clone()).unwrap();
        let node = person.request_node("rack1").unwrap().node;
        let issued = person.issue_node_certificate(&node).unwrap();
        settings.certificate = None;
        settings.identity = Some(Identity {
            certificate: issued.certificate,
            key: issued.key,
        });
        let speaker = Client::new(settings).unwrap();
        let described = (0..partitions).map(|number| {
            Value::dict([
                ("reference", Value::text(partition(number).as_str())),
                ("address_list", Value::List(Vec::new())),
            ])
        });
        let description = Value::dict([
            ("reference", Value::text(node.as_str())),
            ("partition_list", Value::List(described.collect())),
        ]);
        speaker.post_format(&description).unwrap();
        World {
            rig,
            cfg,
            node,
            speaker,
        }
    }

    fn slapos(&self, arguments: &[&str]) -> Invocation {
        self.rig
            .slapos(arguments.iter().copied())
            .env("SLAPOS_CLIENT_CONFIGURATION", &self.cfg)
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.slapos(arguments).run()
    }

    #[track_caller]
    fn shows(&self, arguments: &[&str], texts: &[&str]) {
        let said = self.run(arguments).ok().stdout;
        for text in texts {
            assert!(said.contains(text), "{text:?} is not in:\n{said}");
        }
    }

    fn supply(&self, release: &str) {
        self.run(&["supply", release, self.node.as_str()]).ok();
        let release = release.parse().unwrap();
        self.speaker
            .release_available(&release, &self.node)
            .unwrap();
    }

    /// The instance on a partition asks for another one.
    fn request_by(&self, requester: usize, title: &str) {
        let request = Request {
            requester: Some((self.node.clone(), partition(requester))),
            release: RELEASE.parse().unwrap(),
            software_type: slap::SoftwareType::default(),
            title: title.parse().unwrap(),
            parameters: BTreeMap::new(),
            sla: BTreeMap::new(),
            state: None,
            shared: false,
        };
        self.speaker.request(&request).unwrap();
    }
}

#[test]
fn a_service_is_watched_changed_and_destroyed() {
    let world = World::new(2);
    world
        .run(&["service", "list", "-o", "table"])
        .ok()
        .says("You have no instances yet");
    // It waits, and says why.
    let run = world.run(&["request", "blog", RELEASE, "--parameters", "password=hush"]);
    assert_eq!(run.code(), 2);
    world.shows(
        &["service", "list", "-o", "table"],
        &["blog", "waiting", "blog waits: "],
    );
    world.shows(&["service", "info", "blog", "-o", "table"], &["Waits "]);
    world.supply(RELEASE);
    world.request_by(0, "db");
    world.request_by(0, "replica");
    world.shows(
        &["service", "tree", "blog"],
        &["blog", "├─ db", "└─ replica", "waiting", "COMP-1/part1"],
    );
    let tree = world
        .run(&["service", "tree", "blog", "-o", "json"])
        .ok()
        .json();
    assert_eq!(tree[1]["requested-by"], tree[0]["reference"]);
    assert_eq!(tree[0]["state"], "starting");

    // What nodes report.
    let (speaker, node) = (&world.speaker, &world.node);
    let log = format!("{}\nno space left", "x".repeat(500));
    speaker
        .instance_error(node, &partition(1), &log, None)
        .unwrap();
    world.shows(
        &["service", "list", "-o", "table"],
        &["blog", "error", "COMP-1", RELEASE],
    );
    let connection = TextDict::from([("url".to_owned(), "http://me:pw@x".to_owned())]);
    speaker
        .publish(node, &partition(0), &connection, None)
        .unwrap();
    speaker.instance_started(node, &partition(0)).unwrap();
    world.shows(
        &["service", "info", "blog", "-o", "table"],
        &[
            "error (asked to be started)",
            "no space left",
            "http://me:pw@x",
            "hush",
        ],
    );
    world.shows(
        &["service", "logs", "blog"],
        &["db on COMP-1", "xxx\nno space left"],
    );
    world.shows(
        &["service", "events", "blog"],
        &[
            "it waits for a place",
            "placed on COMP-1",
            "published url",
            "(admin)",
        ],
    );
    let events = world
        .run(&["service", "events", "blog", "-n", "1", "-o", "json"])
        .ok();
    assert_eq!(events.json()["action"], "report");

    // On a screen, secrets are hidden.
    let seen = world
        .slapos(&["service", "info", "blog"])
        .at_terminal()
        .wait_end(SOON);
    assert!(seen.1.contains("http://me:********@x"), "{}", seen.1);
    assert!(!seen.1.contains("hush"), "{}", seen.1);
    let seen = world
        .slapos(&["service", "info", "blog", "--show-secrets"])
        .at_terminal()
        .wait_end(SOON);
    assert!(seen.1.contains("hush"), "{}", seen.1);

    // A screen that does not know how wide it is.
    let seen = world
        .slapos(&["service", "list"])
        .at_terminal_of(0)
        .wait_end(SOON);
    assert!(seen.1.contains(RELEASE), "{}", seen.1);

    // Where nobody looks, all is upstream's.
    assert_eq!(
        world.run(&["service", "list"]).ok().json(),
        json!({"blog": RELEASE})
    );
    let info = world.run(&["service", "info", "blog"]).ok().json();
    let keys: Vec<&String> = info.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "software-url",
            "software-type",
            "shared",
            "requested-state",
            "instance-parameters",
            "connection-parameters",
            "status"
        ]
    );

    // Watching and following.
    let log = world.rig.path().join("log/watch.log");
    let mut watching = world
        .slapos(&["service", "list", "--watch", "-o", "table"])
        .start(&log);
    let follow_log = world.rig.path().join("log/follow.log");
    let mut following = world
        .slapos(&["service", "events", "blog", "--follow"])
        .start(&follow_log);
    let seen = |output: &dyn Fn() -> String, text: &str| {
        eventually(text, SOON, || {
            let said = output();
            if said.contains(text) {
                Ok(())
            } else {
                Err(said)
            }
        });
    };
    seen(&|| watching.output(), "error");
    seen(&|| following.output(), "published url");
    speaker.instance_started(node, &partition(1)).unwrap();
    world.run(&["service", "rename", "blog", "diary"]).ok();
    seen(&|| watching.output(), "diary");
    assert!(watching.is_running());
    world.run(&["service", "rename", "diary", "blog"]).ok();
    seen(&|| following.output(), "renamed from \"blog\" to \"diary\"");
    assert!(following.is_running());
    drop((watching, following));

    // Changes.
    world.run(&["service", "stop", "blog"]).ok().says("");
    world.shows(&["service", "list", "-o", "table"], &["stopping"]);
    for number in 0..2 {
        speaker.instance_stopped(node, &partition(number)).unwrap();
    }
    world.shows(
        &["service", "stop", "blog", "--wait", "--timeout", "30s"],
        &["blog is stopped."],
    );
    let info = world.run(&["service", "info", "blog"]).ok().json();
    assert_eq!(info["instance-parameters"]["password"], "hush", "kept");
    world.run(&["service", "start", "blog"]).ok();
    let info = world.run(&["service", "info", "blog"]).ok().json();
    assert_eq!(info["requested-state"], "start_requested");

    // Names that are mistyped.
    for command in ["info", "tree", "events", "logs", "stop", "upgrade"] {
        world
            .run(&["service", command, "blgo"])
            .exits(2)
            .says("Instance blgo does not exist.")
            .says("did you mean `blog`?");
    }
    world
        .run(&["service", "rename", "blgo", "x"])
        .exits(2)
        .says("did you mean `blog`?");

    // Destruction is asked for twice.
    world
        .run(&["service", "destroy", "blog"])
        .exits(2)
        .says("add --yes");
    let mut asked = world.slapos(&["service", "destroy", "blog"]).at_terminal();
    asked.wait_for("Destroy blog and all that is in it? [y/N]", SOON);
    asked.type_line("n");
    assert_eq!(asked.wait_end(SOON).0, 1);
    let log = world.rig.path().join("log/destroy.log");
    let mut destroys = world
        .slapos(&["service", "destroy", "blog", "--yes", "--wait"])
        .start(&log);
    eventually("it is listed no more", SOON, || {
        let list = world.run(&["service", "list"]).ok().json();
        if list == json!({}) { Ok(()) } else { Err(list) }
    });
    // Until its nodes have removed it, it is not gone.
    world.shows(&["service", "tree", "blog"], &["destroying"]);
    world
        .run(&[
            "service",
            "wait",
            "blog",
            "--for",
            "destroyed",
            "--timeout",
            "1s",
        ])
        .exits(2)
        .says("being destroyed, 2 instances left");
    for number in [1, 0] {
        speaker
            .instance_destroyed(node, &partition(number))
            .unwrap();
    }
    assert_eq!(destroys.wait(SOON), 0);
    assert!(destroys.output().ends_with("blog is destroyed.\n"));
    world.run(&["service", "tree", "blog"]).exits(2);
    world
        .run(&["service", "info", "blog", "-o", "table"])
        .exits(2);
}

/// What a node tells of promises is there at once, with the history of what failed.
/// Moments as `#`, so that the rest can be compared.
fn timeless(text: &str) -> String {
    let is_moment = |word: &str| {
        let shape: String = word
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        matches!(shape.as_str(), "0000-00-00" | "00:00:00")
    };
    let hidden = |word: &str| {
        if is_moment(word.trim_end_matches([',', ':', '.'])) {
            word.replace(|c: char| c.is_ascii_digit(), "#")
        } else {
            word.to_owned()
        }
    };
    let line = |line: &str| line.split(' ').map(hidden).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Every table, as a person sees it.
#[test]
fn every_table_is_as_it_was_approved() {
    let world = World::new(3);
    world.supply(RELEASE);
    world.run(&["request", "blog", RELEASE, "--parameters", "password=hush"]);
    world.request_by(0, "db");
    let connection: TextDict = [
        ("url".to_owned(), "https://[2001:db8::1]/".to_owned()),
        ("password".to_owned(), "secret".to_owned()),
    ]
    .into();
    let (speaker, node) = (&world.speaker, &world.node);
    speaker
        .publish(node, &partition(0), &connection, None)
        .unwrap();
    speaker.instance_started(node, &partition(0)).unwrap();
    speaker
        .instance_error(node, &partition(1), "the disk is full", None)
        .unwrap();
    world.run(&["request", "elsewhere", "https://example.com/9/software.cfg"]);
    for (name, arguments) in [
        ("service_list", &["service", "list"][..]),
        ("service_info", &["service", "info", "blog"]),
        ("service_info_waiting", &["service", "info", "elsewhere"]),
        ("service_tree", &["service", "tree", "blog"]),
        ("computer_list", &["computer", "list"]),
        ("computer_info", &["computer", "info", node.as_str()]),
        ("software_list", &["software", "list"]),
    ] {
        let run = world
            .slapos(arguments)
            .args(["--output", "table"])
            .run()
            .ok();
        insta::assert_snapshot!(name, timeless(&run.stdout));
    }
}

#[test]
fn promises_that_fail_are_shown_with_their_history() {
    let world = World::new(2);
    world.supply(RELEASE);
    world.run(&["request", "blog", RELEASE]).ok();
    world.request_by(0, "db");
    let (speaker, node) = (&world.speaker, &world.node);
    let promise = |title: &str, failed: bool, message: &str| PromiseTold {
        title: title.to_owned(),
        failed,
        message: message.to_owned(),
        checked_at: 1,
        next_check_at: None,
    };
    world
        .run(&["service", "promises", "blog", "-o", "table"])
        .ok()
        .says("No node has told of promises yet");
    let watch_log = world.rig.path().join("log/watch.log");
    let mut follow = world
        .slapos(&["service", "events", "blog", "--follow"])
        .start(&watch_log);
    let tell = |number: usize, promises: &[PromiseTold]| {
        let told = speaker.tell_promises(node, &partition(number), promises);
        assert_eq!(told.unwrap(), Some(()));
    };
    tell(
        0,
        &[promise("page", false, "fine"), promise("disk", false, "")],
    );
    let full = promise("disk", true, "no space\nleft");
    tell(1, &[full, promise("page", false, "")]);
    world.shows(
        &["service", "promises", "blog", "-o", "table"],
        &[
            "INSTANCE",
            "db",
            "disk",
            "fails",
            "no space left",
            "blog",
            "well",
        ],
    );
    let failing = &["service", "promises", "blog", "--failing", "-o", "name"];
    assert_eq!(world.run(failing).ok().stdout, "disk\n");
    let list = world.run(&["service", "promises", "blog"]).ok().json();
    assert_eq!(list.as_array().unwrap().len(), 4);
    assert_eq!(list[3]["instance"], "db");
    world.shows(
        &["service", "info", "blog", "-o", "table"],
        &["1 of 4 fail: disk of db (slapos service promises blog)"],
    );
    world.shows(
        &["service", "tree", "blog"],
        &["promise disk fails: no space left"],
    );
    tell(1, &[promise("disk", false, ""), promise("page", false, "")]);
    world.shows(
        &["service", "info", "blog", "-o", "table"],
        &["4, all well"],
    );
    world.shows(
        &["service", "events", "blog"],
        &[
            "db  promise disk fails: no space left",
            "promise disk is well again",
        ],
    );
    eventually("who follows is told", SOON, || {
        let said = follow.output();
        if said.contains("promise disk is well again") {
            Ok(())
        } else {
            Err(said)
        }
    });
    follow.kill();
    // While it is waited for, the promise that fails is named.
    speaker
        .instance_error(
            node,
            &partition(0),
            "Promise 'page.py' failed with output: no",
            None,
        )
        .unwrap();
    tell(0, &[promise("page", true, "nobody answers")]);
    world
        .run(&["service", "wait", "blog", "--timeout", "1s"])
        .exits(2)
        .says("promise page fails: nobody answers");
    world.run(&["service", "promises", "nope"]).exits(2);
}

#[test]
fn an_upgrade_is_taken_and_nodes_tell_what_they_have() {
    let world = World::new(2);
    world.supply(RELEASE);
    world.run(&["request", "blog", RELEASE]).ok();
    world
        .speaker
        .instance_started(&world.node, &partition(0))
        .unwrap();
    world
        .run(&["service", "upgrade", "blog"])
        .exits(2)
        .says("belongs to no product");
    let data = world.rig.full_master_data();
    let master = |arguments: &[&str]| {
        world
            .rig
            .slapos(arguments.iter().copied())
            .arg("--data-dir")
            .arg(&data)
            .run()
            .ok()
    };
    master(&["master", "product", "add", "app"]);
    for release in [RELEASE, BETTER] {
        master(&["master", "product", "release", "add", "app", release]);
    }
    eventually("the upgrade is offered", SOON, || {
        let said = world.run(&["service", "list", "-o", "table"]).ok().stdout;
        if said.contains(&format!("blog can be upgraded to {BETTER}")) {
            Ok(())
        } else {
            Err(said)
        }
    });
    world.shows(
        &["service", "info", "blog", "-o", "table"],
        &["slapos service upgrade blog"],
    );
    world.shows(
        &["service", "upgrade", "blog"],
        &[&format!("blog is being upgraded to {BETTER}.")],
    );
    world.shows(
        &["service", "info", "blog", "-o", "table"],
        &["is under way"],
    );
    let better = BETTER.parse().unwrap();
    world
        .speaker
        .release_available(&better, &world.node)
        .unwrap();
    world
        .speaker
        .instance_started(&world.node, &partition(0))
        .unwrap();
    world.shows(
        &["service", "upgrade", "blog"],
        &[&format!("blog has {BETTER} already")],
    );
    world
        .run(&["service", "upgrade", "blog", RELEASE])
        .exits(1)
        .says("does not go back");
    let third = "https://example.com/3/software.cfg";
    world
        .run(&["service", "upgrade", "blog", third])
        .exits(1)
        .says("slapos supply");
    world.supply(third);
    world.shows(
        &["service", "upgrade", "blog", third],
        &[&format!("blog is asked to have {third}.")],
    );
    assert_eq!(world.run(&["service", "list"]).ok().json()["blog"], third);

    world.shows(
        &["computer", "list", "-o", "table"],
        &["COMP-1", "rack1", "open", "1 of 2"],
    );
    world.shows(
        &["computer", "info", "COMP-1", "-o", "table"],
        &["part0", "blog", RELEASE, BETTER, "available"],
    );
    assert_eq!(
        world.run(&["computer", "list"]).ok().stdout,
        "List of Computers:\nCOMP-1 rack1\n"
    );
    world
        .run(&["computer", "info", "COMP-11", "-o", "table"])
        .exits(2)
        .says("did you mean `COMP-1`?");
}

#[test]
fn the_master_for_one_machine_tells_what_it_knows() {
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
    rig.start();
    let release = rig.release("tests/software/services");
    rig.request("blog", &release, &[]).ok();
    let shows = |arguments: &[&str], texts: &[&str]| {
        let said = rig.run(arguments).ok().stdout;
        for text in texts {
            assert!(said.contains(text), "{text:?} is not in:\n{said}");
        }
    };
    shows(&["service", "list", "-o", "table"], &["blog", "starting"]);
    shows(&["service", "tree", "blog"], &["blog", "starting"]);
    shows(
        &["service", "info", "blog", "-o", "table"],
        &["Service      blog"],
    );
    shows(&["computer", "list", "-o", "table"], &["NODE", " of "]);
    rig.run(&["service", "events", "blog"])
        .exits(1)
        .says("keeps no history");
    rig.run(&["service", "logs", "blog"])
        .ok()
        .says("No node reports an error.");
    let client = rig.client();
    let document: Json = rig
        .run(&["service", "tree", "blog", "-o", "json"])
        .ok()
        .json();
    let (node, place) = (
        document[0]["node"].as_str().unwrap().parse().unwrap(),
        document[0]["partition"].as_str().unwrap().parse().unwrap(),
    );
    client.instance_error(&node, &place, "boo", None).unwrap();
    shows(&["service", "logs", "blog"], &["boo"]);
    shows(&["service", "list", "-o", "table"], &["error"]);
    rig.run(&["service", "rename", "blog", "diary"]).ok();
    rig.run(&["service", "stop", "diary"]).ok();
    assert_eq!(rig.info("diary")["requested-state"], "stopped");
    rig.run(&["service", "info", "diray"])
        .exits(2)
        .says("did you mean `diary`?");
    rig.run(&["service", "destroy", "diary", "--yes"]).ok();
}

#[test]
fn a_service_is_waited_for_and_opened() {
    let world = World::new(1);
    world.supply(RELEASE);
    world.run(&["request", "blog", RELEASE]).ok();
    world
        .run(&["service", "open", "blog", "--print"])
        .exits(2)
        .says("no address yet");
    world
        .run(&["service", "wait", "blog", "--timeout", "0s"])
        .exits(2);
    world
        .run(&["service", "wait", "blog", "--for", "stopped"])
        .exits(2)
        .says("it will not be stopped");
    let log = world.rig.path().join("log/wait.log");
    let mut waits = world.slapos(&["service", "wait", "blog"]).start(&log);
    let (speaker, node) = (&world.speaker, &world.node);
    let url = [
        ("url", "https://[fd00::1]:8443/"),
        ("evil", "file:///etc/passwd"),
    ];
    let connection: TextDict = url.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let part = partition(0);
    speaker.publish(node, &part, &connection, None).unwrap();
    speaker.instance_started(node, &part).unwrap();
    assert_eq!(waits.wait(SOON), 0);
    assert!(waits.output().ends_with("blog is started.\n"));
    let open = world.run(&["service", "open", "blog", "--print"]).ok();
    assert_eq!(open.stdout, "https://[fd00::1]:8443/\n");
    world
        .run(&["service", "open", "blog", "--parameter", "evil"])
        .exits(2)
        .says("no http or https address");
    let mut waits = world
        .slapos(&["service", "wait", "blog", "--for", "destroyed"])
        .start(&log);
    world.run(&["service", "destroy", "blog", "--yes"]).ok();
    speaker.instance_destroyed(node, &part).unwrap();
    assert_eq!(waits.wait(SOON), 0);
    world.run(&["service", "wait", "blog"]).exits(2);
}
