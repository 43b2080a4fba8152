//! What end-to-end tests share: the program under test, a Master with a node around it, and the
//! released upstream as a peer. No test logic lives here.
//!
//! - [`Slapos`] runs the program, isolated from the user's files and settings, and keeps what it
//!   said as a [`Run`] or, while it goes on, a [`Running`];
//! - [`Terminal`] is a program at a real terminal, with somebody who types;
//! - [`Rig`] is a directory with a Master, a node of a few partitions and a client's configuration.
//!   Every process that belongs to it can be listed, and none outlives it. Its Master is
//!   `slapos proxy`, or the full one, and then [`Welcome`] is what its first start says;
//! - [`Peer`] is the released `slapos.core`, installed from PyPI once per machine;
//! - [`Browser`] is Debian's Chromium with what drives it, from npm;
//! - [`Postgres`] is a PostgreSQL server of the tests' own; [`for_each_database`] runs a test on both
//!   kinds of database;
//! - [`eventually`] waits for what happens elsewhere, with a deadline instead of a sleep;
//! - [`Random`] is randomness that can be repeated.
//!
//! Environment of a test run:
//!
//! | variable | meaning |
//! |---|---|
//! | `SLAPOS_TEST_SEED` | the seed of [`Random`], printed by a run that failed |
//! | `SLAPOS_TEST_KEEP` | keep the directories of tests that fail |
//! | `SLAPOS_TEST_OFFLINE=1` | skip what needs the upstream peer, or modules from npm, when they cannot be installed |
//! | `SLAPOS_TEST_WITHOUT_POSTGRES=1` | leave out what needs PostgreSQL where it cannot be installed |
//! | `SLAPOS_PEER_DIR` | where the peer is installed, instead of below `target/` |
//!
//! Everything panics with a full account when it fails: a test that uses it wants exactly that.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::missing_panics_doc
)]

mod browser;
mod database;
mod full;
mod http;
mod peer;
mod port;
mod postgres;
mod process;
mod random;
mod rig;
mod run;
mod sdk;
mod terminal;
mod wait;

pub use browser::Browser;
pub use database::TestDatabase;
pub use full::Welcome;
pub use http::{Page, http_get};
pub use peer::Peer;
pub use port::Port;
pub use postgres::{Postgres, PostgresBuilder};
pub use process::{Process, kill, processes_below};
pub use random::Random;
pub use rig::{Rig, RigBuilder};
pub use run::{Invocation, Run, Running, Slapos, Unprivileged};
pub use terminal::Terminal;
pub use wait::{eventually, eventually_some};

use std::path::{Path, PathBuf};

/// The project's own directory, where `software/` and `tests/` are.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate is two levels below the project")
        .to_path_buf()
}

/// Whether the tests run as root, as they do in containers.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::time::Duration;

    #[test]
    fn processes_are_found_by_directory_command_and_environment() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        let log = path.join("log");
        let watch = |file: &Path, home: &Path, cwd: &Path| {
            Invocation::new("/usr/bin/tail", home)
                .directory(cwd)
                .arg("-f")
                .arg(file)
                .start(&log)
        };
        let (root, none) = (Path::new("/"), Path::new("/dev/null"));
        let mut by_directory = watch(none, root, &path);
        let by_command = watch(&log, root, root);
        let by_environment = watch(none, &path, root);
        let _unrelated = watch(none, root, root);
        let pids = || -> Vec<u32> {
            processes_below(&path)
                .iter()
                .map(|found| found.pid)
                .collect()
        };
        let mut expected = [&by_directory, &by_command, &by_environment].map(Running::pid);
        expected.sort_unstable();
        eventually("all are found", Duration::from_secs(20), || {
            if pids() == expected {
                Ok(())
            } else {
                Err(pids())
            }
        });
        by_directory.kill();
        assert!(!pids().contains(&by_directory.pid()));
        drop((by_command, by_environment));
        assert_eq!(pids(), [0; 0], "nobody outlives the handle");
    }

    #[test]
    fn a_run_keeps_everything() {
        let run = Invocation::new("/bin/sh", "/tmp")
            .env("WORD", "said")
            .args(["-c", "echo $WORD; echo $HOME >&2; exit 7"])
            .run()
            .exits(7)
            .says("said");
        assert_eq!(
            (run.stdout.as_str(), run.stderr.as_str()),
            ("said\n", "/tmp\n")
        );
        let killed = Invocation::new("/bin/sh", "/tmp")
            .args(["-c", "kill -9 $$"])
            .run();
        assert_eq!(killed.code(), 128 + 9);
    }

    #[test]
    fn ports_are_not_given_twice() {
        let (one, two) = (Port::reserve(), Port::reserve());
        assert_ne!(one.number(), two.number());
        assert!(!one.is_open());
    }

    #[test]
    fn a_page_is_read_to_its_end() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream
                .write_all(b"HTTP/1.1 404 Not Found\r\na: b\r\n\r\nno\r\n\r\nwhere")
                .unwrap();
            request
        });
        let page = http_get(&url).unwrap();
        assert_eq!((page.status, page.body.as_str()), (404, "no\r\n\r\nwhere"));
        assert!(server.join().unwrap().starts_with(b"GET /x HTTP/1.0\r\n"));
        assert!(http_get("https://127.0.0.1/").is_err());
    }
}
