//! The Master over HTTP: throughput, latency, memory.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use slap::{Value, marshal};

use crate::failure::{Context, Failure};
use crate::http::{self, Load, Outcome};
use crate::peers::Peer;
use crate::process::{self, Memory, Running};
use crate::stats::{median, percentile};
use crate::wire::{self, RequestTemplate};
use crate::{Sizes, say};

/// A Master that runs, in a directory of its own.
pub(crate) struct Master {
    running: Running,
    pub(crate) address: SocketAddr,
    /// The configuration of this Master, its client and its node.
    pub(crate) configuration: PathBuf,
}

impl Master {
    /// Starts `slapos proxy start` and waits until it answers. `rest` is what the configuration
    /// file holds besides the Master's own lines.
    pub(crate) fn start(
        peer: &Peer,
        directory: &Path,
        rest: impl FnOnce(SocketAddr) -> String,
    ) -> Result<Master, Failure> {
        let address = free_address()?;
        let configuration = directory.join("slapos.cfg");
        let text = format!(
            "{}\n[slapproxy]\nhost = {}\nport = {}\ndatabase_uri = {}\n",
            rest(address),
            address.ip(),
            address.port(),
            directory.join("proxy.db").display(),
        );
        fs::write(&configuration, text).context("writing a configuration")?;
        let log = directory.join("proxy.log");
        let mut running = Running::start(
            Command::new(&peer.client)
                .args(["proxy", "start", "--cfg"])
                .arg(&configuration),
            &log,
        )?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while !answers(address) {
            if running.has_ended() || Instant::now() > deadline {
                return Err(Failure::new(format!(
                    "the Master of {} does not start:\n{}",
                    peer.name,
                    process::tail(&log)
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Master {
            running,
            address,
            configuration,
        })
    }

    fn cpu_seconds(&self) -> f64 {
        process::cpu_seconds(self.running.pid())
    }

    fn memory(&self) -> Memory {
        Memory::of_all(self.running.pid())
    }

    /// One call that must succeed.
    pub(crate) fn call(&self, what: &str, request: &[u8]) -> Result<Vec<u8>, Failure> {
        let reply = http::call(self.address, request)?;
        if reply.status == 200 {
            return Ok(reply.body);
        }
        let text = String::from_utf8_lossy(&reply.body)
            .chars()
            .take(500)
            .collect::<String>();
        Err(Failure::new(format!(
            "{what}: status {}: {text}",
            reply.status
        )))
    }
}

fn answers(address: SocketAddr) -> bool {
    std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
        && http::call(address, &wire::get("getRunId", &[])).is_ok_and(|reply| reply.status == 200)
}

/// A port nobody listens on now.
pub(crate) fn free_address() -> Result<SocketAddr, Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .context("looking for a free port")
}

/// The lines of `[slapos]` that are enough for a Master and a client.
pub(crate) fn client_configuration(address: SocketAddr) -> String {
    format!(
        "[slapos]\ncomputer_id = local_computer\nmaster_url = http://{address}/\n\
         master_rest_url = http://{address}/hateoas\n"
    )
}

/// What is asked of a Master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    New,
    Again,
    FullInformation,
    Register,
}

impl Work {
    pub(crate) const ALL: [Work; 4] = [
        Work::New,
        Work::Again,
        Work::FullInformation,
        Work::Register,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Work::New => "new requests (`requestComputerPartition`, durable)",
            Work::Again => "unchanged requests again",
            Work::FullInformation => "`getFullComputerInformation`, 200 busy partitions",
            Work::Register => "`registerComputerPartition`",
        }
    }
}

/// Medians over the rounds of one kind of work with one number of connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub(crate) p50_s: f64,
    pub(crate) p99_s: f64,
    /// Processor time of the Master for one reply.
    pub(crate) cpu_s: f64,
    pub(crate) body_bytes: f64,
    /// Replies over all rounds.
    pub(crate) replies: usize,
    /// Connections that took.
    pub(crate) connects: usize,
}

/// All that was measured of one Master.
pub(crate) struct MasterFigures {
    /// By [`Work::ALL`], then by connections (one, many).
    pub(crate) work: Vec<[Figures; 2]>,
    pub(crate) idle: Memory,
    /// After all work but new requests.
    pub(crate) loaded: Memory,
    /// After all work.
    pub(crate) grown: Memory,
    /// How many instances it has then.
    pub(crate) instances: usize,
    /// New requests that were answered with a partition another one got as well.
    pub(crate) given_twice: usize,
}

/// The node whose partitions are all busy.
const BUSY_NODE: &str = "COMP-busy";
/// How many it has, as the issue says.
const BUSY: usize = 200;

/// One Master under test and what has been measured so far.
struct Candidate<'a> {
    peer: &'a Peer,
    master: Master,
    idle: Memory,
    loaded: Memory,
    /// New requests that were answered with a partition another one got as well.
    given_twice: usize,
    /// Nodes made for new requests, to give each a name of its own.
    nodes: usize,
    /// By work, by connections: one outcome per round.
    outcomes: Vec<[Vec<Round>; 2]>,
}

