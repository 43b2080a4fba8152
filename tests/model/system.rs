//! A Master under test, whatever way it is reached.

use crate::backdoor::Backdoor;
use crate::generate::Abilities;
use crate::operation::{Actor, NodeSeen, Op, Reply};

/// Why a node's document was not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unseen {
    /// With this status.
    Refused(u16),
    /// It failed.
    Broken(String),
    /// The Master is not there.
    Lost,
}

pub trait System: Send + Sync {
    fn abilities(&self) -> Abilities;
    /// Does it and waits for the answer.
    fn call(&self, op: &Op) -> Reply;
    /// What the caller is told of a node. For a node of itself this is a sign of life.
    fn node(&self, by: Actor, node: i64) -> Result<NodeSeen, Unseen>;
    /// Whether the node is told that its document is still the one with this tag.
    fn is_unchanged(&self, node: i64, tag: &str) -> bool;
    /// The database, past the Master.
    fn backdoor(&self) -> Backdoor;
    /// Makes new nodes and instances able to speak.
    fn introduce(&self, nodes: &[i64], instances: &[i64]);
    /// The present, in microseconds since 1970, where time passes only when told.
    fn pass(&self, _microseconds: i64) -> Option<i64> {
        None
    }
    /// The time it goes by.
    fn now(&self) -> i64;
    /// The duties of a Master that are due now and then, where they only happen when told.
    fn tick(&self) {}
    /// What it said last.
    fn log(&self) -> String {
        String::new()
    }
    /// Ends it without a chance to clean up, or (in one process) as well as can be.
    fn kill(&self);
    /// Starts it again after [`System::kill`].
    fn start(&self);
}
