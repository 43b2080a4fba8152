//! A daemon that was killed is replaced, and nothing its programs do or write is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::fs;

use common::{Nest, alive, eventually, group, shell};
use supervisor::ProcessState;

#[test]
fn running_programs_are_adopted() {
    let mut counting = shell(
        "counting",
        "trap 'echo done; exit 7' USR1; i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done",
    );
    counting.autostart = true;
    let mut group = group("g", vec![counting, shell("idle", "exec sleep 1000")]);
    group.programs[1].autostart = false;
    let nest = Nest::with(std::slice::from_ref(&group));
    eventually("it writes", || {
        (nest.read_log("g", "counting").lines().count() > 5).then_some(())
    });
    let (daemon, pid) = (nest.daemon_pid(), nest.pid("g:counting"));

    for _ in 0..3 {
        nest.murder();
        assert!(alive(pid));
        nest.launch();
        let info = nest.client.process_info("g:counting").unwrap();
        assert_eq!((info.pid, info.state), (pid, ProcessState::Running));
        assert_eq!(nest.state("g:idle"), ProcessState::Stopped);
    }
    assert_ne!(nest.daemon_pid(), daemon);
    // The configuration it was started with is remembered: nothing has changed, then something has.
    assert!(nest.client.reload().unwrap().is_empty());
    group.programs[1].stopwaitsecs += 1;
    nest.write(&group);
    nest.murder();
    nest.launch();
    assert_eq!(nest.client.reload().unwrap().changed, ["g"]);

    // Its end is noticed, its last words are kept, and every line is there once.
    nest.client.signal("g:counting", "USR1").unwrap();
    nest.wait_state("g:counting", ProcessState::Exited);
    let log = nest.read_log("g", "counting");
    let lines: Vec<&str> = log.lines().collect();
    let (last, numbers) = lines.split_last().unwrap();
    assert_eq!(*last, "done");
    for (i, line) in numbers.iter().enumerate() {
        assert_eq!(*line, (i + 1).to_string());
    }
    assert_eq!(
        nest.daemon_log().matches("spawned: 'g:counting'").count(),
        1
    );
}

#[test]
fn adopted_programs_are_stopped_with_all_they_started() {
    let directory = tempfile::tempdir().unwrap();
    let mut program = shell(
        "p",
        "(setsid sh -c 'sleep 1001 & echo $! > $OUT'; true); exec sleep 1000",
    );
    let out = directory.path().join("pid");
    program
        .environment
        .push(("OUT".into(), out.display().to_string()));
    let nest = Nest::with(&[group("g", vec![program])]);
    nest.client.start("g:p", true).unwrap();
    let stray: i32 = eventually("its child is started", || {
        fs::read_to_string(&out).ok()?.trim().parse().ok()
    });
    let pid = nest.pid("g:p");
    nest.murder();
    nest.launch();
    assert!(alive(pid) && alive(stray));
    nest.client.stop("g:p", true).unwrap();
    assert!(!alive(pid) && !alive(stray));
}

#[test]
fn what_died_meanwhile_is_noticed() {
    let nest = Nest::with(&[group("g", vec![shell("p", "exec sleep 1000")])]);
    nest.client.start("g:p", true).unwrap();
    let pid = nest.pid("g:p");
    nest.murder();
    common::kill(pid, rustix::process::Signal::KILL);
    eventually("it is dead", || (!alive(pid)).then_some(()));
    nest.launch();
    assert_eq!(nest.state("g:p"), ProcessState::Exited);
    nest.client.start("g:p", true).unwrap();
}

