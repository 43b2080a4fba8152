//! Who hears of changes: nodes, clients and the dashboard wait for topics, transactions wake them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{broadcast, watch};

use crate::domain::{NodeKey, TreeKey};
use crate::store::Changes;

/// What one may wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A node's document.
    Node(NodeKey),
    /// What people are shown of a node.
    Shown(NodeKey),
    /// Anything of a tree.
    Tree(TreeKey),
    /// Anything at all.
    Everything,
}

/// Wakes those who wait. Several changes between two looks are one wake-up: what a waiter does then
/// is to read what is now true.
#[derive(Debug)]
pub struct Hub {
    topics: Mutex<HashMap<Topic, watch::Sender<u64>>>,
    all: broadcast::Sender<Arc<Changes>>,
}

/// Transactions that who follows all changes may be behind.
const BEHIND_MAX: usize = 1024;

impl Default for Hub {
    fn default() -> Self {
        Hub {
            topics: Mutex::default(),
            all: broadcast::Sender::new(BEHIND_MAX),
        }
    }
}

/// Waits for a topic.
#[derive(Debug)]
pub struct Subscription(watch::Receiver<u64>);

impl Subscription {
    /// Returns at the next change since the last return, or since the subscription.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The hub drops a topic only when nobody waits for it; this cannot be reached while
            // somebody does.
            std::future::pending::<()>().await;
        }
    }
}

impl Hub {
    /// Begins to wait for a topic.
    pub fn subscribe(&self, topic: Topic) -> Subscription {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = topics.entry(topic).or_insert_with(|| watch::Sender::new(0));
        Subscription(sender.subscribe())
    }

    /// Begins to follow all changes, transaction by transaction. Who is too slow is told so: then
    /// anything may have changed.
    pub fn follow(&self) -> broadcast::Receiver<Arc<Changes>> {
        self.all.subscribe()
    }

    /// Wakes whoever waits for what changed.
    pub fn publish(&self, changes: &Changes) {
        if self.all.receiver_count() > 0 {
            // Nobody follows any more: nobody is to be told.
            let _ = self.all.send(Arc::new(changes.clone()));
        }
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if topics.is_empty() {
            return;
        }
        let wake = |topics: &mut HashMap<Topic, watch::Sender<u64>>, topic| {
            if let Some(sender) = topics.get(&topic) {
                if sender.receiver_count() == 0 {
                    topics.remove(&topic);
                } else {
                    sender.send_modify(|count| *count = count.wrapping_add(1));
                }
            }
        };
        if changes.everything {
            let all: Vec<Topic> = topics.keys().copied().collect();
            for topic in all {
                wake(&mut topics, topic);
            }
            return;
        }
        for node in &changes.nodes {
            wake(&mut topics, Topic::Node(*node));
        }
        for node in changes.nodes.union(&changes.shown) {
            wake(&mut topics, Topic::Shown(*node));
        }
        for tree in &changes.trees {
            wake(&mut topics, Topic::Tree(*tree));
        }
        wake(&mut topics, Topic::Everything);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    async fn woken(subscription: &mut Subscription) -> bool {
        tokio::time::timeout(Duration::from_millis(50), subscription.changed())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn only_those_who_wait_for_it_are_woken() {
        let hub = Hub::default();
        let mut one = hub.subscribe(Topic::Node(NodeKey(1)));
        let mut two = hub.subscribe(Topic::Node(NodeKey(2)));
        let mut all = hub.subscribe(Topic::Everything);
        let mut changes = Changes::default();
        changes.nodes.insert(NodeKey(1));
        hub.publish(&changes);
        hub.publish(&changes);
        assert!(woken(&mut one).await);
        assert!(!woken(&mut one).await, "two changes, one wake-up");
        assert!(!woken(&mut two).await);
        assert!(woken(&mut all).await);
        drop(one);
        hub.publish(&changes);
        assert_eq!(
            hub.topics.lock().unwrap().len(),
            2,
            "nobody waits for node 1"
        );
    }
}
