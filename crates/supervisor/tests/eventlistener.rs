//! Event listeners and what programs are given to read, with a real daemon; and beside the released
//! supervisord, where `SLAPOS_TEST_SUPERVISORCTL` says where that is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{Nest, PATIENCE, alive, daemon_program, eventually, group, kill, shell};
use rustix::process::Signal;
use supervisor::fault::FaultCode;
use supervisor::{Client, ProcessState};

/// A listener that writes down what it is told. It fails once what says `fail-once`, and waits as
/// long as there is a file `hold`.
const LISTENER: &str = r#"#!/bin/sh
while :; do
  printf 'READY\n'
  read -r header || exit
  payload=$(dd bs=1 count="${header##*len:}" 2>/dev/null; echo .)
  while [ -e "$1/hold" ]; do sleep 0.01; done
  case "$payload" in
  *fail-once*) if mkdir "$1/failed" 2>/dev/null; then printf 'RESULT 4\nFAIL'; continue; fi ;;
  *violate*) echo nonsense; continue ;;
  esac
  printf '%s\n%s\n--\n' "$header" "${payload%.}" >> "$1/seen-$SUPERVISOR_PROCESS_NAME"
  printf 'RESULT 2\nOK'
done
"#;

fn listener(nest: &Nest, more: &str) {
    let config = fs::read_to_string(nest.config()).unwrap();
    fs::write(
        nest.config(),
        config.replace("loglevel = info", "loglevel = debug"),
    )
    .unwrap();
    let script = nest.root().join("listener");
    fs::write(&script, LISTENER).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let root = nest.root().display();
    let text = format!(
        "[eventlistener:ears]\ncommand={root}/listener {root}\nstartsecs=0\n\
         environment=PATH=\"/usr/bin:/bin\"\n{more}\n"
    );
    fs::write(nest.root().join("etc/conf.d/ears.conf"), text).unwrap();
}

fn seen(nest: &Nest, name: &str) -> Vec<String> {
    let text = fs::read_to_string(nest.root().join(format!("seen-{name}"))).unwrap_or_default();
    text.split_terminator("\n--\n").map(str::to_owned).collect()
}

fn remote(nest: &Nest, data: &str) {
    nest.client.send_event("test", data).unwrap();
}

/// What was told besides the header's first words.
fn told(nest: &Nest, name: &str, count: usize) -> Vec<String> {
    eventually("all is told", || {
        let seen = seen(nest, name);
        (seen.len() >= count).then_some(())
    });
    let short = |event: &String| event.split_once("eventname:").unwrap().1.to_owned();
    seen(nest, name).iter().map(short).collect()
}

#[test]
fn listeners_are_told_what_they_asked_for() {
    let nest = Nest::prepare();
    nest.write(&group("g", vec![shell("once", "exit 3")]));
    listener(&nest, "events=REMOTE_COMMUNICATION,PROCESS_STATE_EXITED");
    nest.launch();
    nest.wait_state("ears", ProcessState::Running);
    remote(&nest, "fail-once");
    nest.client.start("g:once", true).unwrap();
    // Events are told in the order they happen: the last one is sent when the end is known.
    nest.wait_state("g:once", ProcessState::Exited);
    remote(&nest, "last");
    assert_eq!(
        told(&nest, "ears", 3),
        [
            "REMOTE_COMMUNICATION len:19\ntype:test\nfail-once",
            &format!(
                "PROCESS_STATE_EXITED len:{}\n{}",
                "processname:once groupname:g from_state:RUNNING expected:0 pid:".len()
                    + exited_pid(&nest).len(),
                format_args!(
                    "processname:once groupname:g from_state:RUNNING expected:0 pid:{}",
                    exited_pid(&nest)
                )
            ),
            "REMOTE_COMMUNICATION len:14\ntype:test\nlast",
        ]
    );
    // Who does not speak the protocol is told nothing more, and loses nothing for others.
    remote(&nest, "violate");
    eventually("it is said so", || {
        nest.daemon_log()
            .contains("ears: has entered the UNKNOWN state")
            .then_some(())
    });
    fs::remove_file(nest.root().join("seen-ears")).unwrap();
    remote(&nest, "after");
    kill(nest.pid("ears"), Signal::KILL);
    // Started again, it violates again: what it had comes back to it.
    eventually("it is started again", || {
        let said = nest.daemon_log().matches("UNKNOWN state").count();
        (said == 2).then_some(())
    });
    assert_eq!(seen(&nest, "ears"), [""; 0]);
}

