//! The real builder: zc.buildout in an environment made from PyPI. Made once per checkout, in the
//! target directory; needs python3-venv and the network that one time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use common::{Node, eventually};
use node::software::{BuildError, Builder, ReleaseJob, ZcBuildout};
use node::{Cancel, Event, LogObserver, Observer, Outcome, instance, software};
use slap::document::{PartitionDocument, ReleaseForm};
use slap::{InstallationState, InstanceState, NodeId, PartitionId, ReleaseUrl, Value};

const SOFTWARE: &str = "\
[buildout]
parts = instance
[instance]
recipe = slapos.recipe.template
url = ${buildout:directory}/../../profile/instance.cfg.in
output = ${buildout:directory}/instance.cfg
";

const INSTANCE: &str = "\
[buildout]
parts = service promise plugin
eggs-directory = ${buildout:directory}/eggs
develop-eggs-directory = ${buildout:directory}/develop-eggs
[service]
recipe = slapos.recipe.template
inline =
  #!/bin/sh
  exec sleep 1000
output = $${buildout:directory}/etc/service/sleeper
mode = 0700
[promise]
recipe = slapos.recipe.template
inline =
  #!/bin/sh
  echo state is $${slap-connection:requested-state}
output = $${buildout:directory}/etc/promise/state
mode = 0700
[plugin]
recipe = slapos.recipe.template
inline =
  from zope.interface import implementer
  from slapos.grid.promise import interface
  from slapos.grid.promise.generic import GenericPromise
  import slapos.grid.promise.generic as generic
  @implementer(interface.IPromise)
  class RunPromise(GenericPromise):
    def sense(self):
      self.logger.info('engine of %s', 'node' if 'SlapOS node' in generic.__spec__.origin.__str__() else generic.__file__)
output = $${buildout:directory}/etc/plugin/engine.py
mode = 0644
";

fn builder_option() -> String {
    format!(
        "builder_directory = {}/builder",
        env!("CARGO_TARGET_TMPDIR")
    )
}

fn profile(node: &Node, software: &str) -> PathBuf {
    let directory = node.path("profile");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("instance.cfg.in"), INSTANCE).unwrap();
    let path = directory.join("software.cfg");
    fs::write(&path, software).unwrap();
    path
}

fn want(node: &Node, release: &Path, timestamp: &str) {
    let url = ReleaseUrl::new(release.to_str().unwrap()).unwrap();
    let mut wanted = PartitionDocument::new(
        NodeId::new("COMP-1").unwrap(),
        PartitionId::new("part0").unwrap(),
    );
    wanted.state = Some(InstanceState::Started);
    wanted.occupied = Some(true);
    wanted.release = Some(ReleaseForm::Url(url.clone()));
    wanted.parameters = Some([("timestamp".to_owned(), Value::text(timestamp))].into());
    node.master.edit(|document| {
        document.partitions = vec![wanted];
        document.installations = vec![common::installation(
            url.as_str(),
            Some(InstallationState::Available),
        )];
    });
}

#[test]
fn a_release_is_built_and_an_instance_runs() {
    let node = Node::new(1);
    let release = profile(&node, SOFTWARE);
    want(&node, &release, "1");
    let config = node.config(&builder_option());
    let outcome = software::run(&config, &Default::default(), &LogObserver).unwrap();
    let url = ReleaseUrl::new(release.to_str().unwrap()).unwrap();
    let directory = config.release_directory(&url);
    let log = fs::read_to_string(config.release_log(&url)).unwrap();
    assert_eq!(outcome, Outcome::Success, "{log}");
    assert!(directory.join("instance.cfg").exists() && directory.join("bin/buildout").exists());
    assert!(!directory.join("bin/buildout-bootstrap-skipped").exists());

    let outcome = instance::run(&config, &Default::default(), &LogObserver).unwrap();
    let partition = node.path("inst/part0");
    let log = fs::read_to_string(partition.join(".slapgrid/log/instance.log")).unwrap();
    assert_eq!(outcome, Outcome::Success, "{log}");
    eventually("the service runs", || {
        node.running("part0") == ["sleeper-on-watch"]
    });
    let status = |title: &str| {
        let path = partition.join(format!(".slapgrid/promise/result/{title}.status.json"));
        fs::read_to_string(path).unwrap()
    };
    assert!(
        status("state").contains("\"message\": \"state is started\""),
        "{}",
        status("state")
    );
    // The release's own slapos.core is used, not the stand-in.
    assert!(
        status("engine").contains("site-packages/slapos/grid/promise/generic"),
        "{}",
        status("engine")
    );
    assert!(partition.join("software_release/instance.cfg").exists());
    let cache = fs::read_to_string(partition.join(".slapgrid/promise/cache/engine")).unwrap();
    assert!(cache.contains("\"periodicity\": 2"), "{cache}");

    let again = instance::run(&config, &Default::default(), &LogObserver).unwrap();
    assert_eq!(again, Outcome::Success);
    let mut forced = config.clone();
    forced.force = true;
    let outcome = software::run(&forced, &Default::default(), &LogObserver).unwrap();
    assert_eq!(outcome, Outcome::Success, "built again in place");
}

