//! Results on stdout, everything else on stderr; colours only where a person looks.

mod csv;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU8, Ordering};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value as Json;

use crate::args::{Color, OutputFormat};
use crate::failure::Failure;

/// Prints a result. A reader that closed its end (`| head`) ends the program quietly.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

/// Says something to the person, on stderr. Nobody listening is no failure.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints JSON as upstream does: indented by two, ASCII only (C 1.4).
pub(crate) fn print_json(value: &Json) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::of(&error))?;
    print(&ascii(&text))
}

/// Prints a result in the format that was asked for: one place for every command.
///
/// `names` are what `--output name` prints, one on each line; `readable` makes what people read.
/// Where nothing was asked for and nobody looks, it is JSON; commands for which upstream prints
/// something else there look at [`format`] before.
pub(crate) fn answer<Name: AsRef<str>>(
    asked: Option<OutputFormat>,
    value: &Json,
    names: impl IntoIterator<Item = Name>,
    readable: impl FnOnce() -> String,
) -> Result<(), Failure> {
    match format(asked) {
        Some(OutputFormat::Table) => print(&readable()),
        None | Some(OutputFormat::Json) => print_json(value),
        Some(OutputFormat::Yaml) => print(yaml(value).trim_end()),
        Some(OutputFormat::Csv) => print(&csv(value, true)),
        Some(OutputFormat::Name) => {
            let names: Vec<Name> = names.into_iter().collect();
            let lines: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
            if lines.is_empty() {
                return Ok(());
            }
            print(&lines.join("\n"))
        }
    }
}

/// A list as comma separated values; without the line of names when more follows what was printed.
pub(crate) fn csv(list: &Json, with_names: bool) -> String {
    let text = csv::write(list);
    let text = match text.split_once('\n') {
        Some((_, rest)) if !with_names => rest,
        _ => &text,
    };
    text.strip_suffix('\n').unwrap_or(text).to_owned()
}

/// A value as YAML, in the order it has.
pub(crate) fn yaml(value: &Json) -> String {
    let mut out = String::new();
    write_yaml(value, 0, &mut out);
    out
}

/// Writes a value that begins on a line of its own, `depth` levels deep.
fn write_yaml(value: &Json, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Json::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                out.push_str(&format!("{indent}{}:", yaml_text(name)));
                write_yaml_member(member, depth, out);
            }
        }
        Json::Array(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&format!("{indent}-"));
                match item {
                    Json::Object(_) | Json::Array(_) => {
                        // The first line of what is in it stands behind the dash.
                        let mut inner = String::new();
                        write_yaml(item, depth + 1, &mut inner);
                        out.push_str(&format!(" {}", inner.trim_start()));
                    }
                    _ => write_yaml_member(item, depth, out),
                }
            }
        }
        Json::String(text) => out.push_str(&format!("{indent}{}\n", yaml_text(text))),
        // Empty lists and mappings, numbers, `true`, `null`: as JSON writes them.
        other => out.push_str(&format!("{indent}{other}\n")),
    }
}

/// Writes what stands behind a colon.
fn write_yaml_member(value: &Json, depth: usize, out: &mut String) {
    let is_block = value.as_object().is_some_and(|members| !members.is_empty())
        || value.as_array().is_some_and(|items| !items.is_empty());
    if is_block {
        out.push('\n');
        write_yaml(value, depth + 1, out);
    } else {
        out.push(' ');
        write_yaml(value, 0, out);
    }
}

/// A text as YAML: as it is where no reader can take it for something else, else quoted as JSON.
fn yaml_text(text: &str) -> String {
    let begins_well = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/');
    let is_plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | ':' | '-'));
    let is_word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null"
    );
    if begins_well && is_plain && !is_word && !text.ends_with(':') {
        text.to_owned()
    } else {
        // What JSON leaves as it is and YAML does not know, or takes for the end of a line.
        let mut out = String::with_capacity(text.len() + 2);
        for character in Json::from(text).to_string().chars() {
            match character {
                '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}'..
                    if u32::from(character) <= 0xffff =>
                {
                    out.push_str(&format!("\\u{:04x}", u32::from(character)));
                }
                other => out.push(other),
            }
        }
        out
    }
}

/// Escapes what is not ASCII as `\uXXXX`, surrogate pairs included.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// Columns of a terminal that does not tell its size: what the first ones had.
const UNKNOWN_WIDTH: u16 = 80;

