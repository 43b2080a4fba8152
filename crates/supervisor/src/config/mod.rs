//! What shall run: supervisord's configuration, read and written.
//!
//! The reader understands the sections that a SlapOS node and its tools use (N 2.6). What it
//! parses into is what is compared when the configuration is read again: a group whose *parsed*
//! value is unchanged is never restarted, however its file was re-written.

mod ini;
mod lex;
mod parse;
mod render;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use lex::{quote, split_command};
pub(crate) use lex::{signal_name, signal_number};
pub use parse::DaemonOnly;

/// Why a configuration could not be used. The text names the file, the section and the remedy.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A line is neither a section, a key, a comment nor a continuation.
    #[error("{path}, line {line}: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A section has a value that cannot be used.
    #[error("{reason} in section '{section}' (file: '{path}')")]
    Section {
        /// The section without brackets.
        section: String,
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// More than one file may hold.
    #[error("{0}")]
    TooLarge(String),
}

/// When a program that reached RUNNING and exited is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AutoRestart {
    /// Never.
    Never,
    /// When its exit code is not one of `exitcodes`, or a signal ended it.
    Unexpected,
    /// Always.
    Always,
}

/// Who a program runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum User {
    /// A numeric user id.
    Id(u32),
    /// A name, looked up in `/etc/passwd` each time the program starts.
    Name(String),
}

/// Where one output channel of a program goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// The destination.
    pub target: LogTarget,
    /// Size in bytes at which the file is rotated; 0 = never.
    pub max_bytes: u64,
    /// How many rotated files are kept (`.1` is the youngest); 0 = the file is emptied instead.
    pub backups: u32,
}

/// Destination of an output channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogTarget {
    /// A file that the daemon names, next to its own log.
    Auto,
    /// Thrown away.
    None,
    /// This file.
    File(PathBuf),
}

impl LogConfig {
    /// Output is thrown away.
    pub fn none() -> Self {
        Self {
            target: LogTarget::None,
            max_bytes: 0,
            backups: 0,
        }
    }

    /// A file rotated at `max_bytes`, keeping `backups` old ones.
    pub fn file(path: impl Into<PathBuf>, max_bytes: u64, backups: u32) -> Self {
        Self {
            target: LogTarget::File(path.into()),
            max_bytes,
            backups,
        }
    }
}

/// One process to keep (a `[program:x]` section).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramConfig {
    /// Name of the section after `program:`. The node writes `<group>_<name>` (N 2.6).
    pub section: String,
    /// Name inside its group, without blank, colon or slash.
    pub name: String,
    /// Command line with shell-like quoting, without any expansion. [`quote`] helps.
    pub command: String,
    /// Working directory; the daemon's own when absent.
    pub directory: Option<PathBuf>,
    /// Low numbers start first and stop last.
    pub priority: i32,
    /// Start with the daemon, and when its group is added.
    pub autostart: bool,
    /// Start again after an exit.
    pub autorestart: AutoRestart,
    /// Seconds it must live to count as started; 0 = started as soon as it was executed.
    pub startsecs: u32,
    /// How often a failed start is tried again before FATAL; 0 = the first failure is final.
    pub startretries: u32,
    /// Exit codes that are expected.
    pub exitcodes: Vec<i32>,
    /// Signal number that asks it to stop.
    pub stopsignal: i32,
    /// Seconds between that signal and KILL.
    pub stopwaitsecs: u32,
    /// Whether the stop signal goes to the whole process group.
    pub stopasgroup: bool,
    /// Whether upstream's KILL goes to the whole group. Kept for its tools: ours always does.
    pub killasgroup: bool,
    /// Who to become, when the daemon is root.
    pub user: Option<User>,
    /// Primary group to take, when the daemon is root; the user's own when absent.
    pub gid: Option<u32>,
    /// The directory of a control group (cgroup v2) to join, when the daemon is root. Our own key.
    #[serde(default)]
    pub cgroup: Option<PathBuf>,
    /// File mode creation mask; the daemon's when absent.
    pub umask: Option<u32>,
    /// Whether stderr goes where stdout goes.
    pub redirect_stderr: bool,
    /// Where stdout goes.
    pub stdout: LogConfig,
    /// Where stderr goes; always [`LogTarget::None`] with `redirect_stderr`.
    pub stderr: LogConfig,
    /// Its whole environment, in order, apart from `SUPERVISOR_*`.
    pub environment: Vec<(String, String)>,
    /// `SUPERVISOR_SERVER_URL` to tell it; the daemon's socket when absent (`AUTO`).
    pub serverurl: Option<String>,
    /// What event listeners are told of its stdout and stderr.
    #[serde(default)]
    pub told: [ToldConfig; 2],
}

