//! Things that go wrong, and what is left of them: nothing lost, nothing doubled, no orphan.
//!
//! Moments are random. A failing run prints its seed; `SLAPOS_TEST_SEED` repeats it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use slap_client::{Request, RequestReply};
use testkit::{Random, Rig, RigBuilder, eventually, eventually_some, kill};

const SOON: Duration = Duration::from_secs(60);
const SERVICES: &str = "tests/software/services";

fn builder() -> RigBuilder {
    Rig::builder(env!("CARGO_BIN_EXE_slapos"))
}

/// A rig whose node has the cheap release installed.
fn with_services(builder: RigBuilder) -> (Rig, String) {
    let rig = builder.build();
    rig.start();
    let release = rig.release(SERVICES);
    rig.supply(&release);
    rig.node("software", &[]).ok();
    (rig, release)
}

/// Runs `node instance` until it succeeds: a fault may have made it miss something.
fn converge(rig: &Rig) {
    eventually("node instance succeeds", Duration::from_secs(120), || {
        let run = rig.node("instance", &[]);
        if run.code() == 0 { Ok(()) } else { Err(run) }
    });
}

/// The three processes of an instance, each exactly once.
fn assert_runs_once(rig: &Rig, partition: &str) {
    for sleep in ["sleep 1000001", "sleep 1000002", "sleep 1000003"] {
        rig.running(partition, sleep, 1);
    }
}

#[test]
fn a_release_that_cannot_be_built_hurts_nobody_else() {
    let rig = builder().build();
    rig.start();
    let broken = rig.release("tests/software/broken");
    let good = rig.release(SERVICES);
    let unreachable = "http://127.0.0.1:9/software.cfg".to_owned();
    for release in [&broken, &good, &unreachable] {
        rig.supply(release);
    }
    let run = rig.node("software", &[]).exits(1);
    let run = run
        .says("the reactor has no core")
        .says(&broken)
        .says(&unreachable);
    assert!(!run.stderr.contains("panicked"), "{run}");
    // The Master knows which.
    let told = |release: &str| {
        let status = rig
            .client()
            .installation_status(&release.parse().unwrap(), &rig.node_id());
        status.unwrap().text
    };
    assert!(told(&broken).starts_with("#error"), "{}", told(&broken));
    assert!(
        told(&unreachable).starts_with("#error"),
        "{}",
        told(&unreachable)
    );
    assert!(told(&good).starts_with("#access"), "{}", told(&good));
    // The log stays.
    let logs = rig.logs();
    assert!(logs.contains("the reactor has no core"), "{logs}");

    rig.request("a", &good, &[]).ok();
    rig.node("instance", &[]).ok();
    assert_runs_once(&rig, "part0");

    // Repaired, it is built; the unreachable one can be given up.
    fs::write(&broken, "[buildout]\nparts =\n").unwrap();
    rig.run(&["remove", &unreachable, "local_computer"]).ok();
    rig.node("software", &[]).ok();
    assert!(told(&broken).starts_with("#access"), "{}", told(&broken));
    rig.shut_down();
}

#[test]
fn an_instance_of_a_missing_release_waits_for_it() {
    let rig = builder().build();
    rig.start();
    let release = rig.release(SERVICES);
    rig.request("early", &release, &[]).ok();
    rig.node("instance", &[])
        .exits(1)
        .says("is not present on system");
    rig.supply(&release);
    rig.node("software", &[]).ok();
    rig.node("instance", &[]).ok();
    assert_runs_once(&rig, "part0");
    rig.shut_down();
}

#[test]
fn an_instance_whose_profile_fails_hurts_nobody_else() {
    let (rig, release) = with_services(builder());
    rig.request("bad", &release, &["--parameters", "profile=fail"])
        .ok();
    rig.request("good", &release, &[]).ok();
    rig.node("instance", &[])
        .exits(1)
        .says("this instance was asked to fail");
    assert_runs_once(&rig, "part1");
    assert_eq!(rig.services("part0", "sleep"), []);
    assert!(!rig.partition("part0").join(".timestamp").exists());
    let told = |partition: &str| {
        let status = rig
            .client()
            .partition_status(&rig.node_id(), &partition.parse().unwrap());
        status.unwrap().text
    };
    assert!(told("part0").starts_with("#error"), "{}", told("part0"));
    assert!(
        told("part0").contains("this instance was asked to fail"),
        "{}",
        told("part0")
    );
    assert!(told("part1").starts_with("#access"), "{}", told("part1"));
    let error = fs::read_to_string(rig.partition("part0").join(".slapgrid-part0-error.log"));
    assert!(error.unwrap().contains("this instance was asked to fail"));

    rig.request("bad", &release, &["--parameters", "profile=work"])
        .ok();
    rig.node("instance", &[]).ok();
    assert_runs_once(&rig, "part0");
    // Broken again while it runs: what ran goes on.
    rig.request("bad", &release, &["--parameters", "profile=fail"])
        .ok();
    rig.node("instance", &[]).exits(1);
    assert_runs_once(&rig, "part0");
    // It can be stopped although its profile fails.
    rig.request(
        "bad",
        &release,
        &["--state", "stopped", "--parameters", "profile=fail"],
    )
    .ok();
    rig.node("instance", &[]).exits(1);
    assert_eq!(rig.services("part0", "sleep"), []);
    assert_runs_once(&rig, "part1");
    rig.shut_down();
}

