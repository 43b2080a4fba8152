//! What a software release says of itself in `<url>.json` (P 2.1).

use std::io::Read;
use std::time::Duration;

use serde_json::Value as Json;

use crate::failure::Failure;

/// Largest metadata that is read, in bytes.
const BYTES_MAX: u64 = 4 << 20;

/// Reads the metadata of a release; `None` when it has none.
pub(crate) fn of_release(release: &str) -> Result<Option<Json>, Failure> {
    let place = format!("{release}.json");
    let text = if place.starts_with("http://") || place.starts_with("https://") {
        fetch(&place)?
    } else {
        let path = place.strip_prefix("file://").unwrap_or(&place);
        match std::fs::File::open(path) {
            Ok(file) => {
                let mut text = String::new();
                file.take(BYTES_MAX).read_to_string(&mut text)?;
                Some(text)
            }
            Err(_) => None,
        }
    };
    text.map(|text| {
        serde_json::from_str(&text)
            .map_err(|error| Failure::new(format!("{place} is not JSON: {error}")))
    })
    .transpose()
}

fn fetch(url: &str) -> Result<Option<String>, Failure> {
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(20)))
        .http_status_as_error(false)
        .tls_config(
            ureq::tls::TlsConfig::builder()
                .unversioned_rustls_crypto_provider(std::sync::Arc::new(
                    rustls::crypto::aws_lc_rs::default_provider(),
                ))
                .build(),
        )
        .build()
        .new_agent();
    match agent.get(url).call() {
        Ok(mut reply) if reply.status().is_success() => Ok(Some(
            reply
                .body_mut()
                .with_config()
                .limit(BYTES_MAX)
                .read_to_string()
                .map_err(|error| Failure::new(format!("cannot read {url}: {error}")))?,
        )),
        Ok(_) => Ok(None),
        Err(error) => {
            tracing::debug!("cannot read {url}: {error}");
            Ok(None)
        }
    }
}
