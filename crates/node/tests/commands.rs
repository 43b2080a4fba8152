//! The commands against a Master that answers what the test says, with a real supervisor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use common::{Fake, Node, eventually, script};
use node::software::BuildError;
use node::{Cancel, Error, LogObserver, Outcome, instance, promise, report, software};
use slap::InstanceState;

const NOBODY: &str = "http://127.0.0.1:9/";

fn run_instance(node: &Node, fake: &Fake) -> Result<Outcome, Error> {
    run_instance_with(&node.config(""), fake, &instance::Options::default())
}

fn run_instance_with(
    config: &node::NodeConfig,
    fake: &Fake,
    options: &instance::Options,
) -> Result<Outcome, Error> {
    instance::run_with(config, options, &LogObserver, fake)
}

fn run_report(node: &Node) -> Outcome {
    let options = report::Options::default();
    report::run(&node.config(""), &options, &LogObserver).unwrap()
}

/// Our own call, beside upstream's reports.
const TELL_PROMISES: &str = "slapos.put.v0.software_instance_promise_list";

/// A plugin up to what it senses.
const PLUGIN_HEAD: &str = "\
from zope.interface import implementer
from slapos.grid.promise import interface
from slapos.grid.promise.generic import GenericPromise

@implementer(interface.IPromise)
class RunPromise(GenericPromise):
  def sense(self):
";

/// An instance with these files among what is its own.
fn with_files(files: &'static [(&'static str, &'static str)]) -> (Node, Fake) {
    let (node, mut fake) = (Node::new(1), Fake::new());
    node.with_release();
    let fine = fake.partition;
    fake.partition = Box::new(move |job, output| {
        for (name, text) in files {
            script(&job.directory.join(name), text);
        }
        fine(job, output)
    });
    node.want("part0", InstanceState::Started, "1");
    (node, fake)
}

/// Runs the promises of an unchanged instance as if their time had come; what the Master was called.
fn check_again(node: &Node, fake: &Fake) -> Vec<String> {
    let _ = fs::remove_dir_all(node.path("inst/part0/.slapgrid/promise/cache"));
    run_instance(node, fake).unwrap();
    node.master.calls()
}

#[test]
fn the_master_is_told_how_promises_are_when_that_changes() {
    let (node, fake) = with_files(&[("etc/promise/check", "test ! -e bad")]);
    node.master.answer(TELL_PROMISES, &[(200, "{}")]);
    node.master.edit(|document| {
        document.partitions[0].access_status = Some("#access ok".to_owned());
    });
    run_instance(&node, &fake).unwrap();
    assert_eq!(
        node.master.calls(),
        [
            TELL_PROMISES,
            "startedComputerPartition computer_partition_id=part0"
        ]
    );
    assert!(check_again(&node, &fake).is_empty(), "nothing new");
    fs::write(node.path("inst/part0/bad"), "").unwrap();
    // An executable has to fail three times in a row.
    assert!(check_again(&node, &fake).is_empty());
    assert!(check_again(&node, &fake).is_empty());
    assert_eq!(
        check_again(&node, &fake),
        [
            TELL_PROMISES,
            "softwareInstanceError computer_partition_id=part0 error_log=Promise 'check' failed \
             with output: "
        ]
    );
    fs::remove_file(node.path("inst/part0/bad")).unwrap();
    assert_eq!(check_again(&node, &fake), [TELL_PROMISES]);
}

#[test]
fn a_master_without_the_call_is_left_alone() {
    let (node, fake) = with_files(&[("etc/promise/check", "exit 1")]);
    node.master.answer(TELL_PROMISES, &[(404, "")]);
    run_instance(&node, &fake).unwrap();
    run_instance(&node, &fake).unwrap();
    let mut calls = node.master.calls();
    calls.retain(|call| call == TELL_PROMISES);
    assert_eq!(calls, [TELL_PROMISES]);
}