/// One round of one measurement.
struct Round {
    outcome: Outcome,
    /// Processor time of the Master during it.
    cpu_s: f64,
}

/// Measures the Masters of all peers: A B A B, round after round.
pub(crate) fn compare(
    peers: &[Peer],
    directory: &Path,
    sizes: &Sizes,
) -> Result<Vec<MasterFigures>, Failure> {
    let mut candidates = Vec::new();
    for peer in peers {
        let directory = directory.join(peer.name).join("master");
        fs::create_dir_all(&directory).context("making a directory")?;
        let master = Master::start(peer, &directory, client_configuration)?;
        let idle = master.memory();
        say(&format!("{}: {} partitions become busy", peer.name, BUSY));
        fill(&master)?;
        let outcomes = Work::ALL.iter().map(|_| [Vec::new(), Vec::new()]).collect();
        candidates.push(Candidate {
            peer,
            master,
            idle,
            loaded: Memory::default(),
            given_twice: 0,
            nodes: 0,
            outcomes,
        });
    }
    same_answers(&candidates)?;
    // New requests last: until then all have the same instances, and what memory they need compares.
    let (new, others): (Vec<_>, Vec<_>) = Work::ALL
        .into_iter()
        .enumerate()
        .partition(|(_, work)| *work == Work::New);
    measure_rounds(&mut candidates, &others, sizes)?;
    for candidate in &mut candidates {
        candidate.loaded = candidate.master.memory();
    }
    measure_rounds(&mut candidates, &new, sizes)?;
    Ok(candidates.iter().map(Candidate::figures).collect())
}

fn measure_rounds(
    candidates: &mut [Candidate<'_>],
    works: &[(usize, Work)],
    sizes: &Sizes,
) -> Result<(), Failure> {
    for number in 1..=sizes.rounds {
        for (index, work) in works {
            for (column, connections) in [1, sizes.connections].into_iter().enumerate() {
                for candidate in &mut *candidates {
                    let round = candidate.measure(*work, connections, sizes)?;
                    say(&format!(
                        "round {number}, {connections:>2} connections, {:<50} {:>8}: {:>9.0}/s",
                        work.title(),
                        candidate.peer.name,
                        round.outcome.per_second()
                    ));
                    candidate.outcomes[*index][column].push(round);
                }
            }
        }
    }
    Ok(())
}

impl Candidate<'_> {
    fn measure(&mut self, work: Work, connections: usize, sizes: &Sizes) -> Result<Round, Failure> {
        let load = |master: &Master, count, expect, request: &dyn Fn(usize, &mut Vec<u8>)| {
            let before = master.cpu_seconds();
            let outcome = http::run(&Load {
                address: master.address,
                connections,
                count,
                time: sizes.time,
                pace: None,
                request,
                judge: &http::expect(expect),
            })?;
            Ok(Round {
                outcome,
                cpu_s: master.cpu_seconds() - before,
            })
        };
        let instance = "slap_computer_partition_id";
        match work {
            Work::New => {
                let nodes = self.new_nodes(sizes)?;
                let templates: Result<Vec<_>, _> = nodes
                    .iter()
                    .map(|node| RequestTemplate::new(node))
                    .collect();
                let templates = templates?;
                // Titles are the Master's, not the node's: none may have been used before.
                let first = BUSY + (self.nodes - nodes.len()) * sizes.node_partitions;
                let round = load(
                    &self.master,
                    nodes.len() * sizes.node_partitions,
                    instance,
                    &|n, to| {
                        templates[n / sizes.node_partitions].fill(first + n, to);
                    },
                )?;
                self.count_partitions(&nodes, round.outcome.replies)?;
                Ok(round)
            }
            Work::Again => {
                let template = RequestTemplate::new(BUSY_NODE)?;
                load(&self.master, usize::MAX, instance, &|n, to| {
                    template.fill(n % BUSY, to)
                })
            }
            Work::FullInformation => {
                let request = wire::full_information(BUSY_NODE);
                load(
                    &self.master,
                    usize::MAX,
                    "_computer_partition_list",
                    &|_, to| to.extend(&request),
                )
            }
            Work::Register => {
                let requests: Vec<_> = (0..BUSY).map(|n| wire::register(BUSY_NODE, n)).collect();
                load(
                    &self.master,
                    usize::MAX,
                    "_software_release_document",
                    &|n, to| {
                        to.extend(&requests[n % BUSY]);
                    },
                )
            }
        }
    }

    /// Free nodes, all of the same size; a quick Master needs several to have enough to do.
    fn new_nodes(&mut self, sizes: &Sizes) -> Result<Vec<String>, Failure> {
        let count = if self.peer.name == "ours" {
            sizes.nodes_for_us
        } else {
            1
        };
        let mut names = Vec::new();
        for _ in 0..count {
            self.nodes += 1;
            let name = format!("COMP-{}", self.nodes);
            let request = wire::format_node(&name, sizes.node_partitions)?;
            self.master.call("formatting a node", &request)?;
            names.push(name);
        }
        Ok(names)
    }

    /// Every request that was answered should have a partition of its own. A Master that gives
    /// one partition to two requests at the same time has done less; that is reported, and must
    /// never be ours.
    fn count_partitions(&mut self, nodes: &[String], replies: usize) -> Result<(), Failure> {
        let mut busy = 0;
        for node in nodes {
            let document = self.master.call("a node", &wire::full_information(node))?;
            busy += busy_partitions(&document)?.len();
        }
        if busy == replies {
            return Ok(());
        }
        let told = format!(
            "{} answered {replies} new requests with only {busy} different partitions",
            self.peer.name
        );
        if self.peer.name == "ours" || busy > replies {
            return Err(Failure::new(told));
        }
        say(&told);
        self.given_twice += replies - busy;
        Ok(())
    }

    fn figures(&self) -> MasterFigures {
        let figures = |rounds: &Vec<Round>| {
            let of = |value: &dyn Fn(&Outcome) -> f64| {
                median(
                    &rounds
                        .iter()
                        .map(|round| value(&round.outcome))
                        .collect::<Vec<_>>(),
                )
            };
            let replies = |round: &Round| round.outcome.replies;
            Figures {
                per_second: of(&Outcome::per_second),
                p50_s: of(&|outcome| percentile(&outcome.latencies, 50).as_secs_f64()),
                p99_s: of(&|outcome| percentile(&outcome.latencies, 99).as_secs_f64()),
                body_bytes: of(&Outcome::mean_body),
                cpu_s: rounds.iter().map(|round| round.cpu_s).sum::<f64>()
                    / rounds.iter().map(replies).sum::<usize>().max(1) as f64,
                replies: rounds.iter().map(replies).sum(),
                connects: rounds.iter().map(|round| round.outcome.connects).sum(),
            }
        };
        MasterFigures {
            work: self
                .outcomes
                .iter()
                .map(|[one, many]| [figures(one), figures(many)])
                .collect(),
            idle: self.idle,
            loaded: self.loaded,
            grown: self.master.memory(),
            instances: BUSY
                + self.outcomes[0]
                    .iter()
                    .flatten()
                    .map(|round| round.outcome.replies)
                    .sum::<usize>(),
            given_twice: self.given_twice,
        }
    }
}

