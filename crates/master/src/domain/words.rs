//! The Master's words: keys of what it keeps, the references people and nodes know them by, and the
//! small closed vocabularies (roles, allocation scopes).
//!
//! A reference is derived from a primary key, `COMP-7` is the node with key 7. Keys are never used
//! twice, so neither are references. There is one spelling of each: `COMP-07`, `comp-7` and
//! `COMP-+7` are not references.

use std::fmt;
use std::str::FromStr;

/// A text that is no reference of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not the reference of {what}; it is written {form}")]
pub struct ReferenceMistake {
    /// What was given, cut to a printable length.
    pub given: String,
    what: &'static str,
    form: &'static str,
}

/// The number behind `prefix`, in its one spelling.
fn number(text: &str, prefix: &str) -> Option<i64> {
    let digits = text.strip_prefix(prefix)?.strip_prefix('-')?;
    // `i64::from_str` also takes a sign and leading zeros: second spellings of the same object.
    let canonical = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    if canonical { digits.parse().ok() } else { None }
}

fn mistake(given: &str, what: &'static str, form: &'static str) -> ReferenceMistake {
    ReferenceMistake {
        given: given.chars().take(80).collect(),
        what,
        form,
    }
}

macro_rules! key {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub i64);
    };
    ($(#[$meta:meta])* $name:ident, $prefix:literal, $what:literal) => {
        key!($(#[$meta])* $name);

        impl $name {
            /// What its references begin with, without the hyphen.
            pub const PREFIX: &'static str = $prefix;
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "-{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ReferenceMistake;

            fn from_str(text: &str) -> Result<Self, ReferenceMistake> {
                number(text, $prefix)
                    .map(Self)
                    .ok_or_else(|| mistake(text, $what, concat!("`", $prefix, "-<number>`")))
            }
        }
    };
}

key!(
    /// A node of either kind. It has no reference of its own: see [`NodeReference`].
    NodeKey
);
key!(
    /// A partition. Its reference, such as `slappart0`, is chosen by its node.
    PartitionKey
);
key!(
    /// A person. Its reference is its login name.
    PersonKey
);
key!(
    /// A software product. Its reference is chosen by its author.
    ProductKey
);
key!(
    /// A software release: the number its URL is kept under.
    ReleaseKey
);
key!(
    /// A proposal to change the release of an instance tree.
    DecisionKey
);
key!(
    /// An instance, shared or not.
    InstanceKey, "SOFTINST", "an instance"
);
key!(
    /// An instance tree.
    TreeKey, "HOSTSUBS", "an instance tree"
);
key!(
    /// A project.
    ProjectKey, "PROJ", "a project"
);
key!(
    /// A software installation: one release asked for on one node.
    InstallationKey, "SOFTINSTALL", "a software installation"
);
key!(
    /// A network that nodes belong to.
    NetworkKey, "NET", "a network"
);

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeKind {
    /// A machine that hosts instances.
    Compute,
    /// A gate to another project or another Master.
    Remote,
}

impl NodeKind {
    /// What the references of such nodes begin with, without the hyphen.
    pub fn prefix(self) -> &'static str {
        match self {
            NodeKind::Compute => "COMP",
            NodeKind::Remote => "REMOTE",
        }
    }

    /// The word it is stored under.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeKind::Compute => "compute",
            NodeKind::Remote => "remote",
        }
    }
}

impl FromStr for NodeKind {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "compute" => Ok(NodeKind::Compute),
            "remote" => Ok(NodeKind::Remote),
            _ => Err(UnknownWord::new(text, "`compute` or `remote`")),
        }
    }
}

impl NodeKey {
    /// The reference of the node, which is of that kind.
    pub fn reference(self, kind: NodeKind) -> NodeReference {
        NodeReference { kind, key: self }
    }
}

/// `COMP-7` or `REMOTE-7`: a node as the wire's `computer_guid` names it.
///
/// Both kinds share one sequence of keys. A look-up must compare the kind too: when node 7 is a
/// machine, `REMOTE-7` names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeReference {
    /// What the reference says the node is.
    pub kind: NodeKind,
    /// Which node.
    pub key: NodeKey,
}

impl fmt::Display for NodeReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kind.prefix(), self.key.0)
    }
}

impl FromStr for NodeReference {
    type Err = ReferenceMistake;

    fn from_str(text: &str) -> Result<Self, ReferenceMistake> {
        [NodeKind::Compute, NodeKind::Remote]
            .into_iter()
            .find_map(|kind| {
                let key = NodeKey(number(text, kind.prefix())?);
                Some(NodeReference { kind, key })
            })
            .ok_or_else(|| mistake(text, "a node", "`COMP-<number>` or `REMOTE-<number>`"))
    }
}

/// A word that is not of a closed vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not known; expected {expected}")]
pub struct UnknownWord {
    /// What was given, cut to a printable length.
    pub given: String,
    expected: &'static str,
}

impl UnknownWord {
    pub(super) fn new(given: &str, expected: &'static str) -> Self {
        UnknownWord {
            given: given.chars().take(80).collect(),
            expected,
        }
    }
}

