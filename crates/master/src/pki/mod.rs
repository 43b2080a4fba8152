//! The Master's own certificates and secrets: an authority that issues them, what a certificate
//! says, sealed texts for the database, tokens (P 5.1, 5.2, 5.4, 5.5).
//!
//! Nothing here reads files, databases or sockets; randomness is the only thing taken from
//! outside, time is given by the caller.
//!
//! RSA keys (persons and nodes) take 50 to 500 ms of processor time to make: call
//! [`Authority::issue`] for them on `spawn_blocking`. Everything else takes less than a
//! millisecond.

mod authority;
mod base64url;
mod dump;
mod random;
mod reading;
mod sealing;
#[cfg(test)]
mod tests;

pub use authority::{
    Authority, AuthorityMaterial, CLIENT_LIFE, Issued, Profile, SERVER_LIFE, Subject,
    login_common_name,
};
pub(crate) use random::random_bytes;
pub use random::{random_hex, token, token_hash};
pub use reading::{
    CertificateFacts, PeerName, certificate_facts, peer_common_name, renewal_due,
    server_renewal_due,
};
pub use sealing::Sealer;

/// Why a certificate or a secret cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The organisation's name cannot stand in a certificate.
    #[error("organisation {name:?} cannot stand in a certificate: {why}; give another name")]
    Organisation {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A common name or address cannot stand in a certificate.
    #[error("{what} {value:?} cannot stand in a certificate: {why}")]
    Subject {
        /// `common name` or `e-mail address`.
        what: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A name of the server is neither a host name nor an address.
    #[error(
        "{name:?} cannot stand in a server certificate; give host names and addresses like \
         slapos.example.com, 192.0.2.1 or 2001:db8::1"
    )]
    ServerName {
        /// What was given.
        name: String,
    },
    /// A server certificate for nobody.
    #[error("a server certificate needs at least one host name or address")]
    NoServerName,
    /// The authority is not valid (any more) at that time.
    #[error(
        "the certificate authority is valid until {until}: it cannot issue certificates; check \
         the clock, or make a new authority"
    )]
    AuthorityExpired {
        /// The end of its life.
        until: String,
    },
    /// Text or bytes that are no certificate, or one that is not understood.
    #[error("cannot read {what}: {why}")]
    Read {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A key or a certificate cannot be made.
    #[error("cannot make {what}: {source}")]
    Make {
        /// What was to be made.
        what: &'static str,
        /// Why.
        source: rcgen::Error,
    },
    /// A time before 1970 or after 9999.
    #[error("the clock is wrong: no certificate can be made for that time")]
    Time,
    /// A serial number that is not one.
    #[error("{serial:?} is not the serial number of a certificate (hexadecimal digits)")]
    Serial {
        /// What was given.
        serial: String,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// A secret was too large to seal.
    #[error("a secret of {bytes} bytes is too large to be sealed")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A sealed text does not open: another key, another purpose, or damaged.
    #[error(
        "the secret {purpose:?} in the database does not open: secret.key is not the one it was \
         sealed with, or the database is damaged"
    )]
    Sealed {
        /// What it was asked for.
        purpose: String,
    },
}
