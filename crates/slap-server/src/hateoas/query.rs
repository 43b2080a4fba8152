//! The queries clients send (P 4.3, 4.5).
//!
//! A query names kinds of documents, asks for those that are valid, and has at most one condition:
//! `portal_type:"Instance Tree" AND validation_state:validated AND title:="X"`. Upstream's clients
//! paste titles between the quotes as they are, so a value goes up to the last quote.

/// Longest query, in bytes.
pub const QUERY_BYTES_MAX: usize = 16 << 10;

/// Most values that one [`Quoted`] text may mean.
pub const VALUES_MAX: usize = 2;

/// What a query asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query<'a> {
    /// Instance trees, all or those of one title.
    Trees(Option<Quoted<'a>>),
    /// Compute nodes, all or the one of a reference.
    Nodes(Option<Quoted<'a>>),
    /// The instances of a tree, by its title.
    Instances(Quoted<'a>),
    /// The software installations on a node, by its reference.
    Installations(Quoted<'a>),
}

/// A value between quotes. It may be pasted as it is, as upstream's clients do, or with quotes and
/// backslashes escaped, as the query language wants it and our client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted<'a>(&'a str);

impl<'a> Quoted<'a> {
    /// A text as it stands between the quotes.
    pub fn new(between_quotes: &'a str) -> Self {
        Quoted(between_quotes)
    }

    /// The value if it was pasted as it is.
    pub fn pasted(self) -> &'a str {
        self.0
    }

    /// What the value may be: pasted first, then unescaped where that differs.
    pub fn values(self) -> Vec<String> {
        let mut unescaped = String::with_capacity(self.0.len());
        let mut characters = self.0.chars();
        while let Some(character) = characters.next() {
            unescaped.push(match character {
                '\\' => characters.next().unwrap_or(character),
                other => other,
            });
        }
        let mut values = vec![self.0.to_owned()];
        if unescaped != self.0 {
            values.push(unescaped);
        }
        values
    }

    /// Whether it may mean this text.
    pub fn means(self, text: &str) -> bool {
        self.values().iter().any(|value| value == text)
    }

    /// A text as the query language wants it, with its quotes.
    pub fn escape(text: &str) -> String {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tree,
    Node,
    Instance,
    Installation,
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            // The second names are those of older clients.
            "Instance Tree" | "Hosting Subscription" => Kind::Tree,
            "Compute Node" | "Computer" => Kind::Node,
            "Software Instance" | "Slave Instance" => Kind::Instance,
            "Software Installation" => Kind::Installation,
            _ => return None,
        })
    }

    /// What its documents are looked up by.
    fn key(self) -> &'static str {
        match self {
            Kind::Tree => "title",
            Kind::Node => "reference",
            Kind::Instance => "default_specialise_title",
            Kind::Installation => "default_aggregate_reference",
        }
    }
}

const VALIDATED: &str = "validation_state:validated";
const VALIDATED_QUOTED: &str = "validation_state:\"validated\"";

impl<'a> Query<'a> {
    /// Understands a query; `None` for one that clients do not send, which is a bad request.
    pub fn parse(query: &'a str) -> Option<Self> {
        if query.len() > QUERY_BYTES_MAX {
            return None;
        }
        let (kind, rest) = kind(query.trim().strip_prefix("portal_type:")?)?;
        let value = condition(rest, kind.key())?;
        match (kind, value) {
            (Kind::Tree, title) => Some(Query::Trees(title)),
            (Kind::Node, reference) => Some(Query::Nodes(reference)),
            (Kind::Instance, title) => title.map(Query::Instances),
            (Kind::Installation, reference) => reference.map(Query::Installations),
        }
    }
}

/// The kind of documents at the beginning, and the rest. The two kinds of instances go together
/// only.
fn kind(text: &str) -> Option<(Kind, &str)> {
    let quoted = |text: &str| -> Option<(Kind, usize)> {
        let name = text.strip_prefix('"')?;
        let end = name.find('"')?;
        Some((Kind::named(&name[..end])?, end + 2))
    };
    let Some(list) = text.strip_prefix('(') else {
        let (kind, end) = quoted(text)?;
        return (kind != Kind::Instance).then_some((kind, &text[end..]));
    };
    let (list, rest) = list.split_once(')')?;
    let mut kinds = list.split(',').map(|item| {
        let item = item.trim();
        quoted(item).filter(|(_, end)| *end == item.len())
    });
    let (kind, _) = kinds.next()??;
    kinds
        .all(|other| other.is_some_and(|(other, _)| other == kind))
        .then_some((kind, rest))
}

/// The one value asked for, if any; `None` when the conditions are others, or do not ask for valid
/// documents only.
fn condition<'a>(conditions: &'a str, key: &str) -> Option<Option<Quoted<'a>>> {
    let mut rest = conditions;
    let mut validated = false;
    loop {
        if rest.trim().is_empty() {
            return validated.then_some(None);
        }
        rest = and(rest)?;
        if let Some(after) = [VALIDATED, VALIDATED_QUOTED]
            .into_iter()
            .find_map(|condition| rest.strip_prefix(condition))
        {
            validated = true;
            rest = after;
            continue;
        }
        // The value is the last condition, or the last but one.
        let mut value = rest.strip_prefix(key)?.strip_prefix(":=\"")?.trim_end();
        if !validated {
            value = value.strip_suffix(VALIDATED)?.trim_end();
            value = value.strip_suffix("AND")?.trim_end();
        }
        return value.strip_suffix('"').map(|value| Some(Quoted(value)));
    }
}

