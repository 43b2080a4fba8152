//! Three nodes on a network, each in a network namespace of its own with an agent, and one Master for
//! all: what is requested runs, wherever it is, whatever breaks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod namespaces;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use namespaces::{in_namespaces, sh};
use rustix::process::Signal;
use serde_json::Value as Json;
use testkit::{Invocation, Process, Rig, Running, eventually, eventually_some, kill};

const SOON: Duration = Duration::from_secs(120);
const SERVICES: &str = "tests/software/services";
/// The Master's address, which every node has a way to.
const MASTER: &str = "10.99.0.1";
const NODES: usize = 3;
/// Partitions of each node.
const PARTITIONS: usize = 2;

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
}

impl Cloud {
    fn new() -> Self {
        sh(&format!("ip address add {MASTER}/32 dev lo"));
        let cloud = Cloud {
            rig: Rig::builder(env!("CARGO_BIN_EXE_slapos")).build(),
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
        self.rig.start_master_as(&start);
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
        let root = self.instance_root(node);
        fs::create_dir(&root).unwrap();
        self.on_node(node, &["node", "register", &namespace, "--unprivileged"])
            .args(["--master-url", &self.url(), "--fingerprint", fingerprint])
            .args(["--token", token["token"].as_str().unwrap()])
            .args(["--partition-number", &PARTITIONS.to_string()])
            .args(["--instance-root", root.to_str().unwrap()])
            .run()
            .ok();
        let builder = self.rig.program().target_directory().join("test-builder");
        let own = format!(
            "software_min_free_space = 1M\ninstance_min_free_space = 1M\nbuilder_directory = {}\n",
            builder.display()
        );
        let text = fs::read_to_string(self.cfg(node)).unwrap();
        let text = text.replace("\n[slapformat]", &format!("{own}\n[slapformat]"));
        fs::write(self.cfg(node), text).unwrap();
    }

    fn agent(&self, node: usize) -> Running {
        let log = self.rig.path().join(format!("log/agent{node}.log"));
        self.on_node(node, &["node", "agent"]).start(&log)
    }

    fn request(&self, title: &str, release: &str, parameters: &[&str]) {
        // What waits for a place is no mistake of who asks.
        self.slapos(&["request", title, release, "--parameters"])
            .args(parameters)
            .run();
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

fn namespace(node: usize) -> String {
    format!("node{node}")
}

#[test]
fn three_nodes_and_a_master_outlive_what_breaks() {
    if std::env::var_os("SLAPOS_TEST_INSIDE").is_none() && testkit::is_root() {
        make_builder();
    }
    if !in_namespaces("three_nodes_and_a_master_outlive_what_breaks") {
        return;
    }
    let cloud = Cloud::new();
    let mut agents: Vec<Running> = (0..NODES).map(|node| cloud.agent(node)).collect();
    let release = cloud.rig.release(SERVICES);
    for node in 0..NODES {
        let name = format!("COMP-{}", node + 1);
        cloud.slapos(&["supply", &release, &name]).run().ok();
    }

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
