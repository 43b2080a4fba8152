//! XML-RPC documents: calls, responses, faults. No I/O; every size and depth is bounded.

use std::fmt::Write as _;

use quick_xml::Reader;
use quick_xml::events::Event;

use crate::fault::Fault;

/// No document may nest values deeper.
const MAX_DEPTH: usize = 16;
/// No document may hold more values.
const MAX_VALUES: usize = 200_000;

/// A value of XML-RPC.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `<int>`; upstream caps to 32 bits, as the format asks.
    Int(i64),
    /// `<boolean>`
    Bool(bool),
    /// `<string>`
    Text(String),
    /// `<double>`
    Double(f64),
    /// `<array>`
    Array(Vec<Value>),
    /// `<struct>`, in order.
    Struct(Vec<(String, Value)>),
    /// `<nil/>`, an extension.
    Nil,
}

impl Value {
    /// A text value.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// The member of a struct.
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Struct(members) => members.iter().find(|(n, _)| n == name).map(|(_, v)| v),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            Self::Bool(b) => Some(i64::from(*b)),
            _ => None,
        }
    }

    pub(crate) fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }
}

/// Why a document was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an XML-RPC document: {0}")]
pub(crate) struct XmlRpcError(String);

/// Writes a call.
pub(crate) fn write_call(method: &str, parameters: &[Value]) -> String {
    let mut out = String::from("<?xml version='1.0'?>\n<methodCall>\n<methodName>");
    escape(&mut out, method);
    out.push_str("</methodName>\n<params>\n");
    for parameter in parameters {
        out.push_str("<param>\n");
        write_value(&mut out, parameter);
        out.push_str("</param>\n");
    }
    out.push_str("</params>\n</methodCall>\n");
    out
}

/// Writes an answer.
pub(crate) fn write_response(answer: &Result<Value, Fault>) -> String {
    let mut out = String::from("<?xml version='1.0'?>\n<methodResponse>\n");
    match answer {
        Ok(value) => {
            out.push_str("<params>\n<param>\n");
            write_value(&mut out, value);
            out.push_str("</param>\n</params>\n");
        }
        Err(fault) => {
            out.push_str("<fault>\n");
            write_value(&mut out, &fault_value(fault));
            out.push_str("</fault>\n");
        }
    }
    out.push_str("</methodResponse>\n");
    out
}

/// A fault as the struct that `system.multicall` puts in its list.
pub(crate) fn fault_value(fault: &Fault) -> Value {
    Value::Struct(vec![
        ("faultCode".into(), Value::Int(fault.code.into())),
        ("faultString".into(), Value::text(&fault.text)),
    ])
}

fn write_value(out: &mut String, value: &Value) {
    out.push_str("<value>");
    match value {
        Value::Int(n) => {
            let n = (*n).clamp(i32::MIN.into(), i32::MAX.into());
            let _ = write!(out, "<int>{n}</int>");
        }
        Value::Bool(b) => {
            let _ = write!(out, "<boolean>{}</boolean>", u8::from(*b));
        }
        Value::Double(d) => {
            let _ = write!(out, "<double>{d}</double>");
        }
        Value::Text(text) => {
            out.push_str("<string>");
            escape(out, text);
            out.push_str("</string>");
        }
        Value::Nil => out.push_str("<nil/>"),
        Value::Array(items) => {
            out.push_str("<array><data>\n");
            for item in items {
                write_value(out, item);
            }
            out.push_str("</data></array>");
        }
        Value::Struct(members) => {
            out.push_str("<struct>\n");
            for (name, value) in members {
                out.push_str("<member>\n<name>");
                escape(out, name);
                out.push_str("</name>\n");
                write_value(out, value);
                out.push_str("</member>\n");
            }
            out.push_str("</struct>");
        }
    }
    out.push_str("</value>\n");
}

/// Characters that XML cannot carry (an escape sequence in a log) are replaced: upstream sends
/// them as they are and its own client then fails on the document.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' => out.push_str("&#13;"),
            '\t' | '\n' => out.push(c),
            c if c < ' ' || c == '\u{fffe}' || c == '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

/// Reads a call: its method and parameters.
pub(crate) fn read_call(text: &str) -> Result<(String, Vec<Value>), XmlRpcError> {
    let mut parser = Parser::new(text);
    parser.open("methodCall")?;
    parser.open("methodName")?;
    let method = parser.text_until("methodName")?;
    let mut parameters = Vec::new();
    if parser.next_tag()? == Tag::Open("params".into()) {
        while parser.next_tag()? == Tag::Open("param".into()) {
            parameters.push(parser.value(0)?);
            parser.close("param")?;
        }
    }
    Ok((method.trim().to_owned(), parameters))
}

