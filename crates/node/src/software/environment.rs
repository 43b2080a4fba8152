//! The builder's own Python environment: pinned, made on first use, shared by all releases.
//!
//! A virtual environment cannot be moved, so it is made in place under a lock, and counts only when
//! its stamp, written last, is there. What a killed attempt left is thrown away.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use md5::{Digest, Md5};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::builder::BuildError;
use crate::cancel::Cancel;
use crate::child::{self, ChildError, Ended, Spawn};
use crate::config::NodeConfig;
use crate::observer::{Event, Observer};
use crate::safe_fs::{Dir, Durable};
use crate::user::User;

const REQUIREMENTS: &str = include_str!("builder-requirements.txt");

/// Written last: an environment without it is not one.
const STAMP: &str = ".complete";

/// Others read and execute what is installed, nobody but its owner writes it.
const UMASK: u32 = 0o022;

/// Installing takes seconds to minutes; a hanging index must not hold a node for ever.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(1800);

const PYTHON_MIN: (u32, u32) = (3, 9);

/// Printed by a candidate: its version and itself. Fails where virtual environments cannot be made.
/// Links are resolved (`python3` to `python3.11`), so that an upgrade of the system to another
/// Python takes the environment's away instead of changing it silently.
const PROBE: &str = "import os, sys, venv, ensurepip; \
                     print('%d %d %s' % (sys.version_info[0], sys.version_info[1], \
                     os.path.realpath(sys.executable)))";

/// What is installed first, as the rest is built with it.
const TOOLS: &[&str] = &["pip==", "setuptools==", "wheel=="];

/// slapos.core asks for a distribution named `netifaces`, which has no wheel for recent Pythons.
/// netifaces2 provides the same module under another name; this gives it the old one.
const ALIAS: &str = r#"
import os, sysconfig
directory = os.path.join(sysconfig.get_paths()["purelib"], "netifaces-0.11.0.dist-info")
os.makedirs(directory, exist_ok=True)
with open(os.path.join(directory, "METADATA"), "w") as f:
    f.write("Metadata-Version: 2.1\nName: netifaces\nVersion: 0.11.0\n"
            "Summary: alias of netifaces2, which provides the module\n")
"#;

/// The environment, made when somebody first asks for its Python.
pub(super) struct Environment<'a> {
    config: &'a NodeConfig,
    observer: &'a dyn Observer,
    /// Its Python once it is known, or why there is none: tried once per run.
    known: Mutex<Option<Result<PathBuf, String>>>,
}

impl<'a> Environment<'a> {
    pub(super) fn new(config: &'a NodeConfig, observer: &'a dyn Observer) -> Self {
        Environment {
            config,
            observer,
            known: Mutex::new(None),
        }
    }

