//! The `slapos` command: arguments in, calls, tables and JSON out. No rules live here.
//!
//! `args` says what may be typed, `commands` does one thing per command, `failure` turns every
//! error into one line, a hint and an exit code.

mod apply;
mod args;
mod commands;
mod completion;
mod console;
mod contexts;
mod document;
mod enrol;
mod failure;
mod help;
mod interrupt;
mod log;
mod output;
mod parameters;
mod progress;
mod settings;
mod standalone;
mod usage;

use std::process::ExitCode;

use clap::FromArgMatches;

use args::Arguments;
use failure::Failure;

fn main() -> ExitCode {
    completion::answer_if_asked();
    // The help, too, is coloured as the command line says, so it is looked at first.
    output::use_colors(usage::color_of_line());
    let arguments = match help::command()
        .try_get_matches()
        .and_then(|mut matches| Arguments::from_arg_matches_mut(&mut matches))
    {
        Ok(arguments) => arguments,
        Err(error) => return usage::explain(&error),
    };
    if let Err(failure) = log::start(
        &arguments.global,
        commands::configured_log_file(&arguments.command),
    ) {
        return failure.report(0);
    }
    match commands::run(arguments.command, &arguments.global) {
        Ok(code) => code,
        Err(failure) => failure.report(arguments.global.verbose),
    }
}

/// What every command returns: its exit code, or why it could not do its work.
type CommandResult = Result<ExitCode, Failure>;
