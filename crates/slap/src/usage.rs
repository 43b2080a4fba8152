//! What was used on a node: the TioXML document of `useComputer` (P 6.12).

use crate::xml::{self, Element, Limits, XmlError};

const LIMITS: Limits = Limits {
    bytes: 16 << 20,
    depth: 10,
    nodes: 500_000,
};

/// Why a text is no usage document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// It is not XML, or more than is accepted.
    #[error("{0}")]
    Xml(#[from] XmlError),
    /// It is XML, but not this format.
    #[error("not a usage document: {0}")]
    Shape(String),
}

/// What one document says, as far as a Master looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The references of its transactions, in their order; empty texts left out.
    pub references: Vec<String>,
    /// The movements of all its transactions.
    pub movements: usize,
}

impl Usage {
    /// Reads a document: `journal` with transactions, each with arrows and movements.
    ///
    /// # Errors
    /// [`UsageError`] says where it is not what P 6.12 describes.
    pub fn parse(document: &str) -> Result<Self, UsageError> {
        let root = xml::parse(document, LIMITS)?;
        expect(&root, "journal", "the document")?;
        let mut usage = Usage {
            references: Vec::new(),
            movements: 0,
        };
        at_least_one(&root.children, "transaction", "the journal")?;
        for transaction in &root.children {
            expect(transaction, "transaction", "the journal")?;
            usage.movements += read_transaction(transaction)?;
            usage.references.extend(
                child(transaction, "reference")
                    .map(|reference| reference.text.trim())
                    .filter(|reference| !reference.is_empty())
                    .map(str::to_owned),
            );
        }
        Ok(usage)
    }
}

/// Checks a transaction; the number of its movements.
fn read_transaction(transaction: &Element) -> Result<usize, UsageError> {
    const WHERE: &str = "a transaction";
    need_attribute(transaction, "type", WHERE)?;
    for name in [
        "start_date",
        "stop_date",
        "reference",
        "currency",
        "payment_mode",
    ] {
        need_child(transaction, name, WHERE)?;
    }
    at_least_one(&transaction.children, "arrow", WHERE)?;
    at_least_one(&transaction.children, "movement", WHERE)?;
    let mut movements = 0;
    for part in &transaction.children {
        match part.name.as_str() {
            "title" | "start_date" | "stop_date" | "reference" | "currency" | "payment_mode"
            | "category" => {}
            "arrow" => {
                need_attribute(part, "type", "an arrow")?;
                only(part, &["source", "destination"], "an arrow")?;
            }
            "movement" => {
                movements += 1;
                read_movement(part)?;
            }
            _ => return Err(unexpected(part, WHERE)),
        }
    }
    Ok(movements)
}

fn read_movement(movement: &Element) -> Result<(), UsageError> {
    const WHERE: &str = "a movement";
    only(
        movement,
        &[
            "resource",
            "title",
            "reference",
            "quantity",
            "price",
            "VAT",
            "category",
        ],
        WHERE,
    )?;
    for name in ["resource", "quantity", "price", "VAT"] {
        need_child(movement, name, WHERE)?;
    }
    for name in ["quantity", "price"] {
        let text = child(movement, name).map_or("", |number| number.text.trim());
        let number: f64 = text.parse().map_err(|_| not_a_number(name, text))?;
        if !number.is_finite() {
            return Err(not_a_number(name, text));
        }
    }
    Ok(())
}

fn not_a_number(name: &str, text: &str) -> UsageError {
    UsageError::Shape(format!("the {name} {:?} is no number", clip(text)))
}

fn child<'a>(element: &'a Element, name: &str) -> Option<&'a Element> {
    element.children.iter().find(|child| child.name == name)
}

fn expect(element: &Element, name: &str, place: &str) -> Result<(), UsageError> {
    if element.name == name {
        Ok(())
    } else {
        Err(unexpected(element, place))
    }
}

fn unexpected(element: &Element, place: &str) -> UsageError {
    UsageError::Shape(format!(
        "unexpected element `{}` in {place}",
        clip(&element.name)
    ))
}

fn only(element: &Element, names: &[&str], place: &str) -> Result<(), UsageError> {
    match element
        .children
        .iter()
        .find(|child| !names.contains(&child.name.as_str()))
    {
        Some(child) => Err(unexpected(child, place)),
        None => Ok(()),
    }
}

fn need_child(element: &Element, name: &str, place: &str) -> Result<(), UsageError> {
    match child(element, name) {
        Some(_) => Ok(()),
        None => Err(UsageError::Shape(format!("{place} without `{name}`"))),
    }
}

fn at_least_one(children: &[Element], name: &str, place: &str) -> Result<(), UsageError> {
    if children.iter().any(|child| child.name == name) {
        Ok(())
    } else {
        Err(UsageError::Shape(format!("{place} without `{name}`")))
    }
}

fn need_attribute(element: &Element, name: &str, place: &str) -> Result<(), UsageError> {
    match element.attribute(name) {
        Some(_) => Ok(()),
        None => Err(UsageError::Shape(format!(
            "{place} without the attribute `{name}`"
        ))),
    }
}

fn clip(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = "<?xml version='1.0' encoding='utf-8'?>\n<journal>\
        <transaction type=\"Sale Packing List\"><title>Resource consumptions</title>\
        <start_date>2026-01-01 00:00:00</start_date><stop_date>2026-01-01 23:59:59</stop_date>\
        <reference>2026-01-01-global</reference><currency></currency>\
        <payment_mode></payment_mode><category></category>\
        <arrow type=\"Administration\"><source></source><destination></destination></arrow>\
        <movement><resource>service_module/cpu_load_percent</resource><title>CPU</title>\
        <reference>slappart0</reference><quantity>-1.5</quantity><price>0.0</price><VAT>None</VAT>\
        <category>None</category></movement></transaction></journal>";

    #[test]
    fn a_nodes_report_is_read() {
        let usage = Usage::parse(GOOD).unwrap();
        assert_eq!(usage.references, ["2026-01-01-global"]);
        assert_eq!(usage.movements, 1);
    }

    #[test]
    fn what_is_no_report_is_refused_with_the_place() {
        for (from, to, why) in [
            ("journal>", "diary>", "unexpected element `diary`"),
            ("<quantity>-1.5", "<quantity>many", "quantity \"many\""),
            ("<quantity>-1.5", "<quantity>nan", "quantity \"nan\""),
            ("<price>0.0</price>", "", "a movement without `price`"),
            (
                " type=\"Administration\"",
                "",
                "an arrow without the attribute",
            ),
            (
                "<currency></currency>",
                "",
                "a transaction without `currency`",
            ),
            (
                "<title>CPU</title>",
                "<script/>",
                "unexpected element `script` in a movement",
            ),
            ("</journal>", "", "not well-formed"),
        ] {
            let bad = GOOD.replace(from, to);
            assert_ne!(bad, GOOD, "{from}");
            let error = Usage::parse(&bad).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(Usage::parse("<journal/>").is_err());
        assert!(Usage::parse("").is_err());
    }
}