/// N 4.4: a plugin that sees an anomaly has the instance processed again, also where its release
/// brings no library to tell the Master.
#[test]
fn n_4_4_an_anomaly_bangs() {
    const BODY: &str = "    import os\n    \
        (self.logger.error if os.path.exists('bad') else self.logger.info)('said')\n";
    let (node, mut fake) = with_files(&[]);
    node.master.answer(TELL_PROMISES, &[(200, "{}")]);
    let fine = fake.partition;
    fake.partition = Box::new(move |job, output| {
        let path = job.directory.join("etc/plugin/state.py");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{PLUGIN_HEAD}{BODY}")).unwrap();
        fine(job, output)
    });
    node.master.edit(|document| {
        document.partitions[0].access_status = Some("#access ok".to_owned());
    });
    run_instance(&node, &fake).unwrap();
    node.master.calls();
    fs::write(node.path("inst/part0/bad"), "").unwrap();
    assert_eq!(
        check_again(&node, &fake),
        [
            "softwareInstanceBang computer_partition_id=part0 message=Promise state is failing",
            TELL_PROMISES,
            "softwareInstanceError computer_partition_id=part0 error_log=Promise 'state.py' failed \
             with output: said",
        ]
    );
}

#[test]
fn n_3_2_the_life_of_an_instance() {
    let (node, fake) = (Node::new(2), Fake::new());
    node.with_release();
    node.want("part0", InstanceState::Started, "1");
    node.want("part1", InstanceState::Stopped, "1");
    assert_eq!(run_instance(&node, &fake).unwrap(), Outcome::Success);
    assert_eq!(fake.built(), ["part0", "part1"]);
    let mut calls = node.master.calls();
    calls.sort();
    assert_eq!(
        calls,
        [
            "startedComputerPartition computer_partition_id=part0",
            "stoppedComputerPartition computer_partition_id=part1",
        ]
    );
    eventually("both services run", || {
        node.running("part0") == ["daemon-on-watch", "once"]
    });
    assert!(node.running("part1").is_empty());
    let mark = node.path("inst/part0/.timestamp");
    assert_eq!(fs::read_to_string(&mark).unwrap(), "1");
    let log = fs::read_to_string(node.path("inst/part0/.slapgrid/log/instance.log")).unwrap();
    assert!(log.contains("INFO part0 building"), "{log}");
    let delay = node.path("inst/part0/.slapos-retention-lock-delay");
    assert_eq!(fs::read_to_string(delay).unwrap(), "0.0");

    // Nothing changed: nothing is built, nothing restarted.
    let pids = |node: &Node| {
        let client = supervisor::Client::new(node.path("inst/sv.sock"));
        let all = client.all_process_info().unwrap();
        all.into_iter()
            .map(|process| process.pid)
            .collect::<Vec<_>>()
    };
    let before = pids(&node);
    assert_eq!(run_instance(&node, &fake).unwrap(), Outcome::Success);
    assert!(fake.built().is_empty());
    assert_eq!(
        node.master.calls(),
        ["startedComputerPartition computer_partition_id=part0"],
        "the Master of a proxy never says what it knows"
    );
    node.want("part0", InstanceState::Started, "2");
    assert_eq!(run_instance(&node, &fake).unwrap(), Outcome::Success);
    assert_eq!(fake.built(), ["part0"]);
    assert_eq!(pids(&node), before, "its services are the same ones");

    node.want("part0", InstanceState::Stopped, "3");
    assert_eq!(run_instance(&node, &fake).unwrap(), Outcome::Success);
    assert!(node.running("part0").is_empty());
    assert!(!node.path("inst/etc/supervisord.conf.d/part0.conf").exists());

    node.want("part0", InstanceState::Started, "4");
    run_instance(&node, &fake).unwrap();
    node.want("part0", InstanceState::Destroyed, "5");
    node.master.calls();
    assert_eq!(run_instance(&node, &fake).unwrap(), Outcome::Success);
    assert!(node.running("part0").is_empty());
    assert!(
        node.path("inst/part0/etc").exists(),
        "removal is the report's"
    );
    assert_eq!(run_report(&node), Outcome::Success);
    assert_eq!(
        node.master.calls(),
        [
            "stoppedComputerPartition computer_partition_id=part0",
            "stoppedComputerPartition computer_partition_id=part0",
            "destroyedComputerPartition computer_partition_id=part0",
        ]
    );
    let left = fs::read_dir(node.path("inst/part0")).unwrap().count();
    assert_eq!(left, 0, "the directory stays, empty");
    assert!(node.path("inst/part1/etc").exists());
}

