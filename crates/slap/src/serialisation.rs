//! How a software release wants its parameters: as they are, or as JSON under the key `_` (P 2.1).

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::SoftwareType;

/// The key that carries a JSON document.
pub const JSON_KEY: &str = "_";

/// How parameters are written down for a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serialisation {
    /// Each parameter on its own, as text.
    Xml,
    /// One parameter named `_` that holds a JSON document.
    JsonInXml,
}

impl FromStr for Serialisation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "xml" => Ok(Serialisation::Xml),
            "json-in-xml" => Ok(Serialisation::JsonInXml),
            other => Err(format!(
                "`{other}` is not a serialisation; expected `xml` or `json-in-xml`"
            )),
        }
    }
}

impl Serialisation {
    /// What a release's metadata (`<software url>.json`) says for a software type.
    ///
    /// The entry of the type wins over the document; `RootSoftwareInstance` is looked up as
    /// `default` where it has no entry; what cannot be determined is JSON (P 2.1).
    pub fn of_release(metadata: &serde_json::Value, software_type: &SoftwareType) -> Self {
        type_entry(metadata, software_type)
            .and_then(|entry| entry.get("serialisation"))
            .or_else(|| metadata.get("serialisation"))
            .and_then(serde_json::Value::as_str)
            .and_then(|text| text.parse().ok())
            .unwrap_or(Serialisation::JsonInXml)
    }
}

/// The entry of a software type in a release's metadata.
pub fn type_entry<'a>(
    metadata: &'a serde_json::Value,
    software_type: &SoftwareType,
) -> Option<&'a serde_json::Value> {
    let types = metadata.get("software-type")?;
    types.get(software_type.as_str()).or_else(|| {
        (software_type.as_str() == "RootSoftwareInstance")
            .then(|| types.get("default"))
            .flatten()
    })
}

/// Wraps a JSON document as the one parameter `_`, unless it already is wrapped.
pub fn wrap(document: &serde_json::Value) -> BTreeMap<String, serde_json::Value> {
    if let Some(entries) = document.as_object()
        && entries.len() == 1
        && let Some(inner) = entries.get(JSON_KEY)
    {
        return BTreeMap::from([(JSON_KEY.to_owned(), inner.clone())]);
    }
    // Upstream writes it with an indentation of two, and what is stored is what is compared.
    let text = serde_json::to_string_pretty(document).unwrap_or_default();
    BTreeMap::from([(JSON_KEY.to_owned(), serde_json::Value::String(text))])
}

/// The JSON document under the key `_`, when that is the only key and holds one.
pub fn unwrap(parameters: &BTreeMap<String, String>) -> Option<serde_json::Value> {
    match (parameters.len(), parameters.get(JSON_KEY)) {
        (1, Some(text)) => serde_json::from_str(text).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_type_wins_over_the_document_and_json_is_the_default() {
        let metadata = json!({
            "serialisation": "xml",
            "software-type": {"default": {"serialisation": "json-in-xml"}, "plain": {}}
        });
        let of = |name: &str| {
            Serialisation::of_release(&metadata, &SoftwareType::new(name).unwrap_or_default())
        };
        assert_eq!(of("default"), Serialisation::JsonInXml);
        assert_eq!(of("RootSoftwareInstance"), Serialisation::JsonInXml);
        assert_eq!(of("plain"), Serialisation::Xml);
        assert_eq!(of("unknown"), Serialisation::Xml);
        assert_eq!(
            Serialisation::of_release(&json!({}), &SoftwareType::default()),
            Serialisation::JsonInXml
        );
    }

    #[test]
    fn wrapping_is_undone_by_unwrapping_and_never_doubled() {
        let document = json!({"k": 1, "name": "é"});
        let wrapped = wrap(&document);
        let as_text: BTreeMap<String, String> = wrapped
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect();
        assert_eq!(unwrap(&as_text), Some(document));
        let again = json!({"_": as_text["_"]});
        assert_eq!(wrap(&again), wrapped);
    }

    #[test]
    fn a_number_is_the_nearest_one_to_what_is_written() {
        // As Python reads it; a neighbour would be written back as 1.1999999999999999e+221.
        let read: serde_json::Value = serde_json::from_str("12e+220").unwrap_or_default();
        assert_eq!(read.as_f64(), Some(1.2e221));
    }
}
