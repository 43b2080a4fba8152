//! The instance XML: how parameters and connection parameters are stored and shown (P 2).

use std::collections::BTreeMap;

use crate::xml::{self, Limits, XmlError};

const LIMITS: Limits = Limits {
    bytes: 64 << 20,
    depth: 20,
    nodes: 200_000,
};

/// Why an instance XML cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstanceXmlError {
    /// It is not XML, or more than is accepted.
    #[error("{0}")]
    Xml(#[from] XmlError),
    /// A parameter has no name.
    #[error("a parameter without its `id`")]
    NoId,
    /// A value holds a character XML cannot carry.
    #[error("the value of parameter `{id}` holds a control character that cannot be stored")]
    BadCharacter {
        /// The parameter.
        id: String,
    },
}

/// Writes parameters as an instance XML, sorted by name.
///
/// # Errors
/// [`InstanceXmlError::BadCharacter`] when a name or value cannot be written in XML.
pub fn encode<'a, K, V>(
    parameters: impl IntoIterator<Item = (&'a K, &'a V)>,
) -> Result<String, InstanceXmlError>
where
    K: AsRef<str> + Ord + 'a + ?Sized,
    V: AsRef<str> + 'a + ?Sized,
{
    let sorted: BTreeMap<&str, &str> = parameters
        .into_iter()
        .map(|(id, value)| (id.as_ref(), value.as_ref()))
        .collect();
    let mut out = String::from("<?xml version='1.0' encoding='utf-8'?>\n");
    if sorted.is_empty() {
        out.push_str("<instance/>\n");
        return Ok(out);
    }
    out.push_str("<instance>\n");
    for (id, value) in sorted {
        if xml::unrepresentable(id)
            .or(xml::unrepresentable(value))
            .is_some()
        {
            return Err(InstanceXmlError::BadCharacter {
                id: id.chars().take(60).collect(),
            });
        }
        out.push_str("  <parameter id=\"");
        escape_attribute(id, &mut out);
        out.push_str("\">");
        xml::escape_into(value, &mut out);
        out.push_str("</parameter>\n");
    }
    out.push_str("</instance>\n");
    Ok(out)
}

fn escape_attribute(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            other => xml::escape_into(other.encode_utf8(&mut [0; 4]), out),
        }
    }
}

/// Reads an instance XML. An empty text is no parameters.
///
/// An empty element reads as `None`; a name given twice has its values joined by one space, empty
/// ones left out (upstream crashes on an empty second one).
///
/// # Errors
/// [`InstanceXmlError`] when it is not XML, over a limit, or a parameter lacks its `id` (upstream
/// makes it the name `None`).
pub fn decode(document: &str) -> Result<BTreeMap<String, Option<String>>, InstanceXmlError> {
    if document.trim().is_empty() {
        return Ok(BTreeMap::new());
    }
    let root = xml::parse(document, LIMITS)?;
    let mut parameters: BTreeMap<String, Option<String>> = BTreeMap::new();
    for element in &root.children {
        if element.name != "parameter" {
            continue;
        }
        let id = element.attribute("id").ok_or(InstanceXmlError::NoId)?;
        let given = Some(element.text.as_str()).filter(|text| !text.is_empty());
        let known = parameters.entry(id.to_owned()).or_default();
        *known = match (known.take(), given) {
            (Some(first), Some(second)) => Some(format!("{first} {second}")),
            (first, second) => first.or(second.map(str::to_owned)),
        };
    }
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn encoded(pairs: &[(&str, &str)]) -> String {
        let map: BTreeMap<&str, &str> = pairs.iter().copied().collect();
        encode(&map).unwrap()
    }

    #[test]
    fn golden_documents_of_p2() {
        assert_eq!(
            encoded(&[]),
            "<?xml version='1.0' encoding='utf-8'?>\n<instance/>\n"
        );
        assert_eq!(
            encoded(&[("a", "b")]),
            "<?xml version='1.0' encoding='utf-8'?>\n<instance>\n  <parameter \
             id=\"a\">b</parameter>\n</instance>\n"
        );
        assert_eq!(
            encoded(&[("e", ""), ("x", "<&>\"é")]),
            "<?xml version='1.0' encoding='utf-8'?>\n<instance>\n  <parameter id=\"e\"></parameter>\n  \
             <parameter id=\"x\">&lt;&amp;&gt;\"é</parameter>\n</instance>\n"
        );
    }

    #[test]
    fn the_decoder_is_as_tolerant_as_p2() {
        type Expected<'a> = &'a [(&'a str, Option<&'a str>)];
        let table: &[(&str, Expected<'_>)] = &[
            ("", &[]),
            (
                "<?xml version=\"1.0\" encoding=\"utf-8\"?><any><parameter id=\"a\">b</parameter></any>",
                &[("a", Some("b"))],
            ),
            ("<instance><parameter id=\"a\"/></instance>", &[("a", None)]),
            (
                "<instance><parameter id=\"a\"> b\n</parameter></instance>",
                &[("a", Some(" b\n"))],
            ),
            (
                "<instance><parameter id=\"a\"><![CDATA[<b>]]></parameter></instance>",
                &[("a", Some("<b>"))],
            ),
            (
                "<i><parameter id=\"a\">x<y/>z</parameter></i>",
                &[("a", Some("x"))],
            ),
            (
                "<i><parameter id=\"a\">x</parameter><parameter id=\"a\">y</parameter></i>",
                &[("a", Some("x y"))],
            ),
            (
                "<i><parameter id=\"a\"/><parameter id=\"a\">y</parameter></i>",
                &[("a", Some("y"))],
            ),
            ("<i><deep><parameter id=\"a\">x</parameter></deep></i>", &[]),
        ];
        for (document, expected) in table {
            let expected: BTreeMap<String, Option<String>> = expected
                .iter()
                .map(|(id, value)| ((*id).to_owned(), value.map(str::to_owned)))
                .collect();
            assert_eq!(decode(document).unwrap(), expected, "{document}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for document in [
            "<i><parameter>x</parameter></i>",
            "<i>",
            "no xml",
            "<!DOCTYPE i [<!ENTITY a \"b\">]><i><parameter id=\"a\">&a;</parameter></i>",
        ] {
            assert!(decode(document).is_err(), "{document}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            parameters in prop::collection::btree_map("[^\\p{Cc}\u{fffe}\u{ffff}]{0,12}", "[^\\p{Cc}\u{fffe}\u{ffff}]{0,20}|a\r\nb\t", 0..6)
        ) {
            let document = encode(&parameters).unwrap();
            let back: BTreeMap<String, String> = decode(&document)
                .unwrap()
                .into_iter()
                .map(|(id, value)| (id, value.unwrap_or_default()))
                .collect();
            prop_assert_eq!(back, parameters);
        }

        #[test]
        fn arbitrary_text_never_panics(document in ".{0,200}") {
            let _ = decode(&document);
        }
    }
}
