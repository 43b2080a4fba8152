//! Processes from start to end, with a real daemon.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use common::{Nest, PATIENCE, alive, daemon_program, eventually, group, shell};
use supervisor::config::{AutoRestart, LogConfig, User};
use supervisor::fault::FaultCode;
use supervisor::{ProcessState, ProgramConfig, Value, ensure_running};

#[test]
fn a_program_lives_and_dies_by_order() {
    let nest = Nest::with(&[group(
        "g",
        vec![
            shell("a", "echo hello; exec sleep 1000"),
            shell("b", "exit 3"),
        ],
    )]);
    assert_eq!(nest.state("g:a"), ProcessState::Stopped);
    nest.client.start("g:a", true).unwrap();
    let info = nest.client.process_info("g:a").unwrap();
    assert_eq!(info.state, ProcessState::Running);
    assert!(
        info.description
            .starts_with(&format!("pid {}, uptime 0:00:0", info.pid)),
        "{}",
        info.description
    );
    eventually("its output is logged", || {
        (nest.client.tail("g:a", 100).ok()? == "hello\n").then_some(())
    });
    assert_eq!(
        nest.client.start("g:a", true).unwrap_err().fault(),
        Some(FaultCode::AlreadyStarted)
    );
    nest.client.stop("g:a", true).unwrap();
    assert!(!alive(info.pid));
    assert_eq!(
        nest.client.stop("g:a", true).unwrap_err().fault(),
        Some(FaultCode::NotRunning)
    );
    assert_eq!(
        nest.client.start("nope", true).unwrap_err().fault(),
        Some(FaultCode::BadName)
    );

    nest.client.start("g:b", true).unwrap();
    nest.wait_state("g:b", ProcessState::Exited);
    let info = nest.client.process_info("g:b").unwrap();
    assert_eq!(
        (info.exitstatus, info.spawnerr.as_str(), info.pid),
        (3, "Bad exit code 3", 0)
    );
}

#[test]
fn a_program_sees_only_what_is_configured() {
    let script =
        "env | sort; test -p /dev/stdin && echo pipe; pwd; umask; ls /proc/self/fd | wc -l";
    let mut program = shell("p", script);
    program.directory = Some("/usr".into());
    program.umask = Some(0o27);
    program
        .environment
        .push(("GREETING".into(), "hello, \"you\" 100%".replace('"', "'")));
    let nest = Nest::with(&[group("g", vec![program])]);
    nest.client.start("g:p", true).unwrap();
    nest.wait_state("g:p", ProcessState::Exited);
    let log = nest.read_log("g", "p");
    let expected = format!(
        "GREETING=hello, 'you' 100%\nPATH=/usr/bin:/bin\nPWD=/usr\nSUPERVISOR_ENABLED=1\nSUPERVISOR_GROUP_NAME=g\n\
         SUPERVISOR_PROCESS_NAME=p\nSUPERVISOR_SERVER_URL=unix://{}\npipe\n/usr\n0027\n4\n",
        nest.client.socket().display()
    );
    assert_eq!(log, expected);
}

