//! Documents that people write: text of a bounded size, and what is in it. Mistakes are said in words,
//! without the document's name.

use std::io::{self, Read};

use serde_json::Value as Json;

/// Largest document, in bytes.
const BYTES_MAX: u64 = 16 << 20;

/// The whole text of a document.
pub(crate) fn text(source: io::Result<impl Read>) -> Result<String, String> {
    let mut bytes = Vec::new();
    // Counted while reading: what is no regular file has no size and may have no end.
    source
        .and_then(|source| source.take(BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(format!(
            "it has more than {BYTES_MAX} bytes, the most that is accepted"
        ));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

pub(crate) fn json(text: &str) -> Result<Json, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}

pub(crate) fn yaml(text: &str) -> Result<Json, String> {
    serde_saphyr::from_str(text).map_err(|error| {
        // The library draws a picture below the line that says it all.
        let error = error.to_string();
        let line = error.lines().next().unwrap_or_default();
        format!("not YAML: {}", line.trim_start_matches("error: "))
    })
}
