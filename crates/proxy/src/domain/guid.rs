//! The instance references of the proxy's JSON API: `<title>___<root title>___<0|1>` (P 3.2).

use std::fmt;

/// A reference that names an instance by its title, its tree and whether it is shared. It changes
/// with a rename; it is empty in the middle for the root of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeGuid {
    /// The instance's title.
    pub title: String,
    /// The title of its tree's root; `None` when it is that root.
    pub root: Option<String>,
    /// Whether it is a shared instance.
    pub shared: bool,
}

const SEPARATOR: &str = "___";

impl TreeGuid {
    /// All readings of a text. Titles may hold the separator themselves, so there can be several;
    /// the most likely one comes first, and a text of another form has none.
    pub fn readings(text: &str) -> Vec<TreeGuid> {
        let Some((names, flag)) = text.rsplit_once(SEPARATOR) else {
            return Vec::new();
        };
        let shared = flag == "1";
        names
            .match_indices(SEPARATOR)
            .map(|(at, _)| TreeGuid {
                title: names[..at].to_owned(),
                root: Some(names[at + SEPARATOR.len()..].to_owned())
                    .filter(|root| !root.is_empty()),
                shared,
            })
            .collect()
    }
}

impl fmt::Display for TreeGuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{SEPARATOR}{}{SEPARATOR}{}",
            self.title,
            self.root.as_deref().unwrap_or_default(),
            u8::from(self.shared)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_among_the_readings() {
        for (title, root, shared) in [
            ("root2", None, false),
            ("child1", Some("x"), false),
            ("sh1", None, true),
            ("a___b", Some("c___d"), true),
            ("é/\"", Some("ü"), false),
        ] {
            let guid = TreeGuid {
                title: title.to_owned(),
                root: root.map(str::to_owned),
                shared,
            };
            assert!(
                TreeGuid::readings(&guid.to_string()).contains(&guid),
                "{guid}"
            );
        }
        assert_eq!(
            TreeGuid {
                title: "child1".into(),
                root: Some("x".into()),
                shared: false
            }
            .to_string(),
            "child1___x___0"
        );
    }

    #[test]
    fn other_texts_have_no_reading() {
        for text in ["", "nope", "a___b", "SOFTINST-1"] {
            assert_eq!(TreeGuid::readings(text), [], "{text}");
        }
    }
}
