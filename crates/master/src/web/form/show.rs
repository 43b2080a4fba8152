//! The form as HTML: every field with its label, what it means, and what is wrong with it.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::Value as Json;

use super::model::{Kind, Model, More, Node, name_of};
use super::read::{inner, rows, which};
use super::values::{ROOT, ROWS_MAX, Values, about, below, row};
use crate::web::Icon;

/// Longest value that is shown as a hint, in characters.
const HINT_CHARS_MAX: usize = 60;

/// What a form is shown with.
pub(in crate::web) struct Look<'a> {
    /// What is in the fields.
    pub(in crate::web) values: &'a Values,
    /// What is wrong with them, by their names.
    pub(in crate::web) errors: &'a BTreeMap<String, String>,
    /// Where the form is sent to. Buttons within it come back to their part of the page.
    pub(in crate::web) action: &'a str,
}

/// The fields for all parameters, to stand within a form. The buttons among them are called `do`.
pub(in crate::web) fn show(model: &Model, look: &Look<'_>) -> Markup {
    let root = &model.root;
    html! {
        div.parameters {
            @if !root.description.is_empty() { p.muted { (root.description) } }
            @if let Some(error) = look.errors.get(ROOT) { p.wrong id="p-error" { (error) } }
            (look.body(root, ROOT, &root.title))
        }
    }
}

/// What is told about a field.
struct Words {
    described_by: Option<String>,
    is_invalid: Option<&'static str>,
    under: Markup,
}

