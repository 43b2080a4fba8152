//! Three nodes on a network, each in a network namespace of its own with an agent, and one Master for
//! all: what is requested runs, wherever it is, whatever breaks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod namespaces;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use namespaces::{in_namespaces, sh};
use rustix::process::Signal;
use serde_json::Value as Json;
use testkit::{Invocation, Process, Rig, Running, eventually, eventually_some, kill};

const SOON: Duration = Duration::from_secs(120);
const SERVICES: &str = "tests/software/services";
const TREE: &str = "tests/software/tree";
/// The Master's address, which every node has a way to.
const MASTER: &str = "10.99.0.1";
const NODES: usize = 3;
/// Partitions of each node.
const PARTITIONS: usize = 2;

/// Whether the test runs inside its namespaces: see [`in_namespaces`].
fn inside(test: &str) -> bool {
    if std::env::var_os("SLAPOS_TEST_INSIDE").is_none() && testkit::is_root() {
        make_builder();
    }
    in_namespaces(test)
}

/// Outside, where PyPI is: what builds releases, made once.
fn make_builder() {
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
    rig.start();
    rig.supply(&rig.release(SERVICES));
    rig.node("software", &[]).ok();
}

/// A Master, its administrator and the nodes.
struct Cloud {
    rig: Rig,
    /// What makes the Master and the agents see another time.
    clock: Vec<(&'static str, OsString)>,
}

impl Cloud {
    fn new() -> Self {
        sh(&format!("ip address add {MASTER}/32 dev lo"));
        let cloud = Cloud {
            rig: Rig::builder(env!("CARGO_BIN_EXE_slapos")).build(),
            clock: Vec::new(),
        };
        cloud.start_master();
        let welcome = cloud.rig.welcome();
        cloud
            .slapos(&["configure", "client", "--master-url", &cloud.url()])
            .args(["--token", &welcome.token])
            .args(["--fingerprint", &welcome.fingerprint])
            .run()
            .ok();
        for node in 0..NODES {
            cloud.add_node(node, &welcome.fingerprint);
        }
        cloud
    }

    fn url(&self) -> String {
        format!("https://{MASTER}:{}", self.rig.port().number())
    }

    fn start_master(&self) {
        let listen = format!("0.0.0.0:{}", self.rig.port().number());
        let start = self
            .rig
            .slapos(["master", "start", "--listen", &listen])
            .args(["--public-url", &self.url(), "--data-dir"])
            .arg(self.rig.full_master_data());
        self.rig.start_master_as(&self.with_clock(start));
    }

    /// The program, with nothing but the administrator's home.
    fn slapos(&self, line: &[&str]) -> Invocation {
        Invocation::new(&self.rig.program().path, self.rig.path().join("home")).args(line)
    }

    /// The program on a node's machine.
    fn on_node(&self, node: usize, line: &[&str]) -> Invocation {
        let namespace = namespace(node);
        self.slapos(line)
            .args(["--cfg", self.cfg(node).to_str().unwrap()])
            .through(["ip", "netns", "exec", &namespace])
    }

    fn cfg(&self, node: usize) -> PathBuf {
        self.rig.path().join(format!("n{node}/etc/slapos.cfg"))
    }

    fn instance_root(&self, node: usize) -> PathBuf {
        self.rig.path().join(format!("i{node}"))
    }

    fn add_node(&self, node: usize, fingerprint: &str) {
        let namespace = namespace(node);
        sh(&format!(
            "ip netns add {namespace}
             ip link add up{node} type veth peer name eth0 netns {namespace}
             ip address add 10.99.{}.1/24 dev up{node}
             ip link set up{node} up
             ip -n {namespace} address add 10.99.{}.2/24 dev eth0
             ip -n {namespace} link set lo up
             ip -n {namespace} link set eth0 up
             ip -n {namespace} route add default via 10.99.{}.1",
            node + 1,
            node + 1,
            node + 1
        ));
        let token = ["master", "token", "create", "--user", "admin"];
        let token = self
            .slapos(&token)
            .args(["--purpose", "node", "--data-dir"])
            .arg(self.rig.full_master_data())
            .run()
            .ok()
            .json();
        // A disk of its own, which can be full.
        let root = self.instance_root(node);
        fs::create_dir(&root).unwrap();
        sh(&format!(
            "mount -t tmpfs -o size=32m,mode=755 tmpfs {}",
            root.display()
        ));
        self.on_node(node, &["node", "register", &namespace, "--unprivileged"])
            .args(["--master-url", &self.url(), "--fingerprint", fingerprint])
            .args(["--token", token["token"].as_str().unwrap()])
            .args(["--partition-number", &PARTITIONS.to_string()])
            .args(["--instance-root", root.to_str().unwrap()])
            .run()
            .ok();
        let builder = self.rig.program().target_directory().join("test-builder");
        let own = format!(
            "software_min_free_space = 1M\ninstance_min_free_space = 0\nbuilder_directory = {}\n",
            builder.display()
        );
        let text = fs::read_to_string(self.cfg(node)).unwrap();
        let text = text.replace("\n[slapformat]", &format!("{own}\n[slapformat]"));
        fs::write(self.cfg(node), text).unwrap();
    }

