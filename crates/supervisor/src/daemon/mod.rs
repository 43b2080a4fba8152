//! The daemon: one thread, one `epoll`, no wake-up without a reason.
//!
//! One turn of the loop: wait for an event or the nearest deadline; take what happened (signals,
//! output of programs, ends of adopted processes, requests); do what is due; record the new state;
//! only then send the answers. An order that was answered is therefore never forgotten.

mod adopt;
mod control;
mod deferred;
mod describe;
mod events;
mod input;
mod log;
mod methods;
mod output;
mod pool;
mod process;
mod signals;
mod sweep;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::event::{Timespec, epoll};
use rustix::fs::{FlockOperation, Mode};
use rustix::process::{Resource, Rlimit};

use crate::clock;
use crate::config::{Config, ConfigError, DaemonConfig, DaemonOnly, GroupConfig};
use crate::journal::{GroupRecord, Journal};
use crate::notice::{Notice, TICKS};
use crate::state::Millis;

use control::Connection;
use input::Input;
use log::Logger;
use output::Stream;
use pool::Pool;
use process::Process;
use signals::Signals;
use sweep::Hunt;

/// Bytes of a socket's path (N 2.2).
const MAX_SOCKET_PATH: usize = 107;
/// How long strays of stopped programs may delay the end of the daemon, in ms.
const LAST_HUNT: Millis = 5_000;

/// Why the daemon could not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system refused something without which no daemon can run.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> DaemonError {
    let what = what.into();
    move |source| DaemonError::System { what, source }
}

/// Runs the daemon in this process until it is told to stop.
///
/// With `nodaemon` it stays in the caller's session and terminal (Ctrl-C stops it, its log is
/// copied to standard error); otherwise it leaves both, but does not fork: start it with
/// [`crate::ensure_running`]. Returns at once, successfully, when another daemon already serves
/// this configuration.
///
/// SIGTERM, SIGINT and SIGQUIT stop every program and end it, SIGHUP stops every program and
/// starts anew from the configuration, SIGUSR2 reopens the logs.
pub fn run(config: &Path, nodaemon: bool) -> Result<(), DaemonError> {
    let config_path =
        std::path::absolute(config).map_err(system("the working directory is gone"))?;
    let settings = DaemonOnly::load(&config_path)?;
    let Some(lock) = lock(&settings.config)? else {
        return Ok(());
    };
    if !nodaemon {
        // It may already lead a session of its own: that is as good.
        let _ = rustix::process::setsid();
    }
    rustix::process::umask(Mode::from_raw_mode(settings.config.umask));
    let mut daemon = Daemon::new(config_path, settings, nodaemon)?;
    daemon.take_over()?;
    daemon.announce()?;
    if !nodaemon {
        release_stdio();
    }
    let outcome = daemon.serve();
    daemon.leave();
    drop(lock);
    outcome
}

/// The lock that makes a daemon the only one; `None` when another holds it.
fn lock(config: &DaemonConfig) -> Result<Option<File>, DaemonError> {
    let path = config.pidfile.with_extension("lock");
    let failed = || system(format!("cannot lock {}", path.display()));
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed())?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(failed()(error.into())),
    }
}

/// Each program costs up to three descriptors. Returns the limit as it was.
fn raise_open_files() -> Rlimit {
    const WANTED: u64 = 65_536;
    let before = rustix::process::getrlimit(Resource::Nofile);
    let current = before.maximum.map_or(WANTED, |hard| hard.min(WANTED));
    if before.current.is_some_and(|soft| soft < current) {
        let raised = Rlimit {
            current: Some(current),
            ..before
        };
        let _ = rustix::process::setrlimit(Resource::Nofile, raised);
    }
    before
}

/// Whoever started the daemon learns by the end of its standard error that it is ready.
fn release_stdio() {
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

/// What the daemon is doing as a whole; the numbers are supervisord's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Shutdown = -1,
    Restarting = 0,
    Running = 1,
}

impl Mood {
    fn name(self) -> &'static str {
        match self {
            Self::Shutdown => "SHUTDOWN",
            Self::Restarting => "RESTARTING",
            Self::Running => "RUNNING",
        }
    }
}

