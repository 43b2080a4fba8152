//! The marshalling format: [`Value`] to ASCII bytes and back (P 1.1).
//!
//! Strings are escaped twice on the wire, objects are limited to four classes, identities are
//! numbered from 2. The decoder accepts all that P 1.1.4 lists and bounds everything else.

use std::collections::{BTreeMap, HashMap};

use crate::value::{Class, Object, Value};
use crate::xml::{self, Element, Limits};

pub use crate::xml::XmlError;

/// The one module objects on the wire belong to (P 1.1.2).
const MODULE: &str = "slapos.slap.slap";

/// Integers from here on (the double 1e24) are called `long` (P 1.1).
const LONG_FROM: u128 = 999_999_999_999_999_983_222_784;

const LIMITS: Limits = Limits {
    bytes: 64 << 20,
    depth: 100,
    nodes: 2_000_000,
};

/// Why a value cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// XML has no way to write this character.
    #[error("the text {text:?} holds a control character that cannot be sent: {character:?}")]
    BadCharacter {
        /// The beginning of the text.
        text: String,
        /// The character.
        character: char,
    },
}

/// Why a document cannot be read as a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is not XML, or more than is accepted.
    #[error("{0}")]
    Xml(#[from] XmlError),
    /// It is XML, but not this format.
    #[error("not a marshalled document: {0}")]
    Shape(String),
    /// A number cannot be read.
    #[error("`{text}` is not {what}")]
    Number {
        /// What was expected.
        what: &'static str,
        /// What was found.
        text: String,
    },
    /// An object of a class that is not allowed.
    #[error("objects of class `{module}.{class}` are not accepted")]
    Class {
        /// The module.
        module: String,
        /// The class.
        class: String,
    },
    /// Not UTF-8.
    #[error("the document is not UTF-8 text")]
    NotText,
}

/// Writes a value as one document.
///
/// # Errors
/// [`EncodeError`] when a text holds a character XML cannot carry.
pub fn encode(value: &Value) -> Result<String, EncodeError> {
    let mut encoder = Encoder {
        out: String::with_capacity(256),
        next_id: 2,
    };
    encoder.out.push_str("<marshal>");
    encoder.write(value)?;
    encoder.out.push_str("</marshal>");
    Ok(encoder.out)
}

struct Encoder {
    out: String,
    next_id: u32,
}

impl Encoder {
    fn write(&mut self, value: &Value) -> Result<(), EncodeError> {
        match value {
            Value::None => self.out.push_str("<none/>"),
            Value::Bool(truth) => self.simple("bool", if *truth { "1" } else { "0" }),
            Value::Int(number) if number.unsigned_abs() >= LONG_FROM => {
                self.simple("long", &number.to_string());
            }
            Value::Int(number) => self.simple("int", &number.to_string()),
            Value::Float(number) => self.simple("float", &crate::python::float(*number)),
            Value::Complex(real, imaginary) => {
                let text = format!(
                    "{} {}",
                    crate::python::float(*real),
                    crate::python::float(*imaginary)
                );
                self.simple("complex", &text);
            }
            Value::String(text) => self.text(text)?,
            Value::List(items) => self.sequence("list", true, items)?,
            Value::Set(items) => self.sequence("set", true, items)?,
            Value::Tuple(items) => self.sequence("tuple", false, items)?,
            Value::Dict(entries) => self.dictionary(entries)?,
            Value::Object(object) => self.object(object)?,
        }
        Ok(())
    }

    fn simple(&mut self, tag: &str, text: &str) {
        self.out.push('<');
        self.out.push_str(tag);
        self.out.push('>');
        self.out.push_str(text);
        self.out.push_str("</");
        self.out.push_str(tag);
        self.out.push('>');
    }

    fn text(&mut self, text: &str) -> Result<(), EncodeError> {
        if let Some(character) = xml::unrepresentable(text) {
            return Err(EncodeError::BadCharacter {
                text: text.chars().take(40).collect(),
                character,
            });
        }
        self.out.push_str("<string>");
        for character in text.chars() {
            match character {
                '&' => self.out.push_str("&amp;amp;"),
                '<' => self.out.push_str("&amp;lt;"),
                '>' => self.out.push_str("&amp;gt;"),
                '\r' => self.out.push_str("&#13;"),
                ascii if ascii.is_ascii() => self.out.push(ascii),
                other => {
                    self.out.push_str("&#");
                    self.out.push_str(&u32::from(other).to_string());
                    self.out.push(';');
                }
            }
        }
        self.out.push_str("</string>");
        Ok(())
    }

