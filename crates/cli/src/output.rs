//! Results on stdout, everything else on stderr; colours only where a person looks.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value as Json;

use crate::args::OutputFormat;
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

/// The format to print in: what was asked for, else for people on a terminal, else for scripts.
pub(crate) fn format(asked: Option<OutputFormat>) -> Option<OutputFormat> {
    asked.or_else(|| io::stdout().is_terminal().then_some(OutputFormat::Table))
}

/// A colour code, or nothing where stderr is no terminal or `NO_COLOR` is set.
pub(crate) fn stderr_style(code: &'static str) -> &'static str {
    if stderr_is_coloured() { code } else { "" }
}

/// Whether to colour what goes to stderr.
pub(crate) fn stderr_is_coloured() -> bool {
    io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_ascii_as_upstreams() {
        assert_eq!(ascii("\"é 😀\""), "\"\\u00e9 \\ud83d\\ude00\"");
    }

    #[test]
    fn tables_have_no_lines_and_no_trailing_blanks() {
        let text = table(&["A", "B"], [["1".to_owned(), "x".to_owned()]]);
        assert_eq!(text, " A  B\n 1  x");
    }
}
