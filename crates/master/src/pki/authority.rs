//! The certificate authority of one organisation: issues and revokes.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData, RevokedCertParams, RsaKeySize, SanType,
    SerialNumber,
};
use time::OffsetDateTime;
use x509_parser::extensions::ParsedExtension;
use x509_parser::x509::AttributeTypeAndValue;

use super::PkiError;
use super::dump::{Dump, date};
use super::random::{random_bytes, random_hex};
use super::reading::{CertificateFacts, der_of_pem, facts, parse, plain_name};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The authority's own life.
const AUTHORITY_LIFE: Duration = DAY.saturating_mul(20 * 365);
/// How long certificates of persons, nodes and instances live (P 5.1: 10 years), unless the
/// authority ends before.
pub const CLIENT_LIFE: Duration = DAY.saturating_mul(10 * 365);
/// How long the Master's server certificate lives: what browsers still accept.
pub const SERVER_LIFE: Duration = DAY.saturating_mul(397);
/// A revocation list is worth nothing after that: publish a new one before.
const CRL_LIFE: Duration = DAY.saturating_mul(30);
/// Certificates begin before now: for machines whose clock is late, and so that those of a Master
/// whose clock was ahead are good once it is right again.
const CLOCK_SKEW: Duration = DAY;
/// X.520: upper bound of a common name and an organisation.
const MAX_NAME: usize = 64;
/// More than any address has.
const MAX_EMAIL: usize = 255;
/// Names in one server certificate.
const MAX_SERVER_NAMES: usize = 100;
/// 1.2.840.113549.1.9.1, in the subject as `emailAddress`.
const EMAIL_OID: &[u64] = &[1, 2, 840, 113_549, 1, 9, 1];
/// What the released clients cut the node's reference out by; see [`super::dump`].
const NODE_MARK: &str = "COMP-";

/// Issues certificates. Cheap to share in an `Arc`; all methods take `&self`.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    organisation: String,
    common_name: String,
    key_identifier: Vec<u8>,
    facts: CertificateFacts,
}

/// What is kept of an authority. The key belongs sealed into the database.
pub struct AuthorityMaterial {
    /// Public: everybody who verifies the Master needs it.
    pub certificate_pem: String,
    /// Secret.
    pub key_pem: String,
}

/// Whom a client certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// `CERTLOGIN-<n>-<random>-<parent reference>` (P 5.1), at most 64 characters; see
    /// [`login_common_name`].
    pub common_name: String,
    /// An e-mail address, ASCII, not empty; released clients find the node's reference by what
    /// stands before it (P 5.4).
    pub email: String,
}

/// What a client certificate is for; it decides the kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// RSA with 2048 bits: people check their key with `openssl rsa -check`.
    Person,
    /// RSA with 2048 bits.
    Node,
    /// ECDSA with P-256: there are very many of them, and they are made in no time.
    Instance,
}

/// A certificate that was issued, with its key.
pub struct Issued {
    /// A text for people like `openssl x509 -text` has it, then the PEM block: what released
    /// clients expect as `certificate` (P 5.4).
    pub certificate: String,
    /// The PEM block only.
    pub certificate_pem: String,
    /// The key as PEM (PKCS #8). Secret.
    pub key_pem: String,
    /// The serial number as `openssl x509 -serial` writes it: upper-case hexadecimal digits.
    pub serial_hex: String,
    /// The common name.
    pub common_name: String,
    /// SHA-256 of the certificate's DER bytes: 64 lower-case hexadecimal digits.
    pub fingerprint_sha256_hex: String,
    /// The end of its life.
    pub not_after: SystemTime,
}

/// The common name of login number `number` of `reference` (P 5.1):
/// `CERTLOGIN-<number>-<16 random digits>-<reference>`.
///
/// # Errors
/// [`PkiError::Random`].
pub fn login_common_name(number: i64, reference: &str) -> Result<String, PkiError> {
    Ok(format!("CERTLOGIN-{number}-{}-{reference}", random_hex(8)?))
}

