//! The life of one process, as pure rules: events in, state and orders out.
//!
//! States and codes are supervisord's. Two rules differ on purpose, both about pauses:
//!
//! * A start that failed (the program could not be executed, or ended before `startsecs`) is tried
//!   again after 1, 2, 4 … at most [`LONGEST_PAUSE`] ms, `startretries` times, then the process is
//!   FATAL. supervisord's pauses grow by one second each time. As there, `startretries = 0` means
//!   that the first failure is final, and `startsecs = 0` that an exit is never a failed start.
//! * A process that was RUNNING and exited is restarted, when `autorestart` says so, after a pause
//!   that doubles in the same way, without limit of number; it waits in BACKOFF. supervisord
//!   restarts at once, which turns a broken program into a busy loop. A run of at least
//!   [`HEALTHY_RUN`] ms makes the next pause the shortest again.

use serde::{Deserialize, Serialize};

use crate::config::{AutoRestart, ProgramConfig};

/// Milliseconds of `CLOCK_MONOTONIC`: comparable between two daemons of one boot.
pub(crate) type Millis = u64;

/// The longest pause between two starts.
pub(crate) const LONGEST_PAUSE: Millis = 60_000;
/// A run of this length is a success: the next pause is the shortest again.
pub(crate) const HEALTHY_RUN: Millis = 60_000;

/// Where a process is in its life; the numbers are supervisord's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProcessState {
    /// Never started, or stopped by order.
    Stopped = 0,
    /// Executed, not yet for `startsecs`.
    Starting = 10,
    /// Running.
    Running = 20,
    /// Failed or exited, waiting to be started again.
    Backoff = 30,
    /// Told to stop, not gone yet.
    Stopping = 40,
    /// Ended by itself.
    Exited = 100,
    /// Could not be started; it will not be tried again.
    Fatal = 200,
    /// Upstream's state for its own bugs; never ours.
    Unknown = 1000,
}

impl ProcessState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Stopped,
        Self::Starting,
        Self::Running,
        Self::Backoff,
        Self::Stopping,
        Self::Exited,
        Self::Fatal,
        Self::Unknown,
    ];

    /// The wire's number.
    pub fn code(self) -> i32 {
        self as i32
    }

    /// The state with this number.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.code() == code)
    }

    /// The wire's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped => "STOPPED",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Backoff => "BACKOFF",
            Self::Stopping => "STOPPING",
            Self::Exited => "EXITED",
            Self::Fatal => "FATAL",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// Whether it runs or is on its way to: what cannot be started and can be stopped.
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running | Self::Backoff | Self::Starting)
    }

    /// Whether it is at rest: what can be removed.
    pub fn is_stopped(self) -> bool {
        matches!(
            self,
            Self::Stopped | Self::Exited | Self::Fatal | Self::Unknown
        )
    }

    /// Whether it has a process that a signal could reach.
    pub fn is_signallable(self) -> bool {
        matches!(self, Self::Running | Self::Starting | Self::Stopping)
    }
}

/// Pause before attempt number `attempt` (from 1) after a failure.
pub(crate) fn pause(attempt: u32) -> Millis {
    let doubled = 1_000_u64
        .checked_shl(attempt.saturating_sub(1).min(30))
        .unwrap_or(LONGEST_PAUSE);
    doubled.min(LONGEST_PAUSE)
}

/// What the passing of time asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing yet.
    Nothing,
    /// Start it (again).
    Spawn,
    /// Kill its whole process group.
    Kill,
    /// It has lived for `startsecs`.
    Settled,
}

/// What an order to stop asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// There is nothing to stop.
    NotRunning,
    /// It waited to be started again and no longer does.
    Cancelled,
    /// Send the stop signal.
    Signal,
}

/// A step from one state to another, as supervisord tells its listeners of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) from: ProcessState,
    pub(crate) to: ProcessState,
    /// Starts that failed in a row.
    pub(crate) tries: u32,
    /// Whether the exit code is one that was expected.
    pub(crate) expected: bool,
}

