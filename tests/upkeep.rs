//! What an administrator runs on a node besides its daily work: `node boot` (N 6.1), `node prune`
//! (N 6.5).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod namespaces;

use std::fs;
use std::path::Path;
use std::time::Duration;

use namespaces::{in_namespaces, sh};
use rustix::process::Signal;
use testkit::{Peer, Rig, Running};

const DEADLINE: Duration = Duration::from_secs(60);

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Shared parts `<letter>…` of which `used` names some, one of them through another.
fn shared_parts(rig: &Rig) {
    let hash = |letter: char| letter.to_string().repeat(32);
    for (letter, uses) in [('a', "b"), ('b', ""), ('c', "d"), ('d', ""), ('e', "")] {
        let part = rig.path().join(format!("shared/lib/{}", hash(letter)));
        let uses: String = uses.chars().map(hash).collect();
        write(
            &part.join(".buildout-shared.json"),
            &format!("{{\"x\": \"/shared/{uses}\"}}"),
        );
        write(&part.join("lib.so"), "library");
    }
    let release = rig.path().join("soft/11112222333344445555666677778888");
    write(
        &release.join(".installed.cfg"),
        &format!("[lib]\nlocation = /srv/shared/lib/{}\n", hash('a')),
    );
    write(
        &release.join("bin/run"),
        &format!("#!/srv/shared/{}/bin/sh\n", hash('e')),
    );
}

/// The parts a run speaks of, by their first letter.
fn named(text: &str) -> String {
    let mut letters: Vec<char> = text
        .lines()
        .filter_map(|line| line.split_once("/shared/lib/"))
        .filter_map(|(_, hash)| hash.chars().next())
        .collect();
    letters.sort_unstable();
    letters.into_iter().collect()
}

fn rig() -> Rig {
    let directory = |rig: &Rig| format!("shared_part_list = {}/shared", rig.path().display());
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
    let file = rig.read("slapos.cfg");
    let line = directory(&rig);
    rig.write(
        "slapos.cfg",
        file.replacen("[slapos]", &format!("[slapos]\n{line}"), 1),
    );
    shared_parts(&rig);
    rig
}

#[test]
fn n_6_5_prune_says_what_goes_and_then_it_is_gone() {
    let rig = rig();
    let trial = rig.run(&["node", "prune", "--dry-run"]).ok();
    assert_eq!(named(&trial.stdout), "cd", "{trial}");
    let trial = trial.says("2 parts").says("would be removed");
    assert!(!trial.stdout.contains("... removed"), "{trial}");
    assert!(rig.path().join("shared/lib").join("c".repeat(32)).exists());
    let run = rig.run(&["node", "prune"]).ok();
    assert_eq!(named(&run.stdout), "cd", "{run}");
    let run = run.says("... removed");
    assert!(!run.stderr.contains("error"), "{run}");
    let mut left: Vec<_> = fs::read_dir(rig.path().join("shared/lib"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["a", "b", "e"].map(|letter| letter.repeat(32)));
    rig.run(&["node", "prune"])
        .ok()
        .says("no unused shared parts");
}

#[test]
fn n_6_5_prune_refuses_with_upstreams_code() {
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
    rig.run(&["node", "prune"])
        .exits(255)
        .says("`shared_part_list` is not set");
}

#[test]
fn n_6_5_upstreams_prune_finds_the_same() {
    let rig = rig();
    let Some(peer) = Peer::get(&rig) else { return };
    let theirs = peer.node(&rig, &["prune", "--dry-run"]).run().ok();
    let ours = rig.run(&["node", "prune", "--dry-run"]).ok();
    assert_eq!(named(&ours.stdout), named(&theirs.stderr), "{theirs}{ours}");
}

/// A formatted node whose partitions are as the Master wants them, with a Master that is away.
fn restarted() -> Rig {
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos"))
        .partitions(2)
        .build();
    rig.start();
    for name in ["part0", "part1"] {
        fs::write(rig.partition(name).join(".timestamp"), "1").unwrap();
    }
    fs::create_dir(rig.path().join("inst/other")).unwrap();
    fs::write(rig.path().join("inst/other/.timestamp"), "1").unwrap();
    rig.stop_master(0);
    rig
}

fn marks(rig: &Rig) -> usize {
    let names = ["part0", "part1", "other"];
    names
        .iter()
        .filter(|name| rig.partition(name).join(".timestamp").exists())
        .count()
}

fn boot(rig: &Rig, arguments: &[&str]) -> Running {
    rig.slapos(["node", "boot"])
        .args(arguments)
        .start(&rig.path().join("log/boot.log"))
}

#[test]
fn n_6_1_boot_waits_for_the_master_and_has_everything_processed() {
    let rig = restarted();
    let mut boot = boot(&rig, &["-m", "whatever"]);
    let said = boot.wait_for_output("cannot reach the Master", DEADLINE);
    assert!(said.contains("trying again in 1 s"), "{said}");
    assert_eq!(marks(&rig), 3, "nothing is forgotten yet");
    rig.start_master();
    assert_eq!(boot.wait(DEADLINE), 0, "{}", boot.output());
    let said = boot.output();
    assert!(said.contains("telling the Master"), "{said}");
    assert_eq!(marks(&rig), 1, "what is no partition keeps its own: {said}");
}

#[test]
fn n_6_1_boot_gives_up_and_ends_when_asked() {
    let rig = restarted();
    let run = rig.run(&["node", "boot", "--timeout", "1"]).exits(1);
    let run = run.says("gave up after 1 s");
    assert_eq!(marks(&rig), 1, "{run}");

    let mut boot = boot(&rig, &[]);
    boot.wait_for_output("cannot reach the Master", DEADLINE);
    boot.signal(Signal::INT);
    assert_eq!(boot.wait(DEADLINE), 130, "{}", boot.output());
}

#[test]
fn n_6_1_boot_waits_for_ipv6() {
    if !in_namespaces("n_6_1_boot_waits_for_ipv6") {
        return;
    }
    let rig = namespaces::rig(1, &[]);
    rig.start_master();
    sh("ip address del fd00:1:2::1/48 dev up0");
    let mut boot = boot(&rig, &[]);
    boot.wait_for_output("no global IPv6 address on up0 yet", DEADLINE);
    sh("ip address add fd00:1:2::1/48 dev up0 nodad");
    assert_eq!(boot.wait(DEADLINE), 0, "{}", boot.output());
    assert!(sh("ip address show up0").contains("fd00:1:2::2"));
}