#[test]
fn a_request_that_has_no_place_says_so_and_changes_nothing() {
    let rig = builder().partitions(1).build();
    rig.start();
    let release = rig.release(SERVICES);
    rig.request("a", &release, &[]).ok();
    rig.request("b", &release, &[])
        .exits(1)
        .says("No free computer partition found");
    rig.request("c", &release, &["--node", "computer_guid=COMP-404"])
        .exits(1);
    assert_eq!(
        rig.run(&["service", "list"]).ok().json(),
        json!({"a": release})
    );
    // When one becomes free, the same request succeeds.
    rig.request("a", &release, &["--state", "destroyed"]).ok();
    rig.node("report", &[]).ok();
    rig.request("b", &release, &[]).ok();
    rig.shut_down();
}

#[test]
fn a_node_without_its_master_keeps_its_services_and_destroys_nothing() {
    let (rig, release) = with_services(builder());
    rig.request("a", &release, &[]).ok();
    rig.request("b", &release, &["--state", "stopped"]).ok();
    rig.node("instance", &[]).ok();
    assert_runs_once(&rig, "part0");

    rig.stop_master(0);
    kill(
        rig.running("part0", "sleep 1000001", 1)[0].pid,
        Signal::KILL,
    );
    // Only what is known to have ended is started.
    eventually("the supervisor knows", SOON, || {
        let run = rig.run(&["node", "status"]);
        if run.stdout.contains("EXITED") {
            Ok(())
        } else {
            Err(run)
        }
    });
    rig.node("instance", &[]).exits(3);
    eventually("what died is started again", SOON, || {
        let found = rig.services("part0", "sleep 1000001");
        if found.len() == 1 { Ok(()) } else { Err(found) }
    });
    assert_runs_once(&rig, "part0");
    assert_eq!(
        rig.services("part1", "sleep"),
        [],
        "what is stopped stays stopped"
    );
    rig.node("software", &[]).exits(1);
    rig.node("report", &[]).exits(1);
    rig.node("format", &[]).exits(2);
    rig.run(&["service", "list"]).exits(1);
    assert_runs_once(&rig, "part0");

    rig.start_master();
    rig.request("a", &release, &["--parameters", "text=back"])
        .ok();
    rig.node("software", &[]).ok();
    rig.node("instance", &[]).ok();
    rig.node("report", &[]).ok();
    assert_runs_once(&rig, "part0");
    assert_eq!(
        rig.info("a")["connection-parameters"]["text"],
        json!("back")
    );
    rig.shut_down();
}

/// P1: the Master is killed again and again while clients request; what it acknowledged is there.
#[test]
fn a_killed_master_has_lost_nothing_it_acknowledged() {
    let rig = builder().partitions(60).build();
    let mut random = Random::from_environment("killed master");
    rig.start();
    let release = rig.release(SERVICES);
    let (client, node) = (rig.client(), rig.node_id());
    let stop = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|scope| {
        let requests = scope.spawn(|| {
            let mut acknowledged = Vec::new();
            for number in 0..60 {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let title = format!("i{number}");
                let request = Request {
                    requester: None,
                    release: release.parse().unwrap(),
                    software_type: "default".parse().unwrap(),
                    title: title.parse().unwrap(),
                    parameters: [("text".to_owned(), slap::Value::text(&title))].into(),
                    sla: Default::default(),
                    state: None,
                    shared: false,
                };
                // A client that got no answer asks again, which is harmless.
                let partition = eventually("an answer", SOON, || match client.request(&request) {
                    Ok(RequestReply::Allocated(document)) => Ok(document.partition),
                    Ok(RequestReply::NotReady { .. }) => panic!("there is place"),
                    Err(error) if error.is_master_unreachable() => Err(error),
                    Err(error) => panic!("{error}"),
                });
                acknowledged.push((title, partition));
                std::thread::sleep(Duration::from_millis(5));
            }
            acknowledged
        });
        for _ in 0..6 {
            std::thread::sleep(random.moment(Duration::from_millis(120)));
            rig.kill_master();
            rig.start_master();
        }
        let acknowledged = requests.join();
        stop.store(true, Ordering::Relaxed);
        acknowledged.unwrap()
    });
    let held: BTreeSet<_> = rig.placements().into_iter().collect();
    assert_eq!(
        held,
        acknowledged.iter().cloned().collect(),
        "acknowledged is held, and no more"
    );
    let partitions: BTreeSet<_> = held.iter().map(|(_, partition)| partition).collect();
    assert_eq!(
        partitions.len(),
        60,
        "no partition belongs to two instances"
    );
    for partition in client.node(&node).unwrap().partitions {
        assert_eq!(
            partition.parameter("text"),
            partition.parameter("instance_title")
        );
    }
    rig.shut_down();
}

