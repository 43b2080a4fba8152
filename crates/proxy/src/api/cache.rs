//! Ready bytes of what nodes and recipes ask for again and again, kept as long as nothing changed
//! that they tell of.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use axum::body::Bytes;

/// What all kept documents may hold, in bytes. Beyond it all are forgotten and built anew: those
/// that are asked for come back at once.
const DOCUMENT_BYTES_MAX: usize = 64 << 20;

#[derive(Default)]
struct NodeDocuments {
    revision: u64,
    whole: Option<Bytes>,
    partitions: HashMap<String, Bytes>,
}

impl NodeDocuments {
    fn bytes(&self) -> usize {
        self.whole.as_ref().map_or(0, Bytes::len)
            + self.partitions.values().map(Bytes::len).sum::<usize>()
    }
}

#[derive(Default)]
struct Nodes {
    documents: HashMap<String, NodeDocuments>,
    bytes: usize,
}

/// The documents, by node.
#[derive(Default)]
pub(crate) struct Documents {
    nodes: RwLock<Nodes>,
}

impl Documents {
    /// A document made at this revision: the whole node's, or one partition's.
    pub(crate) fn get(&self, node: &str, partition: Option<&str>, revision: u64) -> Option<Bytes> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let documents = nodes.documents.get(node)?;
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
        if document.len() > DOCUMENT_BYTES_MAX {
            return;
        }
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if nodes.bytes + document.len() > DOCUMENT_BYTES_MAX {
            *nodes = Nodes::default();
        }
        let Nodes { documents, bytes } = &mut *nodes;
        let documents = documents.entry(node.to_owned()).or_default();
        if documents.revision > revision {
            return;
        }
        if documents.revision < revision {
            *bytes -= documents.bytes();
            *documents = NodeDocuments {
                revision,
                ..NodeDocuments::default()
            };
        }
        *bytes += document.len();
        let replaced = match partition {
            None => documents.whole.replace(document),
            Some(partition) => documents.partitions.insert(partition.to_owned(), document),
        };
        *bytes -= replaced.map_or(0, |replaced| replaced.len());
    }
}

/// What all kept replies and their requests may hold, in bytes.
const REPLY_BYTES_MAX: usize = 16 << 20;
/// The largest request whose reply is kept, in bytes.
const REQUEST_BYTES_MAX: usize = 16 << 10;

#[derive(Default)]
struct Kept {
    revision: u64,
    bytes: usize,
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
        let bytes = key.len() + reply.len();
        if bytes > REPLY_BYTES_MAX {
            return;
        }
        if kept.revision < revision || kept.bytes + bytes > REPLY_BYTES_MAX {
            *kept = Kept {
                revision,
                ..Kept::default()
            };
        }
        let key_bytes = key.len();
        kept.bytes += bytes;
        if let Some(replaced) = kept.replies.insert(key, reply) {
            kept.bytes -= key_bytes + replaced.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mebibytes(count: usize) -> Bytes {
        Bytes::from(vec![0; count << 20])
    }

    #[test]
    fn a_document_is_given_at_its_own_revision_only() {
        let documents = Documents::default();
        documents.put("n", None, 2, mebibytes(1));
        documents.put("n", Some("p"), 2, Bytes::from_static(b"p"));
        assert!(documents.get("n", None, 2).is_some());
        assert!(documents.get("n", Some("p"), 2).is_some());
        assert!(documents.get("n", None, 3).is_none());
        // An older one, made meanwhile, replaces nothing.
        documents.put("n", None, 1, Bytes::new());
        assert_eq!(
            documents.get("n", None, 2).map(|found| found.len()),
            Some(1 << 20)
        );
        // A newer one takes the place of all.
        documents.put("n", None, 3, Bytes::new());
        assert!(documents.get("n", Some("p"), 3).is_none());
    }

    #[test]
    fn documents_take_bounded_memory_and_are_counted_right() {
        let documents = Documents::default();
        for revision in 1..100 {
            // The same node again and again: what is replaced counts no more.
            documents.put("again", None, revision, mebibytes(10));
            assert!(documents.get("again", None, revision).is_some());
        }
        for node in 0..20 {
            documents.put(&node.to_string(), None, 1, mebibytes(10));
            let nodes = documents
                .nodes
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            let held: usize = nodes.documents.values().map(NodeDocuments::bytes).sum();
            assert_eq!(held, nodes.bytes);
            assert!(held <= DOCUMENT_BYTES_MAX);
        }
        assert!(documents.get("19", None, 1).is_some());
        documents.put("huge", None, 1, mebibytes(65));
        assert!(documents.get("huge", None, 1).is_none());
    }

    #[test]
    fn replies_take_bounded_memory_and_are_counted_right() {
        let replies = Replies::default();
        for number in 0..40_u8 {
            replies.put(vec![number], 1, mebibytes(1));
            replies.put(vec![number], 1, mebibytes(1));
            let kept = replies.0.read().unwrap_or_else(PoisonError::into_inner);
            let held: usize = kept
                .replies
                .iter()
                .map(|(key, reply)| key.len() + reply.len())
                .sum();
            assert_eq!(held, kept.bytes);
            assert!(held <= REPLY_BYTES_MAX);
        }
        assert!(replies.get(&[39], 1).is_some());
        assert!(replies.get(&[39], 2).is_none());
    }
}
