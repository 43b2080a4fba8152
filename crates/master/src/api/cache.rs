//! Ready bytes of what nodes and recipes ask for again and again, kept as long as nothing changed
//! that they tell of.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use axum::body::Bytes;

/// Nodes whose documents are kept. When there are more, all are forgotten and built anew.
const NODES_MAX: usize = 4096;

#[derive(Default)]
struct NodeDocuments {
    revision: u64,
    whole: Option<Bytes>,
    partitions: HashMap<String, Bytes>,
}

/// The documents, by node.
#[derive(Default)]
pub(crate) struct Documents {
    nodes: RwLock<HashMap<String, NodeDocuments>>,
}

impl Documents {
    /// A document made at this revision: the whole node's, or one partition's.
    pub(crate) fn get(&self, node: &str, partition: Option<&str>, revision: u64) -> Option<Bytes> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let documents = nodes.get(node)?;
        if documents.revision != revision {
            return None;
        }
        match partition {
            None => documents.whole.clone(),
            Some(partition) => documents.partitions.get(partition).cloned(),
        }
    }

    /// Keeps a document that was read after its node had this revision.
    pub(crate) fn put(&self, node: &str, partition: Option<&str>, revision: u64, document: Bytes) {
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if nodes.len() >= NODES_MAX && !nodes.contains_key(node) {
            nodes.clear();
        }
        let documents = nodes.entry(node.to_owned()).or_default();
        if documents.revision > revision {
            return;
        }
        if documents.revision < revision {
            *documents = NodeDocuments {
                revision,
                ..NodeDocuments::default()
            };
        }
        match partition {
            None => documents.whole = Some(document),
            Some(partition) => {
                documents.partitions.insert(partition.to_owned(), document);
            }
        }
    }
}

/// Replies that are kept, and the largest request whose reply is.
const REPLIES_MAX: usize = 4096;
const REQUEST_BYTES_MAX: usize = 16 << 10;

#[derive(Default)]
struct Kept {
    revision: u64,
    replies: HashMap<Vec<u8>, Bytes>,
}

/// Replies to requests that changed nothing. A recipe repeats its requests word for word on every
/// run; while no document has changed since, the answer cannot have either.
#[derive(Default)]
pub(crate) struct Replies(RwLock<Kept>);

impl Replies {
    /// What tells a request from others: who asks, and all that is asked.
    pub(crate) fn key(caller: &str, body: &[u8]) -> Option<Vec<u8>> {
        if caller.len() + body.len() > REQUEST_BYTES_MAX {
            return None;
        }
        let mut key = Vec::with_capacity(caller.len() + 1 + body.len());
        key.extend_from_slice(caller.as_bytes());
        key.push(0);
        key.extend_from_slice(body);
        Some(key)
    }

    /// The reply given at this revision of everything.
    pub(crate) fn get(&self, key: &[u8], revision: u64) -> Option<Bytes> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if kept.revision == revision {
            kept.replies.get(key).cloned()
        } else {
            None
        }
    }

    /// Keeps a reply that was made while the revision did not move.
    pub(crate) fn put(&self, key: Vec<u8>, revision: u64, reply: Bytes) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if kept.revision > revision {
            return;
        }
        if kept.revision < revision || kept.replies.len() >= REPLIES_MAX {
            kept.replies.clear();
            kept.revision = revision;
        }
        kept.replies.insert(key, reply);
    }
}
