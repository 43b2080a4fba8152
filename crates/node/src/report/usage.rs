//! Usage reports: what instances say they consumed, as one journal for the Master (N 3.4, P 6.12).
//! No I/O.

use std::time::SystemTime;

use quick_xml::Reader;
use quick_xml::events::Event;

use crate::time;

/// Most movements of one file.
const MOVEMENTS_MAX: usize = 10_000;

/// One thing consumed: its elements in order, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Movement(Vec<(String, String)>);

/// Elements every movement has, and whether each is a number.
const REQUIRED: &[(&str, bool)] = &[
    ("resource", false),
    ("quantity", true),
    ("price", true),
    ("VAT", false),
];

/// Reads a partition's consumption file; the error says what is wrong with it.
pub(crate) fn read_consumption(document: &[u8]) -> Result<Vec<Movement>, String> {
    let movements = movements(document, "consumption")?;
    for movement in &movements {
        for (name, is_number) in REQUIRED {
            let value = movement
                .0
                .iter()
                .find(|(found, _)| found == name)
                .map(|(_, value)| value.trim())
                .ok_or_else(|| format!("a movement has no <{name}>"))?;
            if *is_number && !value.parse::<f64>().is_ok_and(f64::is_finite) {
                return Err(format!("<{name}> is `{value}`, which is no number"));
            }
        }
    }
    Ok(movements)
}

/// Checks that a node's own journal is one.
pub(crate) fn check_journal(document: &[u8]) -> Result<(), String> {
    movements(document, "journal").map(drop)
}

/// All `<movement>` elements of a document with this root, at any depth.
fn movements(document: &[u8], root: &str) -> Result<Vec<Movement>, String> {
    let text = std::str::from_utf8(document).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let mut reader = Reader::from_str(text);
    let mut found = Vec::new();
    let mut path: Vec<String> = Vec::new();
    loop {
        let event = reader
            .read_event()
            .map_err(|error| format!("it is not XML: {error}"))?;
        match event {
            Event::Start(tag) => {
                let name = tag.name().as_ref().to_owned();
                enter(&name, &path, root, &mut found)?;
                path.push(name);
            }
            Event::Empty(tag) => {
                let name = tag.name().as_ref().to_owned();
                enter(&name, &path, root, &mut found)?;
            }
            Event::End(_) => {
                path.pop();
            }
            Event::Text(text) => {
                append(&text, &path, &mut found);
            }
            Event::CData(data) => {
                append(&data, &path, &mut found);
            }
            Event::GeneralRef(reference) => {
                let resolved = match reference.resolve_char_ref() {
                    Ok(Some(character)) => character.to_string(),
                    _ => match reference.as_ref() {
                        "lt" => "<".to_owned(),
                        "gt" => ">".to_owned(),
                        "amp" => "&".to_owned(),
                        "quot" => "\"".to_owned(),
                        "apos" => "'".to_owned(),
                        _ => return Err("it uses an entity, which is not accepted".to_owned()),
                    },
                };
                append(&resolved, &path, &mut found);
            }
            Event::DocType(_) => return Err("it has a DOCTYPE, which is not accepted".to_owned()),
            Event::Eof => break,
            _ => {}
        }
    }
    if !path.is_empty() {
        return Err("it ends too early".to_owned());
    }
    if found.is_empty() {
        return Err("it has no <movement>".to_owned());
    }
    Ok(found)
}

fn enter(name: &str, path: &[String], root: &str, found: &mut Vec<Movement>) -> Result<(), String> {
    if path.is_empty() && name != root {
        return Err(format!("its root is <{name}> instead of <{root}>"));
    }
    if path.len() > 10 {
        return Err("its elements are nested too deeply".to_owned());
    }
    if name == "movement" && !path.is_empty() {
        if found.len() >= MOVEMENTS_MAX {
            return Err(format!("it has more than {MOVEMENTS_MAX} movements"));
        }
        found.push(Movement(Vec::new()));
    } else if path.last().is_some_and(|parent| parent == "movement")
        && let Some(movement) = found.last_mut()
    {
        movement.0.push((name.to_owned(), String::new()));
    }
    Ok(())
}

fn append(text: &str, path: &[String], found: &mut [Movement]) {
    let inside = path.len() >= 2 && path[path.len() - 2] == "movement";
    if inside && let Some((_, value)) = found.last_mut().and_then(|movement| movement.0.last_mut())
    {
        value.push_str(text);
    }
}

/// One journal of everything the partitions consumed; each movement refers to its partition.
pub(crate) fn journal(node: &str, movements: &[(String, Movement)], now: SystemTime) -> String {
    let mut out = format!(
        "<?xml version=\"1.0\"?><journal><transaction type=\"Sale Packing List\">\
         <title>Resource consumptions</title><start_date></start_date>\
         <stop_date>{}</stop_date><reference>{}</reference><currency></currency>\
         <payment_mode></payment_mode><category></category>\
         <arrow type=\"Administration\"><source></source><destination></destination></arrow>",
        time::local_at(now),
        escape(node)
    );
    for (partition, movement) in movements {
        out.push_str("<movement>");
        let mut referred = false;
        for (name, value) in &movement.0 {
            let value = if name == "reference" {
                referred = true;
                partition
            } else {
                value
            };
            out.push_str(&format!("<{name}>{}</{name}>", escape(value)));
            if name == "resource" && !movement.0.iter().any(|(name, _)| name == "reference") {
                referred = true;
                out.push_str(&format!("<reference>{}</reference>", escape(partition)));
            }
        }
        if !referred {
            out.push_str(&format!("<reference>{}</reference>", escape(partition)));
        }
        out.push_str("</movement>");
    }
    out.push_str("</transaction></journal>");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = "<?xml version='1.0'?><consumption><movement><resource>cpu</resource>\
        <title>a &amp; b</title><reference>anything</reference><quantity>42.5</quantity>\
        <price>0.0</price><VAT></VAT><category>x</category></movement></consumption>";

    #[test]
    fn consumption_becomes_a_journal_that_names_the_partition() {
        let movements = read_consumption(GOOD.as_bytes()).unwrap();
        let movements: Vec<_> = movements
            .into_iter()
            .map(|movement| ("slappart0".to_owned(), movement))
            .collect();
        let text = journal("COMP-<1>", &movements, SystemTime::UNIX_EPOCH);
        assert!(text.contains("<reference>COMP-&lt;1&gt;</reference>"));
        assert!(text.contains(
            "<movement><resource>cpu</resource><title>a &amp; b</title>\
             <reference>slappart0</reference><quantity>42.5</quantity>"
        ));
        check_journal(text.as_bytes()).unwrap();
    }

    #[test]
    fn what_is_no_consumption_is_refused() {
        for (text, message) in [
            ("", "it has no <movement>"),
            ("<a/>", "its root is <a> instead of <consumption>"),
            ("<consumption/>", "it has no <movement>"),
            (
                "<consumption><movement/></consumption>",
                "a movement has no <resource>",
            ),
            ("<consumption><movement>", "it ends too early"),
            (
                "<!DOCTYPE x><consumption/>",
                "it has a DOCTYPE, which is not accepted",
            ),
            (
                "<consumption>&x;</consumption>",
                "it uses an entity, which is not accepted",
            ),
        ] {
            assert_eq!(
                read_consumption(text.as_bytes()).unwrap_err(),
                message,
                "{text}"
            );
        }
        let text = GOOD.replace("42.5", "much");
        assert_eq!(
            read_consumption(text.as_bytes()).unwrap_err(),
            "<quantity> is `much`, which is no number"
        );
    }
}
