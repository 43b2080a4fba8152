//! Files of a release: on this machine or behind http(s), bounded in size and time. Whoever serves
//! them is no Master: no certificate of ours is shown.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;

use super::MetadataError;

/// Largest file that is read, in bytes.
const BYTES_MAX: u64 = 4 << 20;
/// Longest time one file may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The JSON at a URL or path; `None` when there is nothing, or nobody who could say.
pub(super) fn json(place: &str) -> Result<Option<Json>, MetadataError> {
    let text = if is_remote(place) {
        remote(place)?
    } else {
        local(place)?
    };
    text.map(|text| {
        serde_json::from_str(&text).map_err(|error| MetadataError::NotJson {
            place: place.to_owned(),
            reason: error.to_string(),
        })
    })
    .transpose()
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

fn remote(url: &str) -> Result<Option<String>, MetadataError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .tls_config(
            ureq::tls::TlsConfig::builder()
                .unversioned_rustls_crypto_provider(provider)
                .build(),
        )
        .build()
        .new_agent();
    let Ok(mut reply) = agent.get(url).call() else {
        // Where a release is and where it is asked for are different machines: that it cannot be
        // reached from here says nothing.
        return Ok(None);
    };
    if !reply.status().is_success() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    reply
        .body_mut()
        .as_reader()
        .take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(url, &error))?;
    whole(url, bytes).map(Some)
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
    use super::*;

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