/// What follows the next `AND`.
fn and(text: &str) -> Option<&str> {
    let word = text.trim_start();
    let after = word.strip_prefix("AND")?;
    let next = after.trim_start();
    // Both sides of the word are free.
    (word.len() < text.len() && next.len() < after.len()).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TREES: &str = "portal_type:\"Instance Tree\" AND validation_state:validated";

    #[test]
    fn titles_are_found_pasted_or_escaped() {
        assert_eq!(Quoted("a b").values(), ["a b"]);
        assert_eq!(Quoted("a\"b").values(), ["a\"b"]);
        assert_eq!(Quoted("a\\\"b\\\\c").values(), ["a\\\"b\\\\c", "a\"b\\c"]);
        assert_eq!(Quoted("end\\").values(), ["end\\"]);
        assert!(Quoted("a\\\"b").means("a\"b"));
        assert!(Quoted("a\\\"b").means("a\\\"b"));
        assert!(!Quoted("a").means("b"));
    }

    #[test]
    fn the_queries_clients_send() {
        assert_eq!(Query::parse(TREES), Some(Query::Trees(None)));
        for title in ["X", "a\"b", "a/b", "", "x AND title:=\"y", "é b", "\"", " "] {
            assert_eq!(
                Query::parse(&format!("{TREES} AND title:=\"{title}\"")),
                Some(Query::Trees(Some(Quoted(title))))
            );
        }
        for (query, expected) in [
            (
                "portal_type:\"Hosting Subscription\" AND validation_state:validated",
                Query::Trees(None),
            ),
            (
                "portal_type:\"Computer\" AND validation_state:validated",
                Query::Nodes(None),
            ),
            (
                "portal_type:\"Compute Node\" AND validation_state:validated AND reference:=\"C-1\"",
                Query::Nodes(Some(Quoted("C-1"))),
            ),
            (
                "portal_type:(\"Software Instance\", \"Slave Instance\") AND \
                 validation_state:validated AND default_specialise_title:=\"T\"",
                Query::Instances(Quoted("T")),
            ),
            (
                "portal_type:\"Software Installation\" AND validation_state:validated AND \
                 default_aggregate_reference:=\"C-1\"",
                Query::Installations(Quoted("C-1")),
            ),
            // As nobody sends them yet, but means the same.
            (
                " portal_type:(\"Compute Node\")  AND  validation_state:\"validated\" ",
                Query::Nodes(None),
            ),
            (
                "portal_type:(\"Slave Instance\",\"Software Instance\") AND \
                 default_specialise_title:=\"a AND b\" AND validation_state:validated",
                Query::Instances(Quoted("a AND b")),
            ),
        ] {
            assert_eq!(Query::parse(query), Some(expected), "{query}");
        }
    }

    #[test]
    fn other_queries_are_not_understood() {
        let long = format!("{TREES} AND title:=\"{}\"", "x".repeat(QUERY_BYTES_MAX));
        for query in [
            "",
            "zz",
            "portal_type:",
            "portal_type:\"Instance Tree",
            "portal_type:\"Instance Tree\"",
            "portal_type:\"Person\" AND validation_state:validated",
            "portal_type:\"Software Instance\" AND validation_state:validated AND \
             default_specialise_title:=\"x\"",
            "portal_type:(\"Instance Tree\", \"Computer\") AND validation_state:validated",
            "portal_type:(\"Instance Tree\" x) AND validation_state:validated",
            "portal_type:() AND validation_state:validated",
            "portal_type:\"Instance Tree\" AND validation_state:draft",
            "portal_type:\"Instance Tree\" AND validation_state:validatedx",
            "portal_type:\"Instance Tree\"AND validation_state:validated",
            "portal_type:\"Instance Tree\" AND title:=\"x\"",
            "portal_type:\"Instance Tree\" AND validation_state:validated AND reference:=\"x\"",
            "portal_type:\"Instance Tree\" AND validation_state:validated AND title:=\"x",
            "portal_type:\"Instance Tree\" AND validation_state:validated AND title:=\"",
            "portal_type:\"Software Installation\" AND validation_state:validated",
            &long,
        ] {
            assert_eq!(Query::parse(query), None, "{query}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_understood_or_not(text in ".{0,200}") {
            let _ = Query::parse(&text);
            let _ = Query::parse(&format!("portal_type:{text}"));
            let _ = Query::parse(&format!("{TREES}{text}"));
        }

        #[test]
        fn any_title_is_found_pasted(title in "(?s).{0,200}") {
            let query = format!("{TREES} AND title:=\"{title}\"");
            let found = Query::parse(&query);
            prop_assert_eq!(found, Some(Query::Trees(Some(Quoted(&title)))));
            prop_assert!(Quoted(&title).means(&title));
        }

        #[test]
        fn any_title_is_found_escaped(title in "(?s).{0,200}") {
            let query = format!("{TREES} AND title:={}", Quoted::escape(&title));
            match Query::parse(&query) {
                Some(Query::Trees(Some(found))) => {
                    prop_assert!(found.means(&title));
                    prop_assert!(found.values().len() <= VALUES_MAX);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
