//! What nodes report, kept in memory as P 1.6 keeps it in a volatile store: it comes again with the
//! next report, and costs no write.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use slap::Value;

use crate::domain::{Clock, Place, Record, Report, SystemClock, Timestamp};

/// Most subjects that are remembered. Beyond it new ones are not: a status then says so.
const SUBJECTS_MAX: usize = 200_000;
/// "No data since 5 minutes", as upstream counts them, in seconds (quirk 41).
const SILENT_SECONDS: i64 = 216;
/// "No data since 15 minutes", as upstream counts them, in seconds (quirk 41).
const VERY_SILENT_SECONDS: i64 = 432;

/// What is reported about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// The instance on a partition.
    Partition(Place),
    /// A release on a node.
    Installation { node: String, release: String },
}

/// The last word about each subject.
#[derive(Debug, Default)]
pub(crate) struct Reports(Mutex<HashMap<Subject, Record>>);

impl Reports {
    pub(crate) fn note(&self, subject: Subject, report: Report<'_>) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemClock.now();
        if records.len() >= SUBJECTS_MAX && !records.contains_key(&subject) {
            records.retain(|_, record| !record.is_outdated(now));
            if records.len() >= SUBJECTS_MAX {
                return;
            }
        }
        let record = Record::after(records.get(&subject), report, now);
        records.insert(subject, record);
    }

    /// The subject is gone; what comes in its place starts without a record.
    pub(crate) fn forget(&self, subject: &Subject) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.remove(subject);
    }

    pub(crate) fn get(&self, subject: &Subject) -> Option<Record> {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records
            .get(subject)
            .filter(|record| !record.is_outdated(SystemClock.now()))
            .cloned()
    }
}

/// The status dictionary of P 1.6. `changed` is when the subject was last changed by a request: our
/// own key `current` says whether the report came after it.
pub(crate) fn status(
    record: Option<&Record>,
    reference: &str,
    portal_type: &str,
    user: &str,
    changed: Option<Timestamp>,
) -> Value {
    let now = SystemClock.now();
    let mut entries = vec![
        ("portal_type", Value::text(portal_type)),
        ("reference", Value::text(reference)),
    ];
    match record {
        None => entries.extend([
            ("user", Value::text("SlapOS Master")),
            (
                "text",
                Value::text(format!("#error no data found for {reference}")),
            ),
            ("state", Value::text("")),
            ("created_at", Value::text(date(now))),
            ("since", Value::text(date(now))),
            ("no_data", Value::Int(1)),
        ]),
        Some(record) => {
            let silent = now.seconds() - record.at.seconds();
            entries.extend([
                ("user", Value::text(user)),
                ("text", Value::text(&record.text)),
                ("state", Value::text(&record.state)),
                ("created_at", Value::text(date(record.at))),
                ("since", Value::text(date(record.since))),
                (
                    "no_data_since_5_minutes",
                    Value::Int((silent > SILENT_SECONDS).into()),
                ),
                (
                    "no_data_since_15_minutes",
                    Value::Int((silent > VERY_SILENT_SECONDS).into()),
                ),
                (
                    "current",
                    Value::Int(changed.is_none_or(|changed| record.at >= changed).into()),
                ),
            ]);
        }
    }
    Value::dict(entries)
}

/// RFC 1123, as HTTP writes dates.
fn date(moment: Timestamp) -> String {
    let seconds = u64::try_from(moment.seconds()).unwrap_or_default();
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}
