//! The same promises, run by the released `slapos.core` and by ours, with its library and with our
//! stand-in for it: the same results, caches and logs (N 4.3–4.5). And plugins of the released
//! `slapos.toolbox`, unchanged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use testkit::Peer;

use super::tests::{age, run_in};
use super::*;
use crate::testing::{TestNode, write};

/// The class of a plugin, around what is different.
const HEAD: &str = "\
import sys
sys.path[0:0] = PATH

extra_config_dict = {'word': 'hello', 'frequency': '1.5'}

for name in list(sys.modules):
  if 'slapos' in name or 'pkg_resources' in name:
    del sys.modules[name]

from zope.interface import implementer
from slapos.grid.promise import interface
from slapos.grid.promise.generic import GenericPromise, TestResult, AnomalyResult

@implementer(interface.IPromise)
class RunPromise(GenericPromise):
  def __init__(self, config):
    super(RunPromise, self).__init__(config)
    self.allowBang(False)
    self.init()
  def init(self):
    pass
";

/// Plugins by name: how each goes on after [`HEAD`].
const PLUGINS: &[(&str, &str)] = &[
    (
        "ok.py",
        "  def sense(self): self.logger.info('fine %s', self.getConfig('word'))\n",
    ),
    (
        "error.py",
        "  def sense(self): self.logger.error('broken')\n",
    ),
    (
        "raises.py",
        "  def sense(self): raise ValueError('in sense')\n",
    ),
    ("silent.py", "  def sense(self): pass\n"),
    (
        "lines.py",
        "  def sense(self):\n    self.logger.info('  one \\n\\n  two\\n')\n    self.logger.warning('three')\n",
    ),
    (
        "long.py",
        "  def sense(self): self.logger.error('é' * 5010)\n",
    ),
    (
        "often.py",
        "  def init(self): self.setPeriodicity(float(self.getConfig('frequency')))\n  \
         def sense(self): self.logger.info('ok')\n",
    ),
    (
        "testless.py",
        "  def init(self): self.setTestLess()\n  def sense(self): self.logger.error('t')\n",
    ),
    (
        "anomalyless.py",
        "  def init(self): self.setAnomalyLess()\n  def sense(self): self.logger.info('a')\n",
    ),
    (
        "useless.py",
        "  def init(self):\n    self.setAnomalyLess()\n    self.setTestLess()\n  def sense(self): pass\n",
    ),
    (
        "none.py",
        "  def sense(self): self.logger.info('x')\n  def test(self): return None\n  anomaly = test\n",
    ),
    (
        "twice.py",
        "  def sense(self): self.logger.error('again')\n  \
         def test(self): return self._test(result_count=3, failure_amount=2)\n  \
         def anomaly(self): return self._anomaly(3, 3, latest_minute=5)\n",
    ),
    (
        "own.py",
        "  def sense(self): self.logger.info('s')\n  \
         def test(self): return TestResult(problem=True, message='m' * 5001)\n  \
         def anomaly(self): return AnomalyResult(problem=False, message=None)\n",
    ),
    (
        "history.py",
        "  def sense(self):\n    found = self.getLastPromiseResultList(result_count=5)\n    \
         self.logger.info('%s', [[(l['status'], l['message']) for l in e] for e in found])\n",
    ),
    (
        "told.py",
        "  def sense(self): self.logger.info('%s', [self.getTitle(), self.getName(), \
         self.getPeriodicity(), self.isTested(), self.isAnomalyDetected(), \
         self.getConfig('partition-id'), self.getConfig('computer-id'), \
         self.getConfig('promise-timeout'), self.getConfig('partition-cert'), \
         self.getConfig('nothing', 'else'), self.getPromiseFile() == self.getPartitionFolder() + \
         '/etc/plugin/told.py', self.getLogFile() == self.getLogFolder() + '/told.log'])\n",
    ),
    (
        "exits.py",
        "  def sense(self):\n    import os\n    os._exit(3)\n",
    ),
    ("1st.py", "  def sense(self): pass\n"),
    ("senseless.py", "  pass\nRunPromise.sense = None\n"),
    ("classless.py", "  pass\ndel RunPromise\n"),
    (
        "undeclared.py",
        "  pass\nclass RunPromise(GenericPromise):\n  def sense(self): pass\n",
    ),
    (
        "underived.py",
        "  pass\n@implementer(interface.IPromise)\nclass RunPromise(object): pass\n",
    ),
    (
        "clash.py",
        "  def sense(self): pass\nextra_config_dict = {'partition-id': 'x'}\n",
    ),
];