/// One process's state. It survives the daemon in the state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    state: ProcessState,
    /// When [`Machine::due`] has something to say.
    deadline: Option<Millis>,
    started: Millis,
    /// Starts that failed in a row.
    failures: u32,
    /// Restarts since the last healthy run.
    restarts: u32,
    /// Why it is not running; shown to the user.
    pub(crate) spawnerr: Option<String>,
    /// Exit code of the last run, -1 for a signal.
    pub(crate) exitstatus: Option<i32>,
    /// Steps nobody was told of yet.
    #[serde(skip)]
    steps: Vec<Step>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            state: ProcessState::Stopped,
            deadline: None,
            started: 0,
            failures: 0,
            restarts: 0,
            spawnerr: None,
            exitstatus: None,
            steps: Vec::new(),
        }
    }
}

impl Machine {
    pub(crate) fn state(&self) -> ProcessState {
        self.state
    }

    pub(crate) fn deadline(&self) -> Option<Millis> {
        self.deadline
    }

    /// How often it was started again since the last healthy run.
    pub(crate) fn restarts(&self) -> u32 {
        self.restarts
    }

    /// The steps since the last call, in order.
    pub(crate) fn take_steps(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.steps)
    }

    fn step(&mut self, from: ProcessState, to: ProcessState) {
        self.steps.push(Step {
            from,
            to,
            tries: self.failures,
            expected: true,
        });
    }

    /// Its state as supervisord has it: the pause after a run that ended is none of its own there.
    fn told(&self) -> ProcessState {
        match self.state {
            ProcessState::Backoff if self.failures == 0 => ProcessState::Exited,
            state => state,
        }
    }

    /// A new order to start, given to a process at rest: earlier failures are forgotten.
    pub(crate) fn ordered_to_start(&mut self) {
        self.failures = 0;
        self.restarts = 0;
    }

    /// It was executed.
    pub(crate) fn spawned(&mut self, rules: &ProgramConfig, now: Millis) {
        self.step(self.told(), ProcessState::Starting);
        self.started = now;
        self.spawnerr = None;
        self.exitstatus = None;
        if rules.startsecs == 0 {
            self.settle();
        } else {
            self.state = ProcessState::Starting;
            self.deadline = Some(now + u64::from(rules.startsecs) * 1_000);
        }
    }

    /// It could not be executed.
    pub(crate) fn spawn_failed(&mut self, rules: &ProgramConfig, now: Millis, reason: String) {
        self.exitstatus = None;
        self.step(self.told(), ProcessState::Starting);
        self.failed(rules, now, reason);
    }

    /// It ended; `status` is its exit code, or -1 when a signal ended it or nobody saw it end.
    pub(crate) fn exited(&mut self, rules: &ProgramConfig, now: Millis, status: i32) {
        let lived = now.saturating_sub(self.started);
        match self.state {
            ProcessState::Stopping => {
                self.exitstatus = Some(status);
                self.step(ProcessState::Stopping, ProcessState::Stopped);
                self.rest(ProcessState::Stopped);
            }
            ProcessState::Starting if lived < u64::from(rules.startsecs) * 1_000 => {
                self.exitstatus = None;
                self.failed(
                    rules,
                    now,
                    "Exited too quickly (process log may have details)".into(),
                );
            }
            ProcessState::Starting | ProcessState::Running => {
                let expected = rules.exitcodes.contains(&status);
                self.failures = 0;
                if self.state == ProcessState::Starting {
                    self.step(ProcessState::Starting, ProcessState::Running);
                }
                self.step(ProcessState::Running, ProcessState::Exited);
                if let Some(step) = self.steps.last_mut() {
                    step.expected = expected;
                }
                self.exitstatus = Some(status);
                self.spawnerr = (!expected).then(|| format!("Bad exit code {status}"));
                let again = match rules.autorestart {
                    AutoRestart::Never => false,
                    AutoRestart::Unexpected => !expected,
                    AutoRestart::Always => true,
                };
                if again {
                    self.restarts = if lived >= HEALTHY_RUN {
                        1
                    } else {
                        self.restarts.saturating_add(1)
                    };
                    self.state = ProcessState::Backoff;
                    self.deadline = Some(now + pause(self.restarts));
                } else {
                    self.rest(ProcessState::Exited);
                }
            }
            // It had no process: nothing can have exited.
            _ => {}
        }
    }

    /// An order to stop.
    pub(crate) fn stop(&mut self, rules: &ProgramConfig, now: Millis) -> Stop {
        match self.state {
            ProcessState::Backoff => {
                self.step(self.told(), ProcessState::Stopped);
                self.rest(ProcessState::Stopped);
                Stop::Cancelled
            }
            ProcessState::Starting | ProcessState::Running => {
                self.step(self.state, ProcessState::Stopping);
                self.state = ProcessState::Stopping;
                self.deadline = Some(now + u64::from(rules.stopwaitsecs) * 1_000);
                Stop::Signal
            }
            _ => Stop::NotRunning,
        }
    }

    /// What is due at `now`.
    pub(crate) fn due(&mut self, rules: &ProgramConfig, now: Millis) -> Due {
        if self.deadline.is_none_or(|d| now < d) {
            return Due::Nothing;
        }
        match self.state {
            ProcessState::Starting => {
                self.settle();
                Due::Settled
            }
            ProcessState::Backoff => {
                self.deadline = None;
                Due::Spawn
            }
            ProcessState::Stopping => {
                // Again and again: a process may be in a state that no signal ends at once.
                self.deadline = Some(now + u64::from(rules.stopwaitsecs.max(1)) * 1_000);
                Due::Kill
            }
            _ => {
                self.deadline = None;
                Due::Nothing
            }
        }
    }

    fn settle(&mut self) {
        self.step(ProcessState::Starting, ProcessState::Running);
        self.state = ProcessState::Running;
        self.deadline = None;
        self.failures = 0;
    }

    fn rest(&mut self, state: ProcessState) {
        self.state = state;
        self.deadline = None;
        self.failures = 0;
        self.restarts = 0;
    }

    fn failed(&mut self, rules: &ProgramConfig, now: Millis, reason: String) {
        self.spawnerr = Some(reason);
        self.failures = self.failures.saturating_add(1);
        self.step(ProcessState::Starting, ProcessState::Backoff);
        if self.failures > rules.startretries {
            self.step(ProcessState::Backoff, ProcessState::Fatal);
            self.rest(ProcessState::Fatal);
        } else {
            self.state = ProcessState::Backoff;
            self.deadline = Some(now + pause(self.failures));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn rules(startsecs: u32, startretries: u32, autorestart: AutoRestart) -> ProgramConfig {
        ProgramConfig {
            startsecs,
            startretries,
            autorestart,
            ..ProgramConfig::new("x", "/bin/x")
        }
    }

    #[test]
    fn pauses_double_to_a_minute() {
        let pauses: Vec<Millis> = (0..9).map(pause).collect();
        assert_eq!(
            pauses,
            [1000, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]
        );
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn a_service_of_a_partition_runs_once() {
        let rules = rules(0, 0, AutoRestart::Never);
        for (status, error) in [
            (0, None),
            (3, Some("Bad exit code 3")),
            (-1, Some("Bad exit code -1")),
        ] {
            let mut m = Machine::default();
            m.spawned(&rules, 5);
            assert_eq!(m.state(), ProcessState::Running);
            m.exited(&rules, 6, status);
            assert_eq!(
                (m.state(), m.spawnerr.as_deref()),
                (ProcessState::Exited, error)
            );
            assert_eq!(m.deadline(), None);
        }
        let mut m = Machine::default();
        m.spawn_failed(&rules, 5, "no such file".into());
        assert_eq!(m.state(), ProcessState::Fatal);
    }

    #[test]
    fn failed_starts_are_bounded() {
        let rules = rules(1, 2, AutoRestart::Always);
        let mut m = Machine::default();
        let mut now = 0;
        let mut pauses = Vec::new();
        loop {
            m.spawned(&rules, now);
            m.exited(&rules, now + 10, 1);
            if m.state() == ProcessState::Fatal {
                break;
            }
            pauses.push(m.deadline().unwrap() - now - 10);
            now = m.deadline().unwrap();
            assert_eq!(m.due(&rules, now - 1), Due::Nothing);
            assert_eq!(m.due(&rules, now), Due::Spawn);
        }
        assert_eq!(pauses, [1000, 2000]);
    }

    #[test]
    fn restarts_pause_longer_until_a_healthy_run() {
        let rules = rules(1, 0, AutoRestart::Unexpected);
        let mut m = Machine::default();
        let mut now = 0;
        let mut run = |m: &mut Machine, lived: Millis, status: i32| {
            m.spawned(&rules, now);
            assert_eq!(m.due(&rules, now + 1000), Due::Settled);
            m.exited(&rules, now + lived, status);
            let deadline = m.deadline().unwrap();
            let waited = deadline - now - lived;
            now = deadline;
            assert_eq!(m.due(&rules, now), Due::Spawn);
            waited
        };
        assert_eq!(
            [
                run(&mut m, 2000, 1),
                run(&mut m, 2000, 1),
                run(&mut m, 2000, -1)
            ],
            [1000, 2000, 4000]
        );
        assert_eq!(run(&mut m, HEALTHY_RUN, 1), 1000);
        m.spawned(&rules, now);
        assert_eq!(m.due(&rules, now + 1000), Due::Settled);
        m.exited(&rules, now + 2000, 0);
        assert_eq!(m.state(), ProcessState::Exited);
    }

    #[test]
    fn stopping_ends_in_kill() {
        let rules = ProgramConfig {
            stopwaitsecs: 3,
            ..rules(0, 0, AutoRestart::Always)
        };
        let mut m = Machine::default();
        assert_eq!(m.stop(&rules, 0), Stop::NotRunning);
        m.spawned(&rules, 0);
        assert_eq!(m.stop(&rules, 100), Stop::Signal);
        assert_eq!(m.stop(&rules, 200), Stop::NotRunning);
        assert_eq!(m.due(&rules, 3099), Due::Nothing);
        assert_eq!(m.due(&rules, 3100), Due::Kill);
        assert_eq!(m.due(&rules, 3101), Due::Nothing);
        m.exited(&rules, 3200, -1);
        assert_eq!(m.state(), ProcessState::Stopped);
        assert_eq!(m.deadline(), None);
    }

    #[derive(Debug, Clone)]
    enum Event {
        Start,
        SpawnFails,
        Exit(i32),
        Stop,
        Wait(Millis),
    }

    proptest! {
        /// Whatever happens in whatever order: a process exists only in the states that say so, a
        /// waiting state always has a deadline, a resting one never, and time alone never revives
        /// a process that was stopped by order.
        #[test]
        fn states_and_deadlines_agree(
            startsecs in 0u32..3, startretries in 0u32..4,
            autorestart in prop_oneof![Just(AutoRestart::Never), Just(AutoRestart::Always), Just(AutoRestart::Unexpected)],
            events in prop::collection::vec(prop_oneof![
                Just(Event::Start), Just(Event::SpawnFails), (-1i32..3).prop_map(Event::Exit),
                Just(Event::Stop), (0u64..70_000).prop_map(Event::Wait)], 0..60),
        ) {
            let rules = rules(startsecs, startretries, autorestart);
            let mut m = Machine::default();
            let (mut now, mut alive, mut by_order) = (1_000, false, true);
            let mut told = ProcessState::Stopped;
            for event in events {
                match event {
                    Event::Start if m.state().is_stopped() => {
                        m.ordered_to_start();
                        m.spawned(&rules, now);
                        (alive, by_order) = (true, false);
                    }
                    Event::SpawnFails if m.state().is_stopped() => {
                        m.ordered_to_start();
                        m.spawn_failed(&rules, now, "no".into());
                        by_order = false;
                    }
                    Event::Exit(status) if alive => { m.exited(&rules, now, status); alive = false; }
                    Event::Stop => by_order |= m.stop(&rules, now) != Stop::NotRunning,
                    Event::Wait(time) => {
                        now += time;
                        match m.due(&rules, now) {
                            Due::Spawn => { prop_assert!(!alive && !by_order); m.spawned(&rules, now); alive = true; }
                            Due::Kill => prop_assert!(alive && m.state() == ProcessState::Stopping),
                            Due::Settled => prop_assert!(m.state() == ProcessState::Running),
                            Due::Nothing => {}
                        }
                    }
                    _ => {}
                }
                for step in m.take_steps() {
                    prop_assert_eq!(step.from, told);
                    prop_assert!(step.from != step.to);
                    told = step.to;
                }
                prop_assert_eq!(told, m.told());
                prop_assert_eq!(alive, m.state().is_signallable());
                let waits = matches!(m.state(), ProcessState::Starting | ProcessState::Backoff | ProcessState::Stopping);
                prop_assert_eq!(m.deadline().is_some(), waits);
            }
        }
    }
}
