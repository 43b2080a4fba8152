//! The network cache: what others built and downloaded, found by key, believed by signature
//! (N 1.4, 3.1.1, 6.7).
//!
//! A directory answers `GET <dir-url>/<key>` with a list of `[text, signature]`; the text is JSON,
//! the signature RSA with SHA-1, which is what the wire has. An entry is believed when one of the
//! certificates in `signature-certificate-list` vouches for it.

mod binary;
mod upload;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};
use md5::{Digest, Md5};
use serde_json::{Map, Value as Json};
use ureq::tls::{ClientCert, PemItem, RootCerts, TlsConfig};

use crate::config::{ConfigError, Overrides, Values, read};

pub(crate) use binary::BinaryCache;
pub(crate) use upload::BinaryUpload;

/// Largest answer of a directory.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Most entries of one key.
const ENTRIES_MAX: usize = 10_000;
/// Limit for one question.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why a cache cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nobody answers, or something else does.
    #[error("the network cache at {url}: {reason}")]
    Unusable {
        /// What was asked.
        url: String,
        /// What went wrong.
        reason: String,
    },
}

/// Which of the two caches of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheKind {
    /// Whole releases that were built (`download-binary-dir-url`).
    Binary,
    /// Sources (`download-dir-url`).
    Source,
}

/// What a directory has under a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The signed text's fields.
    pub fields: Map<String, Json>,
    /// Whether somebody in `signature-certificate-list` vouches for it.
    pub verified: bool,
}

/// What a built release needs to be used: the compiler's name for the machine, and the system's
/// name, version and code name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MachineKind {
    /// Such as `x86_64-linux-gnu`.
    pub multiarch: String,
    /// Such as `debian`, `12`, `bookworm`.
    pub os: [String; 3],
}

/// The directory of a cache.
#[derive(Debug)]
pub struct CacheDirectory {
    url: String,
    agent: ureq::Agent,
    /// Of those who are believed: the RSA keys.
    keys: Vec<Vec<u8>>,
}

/// The key of a release that was built.
pub fn binary_key(url_or_md5: &str) -> String {
    let is_md5 = url_or_md5.len() == 32
        && url_or_md5
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if is_md5 {
        url_or_md5.to_owned()
    } else {
        md5_hex(url_or_md5)
    }
}

/// The key of a file that was downloaded from this URL.
pub fn url_key(url: &str) -> String {
    format!("file-urlmd5:{}", md5_hex(url))
}

/// The key of a Python package.
pub fn pypi_key(name: &str, version: &str) -> String {
    format!("pypi:{name}={version}")
}

fn md5_hex(text: &str) -> String {
    let digest = Md5::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl CacheDirectory {
    /// The directory that a configuration names.
    ///
    /// # Errors
    /// When it names none, or files that cannot be used.
    pub fn load(file: &Path, kind: CacheKind) -> Result<CacheDirectory, CacheError> {
        const SECTION: &str = "networkcache";
        let config = read(file)?;
        let none = Overrides::new();
        let values = Values::new(file, SECTION, &config, &[SECTION], &none)?;
        let url = values.required(match kind {
            CacheKind::Binary => "download-binary-dir-url",
            CacheKind::Source => "download-dir-url",
        })?;
        let keys = certificates(&values.text("signature-certificate-list"))
            .map_err(|reason| values.error("signature-certificate-list", reason))?;
        Ok(CacheDirectory {
            url: url.trim_end_matches('/').to_owned(),
            agent: agent(&values, "shadir")?
                .timeout_global(Some(TIMEOUT))
                .build()
                .new_agent(),
            keys,
        })
    }

    /// Where a key is asked for.
    pub fn url_of(&self, key: &str) -> String {
        format!("{}/{key}", self.url)
    }

    /// What there is under a key; `None` when there is nothing.
    ///
    /// # Errors
    /// When the directory cannot be reached, or its answer makes no sense.
    pub fn entries(&self, key: &str) -> Result<Option<Vec<Entry>>, CacheError> {
        let url = self.url_of(key);
        let unusable = |reason: String| CacheError::Unusable {
            url: url.clone(),
            reason,
        };
        let mut reply = self
            .agent
            .get(&url)
            .call()
            .map_err(|error| unusable(error.to_string()))?;
        match reply.status().as_u16() {
            200..=299 => {}
            404 => return Ok(None),
            status => return Err(unusable(format!("it answers with status {status}"))),
        }
        let mut bytes = Vec::new();
        reply
            .body_mut()
            .as_reader()
            .take(ANSWER_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| unusable(error.to_string()))?;
        if bytes.len() as u64 > ANSWER_BYTES_MAX {
            return Err(unusable(format!(
                "its answer has more than {ANSWER_BYTES_MAX} bytes"
            )));
        }
        self.parse(&bytes).map(Some).map_err(unusable)
    }

    fn parse(&self, bytes: &[u8]) -> Result<Vec<Entry>, String> {
        let list: Vec<(String, Option<String>)> = serde_json::from_slice(bytes)
            .map_err(|error| format!("its answer is no list of entries: {error}"))?;
        if list.len() > ENTRIES_MAX {
            return Err(format!("it has more than {ENTRIES_MAX} entries"));
        }
        // What is not understood is no entry: others may be.
        Ok(list
            .iter()
            .filter_map(|(text, signature)| {
                Some(Entry {
                    fields: serde_json::from_str(text).ok()?,
                    verified: self.is_vouched_for(text, signature.as_deref().unwrap_or_default()),
                })
            })
            .collect())
    }

    fn is_vouched_for(&self, text: &str, signature: &str) -> bool {
        let Some(signature) = base64(signature).filter(|signature| !signature.is_empty()) else {
            return false;
        };
        self.keys.iter().any(|key| {
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, key)
                .verify(text.as_bytes(), &signature)
                .is_ok()
        })
    }
}

