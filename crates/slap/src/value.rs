//! What the wire can carry: the values of P 1.1.

use std::collections::BTreeMap;

/// A value of the marshalling format (P 1.1).
///
/// Dictionaries have text keys in code point order, which is the order the wire wants.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// Python's `None`.
    #[default]
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer; the wire calls those beyond 1e24 `long`.
    Int(i128),
    /// A floating point number, infinities and not-a-number included.
    Float(f64),
    /// A complex number (real, imaginary). Unused in practice, accepted for completeness.
    Complex(f64, f64),
    /// Text.
    String(String),
    /// An ordered sequence.
    List(Vec<Value>),
    /// An immutable sequence.
    Tuple(Vec<Value>),
    /// A set. Unused in practice, accepted for completeness.
    Set(Vec<Value>),
    /// A dictionary, sorted by key.
    Dict(BTreeMap<String, Value>),
    /// An instance of one of the four classes the wire allows.
    Object(Box<Object>),
}

/// The classes an object on the wire may have (P 1.1.2); nothing else is ever instantiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A compute node.
    Computer,
    /// A partition of a compute node.
    ComputerPartition,
    /// A software release.
    SoftwareRelease,
    /// An instance, as a request answers it.
    SoftwareInstance,
}

impl Class {
    /// The name the wire uses.
    pub fn name(self) -> &'static str {
        match self {
            Class::Computer => "Computer",
            Class::ComputerPartition => "ComputerPartition",
            Class::SoftwareRelease => "SoftwareRelease",
            Class::SoftwareInstance => "SoftwareInstance",
        }
    }

    /// The class of this wire name.
    pub fn from_name(name: &str) -> Option<Class> {
        [
            Class::Computer,
            Class::ComputerPartition,
            Class::SoftwareRelease,
            Class::SoftwareInstance,
        ]
        .into_iter()
        .find(|class| class.name() == name)
    }
}

/// An object: its class, its constructor's arguments and all its attributes (P 1.1.2).
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// One of the four classes.
    pub class: Class,
    /// The constructor's arguments.
    pub arguments: Vec<Value>,
    /// All attributes, those given to the constructor included.
    pub attributes: BTreeMap<String, Value>,
}

impl Value {
    /// Text as a value.
    pub fn text(text: impl Into<String>) -> Value {
        Value::String(text.into())
    }

    /// A dictionary from pairs.
    pub fn dict<K: Into<String>>(pairs: impl IntoIterator<Item = (K, Value)>) -> Value {
        Value::Dict(
            pairs
                .into_iter()
                .map(|(key, value)| (key.into(), value))
                .collect(),
        )
    }

    /// A dictionary of text values.
    pub fn text_dict<'a, K: AsRef<str> + 'a, V: AsRef<str> + 'a>(
        pairs: impl IntoIterator<Item = (&'a K, &'a V)>,
    ) -> Value {
        Value::dict(
            pairs
                .into_iter()
                .map(|(key, value)| (key.as_ref(), Value::text(value.as_ref()))),
        )
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The elements of a list, tuple or set.
    pub fn as_sequence(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) | Value::Tuple(items) | Value::Set(items) => Some(items),
            _ => None,
        }
    }

    /// The entries, if it is a dictionary.
    pub fn as_dict(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Value::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }

    /// Whether it is Python's `None`.
    pub fn is_none(&self) -> bool {
        matches!(self, Value::None)
    }

    /// What the value is called in messages for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::None => "nothing",
            Value::Bool(_) => "a truth value",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Complex(..) => "a complex number",
            Value::String(_) => "a text",
            Value::List(_) => "a list",
            Value::Tuple(_) => "a tuple",
            Value::Set(_) => "a set",
            Value::Dict(_) => "a dictionary",
            Value::Object(_) => "an object",
        }
    }

    /// The JSON form of the value: sequences become arrays, objects their attributes.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Value::None => Json::Null,
            Value::Bool(truth) => Json::Bool(*truth),
            Value::Int(number) => match i64::try_from(*number) {
                Ok(small) => Json::from(small),
                Err(_) => Json::String(number.to_string()),
            },
            Value::Float(number) => {
                serde_json::Number::from_f64(*number).map_or(Json::Null, Json::Number)
            }
            Value::Complex(real, imaginary) => Json::String(format!("{real} {imaginary}")),
            Value::String(text) => Json::String(text.clone()),
            Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
                items.iter().map(Value::to_json).collect()
            }
            Value::Dict(entries) => entries_to_json(entries),
            Value::Object(object) => entries_to_json(&object.attributes),
        }
    }
}

fn entries_to_json(entries: &BTreeMap<String, Value>) -> serde_json::Value {
    entries
        .iter()
        .map(|(key, value)| (key.clone(), value.to_json()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::text(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::String(text)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Value::Bool(truth)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number.into())
    }
}

impl From<&serde_json::Value> for Value {
    fn from(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Value::None,
            Json::Bool(truth) => Value::Bool(*truth),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(small), _) => Value::Int(small.into()),
                (_, Some(large)) => Value::Int(large.into()),
                _ => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::text(text),
            Json::Array(items) => Value::List(items.iter().map(Value::from).collect()),
            Json::Object(entries) => Value::Dict(
                entries
                    .iter()
                    .map(|(key, value)| (key.clone(), Value::from(value)))
                    .collect(),
            ),
        }
    }
}
