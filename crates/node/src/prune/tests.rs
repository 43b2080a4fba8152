#![allow(clippy::unwrap_used)]
use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::observer::LogObserver;
use crate::testing::{TestNode, write};

/// The hash of a part that is named by one letter.
fn hash(letter: char) -> String {
    letter.to_string().repeat(32)
}

struct Node {
    node: TestNode,
}

impl Node {
    fn new() -> Node {
        Node {
            node: TestNode::new(),
        }
    }

    fn part(&self, letter: char, uses: &str) -> PathBuf {
        let uses: Vec<String> = uses.chars().map(hash).collect();
        let path = self
            .node
            .path(&format!("shared/lib{letter}/{}", hash(letter)));
        write(&path.join(".buildout-shared.json"), &uses.join(" "), 0o644);
        write(&path.join("lib/thing"), &"x".repeat(10_000), 0o644);
        path
    }

    fn config(&self) -> NodeConfig {
        let other = self.node.path("other").display().to_string();
        let shared = self.node.path("shared").display().to_string();
        self.node
            .config(&format!("shared_part_list =\n  {other}\n  {shared}"))
    }

    fn prune(&self, options: &Options) -> (Result<Outcome, Error>, Vec<Unused>) {
        let mut unused = Vec::new();
        let result = run(&self.config(), options, &LogObserver, &mut |part| {
            unused.push(part.clone());
        });
        (result, unused)
    }

    /// The letters of the parts that nothing uses.
    fn unused(&self, options: &Options) -> String {
        let (result, unused) = self.prune(options);
        assert_eq!(result.unwrap(), Outcome::Success);
        unused
            .iter()
            .map(|part| part.path.to_str().unwrap().chars().last().unwrap())
            .collect()
    }
}

#[test]
fn n_6_5_what_is_used_stays_and_the_rest_goes_at_once() {
    let node = Node::new();
    let soft = |name: &str| node.node.path("soft/0123").join(name);
    let uses = |letter| format!("shared = /srv/shared/lib/{}\n", hash(letter));
    write(&soft(".installed.cfg"), &uses('a'), 0o644);
    write(
        &soft("bin/script"),
        &format!("#!/bin/sh\n{}", uses('b')),
        0o755,
    );
    write(
        &soft("bin/program"),
        &format!("\x7fELF\0{}", uses('c')),
        0o755,
    );
    write(&soft("bin/directory/file"), "", 0o644);
    symlink(
        format!("/srv/shared/lib/{}/bin/x", hash('d')),
        soft("bin/link"),
    )
    .unwrap();
    // What begins with a dot is no release.
    write(&node.node.path("soft/.x/.installed.cfg"), &uses('c'), 0o644);
    for (letter, uses) in [
        ('a', "e"),
        ('b', ""),
        ('c', "f"),
        ('d', ""),
        ('e', ""),
        ('f', "f"),
        // Parts that use each other are used by nobody.
        ('0', "1"),
        ('1', "0"),
    ] {
        node.part(letter, uses);
    }
    let trial = Options {
        dry_run: true,
        ..Options::default()
    };
    assert_eq!(node.unused(&trial), "01cf");
    let (_, parts) = node.prune(&trial);
    assert!(parts.iter().all(|part| part.bytes >= 10_000), "{parts:?}");
    assert!(node.node.path("shared/libc").exists(), "only a trial");

    assert_eq!(node.unused(&Options::default()), "01cf");
    let mut left: Vec<_> = fs::read_dir(node.node.path("shared"))
        .unwrap()
        .flatten()
        .collect();
    left.sort_by_key(fs::DirEntry::file_name);
    let left: Vec<_> = left.iter().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["liba", "libb", "libd", "libe"]);
    assert_eq!(node.unused(&Options::default()), "");
}

#[test]
fn n_6_5_a_slapos_inside_a_partition_keeps_what_it_uses() {
    let node = Node::new();
    for letter in ['a', 'b', 'c', 'd', 'e'] {
        node.part(letter, "");
    }
    let inner = |name: &str| node.node.partition("srv/runner").join(name);
    let root = node.node.partition("srv/runner").display().to_string();
    // It knows the outer one's parts, has its own, and a third SlapOS inside.
    write(
        &inner("etc/slapos.cfg"),
        &format!(
            "[slapos]\nsoftware_root = {root}/soft\ninstance_root = {root}/inst\n\
             shared_part_list =\n  /srv/shared\n  {root}/shared\n"
        ),
        0o644,
    );
    write(&inner("soft/x/.installed.cfg"), &hash('a'), 0o644);
    write(&inner("shared/lib/x/.lib.signature"), &hash('b'), 0o644);
    let far = node.node.path("far").display().to_string();
    write(
        &inner("inst/slappart0/etc/slapos.cfg"),
        &format!("[slapos]\nsoftware_root = {far}/soft\ninstance_root = {far}/inst\n"),
        0o644,
    );
    write(
        Path::new(&far).join("soft/x/.installed.cfg").as_path(),
        &hash('c'),
        0o644,
    );
    // Neither a link nor a file that makes no sense leads anywhere.
    symlink(&root, node.node.partition("again")).unwrap();
    node.node.write("other/slapos.cfg", "[slapos]\nno", 0o644);
    node.node.write(
        "third/slapos.cfg",
        "[slapos]\nsoftware_root = /nowhere\ninstance_root = /nowhere\n",
        0o644,
    );
    let options = Options {
        additional_software_directories: vec![node.node.path("more"), node.node.path("none")],
        ..Options::default()
    };
    write(&node.node.path("more/x/.installed.cfg"), &hash('d'), 0o644);
    assert_eq!(node.unused(&options), "e");
}

#[test]
fn n_6_5_links_and_leftovers() {
    let node = Node::new();
    let precious = node.node.path("precious");
    write(&precious.join("file"), "", 0o644);
    node.part('a', "");
    symlink(
        &precious,
        node.node.path(&format!("shared/liba/{}", hash('b'))),
    )
    .unwrap();
    symlink(&precious, node.node.path("shared/link")).unwrap();
    symlink(
        &precious,
        node.node.path("shared/liba").join(hash('a')).join("out"),
    )
    .unwrap();
    // A run before was killed here.
    write(&node.node.path("shared/libz/.pruned-x/file"), "", 0o644);
    assert_eq!(node.unused(&Options::default()), "a");
    assert!(precious.join("file").exists());
    assert!(!node.node.path("shared/libz/.pruned-x").exists());
}

#[test]
fn n_6_5_refusals_remove_nothing() {
    let node = Node::new();
    let part = node.part('a', "");
    let config = node.config();
    let lock = crate::lock::Lock::take(&config.pidfile_software).unwrap();
    let (result, unused) = node.prune(&Options::default());
    assert!(matches!(result, Err(Error::Locked { .. })) && unused.is_empty());
    drop(lock);
    let error = run(
        &node.node.config(""),
        &Options::default(),
        &LogObserver,
        &mut |_| {},
    );
    let error = error.unwrap_err().to_string();
    assert!(error.contains("`shared_part_list` is not set"), "{error}");
    let options = Options::default();
    options.cancel.cancel();
    let (result, _) = node.prune(&options);
    assert!(matches!(result, Err(Error::Cancelled)));
    assert!(part.exists());
}