/// What became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Signals,
    Listener,
    Connection(u64),
    Output(u64),
    Adopted(u64),
    Input(u64),
}

impl Source {
    fn token(self) -> epoll::EventData {
        let (kind, id) = match self {
            Self::Signals => (0, 0),
            Self::Listener => (1, 0),
            Self::Connection(id) => (2, id),
            Self::Output(id) => (3, id),
            Self::Adopted(id) => (4, id),
            Self::Input(id) => (5, id),
        };
        epoll::EventData::new_u64(kind << 56 | id)
    }

    fn from_token(token: u64) -> Option<Self> {
        let id = token & ((1 << 56) - 1);
        Some(match token >> 56 {
            0 => Self::Signals,
            1 => Self::Listener,
            2 => Self::Connection(id),
            3 => Self::Output(id),
            4 => Self::Adopted(id),
            5 => Self::Input(id),
            _ => return None,
        })
    }
}

/// An active group.
#[derive(Debug)]
struct Group {
    config: GroupConfig,
    /// Its processes, in the order of its programs.
    members: Vec<u64>,
    /// What waits for them, when they are event listeners.
    pool: Pool,
}

impl Group {
    fn new(config: GroupConfig, members: Vec<u64>) -> Self {
        Self {
            config,
            members,
            pool: Pool::default(),
        }
    }
}

struct Daemon {
    config_path: PathBuf,
    settings: DaemonConfig,
    /// `unix://…`: what programs are told, and what marks them as ours.
    url: String,
    /// What the configuration says since it was last read.
    configured: Vec<GroupConfig>,
    /// What is active, in the order it starts.
    groups: Vec<Group>,
    processes: BTreeMap<u64, Process>,
    streams: BTreeMap<u64, Stream>,
    /// What is being written to programs, by process.
    inputs: BTreeMap<u64, Input>,
    connections: BTreeMap<u64, Connection>,
    hunts: Vec<Hunt>,
    listener: Option<UnixListener>,
    signals: Signals,
    epoll: OwnedFd,
    log: Logger,
    mood: Mood,
    /// Whether listeners were told that it stops.
    stopping: bool,
    /// Until when listeners may hear the last events, while shutting down.
    farewell: Option<Millis>,
    /// Since when everything has stopped, while shutting down.
    at_rest_since: Option<Millis>,
    /// Number of the next event that listeners are told.
    serial: u64,
    /// The last multiple of each period that passed; only where somebody asked for ticks.
    ticks: [Option<i64>; TICKS.len()],
    /// Listeners that are stopped to be started again.
    renewing: Vec<u64>,
    next_id: u64,
    next_fifo: u64,
    /// What programs get; the daemon's own limit is higher.
    open_files: Rlimit,
    /// What the state file says is no longer true.
    dirty: bool,
    save_failed: bool,
}

