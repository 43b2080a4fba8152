//! Fields of a form or of a query string, and the marshalled values in them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use ::slap::reference::ReferenceError;
use ::slap::{Value, marshal};

use super::Problem;

/// Most fields that are looked at: no call has more than a dozen.
const FIELDS_MAX: usize = 100;

/// Decoded fields, in their order.
pub(crate) struct Fields<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Fields<'a> {
    pub(crate) fn parse(text: &'a [u8]) -> Self {
        Fields(form_urlencoded::parse(text).take(FIELDS_MAX).collect())
    }

    /// A field's text, the first one when it is there several times.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_ref())
    }

    /// All texts of a field.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_ref())
    }

    /// A field that must be there.
    pub(crate) fn need(&self, name: &str) -> Result<&str, Problem> {
        self.get(name)
            .ok_or_else(|| Problem::bad_request(format!("The field {name} is missing")))
    }

    /// A field that must be there and be a reference.
    pub(crate) fn reference<T: FromStr<Err = ReferenceError>>(
        &self,
        name: &str,
    ) -> Result<T, Problem> {
        self.need(name)?
            .parse()
            .map_err(|error| Problem::bad_request(format!("The field {name}: {error}")))
    }

    /// A field that must be there and be of some known words.
    pub(crate) fn word<T: FromStr>(&self, name: &str) -> Result<T, Problem>
    where
        T::Err: std::fmt::Display,
    {
        self.need(name)?
            .parse()
            .map_err(|error| Problem::bad_request(format!("The field {name}: {error}")))
    }

    /// A field that holds a marshalled document; nothing when it is absent or empty (quirk 43).
    pub(crate) fn value(&self, name: &str) -> Result<Value, Problem> {
        match self.get(name) {
            None | Some("") => Ok(Value::None),
            Some(document) => marshal::decode(document.as_bytes())
                .map_err(|error| Problem::bad_request(format!("The field {name}: {error}"))),
        }
    }

    /// A field that holds a marshalled dictionary; an empty one when it is absent.
    pub(crate) fn dictionary(&self, name: &str) -> Result<BTreeMap<String, Value>, Problem> {
        match self.value(name)? {
            Value::None => Ok(BTreeMap::new()),
            Value::Dict(entries) => Ok(entries),
            other => Err(Problem::bad_request(format!(
                "The field {name} holds {} instead of a dictionary",
                other.kind()
            ))),
        }
    }
}

/// A text that Python clients send for nothing (quirk 5).
pub(crate) fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty() && *text != "None")
}
