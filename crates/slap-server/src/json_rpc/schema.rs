//! What the calls accept and answer: as data, checked in the words of Python's validator.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use slap::python;
pub use slap::reference::TITLE_CHARS_MAX;

use crate::Problem;

/// What a member may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A title: at most [`TITLE_CHARS_MAX`] characters.
    Title,
    /// One of some words.
    Word(&'static [&'static str]),
    /// A truth value.
    Bool,
    /// An integer.
    Integer,
    /// An object of anything.
    Object,
    /// SLA parameters: texts, but for one number.
    Sla,
    /// A list of objects with these members and no others.
    List(&'static [Member]),
    /// A list of texts.
    Texts,
    /// A list of lists of texts.
    Rows,
}

/// A literal, where no call needs more than a text or a truth value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Literal {
    /// A text.
    Text(&'static str),
    /// A truth value.
    Bool(bool),
}

/// A member of an object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// Whether it must be there.
    pub required: bool,
    /// What its absence means, where that is one value.
    pub default: Option<Literal>,
}

pub(super) const fn need(name: &'static str, kind: Kind) -> Member {
    Member {
        name,
        kind,
        required: true,
        default: None,
    }
}

pub(super) const fn may(name: &'static str, kind: Kind) -> Member {
    Member {
        name,
        kind,
        required: false,
        default: None,
    }
}

impl Member {
    pub(super) const fn or_text(mut self, text: &'static str) -> Self {
        self.default = Some(Literal::Text(text));
        self
    }

    pub(super) const fn or_bool(mut self, truth: bool) -> Self {
        self.default = Some(Literal::Bool(truth));
        self
    }
}

/// What a call answers when it succeeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Output {
    /// The success document.
    Success,
    /// The document of an instance.
    Instance,
    /// The document of an instance, or that it is not ready.
    InstanceOrNotReady,
    /// A certificate with its key.
    Certificate,
    /// `result_list`: objects with these members and no others.
    List(&'static [Member]),
    /// An object with these members and no others.
    Document(&'static [Member]),
    /// An object with these members and any others.
    Open(&'static [Member]),
}

/// The members of the instance document.
pub(super) const INSTANCE: &[Member] = &[
    need("title", Kind::Text),
    need("instance_guid", Kind::Text),
    need("software_release_uri", Kind::Text),
    need("software_type", Kind::Text),
    need("state", Kind::Word(&["started", "stopped", "destroyed"])),
    need("connection_parameters", Kind::Object),
    need("parameters", Kind::Object),
    need("shared", Kind::Bool),
    need("root_instance_title", Kind::Text),
    need("ip_list", Kind::Rows),
    need("full_ip_list", Kind::Rows),
    need("sla_parameters", Kind::Object),
    need("computer_guid", Kind::Text),
    need("compute_partition_id", Kind::Text),
    need("processing_timestamp", Kind::Integer),
    need("access_status_message", Kind::Text),
];

/// The members of the document of an instance that is not ready.
pub(super) const NOT_READY: &[Member] = &[
    need("message", Kind::Text),
    need("status", Kind::Integer),
    need("name", Kind::Word(&["SoftwareInstanceNotReady"])),
];

/// The members of the success document.
pub(super) const SUCCESS: &[Member] = &[
    need("type", Kind::Word(&["success"])),
    need("title", Kind::Text),
];

/// The members of a certificate.
pub(super) const CERTIFICATE: &[Member] =
    &[need("key", Kind::Text), need("certificate", Kind::Text)];

impl Output {
    pub(super) fn check(self, answer: &Value) -> Result<(), String> {
        match self {
            Output::Success => object(answer, Some(SUCCESS)),
            Output::Instance => object(answer, Some(INSTANCE)),
            Output::InstanceOrNotReady if answer.get("name").is_some() => {
                object(answer, Some(NOT_READY))
            }
            Output::InstanceOrNotReady => object(answer, Some(INSTANCE)),
            Output::Certificate => object(answer, Some(CERTIFICATE)),
            Output::List(members) => {
                let listed = object(answer, None).and_then(|()| match answer.get("result_list") {
                    Some(list) => kind(list, Kind::List(members)),
                    None => Err("'result_list' is a required property".to_owned()),
                });
                listed.and_then(|()| extra(answer, |key| key == "result_list"))
            }
            Output::Document(members) => object(answer, Some(members)),
            Output::Open(members) => required(answer, members),
        }
    }
}

/// What is wrong with an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputMistake {
    /// The body is no JSON: the parser says why.
    NotJson(String),
    /// It is JSON, but no object.
    NotAnObject(String),
    /// It is an object that does not fit.
    Invalid(String),
}

impl std::fmt::Display for InputMistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            InputMistake::NotJson(detail) => write!(f, "The body is not JSON: {detail}"),
            InputMistake::NotAnObject(detail) | InputMistake::Invalid(detail) => {
                f.write_str(detail)
            }
        }
    }
}

impl std::error::Error for InputMistake {}

impl From<InputMistake> for Problem {
    fn from(mistake: InputMistake) -> Self {
        Problem::bad_request(mistake)
    }
}

/// Unexpected members named in a message.
const EXTRA_NAMED_MAX: usize = 20;
/// How much of a value a message shows, in characters.
const SHOWN_CHARS_MAX: usize = 1_000;

