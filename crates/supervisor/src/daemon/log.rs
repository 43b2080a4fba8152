//! The daemon's own log, in supervisord's format.

use crate::clock;
use crate::config::{DaemonConfig, LogLevel};
use crate::logfile::RotatingFile;

#[derive(Debug)]
pub(super) struct Logger {
    file: Option<RotatingFile>,
    level: LogLevel,
    /// Also write to standard error.
    echo: bool,
    /// What was written since it was last taken, for whoever follows the log.
    said: Vec<u8>,
}

/// Most bytes of the log that wait for those who follow it.
const SAID_BYTES_MAX: usize = 64 << 10;

impl Logger {
    pub(super) fn new(config: &DaemonConfig, echo: bool) -> Self {
        let file = config
            .logfile
            .as_ref()
            .map(|path| RotatingFile::new(path, config.logfile_max_bytes, config.logfile_backups));
        Self {
            file,
            level: config.loglevel,
            echo,
            said: Vec::new(),
        }
    }

    /// What was written since the last call.
    pub(super) fn take_said(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.said)
    }

    pub(super) fn file(&mut self) -> Option<&mut RotatingFile> {
        self.file.as_mut()
    }

    pub(super) fn debug(&mut self, text: impl AsRef<str>) {
        self.write(LogLevel::Debug, "DEBG", text.as_ref());
    }

    pub(super) fn info(&mut self, text: impl AsRef<str>) {
        self.write(LogLevel::Info, "INFO", text.as_ref());
    }

    pub(super) fn warn(&mut self, text: impl AsRef<str>) {
        self.write(LogLevel::Warn, "WARN", text.as_ref());
    }

    pub(super) fn error(&mut self, text: impl AsRef<str>) {
        self.write(LogLevel::Error, "CRIT", text.as_ref());
    }

    fn write(&mut self, level: LogLevel, label: &str, text: &str) {
        if level < self.level {
            return;
        }
        let line = format!("{} {label} {text}\n", clock::log_time(clock::wall_millis()));
        if self.echo {
            let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
        }
        if self.said.len() + line.len() <= SAID_BYTES_MAX {
            self.said.extend_from_slice(line.as_bytes());
        }
        // A log that cannot be written must not stop the processes that are kept.
        if let Some(file) = &mut self.file {
            let _ = file.append(line.as_bytes());
        }
    }
}
