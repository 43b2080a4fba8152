//! Fields of a form or of a query string, and the marshalled values in them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use slap::reference::ReferenceError;
use slap::{Value, marshal};

use crate::Problem;

/// Most fields that are looked at: no call has more than a dozen.
pub const FIELDS_MAX: usize = 100;

/// Decoded fields, in their order. Bytes that are no UTF-8 become replacement characters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Fields<'a> {
    /// Reads `a=b&c=d`, as forms and query strings have it. There is nothing that cannot be read;
    /// fields beyond [`FIELDS_MAX`] are dropped.
    pub fn parse(text: &'a [u8]) -> Self {
        Fields(form_urlencoded::parse(text).take(FIELDS_MAX).collect())
    }

    /// A field's text, the first one when it is there several times.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All texts of a field.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_ref())
    }

    /// A field that says something: neither absent nor what Python clients send for nothing.
    pub fn given(&self, name: &str) -> Option<&str> {
        given(self.get(name))
    }

    /// A field that must be there; it may be empty.
    ///
    /// # Errors
    /// 400 when it is absent.
    pub fn need(&self, name: &str) -> Result<&str, Problem> {
        self.get(name)
            .ok_or_else(|| Problem::bad_request(format!("The field {name} is missing")))
    }

    /// A field that must be there and be a reference.
    ///
    /// # Errors
    /// 400 when it is absent or cannot be one.
    pub fn reference<T: FromStr<Err = ReferenceError>>(&self, name: &str) -> Result<T, Problem> {
        self.word(name)
    }

    /// A field that must be there and be of some known words.
    ///
    /// # Errors
    /// 400 when it is absent or none of them.
    pub fn word<T: FromStr>(&self, name: &str) -> Result<T, Problem>
    where
        T::Err: fmt::Display,
    {
        parsed(name, self.need(name)?)
    }

    /// A field that may say nothing; else it must be of some known words, or a reference.
    ///
    /// # Errors
    /// 400 when it says something else.
    pub fn given_word<T: FromStr>(&self, name: &str) -> Result<Option<T>, Problem>
    where
        T::Err: fmt::Display,
    {
        self.given(name).map(|text| parsed(name, text)).transpose()
    }

    /// A field that holds a marshalled document; nothing when it is absent or empty (quirk 43).
    ///
    /// # Errors
    /// 400 when it holds something else.
    pub fn value(&self, name: &str) -> Result<Value, Problem> {
        match self.get(name) {
            None | Some("") => Ok(Value::None),
            Some(document) => marshal::decode(document.as_bytes())
                .map_err(|error| Problem::bad_request(format!("The field {name}: {error}"))),
        }
    }

    /// A field that holds a marshalled dictionary; `None` when it is absent, empty or holds
    /// Python's `None`.
    ///
    /// # Errors
    /// 400 when it holds something else.
    pub fn dictionary(&self, name: &str) -> Result<Option<BTreeMap<String, Value>>, Problem> {
        match self.value(name)? {
            Value::None => Ok(None),
            Value::Dict(entries) => Ok(Some(entries)),
            other => Err(unexpected(name, &other, "a dictionary")),
        }
    }

    /// A field that holds a marshalled truth value, or a number in its place; `None` when it is
    /// absent, empty or holds Python's `None`.
    ///
    /// # Errors
    /// 400 when it holds something else.
    pub fn truth(&self, name: &str) -> Result<Option<bool>, Problem> {
        match self.value(name)? {
            Value::None => Ok(None),
            Value::Bool(truth) => Ok(Some(truth)),
            Value::Int(number) => Ok(Some(number != 0)),
            other => Err(unexpected(name, &other, "a truth value")),
        }
    }

    /// A field that holds a marshalled word out of some; `None` when it is absent, empty, or holds
    /// an empty text or Python's `None`.
    ///
    /// # Errors
    /// 400 when it holds something else.
    pub fn marshalled_word<T: FromStr>(&self, name: &str) -> Result<Option<T>, Problem>
    where
        T::Err: fmt::Display,
    {
        match self.value(name)? {
            Value::None => Ok(None),
            Value::String(word) if word.is_empty() => Ok(None),
            Value::String(word) => parsed(name, &word).map(Some),
            other => Err(unexpected(name, &other, "a word")),
        }
    }
}

