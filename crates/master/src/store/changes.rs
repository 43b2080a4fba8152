//! What a transaction changes for those who wait: nodes, clients, and instances without a place.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::{NodeKey, ProjectKey, TreeKey};

/// Most keys that are told one by one to other Masters; more become "everything".
const NOTICE_KEYS_MAX: usize = 400;

/// What a transaction changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Nodes whose documents change.
    pub nodes: BTreeSet<NodeKey>,
    /// Nodes of which people are shown something new that is no news for the node itself.
    pub shown: BTreeSet<NodeKey>,
    /// Trees of which something changes.
    pub trees: BTreeSet<TreeKey>,
    /// Projects and releases for which an instance may have become placeable.
    pub(crate) placeable: BTreeSet<(ProjectKey, i64)>,
    /// Projects and releases of which there is an instance that may serve shared ones as from now.
    pub(crate) hosts: BTreeSet<(ProjectKey, i64)>,
    /// Where to go on placing in the next transaction: after this instance.
    pub(crate) resume: BTreeMap<(ProjectKey, i64), i64>,
    /// Whether anything may have changed: a notice that was too long.
    pub everything: bool,
}

/// As it is sent to the other Masters on a database.
#[derive(Serialize, Deserialize)]
struct Notice {
    nodes: Vec<i64>,
    trees: Vec<i64>,
    #[serde(default)]
    shown: Vec<i64>,
    #[serde(default)]
    everything: bool,
}

impl Changes {
    pub(crate) fn merge(&mut self, mut other: Changes) {
        self.nodes.append(&mut other.nodes);
        self.shown.append(&mut other.shown);
        self.trees.append(&mut other.trees);
        self.placeable.append(&mut other.placeable);
        self.hosts.append(&mut other.hosts);
        self.resume.append(&mut other.resume);
        self.everything |= other.everything;
    }

    /// Whether somebody who waits may have found a place.
    pub(crate) fn makes_room(&self) -> bool {
        !self.placeable.is_empty() || !self.hosts.is_empty()
    }

    /// The text for the other Masters, if there is something to tell.
    pub(crate) fn notice(&self) -> Option<String> {
        let keys = self.nodes.len() + self.trees.len() + self.shown.len();
        if keys == 0 && !self.everything {
            return None;
        }
        let everything = self.everything || keys > NOTICE_KEYS_MAX;
        let notice = if everything {
            Notice {
                nodes: Vec::new(),
                trees: Vec::new(),
                shown: Vec::new(),
                everything,
            }
        } else {
            Notice {
                nodes: self.nodes.iter().map(|key| key.0).collect(),
                trees: self.trees.iter().map(|key| key.0).collect(),
                shown: self.shown.iter().map(|key| key.0).collect(),
                everything,
            }
        };
        serde_json::to_string(&notice).ok()
    }

    /// What another Master told. What cannot be read means everything.
    pub(crate) fn from_notice(text: &str) -> Self {
        match serde_json::from_str::<Notice>(text) {
            Ok(notice) => Changes {
                nodes: notice.nodes.into_iter().map(NodeKey).collect(),
                trees: notice.trees.into_iter().map(TreeKey).collect(),
                shown: notice.shown.into_iter().map(NodeKey).collect(),
                everything: notice.everything,
                ..Changes::default()
            },
            Err(_) => Changes {
                everything: true,
                ..Changes::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_comes_back_or_becomes_everything() {
        let mut changes = Changes::default();
        assert_eq!(changes.notice(), None);
        changes.nodes.insert(NodeKey(7));
        changes.trees.insert(TreeKey(3));
        changes.shown.insert(NodeKey(8));
        let told = changes.notice().unwrap_or_default();
        assert_eq!(Changes::from_notice(&told), changes);
        changes.nodes.extend((0..1000).map(NodeKey));
        let told = changes.notice().unwrap_or_default();
        assert!(told.len() < 8000, "PostgreSQL refuses longer notices");
        assert!(Changes::from_notice(&told).everything);
        assert!(Changes::from_notice("nonsense").everything);
    }
}
