//! The steady state: every node waits for events and asks once a minute, and nothing happens. Then
//! something does.

use std::time::{Duration, Instant};

use super::check::Given;
use super::events::Events;
use super::fleet::Fleet;
use super::master::Master;
use super::{POLL, Phase};
use crate::failure::Failure;
use crate::http::{self, Answer, Load};
use crate::process::Memory;
use crate::stats::percentile;
use crate::{say, wire};

/// Changes whose way to their node is timed.
const CHANGES: usize = 100;
/// Connections the nodes' polls share, as behind a proxy.
const CONNECTIONS: usize = 64;

/// What was measured.
pub(super) struct Rest {
    /// Polls at the nodes' own pace.
    pub(super) paced: Phase,
    /// As many as possible.
    pub(super) fastest: Phase,
    pub(super) memory: Memory,
    /// From sending a change to the event, and to the reply.
    pub(super) events: Vec<Duration>,
    pub(super) replies: Vec<Duration>,
}

pub(super) fn watch(
    master: &Master,
    fleet: &Fleet,
    given: &Given,
    time: Duration,
) -> Result<Rest, Failure> {
    let nodes = fleet.nodes.len();
    let requests: Vec<Vec<u8>> = fleet
        .nodes
        .iter()
        .enumerate()
        .map(|(n, node)| {
            let request = wire::called_by(&node.name, &wire::full_information(&node.reference));
            wire::with_header(&request, "If-None-Match", &given.tag(n))
        })
        .collect();
    let unchanged = |_: usize, answer: &Answer<'_>| answer.expect(304, "");
    let request = |n: usize, to: &mut Vec<u8>| to.extend_from_slice(&requests[n % nodes]);
    let polls = |pace, time| Load {
        address: master.address,
        connections: CONNECTIONS,
        count: usize::MAX,
        time,
        pace,
        request: &request,
        judge: &unchanged,
    };
    let mut events = Events::open(master, fleet)?;
    say(&format!("{nodes} nodes wait for events"));
    let paced = master.phase(&polls(Some(POLL / nodes as u32), time))?;
    paced.line("polls of idle nodes, one a minute each");
    let fastest = master.phase(&polls(None, Duration::from_secs(5)))?;
    fastest.line("polls of idle nodes, as many as possible");
    let open = events.drain();
    if open != nodes {
        return Err(Failure::new(format!(
            "only {open} of {nodes} nodes still wait for events"
        )));
    }
    let memory = master.memory();

    let mut told = Vec::new();
    let mut replies = Vec::new();
    for change in 0..CHANGES {
        let node = change * 7_919 % nodes;
        let Some(instance) = given.instance_on(node) else {
            continue;
        };
        let request =
            wire::request_with(&wire::title(instance), &[("changed", &format!("{change}"))])?;
        let start = Instant::now();
        let reply = http::call(master.address, &wire::called_by(&master.person, &request))?;
        replies.push(start.elapsed());
        if reply.status != 200 {
            return Err(Failure::new(format!(
                "a change got status {}",
                reply.status
            )));
        }
        // Told before or while the reply was on its way.
        let waited = events.next(node)?;
        told.push(replies.last().copied().unwrap_or_default() + waited);
    }
    told.sort_unstable();
    replies.sort_unstable();
    say(&format!(
        "{} changes: reply p50 {:.2?}; event seen at its node p50 {:.2?}, p99 {:.2?}",
        told.len(),
        percentile(&replies, 50),
        percentile(&told, 50),
        percentile(&told, 99)
    ));
    Ok(Rest {
        paced,
        fastest,
        memory,
        events: told,
        replies,
    })
}
