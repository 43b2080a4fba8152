//! What is typed: fields with their texts, and how they are called.
//!
//! `p` is all parameters, `p.domain.name` a property, `p.list.0` a row. What stands behind a colon
//! is about the part itself: `p.list:rows` how many rows there are, `p.disk:which` which
//! alternative is chosen, `p.note:empty` that nothing is meant to be in it, `p.more:json` that it
//! is edited as JSON, `p:more` how many free rows there are, `p:key.0` the name of the first one,
//! `p:more.0` what is in it.

use std::collections::BTreeMap;
use std::fmt::Write;

/// The name of all parameters.
pub(super) const ROOT: &str = "p";
/// Most rows of one list.
pub(super) const ROWS_MAX: usize = 200;
/// Most fields of a form, and most bytes of all of them.
const FIELDS_MAX: usize = 10_000;
const BYTES_MAX: usize = 1 << 20;

/// The fields of a form with what is in them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::web) struct Values(BTreeMap<String, String>);

impl Values {
    /// Those of a form that was sent which are parameters. What is beyond all bounds is left out:
    /// no page of ours has as much.
    pub(in crate::web) fn of<'a>(form: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut values = Values::default();
        let mut bytes = 0;
        for (name, text) in form {
            let is_ours = name
                .strip_prefix(ROOT)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ':', '~']));
            bytes += name.len() + text.len();
            if is_ours && bytes <= BYTES_MAX && values.0.len() < FIELDS_MAX {
                values.set(name, text.to_owned());
            }
        }
        values
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Of something about a part: `about("p.list", "rows")`.
    pub(super) fn about(&self, name: &str, what: &str) -> Option<&str> {
        self.get(&about(name, what))
    }

    pub(super) fn set(&mut self, name: impl Into<String>, text: impl Into<String>) {
        self.0.insert(name.into(), text.into());
    }

    pub(super) fn extend(&mut self, others: Values) {
        self.0.extend(others.0);
    }

    pub(super) fn is_marked(&self, name: &str, what: &str) -> bool {
        self.about(name, what).is_some_and(|text| !text.is_empty())
    }

    /// How many rows a part has: `rows` of lists, `more` of free ones.
    pub(super) fn count(&self, name: &str, what: &str) -> Option<usize> {
        let count: usize = self.about(name, what)?.trim().parse().ok()?;
        Some(count.min(ROWS_MAX))
    }

    /// Whether something is in a part already.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0
            .range(name.to_owned()..)
            .take_while(|(key, _)| key.starts_with(name))
            .any(|(key, text)| belongs(key, name).is_some() && !text.is_empty())
    }

    /// Does what a button of the form asks for: `add p.list 1`, `add p:more 0` (how many there are
    /// now), `remove p.list.1`, `remove p:more.0`. Anything else changes nothing.
    pub(in crate::web) fn press(&mut self, button: &str) {
        let mut words = button.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("add"), Some(part), Some(count)) => {
                let Ok(count) = count.parse::<usize>() else {
                    return;
                };
                let next = (count + 1).min(ROWS_MAX).to_string();
                self.set(counter(part), next);
            }
            (Some("remove"), Some(row), Some(count)) => {
                if let (Some((part, index)), Ok(count)) = (row.rsplit_once('.'), count.parse())
                    && let Ok(index) = index.parse::<usize>()
                {
                    self.remove(part, index, count);
                }
            }
            _ => {}
        }
    }

    fn remove(&mut self, part: &str, index: usize, count: usize) {
        let count = count.min(ROWS_MAX);
        if index >= count {
            return;
        }
        let key_part = part.strip_suffix(":more").map(|of| about(of, "key"));
        let mut kept = BTreeMap::new();
        for (name, text) in std::mem::take(&mut self.0) {
            let moved = [Some(part), key_part.as_deref()]
                .into_iter()
                .flatten()
                .find_map(|part| moved(&name, part, index));
            match moved {
                None => kept.insert(name, text),
                Some(None) => None,
                Some(Some(name)) => kept.insert(name, text),
            };
        }
        self.0 = kept;
        self.set(counter(part), (count - 1).to_string());
    }
}

/// Where the fields of a row go when the row `gone` is taken out: `None` for what is of no row,
/// `Some(None)` for what goes with it.
fn moved(name: &str, part: &str, gone: usize) -> Option<Option<String>> {
    let rest = name.strip_prefix(part)?.strip_prefix('.')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (row, rest) = rest.split_at(digits);
    if !(rest.is_empty() || rest.starts_with(['.', ':', '~'])) {
        return None;
    }
    let row: usize = row.parse().ok()?;
    Some(match row.cmp(&gone) {
        std::cmp::Ordering::Less => Some(name.to_owned()),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(format!("{part}.{}{rest}", row - 1)),
    })
}

/// The field that counts the rows of a part.
fn counter(part: &str) -> String {
    if part.ends_with(":more") {
        part.to_owned()
    } else {
        about(part, "rows")
    }
}

fn belongs<'a>(key: &'a str, name: &str) -> Option<&'a str> {
    let rest = key.strip_prefix(name)?;
    (rest.is_empty() || rest.starts_with(['.', ':', '~'])).then_some(rest)
}

/// The name of something about a part.
pub(super) fn about(name: &str, what: &str) -> String {
    format!("{name}:{what}")
}

/// The name of a part of a part.
pub(super) fn below(name: &str, part: &str) -> String {
    let mut all = format!("{name}.");
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"_-".contains(&byte) {
            all.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(all, "%{byte:02X}");
        }
    }
    all
}

/// The name of a row.
pub(super) fn row(name: &str, index: usize) -> String {
    format!("{name}.{index}")
}