impl Authority {
    /// A new authority for `organisation` (at most 64 characters), valid for 20 years.
    ///
    /// # Errors
    /// [`PkiError::Organisation`]; [`PkiError::Time`] for an impossible `now`.
    pub fn create(
        organisation: &str,
        now: SystemTime,
    ) -> Result<(Self, AuthorityMaterial), PkiError> {
        let organisation = organisation.trim();
        if let Some(why) = bad_name(organisation) {
            return Err(PkiError::Organisation {
                name: organisation.to_owned(),
                why,
            });
        }
        let make = make("the certificate authority");
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
        // The random part tells authorities apart that bear the same organisation's name.
        let common_name = format!("SlapOS certificate authority {}", random_hex(4)?);
        let mut params = CertificateParams::default();
        params.distinguished_name = authority_name(organisation, &common_name);
        params.not_before = moment(now, Shift::Back(CLOCK_SKEW))?;
        params.not_after = moment(now, Shift::Forth(AUTHORITY_LIFE))?;
        params.serial_number = Some(new_serial()?);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(make)?;
        let material = AuthorityMaterial {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        };
        let authority = Self::load(&material.certificate_pem, &material.key_pem)?;
        Ok((authority, material))
    }

    /// An authority that [`Authority::create`] made.
    ///
    /// # Errors
    /// [`PkiError::Read`] when one of the texts is damaged, or they do not belong together.
    pub fn load(certificate_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let bad = |why: &str| PkiError::Read {
            what: "the certificate authority",
            why: why.to_owned(),
        };
        let key = KeyPair::from_pem(key_pem).map_err(|_| bad("its key is damaged"))?;
        let der = der_of_pem(certificate_pem)?;
        let certificate = parse(&der)?;
        if certificate.public_key().raw != key.subject_public_key_info() {
            return Err(bad("its key and its certificate do not belong together"));
        }
        if !certificate.is_ca() {
            return Err(bad("its certificate may not sign others"));
        }
        let subject = certificate.subject();
        let organisation = only(subject.iter_organization());
        let common_name = only(subject.iter_common_name());
        let (Some(organisation), Some(common_name), 2) =
            (organisation, common_name, subject.iter_attributes().count())
        else {
            return Err(bad("its name is not of the form this program gives"));
        };
        // What it issues names it by the identifier in its own certificate.
        let key_identifier = certificate
            .iter_extensions()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
                _ => None,
            })
            .ok_or_else(|| bad("its certificate has no key identifier"))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = authority_name(&organisation, &common_name);
        params.key_identifier_method = KeyIdMethod::PreSpecified(key_identifier.clone());
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let facts = facts(&der)?;
        Ok(Authority {
            issuer: Issuer::new(params, key),
            certificate_pem: certificate_pem.to_owned(),
            organisation,
            common_name,
            key_identifier,
            facts,
        })
    }

    /// Its certificate as PEM, for everybody who verifies what it issued.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The organisation it was made for.
    pub fn organisation(&self) -> &str {
        &self.organisation
    }

    /// What its own certificate says.
    pub fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    /// Issues a client certificate with a new key, valid for [`CLIENT_LIFE`].
    ///
    /// Takes 50 to 500 ms of processor time for RSA keys ([`Profile::Person`],
    /// [`Profile::Node`]): call it on `spawn_blocking`.
    ///
    /// # Errors
    /// [`PkiError::Subject`] when the subject cannot stand in a certificate,
    /// [`PkiError::AuthorityExpired`], [`PkiError::Time`].
    pub fn issue(
        &self,
        subject: &Subject,
        profile: Profile,
        now: SystemTime,
    ) -> Result<Issued, PkiError> {
        let bad = |what, value: &str, why| PkiError::Subject {
            what,
            value: value.chars().take(300).collect(),
            why,
        };
        if let Some(why) = bad_common_name(&subject.common_name) {
            return Err(bad("common name", &subject.common_name, why));
        }
        if let Some(why) = bad_email(&subject.email) {
            return Err(bad("e-mail address", &subject.email, why));
        }
        let email = Ia5String::try_from(subject.email.as_str())
            .map_err(|_| bad("e-mail address", &subject.email, "it must be ASCII"))?;

        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, self.organisation.as_str());
        name.push(DnType::CommonName, subject.common_name.as_str());
        name.push(
            DnType::CustomDnType(EMAIL_OID.to_vec()),
            DnValue::Ia5String(email),
        );
        let mut params = self.leaf(name, CLIENT_LIFE, now)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let make = make("the key");
        let key = match profile {
            Profile::Person | Profile::Node => {
                params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
                KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).map_err(make)?
            }
            Profile::Instance => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?,
        };
        let text = format!(
            "O={}, CN={}/emailAddress={}",
            self.organisation, subject.common_name, subject.email
        );
        self.sign(params, &key, &text)
    }

    /// Issues the certificate of the Master's own server, valid for [`SERVER_LIFE`]: renew it
    /// when [`server_renewal_due`](super::server_renewal_due).
    ///
    /// `names` are host names (`*.example.com` too) and addresses (with brackets or without).
    ///
    /// # Errors
    /// [`PkiError::NoServerName`], [`PkiError::ServerName`], [`PkiError::AuthorityExpired`],
    /// [`PkiError::Time`].
    pub fn issue_server(&self, names: &[String], now: SystemTime) -> Result<Issued, PkiError> {
        let mut plain: Vec<String> = Vec::new();
        for name in names
            .iter()
            .take(MAX_SERVER_NAMES)
            .map(|name| plain_name(name))
        {
            if !plain.contains(&name) {
                plain.push(name);
            }
        }
        let mut alternatives = Vec::with_capacity(plain.len());
        for name in &plain {
            let bad = || PkiError::ServerName { name: name.clone() };
            alternatives.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) if is_host_name(name) => {
                    SanType::DnsName(name.as_str().try_into().map_err(|_| bad())?)
                }
                Err(_) => return Err(bad()),
            });
        }
        let first = plain.first().ok_or(PkiError::NoServerName)?;
        let mut text = format!("O={}", self.organisation);
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, self.organisation.as_str());
        if first.len() <= MAX_NAME {
            name.push(DnType::CommonName, first.as_str());
            text = format!("{text}, CN={first}");
        }
        let mut params = self.leaf(name, SERVER_LIFE, now)?;
        params.subject_alt_names = alternatives;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key =
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make("the server's key"))?;
        self.sign(params, &key, &text)
    }

    /// The list of revoked certificates as PEM, valid for 30 days, for people whose proxy
    /// verifies client certificates. The Master itself asks its database.
    ///
    /// `revoked` are serial numbers as in [`Issued::serial_hex`] with the time of revocation;
    /// `number` must grow from list to list.
    ///
    /// # Errors
    /// [`PkiError::Serial`] for something that is no serial number, [`PkiError::Time`].
    pub fn crl(
        &self,
        revoked: &[(String, SystemTime)],
        number: u64,
        now: SystemTime,
    ) -> Result<String, PkiError> {
        let make = make("the list of revoked certificates");
        let revoked_certs = revoked
            .iter()
            .map(|(serial, revoked_at)| {
                Ok(RevokedCertParams {
                    serial_number: serial_of_hex(serial)?,
                    revocation_time: moment(*revoked_at, Shift::None)?,
                    reason_code: None,
                    invalidity_date: None,
                })
            })
            .collect::<Result<Vec<_>, PkiError>>()?;
        let list = CertificateRevocationListParams {
            this_update: moment(now, Shift::None)?,
            next_update: moment(now, Shift::Forth(CRL_LIFE))?,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::PreSpecified(self.key_identifier.clone()),
        };
        list.signed_by(&self.issuer)
            .and_then(|list| list.pem())
            .map_err(make)
    }

    /// What all leaf certificates have.
    fn leaf(
        &self,
        name: DistinguishedName,
        life: Duration,
        now: SystemTime,
    ) -> Result<CertificateParams, PkiError> {
        let end = moment(self.facts.not_after, Shift::None)?;
        if moment(now, Shift::None)? >= end {
            return Err(PkiError::AuthorityExpired { until: date(end) });
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = name;
        params.not_before = moment(now, Shift::Back(CLOCK_SKEW))?;
        params.not_after = moment(now, Shift::Forth(life))?.min(end);
        params.serial_number = Some(new_serial()?);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }

    fn sign(
        &self,
        params: CertificateParams,
        key: &KeyPair,
        subject: &str,
    ) -> Result<Issued, PkiError> {
        let certificate = params
            .signed_by(key, &self.issuer)
            .map_err(make("the certificate"))?;
        let facts = facts(certificate.der())?;
        let dump = Dump {
            serial: params
                .serial_number
                .as_ref()
                .map_or(&[][..], |serial| serial.as_ref()),
            signature: "ecdsa-with-SHA256",
            issuer: &format!("O={}, CN={}", self.organisation, self.common_name),
            not_before: params.not_before,
            not_after: params.not_after,
            subject,
            public_key: if key.algorithm() == &PKCS_RSA_SHA256 {
                "rsaEncryption"
            } else {
                "id-ecPublicKey"
            },
        };
        let certificate_pem = certificate.pem();
        Ok(Issued {
            certificate: format!("{}{certificate_pem}", dump.text()),
            certificate_pem,
            key_pem: key.serialize_pem(),
            common_name: facts.common_name.unwrap_or_default(),
            serial_hex: facts.serial_hex,
            fingerprint_sha256_hex: facts.fingerprint_sha256_hex,
            not_after: facts.not_after,
        })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("organisation", &self.organisation)
            .field("common_name", &self.common_name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AuthorityMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorityMaterial")
            .field("certificate_pem", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("common_name", &self.common_name)
            .field("serial_hex", &self.serial_hex)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

fn make(what: &'static str) -> impl Fn(rcgen::Error) -> PkiError + Copy {
    move |source| PkiError::Make { what, source }
}

fn authority_name(organisation: &str, common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, organisation);
    name.push(DnType::CommonName, common_name);
    name
}

fn only<'a>(mut attributes: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>) -> Option<String> {
    match (attributes.next(), attributes.next()) {
        (Some(attribute), None) => Some(attribute.as_str().ok()?.to_owned()),
        _ => None,
    }
}

/// What is wrong with a name that shall stand in a certificate and in its dump.
fn bad_name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.chars().count() > MAX_NAME {
        Some("it is longer than 64 characters")
    } else if name.chars().any(char::is_control) {
        Some("it contains control characters")
    } else if name.contains(NODE_MARK) {
        Some("released clients would take its \"COMP-\" for the reference of a node")
    } else {
        None
    }
}

fn bad_common_name(name: &str) -> Option<&'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > MAX_NAME {
        Some("it is longer than 64 characters")
    } else if !name.chars().all(plain) {
        Some("only letters, digits and the signs - _ . are possible")
    } else {
        None
    }
}

