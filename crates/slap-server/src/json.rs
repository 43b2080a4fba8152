//! JSON as Python writes it: ASCII only, and in its two spacings.

use std::io;

use serde_json::Value;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// The spacings Python's servers use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spacing {
    /// `{"a":1,"b":2}`
    Tight,
    /// `{"a": 1, "b": 2}`
    Wide,
}

struct Ascii(Spacing);

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.is_ascii() {
            return CompactFormatter.write_string_fragment(writer, fragment);
        }
        for unit in fragment.encode_utf16() {
            match u8::try_from(unit) {
                Ok(ascii) if ascii.is_ascii() => writer.write_all(&[ascii])?,
                _ => write!(writer, "\\u{unit:04x}")?,
            }
        }
        Ok(())
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.begin_object_key(writer, first)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        match (first, self.0) {
            (true, _) => Ok(()),
            (false, Spacing::Tight) => writer.write_all(b","),
            (false, Spacing::Wide) => writer.write_all(b", "),
        }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match self.0 {
            Spacing::Tight => writer.write_all(b":"),
            Spacing::Wide => writer.write_all(b": "),
        }
    }
}

/// Writes a value.
pub fn write(value: &Value, spacing: Spacing) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let mut serializer = Serializer::with_formatter(&mut out, Ascii(spacing));
    // Writing a JSON value to memory has no way to fail.
    if let Err(error) = serde::Serialize::serialize(value, &mut serializer) {
        tracing::error!("a JSON reply could not be written: {error}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn as_python_writes_it() {
        let value = json!({"a": "é\"\n😀", "b": [1, null, {"c": true}], "d": []});
        assert_eq!(
            String::from_utf8_lossy(&write(&value, Spacing::Wide)),
            r#"{"a": "\u00e9\"\n\ud83d\ude00", "b": [1, null, {"c": true}], "d": []}"#
        );
        assert_eq!(
            String::from_utf8_lossy(&write(&value, Spacing::Tight)),
            r#"{"a":"\u00e9\"\n\ud83d\ude00","b":[1,null,{"c":true}],"d":[]}"#
        );
    }
}
