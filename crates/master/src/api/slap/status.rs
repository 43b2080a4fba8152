//! The status of a node, an instance or a release, as the store keeps it and as P 1.6 shows it.

use slap::Value;
use slap_server::status::{Record, Subject};

use crate::domain::Timestamp;
use crate::store::Status;

/// The status of something.
pub(in crate::api) struct StatusDict<'a> {
    pub(in crate::api) status: &'a Status,
    /// Its reference.
    pub(in crate::api) reference: String,
    /// The wire's kind.
    pub(in crate::api) portal_type: &'a str,
    /// Who reports of it.
    pub(in crate::api) user: String,
    /// When it was last changed by a request: our own key `current` says whether the report came
    /// after that.
    pub(in crate::api) changed: Option<Timestamp>,
    /// The present.
    pub(in crate::api) now: Timestamp,
}

impl StatusDict<'_> {
    pub(in crate::api) fn to_value(&self) -> Value {
        let record = match (&self.status.text, self.status.at) {
            (Some(text), Some(at)) => Some(Record {
                text: text.clone(),
                state: self.status.reported.clone(),
                at: at.system(),
                since: self.status.since.unwrap_or(at).system(),
            }),
            _ => None,
        };
        Subject {
            reference: &self.reference,
            portal_type: self.portal_type,
            user: &self.user,
            changed: self.changed.map(Timestamp::system),
        }
        .status(record.as_ref(), self.now.system())
    }
}
