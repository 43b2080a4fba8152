//! Event listeners: pools of processes that are told what happens, one event at a time each.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::clock;
use crate::config::PoolConfig;
use crate::notice::{self, Notice, TICKS, Who};
use crate::state::{Millis, ProcessState};
use crate::talk::{Talk, Turn, Verdict};

use super::{Daemon, Mood};

/// How long listeners may hear what happened while the daemon stops, in ms.
const FAREWELL: Millis = 2_000;

/// Events that wait for the listeners of one group.
#[derive(Debug, Default)]
pub(super) struct Pool {
    waiting: VecDeque<Queued>,
    /// Number of the next event.
    serial: u64,
}

/// An event on its way to a listener.
#[derive(Debug, Clone)]
pub(super) struct Queued {
    notice: Rc<Notice>,
    serial: u64,
    pool_serial: u64,
}

/// A process of a pool.
#[derive(Debug, Default)]
pub(super) struct Listener {
    talk: Talk,
    /// What it was told and has not answered.
    event: Option<Queued>,
}

impl Pool {
    /// Adds an event; gives the number of the one that had to go.
    fn accept(&mut self, event: Queued, first: bool, config: &PoolConfig) -> Option<u64> {
        let is_full = self.waiting.len() >= config.buffer_size as usize;
        let gone = is_full.then(|| self.waiting.pop_front()).flatten();
        if first {
            self.waiting.push_front(event);
        } else {
            self.waiting.push_back(event);
        }
        gone.map(|gone| gone.serial)
    }
}

impl Daemon {
    /// Whether some pool is told of such an event.
    pub(super) fn is_wanted(&self, event: &str) -> bool {
        self.groups
            .iter()
            .filter_map(|group| group.config.listener.as_ref())
            .any(|pool| wants(pool, event))
    }

    /// Tells every pool that asked for it.
    pub(super) fn notify(&mut self, notice: Notice) {
        if !self.is_wanted(&notice.event) {
            return;
        }
        // Its number counts what anybody is told.
        let serial = self.serial;
        self.serial += 1;
        let notice = Rc::new(notice);
        let mut overflows = Vec::new();
        for group in &mut self.groups {
            let Some(config) = &group.config.listener else {
                continue;
            };
            if !wants(config, &notice.event) {
                continue;
            }
            let event = Queued {
                notice: Rc::clone(&notice),
                serial,
                pool_serial: group.pool.serial,
            };
            group.pool.serial += 1;
            let gone = group.pool.accept(event, false, config);
            overflows.extend(gone.map(|gone| (group.config.name.clone(), gone)));
        }
        self.log_overflows(overflows);
    }

    fn log_overflows(&mut self, overflows: Vec<(String, u64)>) {
        for (pool, event) in overflows {
            self.log.error(format!(
                "pool {pool} event buffer overflowed, discarding event {event}"
            ));
        }
    }

    /// Puts an event back that was not processed.
    fn put_back(&mut self, process: u64) {
        let Some(process) = self.processes.get_mut(&process) else {
            return;
        };
        let event = process.listener.as_mut().and_then(|l| l.event.take());
        let group = self
            .groups
            .iter_mut()
            .find(|group| group.config.name == process.group);
        if let (Some(event), Some(group)) = (event, group)
            && let Some(config) = &group.config.listener
        {
            let gone = group.pool.accept(event, true, config);
            let name = group.config.name.clone();
            self.log_overflows(gone.map(|gone| (name, gone)).into_iter().collect());
        }
    }

    /// A listener begins: it has to say that it is ready.
    pub(super) fn begin_talk(&mut self, process: u64) {
        if let Some(process) = self.processes.get_mut(&process)
            && process.listener.is_some()
        {
            process.listener = Some(Listener::default());
        }
    }

    /// A listener has ended; what it was told is told to another.
    pub(super) fn end_talk(&mut self, process: u64) {
        self.put_back(process);
        self.begin_talk(process);
    }

