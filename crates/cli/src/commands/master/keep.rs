//! `slapos master audit|backup|restore|upgrade|check`.

use std::path::Path;
use std::process::ExitCode;

use master::admin::{Answer, Command, Event, Problem, unexpected};
use master::store::{RestoreError, SCHEMA_VERSION, restore as restore_backup};
use serde_json::json;

use super::connect::{ask, connect, settings_of};
use super::show::{self, moment};
use crate::args::OutputFormat;
use crate::args::master::Plain;
use crate::args::master::keep::{Audit, Backup, Check, Restore};
use crate::failure::{Code, Failure};
use crate::{CommandResult, output};

pub(super) fn audit(arguments: Audit) -> CommandResult {
    let command = Command::Audit {
        project: arguments.project,
        subject: arguments.subject,
        actor: arguments.actor,
        limit: arguments.limit,
    };
    match ask(&arguments.which, &command)? {
        Answer::Audit(events) => show::list(
            &events,
            &arguments.printed,
            "Nothing was changed.",
            &["WHEN", "WHO", "WHAT", "SUBJECT", "PROJECT", "DETAIL"],
            |event: &Event| {
                let detail = match &event.detail {
                    serde_json::Value::Object(members) if members.is_empty() => String::new(),
                    other => other.to_string(),
                };
                vec![
                    moment(event.at),
                    event.actor.clone(),
                    event.action.clone(),
                    event.subject.clone(),
                    event.project.clone().unwrap_or_default(),
                    detail,
                ]
            },
        ),
        other => Err(unexpected(&other).into()),
    }
}

pub(super) fn backup(arguments: &Backup) -> CommandResult {
    let file = crate::settings::expand_home(&arguments.file);
    let bytes = connect(&arguments.which)?.backup(&file, arguments.with_secret)?;
    tracing::info!(
        "{} holds all that was acknowledged until now ({bytes} bytes)",
        file.display()
    );
    if arguments.with_secret {
        tracing::info!("whoever has it has the Master: it holds secret.key");
    } else {
        tracing::info!("keep a copy of secret.key elsewhere: without it the backup cannot be used");
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn restore(arguments: &Restore) -> CommandResult {
    let settings = settings_of(&arguments.which)?;
    let key = arguments
        .secret_key
        .as_deref()
        .map(secret_key)
        .transpose()?;
    let restored = restore_backup(
        &crate::settings::expand_home(&arguments.file),
        key,
        &settings.data_dir,
        &settings.database,
        arguments.anyway,
    );
    let restored = match restored {
        Ok(restored) => restored,
        Err(RestoreError::Contradictions(found)) => {
            let problems: Vec<Problem> = found.into_iter().map(Problem::from).collect();
            tell(&problems, arguments.printed.output)?;
            return Err(Failure::new(format!(
                "the backup holds {} contradictions; nothing was restored",
                problems.len()
            ))
            .hint("with --anyway it is restored as it is"));
        }
        Err(error) => {
            let failure = Failure::of(&error);
            return Err(match error {
                RestoreError::NotEmpty { .. } => {
                    failure.hint("give another --data-dir (and --database)")
                }
                RestoreError::NoSecret { .. } => failure.code(Code::Usage),
                _ => failure,
            });
        }
    };
    let problems: Vec<Problem> = restored
        .contradictions
        .into_iter()
        .map(Problem::from)
        .collect();
    match output::format(arguments.printed.output) {
        Some(OutputFormat::Table) => {
            if !problems.is_empty() {
                tell(&problems, arguments.printed.output)?;
            }
            let of = match restored.taken_at {
                Some(at) => format!("The backup of {}", moment(at.0)),
                None => "The database".to_owned(),
            };
            output::print(&format!(
                "{of} is restored into {}.\n\
                 One-time tokens and signed-in browsers were not restored. What happened after the \
                 backup is not known any more: certificates made since are refused, those revoked \
                 since are good again.\n\
                 Start the Master with `slapos master start --data-dir {}`.",
                settings.database,
                settings.data_dir.display()
            ))?;
        }
        asked => show::json(
            &json!({
                "taken_at": restored.taken_at.map(|at| at.0),
                "schema": restored.schema,
                "problems": problems,
            }),
            asked,
        )?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The content of a Master's `secret.key`.
fn secret_key(path: &Path) -> Result<[u8; 32], Failure> {
    let path = crate::settings::expand_home(path);
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    let digits = text.trim();
    let wrong = || {
        Failure::new(format!(
            "{} is no secret.key of a Master: it should hold 64 hexadecimal digits",
            path.display()
        ))
        .code(Code::Usage)
    };
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut key = [0; 32];
    for (byte, at) in key.iter_mut().zip((0..64).step_by(2)) {
        let pair = digits.get(at..at + 2).ok_or_else(wrong)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
    }
    Ok(key)
}

pub(super) fn upgrade(arguments: &Plain) -> CommandResult {
    let mut admin = connect(&arguments.which)?;
    match admin.call(&Command::Ping)? {
        Answer::Done(theirs) if admin.is_running() => {
            if theirs != format!("schema {SCHEMA_VERSION}") {
                return Err(Failure::new(format!(
                    "the Master that runs works with {theirs}, this program with schema \
                     {SCHEMA_VERSION}"
                ))
                .hint("back it up, stop it, and start this program: it upgrades the database"));
            }
            output::print(&format!(
                "{theirs} is up to date: the Master that runs uses it"
            ))?;
        }
        // Opening it brought it up to date.
        Answer::Done(theirs) => output::print(&format!("{theirs} is up to date"))?,
        other => return Err(unexpected(&other).into()),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn check(arguments: &Check) -> CommandResult {
    match ask(&arguments.which, &Command::Check)? {
        Answer::Problems(problems) => {
            tell(&problems, arguments.output)?;
            Ok(if problems.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        other => Err(unexpected(&other).into()),
    }
}

/// One line for each contradiction.
fn tell(problems: &[Problem], asked: Option<OutputFormat>) -> Result<(), Failure> {
    match asked {
        Some(format) if format != OutputFormat::Table => show::json(&problems, asked)?,
        _ if problems.is_empty() => output::print("No contradiction was found.")?,
        _ => {
            for problem in problems {
                output::print(&format!(
                    "{}: {} (rule: {})",
                    problem.subject, problem.problem, problem.rule
                ))?;
            }
        }
    }
    Ok(())
}
