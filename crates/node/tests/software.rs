//! `node software` against a Master that answers what the test says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;

use common::{Fake, Node, RELEASE, installation};
use node::software::BuildError;
use node::{LogObserver, Outcome, software};
use slap::{InstallationState, InstanceState, ReleaseUrl};

#[test]
fn releases_are_built_side_by_side_and_each_failure_is_its_own() {
    let (node, mut fake) = (Node::new(0), Fake::new());
    fake.release = Box::new(|job, output| {
        output("first line");
        if job.release.as_str().ends_with("bad") {
            return Err(BuildError::Failed {
                title: "Failed to run buildout profile in directory 'D':".into(),
                output: "first line\nwhy\n".into(),
            });
        }
        fs::write(job.directory.join("built"), "").unwrap();
        Ok(())
    });
    let available = Some(InstallationState::Available);
    node.master.edit(|document| {
        document.installations = vec![
            installation("https://x/bad", available),
            installation("https://x/good", available),
        ];
    });
    let config = node.config("");
    let run = |options: &software::Options| {
        software::run_with(&config, options, &LogObserver, &fake).unwrap()
    };
    assert_eq!(run(&Default::default()), Outcome::Failure);
    let mut calls = node.master.calls();
    calls.sort();
    assert_eq!(
        calls,
        [
            "availableSoftwareRelease url=https://x/good",
            "buildingSoftwareRelease url=https://x/bad",
            "buildingSoftwareRelease url=https://x/good",
            "softwareReleaseError url=https://x/bad error_log=Failed to run buildout profile in \
             directory 'D':\nfirst line\nwhy\n",
        ]
    );
    let (bad, good) = ["https://x/bad", "https://x/good"]
        .map(|url| ReleaseUrl::new(url).unwrap())
        .into();
    let completed = config.release_directory(&good).join(".completed");
    assert_eq!(fs::read_to_string(&completed).unwrap().len(), 24);
    assert!(!config.release_directory(&bad).join(".completed").exists());
    let log = fs::read_to_string(config.release_log(&bad)).unwrap();
    assert!(log.starts_with("first line\n"), "{log}");

    // A report that does not arrive is made again.
    fs::remove_file(&completed).unwrap();
    let only = software::Options {
        only: vec![node::layout::release_key(&good)],
        ..Default::default()
    };
    node.master
        .answer("availableSoftwareRelease", &[(500, ""), (200, "OK")]);
    assert_eq!(run(&only), Outcome::Failure);
    assert!(!completed.exists());
    assert_eq!(run(&only), Outcome::Success);
    assert!(completed.exists());
    node.master.calls();
    assert_eq!(run(&only), Outcome::Success);
    assert!(node.master.calls().is_empty(), "nothing to do");

    // Collecting what is not listed spares what an instance uses, and an empty list is no order.
    let collect = software::Options {
        garbage_collect: true,
        ..Default::default()
    };
    for release in [&bad, &good] {
        fs::write(config.release_directory(release).join("buildout.cfg"), "").unwrap();
    }
    let used = node.with_release();
    fs::write(used.join("buildout.cfg"), "").unwrap();
    node.master.edit(|document| document.installations.clear());
    run(&collect);
    assert!(completed.exists());
    node.want("part0", InstanceState::Started, "1");
    node.master.edit(|document| {
        document.installations = vec![installation(
            "https://x/good",
            Some(InstallationState::Destroyed),
        )];
    });
    run(&collect);
    assert!(
        !config.release_directory(&good).exists(),
        "given up explicitly"
    );
    assert!(!config.release_directory(&bad).exists(), "not listed");
    assert!(used.exists(), "used by part0: {RELEASE}");
    assert_eq!(
        node.master.calls().last().unwrap(),
        "destroyedSoftwareRelease url=https://x/good"
    );
}
