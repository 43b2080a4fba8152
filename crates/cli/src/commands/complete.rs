//! `slapos complete`: what a shell needs to complete the lines of this program.

use std::process::ExitCode;

use clap_complete::env::Shells;

use crate::CommandResult;
use crate::args::Complete;
use crate::failure::{Code, Failure};

pub(crate) fn run(arguments: &Complete) -> CommandResult {
    let shell = arguments.shell().to_string();
    let shells = Shells::builtins();
    let completer = shells
        .completer(&shell)
        .ok_or_else(|| Failure::new(format!("no completion for {shell}")).code(Code::Usage))?;
    let mut script = Vec::new();
    completer.write_registration(
        "COMPLETE",
        &arguments.name,
        &arguments.name,
        &arguments.name,
        &mut script,
    )?;
    let text = String::from_utf8(script).map_err(|error| Failure::of(&error))?;
    crate::output::print(text.trim())?;
    Ok(ExitCode::SUCCESS)
}