/// A table as wide as the terminal, without lines.
pub(crate) fn table<Head: AsRef<str>, Row: IntoIterator<Item = String>>(
    head: &[Head],
    rows: impl IntoIterator<Item = Row>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(head.iter().map(AsRef::as_ref).collect::<Vec<&str>>());
    // A serial line does not know how wide its other end is.
    if table.width() == Some(0) {
        table.set_width(UNKNOWN_WIDTH);
    }
    for row in rows {
        table.add_row(row.into_iter().collect::<Vec<String>>());
    }
    table
        .to_string()
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

/// A text from elsewhere as part of a line: on one line, of bounded length, and without what commands
/// a terminal.
pub(crate) fn one_line(text: &str, chars: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words
        .join(" ")
        .chars()
        .filter(|character| !character.is_control())
        .take(chars)
        .collect()
}

/// The format to print in: what was asked for, else for people on a terminal, else for scripts.
pub(crate) fn format(asked: Option<OutputFormat>) -> Option<OutputFormat> {
    asked.or_else(|| io::stdout().is_terminal().then_some(OutputFormat::Table))
}

/// What `--color` said, as a number.
static COLOR: AtomicU8 = AtomicU8::new(Color::Auto as u8);

/// Uses colours as `--color` says from now on.
pub(crate) fn use_colors(when: Color) {
    COLOR.store(when as u8, Ordering::Relaxed);
}

/// What `--color` said.
pub(crate) fn asked_color() -> Color {
    match COLOR.load(Ordering::Relaxed) {
        always if always == Color::Always as u8 => Color::Always,
        never if never == Color::Never as u8 => Color::Never,
        _ => Color::Auto,
    }
}

/// A colour code, or nothing where stderr is not coloured.
pub(crate) fn stderr_style(code: &'static str) -> &'static str {
    if stderr_is_coloured() { code } else { "" }
}

/// A colour code, or nothing where stdout is not coloured.
pub(crate) fn stdout_style(code: &'static str) -> &'static str {
    let variable = |name: &str| std::env::var_os(name);
    if is_coloured(asked_color(), variable, io::stdout().is_terminal()) {
        code
    } else {
        ""
    }
}

/// Whether to colour what goes to stderr.
pub(crate) fn stderr_is_coloured() -> bool {
    is_coloured(
        asked_color(),
        |name| std::env::var_os(name),
        io::stderr().is_terminal(),
    )
}

/// `--color` first, then the variables people know: <https://no-color.org>, <https://bixense.com/clicolors>.
fn is_coloured(
    asked: Color,
    variable: impl Fn(&str) -> Option<OsString>,
    is_terminal: bool,
) -> bool {
    if asked != Color::Auto {
        return asked == Color::Always;
    }
    let says = |name: &str| variable(name).filter(|value| !value.is_empty());
    if says("NO_COLOR").is_some() {
        return false;
    }
    if says("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    is_terminal
        && says("CLICOLOR").is_none_or(|value| value != "0")
        && says("TERM").is_none_or(|value| value != "dumb")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn json_is_ascii_as_upstreams() {
        assert_eq!(ascii("\"é 😀\""), "\"\\u00e9 \\ud83d\\ude00\"");
    }

    #[test]
    fn yaml_is_what_a_reader_of_yaml_reads_back() {
        let value = serde_json::json!({
            "title": "a: b", "url": "https://[fd00::1]:8443/", "plain": "http://a/software.cfg",
            "no": "no", "number": "12", "n": 1.5, "nothing": null, "empty": {}, "none": [],
            "text": "two\nlines \u{e9} \u{7f}\u{85}\u{2028}\u{feff}\u{ffff}\u{1f600} #", "": " ",
            "list": ["a", {"b": 1, "c": ["d", []]}, [1, 2], {}],
            "deep": {"a": {"b": {"c": true}}},
        });
        let text = yaml(&value);
        let read: Json = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read, value, "{text}");
        insta::assert_snapshot!(text);
        for scalar in [
            Json::Null,
            Json::from("x"),
            serde_json::json!([]),
            Json::from(1),
        ] {
            assert_eq!(
                serde_saphyr::from_str::<Json>(&yaml(&scalar)).unwrap(),
                scalar
            );
        }
    }

    #[test]
    fn colours_are_where_they_are_wanted() {
        let variables = |pairs: &'static [(&'static str, &'static str)]| {
            move |name: &str| {
                let found = pairs.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(value))
            }
        };
        for (asked, pairs, is_terminal, expected) in [
            (Color::Auto, &[][..], true, true),
            (Color::Auto, &[], false, false),
            (Color::Auto, &[("NO_COLOR", "1")], true, false),
            (Color::Auto, &[("NO_COLOR", "")], true, true),
            (Color::Auto, &[("TERM", "dumb")], true, false),
            (Color::Auto, &[("CLICOLOR", "0")], true, false),
            (Color::Auto, &[("CLICOLOR", "1")], false, false),
            (Color::Auto, &[("CLICOLOR_FORCE", "1")], false, true),
            (
                Color::Auto,
                &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")],
                true,
                false,
            ),
            (Color::Always, &[("NO_COLOR", "1")], false, true),
            (Color::Never, &[("CLICOLOR_FORCE", "1")], true, false),
        ] {
            let found = is_coloured(asked, variables(pairs), is_terminal);
            assert_eq!(found, expected, "{asked:?} {pairs:?} {is_terminal}");
        }
    }

    #[test]
    fn tables_have_no_lines_and_no_trailing_blanks() {
        let text = table(&["A", "B"], [["1".to_owned(), "x".to_owned()]]);
        assert_eq!(text, " A  B\n 1  x");
    }
}
