//! The way to a Master's administration.

use std::io::{IsTerminal, Read};
use std::path::Path;

use master::admin::{Admin, Answer, Command, Refused, RefusedKind, Secret};
use master::{Given, Settings};
use slap::config::Config;

use crate::args::master::Which;
use crate::args::master::start::DATA_DIR;
use crate::failure::{Code, Failure};
use crate::settings;

/// The longest password that is read, in bytes; the Master says what it thinks of it.
const PASSWORD_MAX: u64 = 4096;

/// Which Master is meant.
pub(super) fn settings_of(which: &Which) -> Result<Settings, Failure> {
    let config = match &which.cfg {
        Some(file) => settings::read(&settings::expand_home(file))?,
        None => Config::default(),
    };
    let given = Given {
        data_dir: which.data_dir.as_deref().map(settings::expand_home),
        database: which.database.clone(),
        ..Given::default()
    };
    Settings::resolve(&given, &config, Path::new(DATA_DIR)).map_err(|error| Failure::of(&error))
}

/// Finds the Master.
pub(super) fn connect(which: &Which) -> Result<Admin, Failure> {
    Ok(Admin::connect(&settings_of(which)?)?)
}

/// Asks a Master one thing.
pub(super) fn ask(which: &Which, command: &Command) -> Result<Answer, Failure> {
    Ok(connect(which)?.call(command)?)
}

/// A password from stdin: its first line.
pub(super) fn password_of_stdin(wanted: bool) -> Result<Option<Secret>, Failure> {
    if !wanted {
        return Ok(None);
    }
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::new(
            "--stdin reads a password from a pipe or a file, not from a terminal",
        )
        .hint("leave it out: a link to set the password is printed instead")
        .code(Code::Usage));
    }
    let mut text = String::new();
    stdin.lock().take(PASSWORD_MAX).read_to_string(&mut text)?;
    Ok(Some(Secret(
        text.lines().next().unwrap_or_default().to_owned(),
    )))
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let failure = Failure::new(&refused);
        match refused.kind {
            RefusedKind::NotFound | RefusedKind::Invalid => failure.code(Code::Usage),
            RefusedKind::Forbidden => failure.code(Code::Refused),
            RefusedKind::Conflict | RefusedKind::Failed => failure,
        }
    }
}
