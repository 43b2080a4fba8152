//! The native half of the Python SDK, which no test program links.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::rig::copy;
use crate::run::Slapos;

/// The version the tests know.
const MATURIN: &str = "maturin==1.16.0";

impl Slapos {
    /// The Python SDK as it is after an installation, made in this new directory, which belongs
    /// into `PYTHONPATH`.
    pub fn python_sdk(&self, directory: &Path) {
        copy(&crate::project().join("crates/python/python"), directory);
        let module = directory.join("slapos/slap/_native.abi3.so");
        std::os::unix::fs::symlink(self.python_module(), module).expect("a new file");
    }

    /// Builds the wheel of the Python SDK with maturin, from PyPI, in this directory. `None` when
    /// the tests shall do without the network (`SLAPOS_TEST_OFFLINE=1`).
    pub fn python_wheel(&self, directory: &Path) -> Option<PathBuf> {
        if std::env::var("SLAPOS_TEST_OFFLINE").as_deref() == Ok("1") {
            eprintln!("SKIPPED: maturin is on PyPI");
            return None;
        }
        // What maturin compiles differs from what cargo does by a flag: beside each other they
        // would compile it again and again, so it has its own copy of what is the same.
        self.python_module();
        let target = self.target_directory().join("wheel");
        let environment = target.join("maturin");
        let here = self.path.parent().expect("the program is in a directory");
        if !target.exists() {
            let copy = target.join("debug");
            std::fs::create_dir_all(&copy).expect("a new directory");
            let same = ["deps", "build", ".fingerprint"].map(|name| here.join(name));
            run(Command::new("cp").arg("-al").args(same).arg(copy));
        }
        if !environment.exists() {
            run(Command::new("python3")
                .args(["-m", "venv"])
                .arg(&environment));
        }
        let program = |name: &str| Command::new(environment.join("bin").join(name));
        let install = ["install", "-q", "--disable-pip-version-check", MATURIN];
        run(program("pip").args(install));
        run(program("maturin")
            .args(["build", "--locked", "--profile", "dev", "--target-dir"])
            .arg(target)
            .arg("--out")
            .arg(directory)
            .args(["-m", "crates/python/Cargo.toml"])
            .current_dir(crate::project()));
        let mut made = std::fs::read_dir(directory).expect("maturin made it");
        Some(made.next().expect("a wheel").expect("an entry").path())
    }

    /// Builds the native module of the Python SDK beside the program, where `slapos console` finds
    /// it; answers the module.
    pub fn python_module(&self) -> PathBuf {
        static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
        let directory = self.path.parent().expect("the program is in a directory");
        let profile = match directory.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(name) => name,
        };
        BUILT
            .get_or_init(|| build(profile, &self.target_directory()))
            .as_ref()
            .unwrap_or_else(|error| panic!("the Python module cannot be built: {error}"));
        directory.join(format!(
            "{}slapos_native{}",
            std::env::consts::DLL_PREFIX,
            std::env::consts::DLL_SUFFIX
        ))
    }
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn build(profile: &str, target: &Path) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--package", "python"])
        .args(["--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(crate::project())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
