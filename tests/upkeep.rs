//! What an administrator runs on a node besides its daily work: `node prune` (N 6.5).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use testkit::{Peer, Rig};

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