    fn sequence(
        &mut self,
        tag: &str,
        identified: bool,
        items: &[Value],
    ) -> Result<(), EncodeError> {
        self.out.push('<');
        self.out.push_str(tag);
        if identified {
            self.identity();
        }
        if items.is_empty() {
            self.out.push_str("/>");
            return Ok(());
        }
        self.out.push('>');
        for item in items {
            self.write(item)?;
        }
        self.out.push_str("</");
        self.out.push_str(tag);
        self.out.push('>');
        Ok(())
    }

    fn dictionary(&mut self, entries: &BTreeMap<String, Value>) -> Result<(), EncodeError> {
        self.out.push_str("<dictionary");
        self.identity();
        if entries.is_empty() {
            self.out.push_str("/>");
            return Ok(());
        }
        self.out.push('>');
        for (key, value) in entries {
            self.text(key)?;
            self.write(value)?;
        }
        self.out.push_str("</dictionary>");
        Ok(())
    }

    fn object(&mut self, object: &Object) -> Result<(), EncodeError> {
        self.out.push_str("<object");
        self.identity();
        self.out.push_str(" module=\"");
        self.out.push_str(MODULE);
        self.out.push_str("\" class=\"");
        self.out.push_str(object.class.name());
        self.out.push_str("\">");
        self.sequence("tuple", false, &object.arguments)?;
        self.dictionary(&object.attributes)?;
        self.out.push_str("</object>");
        Ok(())
    }

    fn identity(&mut self) {
        self.out.push_str(" id=\"i");
        self.out.push_str(&self.next_id.to_string());
        self.out.push('"');
        self.next_id += 1;
    }
}

/// Reads one document. Tolerant as P 1.1.4 lists, bounded in bytes, depth and nodes.
///
/// # Errors
/// [`DecodeError`] says what is wrong; nothing is guessed.
pub fn decode(document: &[u8]) -> Result<Value, DecodeError> {
    let text = std::str::from_utf8(document).map_err(|_| DecodeError::NotText)?;
    let root = xml::parse(text, LIMITS)?;
    if root.name != "marshal" {
        return Err(DecodeError::Shape(format!(
            "the root element is `{}`, not `marshal`",
            clip(&root.name)
        )));
    }
    let [child] = root.children.as_slice() else {
        return Err(DecodeError::Shape(format!(
            "`marshal` holds {} values instead of one",
            root.children.len()
        )));
    };
    let mut decoder = Decoder {
        identities: HashMap::new(),
        nodes: 0,
    };
    if text.contains("reference") {
        decoder.expect_references(&root);
    }
    decoder.read(child)
}

struct Decoder<'a> {
    /// What somewhere a `<reference>` refers to, by `id`; with the value once it is complete.
    identities: HashMap<&'a str, Option<Value>>,
    /// Values made so far, copies included that are kept for references or made for them:
    /// references may not multiply.
    nodes: usize,
}

impl<'a> Decoder<'a> {
    fn expect_references(&mut self, element: &'a Element) {
        if element.name == "reference" {
            let id = element.attribute("id").unwrap_or_default();
            self.identities.insert(id, None);
        }
        for child in &element.children {
            self.expect_references(child);
        }
    }

