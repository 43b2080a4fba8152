//! The whole command line as clap knows it, and what clap does not do by itself: the first page
//! groups the commands by what people want to do, and every command shows examples.

mod examples;

use std::fmt::Write;

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::{ColorChoice, Command, CommandFactory};

use crate::args::Arguments;
use crate::output;

/// The commands of the first page. A command that is in no group stands under the last one.
const GROUPS: &[(&str, &[&str])] = &[
    ("Use instances", &["request", "service", "apply", "console"]),
    (
        "Software and nodes",
        &["supply", "remove", "software", "computer"],
    ),
    (
        "Set up",
        &["login", "logout", "context", "configure", "check"],
    ),
    (
        "This machine as a node",
        &["node", "standalone", "cachelookup"],
    ),
    ("Run a Master", &["master", "proxy"]),
];
/// Where everything else is.
const OTHER: &str = "Other";

/// The command line with its help.
pub(crate) fn command() -> Command {
    let command = Arguments::command()
        .styles(styles())
        .color(match output::asked_color() {
            crate::args::Color::Auto => ColorChoice::Auto,
            crate::args::Color::Always => ColorChoice::Always,
            crate::args::Color::Never => ColorChoice::Never,
        });
    let template = first_page(&command);
    with_examples(command.help_template(template), "")
}

/// Adds examples to the commands that have none of their own.
fn with_examples(command: Command, place: &str) -> Command {
    command.mut_subcommands(|inner| {
        let name = inner.get_name().to_owned();
        let place = if place.is_empty() {
            name
        } else {
            format!("{place} {name}")
        };
        let own = inner.get_after_help().map(ToString::to_string);
        let inner = match (examples::of(&place), own) {
            (Some(examples), None) => inner.after_help(format!("Examples:\n{examples}")),
            (Some(examples), Some(own)) if !own.contains("Example") => {
                inner.after_help(format!("{own}\n\nExamples:\n{examples}"))
            }
            _ => inner,
        };
        with_examples(inner, &place)
    })
}

fn styles() -> Styles {
    Styles::styled()
        .header(AnsiColor::Green.on_default().bold())
        .usage(AnsiColor::Green.on_default().bold())
        .literal(AnsiColor::Cyan.on_default())
        .placeholder(AnsiColor::Yellow.on_default())
}

/// The template of the first page; clap fills in what is in braces.
fn first_page(command: &Command) -> String {
    let styles = command.get_styles();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let visible: Vec<&Command> = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .collect();
    let width = visible
        .iter()
        .map(|command| command.get_name().len())
        .max()
        .unwrap_or_default();
    let mut page = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    let mut group = |title: &str, commands: &[&Command]| {
        if commands.is_empty() {
            return;
        }
        // Writing to a text cannot fail.
        let _ = writeln!(page, "\n{header}{title}:{header:#}");
        for command in commands {
            let name = command.get_name();
            let about = command.get_about().map(ToString::to_string);
            let _ = writeln!(
                page,
                "  {literal}{name}{literal:#}{:blanks$}{}",
                "",
                about.unwrap_or_default(),
                blanks = width + 2 - name.len(),
            );
        }
    };
    for (title, names) in GROUPS {
        let commands: Vec<&Command> = names
            .iter()
            .filter_map(|name| visible.iter().find(|command| command.get_name() == *name))
            .copied()
            .collect();
        group(title, &commands);
    }
    let grouped = |command: &Command| {
        let name = command.get_name();
        GROUPS.iter().any(|(_, names)| names.contains(&name))
    };
    let rest: Vec<&Command> = visible
        .iter()
        .filter(|command| !grouped(command))
        .copied()
        .collect();
    group(OTHER, &rest);
    let _ = write!(
        page,
        "\n{header}Options:{header:#}\n{{options}}{{after-help}}"
    );
    page
}

/// Every command that is shown to people, by its words: `slapos service list`.
pub(crate) fn pages() -> Vec<(String, Command)> {
    let mut whole = command();
    whole.build();
    let mut found = Vec::new();
    collect(&whole, "slapos", &mut found);
    found
}

fn collect(command: &Command, name: &str, into: &mut Vec<(String, Command)>) {
    into.push((name.to_owned(), command.clone()));
    for inner in command.get_subcommands() {
        if inner.get_name() != "help" && !inner.is_hide_set() {
            collect(inner, &format!("{name} {}", inner.get_name()), into);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The help as it stands: whoever changes a command looks at its page
    /// (`INSTA_UPDATE=always cargo test -p cli --bin slapos help` writes them).
    #[test]
    fn every_page_of_the_help_is_as_it_was_approved() {
        for (name, _) in pages() {
            let line = name.split(' ').chain(["--help"]);
            let page = command().term_width(100).try_get_matches_from(line);
            let text = page.map_or_else(|help| help.to_string(), |_| String::new());
            let mut settings = insta::Settings::clone_current();
            settings.set_snapshot_path("../../../../tests/help");
            settings.set_prepend_module_to_snapshot(false);
            settings.set_omit_expression(true);
            settings.bind(|| insta::assert_snapshot!(name.replace(' ', "-"), text));
        }
    }

    #[test]
    fn every_command_that_does_something_shows_examples() {
        let without: Vec<String> = pages()
            .into_iter()
            .filter(|(_, page)| !page.has_subcommands())
            .filter(|(_, page)| {
                let told = page.get_after_help().map(ToString::to_string);
                let told_long = page.get_after_long_help().map(ToString::to_string);
                !format!("{told:?}{told_long:?}").contains("Example")
            })
            .map(|(name, _)| name)
            .collect();
        assert_eq!(without, Vec::<String>::new());
    }

    /// The words of a line as a shell has them; what follows a pipe is another program's.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quote = None;
        for character in line.split(" | ").next().unwrap_or_default().chars() {
            match quote {
                Some(open) if open == character => quote = None,
                None if matches!(character, '\'' | '"') => quote = Some(character),
                // What another command prints.
                None if character == '(' => quote = Some(')'),
                None if character == ' ' => words.push(String::new()),
                None if matches!(character, '<' | '>' | ';' | '&') => break,
                _ => {
                    if let Some(word) = words.last_mut() {
                        word.push(character);
                    }
                }
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn every_example_can_be_typed() {
        let (mut tried, mut wrong) = (0, Vec::new());
        for (name, page) in pages() {
            let told = page.get_after_help().map(ToString::to_string);
            for line in told.unwrap_or_default().lines() {
                // What is explained stands behind the command, after some blanks.
                let line = line.trim().split("   ").next().unwrap_or_default();
                if !line.starts_with("slapos ") || line.ends_with('\\') {
                    continue;
                }
                tried += 1;
                if let Err(error) = command().try_get_matches_from(words(line)) {
                    wrong.push(format!("in the help of {name}: {line}\n{error}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(tried > 50, "{tried}");
    }

    #[test]
    fn the_first_page_names_every_command_once() {
        let mut whole = command();
        let text = whole.render_help().to_string();
        for inner in command().get_subcommands() {
            let line = format!("\n  {} ", inner.get_name());
            let count = text.matches(&line).count();
            assert_eq!(count, usize::from(!inner.is_hide_set()), "{line:?}\n{text}");
        }
    }
}
