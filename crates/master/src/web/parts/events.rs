//! What happened, the latest first.

use maud::{Markup, html};

use super::age;
use crate::domain::Timestamp;
use crate::store::EventRecord;

/// Events in words, each with who did it and when; what a node wrote of an error can be opened.
pub(in crate::web) fn events(now: Timestamp, found: &[EventRecord]) -> Markup {
    html! {
        ol.events {
            @for event in found {
                @let note = &event.note;
                li {
                    (age(now, note.at))
                    div {
                        @if let Some(title) = &event.title { span.strong { (title) } " " }
                        (slap::event::said(&note.action, &note.detail))
                        " " span.muted { "by " (note.actor) }
                        @if let Some(log) = note.detail["log"].as_str()
                            && !log.is_empty()
                        {
                            details { summary { "Log" } pre tabindex="0" { (log) } }
                        }
                    }
                }
            }
        }
    }
}
