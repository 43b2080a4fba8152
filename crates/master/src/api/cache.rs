//! Ready bytes of the documents that nodes and recipes ask for again and again, kept as long as the
//! node's revision stands.

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