    fn agent(&self, node: usize) -> Running {
        let log = self.rig.path().join(format!("log/agent{node}.log"));
        let agent = self.on_node(node, &["node", "agent"]);
        self.with_clock(agent).start(&log)
    }

    fn with_clock(&self, mut invocation: Invocation) -> Invocation {
        for (name, value) in &self.clock {
            invocation = invocation.env(name, value);
        }
        invocation
    }

    /// Has every node install a release.
    fn supply_everywhere(&self, source: &str) -> String {
        let release = self.rig.release(source);
        for node in 0..NODES {
            let name = format!("COMP-{}", node + 1);
            self.slapos(&["supply", &release, &name]).run().ok();
        }
        release
    }

    fn request(&self, title: &str, release: &str, parameters: &[&str]) {
        let run = self
            .slapos(&["request", title, release, "--parameters"])
            .args(parameters)
            .run();
        // What waits for a place is no mistake of who asks.
        assert!([0, 2].contains(&run.code()), "{run}");
    }

    /// Waits until the Master shows this text as published by the instance.
    #[track_caller]
    fn published(&self, title: &str, text: &str) {
        eventually(&format!("{title} publishes {text}"), SOON, || {
            let run = self
                .slapos(&["service", "info", title, "--output", "json"])
                .run();
            if run.code() == 0
                && run.json()["connection-parameters"]
                    .to_string()
                    .contains(text)
            {
                Ok(())
            } else {
                Err(run)
            }
        });
    }

    /// What an instance publishes.
    fn connection(&self, title: &str) -> Json {
        let info = ["service", "info", title, "--output", "json"];
        let run = self.slapos(&info).run().ok();
        run.json()["connection-parameters"].clone()
    }

    /// The partitions whose instance was given this text.
    fn with_text(&self, text: &str) -> Vec<(usize, PathBuf)> {
        let mut found = Vec::new();
        for node in 0..NODES {
            for number in 0..PARTITIONS {
                let partition = self.instance_root(node).join(format!("slappart{number}"));
                if fs::read_to_string(partition.join("etc/text")).is_ok_and(|held| held == text) {
                    found.push((node, partition));
                }
            }
        }
        found
    }

    /// The processes of an instance, each exactly once.
    #[track_caller]
    fn runs_once(&self, partition: &PathBuf) -> Vec<Process> {
        eventually("its services run", SOON, || {
            let mut found = self.rig.processes();
            found.retain(|process| {
                process.directory == *partition && process.command.contains("sleep 100000")
            });
            if found.len() == 3 {
                Ok(found)
            } else {
                Err(found)
            }
        })
    }
}

/// The library that gives a process another time of day.
fn faketime() -> Option<PathBuf> {
    let found = fs::read_dir("/usr/lib")
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists());
    if found.is_none() {
        eprintln!("SKIPPED: no libfaketime here; install the package faketime");
    }
    found
}

fn namespace(node: usize) -> String {
    format!("node{node}")
}

