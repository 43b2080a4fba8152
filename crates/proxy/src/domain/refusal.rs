//! Why the Master does not do what it was asked, in words for the one who asked.

use slap::Value;
use slap::python;
use slap::reference::ReferenceError;

/// A request that is understood and not granted. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing to show yet, or any more (the wire's 408).
    #[error("The instance {title} does not exist and its destruction creates nothing")]
    NotCreated {
        /// The title asked for.
        title: String,
    },
    /// No free partition on the node. The wording is upstream's: recipes and people know it.
    #[error("No free computer partition found for: {title}")]
    NoFreePartition {
        /// The title asked for.
        title: String,
    },
    /// No instance that could host a shared one. The wording is upstream's.
    #[error("No partition corresponding to slave request: {}", wish_text(.wish))]
    NoHost {
        /// Release, node, software type and, where one was named, the host's reference.
        wish: Vec<String>,
    },
    /// A partition nobody has described.
    #[error("Unknown partition {} on {}", quoted(.partition), quoted(.node))]
    UnknownPartition {
        /// The node named.
        node: String,
        /// The partition named.
        partition: String,
    },
    /// A partition without an instance.
    #[error("No instance on partition {partition} of {node}")]
    NoInstance {
        /// The node named.
        node: String,
        /// The partition named.
        partition: String,
    },
    /// A node nobody has described.
    #[error("Unknown computer {}", quoted(.node))]
    UnknownNode {
        /// The node named.
        node: String,
    },
    /// A shared instance the partition does not host.
    #[error("No shared instance {} on partition {partition} of {node}", quoted(.reference))]
    UnknownShared {
        /// The node named.
        node: String,
        /// The partition named.
        partition: String,
        /// The reference named.
        reference: String,
    },
    /// Another instance of the tree already has the title.
    #[error("Another instance of the same tree is already named {}", quoted(.title))]
    TitleTaken {
        /// The title wanted.
        title: String,
    },
    /// The destruction of an instance was reported that nobody asked to destroy.
    #[error("Not destroying {title}: its destruction was not requested (it shall be {state})")]
    DestructionNotRequested {
        /// The instance.
        title: String,
        /// What it shall be.
        state: &'static str,
    },
    /// A parent whose children are still there. The wording is upstream's.
    #[error(
        "Not destroying yet because this partition has child partitions: {}",
        .children.join(", ")
    )]
    HasChildren {
        /// The children's titles; they are now asked to be destroyed.
        children: Vec<String>,
    },
    /// A text that cannot be a reference, a title or a release.
    #[error("{0}")]
    Reference(#[from] ReferenceError),
}

fn quoted(text: &str) -> String {
    python::repr(&Value::text(text))
}

fn wish_text(wish: &[String]) -> String {
    python::repr(&Value::List(wish.iter().map(Value::text).collect()))
}