#[test]
fn a_watched_service_that_dies_comes_back() {
    let (node, mut fake) = (Node::new(1), Fake::new());
    node.with_release();
    let count = node.path("count");
    let text = format!("echo x >> {}; exit 1", count.display());
    fake.partition = Box::new(move |job, _| {
        script(&job.directory.join("etc/service/dies"), &text);
        script(
            &job.directory.join("etc/run/ends"),
            &text.replace("x >>", "y >>"),
        );
        Ok(())
    });
    node.want("part0", InstanceState::Started, "1");
    assert_eq!(run_instance(&node, &fake).unwrap(), Outcome::Success);
    eventually("the service is started again", || {
        fs::read_to_string(&count).is_ok_and(|text| text.matches('x').count() >= 2)
    });
    let text = fs::read_to_string(&count).unwrap();
    assert_eq!(text.matches('y').count(), 1, "etc/run is not restarted");
}

#[test]
fn n_3_2_what_fails_in_one_partition_is_reported_and_the_others_go_on() {
    let (node, mut fake) = (Node::new(3), Fake::new());
    node.with_release();
    let fine = fake.partition;
    fake.partition = Box::new(move |job, output| {
        if job.directory.ends_with("part1") {
            return Err(BuildError::Failed {
                title: "Failed to run buildout profile in directory 'X':".into(),
                output: "it broke\n".into(),
            });
        }
        if job.directory.ends_with("part2") {
            script(&job.directory.join("etc/promise/check"), "echo no; exit 1");
        }
        fine(job, output)
    });
    for partition in ["part0", "part1", "part2"] {
        node.want(partition, InstanceState::Started, "1");
    }
    assert_eq!(run_instance(&node, &fake).unwrap(), Outcome::Failure);
    let mut calls = node.master.calls();
    calls.retain(|call| call != TELL_PROMISES);
    calls.sort();
    assert_eq!(
        calls,
        [
            "softwareInstanceError computer_partition_id=part1 error_log=Failed to run buildout \
             profile in directory 'X':\nit broke\n",
            "softwareInstanceError computer_partition_id=part2 error_log=Promise 'check' failed \
             with output: no",
            "startedComputerPartition computer_partition_id=part0",
        ]
    );
    let error = node.path("inst/part1/.slapgrid-part1-error.log");
    assert!(fs::read_to_string(error).unwrap().contains("it broke"));
    assert!(!node.path("inst/part2/.slapgrid-part2-error.log").exists());
    assert!(node.path("inst/part0/.timestamp").exists());
    assert!(!node.path("inst/part1/.timestamp").exists());
    assert!(
        !node.path("inst/part2/.timestamp").exists(),
        "a failed promise is tried again"
    );
    assert_eq!(
        node.running("part2").len(),
        2,
        "a failed promise stops nothing"
    );
    let options = promise::Options {
        only: vec!["part2".into()],
        ..Default::default()
    };
    let told = promise::run(&node.config(""), &options, &LogObserver).unwrap();
    assert_eq!(told.promises, 1);
    assert_eq!(told.failing[0].partition.as_str(), "part2");
    assert_eq!(told.failing[0].promise, "check");
    assert_eq!(told.failing[0].message, "no");
    let outcome = told.outcome;
    assert_eq!(outcome, Outcome::PromiseFailure);
    assert!(node.master.calls().is_empty());
}

#[test]
fn a_stop_is_obeyed_even_when_the_profile_fails() {
    let (node, fake) = (Node::new(1), Fake::new());
    node.with_release();
    node.want("part0", InstanceState::Started, "1");
    run_instance(&node, &fake).unwrap();
    let failing = Fake {
        partition: Box::new(|_, _| Err(BuildError::Unusable("no".into()))),
        ..Fake::new()
    };
    node.want("part0", InstanceState::Stopped, "2");
    assert_eq!(run_instance(&node, &failing).unwrap(), Outcome::Failure);
    assert!(node.running("part0").is_empty());
}

