//! What the calls accept: checked before anything is done, in the words of Python's validator.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use slap::python;

use super::super::Problem;

/// What a member of the input may be.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Any text.
    Text,
    /// A title: at most 200 characters.
    Title,
    /// One of some words.
    Word(&'static [&'static str]),
    /// A truth value.
    Bool,
    /// An object of anything.
    Object,
    /// SLA parameters: texts, but for one number.
    Sla,
    /// A list of objects of such members.
    List(&'static [Member]),
}

/// A member of the input.
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) required: bool,
}

pub(super) const fn need(name: &'static str, kind: Kind) -> Member {
    Member {
        name,
        kind,
        required: true,
    }
}

pub(super) const fn may(name: &'static str, kind: Kind) -> Member {
    Member {
        name,
        kind,
        required: false,
    }
}

const TITLE_CHARS_MAX: usize = 200;

/// An address of a partition.
const ADDRESS: &[Member] = &[
    need("ip-address", Kind::Text),
    may("network-interface", Kind::Text),
    may("netmask", Kind::Text),
    may("gateway-ip-address", Kind::Text),
    may("network-address", Kind::Text),
];

/// A partition of a node that describes itself.
pub(super) const PARTITION: &[Member] = &[
    need("partition_id", Kind::Text),
    may("ip_list", Kind::List(ADDRESS)),
];

/// Checks an input.
pub(super) fn check(input: &Value, members: &[Member]) -> Result<(), Problem> {
    object(input, Some(members)).map_err(Problem::bad_request)
}

fn shown(value: &Value) -> String {
    python::repr(&slap::Value::from(value))
}

fn of_type(value: &Value, fits: bool, name: &str) -> Result<(), String> {
    if fits {
        Ok(())
    } else {
        Err(format!("{} is not of type '{name}'", shown(value)))
    }
}

/// An object; with `members`, one that holds those and nothing else.
fn object(value: &Value, members: Option<&[Member]>) -> Result<(), String> {
    of_type(value, value.is_object(), "object")?;
    let (Some(entries), Some(members)) = (value.as_object(), members) else {
        return Ok(());
    };
    for member in members.iter().filter(|member| member.required) {
        if !entries.contains_key(member.name) {
            return Err(format!("'{}' is a required property", member.name));
        }
    }
    let mut extra: Vec<&String> = entries
        .keys()
        .filter(|key| members.iter().all(|member| member.name != key.as_str()))
        .collect();
    extra.sort();
    match extra.as_slice() {
        [] => {}
        [one] => {
            return Err(format!(
                "Additional properties are not allowed ({} was unexpected)",
                python::repr(&slap::Value::text(one.as_str()))
            ));
        }
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|name| python::repr(&slap::Value::text(name.as_str())))
                .collect();
            return Err(format!(
                "Additional properties are not allowed ({} were unexpected)",
                names.join(", ")
            ));
        }
    }
    for member in members {
        if let Some(value) = entries.get(member.name) {
            kind(value, member.kind)?;
        }
    }
    Ok(())
}

fn kind(value: &Value, expected: Kind) -> Result<(), String> {
    match expected {
        Kind::Text => of_type(value, value.is_string(), "string"),
        Kind::Title => {
            of_type(value, value.is_string(), "string")?;
            let length = value.as_str().unwrap_or_default().chars().count();
            if length > TITLE_CHARS_MAX {
                return Err(format!("{} is too long", shown(value)));
            }
            Ok(())
        }
        Kind::Word(words) => {
            of_type(value, value.is_string(), "string")?;
            if words.contains(&value.as_str().unwrap_or_default()) {
                return Ok(());
            }
            let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
            Err(format!(
                "{} is not one of [{}]",
                shown(value),
                words.join(", ")
            ))
        }
        Kind::Bool => of_type(value, value.is_boolean(), "boolean"),
        Kind::Object => object(value, None),
        Kind::Sla => {
            object(value, None)?;
            for (key, value) in value.as_object().into_iter().flatten() {
                if key == "retention_delay" {
                    of_type(value, value.is_number(), "number")?;
                } else {
                    of_type(value, value.is_string(), "string")?;
                }
            }
            Ok(())
        }
        Kind::List(members) => {
            of_type(value, value.is_array(), "array")?;
            value
                .as_array()
                .into_iter()
                .flatten()
                .try_for_each(|item| object(item, Some(members)))
        }
    }
}

/// A checked input.
#[derive(Clone, Copy)]
pub(super) struct Input<'a>(pub(super) &'a Value);

impl<'a> Input<'a> {
    /// A text; empty when it is absent.
    pub(super) fn text(self, name: &str) -> &'a str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A text that may be absent.
    pub(super) fn optional(self, name: &str) -> Option<&'a str> {
        self.0.get(name).and_then(Value::as_str)
    }

    pub(super) fn flag(self, name: &str) -> bool {
        self.0
            .get(name)
            .and_then(Value::as_bool)
            .unwrap_or_default()
    }

    /// An object's entries as values of the wire; none when it is absent.
    pub(super) fn entries(self, name: &str) -> BTreeMap<String, slap::Value> {
        self.0
            .get(name)
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(Map::iter)
            .map(|(key, value)| (key.clone(), slap::Value::from(value)))
            .collect()
    }

    /// The items of an array; none when it is absent.
    pub(super) fn items(self, name: &str) -> impl Iterator<Item = Input<'a>> {
        self.0
            .get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(Input)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    const MEMBERS: &[Member] = &[
        need("a", Kind::Title),
        may("w", Kind::Word(&["x", "y"])),
        may("b", Kind::Bool),
        may("o", Kind::Object),
        may("s", Kind::Sla),
        may("p", Kind::List(PARTITION)),
    ];

    #[test]
    fn the_words_of_pythons_validator() {
        let long = "x".repeat(201);
        for (input, message) in [
            (json!([]), "[] is not of type 'object'"),
            (json!(null), "None is not of type 'object'"),
            (json!({}), "'a' is a required property"),
            (
                json!({"a": "", "zz": 1}),
                "Additional properties are not allowed ('zz' was unexpected)",
            ),
            (
                json!({"a": "", "zz": 1, "yy": 1}),
                "Additional properties are not allowed ('yy', 'zz' were unexpected)",
            ),
            (json!({"a": 5}), "5 is not of type 'string'"),
            (json!({"a": "", "w": "z"}), "'z' is not one of ['x', 'y']"),
            (json!({"a": "", "b": "x"}), "'x' is not of type 'boolean'"),
            (json!({"a": "", "o": []}), "[] is not of type 'object'"),
            (json!({"a": "", "s": {"k": 1}}), "1 is not of type 'string'"),
            (
                json!({"a": "", "s": {"retention_delay": "x"}}),
                "'x' is not of type 'number'",
            ),
            (
                json!({"a": "", "p": [{}]}),
                "'partition_id' is a required property",
            ),
            (
                json!({"a": "", "p": [{"partition_id": "p", "ip_list": [{}]}]}),
                "'ip-address' is a required property",
            ),
            (json!({"a": long}), &format!("'{long}' is too long")),
        ] {
            assert_eq!(check(&input, MEMBERS).unwrap_err().text, message);
        }
    }

    #[test]
    fn what_fits_is_accepted() {
        let input = json!({
            "a": "é", "w": "y", "b": true, "o": {"x": [1]},
            "s": {"retention_delay": 1.5, "computer_guid": "c"},
            "p": [{"partition_id": "p", "ip_list": [{"ip-address": "::1", "netmask": ""}]}],
        });
        assert!(check(&input, MEMBERS).is_ok());
    }
}
