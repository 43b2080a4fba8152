//! `slapos master user|project|token|certificate|ca`.

use std::process::ExitCode;

use master::admin::{Answer, Command, OneTime, unexpected};
use serde_json::json;

use super::connect::{ask, password_of_stdin};
use super::show::{self, moment, yes};
use crate::args::OutputFormat;
use crate::args::master::people::{
    Ca, Certificate, Member, Project, Purpose, RoleName, Token, User,
};
use crate::args::master::{Listing, Printed};
use crate::{CommandResult, output};

pub(super) fn user(command: User) -> CommandResult {
    match command {
        User::Add(arguments) => {
            let password = password_of_stdin(arguments.stdin)?;
            let command = Command::UserAdd {
                login: arguments.login,
                name: arguments.name,
                administrator: arguments.administrator,
                password,
            };
            added(&ask(&arguments.which, &command)?, &arguments.printed)
        }
        User::List(arguments) => users(&arguments),
        User::Disable(arguments) => show::done(&ask(
            &arguments.which,
            &Command::UserDisable {
                login: arguments.login,
                disabled: true,
            },
        )?),
        User::Enable(arguments) => show::done(&ask(
            &arguments.which,
            &Command::UserDisable {
                login: arguments.login,
                disabled: false,
            },
        )?),
        User::Password(arguments) => {
            let password = password_of_stdin(arguments.stdin)?;
            let command = Command::UserPassword {
                login: arguments.login,
                password,
            };
            added(&ask(&arguments.which, &command)?, &arguments.printed)
        }
        User::Admin(arguments) => show::done(&ask(
            &arguments.which,
            &Command::UserAdmin {
                login: arguments.login,
                administrator: !arguments.revoke,
            },
        )?),
    }
}

/// A person who has a password, or who is to set one.
fn added(answer: &Answer, printed: &Printed) -> CommandResult {
    match answer {
        Answer::Token(token) => one_time(token, printed),
        Answer::Done(_) => show::done(answer),
        other => show::made(other, printed),
    }
}