#[test]
fn n_3_2_without_a_master_everything_known_is_started() {
    let (node, fake) = (Node::new(1), Fake::new());
    node.with_release();
    node.want("part0", InstanceState::Started, "1");
    run_instance(&node, &fake).unwrap();
    let client = supervisor::Client::new(node.path("inst/sv.sock"));
    client
        .shutdown_and_wait(std::time::Duration::from_secs(30))
        .unwrap();
    let config = node.config_for(NOBODY, "");
    let outcome = run_instance_with(&config, &fake, &Default::default()).unwrap();
    assert_eq!(outcome.exit_code(), 3);
    eventually("the services run again", || {
        node.running("part0").len() == 2
    });
    assert!(node.path("inst/part0/.timestamp").exists());
    let report = report::run(&config, &Default::default(), &LogObserver).unwrap_err();
    assert_eq!(report.exit_code(), 1);
    let software = software::run(&config, &Default::default(), &LogObserver).unwrap_err();
    assert_eq!(software.exit_code(), 1);
}

#[test]
fn after_a_reboot_an_unchanged_instance_runs_again_and_what_was_stopped_by_hand_does_not() {
    let (node, fake) = (Node::new(1), Fake::new());
    node.with_release();
    node.want("part0", InstanceState::Started, "1");
    run_instance(&node, &fake).unwrap();
    fake.built();
    let client = supervisor::Client::new(node.path("inst/sv.sock"));
    client
        .shutdown_and_wait(std::time::Duration::from_secs(30))
        .unwrap();
    assert_eq!(run_instance(&node, &fake).unwrap(), Outcome::Success);
    eventually("the services run again", || {
        node.running("part0").len() == 2
    });
    assert!(fake.built().is_empty(), "nothing changed");
    client.stop("part0:daemon-on-watch", true).unwrap();
    assert_eq!(run_instance(&node, &fake).unwrap(), Outcome::Success);
    assert_eq!(node.running("part0"), ["once"]);
}

#[test]
fn a_program_that_was_killed_runs_again_although_nothing_changed() {
    let (node, fake) = (Node::new(1), Fake::new());
    node.with_release();
    node.want("part0", InstanceState::Started, "1");
    run_instance(&node, &fake).unwrap();
    fake.built();
    let client = supervisor::Client::new(node.path("inst/sv.sock"));
    let before = client.process_info("part0:once").unwrap().pid;
    client.signal("part0:once", "KILL").unwrap();
    eventually("it is dead", || {
        client.process_info("part0:once").unwrap().pid != before
    });
    assert_eq!(run_instance(&node, &fake).unwrap(), Outcome::Success);
    eventually("it runs again", || node.running("part0").len() == 2);
    assert!(fake.built().is_empty(), "nothing changed");
}

#[test]
fn a_master_that_goes_away_meanwhile_leads_to_offline_mode() {
    let (node, fake) = (Node::new(1), Fake::new());
    node.with_release();
    node.want("part0", InstanceState::Started, "1");
    node.master
        .answer("startedComputerPartition", &[(503, "busy")]);
    let outcome = run_instance(&node, &fake).unwrap();
    assert_eq!(outcome, Outcome::Offline);
    assert!(
        !node.path("inst/part0/.timestamp").exists(),
        "it is processed again"
    );
    assert_eq!(node.running("part0").len(), 2);
}

#[test]
fn silence_of_the_master_destroys_nothing() {
    let (node, fake) = (Node::new(1), Fake::new());
    node.with_release();
    node.want("part0", InstanceState::Started, "1");
    run_instance(&node, &fake).unwrap();
    node.master.edit(|document| document.partitions.clear());
    assert_eq!(run_instance(&node, &fake).unwrap(), Outcome::Success);
    assert_eq!(run_report(&node), Outcome::Success);
    assert_eq!(node.running("part0").len(), 2);
    for status in [404, 500] {
        node.master
            .answer("getFullComputerInformation", &[(status, "")]);
        node.master
            .answer("getComputerInformation", &[(status, "")]);
        let _ = run_instance(&node, &fake);
        let _ = report::run(&node.config(""), &Default::default(), &LogObserver);
        assert_eq!(node.running("part0").len(), 2, "{status}");
    }
    assert!(node.path("inst/part0/etc").exists());
}

