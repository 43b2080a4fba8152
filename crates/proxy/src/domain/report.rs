//! What nodes report about instances and releases, and what a Master makes of it (P 1.6).

use super::Timestamp;

/// How much of an error's log is kept, in characters: its end (quirk 40).
const ERROR_CHARS_MAX: usize = 80;
/// How long a record counts, in seconds.
const RECORD_SECONDS_MAX: i64 = 48 * 3600;

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
    /// The release could not be built.
    InstallationError(&'a str),
}

impl Report<'_> {
    /// The words of P 1.6, `instanciating` as the wire has it.
    fn text(self) -> String {
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
        }
    }

    fn state(self) -> Option<&'static str> {
        match self {
            Report::Started => Some("started"),
            Report::Stopped => Some("stopped"),
            Report::Building(_) => Some("building"),
            Report::Available(_) => Some("available"),
            Report::InstanceError(_) | Report::Bang(_) | Report::InstallationError(_) => None,
        }
    }
}

fn end_of(log: &str) -> String {
    let log = log.trim();
    let skipped = log.chars().count().saturating_sub(ERROR_CHARS_MAX);
    log.chars().skip(skipped).collect()
}

/// The last word about something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `#access …`, `#error …` or `#building …`.
    pub text: String,
    /// The last state that was reported; empty when none ever was.
    pub state: String,
    /// When it was reported.
    pub at: Timestamp,
    /// Since when the first word of the text has been the same.
    pub since: Timestamp,
}

impl Record {
    /// The record after a report: a report without a state keeps the one known before.
    #[must_use]
    pub fn after(previous: Option<&Record>, report: Report<'_>, now: Timestamp) -> Record {
        let text = report.text();
        let kind = |text: &str| text.split(' ').next().map(str::to_owned);
        let same = previous.filter(|previous| kind(&previous.text) == kind(&text));
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
    pub fn is_outdated(&self, now: Timestamp) -> bool {
        now.seconds() - self.at.seconds() > RECORD_SECONDS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_nanoseconds(seconds * 1_000_000_000)
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
        assert!(!failed.is_outdated(at(3 + RECORD_SECONDS_MAX)));
        assert!(failed.is_outdated(at(4 + RECORD_SECONDS_MAX)));
    }
}