/// Checks an input.
pub(super) fn check(input: &Value, members: &[Member]) -> Result<(), InputMistake> {
    object(input, None).map_err(InputMistake::NotAnObject)?;
    object(input, Some(members)).map_err(InputMistake::Invalid)
}

fn shown(value: &Value) -> String {
    let shown = python::repr(&slap::Value::from(value));
    if shown.chars().count() <= SHOWN_CHARS_MAX {
        return shown;
    }
    shown.chars().take(SHOWN_CHARS_MAX).chain(['…']).collect()
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
    let Some(members) = members else {
        return Ok(());
    };
    for member in members.iter().filter(|member| member.required) {
        if value.get(member.name).is_none() {
            return Err(format!("'{}' is a required property", member.name));
        }
    }
    extra(value, |key| members.iter().any(|member| member.name == key))?;
    required(value, members)
}

/// An object that holds these members, and may hold others.
fn required(value: &Value, members: &[Member]) -> Result<(), String> {
    of_type(value, value.is_object(), "object")?;
    for member in members {
        match value.get(member.name) {
            Some(value) => kind(value, member.kind)?,
            None if member.required => {
                return Err(format!("'{}' is a required property", member.name));
            }
            None => {}
        }
    }
    Ok(())
}

/// Members that are not known: none is allowed.
fn extra(value: &Value, known: impl Fn(&str) -> bool) -> Result<(), String> {
    let mut extra: Vec<&String> = value
        .as_object()
        .into_iter()
        .flat_map(Map::keys)
        .filter(|key| !known(key))
        .collect();
    extra.sort();
    let names: Vec<String> = extra
        .iter()
        .take(EXTRA_NAMED_MAX)
        .map(|name| python::repr(&slap::Value::text(name.as_str())))
        .collect();
    match extra.len() {
        0 => Ok(()),
        1 => Err(format!(
            "Additional properties are not allowed ({} was unexpected)",
            names.join(", ")
        )),
        _ => Err(format!(
            "Additional properties are not allowed ({} were unexpected)",
            names.join(", ")
        )),
    }
}

fn texts(value: &Value) -> Result<(), String> {
    of_type(value, value.is_array(), "array")?;
    let mut items = value.as_array().into_iter().flatten();
    items.try_for_each(|item| of_type(item, item.is_string(), "string"))
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
        Kind::Integer => of_type(value, value.is_i64() || value.is_u64(), "integer"),
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
        Kind::Texts => texts(value),
        Kind::Rows => {
            of_type(value, value.is_array(), "array")?;
            for row in value.as_array().into_iter().flatten() {
                texts(row)?;
            }
            Ok(())
        }
    }
}

/// A checked input.
#[derive(Debug, Clone, PartialEq)]
pub struct Input(pub(super) Value);

impl Input {
    /// A text; empty when it is absent.
    pub fn text(&self, name: &str) -> &str {
        self.optional(name).unwrap_or_default()
    }

    /// A text that may be absent.
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// A truth value that may be absent.
    pub fn truth(&self, name: &str) -> Option<bool> {
        self.0.get(name).and_then(Value::as_bool)
    }

    /// An object's entries as values of the wire; `None` when it is absent.
    pub fn entries(&self, name: &str) -> Option<BTreeMap<String, slap::Value>> {
        let entries = self.0.get(name)?.as_object()?.iter();
        Some(
            entries
                .map(|(key, value)| (key.clone(), slap::Value::from(value)))
                .collect(),
        )
    }

    /// The whole input.
    pub fn as_json(&self) -> &Value {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const PARTITION: &[Member] = &[
        need("partition_id", Kind::Text),
        may(
            "ip_list",
            Kind::List(&[need("ip-address", Kind::Text), may("netmask", Kind::Text)]),
        ),
    ];
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
            assert_eq!(check(&input, MEMBERS).unwrap_err().to_string(), message);
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

    #[test]
    fn messages_are_bounded() {
        let long = check(&json!({"a": "x".repeat(1_000_000)}), MEMBERS).unwrap_err();
        assert!(long.to_string().chars().count() < 1_100);
        let many: Map<String, Value> = (0..10_000).map(|n| (n.to_string(), json!(1))).collect();
        let mut input = json!({"a": ""});
        if let Some(entries) = input.as_object_mut() {
            entries.extend(many);
        }
        assert!(check(&input, MEMBERS).unwrap_err().to_string().len() < 300);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let keys = proptest::sample::select(vec!["a", "w", "b", "o", "s", "p", "partition_id"]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[xy]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 30, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((keys.clone(), inner), 0..5).prop_map(|pairs| {
                    pairs
                        .into_iter()
                        .map(|(key, value)| (key.to_owned(), value))
                        .collect::<Map<_, _>>()
                        .into()
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn anything_is_checked(input in any_json()) {
            if check(&input, MEMBERS).is_ok() {
                let input = Input(input);
                prop_assert!(input.optional("a").is_some());
            }
            for output in [Output::Instance, Output::InstanceOrNotReady, Output::List(MEMBERS)] {
                let _ = output.check(&Value::Null);
            }
        }
    }
}
