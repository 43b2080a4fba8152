//! The status of a node, an instance or a release, as P 1.6 has it.

use slap::Value;

use crate::domain::Timestamp;
use crate::store::Status;

/// "No data since 5 minutes", as upstream counts them, in seconds (quirk 41).
const SILENT_SECONDS: u64 = 216;
/// "No data since 15 minutes", as upstream counts them, in seconds (quirk 41).
const VERY_SILENT_SECONDS: u64 = 432;

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
        let mut entries = vec![
            ("portal_type", Value::text(self.portal_type)),
            ("reference", Value::text(&self.reference)),
            ("state", Value::text(&self.status.reported)),
        ];
        match (&self.status.text, self.status.at) {
            (Some(text), Some(at)) => {
                let silent = self.now.since(at).as_secs();
                entries.extend([
                    ("user", Value::text(&self.user)),
                    ("text", Value::text(text)),
                    ("created_at", Value::text(date(at))),
                    ("since", Value::text(date(self.status.since.unwrap_or(at)))),
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
                        Value::Int(self.changed.is_none_or(|changed| at >= changed).into()),
                    ),
                ]);
            }
            _ => entries.extend([
                ("user", Value::text("SlapOS Master")),
                (
                    "text",
                    Value::text(format!("#error no data found for {}", self.reference)),
                ),
                ("created_at", Value::text(date(self.now))),
                ("since", Value::text(date(self.now))),
                ("no_data", Value::Int(1)),
            ]),
        }
        Value::dict(entries)
    }
}

/// RFC 1123, as HTTP writes dates.
fn date(moment: Timestamp) -> String {
    httpdate::fmt_http_date(moment.system())
}
