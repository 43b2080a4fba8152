//! JSON exactly as Python's `json.dumps` writes it: its spacing, its ASCII escapes, its floats.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter, Serializer};

/// On one line: `{"a": 1, "b": [true, null]}`.
pub(crate) fn line<T: Serialize>(value: &T) -> String {
    write(value, Line)
}

/// On several lines, each level indented by `indent` blanks.
pub(crate) fn indented<T: Serialize>(value: &T, indent: usize) -> String {
    let blanks = " ".repeat(indent);
    write(
        value,
        Indented(PrettyFormatter::with_indent(blanks.as_bytes())),
    )
}

fn write<T: Serialize, F: Formatter>(value: &T, formatter: F) -> String {
    let mut out = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut out, Ascii(formatter));
    // Our own values have text keys and finite numbers: nothing in them can fail.
    if value.serialize(&mut serializer).is_err() {
        return "null".to_owned();
    }
    String::from_utf8(out).unwrap_or_default()
}

/// Adds ASCII escapes and Python's floats to another formatter.
struct Ascii<F>(F);

struct Line;

struct Indented<'a>(PrettyFormatter<'a>);

impl Formatter for Line {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

macro_rules! delegate {
    ($type:ty, $($name:ident($($arg:ident: $kind:ty),*)),*) => {
        impl Formatter for $type {
            $(fn $name<W: ?Sized + io::Write>(&mut self, out: &mut W $(, $arg: $kind)*) -> io::Result<()> {
                self.0.$name(out $(, $arg)*)
            })*
        }
    };
}

delegate!(Indented<'_>, begin_array(), end_array(), begin_array_value(first: bool), end_array_value(),
    begin_object(), end_object(), begin_object_key(first: bool), begin_object_value(), end_object_value());

impl<F: Formatter> Formatter for Ascii<F> {
    fn begin_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        out.write_all(slap::python::float(value).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        text: &str,
    ) -> io::Result<()> {
        for character in text.chars() {
            if character.is_ascii() && character != '\u{7f}' {
                out.write_all(&[character as u8])?;
            } else if character == '\u{7f}' {
                out.write_all(b"\x7f")?;
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        self.0.write_char_escape(out, escape)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_line_as_python() {
        let value = json!({"title": "é\"\n\u{1F600}", "t": 0.05, "n": null, "l": [1, true], "e": {}, "f": 3.0});
        assert_eq!(
            line(&value),
            "{\"title\": \"\\u00e9\\\"\\n\\ud83d\\ude00\", \"t\": 0.05, \"n\": null, \"l\": [1, true], \"e\": {}, \"f\": 3.0}"
        );
    }

    #[test]
    fn indented_as_python() {
        let value = json!({"a": [], "b": [1, 2], "c": {"d": "x"}});
        assert_eq!(
            indented(&value, 4),
            "{\n    \"a\": [],\n    \"b\": [\n        1,\n        2\n    ],\n    \"c\": {\n        \"d\": \"x\"\n    }\n}"
        );
    }
}
