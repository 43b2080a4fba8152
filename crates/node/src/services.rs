//! Partitions' services, as groups of the supervisor (N 2.6, 3.2).
//!
//! Deviation from upstream, on purpose: what is in `etc/service` is restarted by the supervisor,
//! with its growing pauses, instead of waiting for the next processing. `etc/run` stays one-shot.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use slap::PartitionId;
use supervisor::config::{AutoRestart, LogConfig, PartitionOwner};
use supervisor::fault::FaultCode;
use supervisor::{
    Change, Client, ClientError, GroupConfig, ProcessInfo, ProcessState, ProgramConfig,
};

use crate::config::NodeConfig;
use crate::firewalld::FirewallProgram;
use crate::outcome::Error;
use crate::partition;
use crate::safe_fs::{Dir, Durable, Kind};
use crate::user::User;

/// How long the supervisor may take to answer after it was started.
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(60);

/// Most entries of `etc/run` and `etc/service` together.
const SERVICES_MAX: usize = 1000;

/// What section `[firewall]` may have kept running (N 2.6).
const FIREWALL_PROGRAMS: &[&str] = &["dbus", "firewall"];

/// What names of watched processes hold (N 2.6).
const WATCHED: &str = "-on-watch";

/// Groups of a partition besides its main one (managers make them).
pub(crate) const SUFFIXES: &[&str] = &["prerm", "socat"];

/// The supervisor of the node's services, for a person's orders: its directories and configuration
/// are made, and it is started unless somebody else takes care of that.
///
/// # Errors
/// When the directories cannot be made or the supervisor does not start.
pub fn supervisor(config: &NodeConfig) -> Result<Client, Error> {
    config.prepare_structure()?;
    Ok(Services::connect(config)?.client)
}

/// The supervisor of an instance root, as the node uses it.
pub(crate) struct Services<'a> {
    config: &'a NodeConfig,
    client: Client,
}

/// Whether a process that shall run is between two tries, or was given up.
fn is_dying(state: ProcessState) -> bool {
    matches!(
        state,
        ProcessState::Backoff | ProcessState::Fatal | ProcessState::Exited
    )
}

/// Groups of the supervisor that need somebody to start something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needs {
    /// Groups with a process that was never started since the supervisor is: after a reboot, all of
    /// them. What somebody stopped by hand is not among them.
    pub(crate) dormant: BTreeSet<String>,
    /// The processes, by group, that a signal ended and nobody starts again: programs of `etc/run`,
    /// which ran when they were killed. One that ended by itself has done its work.
    pub(crate) killed: BTreeMap<String, Vec<Killed>>,
    /// By group, when the first of those may be started that were killed too often to be started
    /// again by now. Only the agent has such.
    pub(crate) held_back: BTreeMap<String, Instant>,
    /// By group, a watched process that does not stay up.
    pub(crate) dying: BTreeMap<String, String>,
}

/// A process that was killed.
#[derive(Debug, Clone)]
pub(crate) struct Killed {
    /// Its name, with its group's.
    pub(crate) name: String,
    /// When it was started, in seconds of Unix time: tells this run of it from others.
    pub(crate) run: i64,
    /// How long it ran.
    pub(crate) lived: Duration,
}

impl Killed {
    fn of(process: &ProcessInfo) -> Killed {
        let seconds = process.stop.saturating_sub(process.start);
        Killed {
            name: process.namespec(),
            run: process.start,
            lived: Duration::from_secs(seconds.try_into().unwrap_or(0)),
        }
    }
}

impl Needs {
    /// Whether nobody needs anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.dormant.is_empty() && self.killed.is_empty() && self.dying.is_empty()
    }
}

/// How often a watched process is started again before it counts as one that does not stay up.
const RESTARTS_MAX: u32 = 1;

/// Whether the end of a process is a reason to look after its partition: it is not started again by
/// itself, although it shall run, or again and again.
pub(crate) fn needs_somebody(end: &Change) -> bool {
    let is_watched = end.name.contains(WATCHED);
    match end.now {
        ProcessState::Fatal => is_watched,
        // One that ended by itself has done its work.
        ProcessState::Exited => is_watched || end.exitstatus.is_some_and(|status| status < 0),
        ProcessState::Backoff => is_watched && end.restarts > RESTARTS_MAX,
        _ => false,
    }
}

