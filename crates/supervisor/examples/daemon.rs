//! The daemon as a program of its own: what the tests start, and a way to try it by hand.
//!
//! `daemon CONFIG [--nodaemon]`

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let Some(config) = args.next() else {
        return ExitCode::from(2);
    };
    let nodaemon = args.next().is_some_and(|a| a == "--nodaemon");
    match supervisor::daemon::run(config.as_ref(), nodaemon) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "it is a program")]
            {
                eprintln!("{error}");
            }
            ExitCode::FAILURE
        }
    }
}