fn parsed<T: FromStr>(name: &str, text: &str) -> Result<T, Problem>
where
    T::Err: fmt::Display,
{
    text.parse()
        .map_err(|error| Problem::bad_request(format!("The field {name}: {error}")))
}

fn unexpected(name: &str, found: &Value, expected: &str) -> Problem {
    Problem::bad_request(format!(
        "The field {name} holds {} instead of {expected}",
        found.kind()
    ))
}

/// A text that says something: Python clients send an empty one, or the word `None`, for nothing
/// (quirk 5).
pub fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty() && *text != "None")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use slap::{InstanceState, NodeId};

    #[test]
    fn fields_are_read_as_forms_write_them() {
        let fields = Fields::parse(b"a=1+2&b=%C3%A9&a=3&empty=&none=None&flag");
        assert_eq!(fields.get("a"), Some("1 2"));
        assert_eq!(fields.all("a").collect::<Vec<_>>(), ["1 2", "3"]);
        assert_eq!(fields.get("b"), Some("é"));
        assert_eq!(fields.get("flag"), Some(""));
        for name in ["empty", "none", "flag", "absent"] {
            assert_eq!(fields.given(name), None, "{name}");
        }
        assert_eq!(
            fields.need("absent").unwrap_err(),
            Problem::bad_request("The field absent is missing")
        );
        assert_eq!(
            fields.reference::<NodeId>("empty").unwrap_err().text,
            "The field empty: a compute node's reference is empty"
        );
        assert_eq!(fields.given_word::<NodeId>("none"), Ok(None));
    }

    #[test]
    fn marshalled_fields_are_typed_or_refused() {
        let form = |document: &str| {
            form_urlencoded::Serializer::new(String::new())
                .append_pair("f", document)
                .finish()
        };
        let nothing = ["", "<marshal><none/></marshal>"];
        for document in nothing {
            let form = form(document);
            let fields = Fields::parse(form.as_bytes());
            assert_eq!(fields.dictionary("f"), Ok(None));
            assert_eq!(fields.truth("f"), Ok(None));
            assert_eq!(fields.marshalled_word::<InstanceState>("f"), Ok(None));
        }
        for (document, truth) in [
            ("<marshal><bool>1</bool></marshal>", true),
            ("<marshal><int>0</int></marshal>", false),
        ] {
            let form = form(document);
            assert_eq!(
                Fields::parse(form.as_bytes()).truth("f"),
                Ok(Some(truth)),
                "{document}"
            );
        }
        let list = form("<marshal><list/></marshal>");
        let fields = Fields::parse(list.as_bytes());
        assert_eq!(
            fields.dictionary("f").unwrap_err().text,
            "The field f holds a list instead of a dictionary"
        );
        assert_eq!(
            fields.truth("f").unwrap_err().text,
            "The field f holds a list instead of a truth value"
        );
        assert_eq!(
            fields
                .marshalled_word::<InstanceState>("f")
                .unwrap_err()
                .text,
            "The field f holds a list instead of a word"
        );
        let broken = form("<marshal>");
        let error = Fields::parse(broken.as_bytes()).value("f").unwrap_err();
        assert!(error.text.starts_with("The field f: "), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_fields(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let fields = Fields::parse(&bytes);
            let _ = fields.value("a");
        }

        #[test]
        fn what_a_form_writes_is_read_back(
            pairs in proptest::collection::vec((".{0,20}", ".{0,20}"), 0..20)
        ) {
            let text = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(&pairs)
                .finish();
            let fields = Fields::parse(text.as_bytes());
            let read: Vec<(String, String)> = fields
                .0
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect();
            prop_assert_eq!(read, pairs);
        }
    }
}
