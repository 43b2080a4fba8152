//! One agent, one pooled connection, bounded answers, and the rule when to try again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::{Agent, Body, BodyReader};

use crate::error::{Error, of_status};
use crate::url::normalise_master_url;

/// Largest answer that is read where nothing else is said, in bytes.
const REPLY_BYTES_MAX: u64 = 256 << 20;
/// Largest error page that is read, in bytes.
const ERROR_BYTES_MAX: u64 = 64 << 10;

/// Whom to believe to be the Master.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Trust {
    /// Certificates signed by a public authority.
    #[default]
    WebRoots,
    /// Certificates signed by an authority in this PEM file.
    CaFile(PathBuf),
    /// Certificates signed by an authority in this PEM text.
    CaText(String),
    /// Anybody. Upstream's behaviour; never the default.
    Insecure,
}

/// A client certificate and its key, PEM texts, for who does not keep them in files. The key is not
/// shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// How to reach a Master.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The Master's URL; a missing final `/` and the brackets of an IPv6 host are added.
    pub master_url: String,
    /// Client certificate and key, PEM files; presented over https only.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The same as texts; files win.
    pub identity: Option<Identity>,
    /// Whom to believe to be the Master.
    pub trust: Trust,
    /// Longest time to connect, and to wait for an answer.
    pub timeout: Duration,
}

impl Settings {
    /// Defaults: no certificate, public authorities, 60 s (P 1.2).
    pub fn new(master_url: impl Into<String>) -> Self {
        Settings {
            master_url: master_url.into(),
            certificate: None,
            identity: None,
            trust: Trust::WebRoots,
            timeout: Duration::from_secs(60),
        }
    }
}

/// What a request carries besides its URL.
pub(crate) struct Post<'a> {
    pub body: &'a str,
    pub content_type: &'a str,
    /// `Authorization` header (P 1.2, partition identity).
    pub authorization: Option<String>,
    /// A one-time token (P 5.2).
    pub token: Option<&'a str>,
}

#[derive(Debug, Clone)]
pub(crate) struct Transport {
    agent: Agent,
    /// Ends in `/`.
    pub base: Arc<str>,
    /// Largest answer that is read, in bytes.
    pub reply_bytes_max: u64,
}

