//! The two that are compared: our programs and the released upstream's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::failure::{Context, Failure};

/// One implementation: its programs.
pub(crate) struct Peer {
    /// A word for directory names and messages.
    pub(crate) name: &'static str,
    /// The `slapos` that has the client's commands and `proxy start`.
    pub(crate) client: PathBuf,
    /// The `slapos` that has the node's commands.
    pub(crate) node: PathBuf,
    /// For the report.
    pub(crate) description: String,
}

/// Ours, built by `cargo build --release -p cli`.
pub(crate) fn ours(program: Option<PathBuf>) -> Result<Peer, Failure> {
    let program = match program {
        Some(program) => program,
        None => beside_us("slapos")?,
    };
    if !program.is_file() {
        return Err(Failure::new(format!(
            "{} does not exist; build it with `cargo build --release -p cli`",
            program.display()
        )));
    }
    let description = format!("{} (release build)", version(&program)?);
    Ok(Peer {
        name: "ours",
        client: program.clone(),
        node: program,
        description,
    })
}

/// The released upstream, installed from PyPI by the script the interoperability tests use.
pub(crate) fn upstream(directory: Option<PathBuf>) -> Result<Peer, Failure> {
    let target = beside_us("..")?;
    // As root, upstream's node has to become somebody else, who must be able to read it.
    let root = rustix::process::geteuid().is_root();
    let directory = match directory {
        Some(directory) => directory,
        None if !root => target.join("peer"),
        None if is_public(&target) => target.join("peer-public"),
        None => PathBuf::from("/var/tmp/slapos-peer"),
    };
    let system = "/usr/bin/python3";
    let python = if root && Path::new(system).exists() {
        system
    } else {
        "python3"
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peer/setup.py");
    let output = Command::new(python)
        .arg(&script)
        .arg(&directory)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context(format_args!("starting {python}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(Failure::new(format!(
            "the upstream peer could not be installed in {} ({}); measure without it: --ours-only\n{said}",
            directory.display(),
            output.status
        )));
    }
    #[derive(Deserialize)]
    struct Programs {
        client: PathBuf,
        node: PathBuf,
    }
    let last = said.lines().next_back().unwrap_or_default();
    let programs: Programs = serde_json::from_str(last)
        .context(format_args!("reading what {} printed", script.display()))?;
    let description = format!(
        "Master and client: {}; node: {}",
        version(&programs.client)?,
        version(&programs.node)?
    );
    Ok(Peer {
        name: "upstream",
        client: programs.client,
        node: programs.node,
        description,
    })
}

/// Whether everybody may read this file, or enter this directory.
pub(crate) fn is_public(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else {
        return false;
    };
    path.ancestors().all(|ancestor| {
        fs::metadata(ancestor).is_ok_and(|metadata| metadata.permissions().mode() & 0o005 == 0o005)
    })
}

fn version(program: &Path) -> Result<String, Failure> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .context(format_args!("starting {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && !said.is_empty() {
        return Ok(said);
    }
    Err(Failure::new(format!(
        "`{} --version` does not work",
        program.display()
    )))
}

/// A path in the directory of this program.
fn beside_us(name: &str) -> Result<PathBuf, Failure> {
    let me = std::env::current_exe().context("finding the benchmark program")?;
    Ok(me.parent().unwrap_or(Path::new("/")).join(name))
}
