//! Becoming somebody: a one-time token is turned into a certificate (P 5.2–5.4).

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use aws_lc_rs::digest;
use serde_json::Value as Json;
use slap::NodeId;

use crate::error::Error;
use crate::transport::{Post, Settings, Transport, Trust, certificates, private_key};

/// Largest answer that is read, in bytes: a certificate, its description and a key.
const REPLY_BYTES_MAX: u64 = 1 << 20;
/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 1024;
/// Where our Master shows the certificate of its authority.
const AUTHORITY: &str = "ca.crt";

/// SHA-256 of a certificate.
///
/// Is read from what people copy: hexadecimal digits in either case, with colons or blanks between
/// them or not, after `SHA256:` or not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    fn of(der: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, der);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Fingerprint(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A text that is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 fingerprint has 64 hexadecimal digits")]
pub struct NotAFingerprint;

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let lower = text.trim().to_ascii_lowercase();
        let digits = ["sha-256", "sha256"]
            .iter()
            .find_map(|name| lower.strip_prefix(name))
            .unwrap_or(&lower);
        let mut bytes = [0; 32];
        let mut count = 0;
        for character in digits.chars() {
            if matches!(character, ':' | ' ') {
                continue;
            }
            let digit = character.to_digit(16).ok_or(NotAFingerprint)?;
            let byte = bytes.get_mut(count / 2).ok_or(NotAFingerprint)?;
            *byte = (*byte << 4) | u8::try_from(digit).map_err(|_| NotAFingerprint)?;
            count += 1;
        }
        if count == 64 {
            Ok(Fingerprint(bytes))
        } else {
            Err(NotAFingerprint)
        }
    }
}

/// The certificate of an authority: exactly one, so that its fingerprint says all about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The certificate as PEM.
    pub pem: String,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

impl Authority {
    /// Reads a PEM text.
    ///
    /// # Errors
    /// When there is not exactly one certificate in it.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let unusable = |reason: String| Error::Reply {
            what: AUTHORITY.to_owned(),
            reason,
        };
        let found = certificates(pem.as_bytes(), Path::new(AUTHORITY))
            .map_err(|_| unusable("it holds no certificate in PEM form".to_owned()))?;
        match found.as_slice() {
            [one] => Ok(Authority {
                pem: pem.to_owned(),
                fingerprint: Fingerprint::of(one.der()),
            }),
            more => Err(unusable(format!(
                "it holds {} certificates instead of one",
                more.len()
            ))),
        }
    }
}

/// What a token was turned into. The key is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The certificate as PEM, after a description in some Masters' answers.
    pub certificate: String,
    /// Its key as PEM. Secret.
    pub key: String,
    reference: Option<String>,
}

impl fmt::Debug for Enrolled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrolled")
            .field("reference", &self.reference)
            .finish_non_exhaustive()
    }
}

impl Enrolled {
    fn read(text: &str, what: &str) -> Result<Self, Error> {
        let unusable = |reason: &str| Error::Reply {
            what: what.to_owned(),
            reason: reason.to_owned(),
        };
        let json: Json =
            serde_json::from_str(text).map_err(|_| unusable("it is no JSON document"))?;
        if json == Json::Bool(false) {
            // ERP5 answers so, where ours gives a further certificate.
            return Err(unusable(
                "it is `false`, by which a Master says that you have a certificate already",
            ));
        }
        let member = |name: &str| json.get(name).and_then(Json::as_str).map(str::to_owned);
        let (Some(certificate), Some(key)) = (member("certificate"), member("key")) else {
            return Err(unusable("it holds no certificate and key"));
        };
        certificates(certificate.as_bytes(), Path::new(what))
            .map_err(|_| unusable("its certificate is not in PEM form"))?;
        private_key(key.as_bytes(), Path::new(what))
            .map_err(|_| unusable("its key is not in PEM form"))?;
        Ok(Enrolled {
            certificate,
            key,
            reference: member("reference"),
        })
    }

    /// The reference of the node: what the Master says it is, else what stands in the certificate's
    /// description (P 5.4).
    ///
    /// # Errors
    /// When it is nowhere, or no reference.
    pub fn node(&self) -> Result<NodeId, Error> {
        let unusable = |reason: String| Error::Reply {
            what: "Person_requestComputer".to_owned(),
            reason,
        };
        let described = || {
            let start = self.certificate.find("COMP-")?;
            let rest = self.certificate.get(start..)?;
            rest.get(..rest.find("/email")?)
        };
        let reference = self.reference.as_deref().or_else(described);
        let reference = reference
            .ok_or_else(|| unusable("it does not say how the node is called".to_owned()))?;
        NodeId::new(reference).map_err(|error| unusable(error.to_string()))
    }
}

/// A Master's door for whoever has a token and no certificate yet.
#[derive(Debug, Clone)]
pub struct Enrolment {
    transport: Transport,
}

impl Enrolment {
    /// The door at this URL; nothing is sent yet.
    ///
    /// # Errors
    /// When the URL makes no sense or the authority's certificate cannot be used.
    pub fn new(web_url: &str, trust: Trust) -> Result<Self, Error> {
        let mut settings = Settings::new(web_url);
        settings.trust = trust;
        let mut transport = Transport::new(settings)?;
        transport.reply_bytes_max = REPLY_BYTES_MAX;
        Ok(Enrolment { transport })
    }

