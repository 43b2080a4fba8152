//! Names that were mistyped.

use crate::error::Error;

/// Most names that are proposed.
const PROPOSED_MAX: usize = 3;
/// How alike a name must be, of 1.
const ALIKE: f64 = 0.65;

/// The names that are most like this one, the likest first.
pub fn similar(name: &str, known: impl IntoIterator<Item = String>) -> Vec<String> {
    let lower = name.to_lowercase();
    let mut found: Vec<(f64, String)> = known
        .into_iter()
        .map(|candidate| {
            let other = candidate.to_lowercase();
            let likeness = if !lower.is_empty() && other.starts_with(&lower) {
                1.0
            } else {
                // The one knows beginnings, the other swapped letters.
                strsim::jaro_winkler(&lower, &other)
                    .max(strsim::normalized_damerau_levenshtein(&lower, &other))
            };
            (likeness, candidate)
        })
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    found.truncate(PROPOSED_MAX);
    found.into_iter().map(|(_, name)| name).collect()
}

impl Error {
    /// A name that nobody knows, and those that were perhaps meant.
    pub(crate) fn unknown_name(
        kind: &'static str,
        name: &str,
        known: impl IntoIterator<Item = String>,
    ) -> Error {
        Error::UnknownName {
            kind,
            name: name.to_owned(),
            similar: similar(name, known),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_names_find_what_was_meant() {
        let known = || ["kvm", "wordpress", "mysql-5.1", "Word Games"].map(str::to_owned);
        for (name, expected) in [
            ("wordpres", &["wordpress", "Word Games"][..]),
            ("word", &["Word Games", "wordpress"]),
            ("kmv", &["kvm"]),
            ("mysql", &["mysql-5.1"]),
            ("zzz", &[]),
            ("", &[]),
        ] {
            assert_eq!(similar(name, known()), expected, "{name:?}");
        }
    }
}