/// `node software` is killed while it builds: no process of it goes on, the next run finishes.
#[test]
fn a_killed_build_is_finished_by_the_next_run() {
    let (rig, _) = with_services(builder());
    let mut random = Random::from_environment("killed build");
    let slow = rig.release("tests/software/slow");
    rig.supply(&slow);
    let log = rig.path().join("log/software.log");
    for round in 0..3 {
        let mut run = rig.slapos(["node", "software", "--now"]).start(&log);
        if round > 0 {
            // In the midst of it at least once; anywhere otherwise.
            eventually_some("the build is at it", SOON, || {
                let sleeping = rig
                    .processes()
                    .into_iter()
                    .any(|p| p.command.contains("sleep 3.003"));
                (sleeping || !run.is_running()).then_some(())
            });
        } else {
            std::thread::sleep(random.moment(Duration::from_millis(1500)));
        }
        run.kill();
        eventually("the build dies with the node", SOON, || {
            let left: Vec<_> = rig
                .processes()
                .into_iter()
                .filter(|process| process.directory.starts_with(rig.path().join("soft")))
                .collect();
            if left.is_empty() { Ok(()) } else { Err(left) }
        });
        assert!(!completed(&rig), "not built yet");
    }
    rig.node("software", &[]).ok();
    assert!(completed(&rig));
    rig.request("a", &slow, &[]).ok();
    rig.node("instance", &[]).ok();
    rig.shut_down();
}

/// Whether the slow release is marked as complete.
fn completed(rig: &Rig) -> bool {
    fs::read_dir(rig.path().join("soft"))
        .unwrap()
        .flatten()
        .any(|entry| {
            entry.path().join("built").exists() && entry.path().join(".completed").exists()
        })
}

/// `node instance` is killed anywhere: the next run finishes, nothing is doubled.
#[test]
fn a_killed_node_instance_is_finished_by_the_next_run() {
    let (rig, release) = with_services(builder());
    let mut random = Random::from_environment("killed node instance");
    let log = rig.path().join("log/instance.log");
    for round in 0..6 {
        for title in ["a", "b", "c"] {
            let text = format!("text={title}{round}");
            rig.request(title, &release, &["--parameters", &text, "seconds=0.2"])
                .ok();
        }
        let mut run = rig.slapos(["node", "instance", "--now"]).start(&log);
        std::thread::sleep(random.moment(Duration::from_millis(3000)));
        run.kill();
    }
    converge(&rig);
    for (title, partition) in rig.placements() {
        assert_runs_once(&rig, &partition);
        let text = format!("{title}5");
        assert_eq!(
            rig.info(&title)["connection-parameters"]["text"],
            json!(text)
        );
        assert_eq!(
            fs::read_to_string(rig.partition(&partition).join("etc/text"))
                .unwrap()
                .trim(),
            text
        );
    }
    rig.shut_down();
}

