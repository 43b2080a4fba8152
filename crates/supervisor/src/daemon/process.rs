//! One process: starting, stopping, and noticing its end.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, WaitOptions};

use crate::clock;
use crate::config::{DaemonConfig, GroupConfig, LogConfig, LogTarget, ProgramConfig, signal_name};
use crate::journal::{ProcessRecord, RunRecord};
use crate::logfile::RotatingFile;
use crate::procfs;
use crate::spawn::{self, Surroundings};
use crate::state::{Due, Machine, Millis, ProcessState, Stop};

use super::pool::Listener;
use super::{Daemon, input};

const KILL: i32 = 9;
/// More than a FIFO holds: what a dead process wrote is read whole.
const LAST_WORDS: usize = 2 << 20;

/// An active process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: u64,
    pub(super) group: String,
    pub(super) config: ProgramConfig,
    pub(super) machine: Machine,
    pub(super) run: Option<Run>,
    pub(super) started_at: i64,
    pub(super) stopped_at: i64,
    /// Its side of the conversation, when it is an event listener.
    pub(super) listener: Option<Listener>,
    /// Logs of stdout and stderr.
    pub(super) logs: [Option<RotatingFile>; 2],
}

/// A process that exists, or whose remaining children are still waited for.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) record: RunRecord,
    /// It was started by an earlier daemon: this handle tells when it ends.
    pub(super) handle: Option<OwnedFd>,
    /// It was told to stop and has ended, with this status; what it started is still stopping.
    pub(super) ended: Option<i32>,
    /// An earlier daemon started it.
    pub(super) adopted: bool,
    /// Its time to stop is over.
    pub(super) killed: bool,
}

impl Run {
    fn of_child(record: RunRecord) -> Self {
        Self {
            record,
            handle: None,
            ended: None,
            adopted: false,
            killed: false,
        }
    }
}

impl Process {
    pub(super) fn new(
        id: u64,
        group: &GroupConfig,
        config: ProgramConfig,
        settings: &DaemonConfig,
    ) -> Self {
        let listener = group.listener.as_ref().map(|_| Listener::default());
        let group = group.name.as_str();
        let logs = [
            log_file(&config.stdout, group, &config.name, "stdout", settings),
            { log_file(&config.stderr, group, &config.name, "stderr", settings) },
        ];
        Self {
            id,
            group: group.to_owned(),
            config,
            machine: Machine::default(),
            run: None,
            started_at: 0,
            stopped_at: 0,
            listener,
            logs,
        }
    }

    /// `group:name`, or the name alone when both are equal.
    pub(super) fn namespec(&self) -> String {
        crate::ctl::namespec(&self.group, &self.config.name)
    }

    pub(super) fn state(&self) -> ProcessState {
        self.machine.state()
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.run.is_none() && self.state().is_stopped()
    }

    pub(super) fn pid(&self) -> i32 {
        self.run
            .as_ref()
            .filter(|r| r.ended.is_none())
            .map_or(0, |r| r.record.pid)
    }

    pub(super) fn close_logs(&mut self) {
        for log in self.logs.iter_mut().flatten() {
            log.close();
        }
    }

    pub(super) fn record(&self) -> ProcessRecord {
        ProcessRecord {
            machine: self.machine.clone(),
            run: self.run.as_ref().map(|r| r.record.clone()),
            started_at: self.started_at,
            stopped_at: self.stopped_at,
        }
    }
}

fn log_file(
    log: &LogConfig,
    group: &str,
    name: &str,
    channel: &str,
    settings: &DaemonConfig,
) -> Option<RotatingFile> {
    let path = match &log.target {
        LogTarget::None => return None,
        LogTarget::File(path) => path.clone(),
        LogTarget::Auto => {
            let beside_log = || settings.logfile.as_ref()?.parent().map(PathBuf::from);
            let directory = settings
                .childlogdir
                .clone()
                .or_else(beside_log)
                .unwrap_or_else(|| settings.run_directory());
            directory.join(format!("{group}-{name}-{channel}.log"))
        }
    };
    Some(RotatingFile::new(path, log.max_bytes, log.backups))
}

impl Daemon {
    /// Starts a process that has none. `ordered` is false when the state machine asks for it.
    pub(super) fn spawn(&mut self, id: u64, ordered: bool) {
        let now = clock::monotonic();
        let spawned = self.try_spawn(id);
        self.begin_talk(id);
        self.dirty = true;
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        if ordered {
            process.machine.ordered_to_start();
        }
        process.started_at = clock::wall();
        let name = process.namespec();
        match spawned {
            Ok(record) => {
                let pid = record.pid;
                process.run = Some(Run::of_child(record));
                process.machine.spawned(&process.config, now);
                let running = process.state() == ProcessState::Running;
                self.log.info(format!("spawned: '{name}' with pid {pid}"));
                if running {
                    self.log_success(id);
                }
            }
            Err(reason) => {
                process
                    .machine
                    .spawn_failed(&process.config, now, reason.clone());
                let fatal = process.state() == ProcessState::Fatal;
                self.log.info(format!("spawnerr: {name}: {reason}"));
                if fatal {
                    self.log_gave_up(&name);
                }
            }
        }
        self.tell(id);
    }