#[test]
fn n_3_4_a_retention_delay_keeps_the_data() {
    let (node, fake) = (Node::new(1), Fake::new());
    node.with_release();
    node.want("part0", InstanceState::Started, "1");
    node.master.edit(|document| {
        let sla = [("retention_delay".to_owned(), "1.5".to_owned())];
        document.partitions[0].sla = Some(sla.into());
    });
    run_instance(&node, &fake).unwrap();
    node.want("part0", InstanceState::Destroyed, "2");
    assert_eq!(run_report(&node), Outcome::Success);
    assert!(node.running("part0").is_empty());
    assert!(node.path("inst/part0/etc").exists());
    let date = node.path("inst/part0/.slapos-retention-lock-date");
    let text = fs::read_to_string(&date).unwrap();
    assert!(
        !node
            .master
            .calls()
            .iter()
            .any(|call| call.starts_with("destroyed"))
    );
    run_report(&node);
    assert_eq!(
        fs::read_to_string(&date).unwrap(),
        text,
        "fixed at the first order"
    );
    fs::write(&date, "1000.5").unwrap();
    assert_eq!(run_report(&node), Outcome::Success);
    assert!(!node.path("inst/part0/etc").exists());
}

#[test]
fn n_3_4_destruction_runs_the_instances_own_script_and_stays_inside() {
    let (node, fake) = (Node::new(1), Fake::new());
    node.with_release();
    let outside = node.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "").unwrap();
    node.want("part0", InstanceState::Started, "1");
    run_instance(&node, &fake).unwrap();
    let partition = node.path("inst/part0");
    symlink(&outside, partition.join("link")).unwrap();
    script(&partition.join("sbin/destroy"), "echo why; exit 1");
    node.want("part0", InstanceState::Destroyed, "2");
    assert_eq!(run_report(&node), Outcome::Failure);
    assert!(
        partition.join("etc").exists(),
        "not destroyed when its script fails"
    );
    let ran = node.path("ran");
    script(
        &partition.join("sbin/destroy"),
        &format!("touch {}", ran.display()),
    );
    node.master.answer(
        "destroyedComputerPartition",
        &[(
            200,
            "Not destroying yet because this partition has child partitions: c",
        )],
    );
    assert_eq!(run_report(&node), Outcome::Success);
    assert!(ran.exists() && outside.join("precious").exists());
    assert!(!partition.join("etc").exists());
    node.master.calls();
    node.master
        .answer("destroyedComputerPartition", &[(200, "OK")]);
    assert_eq!(run_report(&node), Outcome::Success);
    let calls = node.master.calls();
    assert!(
        calls.iter().any(|call| call.starts_with("destroyed")),
        "told again"
    );
}

#[test]
fn n_2_3_a_free_partition_is_tidied() {
    let (node, fake) = (Node::new(1), Fake::new());
    node.with_release();
    node.want("part0", InstanceState::Started, "1");
    run_instance(&node, &fake).unwrap();
    node.master.edit(|document| {
        document.partitions[0].release = None;
        document.partitions[0].state = Some(InstanceState::Destroyed);
    });
    assert_eq!(run_instance(&node, &fake).unwrap(), Outcome::Success);
    assert!(!node.path("inst/part0/.timestamp").exists());
    assert!(!node.path("inst/part0/.slapgrid").exists());
    assert!(
        node.path("inst/part0/etc").exists(),
        "nothing else is touched"
    );
}

#[test]
fn n_1_6_options_of_the_instance_command() {
    let (node, fake) = (Node::new(2), Fake::new());
    node.with_release();
    node.want("part0", InstanceState::Started, "1");
    node.want("part1", InstanceState::Started, "1");
    let config = node.config("");
    let only = |name: &str| instance::Options {
        only: vec![name.to_owned()],
        ..Default::default()
    };
    let error = run_instance_with(&config, &fake, &only("part9")).unwrap_err();
    assert_eq!(error.to_string(), "Unknown partition(s): part9");
    assert_eq!(error.exit_code(), 1);
    run_instance_with(&config, &fake, &only("part1")).unwrap();
    assert_eq!(fake.built(), ["part1"]);
    let stop = instance::Options {
        force_stop: true,
        ..only("part1")
    };
    run_instance_with(&config, &fake, &stop).unwrap();
    assert!(node.running("part1").is_empty());
    assert!(!node.path("inst/part1/.timestamp").exists());
    run_instance(&node, &fake).unwrap();
    fake.built();
    let mut forced = node.config("");
    forced.force = true;
    run_instance_with(&forced, &fake, &Default::default()).unwrap();
    assert_eq!(fake.built(), ["part0", "part1"]);
}

