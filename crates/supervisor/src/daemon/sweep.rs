//! Finds and ends what a program leaves behind.
//!
//! A process belongs to a program's run if it is in the session or process group that the
//! program's leader made, or, when it has left both, if the environment it was executed with names
//! this daemon, the group and the process. Only a process that deliberately took another session
//! *and* another environment (a nested supervisor, say) gets away.
//!
//! What a child of ours leaves behind becomes our child, since we are a subreaper, so only our
//! children are looked at. For a run adopted from an earlier daemon all processes are.

use crate::clock;
use crate::procfs;
use crate::state::Millis;

use super::Daemon;

/// Between two looks, in ms: strays that are not our children end without a signal to us.
const INTERVAL: Millis = 50;
const KILL: i32 = 9;

/// A search that goes on until nothing is found.
#[derive(Debug)]
pub(super) struct Hunt {
    /// The process whose stop waits for it; `None` when nothing does.
    waiting: Option<u64>,
    group: String,
    name: String,
    /// Session and process group of the run: its leader's process id.
    leader: i32,
    /// When that process started, to notice that its number was given to another.
    leader_start: u64,
    everywhere: bool,
    kill: bool,
    /// The stop signal to pass on to strays that have not received it.
    pass_on: Option<Passing>,
    next: Millis,
}

#[derive(Debug, Clone, Copy)]
struct Passing {
    signal: i32,
    /// The group already received it.
    group_has_it: bool,
}

impl Hunt {
    pub(super) fn next_look(&self) -> Millis {
        self.next
    }
}

impl Daemon {
    /// Begins to look for what a process that has ended left behind. With `wait`, the process has
    /// stopped only when nothing is left.
    pub(super) fn begin_hunt(&mut self, id: u64, wait: bool) {
        let Some(process) = self.processes.get(&id) else {
            return;
        };
        let Some(run) = &process.run else { return };
        let kill = !wait || run.killed;
        self.hunts.push(Hunt {
            waiting: wait.then_some(id),
            group: process.group.clone(),
            name: process.config.name.clone(),
            leader: run.record.pid,
            leader_start: run.record.start,
            everywhere: run.adopted,
            kill,
            pass_on: (!kill).then_some(Passing {
                signal: process.config.stopsignal,
                group_has_it: process.config.stopasgroup,
            }),
            next: clock::monotonic(),
        });
        self.hunt(clock::monotonic());
    }

    /// The stop time of a process is over.
    pub(super) fn kill_strays_of(&mut self, id: u64) {
        for hunt in self.hunts.iter_mut().filter(|h| h.waiting == Some(id)) {
            hunt.kill = true;
        }
        self.look_at_hunts_now();
        self.hunt(clock::monotonic());
    }

    /// Something has ended: perhaps a stray.
    pub(super) fn look_at_hunts_now(&mut self) {
        for hunt in &mut self.hunts {
            hunt.next = 0;
        }
    }

    /// Looks for strays of every hunt that is due, in one pass over the processes.
    pub(super) fn hunt(&mut self, now: Millis) {
        if self.hunts.iter().all(|h| h.next > now) {
            return;
        }
        let everywhere = self.hunts.iter().any(|h| h.everywhere);
        let candidates =
            if everywhere { None } else { procfs::children() }.unwrap_or_else(procfs::all);
        let me = rustix::process::getpid().as_raw_nonzero().get();
        let leaders: Vec<(i32, u64)> = self
            .processes
            .values()
            .filter_map(|p| p.run.as_ref().filter(|r| r.ended.is_none()))
            .map(|r| (r.record.pid, r.record.start))
            .collect();
        let hunts = std::mem::take(&mut self.hunts);
        let mut found = vec![false; hunts.len()];
        let recycled: Vec<bool> = hunts
            .iter()
            .map(|h| procfs::stat(h.leader).is_some_and(|s| s.start != h.leader_start))
            .collect();
        for pid in candidates {
            if pid == me || leaders.iter().any(|(leader, _)| *leader == pid) {
                continue;
            }
            let Some(stat) = procfs::stat(pid).filter(|s| !s.dead) else {
                continue;
            };
            let mut environment = None;
            for ((hunt, found), recycled) in hunts.iter().zip(&mut found).zip(&recycled) {
                let in_group = !recycled && stat.group == hunt.leader;
                let in_session = !recycled && stat.session == hunt.leader;
                let belongs = in_group || in_session || {
                    // A later run of the same program may be alive: its processes carry the same
                    // names, but they are newer than its leader.
                    let later_run = self.processes.values().find(|p| {
                        p.group == hunt.group
                            && p.config.name == hunt.name
                            && p.run.as_ref().is_some_and(|r| r.ended.is_none())
                    });
                    let newer = later_run
                        .and_then(|p| p.run.as_ref())
                        .is_some_and(|r| stat.start >= r.record.start);
                    !newer && {
                        let environment = environment
                            .get_or_insert_with(|| procfs::environment(pid).unwrap_or_default());
                        self.is_of(environment, &hunt.group, &hunt.name)
                    }
                };
                if !belongs {
                    continue;
                }
                *found = true;
                if hunt.kill {
                    procfs::signal(pid, stat.start, KILL);
                } else if let Some(passing) = hunt.pass_on
                    && !(in_group && passing.group_has_it)
                {
                    procfs::signal(pid, stat.start, passing.signal);
                }
            }
        }
        for (hunt, found) in hunts.into_iter().zip(found) {
            if found {
                self.hunts.push(Hunt {
                    next: now + INTERVAL,
                    pass_on: None,
                    ..hunt
                });
            } else if let Some(id) = hunt.waiting {
                let status = self.processes.get(&id).and_then(|p| p.run.as_ref()?.ended);
                if let Some(status) = status {
                    self.finish(id, status);
                }
            }
        }
    }

    /// Whether an environment was given by this daemon to this process.
    pub(super) fn is_of(&self, environment: &[u8], group: &str, name: &str) -> bool {
        let is = |key: &str, value: &str| procfs::variable(environment, key) == Some(value);
        is("SUPERVISOR_PROCESS_NAME", name)
            && is("SUPERVISOR_GROUP_NAME", group)
            && is("SUPERVISOR_SERVER_URL", &self.url)
    }
}