/// What became of starting a partition.
#[derive(Debug, Default)]
pub(crate) struct Started {
    /// How many services it has.
    pub(crate) count: usize,
    /// Things to tell: bad names, services that did not start.
    pub(crate) warnings: Vec<String>,
}

impl<'a> Services<'a> {
    /// Makes sure the supervisor runs, unless somebody else takes care of that.
    pub(crate) fn connect(config: &'a NodeConfig) -> Result<Self, Error> {
        let socket = config.supervisor_socket();
        let client = if config.forbid_supervisord_automatic_launch {
            Client::new(&socket)
        } else {
            let (program, arguments) =
                config.supervisor_command.split_first().ok_or_else(|| {
                    Error::Refused("no command is configured to start the supervisor".to_owned())
                })?;
            supervisor::ensure_running(&socket, Path::new(program), arguments, LAUNCH_TIMEOUT)
                .map_err(|error| Error::Supervisor {
                    instance_root: config.instance_root.clone(),
                    message: error.to_string(),
                })?
        };
        let services = Services { config, client };
        services.keep_firewall()?;
        Ok(services)
    }

    /// Writes the partition's group file and starts what does not run.
    ///
    /// The file is only written where it differs, and the supervisor only restarts a group whose
    /// configuration differs: services of an unchanged partition are not touched.
    pub(crate) fn start(&self, partition: &PartitionId, user: &User) -> Result<Started, Error> {
        let directory = self.config.partition_directory(partition);
        let dir = Dir::open_trusted(&directory).map_err(Error::io("open", &directory))?;
        let found = discover(&dir).map_err(Error::io("list the services of", &directory))?;
        let mut started = Started {
            count: found.services.len(),
            warnings: found.warnings,
        };
        let conf = self.open_conf_d()?;
        let name = format!("{partition}.conf");
        if found.services.is_empty() {
            conf.remove(&name)
                .map_err(Error::io("remove", conf.path().join(&name)))?;
        } else {
            let text = group(partition, &directory, user, &found.services).render();
            conf.write_if_different(&name, text.as_bytes(), 0o600, None, Durable::No)
                .map_err(Error::io("write", conf.path().join(&name)))?;
        }
        // What its managers will look after in a moment goes on until then.
        self.remove_suffixed(&conf, partition, self.config.managers.kept_suffixes())?;
        self.update(partition)?;
        if found.services.is_empty() {
            return Ok(started);
        }
        let results = match self.client.start_group(partition.as_str(), false) {
            Ok(results) => results,
            Err(error) if error.fault() == Some(FaultCode::BadName) => Vec::new(),
            Err(error) => return Err(self.error(&error)),
        };
        started.warnings.extend(
            results
                .iter()
                .filter(|result| !result.is_ok())
                .filter(|result| result.status != FaultCode::AlreadyStarted.code())
                .map(|result| {
                    format!(
                        "service {} did not start: {}",
                        result.name, result.description
                    )
                }),
        );
        Ok(started)
    }

    /// Removes the partition's group; returns when all its processes have ended.
    pub(crate) fn stop(&self, partition: &PartitionId) -> Result<(), Error> {
        self.stop_but(partition, &[])
    }

    /// The same, but its groups with these suffixes go on.
    pub(crate) fn stop_but(&self, partition: &PartitionId, kept: &[&str]) -> Result<(), Error> {
        let conf = self.open_conf_d()?;
        let name = format!("{partition}.conf");
        conf.remove(&name)
            .map_err(Error::io("remove", conf.path().join(&name)))?;
        self.remove_suffixed(&conf, partition, kept)?;
        // Also where there was no file: a run that was killed may have removed it just before.
        self.update(partition)
    }

    /// Starts everything the supervisor knows (offline mode).
    pub(crate) fn start_all(&self) -> Result<(), Error> {
        // After a reboot the kernel knows no groups and no limits.
        for id in self.partitions()? {
            partition::settle_cgroup(self.config, &id);
        }
        self.client
            .start_all(false)
            .map(drop)
            .map_err(|error| self.error(&error))
    }