impl Look<'_> {
    fn text(&self, name: &str) -> &str {
        self.values.get(name).unwrap_or_default()
    }

    fn words(&self, node: &Node, name: &str, limits: &str) -> Words {
        // What is wrong with an alternative of one field is said there.
        let error = self.errors.get(name).filter(|_| {
            let chosen = match &node.kind {
                Kind::Either(alternatives) => {
                    which(node, self.values, name).and_then(|which| alternatives.get(which))
                }
                _ => None,
            };
            chosen.is_none_or(|(_, chosen)| is_group(chosen))
        });
        let default = match (&node.kind, &node.default) {
            (Kind::Object { .. } | Kind::List { .. } | Kind::Either(_), Some(default))
                if !is_empty(default) =>
            {
                format!("Without it: {}.", cut(default))
            }
            _ => String::new(),
        };
        let help: Vec<&str> = [
            node.description.as_str(),
            limits,
            default.as_str(),
            if node.deprecated { "Deprecated." } else { "" },
            if node.read_only {
                "Set by the service itself."
            } else {
                ""
            },
        ]
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect();
        // A group and the one field in it may have the same name.
        let id = match is_group(node) {
            true => about(name, "part"),
            false => name.to_owned(),
        };
        let (error_id, help_id) = (format!("{id}-error"), format!("{id}-help"));
        let described_by = match (error.is_some(), help.is_empty()) {
            (true, true) => Some(error_id.clone()),
            (true, false) => Some(format!("{error_id} {help_id}")),
            (false, true) => None,
            (false, false) => Some(help_id.clone()),
        };
        Words {
            described_by,
            is_invalid: error.map(|_| "true"),
            under: html! {
                @if let Some(error) = error { p.wrong id=(error_id) { (error) } }
                @if !help.is_empty() { p.help id=(help_id) { (help.join(" ")) } }
            },
        }
    }

    /// A part with its name.
    fn node(&self, node: &Node, name: &str, title: &str) -> Markup {
        if is_group(node) && self.values.about(name, "json").is_none() {
            let words = self.words(node, name, "");
            return html! {
                fieldset id=(about(name, "part")) aria-describedby=[words.described_by] {
                    legend { (title) (required(node)) }
                    (words.under)
                    (self.body(node, name, title))
                }
            };
        }
        self.body(node, name, title)
    }

    /// What is in a part.
    fn body(&self, node: &Node, name: &str, title: &str) -> Markup {
        if self.values.about(name, "json").is_some() {
            return self.json(node, name, &about(name, "json"), title);
        }
        match &node.kind {
            Kind::Object { fields, more } => self.object(node, fields, more, name),
            Kind::List {
                item,
                rows_min,
                rows_max,
            } => {
                let count = rows(node, *rows_min, self.values, name);
                self.list(node, item, (count, *rows_max), name, title)
            }
            Kind::Either(alternatives) => self.either(node, alternatives, name, title),
            Kind::Choice(choices) => match choices.as_slice() {
                [(only, words)] if node.required => {
                    let words = if only.is_null() { "nothing" } else { words };
                    html! { p.fixed { span.strong { (title) ": " } (words) } }
                }
                choices => {
                    let choices = choices.iter().enumerate();
                    let choices: Vec<(String, &str)> = choices
                        .map(|(at, (_, words))| (at.to_string(), words.as_str()))
                        .collect();
                    self.select(node, name, title, &choices)
                }
            },
            Kind::Boolean => {
                let choices = [("true".to_owned(), "yes"), ("false".to_owned(), "no")];
                self.select(node, name, title, &choices)
            }
            Kind::Number { is_integer, limits } => {
                let mode = if *is_integer { "numeric" } else { "decimal" };
                self.line(node, name, title, limits, ("text", Some(mode)))
            }
            Kind::Text {
                is_long,
                is_secret,
                limits,
                may_be_empty,
            } => {
                let text = self.text(name);
                let is_marked = self.values.is_marked(name, "empty");
                let has_default = node.default.as_ref().is_some_and(|value| !is_empty(value));
                let shows_mark = *may_be_empty && (has_default || node.required) || is_marked;
                html! {
                    div.field {
                        @if *is_secret { (self.line(node, name, title, limits, ("password", None))) }
                        @else if *is_long || text.contains('\n') { (self.area(node, name, title, limits)) }
                        @else { (self.line(node, name, title, limits, ("text", None))) }
                        @if shows_mark { (self.mark(name, "Send it as an empty text", is_marked)) }
                    }
                }
            }
            Kind::Json { .. } => self.json(node, name, name, title),
        }
    }

    fn label(&self, node: &Node, name: &str, title: &str) -> Markup {
        html! { label for=(name) { (title) (required(node)) } }
    }

    fn line(
        &self,
        node: &Node,
        name: &str,
        title: &str,
        limits: &str,
        (kind, mode): (&str, Option<&str>),
    ) -> Markup {
        let words = self.words(node, name, limits);
        html! {
            div.field {
                (self.label(node, name, title))
                input id=(name) name=(name) type=(kind) inputmode=[mode] value=(self.text(name))
                    placeholder=[placeholder(node)] autocomplete="off"
                    aria-required=[node.required.then_some("true")]
                    aria-describedby=[words.described_by] aria-invalid=[words.is_invalid]
                    readonly[node.read_only];
                (words.under)
            }
        }
    }

    fn area(&self, node: &Node, name: &str, title: &str, limits: &str) -> Markup {
        let words = self.words(node, name, limits);
        html! {
            div.field {
                (self.label(node, name, title))
                textarea id=(name) name=(name) placeholder=[placeholder(node)] rows="4"
                    aria-required=[node.required.then_some("true")]
                    aria-describedby=[words.described_by] aria-invalid=[words.is_invalid]
                    readonly[node.read_only] { (lines(self.text(name))) }
                (words.under)
            }
        }
    }

    /// A part as JSON.
    fn json(&self, node: &Node, name: &str, field: &str, title: &str) -> Markup {
        let words = self.words(node, name, "");
        let text = self.text(field);
        let is_short = matches!(node.kind, Kind::Json { plain: true }) && !text.contains('\n');
        html! {
            div.field {
                label for=(field) { (title) (required(node)) }
                @if is_short {
                    input id=(field) name=(field) type="text" value=(text) autocomplete="off"
                        placeholder=[placeholder(node)] aria-describedby=[words.described_by]
                        aria-invalid=[words.is_invalid];
                } @else {
                    textarea.code id=(field) name=(field) rows="4" spellcheck="false"
                        placeholder=(node.default.as_ref().map_or_else(|| "JSON".to_owned(), cut))
                        aria-describedby=[words.described_by] aria-invalid=[words.is_invalid] {
                        (lines(text))
                    }
                }
                (words.under)
            }
        }
    }

    fn select(&self, node: &Node, name: &str, title: &str, choices: &[(String, &str)]) -> Markup {
        let words = self.words(node, name, "");
        let chosen = self.text(name);
        html! {
            div.field {
                (self.label(node, name, title))
                select id=(name) name=(name) aria-required=[node.required.then_some("true")]
                    aria-describedby=[words.described_by] aria-invalid=[words.is_invalid] {
                    option value="" { (not_given(node)) }
                    @for (value, words) in choices {
                        option value=(value) selected[value == chosen] { (words) }
                    }
                }
                (words.under)
            }
        }
    }

    fn mark(&self, name: &str, words: &str, is_marked: bool) -> Markup {
        let mark = about(name, "empty");
        html! {
            label.check for=(mark) {
                input type="checkbox" id=(mark) name=(mark) value="1" checked[is_marked];
                (words)
            }
        }
    }

    fn object(&self, node: &Node, fields: &[(String, Node)], more: &More, name: &str) -> Markup {
        let is_marked = self.values.is_marked(name, "empty");
        html! {
            @for (key, field) in fields { (self.node(field, &below(name, key), &field.title)) }
            @if !node.required && is_marked {
                (self.mark(name, "Send it even with nothing in it", is_marked))
            }
            (self.more(more, name, fields.is_empty()))
        }
    }

    /// Rows of a name and a value.
    fn more(&self, more: &More, name: &str, is_all: bool) -> Markup {
        let count = self.values.count(name, "more").unwrap_or_default();
        let (Some(node), true) = (more.node(), count > 0 || matches!(more, More::Open(_))) else {
            return html! {};
        };
        let part = about(name, "more");
        let words = match (node.title.as_str(), is_all) {
            ("", true) => "Values",
            ("", false) => "Further parameters",
            (title, _) => title,
        };
        let inside = html! {
            input type="hidden" name=(part) value=(count);
            @for index in 0..count {
                @let key = row(&about(name, "key"), index);
                @let value = row(&part, index);
                div.row id=(format!("{part}-{index}")) {
                    div.field {
                        label for=(key) { "Name" }
                        input id=(key) name=(key) type="text" value=(self.text(&key)) autocomplete="off"
                            aria-invalid=[self.errors.get(&key).map(|_| "true")]
                            aria-describedby=[self.errors.get(&key).map(|_| format!("{key}-error"))];
                        @if let Some(error) = self.errors.get(&key) {
                            p.wrong id=(format!("{key}-error")) { (error) }
                        }
                        @if self.values.is_marked(&key, "empty") {
                            (self.mark(&key, "The name is empty", true))
                        }
                    }
                    (self.node(node, &value, "Value"))
                    (self.button("remove", &value, count, &format!("Remove value {}", index + 1)))
                }
            }
            @if count < ROWS_MAX { (self.button("add", &part, count, "Add a value")) }
        };
        html! {
            @if is_all && name != ROOT { div.rows id=(part) { (inside) } }
            @else {
                details.rows id=(part) open[count > 0 || is_all] {
                    summary { (words) }
                    (inside)
                }
            }
        }
    }

    fn list(
        &self,
        node: &Node,
        item: &Node,
        (count, count_max): (usize, usize),
        name: &str,
        title: &str,
    ) -> Markup {
        let is_marked = self.values.is_marked(name, "empty");
        let has_default = node.default.as_ref().is_some_and(|value| !is_empty(value));
        let words = |index: usize| match item.title.as_str() {
            "" => format!("{title} {}", index + 1),
            title => format!("{title} {}", index + 1),
        };
        html! {
            div.rows {
                input type="hidden" name=(about(name, "rows")) value=(count);
                @for index in 0..count {
                    div.row {
                        (self.node(item, &row(name, index), &words(index)))
                        (self.button("remove", &row(name, index), count,
                            &format!("Remove {}", words(index))))
                    }
                }
                @if count < ROWS_MAX.min(count_max) {
                    (self.button("add", name, count, &format!("Add to {title}")))
                }
                @if count == 0 && !node.required && (has_default || is_marked) {
                    (self.mark(name, "Send it as an empty list", is_marked))
                }
            }
        }
    }

    fn either(
        &self,
        node: &Node,
        alternatives: &[(String, Node)],
        name: &str,
        title: &str,
    ) -> Markup {
        let field = about(name, "which");
        let which = which(node, self.values, name);
        let chosen = which.and_then(|which| alternatives.get(which));
        html! {
            div.either {
                div.field {
                    label for=(field) { "Kind" span.unseen { " of " (title) } }
                    select id=(field) name=(field) data-send {
                        @if !node.required { option value="" { (not_given(node)) } }
                        @for (index, (words, _)) in alternatives.iter().enumerate() {
                            option value=(index) selected[which == Some(index)] { (words) }
                        }
                    }
                }
                button.small name="do" value="show" formnovalidate formaction=(self.back_to(&field)) {
                    "Show"
                    span.unseen { " the fields of " (title) }
                }
            }
            @if let Some((words, chosen)) = chosen {
                @if is_group(chosen) && !chosen.description.is_empty() { p.help { (chosen.description) } }
                (self.body(chosen, &inner(chosen, name), words))
            }
        }
    }

    /// A button that changes how many rows there are.
    fn button(&self, what: &str, part: &str, count: usize, words: &str) -> Markup {
        let icon = if what == "add" {
            Icon::Plus
        } else {
            Icon::Trash
        };
        let rows = match what {
            "add" => part,
            _ => part.rsplit_once('.').map_or(part, |(list, _)| list),
        };
        let back = match rows.ends_with(":more") {
            true => rows.to_owned(),
            false => about(rows, "part"),
        };
        html! {
            button.small name="do" value=(format!("{what} {part} {count}")) formnovalidate
                formaction=(self.back_to(&back)) {
                (icon) span { (words) }
            }
        }
    }

    fn back_to(&self, id: &str) -> String {
        format!("{}#{}", self.action, id.replace('%', "%25"))
    }
}

