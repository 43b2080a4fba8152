//! A request as handlers see it: who calls is known, the body is read.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;

use slap_server::headers::text;
use slap_server::{Fields, headers};

use super::endpoint::{Endpoint, Parameters};
use crate::auth::Session;
use crate::domain::Caller;
use crate::server::Peer;

/// A request.
pub(crate) struct Call {
    /// What is called.
    pub(crate) endpoint: &'static Endpoint,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The body of a call whose handler reads it itself; locked because handlers are shared between
    /// threads, which bodies are not.
    pub(crate) stream: Mutex<Body>,
    /// What the path has in the place of the name's braces.
    pub(crate) parameters: Parameters,
    /// The path that is called, without its first slash.
    pub(crate) path: String,
    /// Who signed in with the browser that calls; looked up for pages only.
    pub(crate) session: Option<Session>,
    /// Who calls.
    pub(crate) caller: Caller,
    /// Where the call comes from.
    pub(crate) origin: Origin,
}

/// Where a call comes from, a proxy that is trusted looked through.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// Who is at the other end of the connection, or of the trusted proxy's.
    pub(crate) address: Option<IpAddr>,
    /// The connection itself.
    pub(crate) peer: Peer,
    /// Whether the connection comes from a proxy that is trusted.
    pub(crate) proxied: bool,
    /// The root URL under which the caller reaches this Master, without a slash at its end.
    pub(crate) base_url: String,
}

impl Origin {
    /// `public_url` is where the Master says it is, without a slash at its end.
    pub(crate) fn of(
        peer: &Peer,
        headers: &HeaderMap,
        trusted_proxies: &[IpAddr],
        public_url: &str,
    ) -> Self {
        let proxied = trusted_proxies.contains(&peer.address.ip());
        let address = if proxied {
            // The last entry is the trusted proxy's own, be it at the end of the caller's line or on
            // a line of its own; those before it are anybody's claims.
            headers
                .get_all("x-forwarded-for")
                .iter()
                .next_back()
                .and_then(|list| list.to_str().ok())
                .and_then(|list| list.rsplit(',').next())
                .and_then(|last| last.trim().parse::<IpAddr>().ok())
                .map(|address| address.to_canonical())
        } else {
            Some(peer.address.ip())
        };
        Origin {
            address,
            proxied,
            base_url: base_url(peer, headers, proxied, public_url),
            peer: peer.clone(),
        }
    }

    /// Whether nobody on the way can listen in, or a proxy that is trusted answers for that.
    pub(crate) fn is_safe(&self) -> bool {
        self.peer.tls || self.proxied || self.peer.address.ip().is_loopback()
    }

    /// Whether a browser came through HTTPS, to us or to a proxy.
    pub(crate) fn is_secure(&self) -> bool {
        self.base_url.starts_with("https://")
    }

    /// Whether a program on this machine calls.
    pub(crate) fn is_local(&self) -> bool {
        self.address.is_some_and(|address| address.is_loopback())
    }
}

/// The URL the caller used. Documents carry links: they must work for whoever reads them, be it by
/// an address inside a cluster or by the public name.
fn base_url(peer: &Peer, headers: &HeaderMap, proxied: bool, public_url: &str) -> String {
    let forwarded = text(headers, "x-forwarded-host").filter(|_| proxied);
    match forwarded.or_else(|| text(headers, "host")) {
        Some(host) if proxied || is_authority(host) => {
            let scheme = if peer.tls { "https" } else { "http" };
            headers::base_url(headers, scheme, proxied)
        }
        _ => public_url.to_owned(),
    }
}

/// Whether a text is a host and perhaps a port, and nothing that would end elsewhere in a link.
fn is_authority(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 300
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
}

impl Call {
    /// A header's value, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        text(&self.headers, name)
    }

    /// The body of a call whose handler reads it itself; empty when it was taken.
    pub(crate) fn take_stream(&self) -> Body {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *stream)
    }

    /// What the path has in the place of `{name}`, as it came.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name)
    }

    /// The fields of a form.
    pub(crate) fn form(&self) -> Fields<'_> {
        Fields::parse(&self.body)
    }

    /// The fields of the query string.
    pub(crate) fn arguments(&self) -> Fields<'_> {
        Fields::parse(self.query.as_bytes())
    }

    /// Whether the caller has the document that bears this tag (`If-None-Match`).
    pub(crate) fn has(&self, tag: &str) -> bool {
        self.header("if-none-match").is_some_and(|tags| {
            tags.split(',')
                .map(str::trim)
                .any(|known| known == tag || known.strip_prefix("W/") == Some(tag))
        })
    }
}

