//! Which Python is the user's.

use std::env;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::Failure;

/// `$SLAPOS_PYTHON`, an active virtual environment's, then the one in `PATH`.
pub(crate) fn command() -> Command {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(named) = variable("SLAPOS_PYTHON") {
        return Command::new(crate::settings::expand_home(&PathBuf::from(named)));
    }
    let active = variable("VIRTUAL_ENV")
        .map(|environment| PathBuf::from(environment).join("bin/python3"))
        .filter(|python| python.is_file());
    Command::new(active.unwrap_or_else(|| PathBuf::from("python3")))
}

/// Why it could not be started.
pub(crate) fn failure(python: &Command, error: &io::Error) -> Failure {
    let name = python.get_program().to_string_lossy();
    let said = match error.kind() {
        io::ErrorKind::NotFound => format!("there is no `{name}` here, which the console runs in"),
        _ => format!("cannot start `{name}`, which the console runs in: {error}"),
    };
    Failure::new(said)
        .hint("install Python 3.9 or newer, or name one in the variable SLAPOS_PYTHON")
}