    /// What makes the environment's Python run buildout.
    pub(super) fn bootstrap_code(&self) -> &'static str {
        "import sys, zc.buildout.buildout; zc.buildout.buildout.main(sys.argv[1:])"
    }

    /// The environment's Python. The first call may take a minute; others wait for it.
    pub(super) fn python(&self, cancel: &Cancel) -> Result<PathBuf, BuildError> {
        let mut known = match self.known.lock() {
            Ok(known) => known,
            Err(poisoned) => poisoned.into_inner(),
        };
        match &*known {
            Some(Ok(python)) => return Ok(python.clone()),
            Some(Err(reason)) => return Err(BuildError::Unusable(reason.clone())),
            None => {}
        }
        let result = self.find_or_make(cancel);
        match &result {
            Ok(python) => *known = Some(Ok(python.clone())),
            Err(BuildError::Cancelled(_)) => {}
            Err(error) => *known = Some(Err(error.summary(20))),
        }
        result
    }

    fn find_or_make(&self, cancel: &Cancel) -> Result<PathBuf, BuildError> {
        let unusable = |error: crate::Error| BuildError::Unusable(error.to_string());
        let user = User::owner_of(&self.config.software_root).map_err(unusable)?;
        let parent = &self.config.builder_directory;
        make_readable_directory(parent, &user)?;
        let directory = parent.join(requirements_hash());
        let python = directory.join("bin/python");
        if is_complete(&directory) {
            return Ok(python);
        }
        let _lock = self.lock(&directory.with_extension("lock"), cancel)?;
        if !is_complete(&directory) {
            self.make(&directory, &user, cancel)?;
        }
        Ok(python)
    }

    /// Waits for whoever makes the same environment now, in this process or another.
    fn lock(&self, path: &Path, cancel: &Cancel) -> Result<File, BuildError> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(path)
            .map_err(BuildError::io("open", path))?;
        let mut told = false;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::WOULDBLOCK) if cancel.is_cancelled() => {
                    return Err(BuildError::Cancelled(
                        "the set-up of the builder".to_owned(),
                    ));
                }
                Err(Errno::WOULDBLOCK) => {
                    if !told {
                        self.step("waiting for another process to set it up");
                        told = true;
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(error) => return Err(BuildError::io("lock", path)(error.into())),
            }
        }
    }

    fn make(&self, directory: &Path, user: &User, cancel: &Cancel) -> Result<(), BuildError> {
        let (parent, name) = (directory.parent(), directory.file_name());
        let (Some(parent), Some(name)) = (parent, name) else {
            return Err(BuildError::Unusable(
                "the builder has no directory".to_owned(),
            ));
        };
        let parent = Dir::open_trusted(parent).map_err(BuildError::io("open", parent))?;
        parent
            .remove_tree(name)
            .map_err(BuildError::io("remove", directory))?;
        let base = self.find_python(user, cancel)?;
        self.step(&format!(
            "creating a Python environment in {}",
            directory.display()
        ));
        self.run(&base, args(["-m", "venv"], [directory]), user, cancel)?;
        let root = Dir::open(directory).map_err(BuildError::io("open", directory))?;
        let owner = (!user.is_us()).then(|| user.ids());
        root.write(
            "requirements.txt",
            REQUIREMENTS.as_bytes(),
            0o644,
            owner,
            Durable::No,
        )
        .map_err(BuildError::io("write requirements.txt in", directory))?;
        let python = directory.join("bin/python");
        let requirements = directory.join("requirements.txt");
        let pip = [
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-input",
            "--no-deps",
        ];
        self.step("installing pip and setuptools");
        let mut first = args(pip, [] as [&Path; 0]);
        first.extend(["--only-binary", ":all:"].map(OsString::from));
        let is_tool = |line: &&str| TOOLS.iter().any(|tool| line.starts_with(tool));
        first.extend(REQUIREMENTS.lines().filter(is_tool).map(OsString::from));
        self.run(&python, first, user, cancel)?;
        self.step("installing zc.buildout and the standard recipes");
        let mut second = args(pip, [] as [&Path; 0]);
        second.extend(["--no-build-isolation", "-r"].map(OsString::from));
        second.push(requirements.into());
        self.run(&python, second, user, cancel)?;
        self.run(&python, args(["-c", ALIAS], [] as [&Path; 0]), user, cancel)?;
        root.write(
            STAMP,
            requirements_hash().as_bytes(),
            0o644,
            owner,
            Durable::Yes,
        )
        .map_err(BuildError::io("write the stamp in", directory))?;
        self.step("ready");
        Ok(())
    }

    fn run(
        &self,
        program: &Path,
        arguments: Vec<OsString>,
        user: &User,
        cancel: &Cancel,
    ) -> Result<(), BuildError> {
        // Not the caller's directory, which the user may not read.
        let mut spawn = Spawn::new(program, Path::new("/"), user).args(arguments);
        spawn.umask = Some(UMASK);
        spawn.timeout = Some(INSTALL_TIMEOUT);
        let observer = self.observer;
        let result = child::run(spawn, cancel, &mut |line| {
            observer.event(&Event::BuilderOutput { line });
        });
        let failed = |output: String| BuildError::Failed {
            title: format!(
                "Failed to set up the builder in '{}' (it needs to reach PyPI once):",
                self.config.builder_directory.display()
            ),
            output,
        };
        match result {
            Ok(ended) if ended.status.success() => Ok(()),
            Ok(ended) => Err(failed(ended.output)),
            Err(ChildError::Cancelled { program }) => Err(BuildError::Cancelled(program)),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// The interpreter to make the environment with: the configured one, or the first suitable in
    /// `PATH`. Asked as the user who builds, since it may be unreadable to them.
    fn find_python(&self, user: &User, cancel: &Cancel) -> Result<PathBuf, BuildError> {
        if let Some(python) = &self.config.builder_python {
            return match probe(python, user, cancel)? {
                Probe::Suitable(python) => Ok(python),
                Probe::Not(reason) => Err(BuildError::Unusable(format!(
                    "{} (option builder_python) cannot build: {reason}",
                    python.display()
                ))),
            };
        }
        let mut reasons = Vec::new();
        for name in CANDIDATES {
            match probe(Path::new(name), user, cancel)? {
                Probe::Suitable(python) => return Ok(python),
                Probe::Not(reason) => reasons.push(format!("  {name}: {reason}")),
            }
        }
        Err(BuildError::Unusable(format!(
            "no suitable Python to build with: version 3.9 to 3.13 with the module venv is needed. \
             On Debian and Ubuntu: apt install python3 python3-venv. \
             Option builder_python names one that is not in PATH. Tried:\n{}",
            reasons.join("\n")
        )))
    }

    fn step(&self, step: &str) {
        self.observer.event(&Event::BuilderSetup { step });
    }
}

/// Where to look, in this order. The system's own comes early: other users can read it.
const CANDIDATES: &[&str] = &[
    "python3",
    "/usr/bin/python3",
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
    "python3.9",
];

enum Probe {
    Suitable(PathBuf),
    Not(String),
}

fn probe(python: &Path, user: &User, cancel: &Cancel) -> Result<Probe, BuildError> {
    let mut spawn = Spawn::new(python, Path::new("/"), user).args(["-c", PROBE]);
    spawn.timeout = Some(Duration::from_secs(30));
    let ended = match child::run(spawn, cancel, &mut |_| {}) {
        Ok(ended) => ended,
        Err(ChildError::Cancelled { program }) => return Err(BuildError::Cancelled(program)),
        Err(ChildError::Start { source, .. }) => return Ok(Probe::Not(source.to_string())),
        Err(error) => return Ok(Probe::Not(error.to_string())),
    };
    Ok(judge(&ended))
}

fn judge(ended: &Ended) -> Probe {
    let last = ended.output.trim_end().lines().next_back().unwrap_or("");
    if !ended.status.success() {
        let reason = if last.contains("ensurepip") || last.contains("venv") {
            "it lacks the module venv or ensurepip (package python3-venv)"
        } else {
            last
        };
        return Probe::Not(reason.to_owned());
    }
    let mut words = last.splitn(3, ' ');
    let version = (
        words.next().and_then(|word| word.parse().ok()),
        words.next().and_then(|word| word.parse().ok()),
    );
    match (version, words.next()) {
        ((Some(major), Some(minor)), Some(path)) if (major, minor) >= PYTHON_MIN => {
            Probe::Suitable(PathBuf::from(path))
        }
        ((Some(major), Some(minor)), _) => Probe::Not(format!(
            "it is version {major}.{minor}, at least 3.9 is needed"
        )),
        _ => Probe::Not(format!("it answered {last:?}")),
    }
}

fn args<P: Into<OsString>, const N: usize>(
    words: [&str; N],
    paths: impl IntoIterator<Item = P>,
) -> Vec<OsString> {
    let words = words.into_iter().map(OsString::from);
    words.chain(paths.into_iter().map(Into::into)).collect()
}

/// Which requirements an environment was made from.
fn requirements_hash() -> String {
    let digest = Md5::digest(REQUIREMENTS.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the stamp is there and its Python still exists: a system upgrade may have taken it away.
fn is_complete(directory: &Path) -> bool {
    directory.join(STAMP).exists() && directory.join("bin/python").exists()
}

fn make_readable_directory(path: &Path, user: &User) -> Result<(), BuildError> {
    if path.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path).map_err(BuildError::io("create", path))?;
    let fail = |error: Errno| BuildError::io("prepare", path)(error.into());
    rustix::fs::chmod(path, rustix::fs::Mode::from_raw_mode(0o755)).map_err(fail)?;
    if !user.is_us() {
        let (uid, gid) = user.ids();
        rustix::fs::chown(path, Some(uid), Some(gid)).map_err(fail)?;
    }
    Ok(())
}