#[test]
fn n_2_5_what_the_instance_requested_is_told() {
    let (node, mut fake) = (Node::new(1), Fake::new());
    node.with_release();
    fake.partition = Box::new(|job, _| {
        let file = job.directory.join(".slapos-request-transaction-part0");
        assert!(!file.exists(), "a new processing begins with none");
        fs::write(file, "first\n\nsecond\n").unwrap();
        Ok(())
    });
    node.want("part0", InstanceState::Started, "1");
    node.master
        .answer("updateComputerPartitionRelatedInstanceList", &[(404, "")]);
    assert_eq!(run_instance(&node, &fake).unwrap(), Outcome::Success);
    let calls = node.master.calls();
    assert!(
        calls[1].contains("<string>first</string><string>second</string>"),
        "{calls:?}"
    );
    node.want("part0", InstanceState::Started, "2");
    assert_eq!(run_instance(&node, &fake).unwrap(), Outcome::Success);
}

#[test]
fn an_interrupt_ends_the_work_and_is_reported() {
    let (node, mut fake) = (Node::new(2), Fake::new());
    node.with_release();
    let cancel = Cancel::new();
    let raise = cancel.clone();
    fake.partition = Box::new(move |job, _| {
        raise.cancel();
        assert!(job.cancel.is_cancelled());
        Err(BuildError::Cancelled("buildout".into()))
    });
    node.want("part0", InstanceState::Started, "1");
    node.want("part1", InstanceState::Started, "1");
    let options = instance::Options {
        cancel,
        ..Default::default()
    };
    let mut config = node.config("");
    config.workers = 1;
    let error = run_instance_with(&config, &fake, &options);
    assert!(matches!(error, Err(Error::Cancelled)), "{error:?}");
    let calls = node.master.calls();
    assert!(calls[0].starts_with("softwareInstanceError"), "{calls:?}");
    assert!(!node.path("i.pid").exists(), "the lock is gone");
}

#[test]
fn n_3_0_one_run_at_a_time() {
    let (node, mut fake) = (Node::new(1), Fake::new());
    node.with_release();
    node.want("part0", InstanceState::Started, "1");
    let config = node.config("");
    let second = config.clone();
    fake.partition = Box::new(move |_, _| {
        let error = instance::run(&second, &Default::default(), &LogObserver).unwrap_err();
        assert_eq!(error.exit_code(), 10);
        Ok(())
    });
    assert_eq!(
        run_instance_with(&config, &fake, &Default::default()).unwrap(),
        Outcome::Success
    );
}

#[test]
fn n_3_4_usage_is_told_once_and_kept_until_it_is() {
    let (node, fake) = (Node::new(1), Fake::new());
    node.with_release();
    node.want("part0", InstanceState::Started, "1");
    run_instance(&node, &fake).unwrap();
    node.master.calls();
    let usage = node.path("inst/part0/var/xml_report");
    fs::create_dir_all(&usage).unwrap();
    script(
        &node.path("inst/part0/etc/report/usage"),
        "cat > $1 <<X\n<consumption><movement><resource>cpu</resource><quantity>1</quantity>\
         <price>0</price><VAT/></movement></consumption>\nX",
    );
    fs::write(usage.join("broken"), "<x").unwrap();
    node.master.answer("useComputer", &[(400, ""), (200, "OK")]);
    assert_eq!(run_report(&node), Outcome::Failure);
    assert_eq!(fs::read_dir(&usage).unwrap().count(), 2, "kept");
    node.master.calls();
    fs::remove_dir_all(node.path("inst/part0/etc/report")).unwrap();
    assert_eq!(run_report(&node), Outcome::Success);
    let calls = node.master.calls();
    assert!(
        calls[0].starts_with("useComputer use_string=<?xml"),
        "{calls:?}"
    );
    assert!(
        calls[0].contains("<reference>part0</reference>"),
        "{calls:?}"
    );
    assert_eq!(
        fs::read_dir(&usage).unwrap().count(),
        1,
        "only the broken one stays"
    );
}