    /// Which groups need somebody, as the supervisor tells now.
    pub(crate) fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        for process in self.client.all_process_info().unwrap_or_default() {
            if process.state == ProcessState::Stopped && process.start == 0 {
                needs.dormant.insert(process.group);
            } else if process.state == ProcessState::Exited && process.exitstatus < 0 {
                let killed = Killed::of(&process);
                needs.killed.entry(process.group).or_default().push(killed);
            } else if process.name.contains(WATCHED) && is_dying(process.state) {
                needs.dying.insert(process.group, process.name);
            }
        }
        needs
    }

    /// Starts one process again.
    pub(crate) fn start_again(&self, name: &str) -> Result<(), Error> {
        match self.client.start(name, false) {
            Err(error) if error.fault() != Some(FaultCode::AlreadyStarted) => {
                Err(self.error(&error))
            }
            _ => Ok(()),
        }
    }

    /// Whether one of these processes (`group:process`) runs or is starting; unknown names don't.
    pub(crate) fn any_running(&self, names: &[&str]) -> Result<bool, Error> {
        if names.is_empty() {
            return Ok(false);
        }
        let all = self
            .client
            .all_process_info()
            .map_err(|error| self.error(&error))?;
        Ok(all.iter().any(|process| {
            let name = format!("{}:{}", process.group, process.name);
            process.state.is_running() && names.contains(&name.as_str())
        }))
    }

    fn update(&self, partition: &PartitionId) -> Result<(), Error> {
        let suffixed: Vec<String> = SUFFIXES
            .iter()
            .map(|suffix| format!("{partition}-{suffix}"))
            .collect();
        let mut groups = vec![partition.as_str()];
        groups.extend(suffixed.iter().map(String::as_str));
        let update = self
            .client
            .update(Some(&groups))
            .map_err(|error| self.error(&error))?;
        match update.failures.first() {
            None => Ok(()),
            Some((group, error)) => Err(Error::Supervisor {
                instance_root: self.config.instance_root.clone(),
                message: format!("group {group}: {error}"),
            }),
        }
    }

    /// Makes a group of a partition besides its main one have exactly these programs, and starts
    /// those that were never started; none: the group is removed. Gives the programs' names.
    pub(crate) fn keep_extra(
        &self,
        partition: &PartitionId,
        suffix: &str,
        programs: Vec<ProgramConfig>,
    ) -> Result<Vec<String>, Error> {
        let conf = self.open_conf_d()?;
        let group = format!("{partition}-{suffix}");
        let file = format!("{group}.conf");
        if programs.is_empty() {
            let removed = conf
                .remove(&file)
                .map_err(Error::io("remove", conf.path().join(&file)))?;
            if removed {
                self.update(partition)?;
            }
            return Ok(Vec::new());
        }
        let names: Vec<String> = programs
            .iter()
            .map(|program| format!("{group}:{}", program.name))
            .collect();
        let text = GroupConfig::new(&group, programs).render();
        let changed = conf
            .write_if_different(&file, text.as_bytes(), 0o600, None, Durable::No)
            .map_err(Error::io("write", conf.path().join(&file)))?;
        let known = || {
            self.client
                .all_process_info()
                .map_err(|error| self.error(&error))
        };
        let mut all = known()?;
        // A run that was killed may have written the file just before.
        if changed || !all.iter().any(|process| process.group == group) {
            self.update(partition)?;
            all = known()?;
        }
        for process in all {
            if process.group == group
                && process.state == ProcessState::Stopped
                && process.start == 0
            {
                self.start_again(&process.namespec())?;
            }
        }
        Ok(names)
    }

    /// Has the supervisor keep what `[firewall]` names, and nothing it named before.
    fn keep_firewall(&self) -> Result<(), Error> {
        // Where nothing was ever prepared there is nothing to remove either.
        if self.config.firewall.is_none() && !self.config.supervisord_conf_d().is_dir() {
            return Ok(());
        }
        let conf = self.open_conf_d()?;
        let programs = self
            .config
            .firewall
            .as_ref()
            .map(|section| &section.programs);
        let mut changed = false;
        for name in FIREWALL_PROGRAMS {
            let file = format!("{name}.conf");
            let program = programs
                .into_iter()
                .flatten()
                .find(|program| program.name == *name);
            let command = program.and_then(|program| program.command.as_ref());
            changed |= match (program, command) {
                (Some(program), Some(command)) => {
                    let text = firewall_program(program, command).render();
                    conf.write_if_different(&file, text.as_bytes(), 0o600, None, Durable::No)
                }
                _ => conf.remove(&file),
            }
            .map_err(Error::io("write", conf.path().join(&file)))?;
        }
        if changed {
            self.client
                .update(Some(FIREWALL_PROGRAMS))
                .map_err(|error| self.error(&error))?;
        }
        Ok(())
    }

    fn remove_suffixed(
        &self,
        conf: &Dir,
        partition: &PartitionId,
        kept: &[&str],
    ) -> Result<(), Error> {
        for suffix in SUFFIXES.iter().filter(|suffix| !kept.contains(suffix)) {
            let name = format!("{partition}-{suffix}.conf");
            conf.remove(&name)
                .map_err(Error::io("remove", conf.path().join(&name)))?;
        }
        Ok(())
    }

    /// The partitions that have a group file.
    fn partitions(&self) -> Result<Vec<PartitionId>, Error> {
        let conf = self.open_conf_d()?;
        let names = conf.names().map_err(Error::io("list", conf.path()))?;
        let ids = names.iter().filter_map(|name| {
            let id: PartitionId = name.to_str()?.strip_suffix(".conf")?.parse().ok()?;
            self.config.partition_directory(&id).is_dir().then_some(id)
        });
        Ok(ids.collect())
    }

    fn open_conf_d(&self) -> Result<Dir, Error> {
        let path = self.config.supervisord_conf_d();
        Dir::open_trusted(&path).map_err(Error::io("open", path))
    }

    fn error(&self, error: &ClientError) -> Error {
        Error::Supervisor {
            instance_root: self.config.instance_root.clone(),
            message: error.to_string(),
        }
    }
}