/// The supervisor is killed: the next run has one again, and every service exactly once.
#[test]
fn n_3_5_a_killed_supervisor_comes_back_and_doubles_nothing() {
    let (rig, release) = with_services(builder());
    let mut random = Random::from_environment("killed supervisor");
    for title in ["a", "b", "c"] {
        rig.request(title, &release, &[]).ok();
    }
    rig.node("instance", &[]).ok();
    for _ in 0..3 {
        std::thread::sleep(random.moment(Duration::from_millis(300)));
        let pid = rig.supervisor().expect("it runs");
        kill(pid, Signal::KILL);
        eventually_some("it is dead", SOON, || {
            (rig.supervisor() != Some(pid)).then_some(())
        });
        converge(&rig);
        for partition in ["part0", "part1", "part2"] {
            eventually("every service once", SOON, || {
                let counts = ["sleep 1000001", "sleep 1000002", "sleep 1000003"]
                    .map(|sleep| rig.services(partition, sleep).len());
                if counts == [1, 1, 1] {
                    Ok(())
                } else {
                    Err((partition, counts))
                }
            });
        }
        let status = rig.run(&["node", "status"]).stdout;
        assert_eq!(status.matches("RUNNING").count(), 6, "{status}");
    }
    // They are under its control: stopping them leaves no process.
    rig.run(&["node", "stop", "all"]).ok();
    for partition in ["part0", "part1", "part2"] {
        assert_eq!(rig.services(partition, "sleep"), []);
    }
    rig.shut_down();
}

/// `node report` is killed while it destroys: the next run finishes, and only what was to be
/// destroyed is gone.
#[test]
fn a_killed_report_is_finished_by_the_next_run() {
    let (rig, release) = with_services(builder());
    let mut random = Random::from_environment("killed report");
    let log = rig.path().join("log/report.log");
    rig.request("kept", &release, &["--parameters", "text=kept"])
        .ok();
    rig.node("instance", &[]).ok();
    let kept = rig.running("part0", "sleep", 3);
    for _ in 0..3 {
        for title in ["a", "b"] {
            rig.request(title, &release, &[]).ok();
        }
        rig.node("instance", &[]).ok();
        for title in ["a", "b"] {
            rig.request(title, &release, &["--state", "destroyed"]).ok();
        }
        let mut run = rig.slapos(["node", "report", "--now"]).start(&log);
        std::thread::sleep(random.moment(Duration::from_millis(120)));
        run.kill();
        rig.node("report", &[]).ok();
        for partition in ["part1", "part2"] {
            assert_eq!(rig.services(partition, ""), []);
            let left: Vec<_> = fs::read_dir(rig.partition(partition))
                .unwrap()
                .flatten()
                .collect();
            assert!(left.is_empty(), "{left:?}");
        }
        assert_eq!(
            rig.run(&["service", "list"]).ok().json(),
            json!({"kept": release})
        );
        rig.node("format", &[]).ok();
    }
    assert_eq!(rig.services("part0", "sleep"), kept);
    rig.shut_down();
}

/// P3: a Master that knows nothing any more is no order to destroy anything.
#[test]
fn a_master_that_lost_its_memory_destroys_nothing() {
    let (rig, release) = with_services(builder());
    rig.request("a", &release, &["--parameters", "text=mine"])
        .ok();
    rig.node("instance", &[]).ok();
    let before = rig.running("part0", "sleep", 3);
    let is_there = || {
        assert_eq!(rig.services("part0", "sleep"), before);
        assert_eq!(rig.read("inst/part0/etc/text").trim(), "mine");
        let built = |path: &std::path::Path| path.join("instance.cfg").exists();
        let soft = fs::read_dir(rig.path().join("soft")).unwrap().flatten();
        assert_eq!(soft.filter(|entry| built(&entry.path())).count(), 1);
    };
    rig.stop_master(0);
    let store = rig.path().join("store");
    fs::create_dir(&store).unwrap();
    let move_database = |from: &std::path::Path, to: &std::path::Path| {
        for entry in fs::read_dir(from).unwrap().flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with("proxy.db") {
                fs::rename(entry.path(), to.join(name)).unwrap();
            }
        }
    };
    move_database(rig.path(), &store);

    // It does not even know the node; then it knows the node, with nothing on it.
    rig.start_master();
    for command in ["software", "instance", "report"] {
        assert_ne!(rig.node(command, &[]).code(), 128 + 6, "no panic");
        is_there();
    }
    rig.node("format", &[]).ok();
    for command in ["software", "instance", "report"] {
        rig.node(command, &[]).ok();
        is_there();
    }
    rig.node("software", &["--garbage-collect"]);
    is_there();

    // The database is found again: everything goes on.
    rig.stop_master(0);
    let away = rig.path().join("away");
    fs::create_dir(&away).unwrap();
    move_database(rig.path(), &away);
    move_database(&store, rig.path());
    rig.start_master();
    for command in ["software", "instance", "report"] {
        rig.node(command, &[]).ok();
        is_there();
    }
    rig.shut_down();
}

