//! A daemon in a temporary directory, stopped with everything it keeps when the test ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    dead_code,
    missing_docs,
    unreachable_pub
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use supervisor::config::{Config, DaemonConfig, LogConfig};
use supervisor::{Client, GroupConfig, ProcessState, ProgramConfig, ensure_running};

pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Nest {
    directory: tempfile::TempDir,
    pub client: Client,
}

/// Waits until `check` gives something.
#[track_caller]
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn daemon_program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/daemon");
    assert!(
        program.exists(),
        "{} was not built: cargo build -p supervisor --examples",
        program.display()
    );
    program
}

/// A program that `sh` runs.
pub fn shell(name: &str, script: &str) -> ProgramConfig {
    ProgramConfig {
        autostart: false,
        autorestart: supervisor::config::AutoRestart::Never,
        startsecs: 0,
        startretries: 0,
        stopasgroup: true,
        killasgroup: true,
        redirect_stderr: true,
        stderr: LogConfig::none(),
        environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
        ..ProgramConfig::new(
            name,
            format!("/bin/sh -c {}", supervisor::config::quote(script)),
        )
    }
}

/// A group whose sections have names of their own, as the node writes them.
pub fn group(name: &str, programs: Vec<ProgramConfig>) -> GroupConfig {
    let programs = programs
        .into_iter()
        .map(|p| ProgramConfig {
            section: format!("{name}_{}", p.name),
            ..p
        })
        .collect();
    GroupConfig::new(name, programs)
}

impl Nest {
    /// A directory with a configuration, no daemon yet.
    pub fn prepare() -> Self {
        let directory = tempfile::Builder::new().prefix("sv").tempdir().unwrap();
        let root = directory.path();
        for sub in ["etc/conf.d", "var/log", "var/run"] {
            fs::create_dir_all(root.join(sub)).unwrap();
        }
        let socket = root.join("sv.sock");
        let config = DaemonConfig::for_instance_root(root, &socket);
        let include = root.join("etc/conf.d/*.conf");
        fs::write(
            root.join("etc/supervisord.conf"),
            config.render(&include.display().to_string(), ""),
        )
        .unwrap();
        Self {
            client: Client::new(socket),
            directory,
        }
    }

    /// A daemon that keeps these groups.
    pub fn with(groups: &[GroupConfig]) -> Self {
        let nest = Self::prepare();
        for group in groups {
            nest.write(group);
        }
        nest.launch();
        nest
    }

    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    pub fn config(&self) -> PathBuf {
        self.root().join("etc/supervisord.conf")
    }

    pub fn group_file(&self, name: &str) -> PathBuf {
        self.root().join("etc/conf.d").join(format!("{name}.conf"))
    }

    pub fn write(&self, group: &GroupConfig) {
        fs::write(self.group_file(&group.name), group.render()).unwrap();
        let read = Config::load(&self.config()).unwrap();
        assert_eq!(
            read.groups.iter().find(|g| g.name == group.name),
            Some(group)
        );
    }

    pub fn launch(&self) {
        ensure_running(
            self.client.socket(),
            &daemon_program(),
            &[self.config()],
            PATIENCE,
        )
        .unwrap();
    }

    pub fn log(&self, group: &str, name: &str) -> PathBuf {
        self.root()
            .join(format!("var/log/{group}-{name}-stdout.log"))
    }

    pub fn read_log(&self, group: &str, name: &str) -> String {
        fs::read_to_string(self.log(group, name)).unwrap_or_default()
    }

    pub fn daemon_log(&self) -> String {
        fs::read_to_string(self.root().join("var/log/supervisord.log")).unwrap_or_default()
    }

    pub fn daemon_pid(&self) -> i32 {
        self.client.pid().unwrap()
    }

    pub fn pid(&self, name: &str) -> i32 {
        self.client.process_info(name).unwrap().pid
    }

    pub fn state(&self, name: &str) -> ProcessState {
        self.client.process_info(name).unwrap().state
    }

    #[track_caller]
    pub fn wait_state(&self, name: &str, state: ProcessState) {
        eventually(&format!("{name} is {}", state.name()), || {
            (self.state(name) == state).then_some(())
        });
    }

    /// kill -9, and wait until it is gone.
    pub fn murder(&self) {
        let pid = self.daemon_pid();
        kill(pid, rustix::process::Signal::KILL);
        eventually("the daemon is dead", || (!alive(pid)).then_some(()));
    }
}

pub fn kill(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Whether a process exists and is not a zombie.
pub fn alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit_once(')')
            .is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
    })
}

impl Drop for Nest {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- daemon's log\n{}", self.daemon_log());
        }
        // A daemon that a test killed comes back to stop what it kept.
        let state = self.root().join("var/run/supervisord.state.json");
        if state.exists() {
            let _ = ensure_running(
                self.client.socket(),
                &daemon_program(),
                &[self.config()],
                PATIENCE,
            );
        }
        for info in self.client.all_process_info().unwrap_or_default() {
            let _ = self.client.signal(&info.namespec(), "KILL");
        }
        let _ = self.client.shutdown_and_wait(PATIENCE);
    }
}
