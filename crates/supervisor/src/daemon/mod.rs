//! The daemon.

use std::path::Path;

/// Why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The system refused something without which no daemon can run.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Runs the daemon in this process until it is told to stop.
///
/// With `nodaemon` it stays in the caller's session and terminal (Ctrl-C stops it, its log is
/// copied to standard error); otherwise it leaves both, but does not fork: start it with
/// [`crate::ensure_running`]. Returns at once, successfully, when another daemon already serves
/// this configuration.
pub fn run(config: &Path, nodaemon: bool) -> Result<(), DaemonError> {
    let _ = (config, nodaemon);
    Ok(())
}