/// A token, which is told this once. On stdout: it is the result, and no log keeps it.
fn one_time(token: &OneTime, printed: &Printed) -> CommandResult {
    match output::format(printed.output) {
        Some(OutputFormat::Table) => {
            let until = moment(token.expires_at);
            let text = match (&token.link, token.purpose.as_str()) {
                (Some(link), _) => format!(
                    "{} sets a password at\n  {}\nThis works once, until {until}.",
                    token.login, link.0
                ),
                (None, "password") => format!(
                    "{} sets a password on the page /password of the Master with the token\n  {}\n\
                     This works once, until {until}.",
                    token.login, token.token.0
                ),
                _ => format!(
                    "{}\nThis token of {} works once, until {until}, where it is wanted:\n{}",
                    token.token.0,
                    token.login,
                    where_it_is_wanted(token)
                ),
            };
            output::print(&text)?;
        }
        asked => show::json(token, asked)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The commands a token is for, as they can be pasted.
fn where_it_is_wanted(token: &OneTime) -> String {
    let commands: &[&str] = match token.purpose.as_str() {
        "node" => &["node register NAME"],
        "any" => &["configure client", "node register NAME"],
        _ => &["configure client"],
    };
    let lines = commands.iter().map(|command| {
        format!(
            "  slapos {command} --master-url {} --token {} \\\n    --fingerprint {}",
            token.url.as_deref().unwrap_or("URL"),
            token.token.0,
            token.fingerprint
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn users(arguments: &Listing) -> CommandResult {
    match ask(&arguments.which, &Command::UserList)? {
        Answer::Users(users) => show::list(
            &users,
            &arguments.printed,
            "There is nobody.",
            &[
                "LOGIN",
                "NAME",
                "ADMINISTRATOR",
                "PASSWORD",
                "DISABLED",
                "SINCE",
            ],
            |user| {
                vec![
                    user.login.clone(),
                    user.name.clone(),
                    yes(user.administrator),
                    if user.password { "set" } else { "none" }.to_owned(),
                    yes(user.disabled),
                    moment(user.created_at),
                ]
            },
        ),
        other => Err(unexpected(&other).into()),
    }
}

pub(super) fn project(command: Project) -> CommandResult {
    match command {
        Project::Add(arguments) => {
            let command = Command::ProjectAdd {
                title: arguments.title,
                managers: arguments.manager,
            };
            show::made(&ask(&arguments.which, &command)?, &arguments.printed)
        }
        Project::List(arguments) => projects(&arguments),
        Project::Close(arguments) => show::done(&ask(
            &arguments.which,
            &Command::ProjectClose {
                project: arguments.project,
            },
        )?),
        Project::Member(Member::Add(arguments)) => show::done(&ask(
            &arguments.which,
            &Command::MemberAdd {
                project: arguments.project,
                login: arguments.login,
                role: match arguments.role {
                    RoleName::Member => "member",
                    RoleName::Manager => "manager",
                }
                .to_owned(),
            },
        )?),
        Project::Member(Member::Remove(arguments)) => show::done(&ask(
            &arguments.which,
            &Command::MemberRemove {
                project: arguments.project,
                login: arguments.login,
            },
        )?),
        Project::Member(Member::List(arguments)) => {
            let command = Command::MemberList {
                project: arguments.project,
            };
            match ask(&arguments.which, &command)? {
                Answer::Members(members) => show::list(
                    &members,
                    &arguments.printed,
                    "Nobody belongs to it.",
                    &["LOGIN", "NAME", "ROLE"],
                    |member| {
                        vec![
                            member.login.clone(),
                            member.name.clone(),
                            member.role.clone(),
                        ]
                    },
                ),
                other => Err(unexpected(&other).into()),
            }
        }
    }
}

fn projects(arguments: &Listing) -> CommandResult {
    match ask(&arguments.which, &Command::ProjectList)? {
        Answer::Projects(projects) => show::list(
            &projects,
            &arguments.printed,
            "There is no project.",
            &["PROJECT", "TITLE", "MEMBERS", "NODES", "TREES", "CLOSED"],
            |project| {
                vec![
                    project.reference.clone(),
                    project.title.clone(),
                    project.members.to_string(),
                    project.nodes.to_string(),
                    project.trees.to_string(),
                    yes(project.closed),
                ]
            },
        ),
        other => Err(unexpected(&other).into()),
    }
}

pub(super) fn token(command: Token) -> CommandResult {
    match command {
        Token::Create(arguments) => {
            let command = Command::TokenCreate {
                login: arguments.user,
                purpose: match arguments.purpose {
                    Purpose::Client => "client",
                    Purpose::Node => "node",
                    Purpose::Any => "any",
                }
                .to_owned(),
                project: arguments.project,
            };
            added(&ask(&arguments.which, &command)?, &arguments.printed)
        }
        Token::List(arguments) => match ask(&arguments.which, &Command::TokenList)? {
            Answer::Tokens(tokens) => show::list(
                &tokens,
                &arguments.printed,
                "There is no token.",
                &["LOGIN", "PURPOSE", "PROJECT", "STATE", "MADE", "EXPIRES"],
                |token| {
                    vec![
                        token.login.clone(),
                        token.purpose.clone(),
                        token.project.clone().unwrap_or_default(),
                        token.state.clone(),
                        moment(token.created_at),
                        moment(token.expires_at),
                    ]
                },
            ),
            other => Err(unexpected(&other).into()),
        },
    }
}

pub(super) fn certificate(command: Certificate) -> CommandResult {
    match command {
        Certificate::List(arguments) => {
            let command = Command::CertificateList {
                owner: arguments.owner,
            };
            match ask(&arguments.which, &command)? {
                Answer::Certificates(certificates) => show::list(
                    &certificates,
                    &arguments.printed,
                    "There is no certificate.",
                    &["OWNER", "COMMON NAME", "STATE", "ISSUED", "EXPIRES"],
                    |certificate| {
                        vec![
                            certificate.owner.clone(),
                            certificate.common_name.clone(),
                            certificate.state.clone(),
                            moment(certificate.issued_at),
                            moment(certificate.expires_at),
                        ]
                    },
                ),
                other => Err(unexpected(&other).into()),
            }
        }
        Certificate::Revoke(arguments) => show::done(&ask(
            &arguments.which,
            &Command::CertificateRevoke {
                common_name: arguments.common_name,
            },
        )?),
    }
}

pub(super) fn authority(command: Ca) -> CommandResult {
    match command {
        Ca::Show(arguments) => match ask(&arguments.which, &Command::Authority)? {
            Answer::Authority(authority) => {
                match output::format(arguments.printed.output) {
                    Some(OutputFormat::Table) => output::print(&format!(
                        "Organisation  {}\nValid until   {}\nSHA-256       {}",
                        authority.organisation,
                        moment(authority.expires_at),
                        authority.fingerprint
                    ))?,
                    asked => show::json(
                        &json!({
                            "organisation": authority.organisation,
                            "expires_at": authority.expires_at,
                            "fingerprint": authority.fingerprint,
                        }),
                        asked,
                    )?,
                }
                Ok(ExitCode::SUCCESS)
            }
            other => Err(unexpected(&other).into()),
        },
        Ca::Export(arguments) => match ask(&arguments.which, &Command::Authority)? {
            Answer::Authority(authority) => {
                output::print(authority.certificate.trim_end())?;
                Ok(ExitCode::SUCCESS)
            }
            other => Err(unexpected(&other).into()),
        },
        Ca::Crl(arguments) => match ask(&arguments.which, &Command::RevocationList)? {
            Answer::Text(list) => {
                output::print(list.trim_end())?;
                Ok(ExitCode::SUCCESS)
            }
            other => Err(unexpected(&other).into()),
        },
    }
}
