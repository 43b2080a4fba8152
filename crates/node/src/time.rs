//! The few ways the node's files write a moment.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Seconds since 1970, with their fraction, as Python's `time.time()`.
pub(crate) fn unix(moment: SystemTime) -> f64 {
    moment
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs_f64()
}

fn format(moment: SystemTime, zone: TimeZone, layout: &str) -> String {
    let timestamp = Timestamp::try_from(moment).unwrap_or(Timestamp::UNIX_EPOCH);
    timestamp.to_zoned(zone).strftime(layout).to_string()
}

/// `2026-11-22 08:18:01`, local.
pub(crate) fn local(moment: SystemTime) -> String {
    format(moment, TimeZone::system(), "%Y-%m-%d %H:%M:%S")
}

/// `2026-11-22 08:18:01,123`, local, as Python's log files write it.
pub(crate) fn local_millis(moment: SystemTime) -> String {
    let millis = (unix(moment).fract() * 1000.0) as u32;
    format!("{},{millis:03}", local(moment))
}

/// `2026-11-22 at 08:18:01`, local (N 3.4).
pub(crate) fn local_at(moment: SystemTime) -> String {
    format(moment, TimeZone::system(), "%Y-%m-%d at %H:%M:%S")
}

/// `Sun Nov 22 07:58:49 2026`, local: C's `asctime` without its line end.
pub(crate) fn asctime(moment: SystemTime) -> String {
    format(moment, TimeZone::system(), "%a %b %e %H:%M:%S %Y")
}

/// `2026-11-22T08:18:01+0000`.
pub(crate) fn utc_iso(moment: SystemTime) -> String {
    format(moment, TimeZone::UTC, "%Y-%m-%dT%H:%M:%S+0000")
}

/// Whether a text is as [`utc_iso`] writes it.
pub(crate) fn is_utc_iso(text: &str) -> bool {
    let shape = "0000-00-00T00:00:00+0000";
    text.len() == shape.len()
        && text
            .bytes()
            .zip(shape.bytes())
            .all(|(found, wanted)| match wanted {
                b'0' => found.is_ascii_digit(),
                _ => found == wanted,
            })
}

/// `2026-11-22 08:18:01 UTC`-like text for notes in files.
pub(crate) fn utc(moment: SystemTime) -> String {
    format(moment, TimeZone::UTC, "%Y-%m-%d %H:%M:%S")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_the_files_want_them() {
        let moment = UNIX_EPOCH + Duration::from_millis(1_795_335_481_250);
        assert_eq!(utc_iso(moment), "2026-11-22T08:18:01+0000");
        assert_eq!(utc(moment), "2026-11-22 08:18:01");
        assert!(local_millis(moment).ends_with(",250"));
        assert_eq!(
            format(moment, TimeZone::UTC, "%a %b %e %H:%M:%S %Y"),
            "Sun Nov 22 08:18:01 2026"
        );
        assert_eq!(
            format(UNIX_EPOCH, TimeZone::UTC, "%a %b %e %H:%M:%S %Y"),
            "Thu Jan  1 00:00:00 1970"
        );
    }
}