#[test]
fn a_lost_state_file_starts_nothing_twice() {
    let mut program = shell("p", "echo up; exec sleep 1000");
    program.autostart = true;
    let nest = Nest::with(&[group("g", vec![program])]);
    eventually("it is up", || {
        nest.read_log("g", "p").contains("up").then_some(())
    });
    let pid = nest.pid("g:p");
    for damage in ["", "{\"version\":1,\"groups\":3}"] {
        nest.murder();
        fs::write(nest.root().join("var/run/supervisord.state.json"), damage).unwrap();
        nest.launch();
        assert_eq!(nest.pid("g:p"), pid);
    }
    assert_eq!(nest.daemon_log().matches("spawned: 'g:p'").count(), 1);
    nest.client.stop("g:p", true).unwrap();
    assert!(!alive(pid));
}

#[test]
fn a_broken_configuration_does_not_keep_a_daemon_from_taking_over() {
    let nest = Nest::with(&[group("g", vec![shell("p", "exec sleep 1000")])]);
    nest.client.start("g:p", true).unwrap();
    let pid = nest.pid("g:p");
    nest.murder();
    fs::write(nest.group_file("bad"), "[program:x]\n").unwrap();
    nest.launch();
    assert_eq!(nest.pid("g:p"), pid);
    fs::remove_file(nest.group_file("bad")).unwrap();
    assert!(nest.client.reload().unwrap().is_empty());
}

#[test]
fn a_stop_survives_the_daemon() {
    let mut program = shell(
        "p",
        "trap '' TERM; echo ready; while :; do sleep 0.05; done",
    );
    program.stopwaitsecs = 2;
    let nest = Nest::with(&[group("g", vec![program])]);
    nest.client.start("g:p", true).unwrap();
    eventually("it is ready", || {
        nest.read_log("g", "p").contains("ready").then_some(())
    });
    let pid = nest.pid("g:p");
    nest.client.stop("g:p", false).unwrap();
    nest.murder();
    nest.launch();
    nest.wait_state("g:p", ProcessState::Stopped);
    assert!(!alive(pid));
}

/// Session leaders that this daemon, or one before it, started, by process name.
fn started(nest: &Nest) -> Vec<String> {
    let url = format!(
        "SUPERVISOR_SERVER_URL=unix://{}",
        nest.client.socket().display()
    );
    let mut names = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<i32>().ok())
        else {
            continue;
        };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let variables: Vec<String> = environment
            .split(|b| *b == 0)
            .map(|v| String::from_utf8_lossy(v).into_owned())
            .collect();
        let name = variables
            .iter()
            .find_map(|v| v.strip_prefix("SUPERVISOR_PROCESS_NAME="));
        if let (true, true, Some(name)) = (variables.contains(&url), alive(pid), name) {
            names.push(name.to_owned());
        }
    }
    names
}

#[test]
fn killed_at_any_moment_it_starts_nothing_twice_and_forgets_nothing() {
    const PROGRAMS: usize = 12;
    let programs: Vec<_> = (0..PROGRAMS)
        .map(|i| shell(&format!("p{i}"), "exec sleep 1000"))
        .collect();
    let nest = Nest::with(&[group("g", programs)]);
    for round in 0..12_u64 {
        let daemon = nest.daemon_pid();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // The answer may never come: the daemon is killed meanwhile.
                let _ = if round % 3 == 2 {
                    nest.client.stop_group("g", false)
                } else {
                    nest.client.start_group("g", false)
                };
            });
            // Another moment in each round, not a time to wait for anything.
            std::thread::sleep(std::time::Duration::from_micros(round * 1_500));
            common::kill(daemon, rustix::process::Signal::KILL);
        });
        eventually("the daemon is dead", || (!alive(daemon)).then_some(()));
        nest.launch();
        let mut names = started(&nest);
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(
            names.len(),
            all,
            "round {round}: a program runs twice: {names:?}"
        );
    }
    for info in nest.client.all_process_info().unwrap() {
        if info.state == ProcessState::Stopping {
            nest.wait_state(&info.namespec(), ProcessState::Stopped);
        }
    }
    nest.client.start_group("g", true).unwrap();
    assert_eq!(started(&nest).len(), PROGRAMS);
    nest.client.stop_group("g", true).unwrap();
    assert_eq!(started(&nest), Vec::<String>::new());
}
