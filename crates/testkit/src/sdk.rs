//! The native half of the Python SDK, which no test program links.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::rig::copy;
use crate::run::Slapos;

impl Slapos {
    /// The Python SDK as it is after an installation, made in this new directory, which belongs
    /// into `PYTHONPATH`.
    pub fn python_sdk(&self, directory: &Path) {
        copy(&crate::project().join("crates/python/python"), directory);
        let module = directory.join("slapos/slap/_native.abi3.so");
        std::os::unix::fs::symlink(self.python_module(), module).expect("a new file");
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
