//! Who is who: login names, what tokens are for, who certificates speak for (P 5).

use std::fmt;
use std::str::FromStr;

use super::words::{InstanceKey, NodeReference, PersonKey, UnknownWord};

/// The longest login name, in bytes.
pub const LOGIN_MAX: usize = 64;

/// The name a person signs in with. Letters are small, so each has one spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Login(String);

/// A text that is no login name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not a login name: it is 1 to 64 of a-z, 0-9 and . _ - + @, and begins with a \
     letter or a digit"
)]
pub struct LoginMistake {
    /// What was given, cut to a printable length.
    pub given: String,
}

impl Login {
    /// As it is stored and shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Login {
    type Err = LoginMistake;

    /// Capital letters and white space around it are forgiven.
    fn from_str(text: &str) -> Result<Self, LoginMistake> {
        let plain = text.trim();
        let mut bytes = plain.bytes();
        let begins = bytes
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        let goes_on = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte));
        if begins && goes_on && plain.len() <= LOGIN_MAX {
            Ok(Login(plain.to_ascii_lowercase()))
        } else {
            Err(LoginMistake {
                given: text.chars().take(80).collect(),
            })
        }
    }
}

/// What a one-time token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenPurpose {
    /// A certificate for its person (`Person_getCertificate`).
    Client,
    /// A certificate for a compute node (`Person_requestComputer`).
    Node,
    /// Either of both, once.
    Any,
    /// Setting its person's password.
    Password,
}

impl TokenPurpose {
    /// Every purpose.
    pub const ALL: [TokenPurpose; 4] = [
        TokenPurpose::Client,
        TokenPurpose::Node,
        TokenPurpose::Any,
        TokenPurpose::Password,
    ];

    /// The word it is stored and shown under.
    pub fn as_str(self) -> &'static str {
        match self {
            TokenPurpose::Client => "client",
            TokenPurpose::Node => "node",
            TokenPurpose::Any => "any",
            TokenPurpose::Password => "password",
        }
    }

    /// Whether a token made for this purpose may be used for that.
    pub fn covers(self, wanted: TokenPurpose) -> bool {
        self == wanted
            || (self == TokenPurpose::Any
                && matches!(wanted, TokenPurpose::Client | TokenPurpose::Node))
    }
}

impl fmt::Display for TokenPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TokenPurpose {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        TokenPurpose::ALL
            .into_iter()
            .find(|purpose| purpose.as_str() == text)
            .ok_or_else(|| UnknownWord::new(text, "`client`, `node`, `any` or `password`"))
    }
}

/// Who a certificate speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CertificateOwner {
    /// A person.
    Person(PersonKey),
    /// A compute node.
    Node(NodeReference),
    /// An instance that is not shared.
    Instance(InstanceKey),
}

impl CertificateOwner {
    /// The word its kind is stored under.
    pub fn kind(self) -> &'static str {
        match self {
            CertificateOwner::Person(_) => "person",
            CertificateOwner::Node(_) => "node",
            CertificateOwner::Instance(_) => "instance",
        }
    }

    /// Its key among those of its kind.
    pub fn key(self) -> i64 {
        match self {
            CertificateOwner::Person(person) => person.0,
            CertificateOwner::Node(node) => node.key.0,
            CertificateOwner::Instance(instance) => instance.0,
        }
    }
}

impl fmt::Display for CertificateOwner {
    /// A reference; for persons one that certificates can bear, unlike a login name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateOwner::Person(person) => write!(f, "PERSON-{}", person.0),
            CertificateOwner::Node(node) => node.fmt(f),
            CertificateOwner::Instance(instance) => instance.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_login_has_one_spelling() {
        for (given, expected) in [
            ("ada", "ada"),
            (" Ada.Lovelace@Example.ORG\n", "ada.lovelace@example.org"),
            ("7", "7"),
            ("a+b_c-d", "a+b_c-d"),
        ] {
            assert_eq!(given.parse::<Login>().unwrap().as_str(), expected);
        }
        let long = "a".repeat(65);
        for bad in ["", " ", ".a", "-a", "a b", "a/b", "é", "a\0", "a\nb", &long] {
            assert!(bad.parse::<Login>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(64).parse::<Login>().is_ok());
        assert!(
            "é".repeat(5000)
                .parse::<Login>()
                .unwrap_err()
                .to_string()
                .len()
                < 400
        );
    }

    #[test]
    fn a_token_is_for_what_it_was_made_for() {
        use TokenPurpose::{Any, Client, Node, Password};
        let allowed = [
            (Client, Client),
            (Node, Node),
            (Any, Client),
            (Any, Node),
            (Any, Any),
            (Password, Password),
        ];
        for made in TokenPurpose::ALL {
            assert_eq!(made.as_str().parse::<TokenPurpose>().unwrap(), made);
            for wanted in TokenPurpose::ALL {
                assert_eq!(
                    made.covers(wanted),
                    allowed.contains(&(made, wanted)),
                    "{made} for {wanted}"
                );
            }
        }
    }
}