    fn count(&mut self, nodes: usize) -> Result<(), DecodeError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > LIMITS.nodes {
            return Err(DecodeError::Xml(XmlError::TooLarge {
                what: "values",
                limit: LIMITS.nodes,
            }));
        }
        Ok(())
    }

    fn read(&mut self, element: &'a Element) -> Result<Value, DecodeError> {
        self.count(1)?;
        if element.stray_text {
            return Err(DecodeError::Shape(format!(
                "text between the parts of `{}`",
                clip(&element.name)
            )));
        }
        let value = match element.name.as_str() {
            "none" => Value::None,
            "bool" => match element.text.trim() {
                "1" => Value::Bool(true),
                "0" => Value::Bool(false),
                other => return Err(number("a truth value (0 or 1)", other)),
            },
            "int" | "long" => {
                let text = element.text.trim();
                Value::Int(text.parse().map_err(|_| number("an integer", text))?)
            }
            "float" => Value::Float(read_float(element.text.trim())?),
            "complex" => {
                let text = element.text.trim();
                let (real, imaginary) = text
                    .split_once(' ')
                    .ok_or_else(|| number("a complex number", text))?;
                Value::Complex(read_float(real)?, read_float(imaginary)?)
            }
            "string" | "unicode" => Value::String(unescape_once(&element.text)),
            "list" => Value::List(self.read_all(&element.children)?),
            "tuple" => Value::Tuple(self.read_all(&element.children)?),
            "set" => Value::Set(self.read_all(&element.children)?),
            "dictionary" => Value::Dict(self.read_dictionary(element)?),
            "object" => self.read_object(element)?,
            "reference" => return self.resolve(element),
            other => {
                return Err(DecodeError::Shape(format!(
                    "unknown element `{}`",
                    clip(other)
                )));
            }
        };
        if !self.identities.is_empty()
            && matches!(
                value,
                Value::List(_) | Value::Set(_) | Value::Dict(_) | Value::Object(_)
            )
            && let Some(id) = element.attribute("id")
            && self.identities.contains_key(id)
        {
            self.count(nodes(&value))?;
            self.identities.insert(id, Some(value.clone()));
        }
        Ok(value)
    }

    fn read_all(&mut self, elements: &'a [Element]) -> Result<Vec<Value>, DecodeError> {
        elements.iter().map(|element| self.read(element)).collect()
    }

    fn read_dictionary(
        &mut self,
        element: &'a Element,
    ) -> Result<BTreeMap<String, Value>, DecodeError> {
        if !element.children.len().is_multiple_of(2) {
            return Err(DecodeError::Shape(
                "a dictionary with a key but no value".to_owned(),
            ));
        }
        let mut entries = BTreeMap::new();
        for pair in element.children.chunks_exact(2) {
            let key = match self.read(&pair[0])? {
                Value::String(text) => text,
                // Any scalar ends up as text in the instance XML; say so here already.
                scalar @ (Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_)) => {
                    crate::python::str(&scalar)
                }
                other => {
                    return Err(DecodeError::Shape(format!(
                        "{} as the key of a dictionary",
                        other.kind()
                    )));
                }
            };
            entries.insert(key, self.read(&pair[1])?);
        }
        Ok(entries)
    }

    fn read_object(&mut self, element: &'a Element) -> Result<Value, DecodeError> {
        let module = element.attribute("module").unwrap_or_default();
        let class = element.attribute("class").unwrap_or_default();
        let known = Class::from_name(class)
            .filter(|_| module == MODULE)
            .ok_or_else(|| DecodeError::Class {
                module: clip(module),
                class: clip(class),
            })?;
        let [arguments, state] = element.children.as_slice() else {
            return Err(DecodeError::Shape(format!(
                "an object of class `{class}` without its arguments and attributes"
            )));
        };
        match (self.read(arguments)?, self.read(state)?) {
            (Value::Tuple(arguments), Value::Dict(attributes)) => {
                Ok(Value::Object(Box::new(Object {
                    class: known,
                    arguments,
                    attributes,
                })))
            }
            _ => Err(DecodeError::Shape(format!(
                "an object of class `{class}` whose arguments are no tuple or whose attributes \
                 are no dictionary"
            ))),
        }
    }

    fn resolve(&mut self, element: &'a Element) -> Result<Value, DecodeError> {
        let id = element.attribute("id").unwrap_or_default();
        let value = self
            .identities
            .get(id)
            .and_then(Option::as_ref)
            .ok_or_else(|| DecodeError::Shape(format!("a reference to nothing: `{}`", clip(id))))?;
        let size = nodes(value);
        let value = value.clone();
        self.count(size)?;
        Ok(value)
    }
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
            items.iter().map(nodes).sum()
        }
        Value::Dict(entries) => entries.values().map(|value| 1 + nodes(value)).sum(),
        Value::Object(object) => {
            object.arguments.iter().map(nodes).sum::<usize>()
                + object.attributes.values().map(nodes).sum::<usize>()
        }
        _ => 0,
    }
}

/// Undoes the marshaller's own escaping, which lies below the XML one. `&amp;` comes last, so that
/// `&amp;lt;` becomes `&lt;` and not `<`.
fn unescape_once(text: &str) -> String {
    if text.contains('&') {
        text.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&")
    } else {
        text.to_owned()
    }
}

fn read_float(text: &str) -> Result<f64, DecodeError> {
    text.parse().map_err(|_| number("a number", text))
}

fn number(what: &'static str, text: &str) -> DecodeError {
    DecodeError::Number {
        what,
        text: clip(text),
    }
}

/// The beginning of a text, for messages.
fn clip(text: &str) -> String {
    text.chars().take(60).collect()
}
