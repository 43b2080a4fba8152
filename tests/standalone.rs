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

    fn standalone(&self, arguments: &[&str]) -> Invocation {
        self.rig
            .slapos(["standalone", "--root"])
            .arg(self.root())
            .args(arguments)
            // The environment the builds run in is made once for all tests.
            .env(
                "SLAPOS_BUILDER_DIRECTORY",
                self.rig.program().target_directory().join("test-builder"),
            )
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

#[test]
fn it_stops_cleanly_and_resumes() {
    let place = Place::new();
    let (mut running, url) = demo(&place);
    running.signal(Signal::INT);
    running.wait(LONG);
    assert!(
        !running.output().contains("panicked"),
        "{}",
        running.output()
    );
    assert_eq!(place.processes(), [], "Ctrl-C leaves no process");
    http_get(&url).expect_err("nobody listens");

    // Run again, without --demo: what it had is back.
    let mut running = place.start(&[]);
    eventually("the same application answers again", LONG, || {
        assert!(running.is_running(), "it ended:\n{}", running.output());
        http_get(&url).map_err(|error| error.to_string())
    });
    running.signal(Signal::TERM);
    running.wait(LONG);
    assert_eq!(place.processes(), [], "SIGTERM leaves no process");
}

#[test]
fn killed_it_converges_when_it_is_run_again() {
    let place = Place::new();
    let (mut running, url) = demo(&place);
    running.kill();

    let mut running = place.start(&[]);
    eventually("the same application answers again", LONG, || {
        assert!(running.is_running(), "it ended:\n{}", running.output());
        http_get(&url).map_err(|error| error.to_string())
    });
    running.signal(Signal::INT);
    running.wait(LONG);
    assert_eq!(place.processes(), []);
    http_get(&url).expect_err("nobody listens");
}

#[test]
fn only_one_runs_in_a_directory() {
    let place = Place::new();
    let mut first = place.start(&[]);
    eventually("its Master answers", LONG, || {
        assert!(first.is_running(), "it ended:\n{}", first.output());
        urls(&first.output())
            .into_iter()
            .find(|url| http_get(url).is_ok())
            .ok_or_else(|| first.output())
    });
    let second = place.standalone(&[]).run();
    assert_ne!(second.code(), 0, "{second}");
    assert!(second.stderr.starts_with("error:"), "{second}");
    assert!(first.is_running());
    first.signal(Signal::INT);
    first.wait(LONG);
    assert_eq!(place.processes(), []);
}
