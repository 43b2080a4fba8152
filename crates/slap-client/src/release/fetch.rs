//! Files of a release: on this machine or behind http(s), bounded in size and time. Whoever serves
//! them is no Master: no certificate of ours is shown.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::MetadataError;

/// Largest file that is read, in bytes.
const BYTES_MAX: u64 = 4 << 20;
/// Most redirections that are followed.
const REDIRECTS_MAX: u32 = 5;
/// Longest time one file may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Where the files of releases are read.
pub trait Library: Send + Sync {
    /// The JSON at a URL or path; `None` when there is nothing, or nobody who could say.
    ///
    /// # Errors
    /// [`MetadataError`] when there is something that cannot be used, or that must not be read.
    fn json(&self, place: &str) -> Result<Option<Json>, MetadataError>;
}

/// As the user of this machine reads them: whatever can be reached.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Anywhere;

impl Library for Anywhere {
    fn json(&self, place: &str) -> Result<Option<Json>, MetadataError> {
        let text = if is_remote(place) {
            // Where a release is and where it is asked for are different machines: that it cannot
            // be reached from here says nothing.
            remote(place, TIMEOUT, &agent(true)).unwrap_or(Ok(None))?
        } else {
            local(place)?
        };
        parsed(place, text)
    }
}

/// As a server reads them for somebody else: only what that somebody could read as well, unless it
/// is allowed. What it cannot reach is an error that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Guarded {
    /// Whether files of this machine may be read.
    pub local: bool,
    /// Whether addresses of this machine and of private networks may be reached.
    pub private: bool,
    /// The longest time for one file; 20 s when absent.
    pub timeout: Option<Duration>,
}

impl Library for Guarded {
    fn json(&self, place: &str) -> Result<Option<Json>, MetadataError> {
        let text = match (is_remote(place), self.local) {
            (true, _) => {
                let timeout = self.timeout.unwrap_or(TIMEOUT);
                match remote(place, timeout, &agent(self.private)) {
                    Ok(read) => read?,
                    Err(error) => return Err(unreadable(place, &error)),
                }
            }
            (false, true) => local(place)?,
            (false, false) => {
                return Err(unreadable(
                    place,
                    &"files of this machine are not read for others",
                ));
            }
        };
        parsed(place, text)
    }
}

fn parsed(place: &str, text: Option<String>) -> Result<Option<Json>, MetadataError> {
    text.map(|text| {
        serde_json::from_str(&text).map_err(|error| MetadataError::NotJson {
            place: place.to_owned(),
            reason: error.to_string(),
        })
    })
    .transpose()
}

/// Finds addresses of hosts, but none that only this machine or its network can reach. Every
/// redirection asks again.
#[derive(Debug, Default)]
struct Public(DefaultResolver);

impl Resolver for Public {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.0.resolve(uri, config, timeout)?;
        if found.iter().all(|address| is_public(address.ip())) {
            return Ok(found);
        }
        Err(ureq::Error::Io(std::io::Error::new(
            ErrorKind::PermissionDenied,
            "its address is one of a private network",
        )))
    }
}

/// Whether an address is one of the open Internet.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let special = a == 0
                || a >= 240
                || (a, b & 0xc0) == (100, 64)
                || (a, b, c) == (192, 0, 0)
                || (a, b & 0xfe) == (198, 18);
            !(special
                || v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_documentation()
                || v4.is_multicast()
                || v4.is_broadcast())
        }
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, .., seventh, eighth] = address.segments();
    let embedded = |high: u16, low: u16| {
        let number = u32::from(high) << 16 | u32::from(low);
        is_public(IpAddr::V4(number.into()))
    };
    match (first, second) {
        // What carries an IPv4 address leads there.
        (0x64, 0xff9b) => embedded(seventh, eighth),
        (0x2002, high) => embedded(high, address.segments()[2]),
        (0x2001, 0x0db8 | 0) => false,
        // Everything else that is global begins so.
        _ => first & 0xe000 == 0x2000,
    }
}

/// A reference of a file to another, as a URL or path.
pub(super) fn beside(place: &str, reference: &str) -> String {
    if is_remote(reference) || reference.starts_with('/') && !is_remote(place) {
        return reference.to_owned();
    }
    if let Some(rest) = reference.strip_prefix("file://") {
        return rest.to_owned();
    }
    if is_remote(place) && reference.starts_with('/') {
        let host = place
            .match_indices('/')
            .nth(2)
            .map_or(place, |(at, _)| &place[..at]);
        return format!("{host}{reference}");
    }
    // A query of the release's URL belongs to the file, not to its directory.
    let path = place.split(['?', '#']).next().unwrap_or(place);
    match path.rfind('/') {
        Some(slash) => format!("{}{reference}", &path[..=slash]),
        None => reference.to_owned(),
    }
}

