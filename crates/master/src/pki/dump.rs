//! A certificate as text for people, like `openssl x509 -text`.
//!
//! The released `slapos node register` cuts the node's reference out of it: from the first
//! `COMP-` up to the next `/email` (P 5.4). So the subject is written in OpenSSL's older form,
//! `CN=…/emailAddress=…`, and nothing before it may contain `COMP-`.

use std::fmt::Write;

use time::OffsetDateTime;

/// What is written.
pub(super) struct Dump<'a> {
    pub(super) serial: &'a [u8],
    pub(super) signature: &'a str,
    pub(super) issuer: &'a str,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
    pub(super) subject: &'a str,
    pub(super) public_key: &'a str,
}

impl Dump<'_> {
    /// The text, ending in a line feed.
    pub(super) fn text(&self) -> String {
        let mut serial = String::new();
        for (index, byte) in self.serial.iter().enumerate() {
            let separator = if index == 0 { "" } else { ":" };
            // Writing to a String does not fail.
            let _ = write!(serial, "{separator}{byte:02x}");
        }
        format!(
            "Certificate:\n    Data:\n        Version: 3 (0x2)\n        Serial Number:\n            \
             {serial}\n        Signature Algorithm: {signature}\n        Issuer: {issuer}\n        \
             Validity\n            Not Before: {not_before}\n            Not After : {not_after}\n        \
             Subject: {subject}\n        Subject Public Key Info:\n            \
             Public Key Algorithm: {public_key}\n",
            signature = self.signature,
            issuer = self.issuer,
            not_before = date(self.not_before),
            not_after = date(self.not_after),
            subject = self.subject,
            public_key = self.public_key,
        )
    }
}

/// `Jan  2 03:04:05 2026 GMT`.
pub(super) fn date(time: OffsetDateTime) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = MONTHS
        .get(usize::from(u8::from(time.month())) - 1)
        .unwrap_or(&"Jan");
    format!(
        "{month} {:2} {:02}:{:02}:{:02} {} GMT",
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.year()
    )
}
