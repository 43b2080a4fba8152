#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;

use super::*;
use crate::testing::TestNode;

/// Runs promises; what failed, and what was said.
pub(super) fn run_in(node: &TestNode, more: &str, mode: Mode) -> (Option<String>, String) {
    let config = node.config(more);
    let document = node.document();
    let partition = Partition::open(&config, &document).unwrap();
    let mut said = String::new();
    let checks = Checks {
        config: &config,
        client: None,
        runners: &node.runners,
        cancel: &Cancel::new(),
    };
    let result = check(&checks, &partition, mode, &mut |line| {
        said.push_str(line);
        said.push('\n');
    });
    match result {
        Ok(()) => (None, said),
        Err(PromiseError::Failed(text)) => (Some(text), said),
        Err(other) => panic!("{other:?}\n{said}"),
    }
}

fn run(node: &TestNode, mode: Mode) -> Option<String> {
    run_in(node, "", mode).0
}

fn status(node: &TestNode, title: &str) -> Status {
    let path = node.partition(&format!(".slapgrid/promise/result/{title}.status.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Makes every promise due again.
pub(super) fn age(node: &TestNode) {
    for entry in fs::read_dir(node.partition(".slapgrid/promise/cache")).unwrap() {
        let path = entry.unwrap().path();
        let mut cache: Cache = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        cache.next_run_after = 0.0;
        fs::write(&path, serde_json::to_string(&cache).unwrap()).unwrap();
    }
}

#[test]
fn n_4_3_due_or_not() {
    let cache = |is_tested, is_anomaly_detected| Cache {
        is_tested,
        is_anomaly_detected,
        periodicity: 2.into(),
        next_run_after: 100.0,
        timestamp: 0.0,
        module_file: String::new(),
        module_file_mtime: 0.0,
    };
    let (both, test_only, anomaly_only) =
        (cache(true, true), cache(true, false), cache(false, true));
    for (cache, mode, now, expected) in [
        (None, Mode::Test, 0.0, Due::Run),
        (None, Mode::Anomaly, 0.0, Due::Run),
        (Some(&both), Mode::Test, 50.0, Due::Run),
        (Some(&both), Mode::Anomaly, 50.0, Due::Later),
        (Some(&both), Mode::Anomaly, 100.0, Due::Run),
        (Some(&test_only), Mode::Anomaly, 200.0, Due::Skip),
        (Some(&test_only), Mode::Test, 50.0, Due::Run),
        (Some(&anomaly_only), Mode::Test, 200.0, Due::Skip),
        (Some(&anomaly_only), Mode::Anomaly, 50.0, Due::Later),
    ] {
        assert_eq!(due(cache, mode, now), expected, "{mode:?} {now}");
    }
}

#[test]
fn n_4_4_an_executable_fails_at_once_after_deployment_and_at_the_third_time_in_between() {
    let node = TestNode::new();
    node.write(
        "etc/promise/check.sh",
        "#!/bin/sh\necho it is broken; exit 1\n",
        0o755,
    );
    node.write("etc/promise/data.txt", "", 0o644);
    let mut failures = Vec::new();
    for _ in 0..3 {
        failures.push(run(&node, Mode::Anomaly).is_some());
        age(&node);
    }
    assert_eq!(failures, [false, false, true]);
    let (failure, said) = run_in(&node, "", Mode::Test);
    assert_eq!(
        failure.unwrap(),
        "Promise 'check.sh' failed with output: it is broken"
    );
    assert!(said.contains("Bad promise file at "), "{said}");
    let status = status(&node, "check");
    assert!(status.result.failed);
    assert_eq!(status.result.kind, Kind::Test, "executables never bang");
    node.write("etc/promise/check.sh", "#!/bin/sh\necho fine\n", 0o755);
    assert_eq!(run(&node, Mode::Test), None);
}

#[test]
fn n_4_3_what_is_not_due_is_not_run_and_its_result_still_counts() {
    let node = TestNode::new();
    let counter = node.partition("count");
    let script = format!("#!/bin/sh\necho x >> {}; exit 1\n", counter.display());
    node.write("etc/promise/check", &script, 0o755);
    assert!(run(&node, Mode::Test).is_some());
    let (failure, said) = run_in(&node, "", Mode::Anomaly);
    assert!(failure.is_some(), "the saved failure counts");
    assert!(
        said.contains("1 promises didn't need to be checked."),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&counter).unwrap(), "x\n");
}

#[test]
fn n_4_3_a_promise_that_hangs_is_ended() {
    let node = TestNode::new();
    node.write("etc/promise/hang", "#!/bin/sh\nsleep 1000\n", 0o755);
    let more = "promise_timeout = 1";
    let message = "Promise 'hang' failed with output: Error: Promise timed out after 1 seconds";
    assert_eq!(
        run_in(&node, more, Mode::Anomaly).0,
        None,
        "the first time is forgiven"
    );
    age(&node);
    assert_eq!(
        run_in(&node, more, Mode::Anomaly).0.as_deref(),
        Some(message)
    );
    assert_eq!(run_in(&node, more, Mode::Test).0.as_deref(), Some(message));
    assert_eq!(status(&node, "hang").result.kind, Kind::Test);
}

const PLUGIN: &str = "\
from zope.interface import implementer
from slapos.grid.promise import interface
from slapos.grid.promise.generic import GenericPromise

extra_config_dict = {'word': 'hello', 'frequency': '5'}

@implementer(interface.IPromise)
class RunPromise(GenericPromise):
  def __init__(self, config):
    super(RunPromise, self).__init__(config)
    self.setPeriodicity(float(self.getConfig('frequency')))
  def sense(self):
    print('printed by the plugin')
    BODY
";

fn plugin(body: &str) -> String {
    PLUGIN.replace("BODY", body)
}

#[test]
fn n_4_4_a_plugin_without_slapos_core_uses_the_stand_in() {
    let node = TestNode::new();
    let body =
        "self.logger.info('%s from %s', self.getConfig('word'), self.getConfig('partition-id'))";
    let path = node.write("etc/plugin/hello-1.py", &plugin(body), 0o644);
    node.write("etc/plugin/__init__.py", "", 0o644);
    let (failure, said) = run_in(&node, "", Mode::Test);
    assert_eq!(failure, None, "{said}");
    assert!(said.contains("printed by the plugin"), "{said}");
    let status = status(&node, "hello-1");
    assert_eq!(status.result.message.as_deref(), Some("hello from part0"));
    assert_eq!(status.path, path.display().to_string());
    let cache = fs::read_to_string(node.partition(".slapgrid/promise/cache/hello-1")).unwrap();
    assert!(
        cache.starts_with("{\"is_tested\": true, \"is_anomaly_detected\": true, \"periodicity\": 5.0, \"next_run_after\": "),
        "{cache}"
    );
    let (_, said) = run_in(&node, "", Mode::Anomaly);
    assert!(
        !said.contains("printed"),
        "nothing is due: no Python is started"
    );
}

#[test]
fn n_4_3_what_plugins_do_wrong_is_their_failure() {
    for (name, text, message) in [
        (
            "bad.py",
            plugin("self.logger.error('it broke')"),
            "it broke",
        ),
        ("bad.py", plugin("raise ValueError('in sense')"), "in sense"),
        ("bad.py", "syntax error".to_owned(), NO_OUTPUT),
        ("bad.py", "x = 1\n".to_owned(), NO_OUTPUT),
        ("1bad.py", plugin("pass"), NO_OUTPUT),
        ("bad.py", plugin("import os; os._exit(3)"), NO_OUTPUT),
        (
            "bad.py",
            plugin("pass") + "extra_config_dict = {'master-url': 'x'}\n",
            NO_OUTPUT,
        ),
    ] {
        let node = TestNode::new();
        node.write(&format!("etc/plugin/{name}"), &text, 0o644);
        node.write(
            "etc/plugin/good.py",
            &plugin("self.logger.info('good')"),
            0o644,
        );
        let (failure, said) = run_in(&node, "", Mode::Test);
        assert_eq!(
            failure,
            Some(format!("Promise '{name}' failed with output: {message}")),
            "{said}"
        );
        assert!(!status(&node, "good").result.failed, "the others are run");
    }
}

#[test]
fn n_4_3_a_plugin_that_hangs_is_ended_and_the_others_are_run() {
    let node = TestNode::new();
    node.write(
        "etc/plugin/a.py",
        &plugin("import time; time.sleep(1000)"),
        0o644,
    );
    node.write(
        "etc/plugin/b.py",
        &plugin("self.logger.info('good')"),
        0o644,
    );
    let (failure, said) = run_in(&node, "promise_timeout = 1", Mode::Test);
    assert_eq!(
        failure.as_deref(),
        Some("Promise 'a.py' failed with output: Error: Promise timed out after 1 seconds"),
        "{said}"
    );
    assert!(!status(&node, "b").result.failed, "{said}");
}

#[test]
fn n_4_3_a_plugin_for_one_mode_only_is_left_alone_in_the_other() {
    let node = TestNode::new();
    let text = plugin("self.logger.error('never')").replace(
        "    self.setPeriodicity",
        "    self.setTestLess()\n    self.setPeriodicity",
    );
    node.write("etc/plugin/only.py", &text, 0o644);
    assert_eq!(run(&node, Mode::Test), None);
    assert!(
        !node
            .partition(".slapgrid/promise/result/only.status.json")
            .exists()
    );
    let failure = run(&node, Mode::Anomaly);
    assert_eq!(
        failure.as_deref(),
        Some("Promise 'only.py' failed with output: never")
    );
    assert_eq!(status(&node, "only").result.kind, Kind::Anomaly);
    assert_eq!(run(&node, Mode::Test), None);
}

#[test]
fn a_planted_link_in_the_promises_directories_is_not_followed() {
    let node = TestNode::new();
    node.write("etc/promise/check", "#!/bin/sh\nexit 0\n", 0o755);
    let outside = node.path("outside");
    fs::write(&outside, "precious").unwrap();
    fs::create_dir_all(node.partition(".slapgrid/promise/log")).unwrap();
    std::os::unix::fs::symlink(&outside, node.partition(".slapgrid/promise/log/check.log"))
        .unwrap();
    run(&node, Mode::Test);
    assert_eq!(fs::read_to_string(&outside).unwrap(), "precious");
}

#[test]
fn logs_are_bounded_and_what_promises_are_judged_by_stays() {
    let node = TestNode::new();
    node.write("etc/promise/script", "#!/bin/sh\nexit 0\n", 0o755);
    node.write(
        "etc/plugin/plug.py",
        &plugin("self.logger.info('now')"),
        0o644,
    );
    run(&node, Mode::Test);
    for title in ["script", "plug"] {
        let log = node.partition(&format!(".slapgrid/promise/log/{title}.log"));
        let last = fs::read(&log).unwrap();
        let old = b"2026-01-01 00:00:00 - INFO - 1-100 - old\n".repeat(30_000);
        fs::write(&log, [old, last].concat()).unwrap();
    }
    assert_eq!(run(&node, Mode::Test), None);
    for title in ["script", "plug"] {
        let log = node.partition(&format!(".slapgrid/promise/log/{title}.log"));
        let text = fs::read_to_string(&log).unwrap();
        assert!(text.starts_with("2026-01-01 00:00:00 - INFO") && text.len() < 300 << 10);
        assert!(!text.lines().rev().take(2).any(|line| line.ends_with("old")));
        let before = fs::metadata(format!("{}.1", log.display())).unwrap();
        assert_eq!(before.len(), 1 << 20);
    }
}

/// The pid of the one Python that waits.
#[track_caller]
fn waiting(node: &TestNode) -> u32 {
    let waiting = node.runners.waiting();
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    waiting[0]
}

/// N 4.6: one interpreter is kept for a partition; it is another one only when it has to be.
#[test]
fn n_4_6_the_runner_stays_until_plugins_change() {
    let node = TestNode::new();
    node.write("etc/plugin/a.py", &plugin("self.logger.info('a')"), 0o644);
    assert_eq!(run(&node, Mode::Test), None);
    let first = waiting(&node);
    assert_eq!(run(&node, Mode::Test), None);
    assert_eq!(waiting(&node), first, "the same one works on");
    assert_eq!(run(&node, Mode::Anomaly), None);
    assert_eq!(waiting(&node), first, "nothing is due");
    let rustix_pid = rustix::process::Pid::from_raw(first as i32).unwrap();
    rustix::process::kill_process(rustix_pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(run(&node, Mode::Test), None, "nothing is lost with it");
    let second = waiting(&node);
    assert_ne!(second, first);
    node.write("etc/plugin/b.py", &plugin("self.logger.error('b')"), 0o644);
    assert!(run(&node, Mode::Test).is_some());
    let third = waiting(&node);
    assert_ne!(third, second);
    node.runners.end(&"part0".parse().unwrap());
    assert!(node.runners.waiting().is_empty());
    assert!(!std::path::Path::new(&format!("/proc/{third}")).exists());
}

#[test]
fn n_4_6_a_runner_that_has_nothing_to_do_ends() {
    let mut node = TestNode::new();
    node.runners = Runners::waiting_for(Duration::from_millis(20));
    node.write("etc/plugin/a.py", &plugin("self.logger.info('a')"), 0o644);
    assert_eq!(run(&node, Mode::Test), None);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !node.runners.waiting().is_empty() {
        assert!(std::time::Instant::now() < deadline, "it stays");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(run(&node, Mode::Test), None, "another one is started");
}

#[test]
fn a_plugin_that_kills_the_runner_harms_only_itself() {
    let node = TestNode::new();
    let kill = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)";
    node.write("etc/plugin/killer.py", &plugin(kill), 0o644);
    for name in ["a", "b", "z"] {
        let body = format!("self.logger.info('{name}')");
        node.write(&format!("etc/plugin/{name}.py"), &plugin(&body), 0o644);
    }
    let (failure, said) = run_in(&node, "", Mode::Test);
    assert_eq!(
        failure.unwrap(),
        format!("Promise 'killer.py' failed with output: {NO_OUTPUT}"),
        "{said}"
    );
    for title in ["a", "b", "z"] {
        assert!(!status(&node, title).result.failed, "{title}");
    }
}

/// N 4.3: what is known of a promise does not count when its module is gone; here also not when the
/// promise or its module was changed since.
#[test]
fn n_4_3_a_cache_of_another_module_does_not_count() {
    let node = TestNode::new();
    let module = node.write("lib/check.py", "", 0o644);
    let plugin = node.write("etc/plugin/a.py", &plugin("pass"), 0o644);
    run(&node, Mode::Test);
    let cache_file = node.partition(".slapgrid/promise/cache/a");
    let known: Cache = serde_json::from_slice(&fs::read(&cache_file).unwrap()).unwrap();
    let past = |cache: &Cache| {
        fs::write(&cache_file, serde_json::to_string(cache).unwrap()).unwrap();
        let config = node.config("");
        let document = node.document();
        let partition = Partition::open(&config, &document).unwrap();
        files::Past::open(&partition.dir)
            .cache("a", &plugin)
            .is_some()
    };
    let of = |file: &std::path::Path, modified: f64| Cache {
        module_file: file.display().to_string(),
        module_file_mtime: modified,
        ..known.clone()
    };
    let modified = files::modified(&module).unwrap();
    assert!(past(&known));
    assert!(past(&of(&module, modified)));
    assert!(
        !past(&of(&module, modified - 10.0)),
        "the module was changed"
    );
    assert!(!past(&of(&node.partition("lib/gone.py"), modified)));
    let early = Cache {
        timestamp: 1.0,
        ..known.clone()
    };
    assert!(!past(&early), "the plugin was changed since");
    let late = Cache {
        timestamp: known.timestamp + 1e6,
        ..known.clone()
    };
    assert!(!past(&late), "the clock was set back");
    fs::write(&cache_file, "broken").unwrap();
    assert_eq!(run(&node, Mode::Anomaly), None);
    assert!(fs::read_to_string(&cache_file).unwrap().starts_with('{'));
}

/// N 4.3: whatever they do at the same time, results are recorded in the order of the names.
#[test]
fn n_4_3_the_first_failure_is_the_first_by_name() {
    let node = TestNode::new();
    node.write(
        "etc/plugin/a.py",
        &plugin("import time; time.sleep(0.3); self.logger.error('slow')"),
        0o644,
    );
    node.write(
        "etc/plugin/b.py",
        &plugin("self.logger.error('fast')"),
        0o644,
    );
    node.write("etc/promise/c", "#!/bin/sh\necho first; exit 1\n", 0o755);
    let failure = run(&node, Mode::Test);
    assert_eq!(
        failure.as_deref(),
        Some("Promise 'a.py' failed with output: slow")
    );
}

#[test]
fn plugins_may_import_each_other_but_hide_nothing() {
    let node = TestNode::new();
    node.write(
        "etc/plugin/json.py",
        &plugin("self.logger.info('mine')"),
        0o644,
    );
    node.write("etc/plugin/helper.py", "WORD = 'helped'\n", 0o644);
    // Nor does what lies in the partition, which is the working directory.
    for name in ["json.py", "ast.py", "select.py"] {
        node.write(name, "raise SystemExit('hidden')\n", 0o644);
    }
    let body = "import helper, json; self.logger.info(json.dumps(helper.WORD))";
    node.write("etc/plugin/user.py", &plugin(body), 0o644);
    run(&node, Mode::Test);
    assert_eq!(
        status(&node, "user").result.message.as_deref(),
        Some("\"helped\"")
    );
    assert_eq!(
        status(&node, "json").result.message.as_deref(),
        Some("mine")
    );
}

/// N 4.1, 4.5: what older versions left is removed, and what was compiled from a plugin that is gone.
#[test]
fn n_4_5_what_is_outdated_is_removed() {
    let node = TestNode::new();
    node.write("etc/promise/check", "#!/bin/sh\n", 0o755);
    for name in [
        "promise_status.json",
        "global.json",
        "check.timestamp",
        "history/x",
    ] {
        node.write(&format!(".slapgrid/promise/{name}"), "{}", 0o644);
    }
    node.write("etc/plugin/gone.pyc", "", 0o644);
    node.write("etc/plugin/there.pyc", "", 0o644);
    node.write("etc/plugin/there.py", &plugin("pass"), 0o644);
    run(&node, Mode::Test);
    let mut left: Vec<_> = fs::read_dir(node.partition(".slapgrid/promise"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["cache", "log", "result"]);
    assert!(!node.partition("etc/plugin/gone.pyc").exists());
    assert!(node.partition("etc/plugin/there.pyc").exists());
}

/// For whoever wakes up when a promise is due.
#[test]
fn the_next_due_moment_is_known_from_the_caches() {
    let node = TestNode::new();
    let config = node.config("");
    let partition = "part0".parse().unwrap();
    let next = || next_due(&config, &partition);
    let seconds = |moment: SystemTime| time::unix(moment) - time::unix(SystemTime::now());
    assert_eq!(next(), None, "no promises");
    node.write("etc/promise/check", "#!/bin/sh\n", 0o755);
    assert!(seconds(next().unwrap()) < 0.0, "it was never run");
    run(&node, Mode::Test);
    let left = seconds(next().unwrap());
    assert!((60.0..=120.0).contains(&left), "{left}");
    node.write("etc/plugin/bad.py", "syntax error", 0o644);
    assert!(seconds(next().unwrap()) < 0.0, "the plugin was never run");
    run(&node, Mode::Test);
    let left = seconds(next().unwrap());
    assert!((30.0..=60.0).contains(&left), "it cannot say when: {left}");
    fs::remove_file(node.partition("etc/plugin/bad.py")).unwrap();
    age(&node);
    let left = seconds(next().unwrap());
    assert!(left <= 5.0, "due, but not at once again: {left}");
}

/// N 4.4: at most one promise of a run bangs, only between deployments, and only if it may.
#[test]
fn n_4_4_one_promise_of_a_run_bangs() {
    let node = TestNode::new();
    for name in ["a", "b", "c"] {
        node.write(
            &format!("etc/plugin/{name}.py"),
            &plugin("self.logger.error('no')"),
            0o644,
        );
    }
    let bangs = || -> usize {
        ["a", "b", "c"]
            .iter()
            .map(|name| {
                let log = node.partition(&format!(".slapgrid/promise/log/{name}.log"));
                let log = fs::read_to_string(log).unwrap_or_default();
                log.matches("Bang with message").count()
            })
            .sum()
    };
    run(&node, Mode::Test);
    assert_eq!(bangs(), 0);
    age(&node);
    run(&node, Mode::Anomaly);
    assert_eq!(bangs(), 1);
    for name in ["a", "b", "c"] {
        let text =
            plugin("self.logger.error('no')").replace("'5'}", "'5', 'bang-on-failure': 'false'}");
        node.write(&format!("etc/plugin/{name}.py"), &text, 0o644);
    }
    age(&node);
    run(&node, Mode::Anomaly);
    assert_eq!(bangs(), 1);
}
