//! What nodes report, kept in memory as P 1.6 keeps it in a volatile store: it comes again with the
//! next report, and costs no write.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use slap_server::status::{Record, Report};

use crate::domain::Place;

/// Most subjects that are remembered. Beyond it new ones are not: a status then says so.
const SUBJECTS_MAX: usize = 200_000;
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
        let now = SystemTime::now();
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
            .filter(|record| !record.is_outdated(SystemTime::now()))
            .cloned()
    }
}
