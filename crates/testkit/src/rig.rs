//! A Master, a node and a client's configuration in one directory.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use slap::NodeId;
use slap_client::{Client, Settings};
use tempfile::TempDir;

use crate::port::Port;
use crate::process::{Process, kill, processes_below};
use crate::run::{Invocation, Run, Running, Slapos, Unprivileged};
use crate::wait::{eventually, eventually_some};

/// How long a program may take to get ready, on a machine busy with other tests.
const READY: Duration = Duration::from_secs(60);
/// How much of each log is shown when a test fails.
const SHOWN: usize = 4000;

/// How a [`Rig`] shall be.
#[derive(Debug, Clone)]
pub struct RigBuilder {
    slapos: Slapos,
    partitions: u32,
    user: Option<Unprivileged>,
    options: String,
    proxy_options: String,
}

impl RigBuilder {
    /// How many partitions the node has; 3 by default.
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// The directory and what runs in it belong to this user.
    pub fn user(mut self, user: Option<Unprivileged>) -> Self {
        self.user = user;
        self
    }

    /// More lines for section `[slapos]`.
    pub fn option(mut self, line: &str) -> Self {
        self.options.push_str(line);
        self.options.push('\n');
        self
    }

    /// More lines for section `[slapproxy]`.
    pub fn proxy_option(mut self, line: &str) -> Self {
        self.proxy_options.push_str(line);
        self.proxy_options.push('\n');
        self
    }

    /// Makes the directory and the configuration; nothing is started.
    pub fn build(self) -> Rig {
        let base = std::env::temp_dir();
        // A unix socket's path has at most 107 bytes.
        let base = if base.as_os_str().len() > 24 {
            PathBuf::from("/tmp")
        } else {
            base
        };
        let directory = tempfile::Builder::new()
            .prefix("sl")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in(base)
            .expect("a temporary directory");
        let path = directory.path().canonicalize().expect("it exists");
        let rig = Rig {
            slapos: self.slapos.clone(),
            port: Port::reserve(),
            master: RefCell::new(None),
            keep: Cell::new(false),
            partitions: self.partitions,
            user: self.user.clone(),
            path,
            directory: Some(directory),
        };
        for name in ["home", "soft", "inst", "log", "run", "releases"] {
            fs::create_dir(rig.path.join(name)).expect("a new directory");
        }
        rig.write_configuration(&self.options, &self.proxy_options);
        rig.give(&rig.path);
        rig
    }
}

/// A temporary directory with everything a small cloud needs. When it is dropped, every process
/// that has to do with the directory is killed and the directory removed; when the test failed,
/// all logs are printed first.
#[derive(Debug)]
pub struct Rig {
    slapos: Slapos,
    port: Port,
    master: RefCell<Option<Running>>,
    keep: Cell<bool>,
    partitions: u32,
    user: Option<Unprivileged>,
    path: PathBuf,
    directory: Option<TempDir>,
}

impl Rig {
    /// A rig for this program.
    pub fn builder(slapos: impl Into<PathBuf>) -> RigBuilder {
        RigBuilder {
            slapos: Slapos::new(slapos),
            partitions: 3,
            user: None,
            options: String::new(),
            proxy_options: String::new(),
        }
    }

    fn write_configuration(&self, options: &str, proxy_options: &str) {
        let path = self.path.display();
        let port = self.port.number();
        let partitions = self.partitions;
        let builder = self.slapos.target_directory().join("test-builder");
        let builder = builder.display();
        let user = match &self.user {
            Some(user) => user.name.clone(),
            None => user_name(),
        };
        let node = format!(
            "[slapos]\n\
             computer_id = {NODE}\n\
             master_url = http://127.0.0.1:{port}/\n\
             software_root = {path}/soft\n\
             instance_root = {path}/inst\n\
             root_check = false\n\
             software_min_free_space = 1M\n\
             instance_min_free_space = 1M\n\
             pidfile_software = {path}/run/software.pid\n\
             pidfile_instance = {path}/run/instance.pid\n\
             pidfile_report = {path}/run/report.pid\n\
             builder_directory = {builder}\n\
             {options}\n\
             [slapformat]\n\
             alter_user = False\n\
             alter_network = False\n\
             create_tap = False\n\
             partition_has_ipv6_range = False\n\
             software_user = {user}\n\
             partition_amount = {partitions}\n\
             partition_base_name = part\n\
             user_base_name = user\n\
             computer_xml = {path}/computer.xml\n\
             computer_json = {path}/computer.json\n\
             input_definition_file = {path}/definition.cfg\n\
             \n\
             [slapproxy]\n\
             host = 127.0.0.1\n\
             port = {port}\n\
             database_uri = {path}/proxy.db\n\
             {proxy_options}"
        );
        let mut definition =
            format!("[computer]\naddress = 127.0.0.1/255.255.255.255\nsoftware_user = {user}\n");
        for index in 0..partitions {
            let _ = write!(
                definition,
                "\n[partition_{index}]\n\
                 address = 127.0.0.1/255.255.255.255 ::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n\
                 user = {user}\nnetwork_interface = tap{index}\npathname = part{index}\n"
            );
        }
        let client = format!(
            "[slapos]\nmaster_url = http://127.0.0.1:{port}/\n\
             master_rest_url = http://127.0.0.1:{port}/hateoas\n"
        );
        self.write("slapos.cfg", &node);
        self.write("definition.cfg", &definition);
        self.write("client.cfg", &client);
    }

