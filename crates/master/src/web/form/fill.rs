//! Parameters written into fields, so that reading them gives the same parameters again.

use serde_json::{Map, Value as Json};

use super::model::{Kind, Model, More, Node};
use super::read::{inner, is_plain, reads_as};
use super::values::{ROOT, ROWS_MAX, Values, about, below, row};

impl Model {
    /// The fields for these parameters. What no field can hold is JSON, just that part.
    pub(in crate::web) fn fill(&self, parameters: &Json) -> Values {
        let mut values = Values::default();
        fill(&self.root, ROOT, parameters, &mut values);
        if reads_as(&self.root, ROOT, &values, parameters) {
            return values;
        }
        let mut values = Values::default();
        as_json(ROOT, parameters, &mut values);
        values
    }
}

fn as_json(name: &str, value: &Json, values: &mut Values) {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    values.set(about(name, "json"), text);
}

fn fill(node: &Node, name: &str, value: &Json, values: &mut Values) {
    let is_done = match (&node.kind, value) {
        (Kind::Object { fields, more }, Json::Object(entries)) => {
            object(node, fields, more, name, entries, values)
        }
        (Kind::List { item, .. }, Json::Array(items)) if items.len() <= ROWS_MAX => {
            values.set(about(name, "rows"), items.len().to_string());
            for (index, value) in items.iter().enumerate() {
                fill(item, &row(name, index), value, values);
            }
            // A required one is sent as it is, and has no such box.
            if items.is_empty() && !node.required {
                values.set(about(name, "empty"), "1");
            }
            true
        }
        (Kind::Choice(choices), value) => {
            match choices.iter().position(|(choice, _)| choice == value) {
                Some(at) => {
                    values.set(name, at.to_string());
                    true
                }
                None => false,
            }
        }
        (Kind::Boolean, Json::Bool(value)) => {
            values.set(name, value.to_string());
            true
        }
        (Kind::Number { .. }, Json::Number(number)) => {
            values.set(name, number.to_string());
            true
        }
        (Kind::Text { .. }, Json::String(text)) if can_be_typed(text) => {
            values.set(name, text.as_str());
            if text.is_empty() {
                values.set(about(name, "empty"), "1");
            }
            true
        }
        (Kind::Either(alternatives), value) => either(alternatives, name, value, values),
        (Kind::Json { plain }, value) => {
            let text = match value {
                Json::String(text) if *plain && is_plainly(text) => text.clone(),
                value => serde_json::to_string_pretty(value).unwrap_or_default(),
            };
            values.set(name, text);
            true
        }
        _ => false,
    };
    if !is_done {
        as_json(name, value, values);
    }
}

fn either(alternatives: &[(String, Node)], name: &str, value: &Json, values: &mut Values) -> bool {
    let mut fallback = None;
    for (index, (_, node)) in alternatives.iter().enumerate() {
        let mut tried = Values::default();
        let name_inside = inner(node, name);
        fill(node, &name_inside, value, &mut tried);
        if !reads_as(node, &name_inside, &tried, value) {
            continue;
        }
        tried.set(about(name, "which"), index.to_string());
        let is_json = tried.about(&name_inside, "json").is_some();
        if !is_json && fits(node, value) {
            values.extend(tried);
            return true;
        }
        if !is_json && fallback.is_none() {
            fallback = Some(tried);
        }
    }
    match fallback {
        Some(tried) => {
            values.extend(tried);
            true
        }
        None => false,
    }
}

/// Whether a value looks like one of this part: which alternative it is, where several could hold
/// it.
fn fits(node: &Node, value: &Json) -> bool {
    match (&node.kind, value) {
        (Kind::Object { fields, more }, Json::Object(entries)) => {
            let known = |key: &String| fields.iter().any(|(name, _)| name == key);
            fields.iter().all(|(name, field)| match entries.get(name) {
                Some(value) => fits(field, value),
                None => !field.required,
            }) && (matches!(more, More::Open(_)) || entries.keys().all(known))
        }
        (Kind::List { item, .. }, Json::Array(items)) => {
            items.iter().all(|value| fits(item, value))
        }
        (Kind::Choice(choices), value) => choices.iter().any(|(choice, _)| choice == value),
        (Kind::Boolean, Json::Bool(_)) | (Kind::Text { .. }, Json::String(_)) => true,
        (Kind::Number { is_integer, .. }, Json::Number(number)) => !is_integer || !number.is_f64(),
        (Kind::Either(alternatives), value) => {
            let mut alternatives = alternatives.iter();
            alternatives.any(|(_, node)| fits(node, value))
        }
        (Kind::Json { .. }, _) => true,
        _ => false,
    }
}

fn object(
    node: &Node,
    fields: &[(String, Node)],
    more: &More,
    name: &str,
    entries: &Map<String, Json>,
    values: &mut Values,
) -> bool {
    let mut further = Vec::new();
    for (key, value) in entries {
        match fields.iter().find(|(known, _)| known == key) {
            Some((_, field)) => fill(field, &below(name, key), value, values),
            None => further.push((key, value)),
        }
    }
    if !further.is_empty() {
        let Some(node) = more.node().filter(|_| further.len() <= ROWS_MAX) else {
            return false;
        };
        values.set(about(name, "more"), further.len().to_string());
        for (index, (key, value)) in further.into_iter().enumerate() {
            if !can_be_typed(key) || key.contains('\n') {
                return false;
            }
            let key_name = row(&about(name, "key"), index);
            if key.is_empty() {
                values.set(about(&key_name, "empty"), "1");
            }
            values.set(key_name, key.as_str());
            fill(node, &row(&about(name, "more"), index), value, values);
        }
    }
    // With nothing in it that somebody typed, it would not be sent.
    let value = Json::Object(entries.clone());
    if !node.required && !reads_as(node, name, values, &value) {
        values.set(about(name, "empty"), "1");
    }
    true
}

/// Whether a browser sends a text back as it got it.
fn can_be_typed(text: &str) -> bool {
    !text
        .chars()
        .any(|c| c.is_control() && c != '\n' && c != '\t')
}

/// Whether a text is read as itself where JSON could stand.
fn is_plainly(text: &str) -> bool {
    !text.is_empty()
        && text.trim() == text
        && is_plain(text)
        && can_be_typed(text)
        && !text.contains(['\n', '\t'])
        && serde_json::from_str::<Json>(text).is_err()
}