/// Whether a part is a group of fields.
fn is_group(node: &Node) -> bool {
    matches!(
        node.kind,
        Kind::Object { .. } | Kind::List { .. } | Kind::Either(_)
    )
}

fn required(node: &Node) -> Markup {
    html! { @if node.required { span.required { " (required)" } } }
}

fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::String(text) => text.is_empty(),
        Json::Array(items) => items.is_empty(),
        Json::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

fn cut(value: &Json) -> String {
    let text = name_of(value);
    if text.chars().count() <= HINT_CHARS_MAX {
        return text;
    }
    text.chars().take(HINT_CHARS_MAX).chain(['…']).collect()
}

/// What stands in a field while nothing is in it.
fn placeholder(node: &Node) -> Option<String> {
    match (&node.default, &node.example) {
        (Some(default), _) if !is_empty(default) => Some(cut(default)),
        (_, Some(example)) => Some(format!("such as {}", cut(example))),
        _ => None,
    }
}

/// The choice of none.
fn not_given(node: &Node) -> String {
    let named = |default: &Json| match &node.kind {
        Kind::Choice(choices) => {
            let mut choices = choices.iter();
            let found = choices.find(|(value, _)| value == default);
            found.map_or_else(|| cut(default), |(_, words)| words.clone())
        }
        _ => cut(default),
    };
    match &node.default {
        Some(default) if !is_empty(default) => format!("Default: {}", named(default)),
        _ if node.required => "Choose…".to_owned(),
        _ => "Not given".to_owned(),
    }
}

/// A text within `<textarea>`: browsers take its first line break away.
fn lines(text: &str) -> String {
    if text.starts_with('\n') {
        format!("\n{text}")
    } else {
        text.to_owned()
    }
}