impl Daemon {
    fn new(config_path: PathBuf, settings: DaemonOnly, echo: bool) -> Result<Self, DaemonError> {
        // Orphans of our programs become our children, so that we see and end them.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|e| system("cannot become a subreaper")(e.into()))?;
        let signals = Signals::new().map_err(system("cannot handle signals"))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|e| system("cannot create an epoll instance")(e.into()))?;
        let mut log = Logger::new(&settings.config, echo);
        let configured = match settings.groups() {
            Ok(groups) => groups,
            // Processes that run are kept; what shall run is read again on the next request.
            Err(error) if has_predecessor(&settings.config) => {
                log.error(format!(
                    "the configuration cannot be used, keeping the last one: {error}"
                ));
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        let daemon = Self {
            config_path,
            url: format!("unix://{}", settings.config.socket.display()),
            settings: settings.config,
            configured,
            groups: Vec::new(),
            processes: BTreeMap::new(),
            streams: BTreeMap::new(),
            inputs: BTreeMap::new(),
            connections: BTreeMap::new(),
            hunts: Vec::new(),
            listener: None,
            signals,
            epoll,
            log,
            mood: Mood::Running,
            stopping: false,
            farewell: None,
            at_rest_since: None,
            serial: 0,
            ticks: [None; TICKS.len()],
            renewing: Vec::new(),
            next_id: 1,
            next_fifo: 1,
            open_files: raise_open_files(),
            dirty: true,
            save_failed: false,
        };
        daemon.watch(daemon.signals.descriptor(), Source::Signals)?;
        Ok(daemon)
    }

    fn watch(&self, descriptor: impl AsFd, source: Source) -> Result<(), DaemonError> {
        epoll::add(
            &self.epoll,
            descriptor,
            source.token(),
            epoll::EventFlags::IN,
        )
        .map_err(|e| system("cannot wait for events")(e.into()))
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn journal_path(&self) -> PathBuf {
        journal_path(&self.settings)
    }

    fn fifo_directory(&self) -> PathBuf {
        self.settings.run_directory().join("supervisor-output")
    }

    /// Opens the control socket and writes the process id.
    fn announce(&mut self) -> Result<(), DaemonError> {
        let socket = self.settings.socket.clone();
        let failed = || system(format!("cannot listen on {}", socket.display()));
        if socket.as_os_str().len() > MAX_SOCKET_PATH {
            let reason = format!(
                "a socket's path has at most {MAX_SOCKET_PATH} bytes; use a shorter directory"
            );
            return Err(failed()(io::Error::other(reason)));
        }
        match fs::symlink_metadata(&socket) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed()(error)),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(failed()(io::Error::other(
                    "something that is not a socket has this name",
                )));
            }
            // Our lock says that no daemon of ours is there: only upstream's could answer.
            Ok(_) if UnixStream::connect(&socket).is_ok() => {
                return Err(failed()(io::Error::other(
                    "another supervisor answers there; shut it down first",
                )));
            }
            Ok(_) => fs::remove_file(&socket).map_err(failed())?,
        }
        let mode = self.settings.socket_mode;
        let before = rustix::process::umask(Mode::from_raw_mode(0o777 & !mode));
        let listener = UnixListener::bind(&socket);
        rustix::process::umask(before);
        let listener = listener.map_err(failed())?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(mode)).map_err(failed())?;
        listener.set_nonblocking(true).map_err(failed())?;
        self.watch(&listener, Source::Listener)?;
        self.listener = Some(listener);
        let pid = rustix::process::getpid().as_raw_nonzero();
        fs::write(&self.settings.pidfile, format!("{pid}\n")).map_err(system(format!(
            "cannot write {}",
            self.settings.pidfile.display()
        )))?;
        self.log.info(format!("supervisord started with pid {pid}"));
        Ok(())
    }

    fn serve(&mut self) -> Result<(), DaemonError> {
        let mut events = Vec::with_capacity(256);
        loop {
            self.settle();
            if self.mood != Mood::Running && self.has_come_to_rest() {
                if self.mood == Mood::Shutdown {
                    return Ok(());
                }
                self.start_anew();
                continue;
            }
            let timeout = self.nearest_deadline().map(|deadline| {
                let left = deadline.saturating_sub(clock::monotonic());
                // Rounded up: waking a moment early would mean waking twice.
                Timespec {
                    tv_sec: i64::try_from(left / 1_000).unwrap_or(i64::MAX),
                    tv_nsec: i64::try_from(left % 1_000).unwrap_or(0) * 1_000_000 + 999_999,
                }
            });
            let timeout = timeout.map(|mut t| {
                if t.tv_nsec >= 1_000_000_000 {
                    (t.tv_sec, t.tv_nsec) = (t.tv_sec.saturating_add(1), 0);
                }
                t
            });
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(system("cannot wait for events")(error.into())),
            }
            for event in &events {
                let token = event.data.u64();
                if let Some(source) = Source::from_token(token) {
                    self.happened(source);
                }
            }
        }
    }

    /// Everything that follows from what happened, then the record of it, then the answers.
    fn settle(&mut self) {
        let now = clock::monotonic();
        self.run_due(now);
        self.retry_outputs(now);
        self.hunt(now);
        self.stop_in_order();
        self.start_renewed();
        self.tick();
        self.dispatch();
        let said = self.log.take_said();
        self.publish(control::MAIN_LOG, 0, &said);
        self.advance_connections();
        self.save();
        self.flush_connections();
    }

    fn happened(&mut self, source: Source) {
        match source {
            Source::Signals => self.take_signals(),
            Source::Listener => self.accept(),
            Source::Connection(id) => self.receive(id),
            Source::Output(id) => self.read_output(id, output::TURN),
            Source::Adopted(id) => self.adopted_ended(id),
            // Whoever said it was told that it was taken: there is nobody to tell.
            Source::Input(id) => drop(self.write_input(id)),
        }
    }

    fn take_signals(&mut self) {
        let arrived = self.signals.take();
        if arrived(signals::CHILD) {
            self.reap();
        }
        if arrived(signals::USR2) {
            self.log
                .info("received SIGUSR2 indicating log reopen request");
            self.log.file().map(crate::logfile::RotatingFile::close);
            for process in self.processes.values_mut() {
                process.close_logs();
            }
        }
        if let Some(signal) = [signals::TERM, signals::INT, signals::QUIT]
            .into_iter()
            .find(|s| arrived(*s))
        {
            self.log.warn(format!(
                "received SIG{} indicating exit request",
                crate::config::signal_name(signal)
            ));
            self.mood = Mood::Shutdown;
        } else if arrived(signals::HUP) && self.mood == Mood::Running {
            self.log.warn("received SIGHUP indicating restart request");
            self.mood = Mood::Restarting;
        }
    }

    fn nearest_deadline(&self) -> Option<Millis> {
        let processes = self.processes.values().filter_map(|p| p.machine.deadline());
        let outputs = self.streams.values().filter_map(|s| s.retry_at());
        let hunts = self.hunts.iter().map(Hunt::next_look);
        let rest = self.at_rest_since.map(|t| t + LAST_HUNT);
        processes
            .chain(outputs)
            .chain(hunts)
            .chain(rest)
            .chain(self.next_tick())
            .chain(self.farewell.filter(|end| *end > clock::monotonic()))
            .min()
    }

    /// While shutting down: groups of the highest priority number stop first, each together with
    /// all of its priority; the next ones when these have stopped.
    fn stop_in_order(&mut self) {
        if self.mood == Mood::Running {
            return;
        }
        if !self.stopping {
            self.stopping = true;
            self.notify(Notice::daemon(false));
        }
        let last = self
            .groups
            .iter()
            .filter(|g| {
                g.members
                    .iter()
                    .any(|id| self.processes.get(id).is_some_and(|p| !p.is_at_rest()))
            })
            .map(|g| g.config.priority)
            .max();
        let Some(last) = last else { return };
        if self.listeners_have_the_word(last) {
            return;
        }
        let members: Vec<u64> = self
            .groups
            .iter()
            .filter(|g| g.config.priority == last)
            .flat_map(|g| g.members.clone())
            .collect();
        for id in members {
            let _ = self.stop(id);
        }
    }

    fn has_come_to_rest(&mut self) -> bool {
        if self.processes.values().any(|p| !p.is_at_rest()) {
            self.at_rest_since = None;
            return false;
        }
        let now = clock::monotonic();
        let since = *self.at_rest_since.get_or_insert(now);
        // Strays were killed: they are gone in a moment, unless the kernel holds them.
        self.hunts.is_empty() || now >= since + LAST_HUNT
    }

    /// After a restart order: everything has stopped, begin again from the configuration.
    fn start_anew(&mut self) {
        self.at_rest_since = None;
        self.mood = Mood::Running;
        self.stopping = false;
        self.farewell = None;
        match Config::load(&self.config_path) {
            Ok(config) => self.configured = config.groups,
            Err(error) => self.log.error(format!(
                "the configuration cannot be used, keeping the last one: {error}"
            )),
        }
        let old: Vec<String> = self.groups.iter().map(|g| g.config.name.clone()).collect();
        for name in old {
            self.forget_group(&name);
        }
        let mut automatic = Vec::new();
        for group in self.configured_but_inactive() {
            automatic.extend(self.insert_group(group));
        }
        self.notify(Notice::daemon(true));
        for id in automatic {
            self.spawn(id, true);
        }
    }

    /// Writes the state file if it is out of date.
    fn save(&mut self) {
        if !self.dirty {
            return;
        }
        let groups = self.groups.iter().map(|group| GroupRecord {
            config: group.config.clone(),
            processes: group
                .members
                .iter()
                .filter_map(|id| self.processes.get(id))
                .map(Process::record)
                .collect(),
        });
        let journal = Journal::new(groups.collect());
        match journal.save(&self.journal_path()) {
            Ok(()) => {
                self.dirty = false;
                self.save_failed = false;
            }
            // Tried again with the next event: a full disk must not stop the processes.
            Err(error) if !self.save_failed => {
                self.save_failed = true;
                self.log.error(format!(
                    "cannot write {}: {error}",
                    self.journal_path().display()
                ));
            }
            Err(_) => {}
        }
    }

    /// Everything has stopped: nothing is left behind.
    fn leave(&mut self) {
        self.log.info("supervisord ended");
        self.listener = None;
        let _ = fs::remove_file(&self.settings.socket);
        let _ = fs::remove_file(&self.settings.pidfile);
        let _ = fs::remove_file(self.journal_path());
        let _ = fs::remove_dir_all(self.fifo_directory());
    }
}

