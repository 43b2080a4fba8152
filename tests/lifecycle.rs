//! The whole life of instances, with real processes, from an empty directory to an empty partition.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::time::Duration;

use serde_json::{Value as Json, json};
use testkit::{Rig, eventually, http_get};

const SOON: Duration = Duration::from_secs(60);
const SERVICES: &str = "tests/software/services";

fn rig() -> Rig {
    Rig::builder(env!("CARGO_BIN_EXE_slapos")).build()
}

/// Names in a partition that its instance put there: nothing but the node's own note may stay
/// when the instance is gone.
fn content(rig: &Rig, partition: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(rig.partition(partition))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".slapos-resource")
        .collect();
    names.sort();
    names
}

fn url(info: &Json) -> String {
    info["connection-parameters"]["url"]
        .as_str()
        .unwrap_or_else(|| panic!("no url in {info}"))
        .to_owned()
}

fn page(url: &str) -> String {
    eventually("the page answers", SOON, || match http_get(url) {
        Ok(page) if page.status == 200 => Ok(page.body),
        other => Err(format!("{other:?}")),
    })
}

#[test]
fn a_web_application_lives_changes_and_leaves_nothing() {
    let rig = rig();
    rig.start();
    let release = rig.release("software/helloworld");

    rig.supply(&release);
    rig.node("software", &[]).ok();
    rig.request(
        "red",
        &release,
        &["--parameters", "name=Ada", "color=#aa0000"],
    )
    .ok();
    rig.request(
        "green",
        &release,
        &["--parameters", "name=Grace", "greeting=Good morning"],
    )
    .ok();
    rig.node("instance", &[]).ok();

    // Two instances of one release answer with what each was asked.
    let red = url(&rig.info("red"));
    let green = url(&rig.info("green"));
    assert_ne!(red, green);
    let red_page = page(&red);
    assert!(red_page.contains("Hello, Ada!"), "{red_page}");
    assert!(red_page.contains("#aa0000"), "{red_page}");
    assert!(page(&green).contains("Good morning, Grace!"));

    // The promises were checked, the executable one and the Python one.
    rig.node("promise", &[]).ok();
    let placements = rig.placements();
    let (red_partition, green_partition) = (&placements["red"], &placements["green"]);
    for partition in [red_partition, green_partition] {
        for promise in ["helloworld-listening", "helloworld-page"] {
            let file = rig
                .partition(partition)
                .join(format!(".slapgrid/promise/result/{promise}.status.json"));
            let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file:?}: {e}"));
            let status: Json = serde_json::from_str(&text).unwrap();
            assert_eq!(status["result"]["failed"], json!(false), "{text}");
        }
    }

    // A changed parameter changes the answer; what was not named stays.
    rig.request("red", &release, &["--parameters", "name=Katherine"])
        .ok();
    rig.node("instance", &[]).ok();
    assert_eq!(url(&rig.info("red")), red);
    eventually("the page is the new one", SOON, || {
        let body = page(&red);
        if body.contains("Hello, Katherine!") {
            Ok(())
        } else {
            Err(body)
        }
    });
    assert!(page(&green).contains("Grace"), "the neighbour is untouched");

    // Asked again without parameters, it keeps them.
    rig.request("red", &release, &[]).ok();
    assert_eq!(
        rig.info("red")["instance-parameters"]["_"]["name"],
        json!("Katherine")
    );

    // Stopped: nobody listens. Started: the same page again.
    rig.request("red", &release, &["--state", "stopped"]).ok();
    rig.node("instance", &[]).ok();
    assert_eq!(rig.info("red")["requested-state"], json!("stopped"));
    eventually("nobody listens", SOON, || match http_get(&red) {
        Err(_) => Ok(()),
        Ok(page) => Err(page),
    });
    assert_eq!(
        rig.services(red_partition, ""),
        [],
        "no process of a stopped instance"
    );
    assert!(page(&green).contains("Grace"));
    rig.request("red", &release, &["--state", "started"]).ok();
    rig.node("instance", &[]).ok();
    assert!(page(&red).contains("Katherine"));

    // Destroyed: nothing is removed before `report` says so, then everything is.
    rig.request("red", &release, &["--state", "destroyed"]).ok();
    rig.node("instance", &[]).ok();
    rig.node("report", &[]).ok();
    assert_eq!(content(&rig, red_partition), [""; 0]);
    assert_eq!(rig.services(red_partition, ""), []);
    http_get(&red).expect_err("nobody listens");
    rig.run(&["service", "info", "red"]).exits(2);
    assert_eq!(
        rig.run(&["service", "list"]).ok().json(),
        json!({"green": release})
    );
    assert!(page(&green).contains("Grace"));

    // The partition can be used again.
    rig.node("format", &[]).ok();
    rig.request("blue", &release, &["--parameters", "name=Hedy"])
        .ok();
    rig.node("instance", &[]).ok();
    assert_eq!(&rig.placements()["blue"], red_partition);
    assert!(page(&url(&rig.info("blue"))).contains("Hedy"));

    // The release goes when nobody uses it.
    for title in ["blue", "green"] {
        rig.request(title, &release, &["--state", "destroyed"]).ok();
    }
    rig.node("report", &[]).ok();
    rig.run(&["remove", &release, "local_computer"]).ok();
    rig.node("software", &[]).ok();
    let left: Vec<_> = fs::read_dir(rig.path().join("soft"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    assert_eq!(left, [""; 0]);
    rig.shut_down();
}

#[test]
fn what_the_client_shows_is_what_the_master_holds() {
    let rig = rig();
    rig.start_master();
    assert_eq!(rig.run(&["service", "list"]).ok().stdout, "{}\n");
    rig.run(&["service", "info", "nope"])
        .exits(2)
        .says("Instance nope does not exist.");
    rig.node("format", &[]).ok();
    assert_eq!(
        rig.run(&["computer", "list"]).ok().stdout,
        "List of Computers:\nlocal_computer local_computer\n"
    );
    assert_eq!(
        rig.run(&["computer", "info", "local_computer"]).ok().stdout,
        "Computer Reference: local_computer\nComputer Title    : local_computer\n"
    );
    rig.run(&["computer", "info", "nope"])
        .exits(2)
        .says("Computer nope does not exist.");

    let release = rig.release(SERVICES);
    rig.supply(&release);
    rig.request(
        "a",
        &release,
        &["--parameters", "text=one", "--type", "special"],
    )
    .ok();
    let expected = json!({
        "software-url": release,
        "software-type": "special",
        "shared": false,
        "requested-state": "started",
        "instance-parameters": {"text": "one"},
        "connection-parameters": {},
        "status": "unsupported",
    });
    // Scripts read this: the order of the keys and the indentation are upstream's.
    let text = serde_json::to_string_pretty(&expected).unwrap();
    assert_eq!(
        rig.run(&["service", "info", "a"]).ok().stdout,
        format!("{text}\n")
    );
    assert_eq!(
        rig.run(&["service", "list"]).ok().json(),
        json!({"a": release})
    );

    let show = |option: &str| rig.run(&["proxy", "show", option]).ok().stdout;
    assert!(show("--computers").contains("local_computer"));
    assert!(show("--software").contains(&release));
    let partitions = show("--partitions");
    assert!(
        partitions.contains("part0") && partitions.contains("special"),
        "{partitions}"
    );
    assert!(
        !partitions.contains("part1"),
        "free partitions are not shown: {partitions}"
    );
    let parameters = show("--params");
    assert!(
        parameters.contains("a (type special)") && parameters.contains("one"),
        "{parameters}"
    );
    assert!(show("--network").contains("127.0.0.1"));
    let everything = rig.run(&["proxy", "show"]).ok().stdout;
    assert!(everything.contains(&release) && everything.contains("a (type special)"));
    rig.run(&["proxy", "show", "--output", "json"]).ok().json();
    rig.shut_down();
}

#[test]
fn n_6_4_services_are_controlled_with_supervisorctls_words() {
    let rig = rig();
    rig.start();
    let release = rig.release(SERVICES);
    rig.supply(&release);
    rig.node("software", &[]).ok();
    rig.request("a", &release, &[]).ok();
    rig.node("instance", &[]).ok();

    let line = |name: &str| -> String {
        let status = rig.run(&["node", "status"]).stdout;
        status
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")))
            .unwrap_or_else(|| panic!("no {name} in:\n{status}"))
            .to_owned()
    };
    let (program, watched) = ("part0:program", "part0:watched-on-watch");
    for name in [program, watched] {
        assert!(line(name).contains("RUNNING   pid "), "{}", line(name));
    }
    // `slapos node` alone is `slapos node status`.
    assert_eq!(
        rig.run(&["node"]).code(),
        rig.run(&["node", "status"]).code()
    );

    rig.run(&["node", "stop", program]).ok();
    assert!(line(program).contains("STOPPED"));
    assert_eq!(rig.services("part0", "sleep 1000001"), []);
    rig.run(&["node", "start", program]).ok();
    assert!(line(program).contains("RUNNING"));
    let before = rig.running("part0", "sleep 1000002", 1)[0].pid;
    rig.run(&["node", "restart", watched]).ok();
    let after = rig.running("part0", "sleep 1000002", 1);
    assert_ne!(after[0].pid, before);
    // Stopping a service stops its whole process group.
    rig.run(&["node", "stop", "part0:*"]).ok();
    assert_eq!(rig.services("part0", "sleep"), []);
    rig.run(&["node", "supervisorctl", "start", "all"]).ok();
    rig.running("part0", "sleep", 3);

    rig.run(&["node", "tail", watched])
        .ok()
        .says("service started");
    rig.run(&["node", "status", "nope"]).exits(4);
    rig.run(&["node", "stop", "nope"]).exits(1);
    rig.shut_down();
}

#[test]
fn a_master_that_is_restarted_has_forgotten_nothing() {
    let rig = rig();
    rig.start();
    let release = rig.release(SERVICES);
    rig.supply(&release);
    rig.request("kept", &release, &["--parameters", "text=kept"])
        .ok();
    rig.request("stopped", &release, &["--state", "stopped"])
        .ok();
    let state = || {
        let client = rig.client();
        let node = client.node(&rig.node_id()).unwrap();
        (
            node,
            rig.info("kept"),
            rig.info("stopped"),
            rig.run(&["service", "list"]).stdout,
        )
    };
    let before = state();
    rig.stop_master(0);
    rig.start_master();
    assert_eq!(state(), before);
    rig.kill_master();
    rig.start_master();
    assert_eq!(state(), before);

    // And the node goes on with it.
    rig.node("software", &[]).ok();
    rig.node("instance", &[]).ok();
    assert_eq!(
        rig.info("kept")["connection-parameters"]["text"],
        json!("kept")
    );
    rig.running("part0", "sleep 1000002", 1);
    rig.running("part1", "sleep", 0);
    rig.shut_down();
}

#[test]
fn n_6_2_a_bang_has_everything_on_the_node_processed_again() {
    let rig = rig();
    rig.start();
    let release = rig.release(SERVICES);
    rig.supply(&release);
    rig.node("software", &[]).ok();
    rig.request("a", &release, &[]).ok();
    rig.node("instance", &[]).ok();
    let written = || {
        let file = rig.partition("part0").join("buildout.cfg");
        fs::metadata(file).unwrap().modified().unwrap()
    };
    let before = written();
    rig.node("instance", &[]).ok();
    assert_eq!(written(), before);
    rig.run(&["node", "bang", "-m", "the disk was changed"])
        .ok();
    rig.node("instance", &[]).ok();
    assert_ne!(written(), before);
    rig.shut_down();
}

#[test]
fn what_did_not_change_is_not_touched() {
    let rig = rig();
    rig.start();
    let release = rig.release(SERVICES);
    rig.supply(&release);
    rig.node("software", &[]).ok();
    rig.request("a", &release, &[]).ok();
    rig.request("b", &release, &[]).ok();
    rig.node("instance", &[]).ok();
    let stamp = |partition: &str| {
        let file = rig.partition(partition).join("buildout.cfg");
        let services = rig.services(partition, "sleep 100000");
        (fs::metadata(file).unwrap().modified().unwrap(), services)
    };
    let before = (stamp("part0"), stamp("part1"));

    rig.node("instance", &[]).ok();
    rig.node("software", &[]).ok();
    rig.node("report", &[]).ok();
    assert_eq!((stamp("part0"), stamp("part1")), before);
    // The same request again changes nothing either.
    rig.request("a", &release, &[]).ok();
    rig.node("instance", &[]).ok();
    assert_eq!((stamp("part0"), stamp("part1")), before);
    // One that changes is processed, the other one is not.
    rig.request("a", &release, &["--parameters", "text=new"])
        .ok();
    rig.node("instance", &[]).ok();
    assert_ne!(stamp("part0").0, before.0.0);
    assert_eq!(stamp("part1"), before.1);
    // --force processes all of them.
    rig.node("instance", &["--force"]).ok();
    assert_ne!(stamp("part1").0, before.1.0);
    assert_eq!(
        stamp("part1").1,
        before.1.1,
        "unchanged services are not restarted"
    );
    rig.shut_down();
}

#[test]
fn n_3_7_a_promise_that_fails_is_told_to_everybody() {
    let rig = rig();
    rig.start();
    let release = rig.release(SERVICES);
    rig.supply(&release);
    rig.node("software", &[]).ok();
    rig.request("sick", &release, &["--parameters", "promise=fail"])
        .ok();
    rig.request("well", &release, &[]).ok();

    rig.node("instance", &[])
        .exits(2)
        .says("the promise says 1");
    // It runs all the same.
    rig.running("part0", "sleep 1000002", 1);
    rig.running("part1", "sleep 1000002", 1);
    assert!(!rig.partition("part0").join(".timestamp").exists());
    assert!(rig.partition("part1").join(".timestamp").exists());
    let told = || {
        let status = rig
            .client()
            .partition_status(&rig.node_id(), &"part0".parse().unwrap());
        status.unwrap().text
    };
    assert!(told().starts_with("#error"), "{}", told());
    assert!(told().contains("the promise says 1"), "{}", told());
    let failing = || {
        let run = rig.run(&["service", "promises", "sick", "--failing", "-o", "name"]);
        run.ok().stdout
    };
    assert_eq!(failing(), "healthy\n");
    rig.run(&["service", "promises", "sick", "-o", "table"])
        .ok()
        .says("the promise says 1");
    let table = rig.node("promise", &[]).exits(2).stdout;
    let line = table.lines().nth(1).unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        words,
        ["part0", "healthy", "the", "promise", "says", "1"],
        "{table}"
    );
    let names = rig.node("promise", &["-o", "name"]).exits(2);
    assert_eq!(names.stdout, "part0/healthy\n");
    let well = rig.node("promise", &["--only", "part1"]).ok();
    assert_eq!(well.stdout, "");

    rig.request("sick", &release, &["--parameters", "promise=ok"])
        .ok();
    rig.node("instance", &[]).ok();
    assert!(told().starts_with("#access"), "{}", told());
    assert_eq!(failing(), "");
    rig.node("promise", &[]).ok();
    rig.shut_down();
}

#[test]
fn request_waits_for_what_the_instance_publishes() {
    let rig = rig();
    rig.start();
    let release = rig.release(SERVICES);
    rig.supply(&release);
    let log = rig.path().join("log/request.log");
    let mut waiting = rig
        .slapos([
            "request",
            "a",
            &release,
            "--wait",
            "--timeout",
            "120s",
            "--output",
            "json",
        ])
        .start(&log);
    eventually("the request arrived", SOON, || {
        assert!(waiting.is_running(), "{}", waiting.output());
        rig.placements().get("a").cloned().ok_or("not yet")
    });
    rig.node("software", &[]).ok();
    rig.node("instance", &[]).ok();
    assert_eq!(waiting.wait(SOON), 0, "{}", waiting.output());
    assert!(
        waiting.output().contains("\"text\": \"hello\""),
        "{}",
        waiting.output()
    );

    // Nobody processes anything now: the time runs out.
    rig.request("b", &release, &["--wait", "--timeout", "1s"])
        .exits(2)
        .says("not ready");
    rig.shut_down();
}
