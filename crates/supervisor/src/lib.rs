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
//!
//! # Where it differs from supervisord on purpose
//!
//! * A process that has ended leaves nothing behind: what it started is killed, or, when it was
//!   told to stop, gets the rest of `stopwaitsecs` to finish. `STOPPED` means that nothing is left.
//! * KILL always reaches the whole process group, whatever `killasgroup` says.
//! * `autorestart` waits 1 s, doubling to 60 s, in `BACKOFF`; failed starts wait in the same way.
//! * Programs see only what is configured and `SUPERVISOR_*`, never the daemon's environment.
//! * `group=` (a number) is the primary group; upstream ignores it. A user or a log directory that
//!   does not exist is an error of that program, not of the whole configuration.
//! * `cgroup=` (a directory) is the control group (cgroup v2) a program joins; upstream ignores it.
//! * Logs are never written through links. Control characters in them are replaced in XML-RPC,
//!   where upstream sends a document that its own client cannot read.
//! * `stopProcessGroup` also waits for what was already stopping.
//! * `GET /steps` on the socket tells of each step of a process as it happens ([`Client::listen`]).
//! * After the daemon was killed, the exit code of a process that it had started is unknown (-1).
//! * A program's standard input never ends: also a daemon that takes over can write to it.
//! * After the daemon was killed, event listeners begin anew, since nobody remembers what they were
//!   told; their events that waited are lost, as upstream loses them. `result_handler` is always
//!   upstream's default. A section with `unless=builtin` (our own key) is for supervisord only.
//! * `fcgi-program`, syslog, TCP sockets and passwords do not exist.

mod capture;
pub mod client;
mod clock;
pub mod config;
pub mod ctl;
pub mod daemon;
pub mod fault;
mod http;
mod journal;
mod launch;
mod listen;
mod logfile;
mod notice;
mod procfs;
mod spawn;
mod state;
mod talk;
mod users;
mod xmlrpc;

pub use client::{Client, ClientError, ProcessInfo};
pub use config::{GroupConfig, ProgramConfig};
pub use launch::{LaunchError, ensure_running};
pub use listen::{Change, Ear, Heard, Hush};
pub use state::ProcessState;
pub use xmlrpc::Value;
