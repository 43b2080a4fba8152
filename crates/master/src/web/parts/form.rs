//! What people fill in.

use maud::{Markup, html};

use super::alert;
use crate::web::{Icon, Visit};

/// A field of one line.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::web) struct Field<'a> {
    /// What the form calls it.
    pub(in crate::web) name: &'a str,
    /// What people call it.
    pub(in crate::web) label: &'a str,
    /// What is in it.
    pub(in crate::web) value: &'a str,
    /// `text` when empty, or `password`, `search`, `url`, `number`.
    pub(in crate::web) kind: &'a str,
    /// A line under it.
    pub(in crate::web) hint: &'a str,
    /// What is wrong with it.
    pub(in crate::web) error: &'a str,
    /// What browsers may fill in.
    pub(in crate::web) autocomplete: &'a str,
    /// Shown while it is empty.
    pub(in crate::web) example: &'a str,
    /// What is offered while one types.
    pub(in crate::web) list: &'a [String],
    /// Characters it needs at least.
    pub(in crate::web) length_min: Option<usize>,
    /// Whether something has to be in it.
    pub(in crate::web) required: bool,
    /// Whether it is for reading only.
    pub(in crate::web) readonly: bool,
    /// Whether one begins here.
    pub(in crate::web) autofocus: bool,
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// A field with its label, its hint, and what is wrong with it.
pub(in crate::web) fn field(of: &Field<'_>) -> Markup {
    let id = format!("field-{}", of.name);
    let hint = format!("{id}-hint");
    let error = format!("{id}-error");
    let described = match (of.error, of.hint) {
        ("", "") => None,
        ("", _) => Some(hint.clone()),
        (_, "") => Some(error.clone()),
        _ => Some(format!("{error} {hint}")),
    };
    html! {
        div.field {
            label for=(id) { (of.label) }
            input id=(id) name=[some(of.name)] type=(some(of.kind).unwrap_or("text")) value=(of.value)
                placeholder=[some(of.example)] autocomplete=[some(of.autocomplete)]
                autocapitalize=[(of.autocomplete == "username").then_some("none")]
                minlength=[of.length_min] required[of.required] readonly[of.readonly]
                autofocus[of.autofocus] aria-describedby=[described]
                list=[(!of.list.is_empty()).then(|| format!("{id}-list"))]
                aria-invalid=[some(of.error).map(|_| "true")];
            @if !of.list.is_empty() {
                datalist id=(format!("{id}-list")) {
                    @for offered in of.list { option value=(offered) {} }
                }
            }
            @if !of.error.is_empty() { p.wrong id=(error) { (of.error) } }
            @if !of.hint.is_empty() { p.help id=(hint) { (of.hint) } }
        }
    }
}

/// One of several, by its value.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) struct Choice<'a> {
    /// What the form sends.
    pub(in crate::web) value: &'a str,
    /// What people read.
    pub(in crate::web) words: &'a str,
}

/// A choice among several; `chosen` is the value that is chosen already.
pub(in crate::web) fn choice(
    name: &str,
    label: &str,
    choices: &[Choice<'_>],
    chosen: &str,
) -> Markup {
    let id = format!("field-{name}");
    html! {
        div.field {
            label for=(id) { (label) }
            select id=(id) name=(name) {
                @for choice in choices {
                    option value=(choice.value) selected[choice.value == chosen] { (choice.words) }
                }
            }
        }
    }
}

/// What a list is filtered by: the argument, its name for people, its values with their names, and the
/// one that is chosen.
pub(in crate::web) type Filter<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);

/// The line above a list that searches and filters it, by the arguments of its address.
pub(in crate::web) fn search(
    visit: &Visit,
    path: &str,
    example: &str,
    text: &str,
    filters: &[Filter<'_>],
) -> Markup {
    html! {
        form.search role="search" action=(visit.to(path)) {
            (Icon::Search)
            input type="search" name="q" value=(text) placeholder=(example) aria-label=(example);
            @for (name, label, values, chosen) in filters {
                select name=(name) aria-label=(label) data-send {
                    @for (value, words) in *values {
                        option value=(value) selected[value == chosen] { (words) }
                    }
                }
            }
            button { "Search" }
        }
    }
}

/// What is asked before something that cannot be undone, or that others notice. The page that asks
/// has the path that does it; where there is a script, it asks in a dialog.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) struct Confirm<'a> {
    /// What it leads to, in a sentence or two.
    pub(in crate::web) text: &'a str,
    /// The word on the button: a verb.
    pub(in crate::web) verb: &'a str,
    /// Where one goes who does not want it, a path of ours.
    pub(in crate::web) back: &'a str,
    /// Whether it takes something away.
    pub(in crate::web) is_grave: bool,
}

/// The form of a page that asks; `more` are further fields.
pub(in crate::web) fn confirm(visit: &Visit, of: &Confirm<'_>, more: &Markup) -> Markup {
    html! {
        form.confirm method="post" action=(visit.to(&visit.path)) data-dialog {
            (visit.form_token())
            p { (of.text) }
            (more)
            div.buttons {
                button class=(if of.is_grave { "grave" } else { "main" }) { (of.verb) }
                a.button href=(visit.to(of.back)) data-cancel { "Cancel" }
            }
        }
    }
}

/// What went wrong with a form, if something did.
pub(in crate::web) fn problem(text: &str) -> Markup {
    html! { @if !text.is_empty() { (alert(text)) } }
}