    /// Whether somebody who is believed to be the Master answers there, whatever the answer.
    ///
    /// # Errors
    /// [`Error::Connection`] and [`Error::Tls`].
    pub fn probe(&self) -> Result<(), Error> {
        match self.get(AUTHORITY) {
            Err(error @ (Error::Connection { .. } | Error::Tls { .. })) => Err(error),
            _ => Ok(()),
        }
    }

    /// The certificate of the Master's own authority. It is worth what the connection is worth,
    /// unless its fingerprint is compared with one from elsewhere.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the Master shows none.
    pub fn authority(&self) -> Result<Authority, Error> {
        Authority::from_pem(&self.get(AUTHORITY)?)
    }

    /// A certificate for the person the token was made for. Uses up the token, even when it fails.
    ///
    /// # Errors
    /// [`Error::Refused`] with 403 when the token is no good (any more).
    pub fn person(&self, token: &str) -> Result<Enrolled, Error> {
        self.redeem("Person_getCertificate", token, "")
    }

    /// A node of this title, and a certificate for it. Uses up the token, even when it fails.
    ///
    /// # Errors
    /// [`Error::Refused`] with 403 when the token is no good (any more); an error whose
    /// [`Error::detail`] contains `Certificate still active.` when the node has a certificate.
    pub fn node(&self, token: &str, title: &str) -> Result<Enrolled, Error> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("title", title)
            .finish();
        self.redeem("Person_requestComputer", token, &form)
    }

    fn get(&self, name: &str) -> Result<String, Error> {
        let url = format!("{}{name}", self.transport.base);
        self.transport.get(&url, name, &[])
    }

    fn redeem(&self, call: &str, token: &str, body: &str) -> Result<Enrolled, Error> {
        if token.len() > TOKEN_BYTES_MAX || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::Unsendable {
                what: "the token".to_owned(),
                reason: format!(
                    "a token has at most {TOKEN_BYTES_MAX} letters, digits and signs, no blanks"
                ),
            });
        }
        let url = format!("{}{call}", self.transport.base);
        let post = Post {
            body,
            content_type: "application/x-www-form-urlencoded",
            authorization: None,
            token: Some(token),
        };
        Enrolled::read(&self.transport.post(&url, call, &post)?, call)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fingerprint_is_read_however_it_was_copied() {
        let plain = "0f".repeat(32);
        let expected: Fingerprint = plain.parse().unwrap();
        assert_eq!(expected.to_string(), plain);
        let colons = vec!["0F"; 32].join(":");
        for text in [
            colons.clone(),
            format!("SHA256:{plain}"),
            format!(" sha-256 {plain}\n"),
            format!("sha256 {colons}"),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for bad in ["", "0f", &"0f".repeat(33), &"0g".repeat(32), "sha256"] {
            assert_eq!(bad.parse::<Fingerprint>(), Err(NotAFingerprint), "{bad}");
        }
    }

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn an_authority_is_one_certificate() {
        let (pem, key) = pair();
        let authority = Authority::from_pem(&pem).unwrap();
        assert_eq!(authority.pem, pem);
        let (other, _) = pair();
        assert_ne!(
            Authority::from_pem(&other).unwrap().fingerprint,
            authority.fingerprint
        );
        // A second one would be trusted although nobody compared it.
        for bad in [format!("{pem}{other}"), key, String::new()] {
            assert!(Authority::from_pem(&bad).is_err());
        }
    }

    #[test]
    fn the_nodes_reference_is_found_in_either_place() {
        let (pem, key) = pair();
        let described = format!("Subject: CN=CERTLOGIN-1-ab-COMP-77/emailAddress=a@b\n{pem}");
        let read = |document: Json| {
            Enrolled::read(&document.to_string(), "x").and_then(|enrolled| enrolled.node())
        };
        let told = read(json!({"certificate": described, "key": key, "reference": "COMP-5"}));
        assert_eq!(told.unwrap().as_str(), "COMP-5");
        let cut = read(json!({"certificate": described, "key": key}));
        assert_eq!(cut.unwrap().as_str(), "COMP-77");
        assert!(read(json!({"certificate": pem, "key": key})).is_err());
        let odd = json!({"certificate": pem, "key": key, "reference": "a\nmaster_url = b"});
        assert!(read(odd).is_err());
    }

    #[test]
    fn answers_that_are_no_certificate_are_told() {
        let (pem, key) = pair();
        for (bad, why) in [
            ("<html>".to_owned(), "no JSON"),
            ("false".to_owned(), "already"),
            ("[]".to_owned(), "holds no certificate"),
            (json!({"certificate": pem}).to_string(), "holds no"),
            (
                json!({"certificate": "x", "key": key}).to_string(),
                "certificate is not in PEM",
            ),
            (
                json!({"certificate": pem, "key": "x"}).to_string(),
                "key is not in PEM",
            ),
        ] {
            let error = Enrolled::read(&bad, "x").unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
        let good = json!({"certificate": pem, "key": key}).to_string();
        let shown = format!("{:?}", Enrolled::read(&good, "x").unwrap());
        assert!(!shown.contains("PRIVATE"), "{shown}");
    }
}
