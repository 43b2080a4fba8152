//! Who calls, and how one becomes somebody: certificates, passwords, one-time tokens (P 5).
//!
//! Nothing is remembered between requests: each one is looked up in the database, so that what is
//! revoked is revoked at once.

mod certify;
pub mod limit;
pub mod password;
mod sign_in;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;

use crate::domain::{Caller, Refusal, TokenPurpose};
use crate::pki::{Authority, Sealer};
use crate::server::Peer;
use crate::store::{Bearer, Store, StoreError};
pub use certify::{Certified, Certifier};
use limit::{Limiter, Rate, Who, too_many};
use sign_in::Passwords;
pub use sign_in::{Session, SignInError, SignedIn, clear_cookie};

/// The header in which a proxy hands on the common name of the certificate it checked (P 5.1).
pub const REMOTE_USER: &str = "remote-user";

/// Tokens one address may try: a person pastes one, a script registers many nodes.
const TOKENS: Rate = Rate {
    burst: 60,
    refill: Duration::from_secs(2),
};
/// Addresses and names that are remembered, per limit and generation.
const REMEMBERED: usize = 20_000;

/// Finds out who calls, and makes known who was not.
pub struct Auth {
    store: Arc<Store>,
    trusted_proxies: Vec<IpAddr>,
    certifier: Certifier,
    passwords: Passwords,
    tokens: Limiter,
}

impl Auth {
    /// `trusted_proxies` may say who calls, in [`REMOTE_USER`]: they check certificates themselves.
    pub fn new(
        store: Arc<Store>,
        authority: Arc<Authority>,
        sealer: Arc<Sealer>,
        trusted_proxies: Vec<IpAddr>,
    ) -> Self {
        Auth {
            certifier: Certifier::new(Arc::clone(&store), authority, sealer),
            passwords: Passwords::new(),
            tokens: Limiter::new(TOKENS, REMEMBERED),
            trusted_proxies,
            store,
        }
    }

    /// Who calls, by the certificate shown to us, or by what a trusted proxy says:
    /// [`Caller::Anonymous`] when it is unknown, expired, revoked or nobody's any more. One look-up.
    ///
    /// From a trusted proxy only its header counts. From anybody else the header is worth nothing.
    ///
    /// # Errors
    /// The database.
    pub async fn caller(&self, headers: &HeaderMap, peer: &Peer) -> Result<Caller, StoreError> {
        if self
            .trusted_proxies
            .contains(&peer.address.ip().to_canonical())
        {
            let mut names = headers.get_all(REMOTE_USER).iter();
            // Two of them: somebody else added one.
            let (Some(name), None) = (names.next(), names.next()) else {
                return Ok(Caller::Anonymous);
            };
            return match name.to_str().map(str::trim) {
                Ok(name) if !name.is_empty() => self.store.certificate_caller(name, None).await,
                _ => Ok(Caller::Anonymous),
            };
        }
        match &peer.certificate {
            Some(shown) => {
                let facts = (
                    shown.serial_hex.as_str(),
                    shown.fingerprint_sha256_hex.as_str(),
                );
                self.store
                    .certificate_caller(&shown.common_name, Some(facts))
                    .await
            }
            None => Ok(Caller::Anonymous),
        }
    }

    /// Makes certificates.
    pub fn certifier(&self) -> &Certifier {
        &self.certifier
    }

    /// Uses a one-time token. `address` is where the attempt comes from.
    ///
    /// # Errors
    /// [`Refusal::TooMany`], and as [`Store::redeem`].
    pub async fn redeem(
        &self,
        token: &str,
        wanted: TokenPurpose,
        address: Option<IpAddr>,
    ) -> Result<Bearer, StoreError> {
        self.try_token(address)?;
        self.store.redeem(token, wanted).await
    }

    /// Counts an attempt with a token.
    fn try_token(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        self.tokens
            .attempt(Who::at(address), self.store.clock().now())
            .map_err(too_many)
    }
}
