//! Parameters as people read them: what a release wants as one JSON document is shown part by part,
//! and what a name says is a secret is hidden, however deep it is.

use maud::{Markup, html};
use serde_json::Value as Json;
use slap::serialisation::unwrap;

use super::editor::pretty;
use crate::store::Texts;
use crate::web::form::{Change, parts as parts_of};
use crate::web::parts::{copyable, facts, secret};

/// Parameters as one document: the one under the key `_`, else each with its text.
pub(super) fn document(texts: &Texts) -> Json {
    let texts_each = || {
        let each = texts.iter();
        Json::Object(
            each.map(|(name, text)| (name.clone(), Json::from(text.as_str())))
                .collect(),
        )
    };
    unwrap(texts).unwrap_or_else(texts_each)
}

/// Parameters, each with its value; long ones in their own lines.
pub(super) fn values(texts: &Texts, none: &str) -> Markup {
    let parts = parts_of(&document(texts));
    let rows: Vec<(&str, Markup)> = parts
        .iter()
        .map(|(path, value)| (path.as_str(), offered(path, value)))
        .collect();
    html! {
        @if rows.is_empty() {
            p.quiet-line { (none) }
        } @else {
            (facts(&rows))
        }
    }
}

/// What differs: each value that was, and what it is now, or will be.
pub(super) fn changed(changes: &[Change], became: &str) -> Markup {
    html! {
        dl.difference {
            @for Change { path, before, after } in changes {
                div {
                    dt { (path) }
                    @if let Some(before) = before {
                        dd.before { span.unseen { "was " } del { (value_of(path, before)) } }
                    }
                    @if let Some(after) = after {
                        dd.after { span.unseen { (became) " " } ins { (value_of(path, after)) } }
                    }
                }
            }
        }
    }
}

/// A value as it is read, with a button that copies it.
fn offered(path: &str, value: &Json) -> Markup {
    let shown = value_of(path, value);
    match value {
        // What is hidden or long has its own way.
        Json::String(text) if text.contains('\n') || slap::secret::masked(path, text) != *text => {
            shown
        }
        _ => copyable(&shown),
    }
}

/// A value: a link where it is one, hidden where its name says so.
fn value_of(path: &str, value: &Json) -> Markup {
    let text = match value {
        Json::String(text) if !text.is_empty() => text.clone(),
        value => pretty(value),
    };
    if slap::secret::masked(path, &text) != text {
        return secret(&text);
    }
    let is_link = text.starts_with("https://") || text.starts_with("http://");
    html! {
        @if is_link {
            a href=(text) rel="noopener noreferrer" target="_blank" { (text) }
        } @else if text.contains('\n') {
            pre tabindex="0" { (text) }
        } @else {
            code { (text) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pairs: &[(&str, &str)]) -> String {
        let texts = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        values(&texts.collect(), "Nothing.").into_string()
    }

    #[test]
    fn a_document_is_shown_part_by_part() {
        let page = shown(&[(
            "_",
            r#"{"url": "http://a.example/", "db": {"password": "hidden"}, "n": 1}"#,
        )]);
        assert!(page.contains(r#"href="http://a.example/""#), "{page}");
        assert!(
            page.contains("db.password") && page.contains("<summary>"),
            "{page}"
        );
        assert!(!page.contains(">_<"), "{page}");
        // A document beside other parameters, or none at all, is a text as any other.
        for pairs in [&[("_", "{}"), ("a", "b")][..], &[("_", "no json")]] {
            assert!(shown(pairs).contains(">_<"), "{pairs:?}");
        }
        assert!(shown(&[("_", "{}")]).contains("Nothing."));
    }
}