fn bad_email(email: &str) -> Option<&'static str> {
    if email.is_empty() {
        Some("it is empty")
    } else if email.len() > MAX_EMAIL {
        Some("it is longer than 255 characters")
    } else if !email.chars().all(|c| c.is_ascii_graphic()) {
        Some("only ASCII without spaces is possible")
    } else {
        None
    }
}

/// A host name as certificates take it; the first label may be `*`.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let rest = name.strip_prefix("*.").unwrap_or(name);
    name.len() <= 253 && rest.split('.').all(label)
}

/// 127 random bits: never two the same, always positive.
fn new_serial() -> Result<SerialNumber, PkiError> {
    let mut bytes = random_bytes::<16>()?;
    // Neither negative nor with leading zeros, so that all programs write it alike.
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn serial_of_hex(serial: &str) -> Result<SerialNumber, PkiError> {
    let bad = || PkiError::Serial {
        serial: serial.chars().take(100).collect(),
    };
    // RFC 5280: at most 20 bytes.
    if serial.is_empty() || serial.len() > 40 || !serial.is_ascii() {
        return Err(bad());
    }
    let padded = format!(
        "{}{serial}",
        if serial.len().is_multiple_of(2) {
            ""
        } else {
            "0"
        }
    );
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let bytes = padded
        .as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
            _ => None,
        })
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(bad)?;
    Ok(SerialNumber::from(bytes))
}

enum Shift {
    None,
    Back(Duration),
    Forth(Duration),
}

/// In whole seconds, as certificates have it.
fn moment(time: SystemTime, shift: Shift) -> Result<OffsetDateTime, PkiError> {
    let shifted = match shift {
        Shift::None => Some(time),
        Shift::Back(by) => time.checked_sub(by),
        Shift::Forth(by) => time.checked_add(by),
    };
    shifted
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or(PkiError::Time)
}
