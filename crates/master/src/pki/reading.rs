//! What a certificate says.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use super::PkiError;
use super::random::{hex, sha256_hex};

/// Whom a presented certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerName {
    /// The common name: the reference of the certificate's login (P 5.1).
    pub common_name: String,
    /// As in [`Issued::serial_hex`](super::Issued::serial_hex).
    pub serial_hex: String,
    /// As in [`Issued::fingerprint_sha256_hex`](super::Issued::fingerprint_sha256_hex).
    pub fingerprint_sha256_hex: String,
    /// The certificate is worth nothing after that time.
    pub not_after: SystemTime,
}

/// What a certificate says, as far as the Master needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The common name, when there is exactly one.
    pub common_name: Option<String>,
    /// Upper-case hexadecimal digits.
    pub serial_hex: String,
    /// SHA-256 of the DER bytes, lower-case hexadecimal digits.
    pub fingerprint_sha256_hex: String,
    /// The beginning of its life.
    pub not_before: SystemTime,
    /// The end of its life.
    pub not_after: SystemTime,
    /// Host names and addresses it is for (subject alternative names), sorted.
    pub names: Vec<String>,
}

/// Whom the certificate of a TLS peer names. The signature is NOT checked: TLS did that.
///
/// # Errors
/// [`PkiError::Read`] when the bytes are no certificate, or it has not exactly one common name.
pub fn peer_common_name(der: &[u8]) -> Result<PeerName, PkiError> {
    let facts = facts(der)?;
    Ok(PeerName {
        common_name: facts
            .common_name
            .ok_or_else(|| unreadable("it must have exactly one common name"))?,
        serial_hex: facts.serial_hex,
        fingerprint_sha256_hex: facts.fingerprint_sha256_hex,
        not_after: facts.not_after,
    })
}

/// What the first certificate in a PEM text says. Text around it does not matter.
///
/// # Errors
/// [`PkiError::Read`].
pub fn certificate_facts(pem: &str) -> Result<CertificateFacts, PkiError> {
    facts(&der_of_pem(pem)?)
}

/// Whether a certificate should be replaced: less than a third of its life remains.
pub fn renewal_due(not_before: SystemTime, not_after: SystemTime, now: SystemTime) -> bool {
    let none = Duration::ZERO;
    let life = not_after.duration_since(not_before).unwrap_or(none);
    let rest = not_after.duration_since(now).unwrap_or(none);
    rest < life / 3
}

/// Whether the Master's own server certificate should be replaced: [`renewal_due`], or it lacks
/// one of `names` (as given to [`Authority::issue_server`](super::Authority::issue_server)).
pub fn server_renewal_due(facts: &CertificateFacts, names: &[String], now: SystemTime) -> bool {
    renewal_due(facts.not_before, facts.not_after, now)
        || names
            .iter()
            .any(|name| !facts.names.contains(&plain_name(name)))
}

/// A host name in lower case without the final dot, or an address in its shortest form without
/// brackets.
pub(super) fn plain_name(name: &str) -> String {
    let name = name.trim();
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    match bare.unwrap_or(name).parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(),
    }
}

pub(super) fn der_of_pem(pem: &str) -> Result<CertificateDer<'static>, PkiError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| unreadable(&format!("no certificate in PEM form ({error})")))
}

pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, PkiError> {
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|error| unreadable(&error.to_string()))?;
    if !rest.is_empty() {
        return Err(unreadable("there is something behind its end"));
    }
    Ok(certificate)
}

pub(super) fn unreadable(why: &str) -> PkiError {
    PkiError::Read {
        what: "a certificate",
        why: why.to_owned(),
    }
}

pub(super) fn facts(der: &[u8]) -> Result<CertificateFacts, PkiError> {
    let certificate = parse(der)?;
    let mut common_names = certificate.subject().iter_common_name();
    let common_name = match (common_names.next(), common_names.next()) {
        (Some(name), None) => Some(
            name.as_str()
                .map_err(|error| unreadable(&error.to_string()))?
                .to_owned(),
        ),
        _ => None,
    };
    let mut names: Vec<String> = Vec::new();
    if let Some(extension) = certificate
        .subject_alternative_name()
        .map_err(|error| unreadable(&error.to_string()))?
    {
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push(plain_name(name)),
                GeneralName::IPAddress(bytes) => names.extend(address(bytes)),
                _ => {}
            }
        }
    }
    names.sort();
    Ok(CertificateFacts {
        common_name,
        serial_hex: serial_hex(certificate.raw_serial()),
        fingerprint_sha256_hex: sha256_hex(der),
        not_before: time(certificate.validity().not_before)?,
        not_after: time(certificate.validity().not_after)?,
        names,
    })
}

/// As `openssl x509 -serial` writes it.
pub(super) fn serial_hex(bytes: &[u8]) -> String {
    let significant = bytes
        .iter()
        .position(|&byte| byte != 0)
        .and_then(|start| bytes.get(start..))
        .unwrap_or(&[0]);
    hex(significant).to_ascii_uppercase()
}

fn address(bytes: &[u8]) -> Option<String> {
    let address = if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        IpAddr::from(bytes)
    } else {
        IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)
    };
    Some(address.to_string())
}

fn time(time: ASN1Time) -> Result<SystemTime, PkiError> {
    u64::try_from(time.timestamp())
        .ok()
        .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
        .ok_or_else(|| unreadable("its life begins or ends before 1970"))
}