    /// Makes something belong to the rig's user.
    fn give(&self, path: &Path) {
        let Some(user) = &self.user else { return };
        std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid)).expect("we are root");
        if path.is_dir() && !path.is_symlink() {
            for entry in fs::read_dir(path).expect("a directory") {
                self.give(&entry.expect("an entry").path());
            }
        }
    }

    /// The rig's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The program under test.
    pub fn program(&self) -> &Slapos {
        &self.slapos
    }

    /// Who owns the rig, when not the caller.
    pub fn user(&self) -> Option<&Unprivileged> {
        self.user.as_ref()
    }

    /// The Master's port.
    pub fn port(&self) -> &Port {
        &self.port
    }

    /// The Master's URL, with its last slash.
    pub fn master_url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port.number())
    }

    /// The directory of a partition, such as `part0`.
    pub fn partition(&self, name: &str) -> PathBuf {
        self.path.join("inst").join(name)
    }

    /// Writes a file below the rig's directory.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.give(&path);
        path
    }

    /// Reads a file below the rig's directory.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        let path = self.path.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Copies a software release of the project (`software/helloworld`, `tests/software/services`)
    /// into the rig; the path of its profile, which is its URL.
    pub fn release(&self, source: &str) -> String {
        let source = crate::project().join(source);
        let name = source.file_name().expect("a name");
        let target = self.path.join("releases").join(name);
        copy(&source, &target);
        self.give(&target);
        target.join("software.cfg").display().to_string()
    }

    /// Any program, at home in the rig and with its configurations.
    pub fn invoke(&self, program: &Path) -> Invocation {
        Invocation::new(program, self.path.join("home"))
            .user(self.user.clone())
            .env("SLAPOS_CONFIGURATION", self.path.join("slapos.cfg"))
            .env("SLAPOS_CLIENT_CONFIGURATION", self.path.join("client.cfg"))
    }

    /// The program under test with these arguments.
    pub fn slapos<I: IntoIterator>(&self, arguments: I) -> Invocation
    where
        I::Item: Into<OsString>,
    {
        self.invoke(&self.slapos.path).args(arguments)
    }

    /// Runs the program under test.
    pub fn run(&self, arguments: &[&str]) -> Run {
        self.slapos(arguments).run()
    }

    /// `slapos node software|instance|report|format --now …`.
    pub fn node(&self, command: &str, arguments: &[&str]) -> Run {
        self.slapos(["node", command, "--now"])
            .args(arguments)
            .run()
    }

    /// `slapos supply`.
    pub fn supply(&self, release: &str) {
        self.run(&["supply", release, NODE]).ok();
    }

    /// `slapos request TITLE RELEASE …`.
    pub fn request(&self, title: &str, release: &str, arguments: &[&str]) -> Run {
        self.slapos(["request", title, release])
            .args(arguments)
            .run()
    }

    /// What `slapos service info` says.
    #[track_caller]
    pub fn info(&self, title: &str) -> serde_json::Value {
        self.run(&["service", "info", title, "--output", "json"])
            .ok()
            .json()
    }

    /// A typed connection to the Master.
    pub fn client(&self) -> Client {
        Client::new(Settings::new(self.master_url())).expect("the settings are right")
    }

    /// Which instance, by title, is on which partition; what the node would be told.
    pub fn placements(&self) -> BTreeMap<String, String> {
        let document = self.client().node(&NODE.parse().expect("a reference"));
        document
            .expect("the Master answers")
            .partitions
            .into_iter()
            .filter_map(|partition| {
                let title = partition.parameter("instance_title")?;
                Some((title, partition.partition.to_string()))
            })
            .collect()
    }

    /// Starts our Master and waits until it answers.
    pub fn start_master(&self) {
        self.start_master_as(&self.slapos(["proxy", "start"]));
    }

    /// Starts this as the Master and waits until it answers.
    pub fn start_master_as(&self, invocation: &Invocation) {
        let mut running = invocation.start(&self.path.join("log/master.log"));
        eventually("the Master listens", READY, || {
            assert!(
                running.is_running(),
                "the Master ended:\n{}",
                running.output()
            );
            if self.port.is_open() {
                Ok(())
            } else {
                Err(running.output())
            }
        });
        *self.master.borrow_mut() = Some(running);
    }

    /// Kills the Master with no chance to clean up.
    pub fn kill_master(&self) {
        self.master.borrow_mut().take().expect("it runs").kill();
    }

    /// Stops the Master; it has to end with this exit code.
    #[track_caller]
    pub fn stop_master(&self, code: i32) {
        let mut master = self.master.borrow_mut().take().expect("it runs");
        master.signal(Signal::TERM);
        assert_eq!(master.wait(READY), code, "{}", master.output());
    }

    /// A Master and a formatted node.
    pub fn start(&self) {
        self.start_master();
        self.node("format", &[]).ok();
    }

    /// The supervisor's process id, if it runs.
    pub fn supervisor(&self) -> Option<u32> {
        let text = fs::read_to_string(self.path.join("inst/var/run/supervisord.pid")).ok()?;
        let pid = text.trim().parse().ok()?;
        self.processes()
            .iter()
            .any(|process| process.pid == pid)
            .then_some(pid)
    }

    /// Every live process that has to do with the rig.
    pub fn processes(&self) -> Vec<Process> {
        processes_below(&self.path)
    }

    /// Live processes in a partition whose command line contains this.
    pub fn services(&self, partition: &str, command: &str) -> Vec<Process> {
        let directory = self.partition(partition);
        let mut found = self.processes();
        found.retain(|process| {
            process.directory.starts_with(&directory) && process.command.contains(command)
        });
        found
    }

    /// As [`Rig::services`], waiting until there are exactly `count`: a supervisor says that a
    /// program runs before that one has started its own.
    #[track_caller]
    pub fn running(&self, partition: &str, command: &str, count: usize) -> Vec<Process> {
        let what = format!("{count} times `{command}` in {partition}");
        eventually(&what, READY, || {
            let found = self.services(partition, command);
            if found.len() == count {
                Ok(found)
            } else {
                Err(found)
            }
        })
    }

    /// Stops everything as an administrator would; no process may be left.
    #[track_caller]
    pub fn shut_down(&self) {
        if let Some(pid) = self.supervisor() {
            kill(pid, Signal::TERM);
            eventually_some("the supervisor ends", READY, || {
                self.supervisor().is_none().then_some(())
            });
        }
        if self.master.borrow().is_some() {
            self.stop_master(0);
        }
        // One that has just ended may still be listed.
        eventually("no process is left", READY, || {
            let left = self.processes();
            if left.is_empty() { Ok(()) } else { Err(left) }
        });
    }

    /// Keeps the directory when the rig is dropped, for whoever looks into a failure.
    pub fn keep(&self) {
        self.keep.set(true);
    }

    /// All logs, the last part of each.
    pub fn logs(&self) -> String {
        let mut files = Vec::new();
        logs_below(&self.path, &mut files);
        files.sort();
        let mut text = String::new();
        for file in files {
            let content = fs::read(&file).unwrap_or_default();
            let content = String::from_utf8_lossy(&content);
            let from = content.len().saturating_sub(SHOWN);
            let from = (from..=content.len())
                .find(|at| content.is_char_boundary(*at))
                .unwrap_or(0);
            let _ = writeln!(text, "==== {}\n{}", file.display(), &content[from..]);
        }
        text
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "processes of the rig: {:#?}\n{}",
                self.processes(),
                self.logs()
            );
        }
        *self.master.borrow_mut() = None;
        // Whoever is killed may just have started another one.
        for _ in 0..100 {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            for process in left {
                kill(process.pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let Some(directory) = self.directory.take() else {
            return;
        };
        let wanted = std::thread::panicking() && std::env::var_os("SLAPOS_TEST_KEEP").is_some();
        if self.keep.get() || wanted {
            eprintln!("kept: {}", directory.keep().display());
        }
    }
}

/// The reference of every rig's node.
const NODE: &str = "local_computer";

impl Rig {
    /// The reference of the node, typed.
    pub fn node_id(&self) -> NodeId {
        NODE.parse().expect("a reference")
    }
}

pub(crate) fn copy(source: &Path, target: &Path) {
    fs::create_dir_all(target).unwrap_or_else(|error| panic!("{}: {error}", target.display()));
    let entries = fs::read_dir(source);
    for entry in entries.unwrap_or_else(|error| panic!("{}: {error}", source.display())) {
        let from = entry.expect("an entry").path();
        let to = target.join(from.file_name().expect("a name"));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        }
    }
}

fn logs_below(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            let name = entry.file_name();
            if !["eggs", "parts", "bin", "releases"]
                .iter()
                .any(|skipped| name == *skipped)
            {
                logs_below(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "log") {
            files.push(path);
        }
    }
}

/// The caller's name in the user database.
fn user_name() -> String {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&uid.as_str()))
        .map_or_else(|| "root".to_owned(), |fields| fields[0].to_owned())
}
