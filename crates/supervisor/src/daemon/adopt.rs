//! Taking over from a daemon that was killed: nothing is stopped, nothing is started twice.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use crate::journal::{GroupRecord, Journal, ProcessRecord, RunRecord};
use crate::notice::Notice;
use crate::procfs;
use crate::state::ProcessState;

use super::process::{Process, Run};
use super::{Daemon, DaemonError, Group, Source, system};

impl Daemon {
    /// Makes everything active that an earlier daemon kept and that is configured.
    pub(super) fn take_over(&mut self) -> Result<(), DaemonError> {
        let directory = self.fifo_directory();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(system(format!("cannot create {}", directory.display())))?;
        // A channel that an unrecorded process still writes to must not be given again.
        let used = fs::read_dir(&directory).map(|entries| {
            entries
                .filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u64>().ok())
                .max()
        });
        self.next_fifo = used.ok().flatten().unwrap_or(0) + 1;

        match Journal::load(&self.journal_path()) {
            Ok(Some(journal)) => {
                self.log
                    .warn("taking over from a supervisor that was killed");
                for group in journal.groups {
                    self.restore_group(group);
                }
            }
            Ok(None) => {}
            Err(error) => self
                .log
                .error(format!("the state of the last supervisor is lost: {error}")),
        }
        self.restore_configured();
        self.adopt_unrecorded();
        self.remove_unused_fifos();
        // What starts by itself and was not active before starts now.
        let fresh: Vec<u64> = self
            .processes
            .values()
            .filter(|p| p.run.is_none() && p.started_at == 0 && p.config.autostart)
            .filter(|p| p.state() == ProcessState::Stopped && p.stopped_at == 0)
            .map(|p| p.id)
            .collect();
        // In the order of the groups, not of the numbers.
        let ordered: Vec<u64> = self
            .groups
            .iter()
            .flat_map(|g| g.members.clone())
            .filter(|id| fresh.contains(id))
            .collect();
        self.notify(Notice::daemon(true));
        self.renew_listeners();
        for id in ordered {
            self.spawn(id, true);
        }
        self.save();
        Ok(())
    }

    fn restore_group(&mut self, record: GroupRecord) {
        let GroupRecord { config, processes } = record;
        let mut members = Vec::new();
        let mut processes = processes.into_iter();
        for program in &config.programs {
            let id = self.new_id();
            let mut process = Process::new(id, &config, program.clone(), &self.settings);
            let known = processes.next().unwrap_or_default();
            let ProcessRecord {
                machine,
                run,
                started_at,
                stopped_at,
            } = known;
            process.machine = machine;
            process.started_at = started_at;
            process.stopped_at = stopped_at;
            self.processes.insert(id, process);
            members.push(id);
            if let Some(run) = run {
                self.adopt(id, run);
            }
        }
        self.groups.push(Group::new(config, members));
        self.groups
            .sort_by(|a, b| a.config.order().cmp(&b.config.order()));
    }

    /// Configured groups that were not active; nothing is started yet.
    fn restore_configured(&mut self) {
        for config in self.configured_but_inactive() {
            let name = config.name.clone();
            self.restore_group(GroupRecord {
                config,
                processes: Vec::new(),
            });
            self.notify(Notice::group(&name, true));
        }
    }

    /// Takes a process that an earlier daemon started, or notes that it has ended meanwhile.
    fn adopt(&mut self, id: u64, record: RunRecord) {
        let handle = procfs::open(record.pid, record.start);
        let alive = handle.is_some();
        if let Some(handle) = &handle
            && let Err(error) = self.watch(handle, Source::Adopted(id))
        {
            self.log.error(error.to_string());
        }
        for (channel, path) in record.fifos.iter().enumerate() {
            if let Some(path) = path.clone().filter(|p| p.exists())
                && let Err(reason) = self.attach_output(id, channel, path)
            {
                self.log.error(reason);
            }
        }
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let (name, pid) = (process.namespec(), record.pid);
        process.run = Some(Run {
            record,
            handle,
            ended: None,
            adopted: true,
            killed: false,
        });
        if alive {
            self.log.info(format!("adopted: '{name}' with pid {pid}"));
        } else {
            self.ended(
                id,
                -1,
                "exit status unknown, no supervisor was there to see it",
            );
        }
    }

    /// A daemon that was killed between starting a process and recording it left one that only
    /// its environment tells about.
    fn adopt_unrecorded(&mut self) {
        let idle: Vec<(u64, String, String)> = self
            .processes
            .values()
            .filter(|p| p.run.is_none())
            .map(|p| (p.id, p.group.clone(), p.config.name.clone()))
            .collect();
        if idle.is_empty() {
            return;
        }
        for pid in procfs::all() {
            // A program leads its session.
            let Some(stat) = procfs::stat(pid).filter(|s| s.session == pid && !s.dead) else {
                continue;
            };
            let Some(environment) = procfs::environment(pid) else {
                continue;
            };
            let Some(id) = idle
                .iter()
                .find(|(_, group, name)| self.is_of(&environment, group, name))
                .map(|(id, ..)| *id)
            else {
                continue;
            };
            let Some(process) = self.processes.get_mut(&id).filter(|p| p.run.is_none()) else {
                continue;
            };
            let now = crate::clock::monotonic();
            process.machine.spawned(&process.config, now);
            process.started_at = crate::clock::wall();
            let fifos = [1, 2].map(|descriptor| self.fifo_of(pid, descriptor));
            let stdin = self.fifo_of(pid, 0);
            let [stdout, stderr] = fifos;
            let stderr = stderr.filter(|e| Some(e) != stdout.as_ref());
            self.adopt(
                id,
                RunRecord {
                    pid,
                    start: stat.start,
                    fifos: [stdout, stderr],
                    stdin,
                },
            );
            self.tell(id);
        }
    }

    /// The FIFO of ours that a process has open.
    fn fifo_of(&self, pid: i32, descriptor: i32) -> Option<PathBuf> {
        let target = fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).ok()?;
        (target.parent() == Some(&self.fifo_directory())).then_some(target)
    }

    fn remove_unused_fifos(&self) {
        let used: Vec<PathBuf> = self
            .processes
            .values()
            .filter_map(|p| p.run.as_ref())
            .flat_map(|r| r.record.fifos.iter().chain([&r.record.stdin]))
            .flatten()
            .cloned()
            .collect();
        let Ok(entries) = fs::read_dir(self.fifo_directory()) else {
            return;
        };
        for path in entries
            .filter_map(|e| Some(e.ok()?.path()))
            .filter(|p| !used.contains(p))
        {
            let _ = fs::remove_file(path);
        }
    }
}