#[test]
fn three_nodes_and_a_master_outlive_what_breaks() {
    if !inside("three_nodes_and_a_master_outlive_what_breaks") {
        return;
    }
    let cloud = Cloud::new();
    let mut agents: Vec<Running> = (0..NODES).map(|node| cloud.agent(node)).collect();
    let release = cloud.supply_everywhere(SERVICES);

    // As many instances as there are partitions: they find their places on all three.
    let titles: Vec<String> = (0..NODES * PARTITIONS).map(|n| format!("web{n}")).collect();
    for title in &titles {
        cloud.request(title, &release, &[&format!("text=first-{title}")]);
    }
    let mut places = Vec::new();
    for title in &titles {
        cloud.published(title, &format!("first-{title}"));
        let found = cloud.with_text(&format!("first-{title}"));
        assert_eq!(found.len(), 1, "{title} is in one place: {found:?}");
        cloud.runs_once(&found[0].1);
        places.extend(found);
    }
    let on = |node: usize| {
        let index = places.iter().position(|(on, _)| *on == node).unwrap();
        (titles[index].as_str(), &places[index].1)
    };

    // A node is cut off: its instances run on, the others are served, and it catches up.
    let (cut, cut_partition) = on(1);
    let before = cloud.runs_once(cut_partition);
    sh("ip link set up1 down");
    cloud.request(cut, &release, &["text=while-cut-off"]);
    let (other, _) = on(2);
    cloud.request(other, &release, &["text=meanwhile"]);
    cloud.published(other, "meanwhile");
    assert_eq!(cloud.with_text("while-cut-off"), []);
    assert_eq!(cloud.runs_once(cut_partition), before);
    sh("ip link set up1 up");
    cloud.published(cut, "while-cut-off");

    // The Master is killed and comes back: nothing stops, and all three hear of it again.
    cloud.rig.kill_master();
    assert_eq!(cloud.runs_once(cut_partition).len(), 3);
    cloud.start_master();
    for node in 0..NODES {
        cloud.request(on(node).0, &release, &[&format!("text=again-{node}")]);
    }
    for node in 0..NODES {
        cloud.published(on(node).0, &format!("again-{node}"));
    }

    // An agent and its supervisor are killed in the midst of work.
    let (killed, partition) = on(0);
    cloud.request(killed, &release, &["seconds=3", "text=after-all"]);
    eventually_some("it is being processed", SOON, || {
        let status = cloud
            .on_node(0, &["node", "status", "--output", "json"])
            .run()
            .ok()
            .json();
        let tasks = status["agent"]["tasks"].as_array().cloned();
        let works = |task: &Json| {
            task["state"] == "running" && task["task"].as_str().unwrap().starts_with("partition")
        };
        tasks?.iter().any(works).then_some(())
    });
    agents[0].kill();
    let pid = fs::read_to_string(cloud.instance_root(0).join("var/run/supervisord.pid")).unwrap();
    kill(pid.trim().parse().unwrap(), Signal::KILL);
    agents[0] = cloud.agent(0);
    cloud.published(killed, "after-all");
    cloud.runs_once(partition);

    // One is given up, and its place is taken.
    cloud
        .slapos(&["service", "destroy", killed, "--yes"])
        .run()
        .ok();
    cloud.request("late", &release, &["text=late"]);
    cloud.published("late", "late");
    assert_eq!(cloud.with_text("late"), [(0, partition.clone())]);
    for agent in &mut agents {
        agent.signal(Signal::TERM);
        assert_eq!(agent.wait(SOON), 0, "{}", agent.output());
    }
}