const EXECUTABLES: &[(&str, &str)] = &[
    (
        "good.sh",
        "#!/bin/sh\necho; echo '  one'; echo; echo two >&2\n",
    ),
    ("bad", "#!/bin/sh\necho no; exit 3\n"),
    ("mute", "#!/bin/sh\nexit 1\n"),
    ("where", "#!/bin/sh\npwd | sed 's,.*/,,'\n"),
];

fn peer() -> Option<Peer> {
    let program = std::env::current_exe().unwrap();
    // A test is in `<target>/<profile>/deps`.
    Peer::below(program.ancestors().nth(3).unwrap())
}

/// A partition with all these promises.
fn partition(path: &str, plugins: &[(&str, &str)]) -> TestNode {
    let node = TestNode::new();
    for (name, body) in plugins {
        let text = format!("{HEAD}{body}").replace("PATH", path);
        node.write(&format!("etc/plugin/{name}"), &text, 0o644);
    }
    for (name, text) in EXECUTABLES {
        node.write(&format!("etc/promise/{name}"), text, 0o755);
    }
    node.write("etc/promise/data", "", 0o644);
    node
}

/// Has the release's Python be this one.
fn give_python(node: &TestNode, python: &Path) {
    let config = node.config("");
    let document = node.document();
    let release = Partition::open(&config, &document)
        .unwrap()
        .release_directory()
        .unwrap();
    write(
        &release.join("bin/buildout"),
        &format!("#!{}\n", python.display()),
        0o755,
    );
}

/// The released launcher; its exit code and what it says on stderr.
fn released(peer: &Peer, node: &TestNode, mode: Mode, seconds: u32) -> (i32, String) {
    let folder = node.partition("");
    let folder = folder.to_str().unwrap().trim_end_matches('/');
    let mut command = Command::new(peer.node_python());
    command
        .arg(peer.packages().join("slapos/grid/promise/runpromises.py"))
        .current_dir(folder)
        .arg(format!("--promise-folder={folder}/etc/plugin"))
        .arg(format!("--legacy-promise-folder={folder}/etc/promise"))
        .arg(format!("--partition-folder={folder}"))
        .arg(format!("--log-folder={folder}/.slapgrid/promise/log"))
        .arg(format!("--promise-timeout={seconds}"))
        .args(["--partition-id=part0", "--computer-id=COMP-1"]);
    command.arg(match mode {
        Mode::Test => "--force",
        Mode::Anomaly => "--check-anomaly",
    });
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), stderr)
}

/// What there is after a run, without what differs from one run to the next.
fn traces(node: &TestNode) -> BTreeMap<String, Value> {
    let folder = node.partition("").display().to_string();
    let mut found = BTreeMap::new();
    for directory in ["result", "cache", "log"] {
        for entry in fs::read_dir(node.partition(".slapgrid/promise").join(directory)).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{directory}/{}", path.file_name().unwrap().display());
            let text = fs::read_to_string(&path).unwrap().replace(&folder, "P/");
            let value = match directory {
                "log" => json!(anonymous(&text)),
                _ => neutral(serde_json::from_str(&text).unwrap(), &name),
            };
            found.insert(name, value);
        }
    }
    found
}

