//! The few Python text conversions that are visible on the wire: `str()` and `repr()` of values.
//!
//! The Master flattens every parameter with `str()` when it stores it (P 2, quirk 8), so what a
//! partition reads back depends on them.

use crate::Value;

/// Python's `str(value)`: text as it is, everything else as [`repr`].
pub fn str(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => repr(other),
    }
}

/// Python's `repr(value)`. Objects, which have no useful one, become their class name.
pub fn repr(value: &Value) -> String {
    let mut out = String::new();
    write_repr(value, &mut out);
    out
}

fn write_repr(value: &Value, out: &mut String) {
    match value {
        Value::None => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&float(*number)),
        Value::Complex(real, imaginary) => {
            let sign = if imaginary.is_sign_negative() {
                ""
            } else {
                "+"
            };
            out.push_str(&format!(
                "({}{sign}{}j)",
                trim_fraction(*real),
                trim_fraction(*imaginary)
            ));
        }
        Value::String(text) => write_text(text, out),
        Value::List(items) => write_items("[", items, "]", out),
        Value::Tuple(items) if items.len() == 1 => write_items("(", items, ",)", out),
        Value::Tuple(items) => write_items("(", items, ")", out),
        Value::Set(items) if items.is_empty() => out.push_str("set()"),
        Value::Set(items) => write_items("{", items, "}", out),
        Value::Dict(entries) => {
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_text(key, out);
                out.push_str(": ");
                write_repr(value, out);
            }
            out.push('}');
        }
        Value::Object(object) => {
            out.push_str(&format!(
                "<slapos.slap.slap.{} object>",
                object.class.name()
            ));
        }
    }
}

fn write_items(open: &str, items: &[Value], close: &str, out: &mut String) {
    out.push_str(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write_repr(item, out);
    }
    out.push_str(close);
}

fn write_text(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if character == quote => {
                out.push('\\');
                out.push(character);
            }
            _ if character.is_control() || character == '\u{a0}' || character == '\u{ad}' => {
                out.push_str(&format!("\\x{:02x}", u32::from(character)));
            }
            _ => out.push(character),
        }
    }
    out.push(quote);
}

/// Python's `str(float)`: the shortest digits that read back, in its two layouts.
pub fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{number}");
        if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        }
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{:02}", exponent.abs())
    }
}

fn trim_fraction(number: f64) -> String {
    let text = float(number);
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_python_does() {
        for (number, text) in [
            (1.5, "1.5"),
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (1e22, "1e+22"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (1795334859.5746188, "1795334859.5746188"),
        ] {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn values_flatten_as_python_does() {
        let nested = Value::dict([
            ("a", Value::Int(1)),
            ("b", Value::List(vec![Value::Bool(true), Value::None])),
            ("c", Value::Tuple(vec![Value::text("it's")])),
        ]);
        for (value, text) in [
            (Value::Bool(true), "True"),
            (Value::None, "None"),
            (Value::text("é"), "é"),
            (Value::List(vec![Value::Int(1)]), "[1]"),
            (nested, "{'a': 1, 'b': [True, None], 'c': (\"it's\",)}"),
            (
                Value::List(vec![Value::text("a'\"\\\n\u{1}")]),
                "['a\\'\"\\\\\\n\\x01']",
            ),
        ] {
            assert_eq!(str(&value), text);
        }
    }
}