/// Whether a browser sends this on behalf of a page that is not ours: it would add the user's
/// certificate or session by itself.
pub(crate) fn comes_from_another_site(
    headers: &HeaderMap,
    origin: &Origin,
    public_url: &str,
) -> bool {
    if matches!(
        text(headers, "sec-fetch-site"),
        Some("cross-site" | "same-site")
    ) {
        return true;
    }
    text(headers, "origin").is_some_and(|from| from != origin.base_url && from != public_url)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    const PUBLIC: &str = "https://slap.example.com";

    fn peer(address: &str, tls: bool) -> Peer {
        Peer {
            address: address.parse().unwrap(),
            certificate: None,
            tls,
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let proxies = ["127.0.0.1".parse().unwrap()];
        let claims = headers(&[
            ("host", "10.0.0.1:8443"),
            ("x-forwarded-for", "::1, 192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "slap.example.com"),
        ]);
        let stranger = Origin::of(&peer("192.0.2.9:1", false), &claims, &proxies, PUBLIC);
        assert_eq!(stranger.address.unwrap().to_string(), "192.0.2.9");
        assert_eq!(stranger.base_url, "http://10.0.0.1:8443");
        assert!(!stranger.is_safe());
        let proxied = Origin::of(&peer("127.0.0.1:1", false), &claims, &proxies, PUBLIC);
        assert_eq!(proxied.address.unwrap().to_string(), "192.0.2.7");
        assert_eq!(proxied.base_url, PUBLIC);
        assert!(!proxied.is_local() && proxied.is_safe());
        let mut lines = claims.clone();
        lines.append("x-forwarded-for", HeaderValue::from_static("192.0.2.8"));
        let proxied = Origin::of(&peer("127.0.0.1:1", false), &lines, &proxies, PUBLIC);
        assert_eq!(proxied.address.unwrap().to_string(), "192.0.2.8");
        // A proxy that does not say whom it speaks for speaks for nobody of this machine.
        let silent = headers(&[("host", "h")]);
        assert!(!Origin::of(&peer("127.0.0.1:1", false), &silent, &proxies, PUBLIC).is_local());
        assert!(Origin::of(&peer("127.0.0.1:1", true), &silent, &[], PUBLIC).is_local());
    }

    #[test]
    fn links_lead_where_the_caller_came_from_or_to_the_public_place() {
        for (host, url) in [
            ("h:1", "https://h:1"),
            ("[::1]:8443", "https://[::1]:8443"),
            ("evil/path", PUBLIC),
            ("user@evil", PUBLIC),
        ] {
            let headers = headers(&[("host", host)]);
            let origin = Origin::of(&peer("192.0.2.9:1", true), &headers, &[], PUBLIC);
            assert_eq!(origin.base_url, url);
        }
    }

    #[test]
    fn pages_of_other_sites_give_no_orders() {
        let other = |pairs: &[(&'static str, &'static str)]| {
            let headers = headers(pairs);
            let origin = Origin::of(&peer("192.0.2.9:1", true), &headers, &[], PUBLIC);
            comes_from_another_site(&headers, &origin, PUBLIC)
        };
        assert!(!other(&[("host", "h:1")]), "programs say nothing of it");
        assert!(!other(&[("host", "h:1"), ("origin", "https://h:1")]));
        assert!(!other(&[("host", "h:1"), ("origin", PUBLIC)]));
        assert!(other(&[("host", "h:1"), ("origin", "https://evil")]));
        assert!(other(&[("host", "h:1"), ("origin", "http://h:1")]));
        assert!(other(&[("host", "h:1"), ("origin", "null")]));
        assert!(other(&[("host", "h:1"), ("sec-fetch-site", "cross-site")]));
        assert!(other(&[("host", "h:1"), ("sec-fetch-site", "same-site")]));
        assert!(!other(&[
            ("host", "h:1"),
            ("sec-fetch-site", "same-origin")
        ]));
    }
}