#[test]
fn a_tree_spans_the_nodes_and_goes_as_a_whole() {
    if !inside("a_tree_spans_the_nodes_and_goes_as_a_whole") {
        return;
    }
    let cloud = Cloud::new();
    let mut agents: Vec<Running> = (0..NODES).map(|node| cloud.agent(node)).collect();
    let release = cloud.supply_everywhere(TREE);

    // The root finds out where its parts are, and what they say, by way of the Master.
    cloud.request("shop", &release, &["text=one"]);
    cloud.published("shop", "\"left\":\"one\"");
    cloud.published("shop", "\"right\":\"one\"");
    cloud.published("shop", "\"shared\":\"shared-one\"");
    let parts = cloud.connection("shop");
    let node_of = |part: &str| {
        let place = parts[part].as_str().unwrap().to_owned();
        let (node, partition) = place.split_once('/').unwrap();
        let node: usize = node.strip_prefix("COMP-").unwrap().parse().unwrap();
        (node - 1, partition.to_owned())
    };
    let (left, right) = (node_of("left-place"), node_of("right-place"));
    assert_ne!(left.0, right.0, "they fill the nodes evenly");
    let host = node_of("shared-place");
    assert!(
        host == left || host == right,
        "one of them serves the shared one"
    );

    // What the root is told reaches all of them, also where a node was cut off meanwhile.
    sh(&format!("ip link set up{} down", right.0));
    cloud.request("shop", &release, &["text=two"]);
    cloud.published("shop", "\"left\":\"two\"");
    assert_eq!(cloud.connection("shop")["right"], "one");
    sh(&format!("ip link set up{} up", right.0));
    cloud.published("shop", "\"right\":\"two\"");
    cloud.published("shop", "\"shared\":\"shared-two\"");

    // With the root goes everything it asked for, everywhere.
    cloud
        .slapos(&["service", "destroy", "shop", "--yes"])
        .run()
        .ok();
    eventually("nothing is left of the tree", SOON, || {
        let mut left = Vec::new();
        for node in 0..NODES {
            for number in 0..PARTITIONS {
                let partition = cloud.instance_root(node).join(format!("slappart{number}"));
                left.extend(
                    fs::read_dir(&partition)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
            }
        }
        // What format wrote stays.
        left.retain(|path| !path.ends_with(".slapos-resource"));
        let mut processes = cloud.rig.processes();
        processes.retain(|process| process.command.contains("sleep 100000"));
        if left.is_empty() && processes.is_empty() {
            Ok(())
        } else {
            Err((left, processes))
        }
    });
    for agent in &mut agents {
        agent.signal(Signal::TERM);
        assert_eq!(agent.wait(SOON), 0, "{}", agent.output());
    }
}

#[test]
fn a_full_disk_is_told_hurts_nobody_else_and_is_got_over() {
    if !inside("a_full_disk_is_told_hurts_nobody_else_and_is_got_over") {
        return;
    }
    let cloud = Cloud::new();
    let _agents: Vec<Running> = (0..NODES).map(|node| cloud.agent(node)).collect();
    let release = cloud.supply_everywhere(SERVICES);
    for (title, node) in [("full", "COMP-1"), ("other", "COMP-2")] {
        let place = ["--node", &format!("computer_guid={node}")];
        cloud
            .slapos(&["request", title, &release, "--parameters", "text=before"])
            .args(place)
            .run();
        cloud.published(title, "before");
    }
    let partition = cloud.instance_root(0).join("slappart0");
    let before = cloud.runs_once(&partition);

    // Not a byte is left: what it shall be cannot be written, and nothing of what it is gets lost.
    let filler = cloud.instance_root(0).join("filler");
    let _ = std::process::Command::new("dd")
        .args(["if=/dev/zero", "bs=4k", "status=none"])
        .arg(format!("of={}", filler.display()))
        .status();
    for title in ["full", "other"] {
        // More than what is freed on the way.
        cloud.request(
            title,
            &release,
            &[&format!("text=after{}", "!".repeat(100_000))],
        );
    }
    cloud.published("other", "after");
    eventually("its failure is told", SOON, || {
        let info = cloud
            .slapos(&["service", "info", "full", "--output", "json"])
            .run();
        if info.json()["status"] == "red" {
            Ok(())
        } else {
            Err(info)
        }
    });
    assert_eq!(cloud.runs_once(&partition), before);

    fs::remove_file(&filler).unwrap();
    cloud.published("full", "after");
    cloud.runs_once(&partition);
}

#[test]
fn clocks_may_jump() {
    let Some(faketime) = faketime() else { return };
    if !inside("clocks_may_jump") {
        return;
    }
    let mut cloud = Cloud::new();
    let clock = cloud.rig.write("clock", "+0");
    cloud.clock = vec![
        ("LD_PRELOAD", faketime.into_os_string()),
        ("FAKETIME_TIMESTAMP_FILE", clock.clone().into_os_string()),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("FAKETIME_ONLY_CMDS", "slapos".into()),
        ("DONT_FAKE_MONOTONIC", "1".into()),
    ];
    cloud.rig.kill_master();
    cloud.start_master();
    let _agents: Vec<Running> = (0..NODES).map(|node| cloud.agent(node)).collect();
    let release = cloud.supply_everywhere(SERVICES);
    cloud.request("web", &release, &["text=now"]);
    cloud.published("web", "now");
    let (_, partition) = cloud.with_text("now").remove(0);
    let before = cloud.runs_once(&partition);

    // Half a day ahead, a day back from there, and right again: everything is done as at any other time, and
    // what did not change is left alone.
    for (offset, text) in [("+12h", "ahead"), ("-12h", "back"), ("+0", "right")] {
        fs::write(&clock, offset).unwrap();
        assert_eq!(cloud.runs_once(&partition), before);
        cloud.request("web", &release, &[&format!("text={text}")]);
        cloud.published("web", text);
        let other = format!("new-{text}");
        cloud.request(&other, &release, &[&format!("text={other}")]);
        cloud.published(&other, &other);
    }
}
