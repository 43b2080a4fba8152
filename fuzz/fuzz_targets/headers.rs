//! Headers: one per line. None makes a panic, and a base URL never holds a line's end.

#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use slap_server::headers;

fuzz_target!(|bytes: &[u8]| {
    let mut map = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(50) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        if let (Some(name), Some(value)) = (parts.next(), parts.next())
            && let Ok(name) = HeaderName::from_bytes(name)
            && let Ok(value) = HeaderValue::from_bytes(value)
        {
            map.append(name, value);
        }
    }
    if let Err(problem) = headers::partition(&map) {
        assert!(problem.status.is_client_error());
    }
    for trusts_proxy in [false, true] {
        let url = headers::base_url(&map, "https", trusts_proxy);
        assert!(
            url.chars()
                .all(|character| !character.is_control() || character == '\t')
        );
    }
    let _ = headers::comes_from_another_site(&map);
    let _ = headers::need_json(&map);
});
