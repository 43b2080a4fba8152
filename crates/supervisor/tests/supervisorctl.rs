//! The real `supervisorctl` and ours, on the same daemon, print the same.
//!
//! Runs when `SLAPOS_TEST_SUPERVISORCTL` names the program (of PyPI's `supervisor` 4.3.0).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use common::{Nest, eventually, group, shell};
use supervisor::ctl;

struct Pair {
    nest: Nest,
    upstream: PathBuf,
}

impl Pair {
    fn upstream(&self, args: &[&str]) -> (String, i32) {
        let output = Command::new(&self.upstream)
            .arg("-c")
            .arg(self.nest.config())
            .args(args)
            .output()
            .unwrap();
        assert!(
            output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        (
            String::from_utf8(output.stdout).unwrap(),
            output.status.code().unwrap(),
        )
    }

    fn ours(&self, args: &[&str]) -> (String, i32) {
        let outcome = ctl::run(&self.nest.client, args);
        (outcome.text, outcome.code.into())
    }

    /// The same question gives the same text and code, twice, since it changes nothing.
    #[track_caller]
    fn same(&self, args: &[&str]) -> (String, i32) {
        // An uptime may advance between the two.
        for _ in 0..5 {
            let (upstream, ours) = (self.upstream(args), self.ours(args));
            if upstream == ours {
                return ours;
            }
        }
        assert_eq!(self.upstream(args), self.ours(args), "{args:?}");
        self.ours(args)
    }

    /// What a program writes from now on is shown by upstream's tool while it follows.
    fn follows(&self, args: &[&str], group: &str, name: &str, text: &str) {
        let mut child = Command::new(&self.upstream)
            .arg("-c")
            .arg(self.nest.config())
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let process = format!("{group}:{name}");
        let restarted = self.ours(&["restart", &process]);
        assert_eq!(restarted.1, 0, "{restarted:?}");
        let mut seen = Vec::new();
        let said = lines.by_ref().map(Result::unwrap).any(|line| {
            let is_it = line.contains(text);
            seen.push(line);
            is_it
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(said, "{args:?}: {seen:#?}");
    }

    /// An order gives the expected text and code, first from upstream's tool, and again from ours
    /// after `reset`.
    #[track_caller]
    fn order(&self, args: &[&str], expected: &str, code: i32, reset: &[&[&str]]) {
        assert_eq!(
            self.upstream(args),
            (expected.to_owned(), code),
            "upstream {args:?}"
        );
        for reset in reset {
            self.ours(reset);
        }
        assert_eq!(
            self.ours(args),
            (expected.to_owned(), code),
            "ours {args:?}"
        );
    }
}

/// What a thread writes, for the test to see.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_process_in_the_foreground_reads_what_is_typed() {
    let nest = Nest::with(&[group(
        "g",
        vec![shell("cat", "exec cat"), shell("no", "exit")],
    )]);
    nest.client.start("g:cat", true).unwrap();
    let shown = Shared::default();
    let foreground = |args: &[&str], typed: &str| {
        let outputs: [Box<dyn Write + Send>; 2] =
            [Box::new(shown.clone()), Box::new(Shared::default())];
        let outcome = ctl::foreground(&nest.client, args, &mut typed.as_bytes(), outputs);
        (outcome.text, outcome.code)
    };
    let done = foreground(&["fg", "g:cat"], "hello\nyou");
    assert_eq!(done, ("Exiting foreground\n".to_owned(), 0));
    eventually("it is shown", || {
        let shown = String::from_utf8(shown.0.lock().unwrap().clone()).unwrap();
        let expected = "==> Press Ctrl-C to exit <==\nhello\nyou\n";
        (shown == expected).then_some(())
    });
    for (args, text) in [
        (&["fg", "g:no"][..], "ERROR: process not running\n"),
        (&["fg", "nobody"], "ERROR: bad process name supplied\n"),
        (
            &["fg", "a", "b"],
            "ERROR: too many process names supplied\n",
        ),
    ] {
        assert_eq!(foreground(args, ""), (text.to_owned(), 1));
    }

    let Some(upstream) = std::env::var_os("SLAPOS_TEST_SUPERVISORCTL") else {
        return;
    };
    let mut child = Command::new(upstream)
        .arg("-c")
        .arg(nest.config())
        .args(["fg", "g:cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut typed = child.stdin.take().unwrap();
    typed.write_all(b"typed upstream\n").unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("typed upstream")));
    child.kill().unwrap();
    child.wait().unwrap();
    nest.client.stop("g:cat", true).unwrap();
}

#[test]
fn supervisorctl_works_on_our_daemon() {
    let Some(upstream) = std::env::var_os("SLAPOS_TEST_SUPERVISORCTL") else {
        return;
    };
    let group = group(
        "g",
        vec![
            shell("a", "echo hello; exec sleep 1000"),
            shell("b-on-watch", "exec sleep 1000"),
        ],
    );
    let pair = Pair {
        nest: Nest::with(&[group]),
        upstream: upstream.into(),
    };

    for args in [
        &["status"][..],
        &["status", "g:a"],
        &["status", "nope"],
        &["status", "nope:"],
        &["start"],
        &["start", "nope"],
        &["start", "nope:"],
        &["stop"],
        &["stop", "nope"],
        &["stop", "nope:*"],
        &["stop", "g:a"],
        &["stop", "all"],
        &["restart"],
        &["signal", "HUP", "g:a"],
        &["signal", "NOPE", "g:a"],
        &["tail"],
        &["tail", "nope"],
        &["tail", "g:a"],
        &["tail", "-x", "g:a"],
        &["pid"],
        &["pid", "g:a"],
        &["pid", "nope"],
        &["pid", "all"],
        &["reread"],
        &["update"],
        &["update", "nope"],
        &["version"],
        &["add", "nope"],
        &["add", "g"],
        &["remove", "nope"],
    ] {
        // Its usage texts are longer than ours for some actions; the first line and the code count.
        if args == ["tail"] {
            let first =
                |(text, code): (String, i32)| (text.lines().next().unwrap_or("").to_owned(), code);
            assert_eq!(first(pair.upstream(args)), first(pair.ours(args)));
            continue;
        }
        pair.same(args);
    }

    let started = "g:a: started\ng:b-on-watch: started\n";
    pair.order(&["start", "g:*"], started, 0, &[&["stop", "all"]]);
    for args in [
        &["status"][..],
        &["status", "g:*"],
        &["pid", "g:a"],
        &["pid", "all"],
        &["start", "g:a"],
        &["remove", "g"],
    ] {
        pair.same(args);
    }
    eventually("its log has two lines", || {
        (pair.nest.read_log("g", "a") == "hello\nhello\n").then_some(())
    });
    pair.same(&["tail", "g:a"]);
    pair.same(&["tail", "-4", "g:a"]);
    pair.same(&["tail", "g:a", "stderr"]);
    pair.same(&["avail"]);
    pair.order(&["clear", "g:a"], "g:a: cleared\n", 0, &[]);
    pair.order(
        &["clear", "all"],
        "g:a: cleared\ng:b-on-watch: cleared\n",
        0,
        &[],
    );
    pair.same(&["clear", "nope"]);
    let (text, code) = pair.same(&["maintail"]);
    assert!(code == 0 && text.contains("spawned: 'g:a'"), "{text}");
    pair.follows(&["tail", "-f", "g:a"], "g", "a", "hello");
    pair.follows(&["maintail", "-f"], "g", "a", "stopped: g:a");
    pair.same(&["signal", "CONT", "all"]);
    pair.same(&["signal", "CONT", "g:"]);
    pair.order(&["restart", "g:a"], "g:a: stopped\ng:a: started\n", 0, &[]);
    pair.order(&["stop", "g:a"], "g:a: stopped\n", 0, &[&["start", "g:a"]]);
    pair.order(
        &["stop", "all"],
        "g:b-on-watch: stopped\n",
        0,
        &[&["start", "g:b-on-watch"]],
    );

    let file = pair.nest.group_file("lone");
    let write = |seconds: u32| {
        fs::write(
            &file,
            format!("[program:lone]\ncommand=/bin/sleep {seconds}\nautostart=false\n"),
        )
        .unwrap()
    };
    write(1000);
    pair.same(&["reread"]);
    assert_eq!(
        pair.upstream(&["update"]),
        ("lone: added process group\n".into(), 0)
    );
    write(1001);
    assert_eq!(
        pair.ours(&["update", "lone"]),
        ("lone: stopped\nlone: updated process group\n".into(), 0)
    );
    write(1002);
    assert_eq!(
        pair.upstream(&["update", "lone"]),
        ("lone: stopped\nlone: updated process group\n".into(), 0)
    );
    fs::remove_file(&file).unwrap();
    pair.same(&["reread"]);
    assert_eq!(
        pair.upstream(&["update"]),
        ("lone: stopped\nlone: removed process group\n".into(), 0)
    );
    fs::write(&file, "[program:x]\n").unwrap();
    pair.same(&["reread"]);
    fs::remove_file(&file).unwrap();
    pair.same(&["status"]);

    assert_eq!(pair.upstream(&["shutdown"]), ("Shut down\n".into(), 0));
    eventually("the daemon has ended", || {
        (!pair.nest.client.socket().exists()).then_some(())
    });
    pair.same(&["status"]);
    pair.same(&["stop", "g:a"]);
}