/// An executable the supervisor shall keep.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Service {
    name: String,
    path: PathBuf,
    /// From `etc/service`: restarted, and named `<name>-on-watch`.
    watched: bool,
}

#[derive(Debug, Default)]
struct Found {
    services: Vec<Service>,
    warnings: Vec<String>,
}

/// The services in `etc/run`, then in `etc/service`, each sorted; of two with the same name the
/// one in `etc/service` counts.
fn discover(partition: &Dir) -> std::io::Result<Found> {
    let mut found = Found::default();
    let Some(etc) = partition.dir("etc")? else {
        return Ok(found);
    };
    for (directory, watched) in [("run", false), ("service", true)] {
        let Some(dir) = etc.dir(directory)? else {
            continue;
        };
        for name in dir.names()? {
            if dir.kind(&name)? == Some(Kind::Directory) {
                continue;
            }
            let path = dir.path().join(&name);
            // The name becomes part of the supervisor's configuration, which root's supervisor
            // reads: nothing that could end a line or a word may get there.
            match name.to_str().filter(|name| is_plain(name)) {
                Some(name) => found.services.push(Service {
                    name: name.to_owned(),
                    path,
                    watched,
                }),
                None => found.warnings.push(format!(
                    "{} is not started: its name may only hold letters, digits and ._-+@~=",
                    path.display()
                )),
            }
        }
    }
    let watched: Vec<String> = found
        .services
        .iter()
        .filter(|service| service.watched)
        .map(|service| service.name.clone())
        .collect();
    found
        .services
        .retain(|service| service.watched || !watched.contains(&service.name));
    if found.services.len() > SERVICES_MAX {
        found.warnings.push(format!(
            "only the first {SERVICES_MAX} of {} services are started",
            found.services.len()
        ));
        found.services.truncate(SERVICES_MAX);
    }
    Ok(found)
}

pub(crate) fn is_plain(name: &str) -> bool {
    name.chars()
        .all(|character| character.is_ascii_alphanumeric() || "._-+@~=".contains(character))
}

/// Whose a partition's programs are.
pub(crate) fn owner(directory: &Path, user: &User) -> PartitionOwner {
    PartitionOwner {
        directory: directory.to_owned(),
        uid: user.uid,
        gid: user.gid,
        user: user.name.clone(),
        home: user.home.clone(),
        cgroup: user.cgroup.clone(),
    }
}