/// Reads an answer.
pub(crate) fn read_response(text: &str) -> Result<Result<Value, Fault>, XmlRpcError> {
    let mut parser = Parser::new(text);
    parser.open("methodResponse")?;
    match parser.next_tag()? {
        Tag::Open(name) if name == "params" => {
            parser.open("param")?;
            Ok(Ok(parser.value(0)?))
        }
        Tag::Open(name) if name == "fault" => {
            let value = parser.value(0)?;
            let code = value.member("faultCode").and_then(Value::as_int);
            let text = value.member("faultString").and_then(Value::as_str);
            match (code.and_then(|c| i32::try_from(c).ok()), text) {
                (Some(code), Some(text)) => Ok(Err(Fault {
                    code,
                    text: text.to_owned(),
                })),
                _ => Err(XmlRpcError("a fault without code and text".into())),
            }
        }
        other => Err(XmlRpcError(format!("expected an answer, found {other:?}"))),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Tag {
    Open(String),
    Close(String),
    End,
}

struct Parser<'a> {
    reader: Reader<&'a [u8]>,
    values: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        let mut reader = Reader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        Self { reader, values: 0 }
    }

    fn event(&mut self) -> Result<Event<'a>, XmlRpcError> {
        self.reader
            .read_event()
            .map_err(|e| XmlRpcError(e.to_string()))
    }

    fn next_tag(&mut self) -> Result<Tag, XmlRpcError> {
        loop {
            match self.event()? {
                Event::Start(tag) => return Ok(Tag::Open(local(tag.name().as_ref()))),
                Event::End(tag) => return Ok(Tag::Close(local(tag.name().as_ref()))),
                Event::Eof => return Ok(Tag::End),
                Event::DocType(_) => {
                    return Err(XmlRpcError("a document type is not allowed".into()));
                }
                Event::Text(text) if text.trim().is_empty() => {}
                Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                    return Err(XmlRpcError("text where an element was expected".into()));
                }
                _ => {}
            }
        }
    }

    fn open(&mut self, name: &str) -> Result<(), XmlRpcError> {
        match self.next_tag()? {
            Tag::Open(found) if found == name => Ok(()),
            other => Err(XmlRpcError(format!("expected <{name}>, found {other:?}"))),
        }
    }

    fn close(&mut self, name: &str) -> Result<(), XmlRpcError> {
        match self.next_tag()? {
            Tag::Close(found) if found == name => Ok(()),
            other => Err(XmlRpcError(format!("expected </{name}>, found {other:?}"))),
        }
    }

    /// The text up to the closing tag, which is consumed.
    fn text_until(&mut self, name: &str) -> Result<String, XmlRpcError> {
        match self.text_or_tag(name)? {
            (text, None) => Ok(text),
            (_, Some(tag)) => Err(XmlRpcError(format!("<{tag}> inside <{name}>"))),
        }
    }

    /// The text up to the closing tag of `name`, or to the first element inside it.
    fn text_or_tag(&mut self, name: &str) -> Result<(String, Option<String>), XmlRpcError> {
        let mut out = String::new();
        loop {
            match self.event()? {
                Event::Text(text) => out.push_str(&text.xml10_content()),
                Event::CData(text) => out.push_str(&text.xml10_content()),
                Event::GeneralRef(reference) => out.push(resolve(&reference)?),
                Event::End(tag) if local(tag.name().as_ref()) == name => return Ok((out, None)),
                Event::Start(tag) => return Ok((out, Some(local(tag.name().as_ref())))),
                Event::Comment(_) | Event::PI(_) => {}
                other => return Err(XmlRpcError(format!("unexpected {other:?} inside <{name}>"))),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, XmlRpcError> {
        self.open("value")?;
        self.value_content(depth)
    }

    /// What follows `<value>`, with the closing tag.
    fn value_content(&mut self, depth: usize) -> Result<Value, XmlRpcError> {
        self.values += 1;
        if depth > MAX_DEPTH || self.values > MAX_VALUES {
            return Err(XmlRpcError(format!(
                "more than {MAX_DEPTH} levels or {MAX_VALUES} values"
            )));
        }
        let (text, tag) = self.text_or_tag("value")?;
        let Some(tag) = tag else {
            return Ok(Value::Text(text));
        };
        let value = match tag.as_str() {
            "array" => self.array(depth)?,
            "struct" => self.members(depth)?,
            scalar => {
                let text = self.text_until(scalar)?;
                let bad = || XmlRpcError(format!("'{}' is not a valid <{scalar}>", text.trim()));
                match scalar {
                    "int" | "i4" | "i8" => Value::Int(text.trim().parse().map_err(|_| bad())?),
                    "boolean" => Value::Bool(match text.trim() {
                        "1" => true,
                        "0" => false,
                        _ => return Err(bad()),
                    }),
                    "double" => Value::Double(text.trim().parse().map_err(|_| bad())?),
                    "string" | "base64" | "dateTime.iso8601" => Value::Text(text),
                    "nil" => Value::Nil,
                    _ => return Err(XmlRpcError(format!("unknown type <{scalar}>"))),
                }
            }
        };
        self.close("value")?;
        Ok(value)
    }

    fn array(&mut self, depth: usize) -> Result<Value, XmlRpcError> {
        self.open("data")?;
        let mut items = Vec::new();
        loop {
            match self.next_tag()? {
                Tag::Open(name) if name == "value" => items.push(self.value_content(depth + 1)?),
                Tag::Close(name) if name == "data" => break,
                other => return Err(XmlRpcError(format!("unexpected {other:?} in an array"))),
            }
        }
        self.close("array")?;
        Ok(Value::Array(items))
    }

    fn members(&mut self, depth: usize) -> Result<Value, XmlRpcError> {
        let mut members = Vec::new();
        loop {
            match self.next_tag()? {
                Tag::Open(name) if name == "member" => {
                    self.open("name")?;
                    let name = self.text_until("name")?;
                    members.push((name, self.value(depth + 1)?));
                    self.close("member")?;
                }
                Tag::Close(name) if name == "struct" => return Ok(Value::Struct(members)),
                other => return Err(XmlRpcError(format!("unexpected {other:?} in a struct"))),
            }
        }
    }
}

fn local(name: &str) -> String {
    name.to_owned()
}

/// The five entities of XML and character numbers; a document cannot define more.
fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> Result<char, XmlRpcError> {
    if let Some(c) = reference
        .resolve_char_ref()
        .map_err(|e| XmlRpcError(e.to_string()))?
    {
        return Ok(c);
    }
    let name: &str = reference;
    match name {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        other => Err(XmlRpcError(format!("unknown entity &{other};"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(|n| Value::Int(n.into())),
            any::<bool>().prop_map(Value::Bool),
            "[ -~é\n\r\t]{0,20}".prop_map(Value::Text),
            Just(Value::Nil),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                prop::collection::vec(("[a-z&<]{1,8}", inner), 0..5).prop_map(Value::Struct),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_call_survives_the_wire(method in "[a-zA-Z.]{1,20}", parameters in prop::collection::vec(any_value(), 0..4)) {
            let text = write_call(&method, &parameters);
            prop_assert_eq!(read_call(&text).unwrap(), (method, parameters));
        }

        #[test]
        fn an_answer_survives_the_wire(value in any_value()) {
            prop_assert_eq!(read_response(&write_response(&Ok(value.clone()))).unwrap(), Ok(value));
        }

        #[test]
        fn no_input_panics(text in "\\PC{0,200}") {
            let _ = read_call(&text);
            let _ = read_response(&text);
        }

        #[test]
        fn no_damaged_call_panics(cut in 0usize..400, put in "[<>&;/a-z]{0,4}") {
            let mut text = write_call("a.b", &[Value::Array(vec![Value::Int(1), Value::Struct(vec![("k".into(), Value::Bool(true))])])]);
            let cut = cut.min(text.len());
            if text.is_char_boundary(cut) { text.insert_str(cut, &put); }
            let _ = read_call(&text);
        }
    }

    #[test]
    fn what_xml_cannot_carry_is_replaced() {
        let text = write_response(&Ok(Value::text("\u{1b}[31mred\u{0}\r\n")));
        assert_eq!(
            read_response(&text).unwrap().unwrap(),
            Value::text("\u{fffd}[31mred\u{fffd}\r\n")
        );
    }

    #[test]
    fn upstream_forms_are_understood() {
        let text = "<?xml version='1.0'?><methodCall><methodName>supervisor.tail</methodName><params>\
            <param><value>bare &amp; text</value></param><param><value><i4> -3 </i4></value></param>\
            <param><value/></param><param><value><string/></value></param></params></methodCall>";
        let (method, parameters) = read_call(text).unwrap();
        assert_eq!(method, "supervisor.tail");
        assert_eq!(
            parameters,
            [
                Value::text("bare & text"),
                Value::Int(-3),
                Value::text(""),
                Value::text("")
            ]
        );
        assert_eq!(
            read_call("<methodCall><methodName>m</methodName></methodCall>")
                .unwrap()
                .1,
            []
        );
    }

    #[test]
    fn bombs_are_refused() {
        let deep = format!(
            "<methodCall><methodName>m</methodName><params><param>{}",
            "<value><array><data>".repeat(1000)
        );
        assert!(read_call(&deep).unwrap_err().to_string().contains("levels"));
        let entity = "<!DOCTYPE x [<!ENTITY a 'aaaa'>]><methodCall><methodName>&a;</methodName></methodCall>";
        assert!(read_call(entity).is_err());
    }
}
