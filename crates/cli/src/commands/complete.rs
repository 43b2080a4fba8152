//! `slapos complete`: the completion script of a shell.

use std::process::ExitCode;

use clap::CommandFactory;

use crate::CommandResult;
use crate::args::{Arguments, Complete};
use crate::failure::Failure;

pub(crate) fn run(arguments: &Complete) -> CommandResult {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut Arguments::command(),
        "slapos",
        &mut script,
    );
    let text = String::from_utf8(script).map_err(|error| Failure::of(&error))?;
    crate::output::print(text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}