    /// A listener wrote something.
    pub(super) fn hear_listener(&mut self, id: u64, bytes: &[u8]) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let name = process.config.name.clone();
        let Some(listener) = &mut process.listener else {
            return;
        };
        for verdict in listener.talk.hear(bytes) {
            match verdict {
                Verdict::Processed => {
                    self.log.debug(format!("{name}: event was processed"));
                    if let Some(process) = self.processes.get_mut(&id) {
                        process.listener.as_mut().map(|l| l.event.take());
                    }
                }
                Verdict::Rejected => {
                    self.log.warn(format!("{name}: event was rejected"));
                    self.put_back(id);
                }
                Verdict::Violated => {
                    self.log.warn(format!(
                        "{name}: has entered the UNKNOWN state and will no longer receive events, this usually indicates the process violated the eventlistener protocol"
                    ));
                    self.put_back(id);
                }
            }
        }
    }

    /// Gives waiting events to listeners that are ready.
    pub(super) fn dispatch(&mut self) {
        for at in 0..self.groups.len() {
            while let Some(group) = self.groups.get_mut(at)
                && let Some(event) = group.pool.waiting.pop_front()
            {
                let (name, members) = (group.config.name.clone(), group.members.clone());
                let text = event.notice.envelope(
                    &self.settings.identifier,
                    event.serial,
                    &name,
                    event.pool_serial,
                );
                let taken = members
                    .into_iter()
                    .any(|id| self.hand_over(id, &event, &text));
                if !taken {
                    if let Some(group) = self.groups.get_mut(at) {
                        group.pool.waiting.push_front(event);
                    }
                    break;
                }
            }
        }
    }

    /// Whether this listener took the event.
    fn hand_over(&mut self, id: u64, event: &Queued, text: &str) -> bool {
        let is_ready = self.processes.get(&id).is_some_and(|process| {
            let turn = process.listener.as_ref().map(|l| l.talk.turn());
            process.state() == ProcessState::Running && turn == Some(Turn::Ready)
        });
        if !is_ready || self.give(id, text.as_bytes()).is_err() {
            return false;
        }
        if let Some(process) = self.processes.get_mut(&id)
            && let Some(listener) = &mut process.listener
        {
            listener.talk.sent();
            listener.event = Some(event.clone());
            let name = &process.config.name;
            self.log
                .debug(format!("event {} sent to listener {name}", event.serial));
        }
        true
    }

    /// Tells of the multiples of each period the wall clock has passed.
    pub(super) fn tick(&mut self) {
        for (at, period) in TICKS.into_iter().enumerate() {
            if !self.is_wanted(&format!("TICK_{period}")) {
                self.ticks[at] = None;
                continue;
            }
            let now = clock::wall();
            let when = now - now.rem_euclid(period);
            if self.ticks[at]
                .replace(when)
                .is_some_and(|last| last != when)
            {
                self.notify(Notice::tick(period, when));
            }
        }
    }

    /// When the next tick is due; never as long as nobody asked for ticks.
    pub(super) fn next_tick(&self) -> Option<Millis> {
        let wall = clock::wall_millis();
        let left = TICKS
            .into_iter()
            .zip(self.ticks)
            .filter(|(_, last)| last.is_some())
            .map(|(period, _)| period * 1_000 - wall.rem_euclid(period * 1_000))
            .min()?;
        Some(clock::monotonic() + Millis::try_from(left).unwrap_or(0))
    }

    /// A listener that an earlier daemon started stands somewhere in a conversation that nobody
    /// remembers: it begins anew.
    pub(super) fn renew_listeners(&mut self) {
        let adopted: Vec<u64> = self
            .processes
            .values()
            .filter(|p| p.listener.is_some() && p.run.as_ref().is_some_and(|r| r.adopted))
            .map(|p| p.id)
            .collect();
        for id in adopted {
            let _ = self.stop(id);
            self.renewing.push(id);
        }
    }

    /// Starts listeners again that were stopped for that.
    pub(super) fn start_renewed(&mut self) {
        if self.renewing.is_empty() || self.mood != Mood::Running {
            return;
        }
        for id in std::mem::take(&mut self.renewing) {
            match self.processes.get(&id) {
                Some(process) if process.is_at_rest() => self.spawn(id, true),
                Some(_) => self.renewing.push(id),
                None => {}
            }
        }
    }

    /// Whether what is left to stop are listeners that have not heard everything yet.
    pub(super) fn listeners_have_the_word(&mut self, priority: i32) -> bool {
        let is_left = |id: &u64| self.processes.get(id).is_some_and(|p| !p.is_at_rest());
        let listens = |id: &u64| {
            let process = self.processes.get(id)?;
            let listener = process.listener.as_ref()?;
            let is_heard = listener.talk.turn() != Turn::Unknown;
            (process.state() == ProcessState::Running && is_heard).then_some(listener)
        };
        let mut left = self
            .groups
            .iter()
            .filter(|g| g.config.priority == priority && g.members.iter().any(is_left));
        let all_listen = left.all(|group| {
            let mut listeners = group.members.iter().filter_map(listens).peekable();
            listeners.peek().is_some()
                && (!group.pool.waiting.is_empty() || listeners.any(|l| l.event.is_some()))
        });
        let now = clock::monotonic();
        all_listen && now < *self.farewell.get_or_insert(now + FAREWELL)
    }

    /// How a process is named in events.
    pub(super) fn who(&self, id: u64) -> Option<Who<'_>> {
        self.processes.get(&id).map(|process| Who {
            name: &process.config.name,
            group: &process.group,
            pid: process.run.as_ref().map_or(0, |run| run.record.pid),
        })
    }
}

fn wants(pool: &PoolConfig, event: &str) -> bool {
    pool.events
        .iter()
        .any(|wanted| notice::contains(wanted, event))
}
