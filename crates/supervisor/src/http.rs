//! The little HTTP/1.x that the control socket speaks. No I/O.

/// No request or response head is longer.
const MAX_HEAD: usize = 16 << 10;
/// No request body is longer.
pub(crate) const MAX_REQUEST: usize = 1 << 20;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("400 Bad Request")]
    Malformed,
    #[error("413 Payload Too Large")]
    TooLarge,
    #[error("411 Length Required")]
    LengthRequired,
}

/// A complete request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
    pub(crate) keep_alive: bool,
}

/// Takes one request off the front of `buffer`; `None` when more bytes are needed.
pub(crate) fn take_request(buffer: &mut Vec<u8>) -> Result<Option<Request>, HttpError> {
    let Some(head_end) = find(buffer, b"\r\n\r\n") else {
        return if buffer.len() > MAX_HEAD {
            Err(HttpError::TooLarge)
        } else {
            Ok(None)
        };
    };
    if head_end > MAX_HEAD {
        return Err(HttpError::TooLarge);
    }
    let head = std::str::from_utf8(&buffer[..head_end]).map_err(|_| HttpError::Malformed)?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or("").split(' ');
    let (Some(method), Some(path), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(HttpError::Malformed);
    };
    if !version.starts_with("HTTP/1.") || method.is_empty() {
        return Err(HttpError::Malformed);
    }
    let mut keep_alive = version != "HTTP/1.0";
    let mut length = None;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(HttpError::Malformed)?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let number = value.parse::<usize>().map_err(|_| HttpError::Malformed)?;
                if length.is_some_and(|l| l != number) {
                    return Err(HttpError::Malformed);
                }
                length = Some(number);
            }
            "transfer-encoding" => return Err(HttpError::LengthRequired),
            "connection" if value.eq_ignore_ascii_case("close") => keep_alive = false,
            "connection" if value.eq_ignore_ascii_case("keep-alive") => keep_alive = true,
            _ => {}
        }
    }
    let length = match (length, method) {
        (Some(length), _) => length,
        (None, "POST" | "PUT") => return Err(HttpError::LengthRequired),
        (None, _) => 0,
    };
    if length > MAX_REQUEST {
        return Err(HttpError::TooLarge);
    }
    let (method, path) = (method.to_owned(), path.to_owned());
    let body_start = head_end + 4;
    if buffer.len() < body_start + length {
        return Ok(None);
    }
    let body = buffer[body_start..body_start + length].to_vec();
    buffer.drain(..body_start + length);
    Ok(Some(Request {
        method,
        path,
        body,
        keep_alive,
    }))
}

/// A complete response.
pub(crate) fn response(status: &str, content_type: &str, body: &[u8], keep_alive: bool) -> Vec<u8> {
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let mut out = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}

/// The head of an answer that goes on until the client leaves.
pub(crate) fn stream_head() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain;charset=utf-8\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        .to_vec()
}

/// One piece of such an answer.
pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    out
}

/// The status and length that a response head announces: `(status, head length, body length)`.
pub(crate) fn response_head(
    buffer: &[u8],
) -> Result<Option<(u16, usize, Option<usize>)>, HttpError> {
    let Some(head_end) = find(buffer, b"\r\n\r\n") else {
        return if buffer.len() > MAX_HEAD {
            Err(HttpError::TooLarge)
        } else {
            Ok(None)
        };
    };
    let head = std::str::from_utf8(&buffer[..head_end]).map_err(|_| HttpError::Malformed)?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .filter(|l| l.starts_with("HTTP/1."))
        .and_then(|l| l.split(' ').nth(1))
        .and_then(|s| s.parse().ok())
        .ok_or(HttpError::Malformed)?;
    let length = lines
        .filter_map(|l| l.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map(|(_, value)| value.trim().parse().map_err(|_| HttpError::Malformed))
        .transpose()?;
    Ok(Some((status, head_end + 4, length)))
}

/// `%41` → `A`; what is not an escape stays.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escape = (*byte == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(escape.unwrap_or(*byte));
        at += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    // Only the first part can hold the end of a head.
    let end = haystack.len().min(MAX_HEAD + needle.len());
    haystack[..end]
        .windows(needle.len())
        .position(|w| w == needle)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    const CALL: &[u8] = b"POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /";

    #[test]
    fn one_request_is_taken_and_the_rest_is_left() {
        let mut buffer = CALL.to_vec();
        let request = take_request(&mut buffer).unwrap().unwrap();
        assert_eq!(
            (
                request.method.as_str(),
                request.path.as_str(),
                request.keep_alive
            ),
            ("POST", "/RPC2", true)
        );
        assert_eq!(request.body, b"abc");
        assert_eq!(buffer, b"GET /");
    }

    #[test]
    fn bounds_are_kept() {
        let refused = |text: &str| take_request(&mut text.as_bytes().to_vec()).unwrap_err();
        assert_eq!(
            refused("POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"),
            HttpError::TooLarge
        );
        assert_eq!(
            refused(&format!("GET /{} HTTP/1.1\r\n", "a".repeat(MAX_HEAD))),
            HttpError::TooLarge
        );
        assert_eq!(
            refused("POST / HTTP/1.1\r\n\r\n"),
            HttpError::LengthRequired
        );
        assert_eq!(
            refused("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            HttpError::LengthRequired
        );
        assert_eq!(
            refused("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"),
            HttpError::Malformed
        );
        assert_eq!(
            refused("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
            HttpError::Malformed
        );
        assert_eq!(refused("nonsense\r\n\r\n"), HttpError::Malformed);
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_gives(cut in 0usize..CALL.len()) {
            let mut buffer = CALL[..cut].to_vec();
            let first = take_request(&mut buffer).unwrap();
            buffer.extend_from_slice(&CALL[cut..]);
            let request = match first { Some(request) => request, None => take_request(&mut buffer).unwrap().unwrap() };
            prop_assert_eq!(request.body, b"abc");
            prop_assert_eq!(buffer, b"GET /");
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = take_request(&mut bytes.clone());
            let _ = response_head(&bytes);
        }
    }

    #[test]
    fn escapes_are_decoded() {
        assert_eq!(percent_decode("a%3Ab%zz%4"), "a:b%zz%4");
    }
}