#[test]
fn what_cannot_start_says_why() {
    let mut lost = shell("lost", "true");
    lost.directory = Some("/nonexistent".into());
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    fs::write(&script, "#!/nonexistent/interpreter\n").unwrap();
    let mut odd = shell("odd", "true");
    odd.command = script.display().to_string();
    let mut missing = shell("missing", "true");
    missing.command = "/nonexistent/program".into();
    let mut linked = shell("linked", "echo evil");
    let target = directory.path().join("target");
    fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, directory.path().join("link")).unwrap();
    linked.stdout = LogConfig::file(directory.path().join("link"), 0, 0);
    let nest = Nest::with(&[group("g", vec![lost, odd, missing, linked])]);

    assert_eq!(
        nest.client.start("g:missing", true).unwrap_err().fault(),
        Some(FaultCode::NoFile)
    );
    assert_eq!(
        nest.client.start("g:odd", true).unwrap_err().fault(),
        Some(FaultCode::NotExecutable)
    );
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (name, reason) in [
        ("g:odd", "couldn't exec"),
        ("g:lost", "couldn't chdir to /nonexistent: No such file"),
        ("g:linked", "is a symbolic link"),
    ] {
        assert_eq!(
            nest.client.start(name, true).unwrap_err().fault(),
            Some(FaultCode::SpawnError)
        );
        let info = nest.client.process_info(name).unwrap();
        assert_eq!(info.state, ProcessState::Fatal, "{name}");
        assert!(
            info.spawnerr.contains(reason) && info.description == info.spawnerr,
            "{name}: {}",
            info.spawnerr
        );
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    assert_eq!(
        fs::read_dir(nest.root().join("var/run/supervisor-output"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn root_drops_its_privileges() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut program = shell("p", "id -u; id -g; id -G; echo reopened > /dev/stdout");
    program.user = Some(User::Id(65534));
    program.gid = Some(4321);
    let nest = Nest::with(&[group("g", vec![program])]);
    nest.client.start("g:p", true).unwrap();
    nest.wait_state("g:p", ProcessState::Exited);
    assert_eq!(nest.read_log("g", "p"), "65534\n4321\n4321\nreopened\n");
}

#[test]
fn nothing_a_program_started_outlives_it() {
    let forks = "sleep 1000 & echo $! > $OUT.1; setsid sleep 1001 & echo $! > $OUT.2; \
                 (setsid sh -c 'sleep 1002 & echo $! > $OUT.3'; true); \
                 while [ ! -s $OUT.1 ] || [ ! -s $OUT.2 ] || [ ! -s $OUT.3 ]; do sleep 0.01; done; ";
    let directory = tempfile::tempdir().unwrap();
    let program = |name: &str, end: &str| {
        let mut program = shell(name, &format!("{forks}{end}"));
        program.environment.push((
            "OUT".into(),
            directory.path().join(name).display().to_string(),
        ));
        program
    };
    let group = group(
        "g",
        vec![
            program("exits", "exit 0"),
            program("stays", "exec sleep 1003"),
        ],
    );
    let nest = Nest::with(&[group]);
    let strays = |name: &str| -> Vec<i32> {
        (1..4)
            .map(|n| {
                eventually("its children are started", || {
                    fs::read_to_string(directory.path().join(format!("{name}.{n}")))
                        .ok()?
                        .trim()
                        .parse()
                        .ok()
                })
            })
            .collect()
    };
    nest.client.start_all(true).unwrap();
    for pid in strays("exits") {
        eventually("a stray of a program that exited is killed", || {
            (!alive(pid)).then_some(())
        });
    }
    nest.wait_state("g:exits", ProcessState::Exited);
    let strays = strays("stays");
    assert!(strays.iter().all(|pid| alive(*pid)));
    nest.client.stop("g:stays", true).unwrap();
    // Stopped means that nothing is left.
    assert_eq!(strays.iter().filter(|pid| alive(**pid)).count(), 0);
}

#[test]
fn who_does_not_stop_is_killed_and_who_needs_time_gets_it() {
    let mut stubborn = shell(
        "stubborn",
        "trap '' TERM; echo ready; while :; do sleep 0.1; done",
    );
    stubborn.stopwaitsecs = 1;
    // The leader ends at once; its child finishes its work first.
    let slow = shell(
        "slow",
        "(trap 'sleep 0.3; echo saved; exit' TERM; echo ready; while :; do sleep 0.05; done) & wait",
    );
    let nest = Nest::with(&[group("g", vec![stubborn, slow])]);
    nest.client.start_group("g", true).unwrap();
    for name in ["stubborn", "slow"] {
        eventually("it is ready", || {
            nest.read_log("g", name).contains("ready").then_some(())
        });
    }
    let results = nest.client.stop_group("g", true).unwrap();
    assert!(results.len() == 2 && results.iter().all(supervisor::client::ProcessResult::is_ok));
    assert!(nest.daemon_log().contains("killing 'g:stubborn'"));
    assert!(nest.read_log("g", "slow").contains("saved"));
}

#[test]
fn crashing_programs_are_restarted_with_pauses() {
    let mut program = shell("p", "echo run; exit 1");
    program.autorestart = AutoRestart::Unexpected;
    let nest = Nest::with(&[group("g", vec![program])]);
    nest.client.start("g:p", true).unwrap();
    nest.wait_state("g:p", ProcessState::Backoff);
    assert_eq!(
        nest.client.process_info("g:p").unwrap().description,
        "Bad exit code 1"
    );
    eventually("it runs again", || {
        (nest.read_log("g", "p").matches("run").count() >= 2).then_some(())
    });
    nest.wait_state("g:p", ProcessState::Backoff);
    nest.client.stop("g:p", true).unwrap();
    assert_eq!(nest.state("g:p"), ProcessState::Stopped);
}

#[test]
fn rotation_under_load_loses_nothing() {
    let mut program = shell(
        "p",
        "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done",
    );
    let directory = tempfile::tempdir().unwrap();
    program.stdout = LogConfig::file(directory.path().join("log"), 10_000, 1_000);
    let nest = Nest::with(&[group("g", vec![program])]);
    nest.client.start("g:p", true).unwrap();
    nest.wait_state("g:p", ProcessState::Exited);
    let mut text = fs::read_to_string(directory.path().join("log")).unwrap();
    for n in 1.. {
        match fs::read_to_string(directory.path().join(format!("log.{n}"))) {
            Ok(older) => text = older + &text,
            Err(_) => break,
        }
    }
    let expected: String = (0..20_000).map(|i| format!("line {i}\n")).collect();
    assert!(
        text == expected,
        "{} bytes instead of {}",
        text.len(),
        expected.len()
    );
}

#[test]
fn a_hundred_programs() {
    let programs: Vec<ProgramConfig> = (0..100)
        .map(|i| shell(&format!("p{i}"), "exec sleep 1000"))
        .collect();
    let nest = Nest::with(&[group("g", programs)]);
    let results = nest.client.start_group("g", true).unwrap();
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 100);
    let infos = nest.client.all_process_info().unwrap();
    assert!(
        infos
            .iter()
            .all(|i| i.state == ProcessState::Running && alive(i.pid))
    );
    // The control socket closes with the daemon, and with it everything has stopped.
    nest.client.shutdown_and_wait(PATIENCE).unwrap();
    assert!(!infos.iter().any(|i| alive(i.pid)));
    assert!(!nest.root().join("var/run/supervisord.pid").exists());
}

#[test]
fn waiting_calls_keep_nobody_else_waiting() {
    let mut slow = shell("slow", "exec sleep 1000");
    slow.startsecs = 3;
    let nest = Nest::with(&[group("g", vec![slow])]);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| nest.client.start("g:slow", true));
        eventually("it is starting", || {
            (nest.state("g:slow") == ProcessState::Starting).then_some(())
        });
        assert!(!waiting.is_finished());
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(nest.state("g:slow"), ProcessState::Running);
}

#[test]
fn an_idle_daemon_sleeps() {
    let nest = Nest::with(&[group("g", vec![shell("p", "exec sleep 1000")])]);
    nest.client.start("g:p", true).unwrap();
    let pid = nest.daemon_pid();
    let switches = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status
            .lines()
            .find(|l| l.starts_with("voluntary_ctxt"))
            .unwrap()
            .to_owned()
    };
    // Once the last connection is closed nothing happens any more.
    let mut last = switches();
    eventually("it has come to rest", || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let before = std::mem::replace(&mut last, switches());
        (before == last).then_some(())
    });
}

