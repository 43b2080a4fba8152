//! What pages are made of. Each part is a function from what is known to HTML; none of them asks
//! anybody.

mod chart;
mod events;
mod form;
mod state;
mod table;
mod time;

use maud::{Markup, Render, html};

use super::Icon;
pub(super) use chart::{bar, chart};
pub(super) use events::events;
pub(super) use form::{Choice, Confirm, Field, choice, confirm, field, problem, search};
pub(super) use state::{Badge, Tone};
pub(super) use table::{Column, Pager, Table};
pub(super) use time::{age, date, moment};

/// A part of a page, with a heading.
pub(super) fn section(id: &str, title: &str, beside: Markup, body: &Markup) -> Markup {
    html! {
        section.part aria-labelledby=(format!("{id}-title")) {
            div.bar-of-title {
                h2 id=(format!("{id}-title")) { (title) }
                (beside)
            }
            div id=(id) data-live { (body) }
        }
    }
}

/// A part that is there only while there is something in it. Its place always is: pages that are live
/// fill and empty places, and make none.
pub(super) fn sometimes(id: &str, title: &str, beside: &Markup, body: Option<&Markup>) -> Markup {
    html! {
        div id=(id) data-live {
            @if let Some(body) = body {
                section.part aria-labelledby=(format!("{id}-title")) {
                    div.bar-of-title {
                        h2 id=(format!("{id}-title")) { (title) }
                        (beside)
                    }
                    (body)
                }
            }
        }
    }
}

/// Nothing is there yet: what it would be, and what to do next.
pub(super) fn empty(icon: Icon, title: &str, next: &Markup) -> Markup {
    html! {
        div.empty {
            (icon)
            p.strong { (title) }
            div.muted { (next) }
        }
    }
}

/// Names with what they stand for.
pub(super) fn facts(facts: &[(&str, Markup)]) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in facts {
                div { dt { (name) } dd { (value) } }
            }
        }
    }
}

/// A number with its name, leading to where it comes from if that is somewhere.
pub(super) fn number(href: &str, value: i64, name: &str, beside: &Markup) -> Markup {
    let inner = html! {
        span.value { (value) }
        span.name { (name) }
        (beside)
    };
    html! {
        @if href.is_empty() { div.number { (inner) } }
        @else { a.number href=(href) { (inner) } }
    }
}

/// A text that is copied elsewhere: a command, a token, an address.
pub(super) fn copy(text: &str) -> Markup {
    html! {
        div.copy {
            pre tabindex="0" { (text) }
            button.quiet type="button" data-copy hidden { (Icon::Copy) span { "Copy" } }
        }
    }
}

/// A value on one line, a `code` or a link, that may be wanted elsewhere.
pub(super) fn copyable(value: &Markup) -> Markup {
    html! {
        span.copyable {
            (value)
            button.quiet type="button" data-copy hidden {
                (Icon::Copy) span.unseen { "Copy" }
            }
        }
    }
}

/// A text that is not for everybody who looks over the shoulder.
pub(super) fn secret(text: &str) -> Markup {
    html! {
        details.secret {
            summary { (Icon::Show) span { "Show" } }
            (copy(text))
        }
    }
}

/// A sentence that says what went wrong.
pub(super) fn alert(text: &str) -> Markup {
    html! { p.alert role="alert" { (Icon::Alert) span { (text) } } }
}

/// A hint that stands beside what it is about.
pub(super) fn hint(text: impl Render) -> Markup {
    html! { p.hint { (Icon::Info) span { (text) } } }
}

/// The beginning and the end of a text that is too long for its place; all of it as its title.
pub(super) fn short(text: &str, chars: usize) -> Markup {
    let count = text.chars().count();
    if count <= chars {
        return html! { (text) };
    }
    let end = chars / 2;
    let begin = chars.saturating_sub(end + 1);
    let head: String = text.chars().take(begin).collect();
    let tail: String = text.chars().skip(count - end).collect();
    html! { span title=(text) { (head) "…" (tail) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_keeps_both_ends() {
        assert_eq!(short("short", 10).into_string(), "short");
        assert_eq!(
            short("https://example.com/software.cfg", 15).into_string(),
            "<span title=\"https://example.com/software.cfg\">https:/…are.cfg</span>"
        );
        assert_eq!(
            short("äöüäöüäöü", 5).into_string(),
            "<span title=\"äöüäöüäöü\">äö…öü</span>"
        );
    }

    #[test]
    fn what_people_wrote_is_never_markup() {
        let evil = "<script>\"'&";
        for made in [
            copy(evil),
            secret(evil),
            alert(evil),
            facts(&[("a", html! { (evil) })]),
            number(evil, 1, evil, &Markup::default()),
        ] {
            let made = made.into_string();
            assert!(!made.contains("<script>"), "{made}");
            assert!(!made.contains("=\"<script>\"\""), "{made}");
        }
    }
}