/// What event listeners are told of an output channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ToldConfig {
    /// Everything that is written to it (`PROCESS_LOG`).
    pub events: bool,
    /// Bytes of what is written between the marks of a communication (`PROCESS_COMMUNICATION`); 0 =
    /// marks mean nothing.
    pub capture_max_bytes: u64,
}

impl ProgramConfig {
    /// A program with supervisord's defaults, as if only `command` were configured.
    pub fn new(name: impl Into<String>, command: impl Into<String>) -> Self {
        let name = name.into();
        let log = LogConfig {
            target: LogTarget::Auto,
            max_bytes: 50 << 20,
            backups: 10,
        };
        Self {
            section: name.clone(),
            name,
            command: command.into(),
            directory: None,
            priority: 999,
            autostart: true,
            autorestart: AutoRestart::Unexpected,
            startsecs: 1,
            startretries: 3,
            exitcodes: vec![0],
            stopsignal: 15,
            stopwaitsecs: 10,
            stopasgroup: false,
            killasgroup: false,
            user: None,
            gid: None,
            cgroup: None,
            umask: None,
            redirect_stderr: false,
            stdout: log.clone(),
            stderr: log,
            environment: Vec::new(),
            serverurl: None,
            told: [ToldConfig::default(); 2],
        }
    }

    /// A service of a partition with the parameters of N 2.6: nothing automatic, one merged log
    /// `<directory>/.<group>_<file>.log` of 100 KB with one backup, 60 s to stop.
    ///
    /// `file` is the entry's name in `etc/run` or `etc/service`; `process` is what the group calls
    /// it (`file`, or `file-on-watch` for a watched one).
    pub fn for_partition(
        group: &str,
        file: &str,
        process: &str,
        executable: &Path,
        partition: &PartitionOwner,
    ) -> Self {
        let log = partition.directory.join(format!(".{group}_{file}.log"));
        Self {
            section: format!("{group}_{file}"),
            directory: Some(partition.directory.clone()),
            autostart: false,
            autorestart: AutoRestart::Never,
            startsecs: 0,
            startretries: 0,
            stopwaitsecs: 60,
            stopasgroup: true,
            killasgroup: true,
            user: Some(User::Id(partition.uid)),
            gid: Some(partition.gid),
            cgroup: partition.cgroup.clone(),
            redirect_stderr: true,
            stdout: LogConfig::file(log, 100 * 1024, 1),
            stderr: LogConfig::none(),
            environment: vec![
                ("USER".into(), partition.user.clone()),
                ("LOGNAME".into(), partition.user.clone()),
                ("HOME".into(), partition.home.to_string_lossy().into_owned()),
            ],
            ..Self::new(process, quote(&executable.to_string_lossy()))
        }
    }
}

/// Whose partition it is: what [`ProgramConfig::for_partition`] needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionOwner {
    /// The partition's directory.
    pub directory: PathBuf,
    /// User id of its owner.
    pub uid: u32,
    /// Group id of its owner.
    pub gid: u32,
    /// The owner's name.
    pub user: String,
    /// The owner's home directory in the password database.
    pub home: PathBuf,
    /// Their control group, when they have one.
    pub cgroup: Option<PathBuf>,
}

