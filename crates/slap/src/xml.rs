//! Reads untrusted XML into a small tree, everything bounded: bytes, depth, nodes, no entities.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};

/// Why a document cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// It is not well-formed.
    #[error("not well-formed XML near byte {position}: {reason}")]
    Malformed {
        /// Where the reader stopped, in bytes.
        position: u64,
        /// What the reader says.
        reason: String,
    },
    /// It declares a document type or uses an entity of its own, as attacks do.
    #[error("document types and entities are not accepted")]
    Entity,
    /// It is over a limit.
    #[error("the document is over a limit: more than {limit} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// There is no root element.
    #[error("the document is empty")]
    Empty,
}

/// What one document may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub bytes: usize,
    pub depth: usize,
    pub nodes: usize,
}

/// Most attributes of one element, namespaces included. No document has more than three, and each
/// is compared with those before it.
const ATTRIBUTES_MAX: usize = 20;

#[derive(Debug, Default)]
pub(crate) struct Element {
    /// Name without its namespace prefix.
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    /// Text before the first child element, entities and CDATA resolved.
    pub text: String,
    /// Whether anything but white space stands between or after the children.
    pub stray_text: bool,
}

impl Element {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Takes text in, unless it could not be written again.
    fn append_text(&mut self, text: &str) -> Result<(), String> {
        sendable(text)?;
        if self.children.is_empty() {
            self.text.push_str(text);
        } else if !text.trim().is_empty() {
            self.stray_text = true;
        }
        Ok(())
    }
}

/// Parses a whole document.
pub(crate) fn parse(document: &str, limits: Limits) -> Result<Element, XmlError> {
    if document.len() > limits.bytes {
        return Err(XmlError::TooLarge {
            what: "bytes",
            limit: limits.bytes,
        });
    }
    let mut reader = quick_xml::Reader::from_str(document);
    let mut open: Vec<Element> = Vec::new();
    let mut root: Option<Element> = None;
    let mut nodes = 0_usize;
    loop {
        let position = reader.buffer_position();
        let malformed = |reason: String| XmlError::Malformed { position, reason };
        let event = reader
            .read_event()
            .map_err(|error| malformed(error.to_string()))?;
        match event {
            Event::Start(start) => {
                nodes += 1;
                check("elements", nodes, limits.nodes)?;
                check("nested elements", open.len() + 1, limits.depth)?;
                if root.is_some() {
                    return Err(malformed("a second root element".to_owned()));
                }
                open.push(element(&start).map_err(malformed)?);
            }
            Event::Empty(start) => {
                nodes += 1;
                check("elements", nodes, limits.nodes)?;
                if root.is_some() {
                    return Err(malformed("a second root element".to_owned()));
                }
                let empty = element(&start).map_err(malformed)?;
                close(empty, &mut open, &mut root);
            }
            Event::End(_) => match open.pop() {
                Some(element) => close(element, &mut open, &mut root),
                None => return Err(malformed("an unexpected end tag".to_owned())),
            },
            Event::Text(text) => {
                let text = text.xml10_content();
                match open.last_mut() {
                    Some(element) => element.append_text(&text).map_err(malformed)?,
                    None if text.trim_start_matches('\u{feff}').trim().is_empty() => {}
                    None => return Err(malformed("text outside the root element".to_owned())),
                }
            }
            Event::CData(text) => match open.last_mut() {
                Some(element) => element
                    .append_text(&text.xml10_content())
                    .map_err(malformed)?,
                None => return Err(malformed("text outside the root element".to_owned())),
            },
            Event::GeneralRef(reference) => {
                let Some(element) = open.last_mut() else {
                    return Err(malformed("text outside the root element".to_owned()));
                };
                let character = match reference.resolve_char_ref() {
                    Ok(Some(character)) => character,
                    Ok(None) => predefined(&reference.xml10_content()).ok_or(XmlError::Entity)?,
                    Err(error) => return Err(malformed(error.to_string())),
                };
                element
                    .append_text(character.encode_utf8(&mut [0; 4]))
                    .map_err(malformed)?;
            }
            Event::DocType(_) => return Err(XmlError::Entity),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof if open.is_empty() => return root.ok_or(XmlError::Empty),
            Event::Eof => return Err(malformed("the document ends too early".to_owned())),
        }
    }
}

fn check(what: &'static str, count: usize, limit: usize) -> Result<(), XmlError> {
    if count > limit {
        return Err(XmlError::TooLarge { what, limit });
    }
    Ok(())
}

fn predefined(name: &str) -> Option<char> {
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "apos" => Some('\''),
        "quot" => Some('"'),
        _ => None,
    }
}

fn element(start: &BytesStart<'_>) -> Result<Element, String> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        if attributes.len() == ATTRIBUTES_MAX {
            return Err(format!(
                "an element with more than {ATTRIBUTES_MAX} attributes"
            ));
        }
        let attribute = attribute.map_err(|error| error.to_string())?;
        let value = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(|error| error.to_string())?;
        sendable(&value)?;
        attributes.push((
            attribute.key.local_name().as_ref().to_string(),
            value.into_owned(),
        ));
    }
    Ok(Element {
        name: start.local_name().as_ref().to_string(),
        attributes,
        ..Element::default()
    })
}

fn close(element: Element, open: &mut [Element], root: &mut Option<Element>) {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *root = Some(element),
    }
}

/// Escapes text once, for use between tags.
pub(crate) fn escape_into(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' => out.push_str("&#13;"),
            other => out.push(other),
        }
    }
}

fn sendable(text: &str) -> Result<(), String> {
    match unrepresentable(text) {
        Some(character) => Err(format!("the control character {character:?}")),
        None => Ok(()),
    }
}

/// The first character XML 1.0 cannot carry at all, if there is one.
pub(crate) fn unrepresentable(text: &str) -> Option<char> {
    text.chars().find(|character| {
        (character.is_ascii_control() && !matches!(character, '\t' | '\n' | '\r' | '\u{7f}'))
            || matches!(character, '\u{fffe}' | '\u{ffff}')
    })
}
