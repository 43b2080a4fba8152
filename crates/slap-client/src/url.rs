//! The Master's URL as people write it, made usable (P 1.2).

/// Makes a Master's URL end in `/` and puts the brackets around a bare IPv6 host.
///
/// `http://fe80::1:5000` is taken wholly as an address, as upstream does.
pub fn normalise_master_url(url: &str) -> String {
    let url = url.trim();
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => return with_slash(url),
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let bare_ipv6 = !authority.starts_with('[')
        && authority.matches(':').count() > 1
        && authority.parse::<std::net::Ipv6Addr>().is_ok();
    if bare_ipv6 {
        with_slash(&format!("{scheme}://[{authority}]{path}"))
    } else {
        with_slash(url)
    }
}

fn with_slash(url: &str) -> String {
    if url.ends_with('/') {
        url.to_owned()
    } else {
        format!("{url}/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_usable() {
        for (given, expected) in [
            ("http://m", "http://m/"),
            ("http://m/", "http://m/"),
            ("https://m:8443/slap", "https://m:8443/slap/"),
            ("http://fe80::1", "http://[fe80::1]/"),
            ("http://fe80::1:5000", "http://[fe80::1:5000]/"),
            ("http://[fe80::1]:5000", "http://[fe80::1]:5000/"),
            ("http://::1/x", "http://[::1]/x/"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000/"),
        ] {
            assert_eq!(normalise_master_url(given), expected);
        }
    }
}
