//! The two that are compared: our programs and the released upstream's.

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
    let directory = match directory {
        Some(directory) => directory,
        None => beside_us("..")?.join("peer"),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peer/setup.py");
    let output = Command::new("python3")
        .arg(&script)
        .arg(&directory)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("starting python3")?;
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