#[test]
fn a_killed_service_is_started_again() {
    let (rig, release) = with_services(builder());
    rig.request("a", &release, &[]).ok();
    rig.node("instance", &[]).ok();
    let before = rig.running("part0", "sleep 1000002", 1)[0].pid;
    kill(before, Signal::KILL);
    // The supervisor or the next processing brings it back, whoever is first.
    eventually("the service is back", Duration::from_secs(90), || {
        let found = rig.services("part0", "sleep 1000002");
        match found.as_slice() {
            [one] if one.pid != before => Ok(()),
            _ => {
                rig.node("instance", &[]).ok();
                Err(found)
            }
        }
    });
    // Its child, which outlived it, does not run twice.
    eventually("every process once", SOON, || {
        let found = rig.services("part0", "sleep");
        if found.len() == 3 { Ok(()) } else { Err(found) }
    });
    assert_runs_once(&rig, "part0");
    rig.shut_down();
}

/// All at once, at random moments; when the faults stop, everything is as requested.
#[test]
fn when_the_faults_stop_every_instance_is_as_requested() {
    let (rig, release) = with_services(builder());
    let mut random = Random::from_environment("everything at once");
    let log = rig.path().join("log/node.log");
    let states = ["started", "stopped"];
    let mut wanted = ["started"; 3];
    for round in 0..8_u64 {
        for (index, title) in ["a", "b", "c"].into_iter().enumerate() {
            wanted[index] = states[usize::try_from(random.below(2)).unwrap()];
            let text = format!("text={title}{round}");
            rig.request(
                title,
                &release,
                &["--state", wanted[index], "--parameters", &text],
            )
            .ok();
        }
        let mut run = rig.slapos(["node", "instance", "--now"]).start(&log);
        std::thread::sleep(random.moment(Duration::from_millis(1500)));
        match random.below(4) {
            0 => {
                rig.kill_master();
                run.wait(SOON);
                rig.start_master();
            }
            1 => run.kill(),
            2 => {
                if let Some(pid) = rig.supervisor() {
                    kill(pid, Signal::KILL);
                }
                run.wait(SOON);
            }
            _ => {
                for process in rig.services("part0", "sleep") {
                    kill(process.pid, Signal::KILL);
                }
                run.wait(SOON);
            }
        }
    }
    converge(&rig);
    for (index, title) in ["a", "b", "c"].into_iter().enumerate() {
        let partition = &rig.placements()[title];
        let expected = if wanted[index] == "started" { 3 } else { 0 };
        rig.running(partition, "sleep", expected);
        assert_eq!(
            rig.info(title)["connection-parameters"]["text"],
            json!(format!("{title}7"))
        );
    }
    // To the end: destroyed means gone.
    for title in ["a", "b", "c"] {
        rig.request(title, &release, &["--state", "destroyed"]).ok();
    }
    rig.node("report", &[]).ok();
    assert_eq!(rig.run(&["service", "list"]).ok().json(), json!({}));
    for partition in ["part0", "part1", "part2"] {
        assert_eq!(rig.services(partition, ""), []);
    }
    rig.shut_down();
}

/// N 3.6: a watched service that does not stay up has its instance's tree processed again, once.
#[test]
fn n_3_6_a_service_that_keeps_dying_bangs_once() {
    let (rig, release) = with_services(builder());
    rig.request("dying", &release, &[]);
    rig.node("instance", &[]).ok();
    let id = rig.placements()["dying"].clone();
    let timestamp = || {
        let document = rig.client().node(&rig.node_id()).unwrap();
        let found = document
            .partitions
            .into_iter()
            .find(|p| p.partition.as_str() == id);
        found.unwrap().timestamp().unwrap()
    };
    let before = timestamp();
    rig.node("instance", &[]).ok();
    assert_eq!(timestamp(), before, "all is well");

    let script = rig.partition(&id).join("etc/service/watched");
    fs::write(&script, "#!/bin/sh\nexit 3\n").unwrap();
    for process in rig.services(&id, "sleep 1000002") {
        kill(process.pid, Signal::KILL);
    }
    eventually("the supervisor waits before it tries again", SOON, || {
        let run = rig.run(&["node", "status", &format!("{id}:watched-on-watch")]);
        if run.stdout.contains("BACKOFF") {
            Ok(())
        } else {
            Err(run.stdout)
        }
    });
    eventually("the bang", SOON, || {
        let run = rig.node("instance", &[]);
        if timestamp() == before {
            Err(run.stderr)
        } else {
            Ok(())
        }
    });
    let banged = fs::read_to_string(rig.partition(&id).join(".slapos_latest_bang_timestamp"));
    assert_eq!(banged.unwrap(), before);
}
