//! The SlapOS Node: formats a machine, builds software releases, runs instances.
//!
//! Each command is one function that takes a checked configuration, its options and an
//! [`Observer`], and ends with an [`Outcome`] or an [`Error`], both with upstream's exit codes:
//!
//! - [`format::run`] prepares partitions and tells the Master about them;
//! - [`software::run`] builds and removes releases, through the small [`software::Builder`];
//! - [`instance::run`] makes every partition what its instance shall be;
//! - [`promise::run`] checks whether instances work;
//! - [`report::run`] reports usage and removes instances that were given up;
//! - [`boot::run`] brings a node back to work after the machine was restarted;
//! - [`collect::run`] writes down what the machine and its partitions use;
//! - [`prune::run`] removes shared parts that no release uses.
//!
//! The Master's wish comes in as a document, what differs from the disk is decided without I/O
//! (`instance::plan`), then done. Absence of information never stops or destroys anything. Files in
//! partitions are handled as what they are, files of strangers (`safe_fs`). The crate never prints.

pub mod agent;
pub mod boot;
mod cancel;
pub mod cgroup;
mod child;
pub mod collect;
pub mod config;
mod firewalld;
pub mod format;
pub mod instance;
pub mod layout;
mod lock;
mod manager;
pub mod network_cache;
pub mod notify;
mod observer;
mod outcome;
mod parallel;
mod partition;
mod procfs;
pub mod promise;
pub mod prune;
mod pyjson;
mod random;
pub mod report;
mod safe_fs;
mod services;
pub mod software;
mod start;
#[cfg(test)]
mod testing;
mod time;
mod user;

pub use cancel::{Cancel, Reload};
pub use config::{NodeConfig, Overrides};
pub use firewalld::{FirewallConfig, FirewallProgram};
pub use manager::ManagerConfig;
pub use observer::{Event, LogObserver, Observer};
pub use outcome::{Error, Outcome};
pub use services::supervisor;
