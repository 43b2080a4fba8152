//! Nothing acknowledged is lost, nothing is given twice: what replies said, and what the nodes'
//! documents say.

use std::cell::RefCell;
use std::time::Duration;

use super::fleet::{Fleet, find};
use super::master::Master;
use super::{PARTITIONS, Phase};
use crate::failure::Failure;
use crate::http::{Answer, Load};
use crate::wire;

/// No place, or no instance.
const NONE: u32 = u32::MAX;
/// Connections the documents are read with: each is large.
const CONNECTIONS: usize = 4;

/// Where every instance was said to be, and what was found there.
pub(super) struct Given {
    partitions: usize,
    state: RefCell<State>,
}

struct State {
    /// By instance: its place, node × partitions + partition.
    places: Vec<u32>,
    /// By place: its instance, as replies told.
    instances: Vec<u32>,
    /// By instance: whether its node's document shows it at its place.
    found: Vec<bool>,
    /// By node: the tag of its document.
    tags: Vec<String>,
}

impl Given {
    pub(super) fn new(instances: usize, nodes: usize, partitions: usize) -> Given {
        Given {
            partitions,
            state: RefCell::new(State {
                places: vec![NONE; instances],
                instances: vec![NONE; nodes * partitions],
                found: vec![false; instances],
                tags: vec![String::new(); nodes],
            }),
        }
    }

    /// Takes down where instance number n was said to be.
    pub(super) fn note(&self, n: usize, answer: &Answer<'_>, fleet: &Fleet) -> Result<(), Failure> {
        let text = |mark: &str| -> Option<&str> {
            let start = find(answer.body, mark.as_bytes())? + mark.len();
            let rest = answer.body.get(start..)?;
            let end = rest.iter().position(|byte| *byte == b'<')?;
            std::str::from_utf8(rest.get(..end)?).ok()
        };
        let place = text("<string>slap_computer_id</string><string>")
            .and_then(|node| fleet.number(node))
            .zip(
                text("<string>slap_computer_partition_id</string><string>slappart")
                    .and_then(|digits| digits.parse::<usize>().ok()),
            )
            .map(|(node, partition)| node * self.partitions + partition);
        let Some(place) = place.filter(|_| answer.status == 200) else {
            answer.expect(200, "slap_computer_partition_id")?;
            return Err(Failure::new("a reply names no partition of ours"));
        };
        let state = &mut *self.state.borrow_mut();
        let other = std::mem::replace(&mut state.instances[place], n as u32);
        if other != NONE {
            return Err(Failure::new(format!(
                "partition {} of {} was given to {} and to {}",
                place % self.partitions,
                fleet.nodes[place / self.partitions].reference,
                wire::title(other as usize),
                wire::title(n)
            )));
        }
        state.places[n] = place as u32;
        Ok(())
    }

    pub(super) fn all_acknowledged(&self) -> Result<(), Failure> {
        match self
            .state
            .borrow()
            .places
            .iter()
            .position(|place| *place == NONE)
        {
            Some(n) => Err(Failure::new(format!("{} got no reply", wire::title(n)))),
            None => Ok(()),
        }
    }

    /// Compares a node's document with what replies told.
    fn compare(&self, node: usize, answer: &Answer<'_>) -> Result<(), Failure> {
        answer.expect(200, "_computer_partition_list")?;
        let state = &mut *self.state.borrow_mut();
        state.tags[node] = answer.header("etag").unwrap_or_default().to_owned();
        let mut rest = answer.body;
        let mut next = |mark: &str| -> Option<&[u8]> {
            let at = find(rest, mark.as_bytes())? + mark.len();
            rest = rest.get(at..)?;
            let end = rest.iter().position(|byte| *byte == b'<')?;
            rest.get(..end)
        };
        let number =
            |digits: &[u8]| -> Option<usize> { std::str::from_utf8(digits).ok()?.parse().ok() };
        // Of a partition's parameters, which are sorted by name.
        while let Some(title) = next("<string>instance_title</string><string>bench") {
            let instance = number(title);
            let partition = next("<string>slap_computer_partition_id</string><string>slappart")
                .and_then(number);
            let (Some(instance), Some(partition)) = (instance, partition) else {
                return Err(Failure::new("a node's document that cannot be understood"));
            };
            let place = (node * self.partitions + partition) as u32;
            if state.places.get(instance) != Some(&place) || state.found[instance] {
                return Err(Failure::new(format!(
                    "{} is shown where it was not said to be, or twice",
                    wire::title(instance)
                )));
            }
            state.found[instance] = true;
        }
        Ok(())
    }

    pub(super) fn all_found(&self) -> Result<(), Failure> {
        match self.state.borrow().found.iter().position(|found| !found) {
            Some(n) => Err(Failure::new(format!(
                "{} was acknowledged and is in no node's document",
                wire::title(n)
            ))),
            None => Ok(()),
        }
    }

    /// The tag of a node's document.
    pub(super) fn tag(&self, node: usize) -> String {
        self.state
            .borrow()
            .tags
            .get(node)
            .cloned()
            .unwrap_or_default()
    }

    /// An instance on this node, if there is one.
    pub(super) fn instance_on(&self, node: usize) -> Option<usize> {
        let state = self.state.borrow();
        let places = state
            .instances
            .get(node * self.partitions..(node + 1) * self.partitions)?;
        places
            .iter()
            .find(|instance| **instance != NONE)
            .map(|instance| *instance as usize)
    }
}

/// Reads the documents of all nodes, each as its own node.
pub(super) fn documents(master: &Master, fleet: &Fleet, given: &Given) -> Result<Phase, Failure> {
    debug_assert_eq!(given.partitions, PARTITIONS);
    master.phase(&Load {
        address: master.address,
        connections: CONNECTIONS,
        count: fleet.nodes.len(),
        time: Duration::MAX,
        pace: None,
        request: &|n, to| {
            let node = &fleet.nodes[n];
            to.extend(wire::called_by(
                &node.name,
                &wire::full_information(&node.reference),
            ));
        },
        judge: &|n, answer| given.compare(n, answer),
    })
}