    fn try_spawn(&mut self, id: u64) -> Result<RunRecord, String> {
        let process = self.processes.get_mut(&id).ok_or("it was removed")?;
        // Before anything is created: a missing program is the most frequent failure.
        spawn::executable(&process.config).map_err(|m| m.text().to_owned())?;
        for log in process.logs.iter_mut().flatten() {
            log.open().map_err(|e| e.to_string())?;
        }
        let owner = spawn::identity(&process.config)?.map(|i| (i.uid, i.gid));
        let told = process
            .config
            .told
            .map(|t| t.events || t.capture_max_bytes > 0);
        let wanted = [
            process.logs[0].is_some() || told[0] || process.listener.is_some(),
            (process.logs[1].is_some() || told[1]) && !process.config.redirect_stderr,
        ];
        let (group, config) = (process.group.clone(), process.config.clone());
        let mut fifos = [None, None];
        let mut ends = [None, None];
        let mut streams = Vec::new();
        for channel in 0..2 {
            if !wanted[channel] {
                continue;
            }
            let (stream, path, end) = self.open_output(id, channel, owner)?;
            fifos[channel] = Some(path);
            ends[channel] = Some(end);
            streams.push(stream);
        }
        let [stdout, stderr] = ends;
        let path = self.fifo_directory().join(self.next_fifo.to_string());
        self.next_fifo += 1;
        let stdin = match input::make(&path, owner) {
            Ok(stdin) => stdin,
            Err(reason) => {
                streams
                    .into_iter()
                    .for_each(|stream| self.close_output(stream));
                return Err(reason);
            }
        };
        let around = Surroundings {
            group: &group,
            url: &self.url,
            umask: self.settings.umask,
            open_files: self.open_files,
            stdin,
            stdout,
            stderr,
        };
        match spawn::spawn(&config, around) {
            // A child of ours keeps its number until we reap it, so its start can still be read.
            Ok(pid) => Ok(RunRecord {
                pid,
                start: procfs::stat(pid).map_or(0, |s| s.start),
                fifos,
                stdin: Some(path),
            }),
            Err(reason) => {
                for stream in streams {
                    self.close_output(stream);
                }
                let _ = fs::remove_file(path);
                Err(reason)
            }
        }
    }

    /// Tells a process to stop.
    pub(super) fn stop(&mut self, id: u64) -> Stop {
        let Some(process) = self.processes.get_mut(&id) else {
            return Stop::NotRunning;
        };
        let stop = process.machine.stop(&process.config, clock::monotonic());
        match stop {
            Stop::NotRunning => {}
            Stop::Cancelled => {
                self.dirty = true;
                self.tell(id);
            }
            Stop::Signal => {
                self.dirty = true;
                // Told before it can have ended.
                self.tell(id);
                let Some(process) = self.processes.get(&id) else {
                    return stop;
                };
                let (signal, whole_group) = (process.config.stopsignal, process.config.stopasgroup);
                self.signal(id, signal, whole_group);
                // A process that was suspended could not react.
                self.signal(id, 18, whole_group);
            }
        }
        stop
    }

    /// Signals a process, or the whole process group it leads. False when there is none.
    pub(super) fn signal(&mut self, id: u64, signal: i32, whole_group: bool) -> bool {
        let Some(run) = self.processes.get(&id).and_then(|p| p.run.as_ref()) else {
            return false;
        };
        let (Some(pid), Some(signal)) = (
            Pid::from_raw(run.record.pid),
            Signal::from_named_raw(signal),
        ) else {
            return false;
        };
        // The number is still its own: a child of ours is not reaped yet, an adopted process has
        // a handle that would have told its end.
        let sent = match &run.handle {
            // What is left is somebody else's number by now, or a hunt's business.
            _ if run.ended.is_some() => return false,
            Some(handle) if !whole_group => rustix::process::pidfd_send_signal(handle, signal),
            _ if whole_group => rustix::process::kill_process_group(pid, signal),
            _ => rustix::process::kill_process(pid, signal),
        };
        sent.is_ok()
    }

