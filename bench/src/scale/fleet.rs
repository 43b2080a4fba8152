//! The nodes: registered, described, with their release available; all over HTTP.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::master::{Master, common_name};
use crate::failure::Failure;
use crate::http::{self, Answer, Load};
use crate::{say, wire};

/// Connections nodes are made with. Descriptions are large; a Master reads a few at a time.
const CONNECTIONS: usize = 32;

/// All nodes.
pub(super) struct Fleet {
    pub(super) nodes: Vec<Node>,
    by_reference: HashMap<String, usize>,
    pub(super) took: Duration,
}

/// One node.
pub(super) struct Node {
    /// Such as `COMP-7`.
    pub(super) reference: String,
    /// The common name of its certificate.
    pub(super) name: String,
}

impl Fleet {
    /// Makes them.
    pub(super) fn register(
        master: &Master,
        count: usize,
        partitions: usize,
    ) -> Result<Fleet, Failure> {
        let start = Instant::now();
        let references = RefCell::new(vec![String::new(); count]);
        let person = |request: Vec<u8>| wire::called_by(&master.person, &request);
        step(
            master,
            "nodes registered",
            count,
            &|n| {
                person(wire::post(
                    "requestComputer",
                    &[
                        ("computer_title", &format!("node {n}")),
                        ("project_reference", master.project),
                    ],
                ))
            },
            &|n, answer| {
                answer.expect(200, "_computer_id")?;
                let reference = text_after(answer.body, "_computer_id</string><string>")
                    .ok_or_else(|| Failure::new("a node without a reference"))?;
                if let Some(place) = references.borrow_mut().get_mut(n) {
                    *place = reference;
                }
                Ok(())
            },
        )?;
        let references = references.into_inner();
        let names = RefCell::new(vec![String::new(); count]);
        step(
            master,
            "certificates made",
            count,
            &|n| {
                person(wire::post(
                    "generateComputerCertificate",
                    &[("computer_id", &references[n])],
                ))
            },
            &|n, answer| {
                if let Some(place) = names.borrow_mut().get_mut(n) {
                    *place = common_name(answer.body)?;
                }
                Ok(())
            },
        )?;
        let names = names.into_inner();
        let nodes: Vec<Node> = references
            .into_iter()
            .zip(names)
            .map(|(reference, name)| Node { reference, name })
            .collect();

        let description = wire::Description::new(partitions)?;
        step(
            master,
            "nodes described",
            count,
            &|n| wire::called_by(&nodes[n].name, &description.of(&nodes[n].reference)),
            &http::expect(""),
        )?;
        step(
            master,
            "releases supplied",
            count,
            &|n| {
                person(wire::post(
                    "supplySupply",
                    &[
                        ("url", wire::RELEASE),
                        ("computer_id", &nodes[n].reference),
                        ("state", "available"),
                    ],
                ))
            },
            &http::expect(""),
        )?;
        step(
            master,
            "releases reported available",
            count,
            &|n| {
                let fields = [
                    ("url", wire::RELEASE),
                    ("computer_id", nodes[n].reference.as_str()),
                ];
                wire::called_by(
                    &nodes[n].name,
                    &wire::post("availableSoftwareRelease", &fields),
                )
            },
            &http::expect(""),
        )?;
        Ok(Fleet {
            by_reference: nodes
                .iter()
                .enumerate()
                .map(|(n, node)| (node.reference.clone(), n))
                .collect(),
            nodes,
            took: start.elapsed(),
        })
    }

    /// The number of a node.
    pub(super) fn number(&self, reference: &str) -> Option<usize> {
        self.by_reference.get(reference).copied()
    }
}

fn step(
    master: &Master,
    what: &str,
    count: usize,
    request: &dyn Fn(usize) -> Vec<u8>,
    judge: &dyn Fn(usize, &Answer<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let phase = master.phase(&Load {
        address: master.address,
        connections: CONNECTIONS,
        count,
        time: Duration::MAX,
        pace: None,
        request: &|n, to| to.extend(request(n)),
        judge,
    })?;
    phase.line(what);
    if phase.outcome.replies != count {
        say("not all of them");
    }
    Ok(())
}

/// The text between `mark` and the next `<`.
pub(super) fn text_after(body: &[u8], mark: &str) -> Option<String> {
    let start = find(body, mark.as_bytes())? + mark.len();
    let rest = body.get(start..)?;
    let end = rest.iter().position(|byte| *byte == b'<')?;
    Some(String::from_utf8_lossy(rest.get(..end)?).into_owned())
}

/// Where some bytes begin in others.
pub(super) fn find(body: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(body, wanted)
}
