//! The system's own programs that format uses: iproute2 for the network, the shadow tools for users.
//!
//! They are used, and not netlink and `/etc/passwd` directly, because they do more than the obvious:
//! the shadow tools lock the files against each other, keep `/etc/shadow`, `/etc/gshadow` and
//! subordinate ids in step, write the audit log and know the distribution's number ranges; `ip`
//! speaks to every kernel. An administrator can type each step by hand.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::outcome::Error;

/// Where they are; the caller's own PATH may lack the directories for root.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Checks that these programs are there, before anything is done.
pub(crate) fn require(programs: &[&str]) -> Result<(), Error> {
    let is_there = |program: &&str| {
        PATH.split(':')
            .any(|directory| Path::new(directory).join(program).is_file())
    };
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|program| !is_there(program))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let package = if missing.contains(&"ip") {
        "`ip` comes with iproute2"
    } else {
        "they come with the package passwd (Debian) or shadow-utils"
    };
    Err(Error::Refused(format!(
        "not installed: {}; {package}; install it, or set `alter_user = false` and \
         `alter_network = false` in [slapformat] to do without",
        missing.join(", ")
    )))
}

/// Runs a program to its end and gives what it printed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String, Error> {
    let shown = || format!("{program} {}", arguments.join(" "));
    tracing::debug!("{}", shown());
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .current_dir("/")
        .output()
        .map_err(|error| {
            Error::Refused(match error.kind() {
                ErrorKind::NotFound => format!("the program `{program}` is not installed"),
                _ => format!("cannot run `{}`: {error}", shown()),
            })
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<&str> = said.lines().take(5).map(str::trim).collect();
        return Err(Error::Refused(format!(
            "`{}` failed: {}",
            shown(),
            if said.is_empty() {
                output.status.to_string()
            } else {
                said.join("; ")
            }
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