#[test]
fn what_buildout_says_reaches_the_master_and_the_log() {
    let node = Node::new(0);
    let release = profile(&node, "[buildout]\nparts = missing\n");
    want(&node, &release, "1");
    let config = node.config(&builder_option());
    let outcome = software::run(&config, &Default::default(), &LogObserver).unwrap();
    assert_eq!(outcome, Outcome::Failure);
    let url = ReleaseUrl::new(release.to_str().unwrap()).unwrap();
    let directory = config.release_directory(&url);
    let calls = node.master.calls();
    let error = calls.last().unwrap();
    assert!(error.contains(&directory.display().to_string()), "{error}");
    assert!(error.contains("missing"), "{error}");
    assert!(
        fs::read_to_string(config.release_log(&url))
            .unwrap()
            .contains("missing")
    );
    assert!(!directory.join(".completed").exists());
}

#[derive(Default)]
struct Steps(Mutex<Vec<String>>);

impl Observer for Steps {
    fn event(&self, event: &Event<'_>) {
        if let Event::BuilderSetup { step } = event {
            self.0.lock().unwrap().push((*step).to_owned());
        }
    }
}

#[test]
fn a_python_that_cannot_build_is_named_with_what_to_do() {
    let node = Node::new(0);
    let more = format!(
        "builder_python = /bin/false\nbuilder_directory = {}/none",
        node.path("").display()
    );
    let config = node.config(&more);
    let steps = Steps::default();
    let builder = ZcBuildout::new(&config, &steps);
    let directory = node.path("soft/x");
    fs::create_dir(&directory).unwrap();
    let release = ReleaseUrl::new("/no/such.cfg").unwrap();
    let job = ReleaseJob {
        release: &release,
        directory: &directory,
        cancel: &Cancel::new(),
    };
    let error = builder.build_release(&job, &mut |_| {}).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/bin/false (option builder_python) cannot build"),
        "{error}"
    );
}

#[test]
fn n_3_1_a_build_that_is_interrupted_leaves_no_process() {
    let node = Node::new(0);
    let marker = format!("{}", 100_000 + std::process::id());
    let release = profile(
        &node,
        &format!(
            "[buildout]\nparts = hang\n[hang]\nrecipe = slapos.recipe.build\ninstall =\n  \
             import subprocess\n  print('hanging', flush=True)\n  subprocess.call(['sleep', '{marker}'])\n"
        ),
    );
    let config = node.config(&builder_option());
    let directory = node.path("soft/x");
    fs::create_dir(&directory).unwrap();
    let url = ReleaseUrl::new(release.to_str().unwrap()).unwrap();
    let cancel = Cancel::new();
    let raise = cancel.clone();
    let job = ReleaseJob {
        release: &url,
        directory: &directory,
        cancel: &cancel,
    };
    let mut said = String::new();
    let result = ZcBuildout::new(&config, &LogObserver).build_release(&job, &mut |line| {
        said.push_str(line);
        said.push('\n');
        if line.contains("hanging") {
            // The child is started right after this line.
            std::thread::spawn({
                let (raise, marker) = (raise.clone(), marker.clone());
                move || {
                    eventually("the build's own child", || is_running(&marker));
                    raise.cancel();
                }
            });
        }
    });
    assert!(
        matches!(result, Err(BuildError::Cancelled(_))),
        "{result:?}\n{said}"
    );
    eventually("the end of the build's child", || !is_running(&marker));
}

/// Whether a `sleep <marker>` runs.
fn is_running(marker: &str) -> bool {
    let wanted = format!("sleep\0{marker}\0");
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes())
    })
}