    /// Does what time asks for.
    pub(super) fn run_due(&mut self, now: Millis) {
        let due: Vec<u64> = self
            .processes
            .values()
            .filter(|p| p.machine.deadline().is_some_and(|d| d <= now))
            .map(|p| p.id)
            .collect();
        for id in due {
            let Some(process) = self.processes.get_mut(&id) else {
                continue;
            };
            self.dirty = true;
            match process.machine.due(&process.config, now) {
                Due::Nothing => {}
                Due::Settled => {
                    self.log_success(id);
                    self.tell(id);
                }
                Due::Spawn => self.spawn(id, false),
                Due::Kill => {
                    let (name, mut pid) = (process.namespec(), 0);
                    if let Some(run) = &mut process.run {
                        run.killed = true;
                        pid = run.record.pid;
                    }
                    self.log
                        .warn(format!("killing '{name}' ({pid}) with SIGKILL"));
                    self.signal(id, KILL, true);
                    self.kill_strays_of(id);
                }
            }
        }
    }

    /// Takes every child that has ended; most are ours, some were left to us by our programs.
    pub(super) fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            let id = self
                .processes
                .values()
                .find(|p| {
                    p.run.as_ref().is_some_and(|r| {
                        r.record.pid == pid && r.handle.is_none() && r.ended.is_none()
                    })
                })
                .map(|p| p.id);
            let Some(id) = id else {
                self.log.debug(format!(
                    "reaped a process left behind by a program: pid {pid}"
                ));
                continue;
            };
            match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => self.ended(id, code, &format!("exit status {code}")),
                (None, Some(signal)) => {
                    self.ended(id, -1, &format!("terminated by SIG{}", signal_name(signal)))
                }
                _ => {}
            }
        }
        // A stray may have been among them.
        self.look_at_hunts_now();
    }

    /// The handle of an adopted process says that it has ended.
    pub(super) fn adopted_ended(&mut self, id: u64) {
        let adopted = self
            .processes
            .get_mut(&id)
            .and_then(|p| p.run.as_mut())
            .filter(|r| r.ended.is_none());
        let Some(run) = adopted else { return };
        if let Some(handle) = run.handle.take() {
            let _ = rustix::event::epoll::delete(&self.epoll, handle);
        }
        self.ended(
            id,
            -1,
            "exit status unknown, the supervisor was replaced meanwhile",
        );
    }

    /// A process has ended. What it leaves behind must end too: at once if it ended by itself,
    /// within its stop time if it was told to stop.
    pub(super) fn ended(&mut self, id: u64, status: i32, how: &str) {
        self.dirty = true;
        self.drain_outputs(id, LAST_WORDS);
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let name = process.namespec();
        if process.state() == ProcessState::Stopping {
            if let Some(run) = &mut process.run {
                run.ended = Some(status);
            }
            self.log.info(format!("stopped: {name} ({how})"));
            self.begin_hunt(id, true);
            return;
        }
        let expected = process.config.exitcodes.contains(&status);
        let too_early = process.state() == ProcessState::Starting;
        self.begin_hunt(id, false);
        self.finish(id, status);
        if expected && !too_early {
            self.log.info(format!("exited: {name} ({how}; expected)"));
        } else {
            self.log
                .warn(format!("exited: {name} ({how}; not expected)"));
        }
        if self
            .processes
            .get(&id)
            .is_some_and(|p| p.state() == ProcessState::Fatal)
        {
            self.log_gave_up(&name);
        }
    }

    /// A process and, if it was told to stop, all it started are gone.
    pub(super) fn finish(&mut self, id: u64, status: i32) {
        self.dirty = true;
        self.drain_outputs(id, LAST_WORDS);
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        process.stopped_at = clock::wall();
        process
            .machine
            .exited(&process.config, clock::monotonic(), status);
        self.tell(id);
        self.close_input(id);
        self.end_talk(id);
        if let Some(process) = self.processes.get_mut(&id) {
            process.run = None;
        }
    }

    fn log_success(&mut self, id: u64) {
        let Some(process) = self.processes.get(&id) else {
            return;
        };
        let (name, seconds) = (process.namespec(), process.config.startsecs);
        self.log.info(format!(
            "success: {name} entered RUNNING state, process has stayed up for > than {seconds} seconds (startsecs)"
        ));
    }

    fn log_gave_up(&mut self, name: &str) {
        self.log.info(format!(
            "gave up: {name} entered FATAL state, too many start retries too quickly"
        ));
    }

    /// Empties the logs of a process.
    pub(super) fn clear_logs(&mut self, id: u64) -> std::io::Result<()> {
        let Some(process) = self.processes.get_mut(&id) else {
            return Ok(());
        };
        for log in process.logs.iter_mut().flatten() {
            if fs::symlink_metadata(log.path()).is_ok() {
                log.clear()?;
            }
        }
        Ok(())
    }
}
