//! `slapos software`, and parameters that are checked before they are sent: what a release says of
//! itself reaches the person who asks for an instance of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;

use serde_json::json;
use testkit::{Rig, Run};

/// A Master with a catalogue, and a release that describes its parameters.
struct World {
    rig: Rig,
    release: String,
}

impl World {
    fn new() -> Self {
        let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos"))
            .proxy_option("software_product_list =")
            .proxy_option("  kvm http://127.0.0.1:9/kvm/software.cfg")
            .build();
        let directory = rig.path().join("kvm");
        fs::create_dir(&directory).unwrap();
        let release = directory.join("software.cfg");
        fs::write(&release, "[buildout]\nparts =\n").unwrap();
        let metadata = json!({
            "name": "KVM", "description": "A virtual machine", "serialisation": "json-in-xml",
            "software-type": {"default": {"title": "Machine", "request": "in.json", "index": 0}}
        });
        rig.write("kvm/software.cfg.json", metadata.to_string());
        let schema = json!({
            "type": "object", "additionalProperties": false,
            "properties": {
                "nbd_port": {"type": "integer", "default": 1024, "description": "Where its disk is"},
                "nbd_ip": {"type": "string"},
                "disks": {"type": "array", "items": {"type": "integer"}}
            }
        });
        rig.write("kvm/in.json", schema.to_string());
        rig.start();
        World {
            release: release.to_str().unwrap().to_owned(),
            rig,
        }
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.rig.run(arguments)
    }
}

#[test]
fn software_is_listed_and_described() {
    let world = World::new();
    let list = world.run(&["software", "list"]).ok();
    let csv = world.run(&["software", "list", "--output", "csv"]).ok();
    let (names, first) = csv.stdout.split_once('\n').unwrap();
    assert!(names.starts_with("name,"), "{csv}");
    assert!(first.starts_with("kvm,"), "{csv}");
    assert!(
        list.json()
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["name"] == "kvm"),
        "{list}"
    );
    let table = world.run(&["software", "info", &world.release, "-o", "table"]);
    let table = table.ok().stdout;
    for word in [
        "KVM",
        "A virtual machine",
        "nbd_port",
        "integer",
        "1024",
        "Where its disk is",
    ] {
        assert!(table.contains(word), "{word}:\n{table}");
    }
    let info = world.run(&["software", "info", &world.release]).ok().json();
    let first = &info["software-types"][0]["parameters"][0];
    assert_eq!(
        (&first["name"], &first["type"]),
        (&json!("nbd_port"), &json!("integer"))
    );
    world
        .run(&["software", "info", &world.release, "--type", "nope"])
        .exits(2)
        .says("it has default");
    world
        .run(&["software", "info", "kwm"])
        .exits(2)
        .says("did you mean `kvm`?");
    world.rig.shut_down();
}

#[test]
fn parameters_are_checked_before_they_are_sent() {
    let world = World::new();
    let release = world.release.clone();
    let request = |more: &[&str]| {
        let mut words = vec!["request", "vm", &release];
        words.extend(more);
        world.run(&words)
    };
    // Every mistake, with its path; nothing is sent.
    world.rig.write(
        "bad.json",
        r#"{"nbd_port": "x", "disks": [1, "two"], "other": 1}"#,
    );
    let bad = world.rig.path().join("bad.json");
    let bad = bad.to_str().unwrap();
    let refused = request(&["--parameters-file", bad]).exits(2);
    for path in ["$.nbd_port:", "$.disks[1]:", "$: ", "hint: "] {
        assert!(refused.stderr.contains(path), "{path}\n{refused}");
    }
    request(&["--parameters", "nbd_port=many"]).exits(2);
    assert_eq!(world.run(&["service", "list"]).ok().json(), json!({}));
    // What would change, and that it does not.
    let plan = request(&["--parameters", "nbd_port=80", "--dry-run"]).ok();
    assert!(plan.stdout.starts_with("+ instance vm of "), "{plan}");
    assert_eq!(world.run(&["service", "list"]).ok().json(), json!({}));
    // Words become what the schema wants.
    request(&["--parameters", "nbd_port=80", "nbd_ip=::1"]).ok();
    let held = |expected: serde_json::Value| {
        assert_eq!(world.rig.info("vm")["instance-parameters"]["_"], expected);
    };
    held(json!({"nbd_port": 80, "nbd_ip": "::1"}));
    // One is changed, one taken away, the rest stays.
    let plan = request(&["--set", "disks=[1]", "--unset", "nbd_ip", "--dry-run"]).ok();
    assert_eq!(
        plan.stdout,
        "+ parameter disks = [1]\n- parameter nbd_ip (was \"::1\")\n"
    );
    request(&["--set", "disks=[1]", "--unset", "nbd_ip"]).ok();
    held(json!({"nbd_port": 80, "disks": [1]}));
    request(&["--unset", "nbd_ip"])
        .exits(2)
        .says("no parameter `nbd_ip`");
    assert_eq!(
        request(&["--dry-run"]).ok().stdout,
        "Nothing would change.\n"
    );
    // It becomes something else when that is meant, and only then.
    let other = world.rig.path().join("kvm/other.cfg");
    fs::copy(&release, &other).unwrap();
    let other = other.to_str().unwrap();
    world
        .run(&["request", "vm", other])
        .exits(1)
        .says("--upgrade");
    let runs = || world.rig.info("vm")["software-url"].clone();
    assert_eq!(runs(), release.as_str());
    world.run(&["request", "vm", other, "--upgrade"]).ok();
    assert_eq!(runs(), other);
    world.run(&["request", "vm", &release, "--upgrade"]).ok();
    request(&[]).ok();
    for nonsense in ["http://", "://x", "", "kwm"] {
        world.run(&["request", "new", nonsense]).exits(2);
    }
    // Who knows better.
    request(&["--parameters", "nbd_port=many", "--force"]).ok();
    held(json!({"nbd_port": "many"}));
    world.rig.shut_down();
}

#[test]
fn supply_waits_until_the_node_has_built_it() {
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
    rig.start();
    let release = rig.release("tests/software/services");
    let node = "local_computer";
    rig.run(&["supply", &release, node, "--wait", "--timeout", "0s"])
        .exits(2)
        .says("it goes on all the same");
    let waits = rig
        .slapos(["computer", "supply", &release, node, "--wait"])
        .start(&rig.path().join("log/supply.log"));
    rig.node("software", &[]).ok();
    let mut waits = waits;
    assert_eq!(waits.wait(std::time::Duration::from_secs(60)), 0);
    let info = rig.run(&["computer", "info", node]).ok();
    assert!(info.stdout.contains(node), "{info}");
    let waits = rig
        .slapos(["remove", &release, node, "--wait"])
        .start(&rig.path().join("log/remove.log"));
    testkit::eventually(
        "the Master was asked",
        std::time::Duration::from_secs(60),
        || {
            let said = rig.read("log/remove.log");
            if said.contains("Done.") {
                Ok(())
            } else {
                Err(said)
            }
        },
    );
    rig.node("software", &[]).ok();
    let mut waits = waits;
    assert_eq!(waits.wait(std::time::Duration::from_secs(60)), 0);
    rig.shut_down();
}