/// Makes the node with [`BUSY`] instances, each with published connection parameters.
fn fill(master: &Master) -> Result<(), Failure> {
    master.call("formatting a node", &wire::format_node(BUSY_NODE, BUSY)?)?;
    let template = RequestTemplate::new(BUSY_NODE)?;
    for number in 0..BUSY {
        let mut request = Vec::new();
        template.fill(number, &mut request);
        master.call("requesting an instance", &request)?;
        master.call("publishing", &wire::publish(BUSY_NODE, number)?)?;
    }
    Ok(())
}

/// All Masters say the same about the busy node, so that they are compared on the same work.
fn same_answers(candidates: &[Candidate<'_>]) -> Result<(), Failure> {
    let mut first = None;
    for candidate in candidates {
        let document = candidate
            .master
            .call("a node", &wire::full_information(BUSY_NODE))?;
        let busy = busy_partitions(&document)?;
        if busy.len() != BUSY {
            return Err(Failure::new(format!(
                "{} has {} of {BUSY} partitions busy",
                candidate.peer.name,
                busy.len()
            )));
        }
        if *first.get_or_insert_with(|| busy.clone()) != busy {
            return Err(Failure::new(
                "the Masters answer differently about the same node",
            ));
        }
    }
    Ok(())
}

/// The partitions with an instance in a node's document, without what depends on the time.
fn busy_partitions(document: &[u8]) -> Result<Vec<Value>, Failure> {
    let value = marshal::decode(document).context("reading a node's document")?;
    let list = value
        .as_object()
        .and_then(|node| node.attributes.get("_computer_partition_list"))
        .and_then(Value::as_sequence)
        .ok_or_else(|| Failure::new("a node's document without partitions"))?;
    let mut busy: Vec<(String, Value)> = Vec::new();
    for partition in list {
        let mut partition = partition.clone();
        let Value::Object(object) = &mut partition else {
            continue;
        };
        if let Some(Value::Dict(parameters)) = object.attributes.get_mut("_parameter_dict") {
            parameters.remove("timestamp");
            let title = parameters.get("instance_title").and_then(Value::as_str);
            busy.push((title.unwrap_or_default().to_owned(), partition));
        }
    }
    busy.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(busy.into_iter().map(|(_, partition)| partition).collect())
}
