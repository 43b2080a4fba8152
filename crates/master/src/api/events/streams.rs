//! The streams that are open, so that nobody has too many.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use slap_server::Problem;
use tokio::sync::oneshot;

use crate::domain::Caller;

/// Streams of one caller. One more ends the oldest: a node that lost its connections without a word
/// comes in again.
const PER_CALLER_MAX: usize = 8;
/// Streams of one person: browsers, scripts.
const PER_PERSON_MAX: usize = 64;
/// Streams of all: connections are to be left for what is not a stream.
const STREAMS_MAX: usize = 12_000;
/// How often a stream without events shows that it is alive, and who reads it is looked at.
const HEARTBEAT_MILLISECONDS: u64 = 25_000;

#[derive(Default)]
struct Open {
    by_caller: HashMap<Caller, VecDeque<(u64, oneshot::Sender<()>)>>,
    count: usize,
    next: u64,
}

/// All streams that are open.
#[derive(Clone)]
pub(in crate::api) struct Streams {
    open: Arc<Mutex<Open>>,
    /// Time between two heartbeats, in milliseconds.
    heartbeat: Arc<AtomicU64>,
}

impl Default for Streams {
    fn default() -> Self {
        Streams {
            open: Arc::default(),
            heartbeat: Arc::new(AtomicU64::new(HEARTBEAT_MILLISECONDS)),
        }
    }
}

/// The place of one stream among them; given back when it is dropped.
pub(super) struct Seat {
    streams: Streams,
    caller: Caller,
    number: u64,
    /// Is ready when the stream has to end for a newer one.
    pub(super) ended: oneshot::Receiver<()>,
}

impl Streams {
    /// How many there are.
    pub(in crate::api) fn count(&self) -> usize {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .count
    }

    /// Time between two heartbeats.
    pub(super) fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat.load(Ordering::Relaxed))
    }

    #[cfg(test)]
    pub(super) fn set_heartbeat(&self, milliseconds: u64) {
        self.heartbeat.store(milliseconds, Ordering::Relaxed);
    }

    /// A place for one more.
    pub(super) fn open(&self, caller: Caller) -> Result<Seat, Problem> {
        let most = match caller {
            Caller::Person { .. } => PER_PERSON_MAX,
            _ => PER_CALLER_MAX,
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.by_caller.get(&caller).map_or(0, VecDeque::len);
        if own < most && open.count >= STREAMS_MAX {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "This Master has no place for another stream of events; ask again later",
            ));
        }
        let number = open.next;
        open.next += 1;
        open.count += 1;
        let (end, ended) = oneshot::channel();
        let own = open.by_caller.entry(caller).or_default();
        own.push_back((number, end));
        if own.len() > most && own.pop_front().is_some() {
            open.count -= 1;
        }
        Ok(Seat {
            streams: self.clone(),
            caller,
            number,
            ended,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let streams = self.streams.clone();
        let mut open = streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = open.by_caller.get_mut(&self.caller) else {
            return;
        };
        let before = own.len();
        own.retain(|(number, _)| *number != self.number);
        let gone = before - own.len();
        if own.is_empty() {
            open.by_caller.remove(&self.caller);
        }
        open.count -= gone;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::NodeKey;

    #[test]
    fn the_newest_streams_of_a_caller_stay() {
        let streams = Streams::default();
        let node = Caller::Node(NodeKey(1));
        let mut seats: Vec<Seat> = (0..PER_CALLER_MAX + 2)
            .map(|_| streams.open(node).unwrap())
            .collect();
        let ended =
            |seat: &mut Seat| seat.ended.try_recv() != Err(oneshot::error::TryRecvError::Empty);
        let over: Vec<bool> = seats.iter_mut().map(ended).collect();
        assert_eq!(over.iter().filter(|over| **over).count(), 2);
        assert!(over[0] && over[1], "the oldest ones");
        assert_eq!(streams.count(), PER_CALLER_MAX);
        let _other = streams.open(Caller::Node(NodeKey(2))).unwrap();
        drop(seats);
        assert_eq!(streams.count(), 1);
    }

    #[test]
    fn there_is_an_end_to_all_of_them() {
        let streams = Streams::default();
        let seats: Vec<Seat> = (0..STREAMS_MAX)
            .map(|n| {
                let node = NodeKey(i64::try_from(n).unwrap());
                streams.open(Caller::Node(node)).unwrap()
            })
            .collect();
        let refused = streams.open(Caller::Node(NodeKey(-1)));
        assert_eq!(
            refused.err().unwrap().status,
            StatusCode::SERVICE_UNAVAILABLE
        );
        drop(seats);
        assert!(streams.open(Caller::Node(NodeKey(-1))).is_ok());
    }
}
