//! `slapos standalone`: a whole cloud from one command, which leaves nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use testkit::{Invocation, Process, Rig, Running, eventually, http_get};

/// The demo builds a real application, on a machine that is busy with other tests.
const LONG: Duration = Duration::from_secs(240);

/// A place for one standalone cloud. The rig's own Master and node are not used.
struct Place {
    rig: Rig,
}

impl Place {
    fn new() -> Self {
        let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
        Place { rig }
    }

    fn root(&self) -> PathBuf {
        self.rig.path().join("root")
    }

    /// Uses the environment of builds that all tests share, instead of making one (half a minute).
    fn with_builder(self) -> Self {
        let software = self.root().join("software");
        std::fs::create_dir_all(&software).unwrap();
        let shared = self.rig.program().target_directory().join("test-builder");
        std::fs::create_dir_all(&shared).unwrap();
        std::os::unix::fs::symlink(shared, software.join(".builder")).unwrap();
        self
    }

    fn standalone(&self, arguments: &[&str]) -> Invocation {
        self.rig
            .slapos(["standalone", "--root"])
            .arg(self.root())
            .args(arguments)
    }

    fn start(&self, arguments: &[&str]) -> Running {
        let log = self.rig.path().join("log/standalone.log");
        std::fs::write(&log, "").unwrap();
        self.standalone(arguments).start(&log)
    }

    fn processes(&self) -> Vec<Process> {
        self.rig.processes()
    }
}

/// Addresses in what was printed, in order.
fn urls(output: &str) -> Vec<String> {
    output
        .split(|character: char| character.is_whitespace() || "\"'`,()".contains(character))
        .filter(|word| word.starts_with("http://"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_demo_proves_itself_and_leaves_no_process() {
    let place = Place::new();
    let run = place.standalone(&["--demo", "--exit"]).run().ok();
    let all = format!("{}{}", run.stdout, run.stderr);
    assert!(!urls(&all).is_empty(), "no URL is printed: {run}");
    assert_eq!(place.processes(), []);
    // Proven with the same directory again.
    place.standalone(&["--demo", "--exit"]).run().ok();
    assert_eq!(place.processes(), []);
}

/// Starts the demo and waits until its application answers; where it does.
fn demo(place: &Place) -> (Running, String) {
    let mut running = place.start(&["--demo"]);
    let url = eventually("the application answers", LONG, || {
        assert!(running.is_running(), "it ended:\n{}", running.output());
        urls(&running.output())
            .into_iter()
            .find(|url| http_get(url).is_ok_and(|page| page.body.contains("</h1>")))
            .ok_or_else(|| running.output())
    });
    (running, url)
}

/// Waits until it says where its Master answers, and the Master does.
fn wait_for_master(running: &mut Running) {
    eventually("its Master answers", LONG, || {
        assert!(running.is_running(), "it ended:\n{}", running.output());
        urls(&running.output())
            .into_iter()
            .find(|url| http_get(url).is_ok())
            .ok_or_else(|| running.output())
    });
}

/// Waits until the application answers, and the cloud that shall take care of it is there.
fn wait_for_resumed(running: &mut Running, url: &str) {
    wait_for_master(running);
    eventually("the same application answers again", LONG, || {
        assert!(running.is_running(), "it ended:\n{}", running.output());
        http_get(url).map_err(|error| error.to_string())
    });
}

#[test]
fn it_stops_cleanly_and_resumes() {
    let place = Place::new().with_builder();
    let (mut running, url) = demo(&place);
    running.wait_for_output("Stop everything with Ctrl-C", LONG);
    running.signal(Signal::INT);
    assert_eq!(running.wait(LONG), 0, "{}", running.output());
    assert!(
        !running.output().contains("panicked"),
        "{}",
        running.output()
    );
    assert_eq!(place.processes(), [], "Ctrl-C leaves no process");
    http_get(&url).expect_err("nobody listens");

    // Run again, without --demo: what it had is back.
    let mut running = place.start(&[]);
    wait_for_resumed(&mut running, &url);
    running.signal(Signal::TERM);
    assert_eq!(running.wait(LONG), 0, "{}", running.output());
    assert_eq!(place.processes(), [], "SIGTERM leaves no process");
}

#[test]
fn killed_it_converges_when_it_is_run_again() {
    let place = Place::new().with_builder();
    let (mut running, url) = demo(&place);
    running.kill();

    let mut running = place.start(&[]);
    wait_for_resumed(&mut running, &url);
    running.signal(Signal::INT);
    assert_eq!(running.wait(LONG), 0, "{}", running.output());
    assert_eq!(place.processes(), []);
    http_get(&url).expect_err("nobody listens");
}

/// Interrupted in the midst of a build: it has not succeeded, and it leaves nothing all the same.
#[test]
fn interrupted_while_it_builds_it_leaves_no_process() {
    let place = Place::new().with_builder();
    let mut running = place.start(&["--demo"]);
    let software = place.root().join("software");
    eventually("it builds", LONG, || {
        assert!(running.is_running(), "it ended:\n{}", running.output());
        let builds = |process: &Process| process.directory.starts_with(&software);
        if place.processes().iter().any(builds) {
            Ok(())
        } else {
            Err(running.output())
        }
    });
    running.signal(Signal::INT);
    assert_ne!(running.wait(LONG), 0, "{}", running.output());
    assert!(
        !running.output().contains("panicked"),
        "{}",
        running.output()
    );
    assert_eq!(place.processes(), []);
    place.standalone(&["--demo", "--exit"]).run().ok();
    assert_eq!(place.processes(), []);
}

#[test]
fn only_one_runs_in_a_directory() {
    let place = Place::new();
    let mut first = place.start(&[]);
    wait_for_master(&mut first);
    let second = place.standalone(&[]).run();
    assert_ne!(second.code(), 0, "{second}");
    assert!(second.stderr.starts_with("error:"), "{second}");
    assert!(first.is_running());
    first.signal(Signal::INT);
    assert_eq!(first.wait(LONG), 0, "{}", first.output());
    assert_eq!(place.processes(), []);
}
