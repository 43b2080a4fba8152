//! Messages on stderr while a command works, and all of them in `--log-file`.

use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;

use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::Global;
use crate::failure::Failure;

/// Starts logging as the global options say; `configured` is the command's own log file, which
/// counts when none is given on the line.
pub(crate) fn start(global: &Global, configured: Option<PathBuf>) -> Result<(), Failure> {
    let level = match (global.quiet, global.verbose) {
        (true, _) => Level::WARN,
        (false, 0) => Level::INFO,
        (false, 1) => Level::DEBUG,
        (false, _) => Level::TRACE,
    };
    let console = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(crate::output::stderr_is_coloured())
        .with_target(global.verbose > 0);
    let console = if global.log_time {
        console.boxed()
    } else {
        console.without_time().boxed()
    };
    let file = match global.log_file.clone().or(configured) {
        None => None,
        Some(path) => {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .map_err(|error| {
                    Failure::new(format!("cannot write the log {}: {error}", path.display()))
                })?;
            let layer = fmt::layer()
                .with_writer(std::sync::Mutex::new(file))
                .with_ansi(false)
                .with_filter(LevelFilter::DEBUG);
            Some(layer)
        }
    };
    tracing_subscriber::registry()
        .with(console.with_filter(LevelFilter::from_level(level)))
        .with(file)
        .try_init()
        .map_err(|error| Failure::of(&error))
}
