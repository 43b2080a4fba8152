//! What this node told the Master about its instances, for whoever works on with a document that the
//! Master gave before.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use slap::PartitionId;
use slap::document::PartitionDocument;

/// The last word about each instance.
#[derive(Debug, Default)]
pub(crate) struct Reported(Mutex<BTreeMap<PartitionId, (Instant, bool)>>);

impl Reported {
    /// The Master was told that the instance works, or that it does not.
    pub(super) fn note(&self, id: &PartitionId, failed: bool) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(id.clone(), (Instant::now(), failed));
    }

    /// The document as it would be if it were asked for now: with what was told since `asked`.
    pub(crate) fn apply(&self, document: &PartitionDocument, asked: Instant) -> PartitionDocument {
        let mut document = document.clone();
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, failed)) = told.get(&document.partition)
            && *when >= asked
        {
            let status = if *failed { "#error" } else { "#access" };
            document.access_status = Some(format!("{status} told by this node"));
        }
        document
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_was_told_since_counts() {
        let id: PartitionId = "part0".parse().unwrap();
        let mut document = PartitionDocument::new("node".parse().unwrap(), id.clone());
        document.access_status = Some("#error it was so".to_owned());
        let is_error = |document: &PartitionDocument| {
            let status = document.access_status.as_deref();
            status.unwrap().starts_with("#error")
        };
        let reported = Reported::default();
        let asked = Instant::now();
        assert!(is_error(&reported.apply(&document, asked)));
        reported.note(&id, false);
        assert!(!is_error(&reported.apply(&document, asked)));
        reported.note(&id, true);
        assert!(is_error(&reported.apply(&document, asked)));
        reported.note(&id, false);
        let later = Instant::now() + std::time::Duration::from_secs(1);
        assert!(is_error(&reported.apply(&document, later)));
    }
}