#[test]
fn configuration_changes_touch_only_what_changed() {
    let one = |name: &str, script: &str| group(name, vec![shell("p", script)]);
    let nest = Nest::with(&[
        one("same", "exec sleep 1000"),
        one("changes", "exec sleep 1000"),
        one("goes", "exec sleep 1000"),
    ]);
    nest.client.start_all(true).unwrap();
    let same = nest.pid("same:p");
    // Written anew with other blanks: nothing that was parsed differs.
    let text = fs::read_to_string(nest.group_file("same")).unwrap();
    fs::write(
        nest.group_file("same"),
        format!("; comment\n{}", text.replace('=', " = ")),
    )
    .unwrap();
    nest.write(&one("changes", "exec sleep 1001"));
    nest.write(&one("comes", "exec sleep 1002"));
    fs::remove_file(nest.group_file("goes")).unwrap();

    let changes = nest.client.reload().unwrap();
    assert_eq!(
        (changes.added, changes.changed, changes.removed),
        (
            vec!["comes".into()],
            vec!["changes".into()],
            vec!["goes".into()]
        )
    );
    assert_eq!(
        nest.client.remove_group("goes").unwrap_err().fault(),
        Some(FaultCode::StillRunning)
    );

    let update = nest.client.update(Some(&["goes"])).unwrap();
    assert_eq!(
        (update.removed, update.changed.len(), update.added.len()),
        (vec!["goes".to_owned()], 0, 0)
    );
    let update = nest.client.update(None).unwrap();
    assert_eq!(
        (update.added, update.changed, update.removed.len()),
        (vec!["comes".into()], vec!["changes".into()], 0)
    );
    assert_eq!(update.interrupted, ["changes:p"]);
    assert!(update.failures.is_empty());
    assert!(nest.client.reload().unwrap().is_empty());
    assert_eq!(nest.pid("same:p"), same);
    assert_eq!(nest.state("changes:p"), ProcessState::Stopped);

    // A broken file changes nothing and is named.
    fs::write(nest.group_file("broken"), "[program:x]\n").unwrap();
    let error = nest.client.reload().unwrap_err();
    assert_eq!(error.fault(), Some(FaultCode::CantReread));
    assert!(error.to_string().contains("broken.conf"), "{error}");
    assert_eq!(nest.pid("same:p"), same);
    fs::remove_file(nest.group_file("broken")).unwrap();
}

