//! What was typed, as parameters.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::model::{Kind, Model, More, Node};
use super::values::{ROOT, ROWS_MAX, Values, about, below, row};

/// Parameters as they were typed, and what is wrong with them.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::web) struct Reading {
    /// The parameters, as far as they could be read.
    pub(in crate::web) value: Json,
    /// What is wrong, by the name of the field.
    pub(in crate::web) errors: BTreeMap<String, String>,
    /// The field of each part, by its JSON pointer.
    places: BTreeMap<String, String>,
}

impl Reading {
    /// Says what is wrong with the part a JSON pointer leads to, at the nearest field there is.
    pub(in crate::web) fn blame(&mut self, pointer: &str, text: &str) {
        let mut at = pointer;
        let name = loop {
            match (self.places.get(at), at.rfind('/')) {
                (Some(name), _) => break name.clone(),
                (None, Some(slash)) => at = &at[..slash],
                (None, None) => break ROOT.to_owned(),
            }
        };
        // The first one is the nearest to the truth: the others often follow from it.
        self.errors.entry(name).or_insert_with(|| text.to_owned());
    }
}

impl Model {
    /// The parameters that fields hold.
    pub(in crate::web) fn read(&self, values: &Values) -> Reading {
        let mut reader = Reader {
            values,
            reading: Reading::default(),
        };
        let found = reader.node(&self.root, ROOT, "");
        reader.reading.value = found.map_or_else(|| Json::Object(Map::new()), |found| found.value);
        reader.reading
    }
}

/// What is in a part.
struct Found {
    value: Json,
    /// Whether somebody put it there: what the schema leaves no choice about comes by itself.
    is_typed: bool,
}

fn typed(value: Json) -> Found {
    Found {
        value,
        is_typed: true,
    }
}

/// Whether a part as it was typed is what was meant.
pub(super) fn reads_as(node: &Node, name: &str, values: &Values, meant: &Json) -> bool {
    let mut reader = Reader {
        values,
        reading: Reading::default(),
    };
    let found = reader.node(node, name, "");
    reader.reading.errors.is_empty() && found.is_some_and(|found| found.value == *meant)
}

struct Reader<'a> {
    values: &'a Values,
    reading: Reading,
}

