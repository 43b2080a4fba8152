//! What nodes report, kept in memory as P 1.6 keeps it in a volatile store: it comes again with the
//! next report, and costs no write.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use slap_server::promises::{self, Promise};
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
pub(crate) struct Reports {
    records: Mutex<HashMap<Subject, Record>>,
    promises: Mutex<HashMap<Place, Vec<Promise>>>,
}

impl Reports {
    pub(crate) fn note(&self, subject: Subject, report: Report<'_>) {
        let mut records = lock(&self.records);
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
        lock(&self.records).remove(subject);
        if let Subject::Partition(place) = subject {
            lock(&self.promises).remove(place);
        }
    }

    /// What the node of a partition tells of its promises.
    pub(crate) fn note_promises(&self, place: Place, mut told: Vec<Promise>) {
        let mut known = lock(&self.promises);
        if known.len() >= SUBJECTS_MAX && !known.contains_key(&place) {
            return;
        }
        let before = known.get(&place).map(Vec::as_slice).unwrap_or_default();
        promises::follow(before, &mut told);
        known.insert(place, told);
    }

    /// The promises of the instance on a partition, if its node told of them.
    pub(crate) fn promises(&self, place: &Place) -> Option<Vec<Promise>> {
        lock(&self.promises).get(place).cloned()
    }

    pub(crate) fn get(&self, subject: &Subject) -> Option<Record> {
        lock(&self.records)
            .get(subject)
            .filter(|record| !record.is_outdated(SystemTime::now()))
            .cloned()
    }
}

/// A thread that panicked leaves what was reported as it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
