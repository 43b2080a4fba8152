//! Ready documents of nodes, kept as long as nothing changed that they tell of.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use axum::body::Bytes;

use crate::domain::NodeKey;

/// What all kept documents may hold, in bytes. Beyond it all are forgotten and built anew: those
/// that are asked for come back at once.
const DOCUMENT_BYTES_MAX: usize = 64 << 20;

#[derive(Default)]
struct Kept {
    documents: HashMap<NodeKey, (i64, Bytes)>,
    bytes: usize,
}

/// What nodes are told, by node, each made at one revision.
#[derive(Default)]
pub(crate) struct Documents(RwLock<Kept>);

impl Documents {
    /// The document made at this revision.
    pub(crate) fn get(&self, node: NodeKey, revision: i64) -> Option<Bytes> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        kept.documents
            .get(&node)
            .filter(|(made_at, _)| *made_at == revision)
            .map(|(_, document)| document.clone())
    }

    /// Keeps a document that was made at this revision.
    pub(crate) fn put(&self, node: NodeKey, revision: i64, document: Bytes) {
        let bytes = document.len();
        if bytes > DOCUMENT_BYTES_MAX {
            return;
        }
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes + bytes > DOCUMENT_BYTES_MAX {
            *kept = Kept::default();
        }
        if kept
            .documents
            .get(&node)
            .is_some_and(|(made_at, _)| *made_at > revision)
        {
            return;
        }
        let replaced = kept.documents.insert(node, (revision, document));
        kept.bytes += bytes;
        kept.bytes -= replaced.map_or(0, |(_, document)| document.len());
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
        documents.put(NodeKey(1), 2, mebibytes(1));
        assert!(documents.get(NodeKey(1), 2).is_some());
        assert!(documents.get(NodeKey(1), 3).is_none());
        assert!(documents.get(NodeKey(2), 2).is_none());
        // An older one, made meanwhile, replaces nothing.
        documents.put(NodeKey(1), 1, Bytes::new());
        assert_eq!(
            documents.get(NodeKey(1), 2).map(|it| it.len()),
            Some(1 << 20)
        );
    }

    #[test]
    fn documents_take_bounded_memory_and_are_counted_right() {
        let documents = Documents::default();
        for round in 0..100 {
            documents.put(NodeKey(round % 9), round, mebibytes(10));
            let kept = documents.0.read().unwrap_or_else(PoisonError::into_inner);
            let held: usize = kept.documents.values().map(|(_, it)| it.len()).sum();
            assert_eq!(held, kept.bytes);
            assert!(held <= DOCUMENT_BYTES_MAX);
        }
        documents.put(NodeKey(1), 1000, mebibytes(65));
        assert!(documents.get(NodeKey(1), 1000).is_none());
    }
}
