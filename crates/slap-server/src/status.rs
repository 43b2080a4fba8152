//! What nodes report about instances, releases and themselves, and the status made of it (P 1.6).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use slap::Value;

/// How much of an error's log or a message is kept, in characters: its end (quirk 40).
pub const ERROR_CHARS_MAX: usize = 80;
/// How long a record counts.
pub const RECORD_AGE_MAX: Duration = Duration::from_secs(48 * 3600);
/// "No data since 5 minutes", as upstream counts them (quirk 41).
pub const SILENT: Duration = Duration::from_secs(216);
/// "No data since 15 minutes", as upstream counts them (quirk 41).
pub const VERY_SILENT: Duration = Duration::from_secs(432);

/// Something a node reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report<'a> {
    /// The instance is started and its promises hold.
    Started,
    /// The instance is stopped.
    Stopped,
    /// Something is wrong with the instance: the log tells.
    InstanceError(&'a str),
    /// The instance asks for reprocessing: the message says why.
    Bang(&'a str),
    /// The release is being built.
    Building(&'a str),
    /// The release is built.
    Available(&'a str),
    /// The release could not be built, as the legacy call reports it.
    InstallationError(&'a str),
    /// A release could not be built, as the JSON call reports it: the message says why.
    InstallationErrorMessage(&'a str),
    /// The node of this reference asked what it shall do: it is alive.
    NodeContact(&'a str),
    /// All that is on the node asks for reprocessing: the message says why.
    NodeBang(&'a str),
}

impl Report<'_> {
    /// The words of P 1.6, `instanciating` as the wire has it.
    pub fn text(self) -> String {
        match self {
            Report::Started => "#access Instance correctly started".to_owned(),
            Report::Stopped => "#access Instance correctly stopped".to_owned(),
            Report::InstanceError(log) => {
                format!("#error while instanciating: {}", end_of(log))
            }
            Report::Bang(message) => format!("#error bang called: {}", end_of(message)),
            Report::Building(release) => format!("#building software release {release}"),
            Report::Available(release) => format!("#access software release {release} available"),
            Report::InstallationError(release) => format!("#error while installing {release}"),
            Report::InstallationErrorMessage(message) => {
                format!("#error while installing: {}", end_of(message))
            }
            Report::NodeContact(reference) => format!("#access {reference}"),
            Report::NodeBang(message) => format!("#error bang: {}", end_of(message)),
        }
    }

    /// The state it tells, if it tells any.
    pub fn state(self) -> Option<&'static str> {
        match self {
            Report::Started => Some("started"),
            Report::Stopped => Some("stopped"),
            Report::Building(_) => Some("building"),
            Report::Available(_) => Some("available"),
            Report::InstanceError(_)
            | Report::Bang(_)
            | Report::InstallationError(_)
            | Report::InstallationErrorMessage(_)
            | Report::NodeContact(_)
            | Report::NodeBang(_) => None,
        }
    }
}

fn end_of(log: &str) -> String {
    let log = log.trim();
    let skipped = log.chars().count().saturating_sub(ERROR_CHARS_MAX);
    log.chars().skip(skipped).collect()
}

/// The first word of a status' text: `#access`, `#error` or `#building`.
pub fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

/// The last word about something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `#access …`, `#error …` or `#building …`.
    pub text: String,
    /// The last state that was reported; empty when none ever was.
    pub state: String,
    /// When it was reported.
    pub at: SystemTime,
    /// Since when the first word of the text has been the same.
    pub since: SystemTime,
}

impl Record {
    /// The record after a report: a report without a state keeps the one known before.
    #[must_use]
    pub fn after(previous: Option<&Record>, report: Report<'_>, now: SystemTime) -> Record {
        let text = report.text();
        let same = previous.filter(|previous| first_word(&previous.text) == first_word(&text));
        Record {
            state: report.state().map_or_else(
                || previous.map_or_else(String::new, |previous| previous.state.clone()),
                str::to_owned,
            ),
            at: now,
            since: same.map_or(now, |previous| previous.since),
            text,
        }
    }

    /// Whether the record is too old to count.
    pub fn is_outdated(&self, now: SystemTime) -> bool {
        age(self.at, now) > RECORD_AGE_MAX
    }
}

/// How long ago a moment was, in whole seconds; nothing when it is in the future.
fn age(moment: SystemTime, now: SystemTime) -> Duration {
    Duration::from_secs(now.duration_since(moment).unwrap_or_default().as_secs())
}

/// What is asked about, for the status dictionary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Its reference.
    pub reference: &'a str,
    /// The wire's kind of it, such as `Software Instance`.
    pub portal_type: &'a str,
    /// Who reports of it, by reference.
    pub user: &'a str,
    /// When it was last changed by a request: our own key `current` says whether the report came
    /// after that.
    pub changed: Option<SystemTime>,
}

/// The text of a status nothing is recorded for.
pub fn no_data(reference: &str) -> String {
    format!("#error no data found for {reference}")
}

impl Subject<'_> {
    /// The status dictionary of P 1.6.
    pub fn status(&self, record: Option<&Record>, now: SystemTime) -> Value {
        let mut entries = vec![
            ("portal_type", Value::text(self.portal_type)),
            ("reference", Value::text(self.reference)),
        ];
        match record {
            None => entries.extend([
                ("user", Value::text("SlapOS Master")),
                ("text", Value::String(no_data(self.reference))),
                ("state", Value::text("")),
                ("created_at", Value::String(date(now))),
                ("since", Value::String(date(now))),
                ("no_data", Value::Int(1)),
            ]),
            Some(record) => {
                let silent = age(record.at, now);
                let current = self.changed.is_none_or(|changed| record.at >= changed);
                entries.extend([
                    ("user", Value::text(self.user)),
                    ("text", Value::text(&record.text)),
                    ("state", Value::text(&record.state)),
                    ("created_at", Value::String(date(record.at))),
                    ("since", Value::String(date(record.since))),
                    (
                        "no_data_since_5_minutes",
                        Value::Int((silent > SILENT).into()),
                    ),
                    (
                        "no_data_since_15_minutes",
                        Value::Int((silent > VERY_SILENT).into()),
                    ),
                    ("current", Value::Int(current.into())),
                ]);
            }
        }
        Value::dict(entries)
    }
}

/// The last second of the year 9999: RFC 1123 has no room for more.
const DATE_SECONDS_MAX: u64 = 253_402_300_799;

/// RFC 1123, as HTTP writes dates. Moments it cannot write become the nearest one it can.
pub fn date(moment: SystemTime) -> String {
    let seconds = moment
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds.min(DATE_SECONDS_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn reports_become_the_words_of_p1_6() {
        let long = "x".repeat(100) + "é";
        for (report, text, state) in [
            (
                Report::Started,
                "#access Instance correctly started",
                "started",
            ),
            (
                Report::Stopped,
                "#access Instance correctly stopped",
                "stopped",
            ),
            (
                Report::InstanceError(&long),
                &*format!("#error while instanciating: {}é", "x".repeat(79)),
                "",
            ),
            (Report::Bang("help"), "#error bang called: help", ""),
            (
                Report::Building("u"),
                "#building software release u",
                "building",
            ),
            (
                Report::Available("u"),
                "#access software release u available",
                "available",
            ),
            (
                Report::InstallationError("u"),
                "#error while installing u",
                "",
            ),
            (
                Report::InstallationErrorMessage("no disk\n"),
                "#error while installing: no disk",
                "",
            ),
            (Report::NodeContact("COMP-1"), "#access COMP-1", ""),
            (Report::NodeBang("help"), "#error bang: help", ""),
        ] {
            let record = Record::after(None, report, at(1));
            assert_eq!((record.text.as_str(), record.state.as_str()), (text, state));
        }
    }

    #[test]
    fn the_state_survives_an_error_and_since_survives_the_same_kind_of_word() {
        let started = Record::after(None, Report::Started, at(1));
        let again = Record::after(Some(&started), Report::Started, at(2));
        assert_eq!((again.at, again.since), (at(2), at(1)));
        let failed = Record::after(Some(&again), Report::InstanceError("x"), at(3));
        assert_eq!((failed.since, failed.state.as_str()), (at(3), "started"));
        assert!(!failed.is_outdated(at(3) + RECORD_AGE_MAX));
        assert!(failed.is_outdated(at(4) + RECORD_AGE_MAX));
        assert!(!failed.is_outdated(at(0)));
    }

    #[test]
    fn the_status_of_what_was_reported_and_of_what_was_not() {
        let subject = Subject {
            reference: "SOFTINST-1",
            portal_type: "Software Instance",
            user: "COMP-1",
            changed: Some(at(1_000)),
        };
        let entry = |record: Option<&Record>, now: u64, key: &str| {
            let status = subject.status(record, at(now));
            status.as_dict().and_then(|status| status.get(key).cloned())
        };
        for (key, value) in [
            ("user", Value::text("SlapOS Master")),
            ("text", Value::text("#error no data found for SOFTINST-1")),
            ("state", Value::text("")),
            ("no_data", Value::Int(1)),
            ("created_at", Value::text("Thu, 01 Jan 1970 00:00:05 GMT")),
        ] {
            assert_eq!(entry(None, 5, key), Some(value), "{key}");
        }
        assert_eq!(entry(None, 5, "no_data_since_5_minutes"), None);

        let record = Record::after(None, Report::Started, at(1_000));
        for (now, five, fifteen) in [(1_216, 0, 0), (1_217, 1, 0), (1_432, 1, 0), (1_433, 1, 1)] {
            let seen = |key: &str| entry(Some(&record), now, key);
            assert_eq!(seen("no_data_since_5_minutes"), Some(Value::Int(five)));
            assert_eq!(seen("no_data_since_15_minutes"), Some(Value::Int(fifteen)));
            assert_eq!(seen("current"), Some(Value::Int(1)));
            assert_eq!(seen("user"), Some(Value::text("COMP-1")));
            assert_eq!(seen("no_data"), None);
        }
        let early = Record::after(None, Report::Started, at(999));
        assert_eq!(entry(Some(&early), 2_000, "current"), Some(Value::Int(0)));
    }

    proptest! {
        #[test]
        fn any_moment_has_a_date(seconds in any::<u32>(), far in any::<bool>()) {
            let moment = UNIX_EPOCH + Duration::from_secs(u64::from(seconds) << (u32::from(far) * 7));
            prop_assert!(date(moment).ends_with(" GMT"));
            prop_assert!(date(UNIX_EPOCH - Duration::from_secs(seconds.into())).contains("1970"));
        }

        #[test]
        fn any_log_gives_a_bounded_text(log in "(?s).{0,300}") {
            let text = Report::InstanceError(&log).text();
            prop_assert!(text.chars().count() <= 28 + ERROR_CHARS_MAX);
        }
    }
}
