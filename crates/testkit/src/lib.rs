//! What end-to-end tests share: the program under test, a Master with a node around it, and the
//! released upstream as a peer. No test logic lives here.
//!
//! - [`Slapos`] runs the program, isolated from the user's files and settings, and keeps what it
//!   said as a [`Run`] or, while it goes on, a [`Running`];
//! - [`Rig`] is a directory with a Master, a node of a few partitions and a client's configuration.
//!   Every process that belongs to it can be listed, and none outlives it;
//! - [`Peer`] is the released `slapos.core`, installed from PyPI once per machine;
//! - [`eventually`] waits for what happens elsewhere, with a deadline instead of a sleep;
//! - [`Random`] is randomness that can be repeated.
//!
//! Everything panics with a full account when it fails: a test that uses it wants exactly that.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::missing_panics_doc
)]

mod http;
mod peer;
mod port;
mod process;
mod random;
mod rig;
mod run;
mod wait;

pub use http::{Page, http_get};
pub use peer::Peer;
pub use port::Port;
pub use process::{Process, kill, processes_below};
pub use random::Random;
pub use rig::{Rig, RigBuilder};
pub use run::{Invocation, Run, Running, Slapos, Unprivileged};
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
