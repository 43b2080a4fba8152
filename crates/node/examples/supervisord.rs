//! The supervisor as a program of its own, for the tests: `supervisord <configuration>`.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(configuration) = std::env::args_os().nth(1) else {
        return ExitCode::from(2);
    };
    match supervisor::daemon::run(&PathBuf::from(configuration), true) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