/// What a person is in a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Uses the project: requests instances there.
    Member,
    /// Runs the project: its nodes, its products, its members.
    Manager,
}

impl Role {
    /// The word it is stored and shown under.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Manager => "manager",
            Role::Member => "member",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "manager" => Ok(Role::Manager),
            "member" => Ok(Role::Member),
            _ => Err(UnknownWord::new(text, "`manager` or `member`")),
        }
    }
}

/// Whether a node takes new instances, and why not (P 6.2).
///
/// Only [`Open`](AllocationScope::Open) takes any. None of the others touches the instances that
/// are on the node already: nothing is destroyed without an order for that very instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum AllocationScope {
    /// New instances are placed on it.
    #[default]
    Open,
    /// Closed by its owner.
    NoAllocation,
    /// Being emptied: its instances are to move away.
    Termination,
    /// Never to be opened again.
    Forever,
    /// Not heard of for so long that somebody has given it up.
    Outdated,
    /// Closed while somebody works on it.
    Maintenance,
}

impl AllocationScope {
    /// Every scope, in the order they are offered.
    pub const ALL: [AllocationScope; 6] = [
        AllocationScope::Open,
        AllocationScope::NoAllocation,
        AllocationScope::Termination,
        AllocationScope::Forever,
        AllocationScope::Outdated,
        AllocationScope::Maintenance,
    ];

    /// The word it is stored under and the wire uses.
    pub fn as_str(self) -> &'static str {
        match self {
            AllocationScope::Open => "open",
            AllocationScope::NoAllocation => "close/noallocation",
            AllocationScope::Termination => "close/termination",
            AllocationScope::Forever => "close/forever",
            AllocationScope::Outdated => "close/outdated",
            AllocationScope::Maintenance => "close/maintenance",
        }
    }
}

impl fmt::Display for AllocationScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AllocationScope {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        AllocationScope::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| {
                UnknownWord::new(
                    text,
                    "`open`, `close/noallocation`, `close/termination`, `close/forever`, \
                     `close/outdated` or `close/maintenance`",
                )
            })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn references_are_derived_from_keys_and_read_back() {
        for key in [1, 7, 328, i64::MAX] {
            assert_eq!(
                format!("SOFTINST-{key}").parse::<InstanceKey>().unwrap(),
                InstanceKey(key)
            );
            assert_eq!(InstanceKey(key).to_string(), format!("SOFTINST-{key}"));
            let tree = TreeKey(key);
            assert_eq!(tree.to_string().parse::<TreeKey>().unwrap(), tree);
            let project = ProjectKey(key);
            assert_eq!(project.to_string().parse::<ProjectKey>().unwrap(), project);
            let network = NetworkKey(key);
            assert_eq!(network.to_string().parse::<NetworkKey>().unwrap(), network);
            let installation = InstallationKey(key);
            assert_eq!(
                installation.to_string().parse::<InstallationKey>().unwrap(),
                installation
            );
            for kind in [NodeKind::Compute, NodeKind::Remote] {
                let node = NodeKey(key).reference(kind);
                assert_eq!(node.to_string().parse::<NodeReference>().unwrap(), node);
            }
        }
        let remote: NodeReference = "REMOTE-3".parse().unwrap();
        assert_eq!((remote.kind, remote.key), (NodeKind::Remote, NodeKey(3)));
    }

    #[test]
    fn a_reference_has_one_spelling() {
        for bad in [
            "",
            "COMP",
            "COMP-",
            "COMP-0",
            "COMP-07",
            "COMP-+7",
            "COMP--7",
            "COMP-7 ",
            " COMP-7",
            "comp-7",
            "COMP-7x",
            "COMP-٧",
            "COMP-9223372036854775808",
            "SOFTINST-7",
            "REMOTE",
        ] {
            assert!(bad.parse::<NodeReference>().is_err(), "{bad:?}");
        }
        // One prefix begins another.
        assert!("SOFTINSTALL-7".parse::<InstanceKey>().is_err());
        assert!("SOFTINST-7".parse::<InstallationKey>().is_err());
    }

    #[test]
    fn a_mistake_says_what_was_given_and_how_it_is_written() {
        assert_eq!(
            "PROJ-x".parse::<ProjectKey>().unwrap_err().to_string(),
            "\"PROJ-x\" is not the reference of a project; it is written `PROJ-<number>`"
        );
        let long = "é".repeat(5000).parse::<NodeReference>().unwrap_err();
        assert!(long.to_string().len() < 400);
    }

    #[test]
    fn every_word_reads_back() {
        for scope in AllocationScope::ALL {
            assert_eq!(scope.as_str().parse::<AllocationScope>().unwrap(), scope);
        }
        for role in [Role::Manager, Role::Member] {
            assert_eq!(role.as_str().parse::<Role>().unwrap(), role);
        }
        for kind in [NodeKind::Compute, NodeKind::Remote] {
            assert_eq!(kind.as_str().parse::<NodeKind>().unwrap(), kind);
        }
        assert!("close".parse::<AllocationScope>().is_err());
        assert!("Open".parse::<AllocationScope>().is_err());
        assert!("owner".parse::<Role>().is_err());
    }
}