impl Reader<'_> {
    fn wrong(&mut self, name: &str, text: impl Into<String>) -> Option<Found> {
        self.reading.errors.insert(name.to_owned(), text.into());
        None
    }

    fn node(&mut self, node: &Node, name: &str, pointer: &str) -> Option<Found> {
        let values = self.values;
        let place = (pointer.to_owned(), name.to_owned());
        self.reading.places.extend([place]);
        if let Some(text) = values.about(name, "json") {
            return self.json(name, text, false);
        }
        let text = values.get(name).unwrap_or_default();
        match &node.kind {
            Kind::Object { fields, more } => self.object(node, fields, more, name, pointer),
            Kind::List { item, rows_min, .. } => {
                let count = rows(node, *rows_min, values, name);
                let mut items = Vec::new();
                for index in 0..count {
                    let pointer = format!("{pointer}/{}", items.len());
                    let found = self.node(item, &row(name, index), &pointer);
                    items.extend(found.map(|found| found.value));
                }
                let is_typed = !items.is_empty() || values.is_marked(name, "empty");
                (is_typed || node.required).then_some(Found {
                    value: Json::Array(items),
                    is_typed,
                })
            }
            Kind::Choice(choices) => {
                if let (true, [(only, _)]) = (node.required, choices.as_slice()) {
                    return Some(Found {
                        value: only.clone(),
                        is_typed: false,
                    });
                }
                if text.is_empty() {
                    return None;
                }
                let chosen = text.parse().ok().and_then(|at: usize| choices.get(at));
                match chosen {
                    Some((value, _)) => Some(typed(value.clone())),
                    None => self.wrong(name, "This is none of the choices."),
                }
            }
            Kind::Boolean => match text {
                "" => None,
                "true" => Some(typed(Json::Bool(true))),
                "false" => Some(typed(Json::Bool(false))),
                _ => self.wrong(name, "This is neither yes nor no."),
            },
            Kind::Number { is_integer, .. } => {
                let text = text.trim();
                if text.is_empty() {
                    return None;
                }
                match serde_json::from_str::<Json>(text) {
                    Ok(number) if number.is_number() => Some(typed(number)),
                    _ if *is_integer => {
                        self.wrong(name, "This is not a whole number, such as 8080.")
                    }
                    _ => self.wrong(name, "This is not a number, such as 2.5."),
                }
            }
            Kind::Text { .. } => {
                // Browsers end lines in their own way.
                let text = text.replace("\r\n", "\n");
                let is_given = !text.is_empty() || values.is_marked(name, "empty");
                is_given.then(|| typed(Json::String(text)))
            }
            Kind::Either(alternatives) => {
                let which = which(node, values, name)?;
                let Some((_, chosen)) = alternatives.get(which) else {
                    return self.wrong(name, "This is none of the alternatives.");
                };
                let is_typed = !node.required;
                let found = self.node(chosen, &inner(chosen, name), pointer)?;
                Some(Found {
                    is_typed: is_typed || found.is_typed,
                    ..found
                })
            }
            Kind::Json { plain } => self.json(name, text, *plain),
        }
    }

    fn json(&mut self, name: &str, text: &str, plain: bool) -> Option<Found> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        match serde_json::from_str(text) {
            Ok(value) => Some(typed(value)),
            Err(_) if plain && is_plain(text) => Some(typed(Json::from(text))),
            Err(error) => self.wrong(name, format!("This is not JSON: {error}.")),
        }
    }

    fn object(
        &mut self,
        node: &Node,
        fields: &[(String, Node)],
        more: &More,
        name: &str,
        pointer: &str,
    ) -> Option<Found> {
        let mut entries = Map::new();
        let mut is_typed = self.values.is_marked(name, "empty");
        for (key, field) in fields {
            let pointer = format!("{pointer}/{}", escaped(key));
            if let Some(found) = self.node(field, &below(name, key), &pointer) {
                is_typed |= found.is_typed;
                entries.insert(key.clone(), found.value);
            }
        }
        let count = self.values.count(name, "more").unwrap_or_default();
        for index in 0..if more.node().is_some() { count } else { 0 } {
            let row_name = row(&about(name, "more"), index);
            let key_name = row(&about(name, "key"), index);
            let key = self.values.get(&key_name).unwrap_or_default();
            let pointer = format!("{pointer}/{}", escaped(key));
            let value = more
                .node()
                .and_then(|node| self.node(node, &row_name, &pointer));
            let marked = self.values.is_marked(&key_name, "empty");
            match (value, key.is_empty() && !marked) {
                (None, true) => {}
                (Some(_), true) => {
                    self.wrong(&key_name, "Give it a name, or remove it.");
                }
                (None, false) => {
                    let errors = &mut self.reading.errors;
                    errors
                        .entry(row_name)
                        .or_insert_with(|| "Give it a value, or remove it.".to_owned());
                }
                (Some(found), false) => {
                    is_typed = true;
                    if entries.insert(key.to_owned(), found.value).is_some() {
                        self.wrong(&key_name, "There is another one of this name.");
                    }
                }
            }
        }
        (is_typed || node.required).then_some(Found {
            value: Json::Object(entries),
            is_typed,
        })
    }
}

/// How many rows a list shows.
pub(super) fn rows(node: &Node, rows_min: usize, values: &Values, name: &str) -> usize {
    let untouched = if node.required { rows_min } else { 0 };
    let count = values.count(name, "rows");
    count.unwrap_or(untouched).min(ROWS_MAX)
}

/// Which alternative is chosen: the first one where there must be one.
pub(super) fn which(node: &Node, values: &Values, name: &str) -> Option<usize> {
    match values.about(name, "which") {
        Some(text) if !text.is_empty() => Some(text.parse().unwrap_or(usize::MAX)),
        _ => node.required.then_some(0),
    }
}

/// What the fields of an alternative are called: as what it is an alternative of, so that what they
/// have in common stays when another one is chosen.
pub(super) fn inner(chosen: &Node, name: &str) -> String {
    match chosen.kind {
        Kind::Either(_) => format!("{name}~"),
        _ => name.to_owned(),
    }
}

/// Whether a text that is no JSON certainly was not meant to be.
pub(super) fn is_plain(text: &str) -> bool {
    !text.starts_with(['{', '[', '"'])
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
