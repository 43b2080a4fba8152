//! Why the Master does not do what it is asked.

/// Why something is not done. Nothing was changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody known calls: no certificate, or one that is unknown, expired or revoked.
    #[error("{0}")]
    Unauthenticated(String),
    /// The caller may know it, but not do this.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such thing, or none the caller may know of.
    #[error("{0}")]
    NotFound(String),
    /// What is asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// It makes sense, but not in the present state.
    #[error("{0}")]
    Conflict(String),
    /// It is accepted, and there is nothing to show yet; the words say why.
    #[error("{0}")]
    NotReady(String),
    /// Too much at once.
    #[error("{0}")]
    TooMany(String),
}

impl Refusal {
    /// There is no such thing, or none the caller may know of. One text for both.
    pub fn unknown(what: &str, reference: impl std::fmt::Display) -> Self {
        Refusal::NotFound(format!("there is no {what} {reference} that you may see"))
    }
}
