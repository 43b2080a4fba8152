//! What was typed wrong, and what may have been meant: one line, a hint, an exit code.

use std::error::Error as _;
use std::process::ExitCode;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::args::Color;
use crate::failure::{Code, Failure};
use crate::help;

/// How many commands are proposed for one that does not exist.
const PROPOSALS_MAX: usize = 3;
/// How alike two words are, at least, for one to be proposed for the other; 1 is the same.
const ALIKE: f64 = 0.75;

/// Words of other programs, and of upstream's documentation, with what they are called here.
const ELSEWHERE: &[(&str, &[&str])] = &[
    ("ls", &["service list"]),
    ("ps", &["service list"]),
    ("instances", &["service list"]),
    ("instance", &["service"]),
    ("app", &["service"]),
    ("nodes", &["computer list"]),
    ("deploy", &["request", "apply"]),
    ("create", &["request"]),
    ("run", &["request"]),
    ("up", &["apply", "standalone"]),
    ("delete", &["service destroy", "remove"]),
    ("rm", &["service destroy", "remove"]),
    ("uninstall", &["remove"]),
    ("install", &["supply"]),
    ("describe", &["service info", "computer info"]),
    ("show", &["service info", "computer info"]),
    ("get", &["service list", "computer list"]),
    ("status", &["service info", "node status"]),
    ("auth", &["login"]),
    ("signin", &["login"]),
    ("shell", &["console"]),
    ("python", &["console"]),
    ("products", &["software list"]),
    ("version", &["--version"]),
];

/// What `--color` says, before the line is read as a whole.
pub(crate) fn color_of_line() -> Color {
    color_in(std::env::args_os().map(|word| word.to_string_lossy().into_owned()))
}

fn color_in(words: impl Iterator<Item = String>) -> Color {
    let mut words = words.take_while(|word| word != "--");
    let mut found = Color::Auto;
    while let Some(word) = words.next() {
        let value = match word.strip_prefix("--color") {
            Some("") => words.next().unwrap_or_default(),
            Some(rest) => match rest.strip_prefix('=') {
                Some(value) => value.to_owned(),
                None => continue,
            },
            None => continue,
        };
        found = match value.as_str() {
            "always" => Color::Always,
            "never" => Color::Never,
            _ => Color::Auto,
        };
    }
    found
}

/// Prints what clap has to say: help and version on stdout with 0, an unknown command with 5, any
/// other mistake with 2.
pub(crate) fn explain(error: &clap::Error) -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed pipe is no reason to complain.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            // `slapos` alone shows the help, as upstream does.
            ExitCode::from(if words.is_empty() {
                0
            } else {
                Code::Usage as u8
            })
        }
        _ => {
            let mut command = help::command();
            command.build();
            failure(error, &command, &words).report(0)
        }
    }
}

/// The command that is named first on a line.
fn named<'a>(whole: &'a Command, words: &[String]) -> &'a Command {
    let mut command = whole;
    for word in words.iter().take_while(|word| *word != "--") {
        if let Some(inner) = command.find_subcommand(word) {
            command = inner;
        }
    }
    command
}

/// The words by which people type a command.
fn name_of(command: &Command) -> String {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    // clap names required options of the commands above here, too.
    let words: Vec<&str> = name
        .split(' ')
        .filter(|word| !word.starts_with(['<', '[', '-']))
        .collect();
    words.join(" ")
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => Some(texts.join(", ")),
        other => Some(other.to_string()),
    }
}

/// `--state <STATE>` as people name it.
fn option(told: &str) -> &str {
    told.split_once(' ')
        .map_or(told, |(name, _)| name)
        .trim_end_matches("...")
}

fn failure(error: &clap::Error, whole: &Command, words: &[String]) -> Failure {
    let command = named(whole, words);
    let name = name_of(command);
    let usage = || {
        let usage = command.clone().render_usage().to_string();
        let line = usage.lines().next().unwrap_or_default();
        format!(
            "{}; see `{name} --help`",
            line.replacen("Usage: ", "usage: ", 1)
        )
    };
    let argument = text(error, ContextKind::InvalidArg).unwrap_or_default();
    let value = text(error, ContextKind::InvalidValue).unwrap_or_default();
    let failure = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = text(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            return unknown_command(whole, command, &word);
        }
        ErrorKind::UnknownArgument if !argument.starts_with('-') => {
            if command.has_subcommands() {
                return unknown_command(whole, command, &argument);
            }
            Failure::new(format!("`{name}` has no use for `{argument}`")).hint(usage())
        }
        // Options belong behind the command they are of.
        ErrorKind::UnknownArgument if has_option(command, &argument) => Failure::new(format!(
            "`{argument}` stands before the command it is an option of"
        ))
        .hint(format!("write `{name} {argument} …`")),
        ErrorKind::UnknownArgument => {
            let failure = Failure::new(format!("`{name}` has no option `{argument}`"));
            match text(error, ContextKind::SuggestedArg) {
                Some(similar) => failure.hint(format!("did you mean `{similar}`?")),
                None => failure.hint(format!("see what it takes with `{name} --help`")),
            }
        }
        ErrorKind::MissingRequiredArgument => {
            Failure::new(format!("`{name}` needs {argument}")).hint(usage())
        }
        ErrorKind::InvalidValue if value.is_empty() => {
            let failure = Failure::new(format!("{} needs a value", option(&argument)));
            hint_at_values(failure, error).unwrap_or_else(|failure| failure.hint(usage()))
        }
        ErrorKind::InvalidValue => {
            let failure = Failure::new(format!("`{value}` is no value of {}", option(&argument)));
            hint_at_values(failure, error).unwrap_or_else(|failure| failure.hint(usage()))
        }
        ErrorKind::ValueValidation => {
            let why = error.source().map(ToString::to_string).unwrap_or_default();
            let failure = Failure::new(format!(
                "`{value}` is no value of {}: {why}",
                option(&argument)
            ));
            if argument.contains("...") && argument.starts_with('-') {
                // It takes every word up to the next option.
                failure.hint(format!(
                    "give {} after everything that is no option, or end its values with `--`",
                    option(&argument)
                ))
            } else {
                failure.hint(format!("see `{name} --help`"))
            }
        }
        ErrorKind::ArgumentConflict => {
            let prior = text(error, ContextKind::PriorArg).unwrap_or_default();
            let told = if argument == prior || prior.is_empty() {
                format!("{} can be given once only", option(&argument))
            } else {
                format!(
                    "{} and {} do not go together",
                    option(&argument),
                    option(&prior)
                )
            };
            Failure::new(told).hint(format!("see `{name} --help`"))
        }
        _ => {
            let told = error.render().to_string();
            let line = told.lines().next().unwrap_or_default();
            Failure::new(line.strip_prefix("error: ").unwrap_or(line)).hint(usage())
        }
    };
    failure.code(Code::Usage)
}

