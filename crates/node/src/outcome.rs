//! How a command of the node ends: outcomes, errors and their exit codes (N 0).

use std::path::PathBuf;

/// How a command ended that ran to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is as it shall be.
    Success,
    /// Something failed; it was reported.
    Failure,
    /// All was processed, but a promise failed.
    PromiseFailure,
    /// `format` prepared the machine but could not tell the Master.
    FormatOffline,
    /// `instance` could not reach the Master and started what is there.
    Offline,
}

impl Outcome {
    /// The process's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Outcome::Success => 0,
            Outcome::Failure => 1,
            Outcome::PromiseFailure | Outcome::FormatOffline => 2,
            Outcome::Offline => 3,
        }
    }
}

/// Why a command could not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// Only root may do this while `root_check` is on.
    #[error(
        "only root can do this; run it as root, or set `root_check = false` in [slapos] of {file}"
    )]
    NotRoot {
        /// The configuration file.
        file: PathBuf,
    },
    /// Another process is doing the same work.
    #[error("another slapos process{} holds {path}; wait for it to end",
        .pid.map_or(String::new(), |pid| format!(" (pid {pid})")))]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, where that can be told.
        pid: Option<u32>,
    },
    /// The operating system refused something.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried, such as "create".
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The Master refused something or cannot be reached.
    #[error(transparent)]
    Master(#[from] slap_client::Error),
    /// The supervisor refused something or cannot be reached.
    #[error("the supervisor of {instance_root}: {message}")]
    Supervisor {
        /// Whose supervisor.
        instance_root: PathBuf,
        /// What went wrong.
        message: String,
    },
    /// `--only` names partitions this node does not have (N 3.2).
    #[error("Unknown partition(s): {0}")]
    UnknownPartitions(String),
    /// The command was interrupted.
    #[error("interrupted")]
    Cancelled,
    /// Anything else, in words.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    /// The process's exit code (N 0).
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Locked { .. } => 10,
            Error::NotRoot { .. } => 5,
            _ => 1,
        }
    }

    /// Turns an operating system's error into ours, naming what was tried on what.
    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io {
            doing,
            path,
            source,
        }
    }
}
