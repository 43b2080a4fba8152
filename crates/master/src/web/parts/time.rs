//! Moments: how long ago for people, the moment itself for machines and for whoever points at it.

use maud::{Markup, html};
use time::OffsetDateTime;

use crate::domain::Timestamp;

fn parts(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.seconds()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A day, `2026-05-28`.
pub(in crate::web) fn date(at: Timestamp) -> String {
    let at = parts(at);
    format!(
        "{:04}-{:02}-{:02}",
        at.year(),
        u8::from(at.month()),
        at.day()
    )
}

/// A moment, `2026-05-28 20:26:40 UTC`.
pub(in crate::web) fn moment(at: Timestamp) -> String {
    let time = parts(at);
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!("{} {hour:02}:{minute:02}:{second:02} UTC", date(at))
}

/// How long ago it was, or how long it is until then. The script keeps it up to date.
pub(in crate::web) fn age(now: Timestamp, at: Timestamp) -> Markup {
    let time = parts(at);
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    html! {
        time datetime=(format!("{}T{hour:02}:{minute:02}:{second:02}Z", date(at)))
            title=(moment(at)) data-age { (words(now, at)) }
    }
}

/// `5 min ago`; `assets/app.js` has the same rule.
fn words(now: Timestamp, at: Timestamp) -> String {
    let seconds = now.seconds() - at.seconds();
    let amount = match seconds.abs() {
        0..10 => return "just now".to_owned(),
        n @ 10..60 => format!("{n} s"),
        n @ 60..3_600 => format!("{} min", n / 60),
        n @ 3_600..86_400 => format!("{} h", n / 3_600),
        n @ 86_400..172_800 => format!("{} day", n / 86_400),
        n @ 172_800..5_184_000 => format!("{} days", n / 86_400),
        _ => return date(at),
    };
    match seconds > 0 {
        true => format!("{amount} ago"),
        false => format!("in {amount}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_in_words() {
        let now = Timestamp(1_780_000_000_000_000);
        for (seconds, expected) in [
            (0, "just now"),
            (9, "just now"),
            (10, "10 s ago"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (3_599, "59 min ago"),
            (3_600, "1 h ago"),
            (86_399, "23 h ago"),
            (86_400, "1 day ago"),
            (172_800, "2 days ago"),
            (6_000_000, "2026-03-20"),
            (-30, "in 30 s"),
            (-7_200, "in 2 h"),
        ] {
            let at = Timestamp(now.0 - seconds * 1_000_000);
            assert_eq!(words(now, at), expected, "{seconds}");
        }
        assert_eq!(moment(now), "2026-05-28 20:26:40 UTC");
    }
}