fn neutral(mut value: Value, name: &str) -> Value {
    if let Some(result) = value.get_mut("result") {
        result["date"] = json!(time::is_utc_iso(result["date"].as_str().unwrap()));
        let elapsed = value["execution-time"].as_f64().unwrap();
        value["execution-time"] = json!(elapsed > 0.0);
    } else {
        let timestamp = value["timestamp"].as_f64().unwrap();
        let next = value["next_run_after"].as_f64().unwrap();
        // Zero: made due by the test.
        value["next_run_after"] = json!(if next == 0.0 {
            0.0
        } else {
            (next - timestamp).round()
        });
        value["timestamp"] = json!(timestamp > 0.0);
        value["module_file_mtime"] = json!(value["module_file_mtime"].as_f64().unwrap() > 0.0);
        // Executables have no module; the released launcher names its own.
        let is_executable = EXECUTABLES
            .iter()
            .any(|(file, _)| name == format!("cache/{}", file.trim_end_matches(".sh")));
        if is_executable {
            value["module_file"] = Value::Null;
        }
    }
    value
}

/// A log without its dates, and with its executions numbered.
fn anonymous(log: &str) -> String {
    let mut text = String::new();
    let mut ids: Vec<&str> = Vec::new();
    for line in log.lines() {
        let mut parts = line.splitn(4, " - ");
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(_), Some(level), Some(id), Some(message)) => {
                if !ids.contains(&id) {
                    ids.push(id);
                }
                let _ = writeln!(text, "{level} {} {message}", ids.len());
            }
            _ => {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    text
}

/// Runs the same plugins in all three ways, in these modes, and compares what they leave.
fn compare(plugins: &[(&str, &str)], modes: &[Mode], seconds: u32) {
    let Some(peer) = peer() else { return };
    let packages = format!("['{}']", peer.packages().display());
    let theirs = partition(&packages, plugins);
    let with_library = partition(&packages, plugins);
    give_python(&with_library, &peer.node_python());
    // Without a release the system's Python runs them.
    let with_stand_in = partition("[]", plugins);
    let more = format!("promise_timeout = {seconds}");
    for (number, mode) in modes.iter().copied().enumerate() {
        let (code, said) = released(&peer, &theirs, mode, seconds);
        for (what, node) in [("library", &with_library), ("stand-in", &with_stand_in)] {
            let (failure, output) = run_in(node, &more, mode);
            assert_eq!(
                failure.is_some(),
                code == 2,
                "{mode:?} {number}, {what}\n{said}\n{output}"
            );
            let failure = failure.unwrap_or_default();
            assert_eq!(
                failure.starts_with("Promise '"),
                said.starts_with("Promise '"),
                "{failure}\n{said}"
            );
            let (expected, found) = (traces(&theirs), traces(node));
            for (name, expected) in &expected {
                let found = found.get(name).unwrap_or(&Value::Null);
                assert_eq!(found, expected, "{name}, {mode:?} {number}, {what}");
            }
            assert_eq!(expected.len(), found.len(), "{found:#?}");
        }
        for node in [&theirs, &with_library, &with_stand_in] {
            age(node);
        }
    }
}

/// N 4.3, 4.4, 4.5. It takes as long as the released launcher takes for one after the other.
#[test]
fn n_4_results_caches_and_logs_are_those_of_the_released_launcher() {
    compare(PLUGINS, &[Mode::Test, Mode::Anomaly, Mode::Anomaly], 20);
}

/// N 4.3: one that hangs is forgiven the first time between deployments, and only then.
#[test]
fn n_4_3_what_hangs_ends_as_with_the_released_launcher() {
    let hang = "  def sense(self):\n    import time\n    time.sleep(1000)\n";
    let modes = [Mode::Anomaly, Mode::Anomaly, Mode::Test];
    compare(&[("hang.py", hang)], &modes, 2);
}

/// A plugin as `slapos.cookbook:promise.plugin` generates it.
fn generated(path: &[PathBuf], module: &str, config: &Value) -> String {
    let path: Vec<_> = path.iter().map(|path| path.display().to_string()).collect();
    format!(
        "# Generated\nimport sys\nsys.path[0:0] = {}\n\nextra_config_dict = {config}\n\n\
         for name in list(sys.modules):\n  if 'slapos' in name or 'pkg_resources' in name:\n    \
         del sys.modules[name]\n\nfrom slapos.promise.plugin.{module} import RunPromise\n",
        json!(path)
    )
}

/// N 4.4: plugins of the released `slapos.toolbox` run unchanged, and say what they say to the
/// released launcher.
#[test]
fn n_4_4_plugins_of_the_toolbox_run_unchanged() {
    let Some(peer) = peer() else { return };
    let Some(toolbox) = peer.toolbox() else {
        return;
    };
    let path = [toolbox, peer.packages()];
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::{Read, Write};
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        }
    });
    let (theirs, ours) = (TestNode::new(), TestNode::new());
    give_python(&ours, &peer.node_python());
    let cases = [
        (
            "listening",
            "check_socket_listening",
            json!({"host": "127.0.0.1", "port": port}),
        ),
        (
            "closed",
            "check_socket_listening",
            json!({"host": "127.0.0.1", "port": "1"}),
        ),
        (
            "page",
            "check_url_available",
            json!({"url": format!("http://127.0.0.1:{port}/")}),
        ),
        (
            "moved",
            "check_url_available",
            json!({"url": format!("http://127.0.0.1:{port}/"), "http-code": "302", "frequency": "7"}),
        ),
        (
            "present",
            "check_file_state",
            json!({"filename": "etc/plugin/present.py", "state": "not-empty"}),
        ),
        (
            "absent",
            "check_file_state",
            json!({"filename": "/nowhere", "state": "not-empty"}),
        ),
        ("runs", "check_command_execute", json!({"command": "true"})),
        (
            "fails",
            "check_command_execute",
            json!({"command": "echo no; false"}),
        ),
        (
            "http-errors",
            "check_error_on_http_log",
            json!({"log-file": "/nowhere"}),
        ),
        (
            "service",
            "check_service_state",
            json!({"service": "x", "expect": ""}),
        ),
        (
            "monitor",
            "monitor_bootstrap_status",
            json!({"process-pid-file": "pid", "process-name": "m", "status-file": "status"}),
        ),
        ("deployed", "check_partition_deployment_state", json!({})),
    ];
    for node in [&theirs, &ours] {
        node.write("pid", "999999999", 0o644);
        for (name, module, config) in &cases {
            let mut config = config.clone();
            config["bang-on-failure"] = json!("false");
            let text = generated(&path, module, &config);
            node.write(&format!("etc/plugin/{name}.py"), &text, 0o644);
        }
        fs::create_dir(node.partition("etc/promise")).unwrap();
    }
    for mode in [Mode::Test, Mode::Anomaly] {
        let (code, said) = released(&peer, &theirs, mode, 20);
        assert_eq!(code, 2, "{said}");
        let (failure, output) = run_in(&ours, "", mode);
        assert!(failure.is_some(), "{output}");
        let (expected, found) = (traces(&theirs), traces(&ours));
        for (name, expected) in &expected {
            assert_eq!(found.get(name), Some(expected), "{name} {mode:?}\n{output}");
        }
        let failed: Vec<&str> = cases
            .iter()
            .map(|(name, ..)| *name)
            .filter(|name| {
                let result = found.get(&format!("result/{name}.status.json"));
                result.is_some_and(|status| status["result"]["failed"] == true)
            })
            .collect();
        match mode {
            Mode::Test => assert_eq!(failed, ["closed", "moved", "absent", "fails", "monitor"]),
            Mode::Anomaly => assert_eq!(failed, ["absent", "fails"]),
        }
        age(&theirs);
        age(&ours);
    }
}
