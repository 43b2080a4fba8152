//! Answers as tables for people and JSON for programs.

use std::process::ExitCode;

use jiff::{Timestamp, tz::TimeZone};
use master::admin::{Answer, unexpected};
use serde::Serialize;
use serde_json::Value as Json;

use crate::args::OutputFormat;
use crate::args::master::Printed;
use crate::failure::Failure;
use crate::{CommandResult, output};

/// One line that says what was done.
pub(super) fn done(answer: &Answer) -> CommandResult {
    match answer {
        Answer::Done(what) => output::print(what)?,
        other => return Err(unexpected(other).into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// The reference of what was made; for people with what it is.
pub(super) fn made(answer: &Answer, printed: &Printed) -> CommandResult {
    let Answer::Made(made) = answer else {
        return Err(unexpected(answer).into());
    };
    match output::format(printed.output) {
        Some(OutputFormat::Table) => output::print(&format!("{}  {}", made.reference, made.what))?,
        asked => json(&serde_json::json!({"reference": made.reference}), asked)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A list: a table with these columns, or JSON.
pub(super) fn list<T: Serialize>(
    items: &[T],
    printed: &Printed,
    nothing: &str,
    head: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> CommandResult {
    let asked = output::format(printed.output);
    if asked == Some(OutputFormat::Table) && items.is_empty() {
        output::complain(nothing);
        return Ok(ExitCode::SUCCESS);
    }
    let mut value = serde_json::to_value(items).map_err(|error| Failure::new(error.to_string()))?;
    readable_times(&mut value);
    let names = items
        .iter()
        .map(|item| row(item).into_iter().next().unwrap_or_default());
    output::answer(asked, &value, names, || {
        output::table(head, items.iter().map(&row))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// One thing in the format that was asked for; its name is its first text. The caller makes what
/// people read.
pub(super) fn json<T: Serialize>(value: &T, asked: Option<OutputFormat>) -> Result<(), Failure> {
    let mut value = serde_json::to_value(value).map_err(|error| Failure::new(error.to_string()))?;
    readable_times(&mut value);
    let name = match &value {
        Json::Object(members) => members.values().find_map(Json::as_str).map(str::to_owned),
        _ => None,
    };
    output::answer(asked, &value, name, || output::yaml(&value))
}

/// Times are told as everybody writes them: `2027-01-31T12:00:00Z`.
fn readable_times(value: &mut Json) {
    match value {
        Json::Array(items) => items.iter_mut().for_each(readable_times),
        Json::Object(members) => {
            for (name, member) in members.iter_mut() {
                let is_time = name.ends_with("_at") || matches!(name.as_str(), "at" | "since");
                match member.as_i64() {
                    Some(at) if is_time => *member = Json::from(moment_of(at)),
                    _ if name == "detail" => {}
                    _ => readable_times(member),
                }
            }
        }
        _ => {}
    }
}

fn moment_of(microseconds: i64) -> String {
    match Timestamp::from_microsecond(microseconds) {
        Ok(moment) => moment
            .to_zoned(TimeZone::UTC)
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string(),
        Err(_) => microseconds.to_string(),
    }
}

/// A time for people, in their own time zone.
pub(super) fn moment(microseconds: i64) -> String {
    match Timestamp::from_microsecond(microseconds) {
        Ok(moment) => moment
            .to_zoned(TimeZone::system())
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string(),
        Err(_) => microseconds.to_string(),
    }
}

/// A day or a moment as people write it, in microseconds since 1970. Days begin in UTC.
pub(super) fn read_moment(text: &str) -> Result<i64, Failure> {
    let moment = text.parse::<Timestamp>().ok().or_else(|| {
        text.parse::<jiff::civil::DateTime>()
            .or_else(|_| text.parse::<jiff::civil::Date>().map(Into::into))
            .ok()?
            .to_zoned(TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp())
    });
    moment.map(|moment| moment.as_microsecond()).ok_or_else(|| {
        Failure::new(format!(
            "{text:?} is no date: write it as 2027-01-31 or 2027-01-31T12:00:00Z"
        ))
        .code(crate::failure::Code::Usage)
    })
}

pub(super) fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_people_write_them() {
        for text in [
            "2027-01-31",
            "2027-01-31T00:00:00Z",
            "2027-01-31T00:00:00",
            "2027-01-31T01:00:00+01:00",
        ] {
            assert_eq!(
                read_moment(text).ok(),
                Some(1_801_353_600_000_000),
                "{text}"
            );
        }
        for bad in ["", "tomorrow", "2027-13-01", "1"] {
            assert!(read_moment(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn programs_read_times_as_texts_and_details_as_they_are() {
        let mut value = serde_json::json!([{
            "at": 1_801_353_600_000_000_i64,
            "expires_at": null,
            "units": 3,
            "detail": {"at": 1},
        }]);
        readable_times(&mut value);
        assert_eq!(
            value,
            serde_json::json!([{
                "at": "2027-01-31T00:00:00Z",
                "expires_at": null,
                "units": 3,
                "detail": {"at": 1},
            }])
        );
    }
}
