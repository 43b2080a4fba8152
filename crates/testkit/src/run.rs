//! Running programs, and keeping what they said.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::kill;
use crate::wait::eventually_some;

/// The longest any command of a test may take. Only a hang takes that long.
const DEADLINE: Duration = Duration::from_secs(240);

/// What a program keeps of the caller's environment: what reaches PyPI, and where programs are.
const KEPT: &[&str] = &[
    "PATH",
    "LANG",
    "LC_ALL",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "LD_LIBRARY_PATH",
];
const KEPT_PREFIXES: &[&str] = &["PIP_", "UV_", "PYENV_"];

/// Another user, for programs that refuse to work as root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unprivileged {
    /// Its name in the user database.
    pub name: String,
    /// Its id.
    pub uid: u32,
    /// The id of its group.
    pub gid: u32,
}

impl Unprivileged {
    /// The user to become when the tests run as root; nobody to become otherwise.
    pub fn when_root() -> Option<Unprivileged> {
        crate::is_root().then(|| Unprivileged {
            name: "nobody".to_owned(),
            uid: 65_534,
            gid: 65_534,
        })
    }
}

/// A program to run with a home, a working directory and an environment of its own.
#[derive(Debug, Clone)]
pub struct Invocation {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    home: PathBuf,
    directory: PathBuf,
    user: Option<Unprivileged>,
}

impl Invocation {
    /// A program whose home and working directory are `home`.
    pub fn new(program: impl Into<PathBuf>, home: impl Into<PathBuf>) -> Self {
        let home = home.into();
        Invocation {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: home.clone(),
            home,
            user: None,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    pub fn args<I: IntoIterator>(mut self, arguments: I) -> Self
    where
        I::Item: Into<OsString>,
    {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Runs it in another directory.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// Runs it as another user.
    pub fn user(mut self, user: Option<Unprivileged>) -> Self {
        self.user = user;
        self
    }

    /// Runs it through another program, which takes it as its last arguments.
    pub fn through<'a>(mut self, wrapper: impl IntoIterator<Item = &'a str>) -> Self {
        let mut words = wrapper.into_iter().map(OsString::from);
        if let Some(first) = words.next() {
            let program = std::mem::replace(&mut self.program, first.into());
            let rest = std::mem::take(&mut self.arguments);
            self.arguments = words
                .chain([program.into_os_string()])
                .chain(rest)
                .collect();
        }
        self
    }

    /// Ctrl-C reaches it also where the tests themselves were started to ignore it, as a shell starts
    /// what it puts into the background.
    pub fn hearing_ctrl_c(self) -> Self {
        self.through(["env", "--default-signal=INT"])
    }

    /// The command, isolated from the caller's own settings.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| is_kept(name)))
            .env("HOME", &self.home)
            .env("TERM", "dumb")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .stdin(Stdio::null());
        if let Some(user) = &self.user {
            command.uid(user.uid).gid(user.gid).env("USER", &user.name);
        }
        command
    }

    pub(crate) fn title(&self) -> String {
        let words = self.arguments.iter().map(|word| word.to_string_lossy());
        std::iter::once(self.program.to_string_lossy())
            .chain(words)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs it to its end.
    pub fn run(&self) -> Run {
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", self.title()));
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        let status = wait(&mut child, DEADLINE);
        if status.is_none() {
            let _ = child.kill();
        }
        // A background process may have kept the pipes open; then there is nothing more to read
        // than what it says.
        let run = Run {
            command: self.title(),
            status: status.unwrap_or_else(|| child.wait().expect("a child of ours")),
            stdout: read(&stdout),
            stderr: read(&stderr),
        };
        assert!(
            status.is_some(),
            "not finished after {} s: {run}",
            DEADLINE.as_secs()
        );
        run
    }

    /// Starts it; what it says goes to this file.
    pub fn start(&self, log: &Path) -> Running {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", log.display()));
        let child = self
            .command()
            .stdout(file.try_clone().expect("a descriptor"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.title()));
        Running {
            title: self.title(),
            child,
            log: log.to_owned(),
        }
    }
}

fn is_kept(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    KEPT.contains(&name.as_ref()) || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

type Collected = std::sync::mpsc::Receiver<Vec<u8>>;

fn collect(pipe: Option<impl Read + Send + 'static>) -> Collected {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut pipe = pipe.expect("the output is a pipe");
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Everything up to the end of the pipe, or up to a pause when somebody else holds it open.
fn read(pieces: &Collected) -> String {
    let mut text = Vec::new();
    while let Ok(piece) = pieces.recv_timeout(Duration::from_secs(3)) {
        text.extend(piece);
    }
    String::from_utf8_lossy(&text).into_owned()
}

pub(crate) fn wait(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return Some(status);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// What a program did.
#[derive(Clone)]
pub struct Run {
    command: String,
    status: ExitStatus,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

impl Run {
    /// Its exit code, or 128 + the signal that ended it.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Asserts that it succeeded.
    #[track_caller]
    pub fn ok(self) -> Run {
        self.exits(0)
    }

    /// Asserts its exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Run {
        assert!(self.code() == code, "expected exit code {code}: {self}");
        self
    }

    /// Asserts that its standard output, or its standard error, contains this.
    #[track_caller]
    pub fn says(self, text: &str) -> Run {
        assert!(
            self.stdout.contains(text) || self.stderr.contains(text),
            "does not say {text:?}: {self}"
        );
        self
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is no JSON ({error}): {self}"))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code();
        writeln!(f, "{}\nexit code {code}", self.command)?;
        writeln!(
            f,
            "--- stdout\n{}\n--- stderr\n{}\n---",
            self.stdout, self.stderr
        )
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A program that goes on. It is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    title: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said so far.
    pub fn output(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// Kills it with no chance to clean up, and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end; its exit code, or 128 + the signal that ended it.
    pub fn wait(&mut self, deadline: Duration) -> i32 {
        match wait(&mut self.child, deadline) {
            Some(status) => status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            None => panic!(
                "{} still runs after {} s:\n{}",
                self.title,
                deadline.as_secs(),
                self.output()
            ),
        }
    }

    /// Waits until it has said this; everything it said by then.
    pub fn wait_for_output(&mut self, text: &str, deadline: Duration) -> String {
        let what = format!("{} says {text:?}", self.title);
        eventually_some(&what, deadline, || {
            let alive = self.is_running();
            let output = self.output();
            assert!(
                alive || output.contains(text),
                "{} ended without saying {text:?}:\n{output}",
                self.title
            );
            output.contains(text).then_some(output)
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program under test.
#[derive(Debug, Clone)]
pub struct Slapos {
    /// Where it is; integration tests know it as `CARGO_BIN_EXE_slapos`.
    pub path: PathBuf,
}

impl Slapos {
    /// The program at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Slapos { path: path.into() }
    }

    /// The program with arguments, with this home.
    pub fn invoke<I: IntoIterator>(&self, home: &Path, arguments: I) -> Invocation
    where
        I::Item: Into<OsString>,
    {
        Invocation::new(&self.path, home).args(arguments)
    }

    /// Where cargo builds: two levels above the program.
    pub fn target_directory(&self) -> PathBuf {
        self.path
            .ancestors()
            .nth(2)
            .expect("the program is in target/<profile>/")
            .to_path_buf()
    }
}