fn exited_pid(nest: &Nest) -> String {
    let log = nest.daemon_log();
    let line = log.lines().find(|line| line.contains("spawned: 'g:once'"));
    line.unwrap().rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn a_pool_shares_the_work_and_its_buffer_is_bounded() {
    let nest = Nest::prepare();
    listener(
        &nest,
        "process_name=ear%(process_num)d\nnumprocs=2\nbuffer_size=3\nevents=REMOTE_COMMUNICATION",
    );
    nest.launch();
    for name in ["ears:ear0", "ears:ear1"] {
        nest.wait_state(name, ProcessState::Running);
    }
    // Both have one, three wait, and the oldest of six had to go.
    fs::write(nest.root().join("hold"), "").unwrap();
    for number in ["0", "1"] {
        remote(&nest, number);
        // Told to one of them, and not waiting.
        eventually("it is being told", || {
            let said = format!("event {number} sent to listener");
            nest.daemon_log().contains(&said).then_some(())
        });
    }
    for number in 2..6 {
        remote(&nest, &number.to_string());
    }
    eventually("it is said", || {
        let said = "pool ears event buffer overflowed, discarding event 2";
        nest.daemon_log().contains(said).then_some(())
    });
    fs::remove_file(nest.root().join("hold")).unwrap();
    let all = eventually("the rest is told", || {
        let mut all: Vec<String> = ["ear0", "ear1"]
            .iter()
            .flat_map(|n| seen(&nest, n))
            .collect();
        all.sort();
        (all.len() == 5).then_some(all)
    });
    let mut numbers: Vec<&str> = all.iter().map(|e| e.rsplit('\n').next().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, ["0", "1", "3", "4", "5"]);
}

#[test]
fn ticks_are_told_to_those_who_asked() {
    let nest = Nest::with(&[]);
    // Added while the daemon runs.
    listener(&nest, "events=TICK_5");
    assert_eq!(nest.client.update(None).unwrap().added, ["ears"]);
    let first = &told(&nest, "ears", 1)[0];
    let when: i64 = first.rsplit(':').next().unwrap().parse().unwrap();
    assert!(
        first.starts_with("TICK_5 len:15\nwhen:") && when % 5 == 0,
        "{first}"
    );
    // Nobody asks any more.
    fs::remove_file(nest.root().join("etc/conf.d/ears.conf")).unwrap();
    assert_eq!(nest.client.update(None).unwrap().removed, ["ears"]);
}

#[test]
fn the_next_daemon_tells_on_and_writes_on() {
    let nest = Nest::prepare();
    nest.write(&group(
        "g",
        vec![
            shell("cat", "exec cat"),
            shell("deaf", "exec sleep 1000 <&-"),
        ],
    ));
    listener(&nest, "events=REMOTE_COMMUNICATION");
    nest.launch();
    nest.client.start_group("g", true).unwrap();
    nest.client.send_stdin("g:cat", "before\n").unwrap();
    eventually("it is read", || {
        (nest.read_log("g", "cat") == "before\n").then_some(())
    });
    remote(&nest, "one");
    told(&nest, "ears", 1);

    let pids = (nest.pid("g:cat"), nest.pid("ears"));
    nest.murder();
    nest.launch();
    assert_eq!(nest.pid("g:cat"), pids.0);
    nest.client.send_stdin("g:cat", "after\n").unwrap();
    eventually("it is read", || {
        (nest.read_log("g", "cat") == "before\nafter\n").then_some(())
    });
    // A listener begins anew: nobody knows what it was told.
    eventually("it is another one", || {
        let pid = nest.pid("ears");
        (pid > 0 && pid != pids.1).then_some(())
    });
    assert!(!alive(pids.1));
    remote(&nest, "two");
    assert!(told(&nest, "ears", 2)[1].ends_with("\ntwo"));

    // What cannot be given is refused.
    let refused = |name: &str, text: &str| nest.client.send_stdin(name, text).unwrap_err().fault();
    eventually("it has closed its input", || {
        let answer = nest.client.send_stdin("g:deaf", "x");
        answer.is_err().then_some(())
    });
    assert_eq!(refused("g:deaf", "x"), Some(FaultCode::NoFile));
    assert_eq!(refused("g:nobody", "x"), Some(FaultCode::BadName));
    kill(nest.pid("g:cat"), Signal::STOP);
    let much = "x".repeat(500 << 10);
    let full = (0..4).find_map(|_| nest.client.send_stdin("g:cat", &much).err());
    assert_eq!(full.unwrap().fault(), Some(FaultCode::Failed));
    kill(nest.pid("g:cat"), Signal::CONT);
    eventually("what was taken is read", || {
        (nest.read_log("g", "cat").len() > 1_000 << 10).then_some(())
    });
    nest.client.stop("g:cat", true).unwrap();
    assert_eq!(refused("g:cat", "x"), Some(FaultCode::NotRunning));
    // Its channel is gone with it.
    nest.client.stop_all(true).unwrap();
    let left = fs::read_dir(nest.root().join("var/run/supervisor-output")).unwrap();
    assert_eq!(left.count(), 0);
}

/// One of the two supervisors, with the same configuration.
struct Side {
    root: PathBuf,
    client: Client,
    daemon: Child,
}

impl Drop for Side {
    fn drop(&mut self) {
        // With all it keeps, also after a failure.
        let _ = self.client.shutdown_and_wait(PATIENCE);
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

impl Side {
    fn start(program: &mut Command, root: &Path, python: &Path) -> Side {
        fs::create_dir_all(root.join("d")).unwrap();
        let (here, python) = (root.display(), python.display());
        fs::write(
            root.join("listener.py"),
            "import signal, sys\n\
             from supervisor import childutils\n\
             # What stops it comes beside the last event.\n\
             signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
             out = open(sys.argv[1] + '/seen', 'a')\n\
             failed = False\n\
             childutils.listener.ready(sys.stdout)\n\
             while True:\n\
             \x20 headers = childutils.get_headers(sys.stdin.readline())\n\
             \x20 payload = sys.stdin.read(int(headers['len']))\n\
             \x20 if 'greeting' in payload and not failed:\n\
             \x20   failed = True\n\
             \x20   childutils.listener.fail(sys.stdout)\n\
             \x20   childutils.listener.ready(sys.stdout)\n\
             \x20   continue\n\
             \x20 line = ' '.join(':'.join(pair) for pair in headers.items())\n\
             \x20 out.write(line + '\\n' + payload + '\\n')\n\
             \x20 last = headers['eventname'] == 'SUPERVISOR_STATE_CHANGE_STOPPING'\n\
             \x20 if not last:\n\
             \x20   childutils.listener.ok(sys.stdout)\n\
             \x20   childutils.listener.ready(sys.stdout)\n\
             \x20 # Only now is it ready for more: an event that nobody is ready for at the end is lost.\n\
             \x20 out.write('--\\n')\n\
             \x20 out.flush()\n\
             \x20 if last:\n\
             \x20   break\n",
        )
        .unwrap();
        let conf = root.join("s.conf");
        let text = format!(
            "[supervisord]\nlogfile={here}/s.log\npidfile={here}/s.pid\nchildlogdir={here}\n\
             [unix_http_server]\nfile={here}/s.sock\n\
             [rpcinterface:supervisor]\n\
             supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
             [include]\nfiles={here}/d/*.conf\n\
             [eventlistener:pool]\ncommand={python} {here}/listener.py {here}\nstartsecs=0\n\
             events=PROCESS_STATE,PROCESS_COMMUNICATION,PROCESS_LOG,REMOTE_COMMUNICATION,SUPERVISOR_STATE_CHANGE,PROCESS_GROUP\n\
             [program:once]\ncommand=/bin/sh -c \"exit 3\"\nautostart=false\nautorestart=false\nstartsecs=0\n\
             [program:early]\ncommand=/bin/cat\nautostart=false\nstartsecs=0\n\
             stdout_events_enabled=true\nstdout_capture_maxbytes=1MB\n"
        );
        fs::write(&conf, text).unwrap();
        program
            .arg(&conf)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let side = Side {
            root: root.to_owned(),
            client: Client::new(root.join("s.sock")),
            daemon: program.spawn().unwrap(),
        };
        eventually("it answers", || side.client.state().ok());
        side
    }

    /// Everything told so far, once something with this text was, without numbers of processes.
    fn seen(&self, last: &str) -> String {
        let read = || fs::read_to_string(self.root.join("seen")).unwrap_or_default();
        eventually(last, || {
            let text = read();
            (text.contains(last) && text.ends_with("\n--\n")).then_some(())
        });
        let without = |word: &str| match word.strip_prefix("pid:") {
            Some(pid) => format!("pid:{}", "N".repeat(pid.trim_end().len())),
            None => word.to_owned(),
        };
        let line = |line: &str| line.split(' ').map(without).collect::<Vec<_>>().join(" ");
        read().lines().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// The same things happen to both; their listeners are told the same, byte for byte.
#[test]
fn listeners_of_the_released_supervisord_are_told_the_same() {
    let Some(upstream) = std::env::var_os("SLAPOS_TEST_SUPERVISORCTL").map(PathBuf::from) else {
        return;
    };
    let (python, supervisord) = (
        upstream.with_file_name("python"),
        upstream.with_file_name("supervisord"),
    );
    let directory = tempfile::Builder::new().prefix("ev").tempdir().unwrap();
    let sides = [
        Side::start(
            Command::new(supervisord).args(["-n", "-c"]),
            &directory.path().join("a"),
            &python,
        ),
        Side::start(
            &mut Command::new(daemon_program()),
            &directory.path().join("b"),
            &python,
        ),
    ];
    let both = |what: &str, last: &str, act: &dyn Fn(&Side)| {
        sides.iter().for_each(act);
        let [theirs, ours] = [0, 1].map(|at| sides[at].seen(last));
        assert_eq!(theirs, ours, "{what}");
    };
    let nothing = |_: &Side| {};
    both("started", "from_state:STARTING pid:", &nothing);
    both("ran", "from_state:RUNNING expected:0", &|side| {
        side.client.start("once", false).unwrap();
    });
    both("remote", "type:greeting\nh\u{e9}llo\nyou", &|side| {
        side.client
            .send_event("greeting", "h\u{e9}llo\nyou")
            .unwrap();
    });
    both(
        "reads",
        "processname:early groupname:early from_state:STARTING",
        &|side| {
            side.client.start("early", true).unwrap();
        },
    );
    both("said", "a line that is long enough", &|side| {
        side.client
            .send_stdin("early", "a line that is long enough\n")
            .unwrap();
    });
    both(
        "communicated",
        "after it, long enough to be told",
        &|side| {
            let text = "b<!--XSUPERVISOR:BEGIN-->inner \u{e9}<!--XSUPERVISOR:END-->after it, long enough to be told\n";
            side.client.send_stdin("early", text).unwrap();
        },
    );
    both("stopped", "from_state:STOPPING", &|side| {
        side.client.stop("early", true).unwrap();
    });
    both(
        "added",
        "PROCESS_GROUP_ADDED len:14\ngroupname:new",
        &|side| {
            let text = "[program:new]\ncommand=/bin/cat\nautostart=false\n";
            fs::write(side.root.join("d/new.conf"), text).unwrap();
            side.client.reload().unwrap();
            side.client.add_group("new").unwrap();
        },
    );
    both("removed", "PROCESS_GROUP_REMOVED", &|side| {
        side.client.remove_group("new").unwrap();
    });
    both("ended", "SUPERVISOR_STATE_CHANGE_STOPPING", &|side| {
        side.client.shutdown_and_wait(PATIENCE).unwrap();
    });
}
