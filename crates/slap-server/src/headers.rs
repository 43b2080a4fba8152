//! What the headers of a request tell.

use http::{HeaderMap, StatusCode, header};
use slap::{NodeId, PartitionId};

use crate::Problem;

/// A header's value, if it is there and text.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The partition that says it calls, by the header `Authorization: X-SlapPartition …` (P 1.2).
/// `None` when there is no such header, or one of another scheme.
///
/// # Errors
/// 400 when the header names no partition.
pub fn partition(headers: &HeaderMap) -> Result<Option<(NodeId, PartitionId)>, Problem> {
    let Some(value) = text(headers, header::AUTHORIZATION.as_str())
        .and_then(|value| value.strip_prefix("X-SlapPartition"))
    else {
        return Ok(None);
    };
    let mut node = None;
    let mut partition = None;
    for pair in value.split(',') {
        match pair.trim().split_once('=') {
            Some(("computer_id", value)) => node = Some(value.trim()),
            Some(("computer_partition_id", value)) => partition = Some(value.trim()),
            _ => {}
        }
    }
    match (node, partition) {
        (Some(node), Some(partition)) => {
            Ok(Some((NodeId::new(node)?, PartitionId::new(partition)?)))
        }
        _ => Err(Problem::bad_request(
            "The authorization header names no partition; \
             expected `X-SlapPartition computer_id=…, computer_partition_id=…`",
        )),
    }
}

/// The root URL under which the caller reaches this Master, without a slash at its end.
///
/// `scheme` is that of the connection itself. The headers of a reverse proxy win when they are
/// trusted; anybody else could write anything into them.
pub fn base_url(headers: &HeaderMap, scheme: &str, trusts_proxy: bool) -> String {
    let first = |name: &str| {
        text(headers, name)
            .filter(|_| trusts_proxy)
            .and_then(|value| value.split(',').next())
            .map(str::trim)
            .filter(|value| !value.is_empty())
    };
    let scheme = first("x-forwarded-proto").unwrap_or(scheme);
    let host = first("x-forwarded-host")
        .or_else(|| text(headers, "host"))
        .unwrap_or("localhost");
    let prefix = first("x-forwarded-prefix").unwrap_or_default();
    format!("{scheme}://{host}{}", prefix.trim_end_matches('/'))
}

/// Whether a browser sends this on behalf of a page that is not ours.
pub fn comes_from_another_site(headers: &HeaderMap) -> bool {
    if matches!(
        text(headers, "sec-fetch-site"),
        Some("cross-site" | "same-site")
    ) && text(headers, "sec-fetch-mode") != Some("navigate")
    {
        return true;
    }
    let Some(origin) = text(headers, "origin") else {
        return false;
    };
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    authority.is_none() || authority != text(headers, "host")
}

/// Whether a body of this type is JSON: `application/json`, or a dialect such as
/// `application/hal+json`.
pub fn is_json(content_type: &str) -> bool {
    let media_type = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

/// Whether an `Accept` header, if there is one, takes JSON.
pub fn accepts_json(accept: Option<&str>) -> bool {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else {
        return true;
    };
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let matches = matches!(
            media_type.as_str(),
            "*/*" | "application/*" | "application/json"
        );
        let refused = parts.any(|part| {
            part.strip_prefix("q=")
                .and_then(|weight| weight.parse::<f32>().ok())
                .is_some_and(|weight| weight <= 0.0)
        });
        matches && !refused
    })
}

/// Checks that the body is said to be JSON, and that a JSON answer is taken. The words are those of
/// upstream's proxy; the full Master has its own for the first (`unexpected-media-type`).
///
/// # Errors
/// 415 or 406.
pub fn need_json(headers: &HeaderMap) -> Result<(), Problem> {
    if !is_json(text(headers, "content-type").unwrap_or_default()) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Did not attempt to load JSON data because the request Content-Type was not \
             'application/json'.",
        ));
    }
    if !accepts_json(text(headers, "accept")) {
        return Err(Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            "The resource identified by the request is only capable of generating response \
             entities which have content characteristics not acceptable according to the accept \
             headers sent in the request.",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    name.parse::<HeaderName>().unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn the_partition_that_calls() {
        let named = |value: &str| partition(&headers(&[("authorization", value)]));
        assert_eq!(partition(&HeaderMap::new()), Ok(None));
        assert_eq!(named("Basic eDp5"), Ok(None));
        assert_eq!(
            named("X-SlapPartition computer_id=C-1, computer_partition_id=p0"),
            Ok(Some((
                NodeId::new("C-1").unwrap(),
                PartitionId::new("p0").unwrap()
            )))
        );
        for bad in [
            "X-SlapPartition",
            "X-SlapPartition computer_id=C-1",
            "X-SlapPartition computer_id=, computer_partition_id=p0",
            "X-SlapPartition computer_id=C-1, computer_partition_id=a/b",
        ] {
            assert_eq!(
                named(bad).unwrap_err().status,
                StatusCode::BAD_REQUEST,
                "{bad}"
            );
        }
    }

    #[test]
    fn a_reverse_proxy_is_believed_only_when_trusted() {
        let headers = headers(&[
            ("host", "inner:5000"),
            ("x-forwarded-proto", "https, http"),
            ("x-forwarded-host", "outer"),
            ("x-forwarded-prefix", "/slap/"),
        ]);
        assert_eq!(base_url(&headers, "http", true), "https://outer/slap");
        assert_eq!(base_url(&headers, "http", false), "http://inner:5000");
    }

    #[test]
    fn pages_of_other_sites() {
        for (pairs, expected) in [
            (&[("host", "a")][..], false),
            (&[("host", "a"), ("origin", "http://a")], false),
            (&[("host", "a"), ("origin", "http://b")], true),
            (&[("host", "a"), ("origin", "null")], true),
            (&[("sec-fetch-site", "cross-site")], true),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                ],
                false,
            ),
        ] {
            assert_eq!(
                comes_from_another_site(&headers(pairs)),
                expected,
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn media_types() {
        for (given, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/hal+json", true),
            ("text/json", false),
            ("", false),
            ("application/x-www-form-urlencoded", false),
        ] {
            assert_eq!(is_json(given), expected, "{given}");
        }
        for (given, expected) in [
            (None, true),
            (Some(""), true),
            (Some("*/*"), true),
            (Some("text/html, application/*;q=0.5"), true),
            (Some("text/html"), false),
            (Some("application/json;q=0"), false),
        ] {
            assert_eq!(accepts_json(given), expected, "{given:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read(value in "[ -~]{0,80}") {
            let _ = partition(&headers(&[("authorization", &format!("X-SlapPartition {value}"))]));
            let _ = accepts_json(Some(&value));
            let _ = is_json(&value);
        }
    }
}