/// A program of the firewall's as upstream's node has it (N 2.6).
fn firewall_program(program: &FirewallProgram, command: &str) -> GroupConfig {
    let directory = Path::new("/opt/slapos");
    let root = rustix::process::geteuid().is_root();
    GroupConfig::alone(ProgramConfig {
        directory: directory.is_dir().then(|| directory.to_owned()),
        priority: program.priority,
        autorestart: AutoRestart::Always,
        startsecs: 0,
        startretries: 0,
        stopwaitsecs: 60,
        user: root.then_some(supervisor::config::User::Id(0)),
        gid: root.then_some(0),
        redirect_stderr: true,
        stdout: LogConfig::file(program.log.clone(), 100 * 1024, 1),
        stderr: LogConfig::none(),
        ..ProgramConfig::new(program.name, command)
    })
}

fn group(
    partition: &PartitionId,
    directory: &Path,
    user: &User,
    services: &[Service],
) -> GroupConfig {
    let owner = owner(directory, user);
    let programs = services
        .iter()
        .map(|service| {
            let process = if service.watched {
                format!("{}{WATCHED}", service.name)
            } else {
                service.name.clone()
            };
            let mut program = ProgramConfig::for_partition(
                partition.as_str(),
                &service.name,
                &process,
                &service.path,
                &owner,
            );
            if service.watched {
                program.autorestart = AutoRestart::Always;
            }
            program
        })
        .collect();
    GroupConfig::new(partition.as_str(), programs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn n_2_6_services_are_found_in_order_and_bad_names_never_reach_the_supervisor() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        for path in [
            "etc/run/b",
            "etc/run/a",
            "etc/run/both",
            "etc/run/x]\n[program:evil",
            "etc/run/two words",
            "etc/service/both",
            "etc/service/c-1.sh",
            "etc/service/directory/inside",
        ] {
            make(path);
        }
        let found = discover(&Dir::open(root.path()).unwrap()).unwrap();
        let names: Vec<_> = found
            .services
            .iter()
            .map(|service| (service.name.as_str(), service.watched))
            .collect();
        assert_eq!(
            names,
            [("a", false), ("b", false), ("both", true), ("c-1.sh", true)]
        );
        assert_eq!(found.warnings.len(), 2);
    }

    #[test]
    fn who_does_not_come_back_by_itself_needs_somebody() {
        let end = |name: &str, now, exitstatus, restarts| Change {
            group: "slappart0".into(),
            name: name.into(),
            from: ProcessState::Running,
            to: ProcessState::Exited,
            now,
            pid: 7,
            exitstatus,
            restarts,
        };
        use ProcessState::{Backoff, Exited, Fatal, Running};
        for (name, now, status, restarts, needs) in [
            ("a-on-watch", Backoff, Some(0), 1, false),
            ("a-on-watch", Backoff, Some(0), 2, true),
            ("a-on-watch", Fatal, None, 0, true),
            ("a-on-watch", Exited, Some(0), 0, true),
            ("a-on-watch", Running, None, 0, false),
            ("once", Exited, Some(0), 0, false),
            ("once", Exited, Some(3), 0, false),
            ("once", Exited, Some(-1), 0, true),
            ("once", Fatal, None, 0, false),
        ] {
            let end = end(name, now, status, restarts);
            assert_eq!(needs_somebody(&end), needs, "{end:?}");
        }
    }

    #[test]
    fn n_2_6_a_group_is_written_as_upstreams_tools_expect_it() {
        let user = User {
            uid: 990,
            gid: 991,
            name: "slapuser0".into(),
            home: "/srv/slappart0".into(),
            groups: vec![991],
            cgroup: Some("/sys/fs/cgroup/slapos/slapuser0".into()),
        };
        let service = |name: &str, watched| Service {
            name: name.into(),
            path: Path::new("/srv/slappart0/etc").join(name),
            watched,
        };
        let text = group(
            &PartitionId::new("slappart0").unwrap(),
            Path::new("/srv/slappart0"),
            &user,
            &[service("once", false), service("daemon", true)],
        )
        .render();
        for line in [
            "[group:slappart0]",
            "programs=slappart0_once,slappart0_daemon",
            "process_name=daemon-on-watch",
            "autorestart=true",
            "autorestart=false",
            "user=990",
            "cgroup=/sys/fs/cgroup/slapos/slapuser0",
            "stdout_logfile=/srv/slappart0/.slappart0_daemon.log",
            "environment=USER=\"slapuser0\",LOGNAME=\"slapuser0\",HOME=\"/srv/slappart0\"",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