impl Transport {
    pub(crate) fn new(settings: Settings) -> Result<Transport, Error> {
        let base = normalise_master_url(&settings.master_url);
        let uri: ureq::http::Uri = base.parse().map_err(|error| Error::Url {
            url: settings.master_url.clone(),
            reason: format!("{error}"),
        })?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => {
                return Err(Error::Url {
                    url: settings.master_url,
                    reason: "it starts neither with http:// nor with https://".to_owned(),
                });
            }
        };
        // A port that is none would be taken for the usual one.
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if uri.port().is_none() && !authority.ends_with(']') && authority.contains(':') {
            return Err(Error::Url {
                url: settings.master_url,
                reason: "its port is no number up to 65535".to_owned(),
            });
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(settings.timeout))
            .timeout_recv_response(Some(settings.timeout))
            .timeout_recv_body(Some(settings.timeout))
            .user_agent(concat!("slapos/", env!("CARGO_PKG_VERSION")))
            .accept("*/*")
            .max_idle_connections(4)
            // Shorter than any server keeps an idle connection: a write must not meet a closed one.
            .max_idle_age(Duration::from_secs(4));
        config = config.tls_config(if https {
            tls(&settings)?
        } else {
            // A Master without TLS may send us to documents with it; they do not learn who we are.
            tls(&Settings::new(base.as_str()))?
        });
        Ok(Transport {
            agent: config.build().new_agent(),
            base: base.into(),
            reply_bytes_max: REPLY_BYTES_MAX,
        })
    }

    /// A read. Tried once more when the connection breaks under it.
    pub(crate) fn get(
        &self,
        url: &str,
        what: &str,
        headers: &[(&str, &str)],
    ) -> Result<String, Error> {
        let call = || {
            let mut request = self.agent.get(url);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request.call()
        };
        let reply = match call() {
            Err(ureq::Error::Io(error)) if broken(&error) => call(),
            other => other,
        };
        self.finish(reply, what)
    }

    /// What the server's clock says, by the head of any answer; `None` when it does not say.
    pub(crate) fn clock(&self) -> Result<Option<SystemTime>, Error> {
        let reply = self
            .agent
            .get(&*self.base)
            .call()
            .map_err(|error| self.unreached(error))?;
        let date = reply.headers().get(header::DATE);
        Ok(date
            .and_then(|date| date.to_str().ok())
            .and_then(|date| httpdate::parse_http_date(date).ok()))
    }

    /// A read of what does not end: its body, which lives for `lifetime` at most.
    pub(crate) fn open(
        &self,
        url: &str,
        what: &str,
        headers: &[(&str, &str)],
        lifetime: Duration,
    ) -> Result<BodyReader<'static>, Error> {
        let mut request = self.agent.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = request
            .config()
            .timeout_recv_body(Some(lifetime))
            .build()
            .call()
            .map_err(|error| self.unreached(error))?;
        if reply.status() == StatusCode::OK {
            return Ok(reply.into_body().into_reader());
        }
        match self.finish(Ok(reply), what) {
            Err(error) => Err(error),
            Ok(_) => Err(Error::Reply {
                what: what.to_owned(),
                reason: "it is no stream".to_owned(),
            }),
        }
    }

    /// A write. Never repeated.
    pub(crate) fn post(&self, url: &str, what: &str, post: &Post<'_>) -> Result<String, Error> {
        let mut request = self
            .agent
            .post(url)
            .header("Content-Type", post.content_type);
        if let Some(authorization) = &post.authorization {
            request = request.header("Authorization", authorization);
        }
        if let Some(token) = post.token {
            // Whoever the answer points at is not to get it.
            request = request
                .header("X-Access-Token", token)
                .config()
                .max_redirects(0)
                .build();
        }
        self.finish(request.send(post.body), what)
    }

    fn finish(
        &self,
        reply: Result<Response<Body>, ureq::Error>,
        what: &str,
    ) -> Result<String, Error> {
        let mut reply = reply.map_err(|error| self.unreached(error))?;
        let status = reply.status();
        let limit = if status.is_success() {
            self.reply_bytes_max
        } else {
            ERROR_BYTES_MAX
        };
        let body = reply.body_mut().with_config().limit(limit).read_to_vec();
        match (status, body) {
            (status, Ok(body)) if status.is_success() => {
                let unusable = |reason: String| Error::Reply {
                    what: what.to_owned(),
                    reason,
                };
                if is_web_page(&body) {
                    return Err(unusable(format!(
                        "it is a web page; is {} really the URL of a Master's API?",
                        self.base
                    )));
                }
                String::from_utf8(body).map_err(|_| unusable("it is not UTF-8 text".to_owned()))
            }
            (StatusCode::OK, Err(error)) => Err(self.unreached(error)),
            (status, body) => {
                let text = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
                Err(of_status(status.as_u16(), what, &text))
            }
        }
    }

    fn unreached(&self, error: ureq::Error) -> Error {
        let url = self.base.to_string();
        if let Some(reason) = tls_reason(&error) {
            return Error::Tls { url, reason };
        }
        let reason = match error {
            ureq::Error::HostNotFound => "its host name cannot be resolved".to_owned(),
            ureq::Error::Timeout(_) => "it does not answer in time".to_owned(),
            ureq::Error::ConnectionFailed => "the connection failed".to_owned(),
            ureq::Error::Io(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => {
                    "the connection is refused; is the Master running?".to_owned()
                }
                _ => error.to_string(),
            },
            other => other.to_string(),
        };
        Error::Connection { url, reason }
    }
}

/// Whether somebody answers who talks to browsers. No answer of the protocol is HTML.
fn is_web_page(body: &[u8]) -> bool {
    let start = body.get(..body.len().min(100)).unwrap_or_default();
    let start = start.trim_ascii_start().to_ascii_lowercase();
    start.starts_with(b"<!doctype html") || start.starts_with(b"<html")
}