#[test]
fn what_was_destroyed_meanwhile_does_not_come_back() {
    let (node, mut fake) = (Node::new(2), Fake::new());
    node.with_release();
    node.want("part0", InstanceState::Started, "1");
    node.want("part1", InstanceState::Started, "1");
    run_instance(&node, &fake).unwrap();
    node.want("part0", InstanceState::Started, "2");
    node.want("part1", InstanceState::Started, "2");
    // While the first is processed, the other is given up and destroyed: the run's document is old.
    let mut config = node.config("");
    config.workers = 1;
    let report_config = config.clone();
    let state = std::sync::Arc::clone(&node.master.state);
    fake.partition = Box::new(move |_, _| {
        for partition in &mut state.lock().unwrap().document.partitions {
            if partition.partition.as_str() == "part1" {
                partition.state = Some(InstanceState::Destroyed);
            }
        }
        let outcome = report::run(&report_config, &Default::default(), &LogObserver).unwrap();
        assert_eq!(outcome, Outcome::Success);
        Ok(())
    });
    fake.built();
    run_instance_with(&config, &fake, &Default::default()).unwrap();
    assert_eq!(fake.built(), ["part0"]);
    assert!(node.running("part1").is_empty());
    let left = fs::read_dir(node.path("inst/part1")).unwrap().count();
    assert_eq!(left, 0);
}

/// Needs root; nothing to see without.
#[test]
fn n_2_7_root_acts_as_the_partitions_user() {
    use std::os::unix::fs::{MetadataExt, chown};
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root {
        return;
    }
    let (node, mut fake) = (Node::new(1), Fake::new());
    node.with_release();
    let partition = node.path("inst/part0");
    chown(&partition, Some(65_534), Some(65_534)).unwrap();
    fs::set_permissions(node.root.path(), PermissionsExt::from_mode(0o755)).unwrap();
    fake.partition = Box::new(|job, _| {
        script(&job.directory.join("etc/promise/who"), "id -u; id -g; pwd");
        // The runner, too, is the partition's: a plugin forked from it can do no more than that.
        let plugin = job.directory.join("etc/plugin/rights.py");
        let body = "    import os\n    \
            status = dict(l.split(':', 1) for l in open('/proc/%d/status' % os.getppid()))\n    \
            said = [status[n].strip() for n in ('CapEff', 'CapPrm', 'CapInh')]\n    \
            said += [os.getresuid(), os.getresgid(), sorted(set(status['Uid'].split()))]\n    \
            self.logger.info('%s', said)\n";
        fs::create_dir_all(plugin.parent().unwrap()).unwrap();
        fs::write(plugin, format!("{PLUGIN_HEAD}{body}")).unwrap();
        let etc = job.directory.join("etc/service/who");
        script(
            &etc,
            "id -u > $HOME/who; id -u > /tmp/none/none; id -u > who; exec sleep 1000",
        );
        Ok(())
    });
    node.want("part0", InstanceState::Started, "1");
    assert_eq!(run_instance(&node, &fake).unwrap(), Outcome::Success);
    let owner = |name: &str| {
        let metadata = fs::symlink_metadata(partition.join(name)).unwrap();
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
    };
    assert_eq!(owner("buildout.cfg"), (0, 65_534, 0o640));
    assert_eq!(owner(".slapgrid"), (65_534, 65_534, 0o755));
    assert_eq!(owner(".slapgrid/promise/log"), (65_534, 65_534, 0o700));
    assert_eq!(owner(".slapgrid/promise/result/who.status.json").0, 65_534);
    assert_eq!(owner("software_release").0, 65_534);
    assert_eq!(owner(".timestamp"), (0, 0, 0o644));
    let status = partition.join(".slapgrid/promise/result/who.status.json");
    let status = fs::read_to_string(status).unwrap();
    let said = format!("65534\\n65534\\n{}", partition.display());
    assert!(status.contains(&said), "{status}");
    let status = partition.join(".slapgrid/promise/result/rights.status.json");
    let status = fs::read_to_string(status).unwrap();
    let none = "'0000000000000000'";
    let said = format!(
        "[{none}, {none}, {none}, (65534, 65534, 65534), (65534, 65534, 65534), ['65534']]"
    );
    assert!(status.contains(&said), "{status}");
    eventually("the service says who it is", || {
        fs::read_to_string(partition.join("who")).is_ok_and(|text| text == "65534\n")
    });
}
