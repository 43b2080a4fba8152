//! Time, in the forms supervisord shows it.
#![allow(unsafe_code, reason = "the local time zone is known to libc only")]

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::ClockId;

use crate::state::Millis;

/// Milliseconds that never go back while the machine is up.
pub(crate) fn monotonic() -> Millis {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    Millis::try_from(now.tv_sec).unwrap_or(0) * 1_000
        + Millis::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// Unix time in milliseconds.
pub(crate) fn wall_millis() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Unix time in seconds.
pub(crate) fn wall() -> i64 {
    wall_millis() / 1_000
}

fn local(seconds: i64) -> libc::tm {
    // SAFETY: a tm of zeros is valid, and localtime_r writes only to the one it is given.
    unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        let seconds: libc::time_t = seconds;
        libc::localtime_r(&raw const seconds, &raw mut tm);
        tm
    }
}

/// `2026-11-22 18:05:09,123`, local time.
pub(crate) fn log_time(millis: i64) -> String {
    let tm = local(millis.div_euclid(1_000));
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02},{:03}",
        i64::from(tm.tm_year) + 1900,
        tm.tm_mon + 1,
        tm.tm_mday,
        tm.tm_hour,
        tm.tm_min,
        tm.tm_sec,
        millis.rem_euclid(1_000)
    )
}

/// `Nov 22 06:05 PM`, local time: when a process stopped.
pub(crate) fn stop_time(seconds: i64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let tm = local(seconds);
    let month = usize::try_from(tm.tm_mon)
        .ok()
        .and_then(|m| MONTHS.get(m))
        .unwrap_or(&"???");
    let (hour, half) = (tm.tm_hour % 12, if tm.tm_hour < 12 { "AM" } else { "PM" });
    format!(
        "{month} {:02} {:02}:{:02} {half}",
        tm.tm_mday,
        if hour == 0 { 12 } else { hour },
        tm.tm_min
    )
}

/// `0:00:30`, `1 day, 2:03:04`: how long a process has been up.
pub(crate) fn uptime(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let days = seconds / 86_400;
    let time = format!(
        "{}:{:02}:{:02}",
        seconds % 86_400 / 3_600,
        seconds % 3_600 / 60,
        seconds % 60
    );
    match days {
        0 => time,
        1 => format!("1 day, {time}"),
        days => format!("{days} days, {time}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptimes_read_as_upstream_writes_them() {
        let table = [
            (0, "0:00:00"),
            (30, "0:00:30"),
            (36_061, "10:01:01"),
            (86_400, "1 day, 0:00:00"),
            (200_000, "2 days, 7:33:20"),
            (-5, "0:00:00"),
        ];
        for (seconds, text) in table {
            assert_eq!(uptime(seconds), text);
        }
    }
}
