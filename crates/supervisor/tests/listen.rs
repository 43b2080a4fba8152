//! Who listens to the daemon, with a real one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Nest, eventually, group, kill, shell};
use supervisor::config::LogConfig;
use supervisor::{Change, Heard, ProcessState, ProgramConfig};

/// What is heard until `last` holds, as `name: FROM > TO`.
fn heard(ear: &mut supervisor::Ear, last: impl Fn(&Change) -> bool) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let Some(Heard::Change(change)) = ear.hear().unwrap() else {
            panic!("after {all:?}");
        };
        let Change { name, from, to, .. } = &change;
        all.push(format!("{name}: {} > {}", from.name(), to.name()));
        if last(&change) {
            return all;
        }
    }
}

#[test]
fn who_listens_is_told_every_step() {
    let mut service = shell("service", "sleep 1000");
    service.autorestart = supervisor::config::AutoRestart::Always;
    let nest = Nest::with(&[group("g", vec![service, shell("once", "exit 3")])]);
    let mut all = nest.client.listen(&[]).unwrap();
    let mut ends = nest
        .client
        .listen(&[ProcessState::Exited, ProcessState::Fatal])
        .unwrap();
    nest.client.start("g:once", true).unwrap();
    let steps = heard(&mut all, |change| change.to == ProcessState::Exited);
    assert_eq!(
        steps,
        [
            "once: STOPPED > STARTING",
            "once: STARTING > RUNNING",
            "once: RUNNING > EXITED"
        ]
    );
    let Some(Heard::Change(end)) = ends.hear().unwrap() else {
        panic!("no change");
    };
    assert_eq!(
        (end.group.as_str(), end.name.as_str(), end.now),
        ("g", "once", ProcessState::Exited)
    );
    assert_eq!((end.exitstatus, end.restarts), (Some(3), 0));

    // What is started again says so, and how often in a row.
    nest.client.start("g:service", true).unwrap();
    for again in 1..3 {
        let pid = eventually("it runs", || Some(nest.pid("g:service")).filter(|p| *p > 0));
        kill(pid, rustix::process::Signal::KILL);
        let Some(Heard::Change(end)) = ends.hear().unwrap() else {
            panic!("no change");
        };
        assert_eq!((end.pid, end.exitstatus), (pid, Some(-1)));
        assert_eq!((end.now, end.restarts), (ProcessState::Backoff, again));
    }
    eventually("it runs", || Some(nest.pid("g:service")).filter(|p| *p > 0));
    nest.client.stop("g:service", true).unwrap();
    let steps = heard(&mut all, |change| change.to == ProcessState::Stopped);
    assert_eq!(
        steps[2..],
        [
            "service: RUNNING > EXITED",
            "service: EXITED > STARTING",
            "service: STARTING > RUNNING",
            "service: RUNNING > EXITED",
            "service: EXITED > STARTING",
            "service: STARTING > RUNNING",
            "service: RUNNING > STOPPING",
            "service: STOPPING > STOPPED"
        ]
    );

    // The next daemon is another one: whoever listened knows.
    let hush = all.hush().unwrap();
    nest.murder();
    assert!(ends.hear().is_err() || ends.hear().unwrap().is_none());
    nest.launch();
    nest.client.listen(&[]).unwrap();
    hush.now();
    assert!(matches!(all.hear(), Ok(None) | Err(_)));
}

#[test]
fn who_listens_too_slowly_is_told_how_much_was_missed() {
    let long = "x".repeat(10_000);
    let programs: Vec<ProgramConfig> = (0..20)
        .map(|number| ProgramConfig {
            directory: Some("/nonexistent".into()),
            stdout: LogConfig::none(),
            ..shell(&format!("{number}{long}"), "true")
        })
        .collect();
    let first = format!("g:0{long}");
    let nest = Nest::with(&[group("g", programs)]);
    let mut ear = nest.client.listen(&[]).unwrap();
    // Stopped, starting, backoff, fatal: three steps each.
    let mut steps = 0;
    for _ in 0..2 {
        nest.client.start_group("g", true).unwrap();
        steps += 20 * 3;
    }
    let mut told = 0;
    let missed = loop {
        match ear.hear().unwrap() {
            Some(Heard::Change(_)) => told += 1,
            Some(Heard::Missed(count)) => break count,
            None => panic!("the daemon left"),
        }
    };
    assert_eq!(told + missed, steps);
    assert!(missed > 0 && told > 0, "{told} told, {missed} missed");
    // From here on nothing is missed.
    let _ = nest.client.start(&first, true);
    let steps = heard(&mut ear, |change| change.to == ProcessState::Fatal);
    assert_eq!(steps.len(), 3);
}