/// Processes that are added, removed and updated together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupConfig {
    /// Its name: a partition's id, perhaps with a suffix (`slappart0-prerm`).
    pub name: String,
    /// Low numbers start first and stop last.
    pub priority: i32,
    /// Its processes in order.
    pub programs: Vec<ProgramConfig>,
    /// Whether a `[group:x]` section made it, rather than a lone `[program:x]`.
    pub explicit: bool,
    /// What its processes are told, when they are event listeners (`[eventlistener:x]`).
    #[serde(default)]
    pub listener: Option<PoolConfig>,
}

/// What event listeners are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolConfig {
    /// supervisord's names of events, sorted.
    pub events: Vec<String>,
    /// How many events wait at most; the oldest has to go.
    pub buffer_size: u32,
}

impl GroupConfig {
    /// A group as the node writes it.
    pub fn new(name: impl Into<String>, programs: Vec<ProgramConfig>) -> Self {
        Self {
            name: name.into(),
            priority: 999,
            programs,
            explicit: true,
            listener: None,
        }
    }

    /// A program outside any group: it makes a group of its own name (`firewall`, `slapproxy`).
    pub fn alone(program: ProgramConfig) -> Self {
        Self {
            name: program.section.clone(),
            priority: program.priority,
            programs: vec![program],
            explicit: false,
            listener: None,
        }
    }

    /// What decides which group starts first and stops last.
    pub(crate) fn order(&self) -> (i32, &str) {
        (self.priority, &self.name)
    }

    /// The text of `etc/supervisord.conf.d/<group>.conf`, key by key as N 2.6. No node has event
    /// listeners: they are not written.
    pub fn render(&self) -> String {
        render::group(self)
    }
}

/// How verbose the daemon's own log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// Starts, exits, stops.
    Info,
    /// What was not expected.
    Warn,
    /// What failed.
    Error,
}

/// The daemon's own settings (`[supervisord]`, `[unix_http_server]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonConfig {
    /// Control socket. At most 107 bytes (N 2.2).
    pub socket: PathBuf,
    /// Mode of the socket.
    pub socket_mode: u32,
    /// The daemon's log; `None` = no log file.
    pub logfile: Option<PathBuf>,
    /// Size in bytes at which it is rotated; 0 = never.
    pub logfile_max_bytes: u64,
    /// How many rotated logs are kept.
    pub logfile_backups: u32,
    /// Where its process id is written. The lock, the state file and the FIFOs live next to it.
    pub pidfile: PathBuf,
    /// How much it logs.
    pub loglevel: LogLevel,
    /// What `getIdentification` answers.
    pub identifier: String,
    /// Where `AUTO` logs of programs go; next to the daemon's log when absent.
    pub childlogdir: Option<PathBuf>,
    /// Mask of created files.
    pub umask: u32,
}

impl DaemonConfig {
    /// What a node configures (N 2.6): everything under `instance_root`.
    pub fn for_instance_root(instance_root: &Path, socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            socket_mode: 0o700,
            logfile: Some(instance_root.join("var/log/supervisord.log")),
            logfile_max_bytes: 50 << 20,
            logfile_backups: 10,
            pidfile: instance_root.join("var/run/supervisord.pid"),
            loglevel: LogLevel::Info,
            identifier: "supervisor".into(),
            childlogdir: None,
            umask: 0o022,
        }
    }

    /// The text of `etc/supervisord.conf` as N 2.6; `watchdog` is the event listener's command
    /// line, which upstream's daemon would run and ours does not.
    pub fn render(&self, include: &str, watchdog: &str) -> String {
        render::daemon(self, include, watchdog)
    }

    /// Directory of the files that only the daemon uses.
    pub(crate) fn run_directory(&self) -> PathBuf {
        self.pidfile
            .parent()
            .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
    }
}

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The daemon's own settings.
    pub daemon: DaemonConfig,
    /// Every group, in the order they start.
    pub groups: Vec<GroupConfig>,
}

impl Config {
    /// Reads a configuration file and everything it includes.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let daemon = DaemonOnly::load(path)?;
        let groups = daemon.groups()?;
        Ok(Self {
            daemon: daemon.config,
            groups,
        })
    }
}

#[cfg(test)]
mod tests;