/// The RSA keys in a list of PEM certificates.
fn certificates(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    // Indented continuation lines may have lost or kept their blanks.
    let lines: Vec<&str> = pem.lines().map(str::trim).collect();
    let mut keys = Vec::new();
    for item in ureq::tls::parse_pem(lines.join("\n").as_bytes()) {
        let Ok(PemItem::Certificate(certificate)) = item else {
            return Err("it holds something that is no certificate in PEM form".to_owned());
        };
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate.der())
            .map_err(|error| format!("a certificate cannot be read: {error}"))?;
        keys.push(certificate.public_key().subject_public_key.data.to_vec());
    }
    if keys.is_empty() && !pem.trim().is_empty() {
        return Err("it holds no certificate in PEM form".to_owned());
    }
    Ok(keys)
}

type AgentBuilder = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;

/// How to reach a server, whose files the configuration names with this prefix.
fn agent(values: &Values, prefix: &str) -> Result<AgentBuilder, ConfigError> {
    let [authority, certificate, key] =
        ["ca", "cert", "key"].map(|what| format!("{prefix}-{what}-file"));
    let pem = |option: &str| -> Result<Option<(PathBuf, Vec<PemItem<'static>>)>, ConfigError> {
        let Some(path) = values.path(option)? else {
            return Ok(None);
        };
        let bytes = std::fs::read(&path)
            .map_err(|error| values.error(option, format!("{}: {error}", path.display())))?;
        let items = ureq::tls::parse_pem(&bytes)
            .filter_map(Result::ok)
            .collect();
        Ok(Some((path, items)))
    };
    let only_certificates = |items: Vec<PemItem<'static>>| {
        items
            .into_iter()
            .filter_map(|item| match item {
                PemItem::Certificate(certificate) => Some(certificate),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
    if let Some((_, items)) = pem(&authority)? {
        tls = tls.root_certs(RootCerts::Specific(Arc::new(only_certificates(items))));
    }
    if let (Some((_, chain)), Some((path, items))) = (pem(&certificate)?, pem(&key)?) {
        let private = items.into_iter().find_map(|item| match item {
            PemItem::PrivateKey(key) => Some(key),
            _ => None,
        });
        let Some(private) = private else {
            let reason = format!("{} holds no private key", path.display());
            return Err(values.error(&key, reason));
        };
        let chain = only_certificates(chain);
        tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain, private)));
    }
    Ok(ureq::Agent::config_builder()
        .timeout_connect(Some(TIMEOUT))
        .timeout_recv_response(Some(TIMEOUT))
        .http_status_as_error(false)
        .user_agent(concat!("slapos/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls.build()))
}

/// Bytes of a base64 text; `None` when it is none.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => continue,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

impl MachineKind {
    /// This machine. Where no compiler says its name for it, that is put together.
    pub fn here() -> MachineKind {
        let gcc = Command::new("gcc")
            .arg("-dumpmachine")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        let multiarch = match gcc {
            Ok(output) if output.status.success() => {
                String::from_utf8_lossy(&output.stdout).trim().to_owned()
            }
            _ => format!("{}-linux-gnu", std::env::consts::ARCH),
        };
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        MachineKind {
            multiarch,
            os: os_release(&release),
        }
    }

    /// What an entry was built on; `None` when it does not say.
    pub fn of(entry: &Entry) -> Option<MachineKind> {
        let text = |name: &str| entry.fields.get(name)?.as_str();
        if let Some(multiarch) = text("multiarch") {
            let os: Vec<String> = entry
                .fields
                .get("os")?
                .as_array()?
                .iter()
                .map(|part| part.as_str().unwrap_or_default().to_owned())
                .collect();
            return Some(MachineKind {
                multiarch: multiarch.to_owned(),
                os: os.try_into().ok()?,
            });
        }
        // Old ones: `machine`, and a tuple as Python prints it.
        if text("machine")? != "x86_64" {
            return None;
        }
        let parts: Vec<String> = text("os")?
            .trim_matches(['(', ')'])
            .split(',')
            .map(|part| part.trim().trim_matches(['\'', '"']).to_owned())
            .collect();
        Some(MachineKind {
            multiarch: "x86_64-linux-gnu".to_owned(),
            os: parts.try_into().ok()?,
        })
    }

    /// Whether what was built on one runs on the other.
    pub fn is_compatible_with(&self, other: &MachineKind) -> bool {
        self.multiarch == other.multiarch && common_os(&self.os) == common_os(&other.os)
    }
}

/// The parts of a system's name that matter: of Debian and its like, the major version only.
fn common_os(os: &[String; 3]) -> (String, String, String) {
    let [id, version, codename] = os;
    let id = match id.to_lowercase().as_str() {
        "raspbian" => "debian".to_owned(),
        id => id.to_owned(),
    };
    if id == "debian" {
        let major = version.split('.').next().unwrap_or_default().to_owned();
        return (id, major, String::new());
    }
    (id, version.clone(), codename.clone())
}

fn os_release(text: &str) -> [String; 3] {
    let values: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim().trim_matches(['"', '\''])))
        .collect();
    ["ID", "VERSION_ID", "VERSION_CODENAME"]
        .map(|name| values.get(name).copied().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn entry(fields: Json) -> Entry {
        Entry {
            fields: fields.as_object().unwrap().clone(),
            verified: false,
        }
    }

    #[test]
    fn n_3_1_1_what_runs_where() {
        let kind = |id: &str, version: &str, codename: &str| MachineKind {
            multiarch: "x86_64-linux-gnu".to_owned(),
            os: [id, version, codename].map(str::to_owned),
        };
        for (one, other, fits) in [
            (
                kind("debian", "12", "bookworm"),
                kind("Debian", "12.4", ""),
                true,
            ),
            (kind("raspbian", "12", ""), kind("debian", "12", "x"), true),
            (kind("debian", "11", ""), kind("debian", "12", ""), false),
            (
                kind("ubuntu", "22.04", "jammy"),
                kind("ubuntu", "22.04", "jammy"),
                true,
            ),
            (
                kind("ubuntu", "22.04", "jammy"),
                kind("ubuntu", "22.10", "jammy"),
                false,
            ),
        ] {
            assert_eq!(one.is_compatible_with(&other), fits, "{one:?} {other:?}");
        }
        let old = entry(json!({"machine": "x86_64", "os": "('debian', '10.1', '')"}));
        assert!(
            MachineKind::of(&old)
                .unwrap()
                .is_compatible_with(&kind("debian", "10", "x"))
        );
        for odd in [
            json!({}),
            json!({"machine": "arm", "os": "('a', 'b', 'c')"}),
            json!({"multiarch": "x", "os": ["a"]}),
        ] {
            assert_eq!(MachineKind::of(&entry(odd)), None);
        }
        let release = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";
        assert_eq!(os_release(release), ["debian", "12", "bookworm"]);
    }

    #[test]
    fn n_6_7_keys_are_upstreams() {
        let md5 = "d0d92cdc9b30c1300fbc3c7ebd304be0";
        assert_eq!(binary_key("http://example.org/"), md5);
        assert_eq!(binary_key(md5), md5);
        assert_eq!(url_key("http://example.org/"), format!("file-urlmd5:{md5}"));
        assert_eq!(pypi_key("a", "1.0"), "pypi:a=1.0");
    }

    #[test]
    fn base64_is_read() {
        for (text, expected) in [
            ("", Some("")),
            ("YQ==", Some("a")),
            ("YWI=", Some("ab")),
            ("YWJj\nZGVm", Some("abcdef")),
            ("YW-j", None),
        ] {
            let expected = expected.map(|text| text.as_bytes().to_vec());
            assert_eq!(base64(text), expected, "{text}");
        }
    }
}