fn journal_path(settings: &DaemonConfig) -> PathBuf {
    settings.pidfile.with_extension("state.json")
}

/// Whether a daemon of this boot was killed here.
fn has_predecessor(settings: &DaemonConfig) -> bool {
    matches!(Journal::load(&journal_path(settings)), Ok(Some(_)))
}

/// Names of groups that differ from what is active.
struct Difference {
    added: Vec<String>,
    changed: Vec<String>,
    removed: Vec<String>,
}

impl Daemon {
    fn difference(&self) -> Difference {
        let active = |name: &str| self.groups.iter().find(|g| g.config.name == name);
        let mut difference = Difference {
            added: Vec::new(),
            changed: Vec::new(),
            removed: Vec::new(),
        };
        for group in &self.configured {
            match active(&group.name) {
                None => difference.added.push(group.name.clone()),
                Some(active) if active.config != *group => {
                    difference.changed.push(group.name.clone())
                }
                Some(_) => {}
            }
        }
        for group in &self.groups {
            if !self.configured.iter().any(|g| g.name == group.config.name) {
                difference.removed.push(group.config.name.clone());
            }
        }
        difference
    }

    fn configured_but_inactive(&self) -> Vec<GroupConfig> {
        self.configured
            .iter()
            .filter(|g| !self.groups.iter().any(|a| a.config.name == g.name))
            .cloned()
            .collect()
    }

