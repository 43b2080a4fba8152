//! Keeps processes running: the daemon, its configuration and its control socket.
//!
//! It honours supervisord's contract (configuration sections, XML-RPC on a unix socket, state
//! names and codes, what `supervisorctl` prints), so that existing tools keep working, and adds
//! what that one lacks: it re-adopts its processes after its own death, leaves no grandchild
//! behind, loses no output, and sleeps until something happens.
//!
//! * [`config`]: what shall run. Read by the daemon, written by a node.
//! * [`daemon::run`]: keeps it running; [`ensure_running`] starts it from any command.
//! * [`Client`]: orders and questions. [`ctl`]: the same as text, for people.

pub mod client;
mod clock;
pub mod config;
pub mod ctl;
pub mod daemon;
pub mod fault;
mod http;
mod journal;
mod launch;
mod logfile;
mod procfs;
mod spawn;
mod state;
mod users;
mod xmlrpc;

pub use client::{Client, ClientError};
pub use config::{GroupConfig, ProgramConfig};
pub use launch::{LaunchError, ensure_running};
pub use state::ProcessState;
pub use xmlrpc::Value;
