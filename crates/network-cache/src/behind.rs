//! The cache behind this one: what is not here is asked for there, and kept. Blocks.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::tls::TlsConfig;

use crate::rules::{self, Entry, Key, Sum};
use crate::{CacheError, Upstream};

/// Largest list of entries that is read, in bytes.
const ENTRIES_BYTES_MAX: u64 = 16 << 20;
/// Limits for the beginning of an answer, for a list, and for an object.
const ANSWER: Duration = Duration::from_secs(30);
const LIST: Duration = Duration::from_secs(60);
const OBJECT: Duration = Duration::from_secs(6 * 3600);
/// What keys have besides letters and digits that means nothing in a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b':')
    .remove(b'=');

/// A cache that is asked.
#[derive(Debug)]
pub(crate) struct Behind {
    agent: ureq::Agent,
    urls: Upstream,
}

/// An object on its way.
pub(crate) struct Coming {
    pub(crate) content: Box<dyn Read + Send>,
    /// Its size, where that is told.
    pub(crate) bytes: Option<u64>,
}

impl Behind {
    pub(crate) fn new(urls: &Upstream) -> Behind {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
        let agent = ureq::Agent::config_builder()
            .timeout_connect(Some(ANSWER))
            .timeout_recv_response(Some(ANSWER))
            .http_status_as_error(false)
            .tls_config(tls.build())
            .build();
        Behind {
            agent: agent.new_agent(),
            urls: urls.clone(),
        }
    }

    /// Asks; `None` when there is no such thing.
    fn get(&self, url: &str, limit: Duration) -> Result<Option<ureq::Body>, CacheError> {
        let failed = |why: String| CacheError::Behind(format!("{url}: {why}"));
        let request = self.agent.get(url).config().timeout_recv_body(Some(limit));
        let reply = request.build().call();
        let reply = reply.map_err(|error| failed(error.to_string()))?;
        match reply.status().as_u16() {
            200 => Ok(Some(reply.into_body())),
            404 => Ok(None),
            status => Err(failed(format!("status {status}"))),
        }
    }

    /// An object; `None` when it is not there either.
    pub(crate) fn object(&self, sum: &Sum) -> Result<Option<Coming>, CacheError> {
        let Some(url) = &self.urls.cache_url else {
            return Ok(None);
        };
        let body = self.get(&format!("{}/{sum}", url.trim_end_matches('/')), OBJECT)?;
        Ok(body.map(|body| Coming {
            bytes: body.content_length(),
            content: Box::new(body.into_reader()),
        }))
    }

    /// The entries of a key that can be kept here; `None` when nobody is asked.
    pub(crate) fn entries(
        &self,
        key: &Key,
        takes_unsigned: bool,
    ) -> Result<Option<Vec<Entry>>, CacheError> {
        let Some(url) = &self.urls.dir_url else {
            return Ok(None);
        };
        let key = utf8_percent_encode(key.as_str(), PLAIN);
        let url = format!("{}/{key}", url.trim_end_matches('/'));
        let Some(body) = self.get(&url, LIST)? else {
            return Ok(Some(Vec::new()));
        };
        let failed = |why: String| CacheError::Behind(format!("{url}: {why}"));
        let mut bytes = Vec::new();
        let mut reader = body.into_reader().take(ENTRIES_BYTES_MAX + 1);
        reader
            .read_to_end(&mut bytes)
            .map_err(|error| failed(error.to_string()))?;
        if bytes.len() as u64 > ENTRIES_BYTES_MAX {
            return Err(failed(format!("more than {ENTRIES_BYTES_MAX} bytes")));
        }
        let list = rules::parse_list(&bytes, rules::BEHIND, takes_unsigned)
            .ok_or_else(|| failed("this is no list of entries".to_owned()))?;
        Ok(Some(list))
    }
}