#[test]
fn concurrent_launches_end_with_one_daemon() {
    let nest = Nest::prepare();
    let mut auto = shell("p", "exec sleep 1000");
    auto.autostart = true;
    nest.write(&group("g", vec![auto]));
    let pids: Vec<i32> = std::thread::scope(|scope| {
        let launches: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    ensure_running(
                        nest.client.socket(),
                        &daemon_program(),
                        &[nest.config()],
                        PATIENCE,
                    )
                    .unwrap()
                    .pid()
                    .unwrap()
                })
            })
            .collect();
        launches.into_iter().map(|l| l.join().unwrap()).collect()
    });
    assert!(pids.iter().all(|p| *p == pids[0]), "{pids:?}");
    assert_eq!(nest.daemon_log().matches("spawned: 'g:p'").count(), 1);
}

#[test]
fn a_daemon_that_cannot_start_says_why() {
    let nest = Nest::prepare();
    fs::write(nest.group_file("bad"), "[program:x]\ncommand=\n").unwrap();
    let error = ensure_running(
        nest.client.socket(),
        &daemon_program(),
        &[nest.config()],
        PATIENCE,
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("Failed to launch supervisord:\nprogram section"),
        "{error}"
    );
}

fn raw(nest: &Nest, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(nest.client.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(request);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn hostile_requests_are_refused_and_forgotten() {
    let nest = Nest::with(&[]);
    let post = |body: &str| {
        format!(
            "POST /RPC2 HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let deep = format!(
        "<methodCall><methodName>m</methodName><params><param>{}",
        "<value><array><data>".repeat(20_000)
    );
    let bomb =
        "<!DOCTYPE l [<!ENTITY a \"aa\">]><methodCall><methodName>&a;</methodName></methodCall>";
    for (request, status) in [
        (post(&deep), "400"),
        (post(bomb), "400"),
        (post("\u{0}"), "400"),
        (
            post("<methodCall><methodName>supervisor.nope</methodName></methodCall>"),
            "200",
        ),
        (
            "POST /RPC2 HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n".into(),
            "413",
        ),
        (
            format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000)),
            "413",
        ),
        ("GET / HTTP/1.0\r\n\r\n".into(), "404"),
        ("GET /RPC2 HTTP/1.0\r\n\r\n".into(), "405"),
        ("\r\n\r\n".into(), "400"),
    ] {
        let mut stream = UnixStream::connect(nest.client.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(request.as_bytes());
        let mut answer = [0_u8; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer[9..], status.as_bytes(), "{:.60}", request);
    }
    // Half a request, and nothing at all.
    raw(&nest, b"POST /RPC2 HTTP/1.1\r\nContent-Le");
    raw(&nest, b"");
    let calls = |n: usize| {
        let call = Value::Struct(vec![
            ("methodName".into(), Value::Text("supervisor.getPID".into())),
            ("params".into(), Value::Array(vec![])),
        ]);
        nest.client
            .call("system.multicall", &[Value::Array(vec![call; n])])
    };
    assert!(matches!(calls(3).unwrap(), Value::Array(answers) if answers.len() == 3));
    assert_eq!(
        calls(1_001).unwrap_err().fault(),
        Some(FaultCode::BadArguments)
    );
    let wrong = nest
        .client
        .call("supervisor.startProcess", &[Value::Int(1)])
        .unwrap_err();
    assert_eq!(wrong.fault(), Some(FaultCode::IncorrectParameters));
    assert_eq!(nest.client.state().unwrap(), "RUNNING");
}

#[test]
fn a_log_can_be_followed() {
    struct Enough(Vec<u8>);
    impl std::io::Write for Enough {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.extend_from_slice(bytes);
            if self.0.windows(3).any(|w| w == b"two") {
                Err(std::io::ErrorKind::BrokenPipe.into())
            } else {
                Ok(bytes.len())
            }
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let gate = tempfile::tempdir().unwrap();
    let mut program = shell(
        "p",
        "printf '\\033[31mone\\n'; while [ ! -e $GATE/go ]; do sleep 0.02; done; echo two; exec sleep 1000",
    );
    program
        .environment
        .push(("GATE".into(), gate.path().display().to_string()));
    let nest = Nest::with(&[group("g", vec![program])]);
    nest.client.start("g:p", true).unwrap();
    eventually("one is logged", || {
        nest.read_log("g", "p").contains("one").then_some(())
    });
    let mut out = Enough(Vec::new());
    std::thread::scope(|scope| {
        let following =
            scope.spawn(|| supervisor::ctl::follow(&nest.client, &["tail", "-f", "g:p"], &mut out));
        fs::write(gate.path().join("go"), "").unwrap();
        assert_eq!(following.join().unwrap().code, 0);
    });
    assert_eq!(out.0, b"==> Press Ctrl-C to exit <==\n\x1b[31mone\ntwo\n");
    assert_eq!(
        nest.client.tail("g:p", 100).unwrap(),
        "\u{fffd}[31mone\ntwo\n"
    );
}

#[test]
fn sigterm_stops_everything_in_order() {
    let mut first = group(
        "first",
        vec![shell(
            "p",
            "trap 'echo bye; exit' TERM; echo up; while :; do sleep 0.05; done",
        )],
    );
    first.priority = 1;
    let nest = Nest::with(&[first, group("second", vec![shell("p", "exec sleep 1000")])]);
    nest.client.start_all(true).unwrap();
    eventually("it is up", || {
        nest.read_log("first", "p").contains("up").then_some(())
    });
    let pid = nest.daemon_pid();
    common::kill(pid, rustix::process::Signal::TERM);
    eventually("the daemon has ended", || (!alive(pid)).then_some(()));
    let log = nest.daemon_log();
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("{text}: {log}"));
    assert!(at("stopped: second:p") < at("stopped: first:p"));
    assert!(nest.read_log("first", "p").ends_with("bye\n"));
    assert!(!nest.client.socket().exists());
}

#[test]
fn restart_begins_anew_from_the_configuration() {
    let mut auto = shell("p", "exec sleep 1000");
    auto.autostart = true;
    let nest = Nest::with(&[group("g", vec![auto.clone()])]);
    let (daemon, before) = (nest.daemon_pid(), nest.pid("g:p"));
    nest.write(&group("h", vec![auto]));
    assert_eq!(
        supervisor::ctl::run(&nest.client, &["reload"]).text,
        "Restarted supervisord\n"
    );
    eventually("the new group runs", || {
        (nest.client.process_info("h:p").ok()?.state == ProcessState::Running).then_some(())
    });
    assert_eq!(nest.daemon_pid(), daemon);
    assert!(!alive(before) && alive(nest.pid("g:p")));
}

#[test]
fn a_log_that_cannot_be_written_disturbs_nobody_else() {
    let mut full = shell("full", "while :; do echo much; done");
    full.stdout = LogConfig::file("/dev/full", 1_000, 1);
    let nest = Nest::with(&[group(
        "g",
        vec![full, shell("p", "echo fine; exec sleep 1000")],
    )]);
    nest.client.start_all(true).unwrap();
    eventually("it is told", || {
        nest.daemon_log()
            .contains("cannot write the log of g:full")
            .then_some(())
    });
    eventually("others go on", || {
        (nest.read_log("g", "p") == "fine\n").then_some(())
    });
    assert_eq!(nest.state("g:full"), ProcessState::Running);
    nest.client.stop("g:full", true).unwrap();
}