/// Whether a command has this option, as `--name` or `--name=value`.
fn has_option(command: &Command, argument: &str) -> bool {
    let name = argument.split('=').next().unwrap_or_default();
    let Some(long) = name.strip_prefix("--") else {
        return false;
    };
    command.get_arguments().any(|known| {
        known.get_long() == Some(long)
            || known
                .get_all_aliases()
                .is_some_and(|aliases| aliases.contains(&long))
    })
}

/// The values an option takes, and the one that may have been meant.
fn hint_at_values(failure: Failure, error: &clap::Error) -> Result<Failure, Failure> {
    let Some(values) = text(error, ContextKind::ValidValue).filter(|values| !values.is_empty())
    else {
        return Err(failure);
    };
    Ok(match text(error, ContextKind::SuggestedValue) {
        Some(similar) => failure.hint(format!("did you mean `{similar}`? It is one of {values}")),
        None => failure.hint(format!("it is one of {values}")),
    })
}

fn unknown_command(whole: &Command, command: &Command, word: &str) -> Failure {
    let name = name_of(command);
    let failure = Failure::new(format!("there is no command `{name} {word}`")).code(Code::Refused);
    let proposed = proposals(whole, command, word);
    match proposed.as_slice() {
        [] => failure.hint(format!("`{name} --help` lists those there are")),
        proposed => {
            let quoted: Vec<String> = proposed.iter().map(|name| format!("`{name}`")).collect();
            failure.hint(format!("did you mean {}?", quoted.join(" or ")))
        }
    }
}

/// Commands that may have been meant, the likeliest first.
fn proposals(whole: &Command, command: &Command, word: &str) -> Vec<String> {
    let word = word.to_lowercase();
    let mut found: Vec<(f64, String)> = Vec::new();
    let mut propose = |alike: f64, name: String| {
        if alike >= ALIKE && found.iter().all(|(_, known)| *known != name) {
            found.push((alike, name));
        }
    };
    // Mistyped beside the right ones.
    for inner in command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set())
    {
        propose(
            strsim::jaro_winkler(&word, inner.get_name()),
            name_of(inner),
        );
    }
    let top = command.get_name() == whole.get_name();
    if top {
        // What it is called here.
        for (_, names) in ELSEWHERE.iter().filter(|(known, _)| *known == word) {
            for name in *names {
                let words: Vec<String> = name.split(' ').map(str::to_owned).collect();
                let exists = name.starts_with('-')
                    || name_of(named(whole, &words)) == format!("slapos {name}");
                if exists {
                    propose(1.0, format!("slapos {name}"));
                }
            }
        }
    }
    // The verb without its noun, or behind another one.
    for noun in whole.get_subcommands().filter(|noun| !noun.is_hide_set()) {
        for verb in noun.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            if verb.get_name() == word && word != "help" {
                propose(0.9, name_of(verb));
            }
        }
        if !top && noun.get_name() == word && word != "help" {
            propose(0.9, name_of(noun));
        }
    }
    found.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    found
        .into_iter()
        .take(PROPOSALS_MAX)
        .map(|(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposed(line: &str) -> Vec<String> {
        let mut whole = help::command();
        whole.build();
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let command = named(&whole, &words);
        proposals(&whole, command, words.last().map_or("", String::as_str))
    }

    #[test]
    fn what_may_have_been_meant_is_proposed() {
        for (line, expected) in [
            ("serv", "slapos service"),
            ("reqest", "slapos request"),
            ("service lst", "slapos service list"),
            ("list", "slapos service list"),
            ("ls", "slapos service list"),
            ("deploy", "slapos request"),
            ("node informat", "slapos node format"),
            ("service request", "slapos request"),
            ("version", "slapos --version"),
        ] {
            let found = proposed(line);
            assert!(
                found.iter().any(|name| name == expected),
                "{line}: {found:?}"
            );
            assert!(found.len() <= PROPOSALS_MAX);
        }
        assert_eq!(proposed("xyzzy"), Vec::<String>::new());
    }

    #[test]
    fn the_colours_of_the_line_are_known_before_it_is_read() {
        let of = |line: &str| color_in(line.split(' ').map(str::to_owned));
        assert_eq!(of("slapos --help"), Color::Auto);
        assert_eq!(of("slapos --color never --help"), Color::Never);
        assert_eq!(of("slapos x --color=always"), Color::Always);
        assert_eq!(of("slapos x --colors=always"), Color::Auto);
        assert_eq!(of("slapos x -- --color=always"), Color::Auto);
        assert_eq!(of("slapos --color"), Color::Auto);
    }
}