/// A place without `.` and `..` in its path.
pub(super) fn normal(place: &str) -> String {
    let path_from = match is_remote(place) {
        true => place
            .match_indices('/')
            .nth(2)
            .map_or(place.len(), |(at, _)| at),
        false => 0,
    };
    let (host, path) = place.split_at(path_from);
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." if kept.len() > 1 => {
                kept.pop();
            }
            ".." => {}
            part => kept.push(part),
        }
    }
    format!("{host}{}", kept.join("/"))
}

fn is_remote(place: &str) -> bool {
    place.starts_with("http://") || place.starts_with("https://")
}

fn local(place: &str) -> Result<Option<String>, MetadataError> {
    let mut bytes = Vec::new();
    let read = File::open(Path::new(place))
        .and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => whole(place, bytes).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(place, &error)),
    }
}

fn agent(private: bool) -> ureq::Agent {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(REDIRECTS_MAX)
        .tls_config(
            ureq::tls::TlsConfig::builder()
                .unversioned_rustls_crypto_provider(provider)
                .build(),
        );
    if private {
        return config.build().new_agent();
    }
    // A proxy would reach what we must not.
    let config = config.proxy(None).build();
    ureq::Agent::with_parts(config, DefaultConnector::default(), Public::default())
}

/// What is behind a URL. The outer error is that it could not be reached.
#[allow(clippy::type_complexity)]
fn remote(
    url: &str,
    timeout: Duration,
    agent: &ureq::Agent,
) -> Result<Result<Option<String>, MetadataError>, ureq::Error> {
    let request = agent
        .get(url)
        .config()
        .timeout_global(Some(timeout))
        .build();
    let mut reply = request.call()?;
    if !reply.status().is_success() {
        return Ok(Ok(None));
    }
    let mut bytes = Vec::new();
    let read = reply
        .body_mut()
        .as_reader()
        .take(BYTES_MAX + 1)
        .read_to_end(&mut bytes);
    Ok(match read {
        Ok(_) => whole(url, bytes).map(Some),
        Err(error) => Err(unreadable(url, &error)),
    })
}

fn whole(place: &str, bytes: Vec<u8>) -> Result<String, MetadataError> {
    if bytes.len() as u64 > BYTES_MAX {
        return Err(unreadable(
            place,
            &format!("it has more than {BYTES_MAX} bytes"),
        ));
    }
    String::from_utf8(bytes).map_err(|_| unreadable(place, &"it is not UTF-8 text"))
}

fn unreadable(place: &str, reason: &dyn std::fmt::Display) -> MetadataError {
    MetadataError::Unreadable {
        place: place.to_owned(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_of_others_only() {
        for (address, expected) in [
            ("1.1.1.1", true),
            ("2606:4700::1", true),
            ("2002:101:101::1", true),
            ("64:ff9b::101:101", true),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("ff02::1", false),
            ("2002:7f00:1::", false),
            ("64:ff9b::a00:1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn a_server_reads_nothing_of_its_own_for_others() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let guarded = Guarded::default();
        for place in [
            "/etc/hostname".to_owned(),
            format!("http://127.0.0.1:{port}/x.json"),
            format!("http://localhost:{port}/x.json"),
            format!("http://[::ffff:127.0.0.1]:{port}/x.json"),
        ] {
            let error = guarded.json(&place).unwrap_err().to_string();
            assert!(
                error.contains("private network") || error.contains("files of"),
                "{error}"
            );
        }
        // Nobody called.
        server.set_nonblocking(true).unwrap();
        assert!(server.accept().is_err());
    }

    #[test]
    fn places_have_one_name() {
        for (place, expected) in [
            ("/a/b/../x.json", "/a/x.json"),
            ("/../x", "/x"),
            ("https://h/a/./../../x", "https://h/x"),
            ("https://h", "https://h"),
            ("x/y", "x/y"),
        ] {
            assert_eq!(normal(place), expected);
        }
    }

    #[test]
    fn references_lead_beside_the_file_that_has_them() {
        for (place, reference, expected) in [
            ("/a/b/s.cfg.json", "x.json", "/a/b/x.json"),
            ("/a/b/s.cfg.json", "../x.json", "/a/b/../x.json"),
            ("/a/b/s.cfg.json", "/x.json", "/x.json"),
            ("/a/b/s.cfg.json", "file:///x.json", "/x.json"),
            ("https://h/a/s.cfg.json", "x.json", "https://h/a/x.json"),
            (
                "https://h/a/s.cfg?v=a/b.json",
                "x.json",
                "https://h/a/x.json",
            ),
            ("https://h:1/a/s.cfg.json", "/x.json", "https://h:1/x.json"),
            (
                "https://h/a/s.cfg.json",
                "http://o/x.json",
                "http://o/x.json",
            ),
        ] {
            assert_eq!(beside(place, reference), expected, "{place} {reference}");
        }
    }
}
