//! Which nodes' documents may have changed: lets the HTTP side keep ready bytes.

use std::collections::{HashMap, HashSet};
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// The nodes whose documents a transaction changes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    nodes: HashSet<String>,
}

impl Changes {
    /// Notes that the document of a node changes.
    pub(super) fn node(&mut self, reference: &str) {
        if !self.nodes.contains(reference) {
            self.nodes.insert(reference.to_owned());
        }
    }

    pub(super) fn merge(&mut self, other: Changes) {
        self.nodes.extend(other.nodes);
    }
}

/// A node's revision: rises with every committed change of its document. Held in memory only: one
/// process owns the database.
#[derive(Debug, Default)]
pub(super) struct Revisions {
    nodes: RwLock<HashMap<String, u64>>,
    total: AtomicU64,
    /// Wakes who waits for any change.
    changed: watch::Sender<()>,
}

impl Revisions {
    /// The revision of one node's document. What is read from the database *after* this call is at
    /// least as new as the number returned.
    pub(super) fn of_node(&self, reference: &str) -> u64 {
        self.nodes
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .get(reference)
            .copied()
            .unwrap_or_default()
    }

    /// A number that rises whenever any node's document changes.
    pub(super) fn total(&self) -> u64 {
        self.total.load(Ordering::Acquire)
    }

    /// Changes of any node's document from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(super) fn bump(&self, changes: &Changes) {
        if changes.nodes.is_empty() {
            return;
        }
        let mut nodes = self
            .nodes
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for node in &changes.nodes {
            *nodes.entry(node.clone()).or_default() += 1;
        }
        self.total.fetch_add(1, Ordering::AcqRel);
        drop(nodes);
        self.changed.send_replace(());
    }
}