    /// Makes a group active and starts what starts by itself.
    fn add_group(&mut self, config: GroupConfig) {
        for id in self.insert_group(config) {
            self.spawn(id, true);
        }
    }

    /// Makes a group active; gives what starts by itself.
    fn insert_group(&mut self, config: GroupConfig) -> Vec<u64> {
        let mut members = Vec::new();
        for program in &config.programs {
            let id = self.new_id();
            let process = Process::new(id, &config, program.clone(), &self.settings);
            self.processes.insert(id, process);
            members.push(id);
        }
        let automatic: Vec<u64> = members
            .iter()
            .copied()
            .filter(|id| self.processes.get(id).is_some_and(|p| p.config.autostart))
            .collect();
        let name = config.name.clone();
        self.groups.push(Group::new(config, members));
        self.groups
            .sort_by(|a, b| a.config.order().cmp(&b.config.order()));
        self.dirty = true;
        self.notify(Notice::group(&name, true));
        automatic
    }

    /// Forgets a group. Its processes must be at rest.
    fn forget_group(&mut self, name: &str) {
        let Some(at) = self.groups.iter().position(|g| g.config.name == name) else {
            return;
        };
        let group = self.groups.remove(at);
        for id in group.members {
            self.drop_outputs(id);
            self.processes.remove(&id);
        }
        self.dirty = true;
    }
}
