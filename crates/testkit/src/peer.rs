//! The released upstream, installed from PyPI.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::rig::Rig;
use crate::run::{Invocation, Run};

/// Where the released `slapos.core` is.
///
/// It is installed once per machine, in `target/peer` or where `SLAPOS_PEER_DIR` says, by
/// `tests/peer/setup.py`.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its `slapos` with the client's commands and `proxy`: the latest release.
    pub client: PathBuf,
    /// Its `slapos` with the node's commands: the latest release that has them on this Python.
    pub node: PathBuf,
}

impl Peer {
    /// Installs it if needed. `None` when the tests shall do without the network
    /// (`SLAPOS_TEST_OFFLINE=1`) and it is not there; a test then has nothing to test.
    pub fn get(rig: &Rig) -> Option<Peer> {
        Peer::below(&rig.program().target_directory())
    }

    /// As [`Peer::get`], for tests without a rig: `target` is where Cargo builds.
    pub fn below(target: &Path) -> Option<Peer> {
        static PEER: OnceLock<Result<Peer, String>> = OnceLock::new();
        let found = PEER.get_or_init(|| install(target));
        match found {
            Ok(peer) => Some(peer.clone()),
            Err(reason) if std::env::var("SLAPOS_TEST_OFFLINE").as_deref() == Ok("1") => {
                eprintln!("SKIPPED: the upstream peer cannot be installed: {reason}");
                None
            }
            Err(reason) => panic!(
                "the upstream peer cannot be installed \
                 (SLAPOS_TEST_OFFLINE=1 skips these tests): {reason}"
            ),
        }
    }

    /// Its command line with these arguments, with the rig's configurations.
    pub fn slapos(&self, rig: &Rig, arguments: &[&str]) -> Invocation {
        rig.invoke(&self.client).args(arguments)
    }

    /// `slapos node …` with these arguments, with the rig's configurations.
    pub fn node(&self, rig: &Rig, arguments: &[&str]) -> Invocation {
        rig.invoke(&self.node).arg("node").args(arguments)
    }

    /// The Python its node runs with.
    pub fn node_python(&self) -> PathBuf {
        self.node.with_file_name("python")
    }

    /// The directory of the released `slapos.toolbox`, whose promise plugins releases use; put
    /// before everything else on Python's path, together with [`Peer::packages`]. `None` as for
    /// [`Peer::get`].
    pub fn toolbox(&self) -> Option<PathBuf> {
        let directory = self.packages().join("../../../toolbox-0.170-dateutil");
        let done = directory.join("slapos/promise/plugin/check_url_available.py");
        // Without what it asks for: its plugins need little of that, and that little is there.
        let installed = done.exists() || {
            let partial = directory.with_extension(std::process::id().to_string());
            let status = Command::new(self.node_python())
                .args([
                    "-m",
                    "pip",
                    "--disable-pip-version-check",
                    "--no-input",
                    "-q",
                    "install",
                ])
                .args(["--no-deps", "--no-build-isolation", "--target"])
                .arg(&partial)
                .args(["slapos.toolbox==0.170", "python-dateutil==2.9.0.post0"])
                .status()
                .expect("the peer's Python runs");
            // Somebody else may have been faster.
            let _ = fs::rename(&partial, &directory);
            let _ = fs::remove_dir_all(&partial);
            status.success()
        };
        if !installed && std::env::var("SLAPOS_TEST_OFFLINE").as_deref() == Ok("1") {
            eprintln!("SKIPPED: slapos.toolbox cannot be installed");
            return None;
        }
        assert!(installed, "slapos.toolbox cannot be installed");
        Some(directory.canonicalize().expect("it is there"))
    }

    /// Where the packages of its node's Python are.
    pub fn packages(&self) -> PathBuf {
        let output = Command::new(self.node_python())
            .args([
                "-c",
                "import sysconfig; print(sysconfig.get_paths()['purelib'])",
            ])
            .output()
            .expect("the peer's Python runs");
        String::from_utf8_lossy(&output.stdout).trim().into()
    }

    /// Runs a Python program with its library. The rig's Master is in the variable `MASTER_URL`.
    pub fn python(&self, rig: &Rig, program: &str) -> Run {
        let python = self.client.with_file_name("python");
        rig.invoke(&python)
            .env("MASTER_URL", rig.master_url())
            .args(["-W", "ignore", "-c", program])
            .run()
    }
}

fn install(target: &Path) -> Result<Peer, String> {
    // Upstream's node refuses to work as root: whom it becomes has to be able to read it.
    let (directory, python) = if crate::is_root() {
        let public = is_public(target);
        let directory = if public {
            target.join("peer-public")
        } else {
            PathBuf::from("/var/tmp/slapos-peer")
        };
        (directory, public_python())
    } else {
        (target.join("peer"), PathBuf::from("python3"))
    };
    let directory = std::env::var_os("SLAPOS_PEER_DIR").map_or(directory, PathBuf::from);
    let output = Command::new(&python)
        .arg(crate::project().join("tests/peer/setup.py"))
        .arg(&directory)
        .output()
        .map_err(|error| format!("{}: {error}", python.display()))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{stdout}{stderr}"));
    }
    let last = stdout.trim_end().lines().last().unwrap_or_default();
    let places: serde_json::Value =
        serde_json::from_str(last).map_err(|error| format!("{error}: {stdout}"))?;
    let place = |name: &str| {
        places[name]
            .as_str()
            .map(PathBuf::from)
            .ok_or_else(|| format!("no {name} in {last}"))
    };
    Ok(Peer {
        client: place("client")?,
        node: place("node")?,
    })
}

/// Whether everybody may reach this directory.
fn is_public(path: &Path) -> bool {
    path.ancestors().all(|ancestor| {
        fs::metadata(ancestor).is_ok_and(|metadata| metadata.permissions().mode() & 0o005 == 0o005)
    })
}

/// A Python everybody may run.
fn public_python() -> PathBuf {
    let system = PathBuf::from("/usr/bin/python3");
    if system.exists() {
        system
    } else {
        PathBuf::from("python3")
    }
}
