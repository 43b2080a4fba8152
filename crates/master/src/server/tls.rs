//! The server's certificate, and which client certificates are accepted.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// Certificates in one chain: more is a mistake.
const MAX_CHAIN: usize = 16;

/// Why the server cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A text that is not what it should be.
    #[error("{what} cannot be used: {why}")]
    Material {
        /// `the server's certificate` and the like.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The TLS library refuses.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[source] rustls::Error),
}

/// TLS 1.2 and 1.3 with one server certificate, which can be replaced while serving, and
/// optional client certificates.
///
/// A client that shows no certificate is let in (and is nobody); one that shows a certificate of
/// another authority, or an expired one, is not.
pub struct ServerTls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

/// The certificate shown to new connections.
struct Current(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(
            &self.0.read().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

impl ServerTls {
    /// From the server's certificate (PEM, followed by intermediate ones if there are any), its
    /// key (PEM), and the authorities (PEM) whose client certificates are accepted. Without any
    /// authority no client certificate is asked for.
    ///
    /// # Errors
    /// [`TlsError`]: a text is no PEM, or the key is not the certificate's.
    pub fn new(
        chain_pem: &str,
        key_pem: &str,
        client_authorities_pem: &[&str],
    ) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let current = Arc::new(Current(RwLock::new(certified_key(
            chain_pem, key_pem, &provider,
        )?)));
        let mut roots = RootCertStore::empty();
        for pem in client_authorities_pem {
            const WHAT: &str = "a certificate authority for clients";
            for certificate in certificates(pem, WHAT)? {
                roots.add(certificate).map_err(|error| bad(WHAT, error))?;
            }
        }
        let verifier = if roots.is_empty() {
            WebPkiClientVerifier::no_client_auth()
        } else {
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .map_err(|error| bad("the certificate authorities for clients", error))?
        };
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Current>::clone(&current);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsError::Setup)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Sessions are resumed by tickets the client keeps: nothing to remember for each client.
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(TlsError::Setup)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(ServerTls {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            current,
        }))
    }

    /// Shows another certificate to clients that connect from now on; connections that are open
    /// are not touched. On an error the one before stays.
    ///
    /// # Errors
    /// As [`ServerTls::new`].
    pub fn replace(&self, chain_pem: &str, key_pem: &str) -> Result<(), TlsError> {
        let provider = self.acceptor.config().crypto_provider();
        let new = certified_key(chain_pem, key_pem, provider)?;
        *self
            .current
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    pub(super) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }
}

fn certified_key(
    chain_pem: &str,
    key_pem: &str,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(chain_pem, "the server's certificate")?;
    const KEY: &str = "the server's key";
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        // The error may show what it read: not for a key.
        .map_err(|_| bad(KEY, "there is no key in PEM form in it"))?;
    CertifiedKey::from_der(chain, key, provider)
        .map(Arc::new)
        .map_err(|error| bad(KEY, error))
}

fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .take(MAX_CHAIN)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(what, error))?;
    if chain.is_empty() {
        return Err(bad(what, "there is no certificate in PEM form in it"));
    }
    Ok(chain)
}

fn bad(what: &'static str, why: impl fmt::Display) -> TlsError {
    TlsError::Material {
        what,
        why: why.to_string(),
    }
}
