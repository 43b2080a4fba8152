//! A schema for reading: which parameters there are, and what each may be.

use maud::{Markup, html};
use serde_json::Value as Json;

use super::model::{Kind, Model, More, Node, name_of};

/// The parameters of a schema, each with what it is, what it may be, and what it is without being
/// given; those within another one under it.
pub(in crate::web) fn explain(model: &Model) -> Markup {
    let root = &model.root;
    html! {
        div.schema {
            @if !root.description.is_empty() { p.muted { (root.description) } }
            @match inside(root) {
                Some(inside) => (inside),
                None => p.muted { "It takes no parameters." },
            }
        }
    }
}

/// What a part is, in a word or two.
fn kind(node: &Node) -> String {
    match &node.kind {
        Kind::Object { .. } => "object".to_owned(),
        Kind::List { item, .. } => format!("list of: {}", kind(item)),
        Kind::Choice(choices) => {
            let words: Vec<String> = choices.iter().map(|(value, _)| name_of(value)).collect();
            match words.as_slice() {
                [only] => format!("always {only}"),
                words => format!("one of {}", words.join(", ")),
            }
        }
        Kind::Boolean => "yes or no".to_owned(),
        Kind::Number {
            is_integer: true, ..
        } => "whole number".to_owned(),
        Kind::Number { .. } => "number".to_owned(),
        Kind::Text {
            is_secret: true, ..
        } => "secret text".to_owned(),
        Kind::Text { .. } => "text".to_owned(),
        Kind::Either(_) => "one of several".to_owned(),
        Kind::Json { .. } => "any JSON".to_owned(),
    }
}

fn limits(node: &Node) -> &str {
    match &node.kind {
        Kind::Number { limits, .. } | Kind::Text { limits, .. } => limits,
        _ => "",
    }
}

/// What is within a part, if something is.
fn inside(node: &Node) -> Option<Markup> {
    match &node.kind {
        Kind::Object { fields, more } => {
            let open = match more {
                More::Open(further) => Some(further),
                More::Closed | More::Silent(_) => None,
            };
            (!fields.is_empty() || open.is_some()).then(|| {
                html! {
                    ul {
                        @for (name, field) in fields { (part(name, field)) }
                        @if let Some(further) = open { (part("any other name", further)) }
                    }
                }
            })
        }
        Kind::List { item, .. } => inside(item),
        Kind::Either(alternatives) => Some(html! {
            ul { @for (title, node) in alternatives { (part(title, node)) } }
        }),
        _ => None,
    }
}

fn part(name: &str, node: &Node) -> Markup {
    let default = node.default.as_ref().filter(|value| !value.is_null());
    let has_title = !node.title.is_empty() && node.title != name;
    html! {
        li {
            p {
                code.strong { (name) } " "
                @if has_title { (node.title) ", " }
                span.muted { (kind(node)) }
                @if node.required { span.required { ", required" } }
                @if node.deprecated { span.muted { ", deprecated" } }
            }
            @if !node.description.is_empty() { p.help { (node.description) } }
            @if !limits(node).is_empty() { p.help { (limits(node)) } }
            @if let Some(default) = default { p.help { "Without it: " code { (told(default)) } } }
            @if let Some(inside) = inside(node) { (inside) }
        }
    }
}

/// A default as it would be typed; an empty text is seen.
fn told(default: &Json) -> String {
    match default {
        Json::String(text) if !text.is_empty() => text.clone(),
        other => other.to_string(),
    }
}
