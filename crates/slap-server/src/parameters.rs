//! What of a request's parameters can be kept and sent back later (P 2, quirk 8).

use std::collections::BTreeMap;

use slap::document::TextDict;
use slap::{Value, marshal, python};

/// How deep values may be nested. What reads a document back stops at 100, and the document around
/// a shared instance's parameters needs some of that.
pub const DEPTH_MAX: usize = 60;

/// Every value as the text the wire shows for it: Python's `str()`.
pub fn flattened(entries: BTreeMap<String, Value>) -> TextDict {
    entries
        .into_iter()
        .map(|(key, value)| match value {
            Value::String(text) => (key, text),
            other => (key, python::str(&other)),
        })
        .collect()
}

/// Whether parameters can be sent to a partition later.
///
/// # Errors
/// A text that says which one cannot, and why.
pub fn check(entries: &BTreeMap<String, Value>) -> Result<(), String> {
    if entries.values().any(|value| depth(value) > DEPTH_MAX) {
        return Err(format!(
            "the parameters are nested deeper than {DEPTH_MAX} levels"
        ));
    }
    for (key, value) in entries {
        sendable(key, key)?;
        match value {
            Value::String(text) => sendable(key, text)?,
            other => {
                marshal::encode(other)
                    .map_err(|error| format!("the parameter {key:?}: {error}"))?;
            }
        }
    }
    Ok(())
}

/// As [`check`], of parameters that are texts already.
///
/// # Errors
/// A text that says which one cannot be sent, and why.
pub fn check_texts(entries: &TextDict) -> Result<(), String> {
    entries.iter().try_for_each(|(key, text)| {
        sendable(key, key)?;
        sendable(key, text)
    })
}

fn sendable(key: &str, text: &str) -> Result<(), String> {
    if is_plain(text) {
        return Ok(());
    }
    marshal::encode(&Value::text(text))
        .map(|_| ())
        .map_err(|error| format!("the parameter {key:?}: {error}"))
}

/// Whether a text certainly can be sent, without looking closer: no control character and nothing
/// near the end of the basic plane.
fn is_plain(text: &str) -> bool {
    !text.bytes().any(|byte| byte < 0x20 || byte == 0xef)
}

fn depth(value: &Value) -> usize {
    let deepest = |values: &mut dyn Iterator<Item = &Value>| values.map(depth).max().unwrap_or(0);
    match value {
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
            1 + deepest(&mut items.iter())
        }
        Value::Dict(entries) => 1 + deepest(&mut entries.values()),
        Value::Object(object) => 1 + deepest(&mut object.attributes.values()),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn one(value: Value) -> BTreeMap<String, Value> {
        BTreeMap::from([("k".to_owned(), value)])
    }

    #[test]
    fn values_become_the_texts_python_shows() {
        for (value, text) in [
            (Value::text("x"), "x"),
            (Value::Int(1), "1"),
            (Value::Bool(true), "True"),
            (Value::None, "None"),
            (Value::List(vec![Value::text("a")]), "['a']"),
        ] {
            assert_eq!(flattened(one(value))["k"], text);
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_its_name() {
        let nested = (0..=DEPTH_MAX).fold(Value::None, |inner, _| Value::List(vec![inner]));
        assert_eq!(
            check(&one(nested)).unwrap_err(),
            "the parameters are nested deeper than 60 levels"
        );
        for bad in [
            Value::text("a\0"),
            Value::List(vec![Value::text("\u{ffff}")]),
        ] {
            let error = check(&one(bad)).unwrap_err();
            assert!(error.starts_with("the parameter \"k\": "), "{error}");
        }
        assert!(check(&BTreeMap::from([("\u{1}".to_owned(), Value::None)])).is_err());
        assert!(check_texts(&BTreeMap::from([("k".to_owned(), "\u{1}".to_owned())])).is_err());
    }

    proptest! {
        #[test]
        fn what_is_accepted_can_be_sent(key in any::<String>(), text in any::<String>()) {
            let entries = BTreeMap::from([(key, Value::String(text))]);
            let verdict = check(&entries);
            prop_assert_eq!(
                verdict.is_ok(),
                check_texts(&flattened(entries.clone())).is_ok()
            );
            if verdict.is_ok() {
                prop_assert!(marshal::encode(&Value::Dict(entries)).is_ok());
            }
        }
    }
}
