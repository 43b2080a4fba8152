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
    let is_address = |text: &str| text.parse::<std::net::Ipv6Addr>().is_ok();
    match authority.rsplit_once(':') {
        _ if is_address(authority) => with_slash(&format!("{scheme}://[{authority}]{path}")),
        // Eight groups and one more: the last one can only be a port.
        Some((address, port)) if is_address(address) => {
            with_slash(&format!("{scheme}://[{address}]:{port}{path}"))
        }
        _ => with_slash(url),
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
            (
                "http://fe80:1:2:3:4:5:6:7:5000/x/",
                "http://[fe80:1:2:3:4:5:6:7]:5000/x/",
            ),
            ("http://::1/x", "http://[::1]/x/"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000/"),
        ] {
            assert_eq!(normalise_master_url(given), expected);
        }
    }
}