fn broken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}

fn tls_reason(error: &ureq::Error) -> Option<String> {
    let of_rustls = |error: &rustls::Error| match error {
        rustls::Error::InvalidCertificate(reason) => {
            format!("its certificate is not accepted ({reason})")
        }
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS there; perhaps its URL begins with http://".to_owned()
        }
        other => other.to_string(),
    };
    match error {
        ureq::Error::Rustls(error) => Some(of_rustls(error)),
        ureq::Error::Tls(reason) => Some((*reason).to_owned()),
        ureq::Error::Io(error) => error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
            .map(of_rustls),
        _ => None,
    }
}

fn tls(settings: &Settings) -> Result<TlsConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::clone(&provider));
    match &settings.trust {
        Trust::WebRoots => tls = tls.root_certs(RootCerts::WebPki),
        Trust::Insecure => tls = tls.disable_verification(true),
        Trust::CaFile(path) => {
            let roots = certificates(&read(path)?, path)?;
            tls = tls.root_certs(RootCerts::new_with_certs(&roots));
        }
        Trust::CaText(pem) => {
            let roots = certificates(pem.as_bytes(), Path::new("the authority's certificate"))?;
            tls = tls.root_certs(RootCerts::new_with_certs(&roots));
        }
    }
    let client = match (&settings.certificate, &settings.identity) {
        (Some((certificate, key)), _) => {
            let chain = certificates(&read(certificate)?, certificate)?;
            Some((chain, private_key(&read(key)?, key)?))
        }
        (None, Some(identity)) => {
            let chain = certificates(
                identity.certificate.as_bytes(),
                Path::new("the client certificate"),
            )?;
            let key = private_key(identity.key.as_bytes(), Path::new("the client key"))?;
            Some((chain, key))
        }
        (None, None) => None,
    };
    if let Some((chain, key)) = client {
        let (certificate, file) = settings.certificate.clone().unwrap_or_else(|| {
            let name = |what: &str| PathBuf::from(what);
            (name("the client certificate"), name("the client key"))
        });
        belong_together(&chain, &key, &provider).map_err(|error| match error {
            rustls::Error::InvalidCertificate(reason) => Error::File {
                path: certificate,
                reason: format!("it is broken ({reason})"),
            },
            rustls::Error::InconsistentKeys(_) => Error::File {
                reason: format!("it is not the key of {}", certificate.display()),
                path: file,
            },
            other => Error::File {
                path: file,
                reason: other.to_string(),
            },
        })?;
        tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
    }
    Ok(tls.build())
}

/// Whether this key is that of the certificate. The connection would not ask, but panic.
fn belong_together(
    chain: &[Certificate<'_>],
    key: &PrivateKey<'_>,
    provider: &CryptoProvider,
) -> Result<(), rustls::Error> {
    let chain: Vec<CertificateDer<'static>> = chain
        .iter()
        .map(|certificate| certificate.der().to_vec().into())
        .collect();
    let key = PrivateKeyDer::try_from(key.der().to_vec())
        .map_err(|reason| rustls::Error::General(reason.to_owned()))?;
    CertifiedKey::from_der(chain, key, provider).map(drop)
}

pub(crate) fn private_key(pem: &[u8], path: &Path) -> Result<PrivateKey<'static>, Error> {
    PrivateKey::from_pem(pem).map_err(|_| Error::File {
        path: path.to_owned(),
        reason: "it holds no private key in PEM form".to_owned(),
    })
}

pub(crate) fn certificates(pem: &[u8], path: &Path) -> Result<Vec<Certificate<'static>>, Error> {
    let found: Vec<_> = ureq::tls::parse_pem(pem)
        .filter_map(|item| match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return Err(Error::File {
            path: path.to_owned(),
            reason: "it holds no certificate in PEM form".to_owned(),
        });
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| Error::File {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}
