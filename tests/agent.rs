//! The daemon of the node: with real processes, from a request to a running service and back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value as Json;
use testkit::{Rig, Running, eventually, eventually_some, kill};

const SOON: Duration = Duration::from_secs(60);
const SERVICES: &str = "tests/software/services";

fn rig() -> Rig {
    Rig::builder(env!("CARGO_BIN_EXE_slapos"))
        .option("promise_timeout = 5")
        .build()
}

fn agent(rig: &Rig) -> Running {
    rig.slapos(["node", "agent"])
        .start(&rig.path().join("log/agent.log"))
}

/// What the agent says it does.
fn status(rig: &Rig) -> Json {
    rig.run(&["node", "status", "--output", "json"]).ok().json()["agent"].clone()
}

/// Waits until the Master knows what the node has.
fn prepared(rig: &Rig) {
    eventually("the Master knows the partitions", SOON, || {
        match rig.client().node(&rig.node_id()) {
            Ok(document) if document.partitions.len() == 3 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// Where an instance is, once it is somewhere.
fn place(rig: &Rig, title: &str) -> String {
    eventually_some(&format!("{title} has a partition"), SOON, || {
        rig.placements().get(title).cloned()
    })
}

/// Waits until the Master shows this text as published by the instance.
fn published(rig: &Rig, title: &str, text: &str) {
    eventually(&format!("{title} publishes {text}"), SOON, || {
        let info = rig.info(title);
        let found = info["connection-parameters"].to_string();
        if found.contains(text) {
            Ok(())
        } else {
            Err(found)
        }
    });
}

#[test]
fn from_request_to_service_and_back_without_another_word() {
    let rig = rig();
    rig.start_master();
    let mut agent = agent(&rig);
    // The agent prepares the machine itself; only then the Master knows the node.
    let release = rig.release(SERVICES);
    prepared(&rig);
    rig.supply(&release);
    rig.request("one", &release, &["--parameters", "text=first"]);
    let id = place(&rig, "one");
    published(&rig, "one", "first");
    rig.running(&id, "sleep 1000001", 1);
    rig.running(&id, "sleep 1000002", 1);

    rig.request("one", &release, &["--parameters", "text=second"]);
    published(&rig, "one", "second");

    rig.request("one", &release, &["--state", "stopped"]);
    rig.running(&id, "sleep 1000002", 0);
    rig.request("one", &release, &["--state", "started"]);
    rig.running(&id, "sleep 1000002", 1);

    let before = status(&rig);
    assert_eq!(before["pid"], agent.pid(), "{before}");
    assert_eq!(before["master"]["state"], "events", "{before}");

    rig.request("one", &release, &["--state", "destroyed"]);
    eventually("its partition is empty", SOON, || {
        let left: Vec<_> = fs::read_dir(rig.partition(&id))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name != ".slapos-resource" && name != ".slapgrid")
            .collect();
        let listed = rig.placements().contains_key("one");
        if left.is_empty() && !listed {
            Ok(())
        } else {
            Err((left, listed))
        }
    });
    // And is ready for the next one.
    rig.request("two", &release, &["--parameters", "text=third"]);
    published(&rig, "two", "third");

    let id = place(&rig, "two");
    rig.running(&id, "sleep 1000002", 1);

    agent.signal(Signal::TERM);
    assert_eq!(agent.wait(SOON), 0, "{}", agent.output());
    // Its services do not need it.
    rig.running(&id, "sleep 1000002", 1);
    assert!(rig.run(&["node", "status", "--output", "json"]).ok().json()["agent"].is_null());
}

/// What a person does meanwhile, whatever is killed, and a Master that goes and comes.
#[test]
fn it_goes_on_whatever_happens_around_it() {
    let rig = rig();
    rig.start_master();
    let mut first = agent(&rig);
    let release = rig.release(SERVICES);
    prepared(&rig);
    rig.supply(&release);
    rig.request("one", &release, &["--parameters", "text=first"]);
    published(&rig, "one", "first");
    let id = place(&rig, "one");

    // A second agent is refused, and says whom it would disturb.
    let second = rig.run(&["node", "agent"]);
    assert_eq!(second.code(), 10, "{second}");
    assert!(second.stderr.contains(&first.pid().to_string()), "{second}");

    // The one-shot commands work beside it: at most they meet the agent at work.
    for command in ["software", "instance", "report", "promise", "format"] {
        eventually(command, SOON, || {
            let run = rig.node(command, &[]);
            match run.code() {
                0 => Ok(()),
                10 => Err(run.stderr),
                _ => panic!("{run}"),
            }
        });
    }

    // A promise that somebody adds is checked without waiting for anything else.
    let promise = rig.partition(&id).join("etc/promise/added");
    let seen = rig.path().join("seen");
    fs::write(&promise, format!("#!/bin/sh\ntouch {}\n", seen.display())).unwrap();
    fs::set_permissions(&promise, fs::Permissions::from_mode(0o755)).unwrap();
    eventually("the new promise is checked", SOON, || {
        seen.exists().then_some(()).ok_or("not yet")
    });

    // The agent is killed in the middle of its work; the next one finishes it.
    rig.request("slow", &release, &["--parameters", "seconds=30"]);
    let slow = place(&rig, "slow");
    eventually("it is being processed", SOON, || {
        let tasks = status(&rig)["tasks"].clone();
        let name = format!("partition {slow}");
        let found = tasks
            .as_array()
            .into_iter()
            .flatten()
            .find(|task| task["task"] == name);
        match found {
            Some(task) if task["state"] == "running" => Ok(()),
            _ => Err(tasks),
        }
    });
    first.kill();
    rig.request("slow", &release, &["--parameters", "text=quick"]);
    let mut next = agent(&rig);
    published(&rig, "slow", "quick");

    // The Master is away: what runs goes on, and the agent says what it waits for.
    rig.kill_master();
    eventually("it knows", SOON, || {
        let master = status(&rig)["master"].clone();
        if master["state"] == "away" {
            Ok(())
        } else {
            Err(master)
        }
    });
    rig.running(&id, "sleep 1000002", 1);
    // A service that is killed comes back, without the Master.
    for process in rig.services(&id, "sleep 1000002") {
        kill(process.pid, Signal::KILL);
    }
    rig.running(&id, "sleep 1000002", 1);
    rig.start_master();
    rig.request("one", &release, &["--parameters", "text=again"]);
    published(&rig, "one", "again");

    // The supervisor is killed: its services stay, and are looked after again.
    let before = rig.running(&id, "sleep 1000002", 1);
    let supervisor = rig.supervisor().unwrap();
    kill(supervisor, Signal::KILL);
    eventually("another supervisor", SOON, || match rig.supervisor() {
        Some(pid) if pid != supervisor => Ok(()),
        other => Err(other),
    });
    assert_eq!(rig.running(&id, "sleep 1000002", 1)[0].pid, before[0].pid);

    // A new configuration, without losing anything.
    let cfg = rig
        .read("slapos.cfg")
        .replace("promise_timeout = 5", "promise_timeout = 6");
    rig.write("slapos.cfg", cfg);
    next.signal(Signal::HUP);
    rig.request("one", &release, &["--parameters", "text=reloaded"]);
    published(&rig, "one", "reloaded");
    eventually("nothing of the session before is left", SOON, || {
        let threads = fs::read_dir(format!("/proc/{}/task", next.pid())).unwrap();
        let names = threads
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        let answering = names.filter(|name| name.trim() == "status").count();
        if answering == 1 {
            Ok(())
        } else {
            Err(answering)
        }
    });
    next.signal(Signal::TERM);
    assert_eq!(next.wait(SOON), 0, "{}", next.output());
}

/// From a plugin that begins to fail to what the user of the instance sees, and back.
#[test]
fn a_promise_that_begins_to_fail_is_known_at_once() {
    const PLUGIN: &str = "\
from zope.interface import implementer
from slapos.grid.promise import interface
from slapos.grid.promise.generic import GenericPromise

@implementer(interface.IPromise)
class RunPromise(GenericPromise):
  def __init__(self, config):
    super(RunPromise, self).__init__(config)
    self.allowBang(False)
  def sense(self):
";
    let rig = rig();
    rig.start_master();
    let mut agent = agent(&rig);
    let release = rig.release(SERVICES);
    prepared(&rig);
    rig.supply(&release);
    rig.request("one", &release, &[]);
    let id = place(&rig, "one");
    let promises = |what: &str, arguments: &[&str], expected: &str| {
        eventually(what, SOON, || {
            let run = rig.slapos(["service", "promises", "one", "-o", "name"]);
            let found = run.args(arguments).run().stdout;
            if found == expected {
                Ok(())
            } else {
                Err(found)
            }
        });
    };
    promises("the Master knows them", &[], "healthy\n");
    let plugin = rig.partition(&id).join("etc/plugin/mood.py");
    fs::create_dir_all(plugin.parent().unwrap()).unwrap();
    let feel = |body: &str| {
        // Whole at once.
        let new = rig.write("new", format!("{PLUGIN}    self.logger.{body}\n"));
        fs::rename(new, &plugin).unwrap();
        // A directory that was just made may not be watched yet.
        fs::write(rig.partition(&id).join("etc/promise/touched"), "").unwrap();
    };
    feel("error('grumpy')");
    promises("it fails", &["--failing"], "mood\n");
    eventually("the service is in error", SOON, || {
        let list = rig.run(&["service", "list", "-o", "table"]).ok().stdout;
        if list.contains("error") {
            Ok(())
        } else {
            Err(list)
        }
    });
    feel("info('merry')");
    promises("it is well again", &["--failing"], "");
    promises("both are there", &[], "healthy\nmood\n");
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait(SOON), 0, "{}", agent.output());
}

/// After a reboot without a Master everything runs as before (P7).
#[test]
fn without_a_master_what_ran_runs_again() {
    let rig = rig();
    rig.start_master();
    let mut first = agent(&rig);
    let release = rig.release(SERVICES);
    prepared(&rig);
    rig.supply(&release);
    rig.request("one", &release, &[]);
    let id = place(&rig, "one");
    rig.running(&id, "sleep 1000002", 1);
    // As if the power had gone.
    first.kill();
    rig.shut_down();
    rig.running(&id, "sleep 1000002", 0);

    let mut second = agent(&rig);
    rig.running(&id, "sleep 1000002", 1);
    assert_eq!(status(&rig)["master"]["state"], "away");
    second.signal(Signal::TERM);
    assert_eq!(second.wait(SOON), 0, "{}", second.output());
}

/// What systemd is given: it has to understand all of it.
#[test]
fn the_systemd_units_are_valid() {
    for (name, command) in [
        ("slapos-node.service", "node agent"),
        ("slapos-master.service", "master start"),
    ] {
        let text = fs::read_to_string(testkit::project().join("packaging/systemd").join(name));
        let text = text.unwrap();
        assert!(text.contains(&format!("ExecStart=/usr/local/bin/slapos {command}\n")));
        let directory = rig();
        // The program is not where it will be, and has no manual there.
        let text: String = text
            .replace("/usr/local/bin/slapos", env!("CARGO_BIN_EXE_slapos"))
            .lines()
            .filter(|line| !line.starts_with("Documentation="))
            .flat_map(|line| [line, "\n"])
            .collect();
        let unit = directory.write(name, text);
        let Ok(output) = std::process::Command::new("systemd-analyze")
            .arg("verify")
            .arg(unit)
            .output()
        else {
            println!("SKIPPED: there is no systemd-analyze on this machine");
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{name}: {said}");
    }
}

/// The agent works, and the release is there.
fn with_release(rig: &Rig) -> (Running, String) {
    rig.start_master();
    let running = agent(rig);
    prepared(rig);
    let release = rig.release(SERVICES);
    rig.supply(&release);
    (running, release)
}

/// A release that is being built for ten minutes.
fn endless(rig: &Rig) -> String {
    let slow = rig.release("tests/software/slow");
    let longer = fs::read_to_string(&slow)
        .unwrap()
        .replace("3.003", "600.003");
    fs::write(&slow, longer).unwrap();
    slow
}

/// What the agent says about one task, such as `partition part0`.
fn task(rig: &Rig, name: &str) -> Json {
    let status = status(rig);
    let tasks = status["tasks"].as_array().cloned().unwrap_or_default();
    tasks
        .into_iter()
        .find(|task| task["task"] == name)
        .unwrap_or(Json::Null)
}

/// Waits until the agent says this about a task.
fn task_is(rig: &Rig, name: &str, what: &str, holds: impl Fn(&Json) -> bool) -> Json {
    eventually(&format!("{name} {what}"), SOON, || {
        let task = task(rig, name);
        if holds(&task) { Ok(task) } else { Err(task) }
    })
}

/// The processes of an instance, each exactly once.
fn runs_once(rig: &Rig, partition: &str) {
    for sleep in ["sleep 1000001", "sleep 1000002", "sleep 1000003"] {
        rig.running(partition, sleep, 1);
    }
}

#[test]
fn a_slow_build_and_a_failing_neighbour_delay_nobody() {
    let rig = rig();
    let (_agent, release) = with_release(&rig);
    let slow = endless(&rig);
    rig.supply(&slow);
    let building = format!("release {slow}");
    task_is(&rig, &building, "is being built", |task| {
        task["state"] == "running"
    });

    rig.request("bad", &release, &["--parameters", "profile=fail"]);
    rig.request("good", &release, &["--parameters", "text=fine"]);
    published(&rig, "good", "fine");
    runs_once(&rig, &place(&rig, "good"));
    let bad = place(&rig, "bad");
    let told = task_is(&rig, &format!("partition {bad}"), "failed", |task| {
        task["failures"].as_u64() > Some(0)
    });
    assert!(
        told["trouble"].as_str().unwrap().contains("asked to fail"),
        "{told}"
    );
    assert_eq!(task(&rig, &building)["state"], "running");

    // Repaired by its owner, it does not wait for its next try.
    rig.request("bad", &release, &["--parameters", "profile=work"]);
    runs_once(&rig, &bad);
    task_is(&rig, &format!("partition {bad}"), "is well", |task| {
        task["failures"] == 0 && task["trouble"].is_null()
    });
}

#[test]
fn killed_in_the_midst_of_work_the_next_one_goes_on() {
    let rig = rig();
    let (mut first, release) = with_release(&rig);
    rig.request(
        "one",
        &release,
        &["--parameters", "seconds=3", "text=whole"],
    );
    let id = place(&rig, "one");
    let name = format!("partition {id}");
    task_is(&rig, &name, "is being done", |task| {
        task["state"] == "running"
    });
    first.kill();

    let mut second = agent(&rig);
    published(&rig, "one", "whole");
    runs_once(&rig, &id);
    // Politely stopped in the midst of it, it leaves no half-started work behind.
    rig.request("one", &release, &["--parameters", "seconds=600"]);
    task_is(&rig, &name, "is being done", |task| {
        task["state"] == "running"
    });
    second.signal(Signal::TERM);
    assert_eq!(second.wait(SOON), 0, "{}", second.output());
    assert_eq!(rig.services(&id, "buildout"), []);
    runs_once(&rig, &id);
}

#[test]
fn who_types_a_command_meanwhile_is_respected() {
    let rig = rig();
    let (_agent, release) = with_release(&rig);
    rig.request("one", &release, &["--parameters", "text=first"]);
    let id = place(&rig, "one");
    let name = format!("partition {id}");
    task_is(&rig, &name, "is done", |task| task["state"] == "scheduled");
    // An idle agent is in nobody's way.
    for command in ["software", "instance", "report"] {
        rig.node(command, &[]).ok();
    }
    // One at work says who it is.
    rig.request(
        "one",
        &release,
        &["--parameters", "seconds=4", "text=second"],
    );
    task_is(&rig, &name, "is being done", |task| {
        task["state"] == "running"
    });
    rig.node("instance", &[]).exits(10);
    published(&rig, "one", "second");
    task_is(&rig, &name, "is done", |task| task["state"] == "scheduled");

    // And it waits for a person's command without calling that a failure.
    let by_hand = rig
        .slapos(["node", "instance", "--now", "--force"])
        .start(&rig.path().join("log/by-hand.log"));
    eventually("the command works", SOON, || {
        fs::metadata(rig.path().join("run/instance.pid")).map(drop)
    });
    rig.request(
        "one",
        &release,
        &["--parameters", "seconds=0", "text=third"],
    );
    let mut by_hand = by_hand;
    assert_eq!(by_hand.wait(SOON), 0, "{}", by_hand.output());
    published(&rig, "one", "third");
    let task = task_is(&rig, &name, "is done", |task| task["state"] == "scheduled");
    assert_eq!(task["failures"], 0, "{task}");
}

#[test]
fn a_new_configuration_is_read_without_stopping() {
    let rig = rig();
    let (mut agent, release) = with_release(&rig);
    rig.request("one", &release, &[]);
    let id = place(&rig, "one");
    runs_once(&rig, &id);
    let services = rig.services(&id, "sleep");
    // What takes an hour is not waited for, and not broken off.
    let slow = endless(&rig);
    rig.supply(&slow);
    task_is(&rig, &format!("release {slow}"), "is built", |task| {
        task["state"] == "running"
    });
    let builds = || {
        rig.processes()
            .into_iter()
            .filter(|process| process.command.contains("600.003"))
    };
    eventually_some("it builds", SOON, || builds().next());
    let build = builds().map(|process| process.pid).collect::<Vec<_>>();

    // An unusable one changes nothing.
    let text = rig.read("slapos.cfg");
    rig.write("slapos.cfg", "[slapos]\n");
    agent.signal(Signal::HUP);
    agent.wait_for_output("going on with the configuration from before", SOON);
    let definition = format!(
        "{}\n[partition_3]\naddress = 127.0.0.1/255.255.255.255 \
         ::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\nuser = {}\n\
         network_interface = tap3\npathname = part3\n",
        rig.read("definition.cfg"),
        rig.read("definition.cfg")
            .lines()
            .find_map(|line| line.strip_prefix("software_user = "))
            .unwrap()
    );
    rig.write("definition.cfg", definition);
    rig.write(
        "slapos.cfg",
        text.replace("partition_amount = 3", "partition_amount = 4"),
    );
    agent.signal(Signal::HUP);
    eventually("the new partition is there", SOON, || {
        fs::metadata(rig.partition("part3")).map(drop)
    });
    assert_eq!(rig.services(&id, "sleep"), services);
    rig.request("two", &release, &["--parameters", "text=new"]);
    published(&rig, "two", "new");
    assert_eq!(
        builds().map(|process| process.pid).collect::<Vec<_>>(),
        build
    );
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait(SOON), 0, "{}", agent.output());
    assert_eq!(builds().count(), 0);
}

/// What systemd would hear.
#[test]
fn the_service_manager_is_told() {
    let rig = rig();
    rig.start_master();
    let path = rig.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let mut agent = rig
        .slapos(["node", "agent"])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000")
        .start(&rig.path().join("log/agent.log"));
    let heard = |word: &str| {
        let mut buffer = [0; 2048];
        loop {
            let length = manager.recv(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with(word) {
                return text;
            }
        }
    };
    heard("READY=1");
    heard("STATUS=");
    for _ in 0..3 {
        heard("WATCHDOG=1");
    }
    agent.signal(Signal::HUP);
    heard("RELOADING=1");
    heard("READY=1");
    agent.signal(Signal::TERM);
    heard("STOPPING=1");
    assert_eq!(agent.wait(SOON), 0, "{}", agent.output());
}

#[test]
fn without_a_master_promises_are_checked_and_nothing_is_forgotten() {
    let rig = rig();
    let (agent, release) = with_release(&rig);
    rig.request("one", &release, &["--parameters", "text=before"]);
    published(&rig, "one", "before");
    let id = place(&rig, "one");
    let name = format!("partition {id}");
    task_is(&rig, &name, "is done", |task| task["state"] == "scheduled");
    runs_once(&rig, &id);
    let services = rig.services(&id, "sleep");

    rig.kill_master();
    master_is(&rig, "away");
    let seen = rig.path().join("seen");
    let promise = rig.partition(&id).join("etc/promise/extra");
    fs::write(&promise, format!("#!/bin/sh\ntouch {}\n", seen.display())).unwrap();
    fs::set_permissions(&promise, fs::Permissions::from_mode(0o755)).unwrap();
    eventually("the new promise is checked", SOON, || {
        fs::metadata(&seen).map(drop)
    });
    assert_eq!(rig.services(&id, "sleep"), services, "they run on");

    // This Master remembers no reports; it is told again.
    rig.start_master();
    master_is(&rig, "events");
    eventually("the Master knows that it works", SOON, || {
        let status = rig
            .client()
            .partition_status(&rig.node_id(), &id.parse().unwrap())
            .unwrap();
        if status.text.starts_with("#access") {
            Ok(())
        } else {
            Err(status.text)
        }
    });
    rig.request("one", &release, &["--parameters", "text=after"]);
    published(&rig, "one", "after");
    // It did not go round in circles meanwhile.
    let looks = agent.output().matches("already up to date").count();
    assert!(looks < 20, "{looks}:\n{}", agent.output());
}

/// Waits until the agent says this about the Master.
fn master_is(rig: &Rig, state: &str) {
    eventually(&format!("the Master is {state}"), SOON, || {
        let master = status(rig)["master"].clone();
        if master["state"] == state {
            Ok(())
        } else {
            Err(master)
        }
    });
}

/// N 3.6: the supervisor tells of a process that does not come back; nobody waits for the next look.
#[test]
fn a_service_that_dies_for_good_is_known_at_once() {
    let rig = rig();
    let (_agent, release) = with_release(&rig);
    rig.request("one", &release, &[]);
    published(&rig, "one", "hello");
    let id = place(&rig, "one");
    runs_once(&rig, &id);
    // The next look is farther away than the patience of this test: the supervisor is heard.
    let far = |task: &Json| task["due_seconds"].as_u64() > Some(2 * SOON.as_secs());
    task_is(&rig, "services", "is done rarely", far);

    // It cannot be executed again, and that this was changed has been looked at.
    let script = rig.partition(&id).join("etc/service/watched");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
    let seen = rig.path().join("seen");
    let promise = rig.partition(&id).join("etc/promise/added");
    fs::write(&promise, format!("#!/bin/sh\ntouch {}\n", seen.display())).unwrap();
    fs::set_permissions(&promise, fs::Permissions::from_mode(0o755)).unwrap();
    eventually("the new promise is checked", SOON, || fs::metadata(&seen));
    task_is(&rig, &format!("partition {id}"), "is done", |task| {
        task["state"] == "scheduled"
    });
    let banged = rig.partition(&id).join(".slapos_latest_bang_timestamp");
    assert!(!banged.exists());

    for process in rig.services(&id, "sleep 1000002") {
        kill(process.pid, Signal::KILL);
    }
    eventually("the bang", SOON, || fs::metadata(&banged));
    // What a look finds is looked at again soon; there was none.
    let services = task(&rig, "services");
    assert!(far(&services), "{services}");
}

/// It waits longer each time, but it is not forgotten.
#[test]
fn a_program_that_is_killed_again_and_again_lives_in_the_end() {
    let rig = rig();
    let (_agent, release) = with_release(&rig);
    rig.request("one", &release, &[]);
    published(&rig, "one", "hello");
    let id = place(&rig, "one");
    let first = rig.running(&id, "sleep 1000001", 1);
    let script = rig.partition(&id).join("etc/run/program");
    let starts = rig.path().join("starts");
    let text = format!(
        "#!/bin/sh\necho >>{0}\n[ $(/usr/bin/wc -l <{0}) -lt 3 ] && kill -9 $$\n\
         exec /bin/sleep 1000077\n",
        starts.display()
    );
    fs::write(&script, text).unwrap();
    kill(first[0].pid, Signal::KILL);
    rig.running(&id, "sleep 1000077", 1);
    assert_eq!(fs::read(&starts).unwrap(), b"\n\n\n");
}

#[test]
fn n_6_6_what_is_used_is_measured_again_and_again() {
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos"))
        .option("collect_interval = 1")
        .build();
    rig.start_master();
    let _agent = agent(&rig);
    let metrics = rig.path().join("inst/var/data-log/metrics.prom");
    let measured = |than: Option<std::time::SystemTime>| {
        eventually_some("figures are written", SOON, || {
            let written = fs::metadata(&metrics).ok()?.modified().ok()?;
            (Some(written) > than).then_some(written)
        })
    };
    let first = measured(None);
    measured(Some(first));
    let task = task(&rig, "collect");
    assert_ne!(task["state"], "failed", "{task}");
}
