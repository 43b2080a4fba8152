//! Typed references: a node's name cannot be passed where a partition's is wanted.

use std::fmt;
use std::str::FromStr;

/// Why a text cannot be a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It is empty.
    #[error("{what} is empty")]
    Empty {
        /// What it should have been.
        what: &'static str,
    },
    /// It is longer than anything sensible.
    #[error("{what} has {length} characters; at most {limit} are accepted")]
    TooLong {
        /// What it should have been.
        what: &'static str,
        /// Its length in characters.
        length: usize,
        /// The most that is accepted.
        limit: usize,
    },
    /// It holds a character that cannot be stored, shown or sent safely.
    #[error("{what} {text:?} holds a character that is not allowed: {character:?}")]
    BadCharacter {
        /// What it should have been.
        what: &'static str,
        /// The whole text.
        text: String,
        /// The first offending character.
        character: char,
    },
    /// It cannot be the name of a directory.
    #[error("{what} {text:?} cannot be the name of a directory")]
    NotAFileName {
        /// What it should have been.
        what: &'static str,
        /// The whole text.
        text: String,
    },
}

/// Longest reference, in characters. URLs included.
pub const REFERENCE_CHARS_MAX: usize = 2000;

/// Longest instance title, in characters (P 3.1).
pub const TITLE_CHARS_MAX: usize = 200;

fn check(what: &'static str, text: &str, limit: usize) -> Result<(), ReferenceError> {
    if text.is_empty() {
        return Err(ReferenceError::Empty { what });
    }
    let length = text.chars().count();
    if length > limit {
        return Err(ReferenceError::TooLong {
            what,
            length,
            limit,
        });
    }
    // The last two are no control characters, yet XML cannot carry them either.
    let bad =
        |character: &char| character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}');
    match text.chars().find(bad) {
        Some(character) => Err(ReferenceError::BadCharacter {
            what,
            text: text.to_owned(),
            character,
        }),
        None => Ok(()),
    }
}

fn check_file_name(what: &'static str, text: &str) -> Result<(), ReferenceError> {
    check(what, text, 128)?;
    if text.contains('/') || text == "." || text == ".." {
        return Err(ReferenceError::NotAFileName {
            what,
            text: text.to_owned(),
        });
    }
    Ok(())
}

macro_rules! reference {
    ($(#[$meta:meta])* $name:ident, $check:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Checks the text and takes it as a reference.
            pub fn new(text: impl Into<String>) -> Result<Self, ReferenceError> {
                let text = text.into();
                let check: fn(&str) -> Result<(), ReferenceError> = $check;
                check(&text)?;
                Ok(Self(text))
            }

            /// The reference as the wire writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ReferenceError;
            fn from_str(text: &str) -> Result<Self, ReferenceError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl From<$name> for String {
            fn from(reference: $name) -> String {
                reference.0
            }
        }
    };
}

reference!(
    /// A compute node, such as `COMP-1234` (the wire's `computer_guid`).
    NodeId,
    |text| check("a compute node's reference", text, REFERENCE_CHARS_MAX)
);
reference!(
    /// A partition of a compute node, such as `slappart0`. It names a directory.
    PartitionId,
    |text| check_file_name("a partition's reference", text)
);
reference!(
    /// An instance, such as `SOFTINST-7`, or `local_computer-slappart0` with a proxy.
    InstanceGuid,
    |text| check("an instance's reference", text, REFERENCE_CHARS_MAX)
);
reference!(
    /// The title an instance is requested under, unique in its tree.
    InstanceTitle,
    |text| check("an instance's title", text, TITLE_CHARS_MAX)
);
reference!(
    /// A software release: the URL or local path of a buildout profile, taken verbatim.
    ReleaseUrl,
    |text| check("a software release's URL", text, REFERENCE_CHARS_MAX)
);
reference!(
    /// A software product in a Master's catalogue.
    ProductReference,
    |text| check("a software product's reference", text, REFERENCE_CHARS_MAX)
);

/// The kind of instance a release is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SoftwareType(String);

impl SoftwareType {
    /// Takes a software type; an empty one is the default type.
    ///
    /// # Errors
    /// [`ReferenceError`] when the text is too long or holds control characters.
    pub fn new(text: impl Into<String>) -> Result<Self, ReferenceError> {
        let text = text.into();
        if text.is_empty() {
            return Ok(Self::default());
        }
        check("a software type", &text, REFERENCE_CHARS_MAX)?;
        Ok(Self(text))
    }

    /// The type as the wire writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for SoftwareType {
    /// The type a request has when none is named (P 2.1).
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl fmt::Display for SoftwareType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SoftwareType {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_partition_is_a_directory_name() {
        assert!(PartitionId::new("slappart0").is_ok());
        for bad in ["", ".", "..", "a/b", "a\0b", "a\nb", "a\u{ffff}"] {
            assert!(PartitionId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn titles_are_bounded_in_characters_not_bytes() {
        assert!(InstanceTitle::new("é".repeat(200)).is_ok());
        assert!(InstanceTitle::new("é".repeat(201)).is_err());
    }

    #[test]
    fn an_absent_software_type_is_the_default_one() {
        assert_eq!(SoftwareType::new("").unwrap().as_str(), "default");
        assert_eq!(
            SoftwareType::new("RootSoftwareInstance").unwrap().as_str(),
            "RootSoftwareInstance"
        );
    }
}
