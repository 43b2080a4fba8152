//! The challenge of two million containers: 6,100 nodes of 328 partitions, 2,000,000 instances
//! requested over HTTP from one Master on the same machine; then the same nodes with nothing to do.
//!
//! Nodes are simulated by what they send: they register, describe themselves, report their release
//! available, and poll. Everything is acknowledged only when it is on disk, and everything
//! acknowledged is looked for at the end: in the documents of the nodes, read through the API.

mod check;
mod events;
mod fleet;
mod master;
mod pages;
mod rest;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::failure::{Context, Failure};
use crate::http::{self, Load, Outcome};
use crate::process::Memory;
use crate::stats::percentile;
use crate::wire::RequestTemplate;
use crate::{os, say};
use check::Given;
use fleet::Fleet;
use master::Master;

/// Nodes of the whole challenge.
const NODES: usize = 6_100;
/// Partitions of each.
const PARTITIONS: usize = 328;
/// Instances of the whole challenge; a few partitions stay free.
const INSTANCES: usize = 2_000_000;
/// How often a node asks, in the steady state.
const POLL: Duration = Duration::from_secs(60);

/// Two million instances on 6,100 simulated nodes, from one Master over HTTP
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Our program [default: `slapos` beside this program]
    #[arg(long, value_name = "FILE")]
    slapos: Option<PathBuf>,
    /// How much of the whole
    #[arg(long, value_name = "PART", default_value_t = 0.01)]
    share: f64,
    /// `sqlite`, `postgres` (a server of our own), or postgres://…, an empty database
    #[arg(long, value_name = "DATABASE", default_value = "sqlite")]
    database: String,
    /// Connections that request at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 256)]
    connections: usize,
    /// How long the nodes are watched that have nothing to do
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    steady: u64,
    /// Where the Master keeps its files [default: a temporary directory in /tmp, removed at the end]
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// What one phase took.
struct Phase {
    outcome: Outcome,
    /// Processor time of the Master, and of this program, in seconds.
    master_cpu_s: f64,
    client_cpu_s: f64,
    memory: Memory,
}

impl Phase {
    fn percentile(&self, percent: usize) -> Duration {
        percentile(&self.outcome.latencies, percent)
    }

    fn line(&self, what: &str) {
        let seconds = self.outcome.elapsed.as_secs_f64().max(1e-9);
        say(&format!(
            "{what:<44} {:>9} in {seconds:>7.1} s: {:>7.0}/s, p50 {:>9.2?}, p99 {:>9.2?}; Master {:>4.0} % \
             of a processor, {:>6.0} µs each; client {:>3.0} %; resident {} MB, private {} MB",
            self.outcome.replies,
            self.outcome.per_second(),
            self.percentile(50),
            self.percentile(99),
            100.0 * self.master_cpu_s / seconds,
            1e6 * self.master_cpu_s / self.outcome.replies.max(1) as f64,
            100.0 * self.client_cpu_s / seconds,
            self.memory.resident_kib / 1000,
            self.memory.private_kib / 1000,
        ));
    }
}

/// All that was measured.
struct Results {
    share: f64,
    database: &'static str,
    nodes: usize,
    connections: usize,
    registered: Duration,
    requests: Phase,
    again: Phase,
    documents: Phase,
    database_bytes: u64,
    rest: rest::Rest,
    pages: Vec<pages::Page>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    os::catch_interrupts();
    os::allow_files(4 * NODES as u64)?;
    let nodes = ((NODES as f64 * options.share).round() as usize).clamp(1, NODES);
    let instances =
        ((INSTANCES as f64 * options.share).round() as usize).clamp(1, nodes * PARTITIONS);
    let connections = options.connections.clamp(1, 4000);
    let temporary = tempfile::Builder::new()
        .prefix("slapos-scale.")
        .tempdir_in("/tmp")
        .context("making a temporary directory")?;
    let directory = options
        .directory
        .clone()
        .unwrap_or_else(|| temporary.path().to_path_buf());

    let master = Master::start(options.slapos.clone(), &directory, &options.database)?;
    say(&format!(
        "{nodes} nodes of {PARTITIONS} partitions, {instances} instances, {connections} connections, {}; \
         an idle Master has {} MB",
        master.kind(),
        master.memory().resident_kib / 1000
    ));
    let fleet = Fleet::register(&master, nodes, PARTITIONS)?;
    let registered = fleet.took;

    let given = Given::new(instances, nodes, PARTITIONS);
    let template = RequestTemplate::anywhere(&master.person)?;
    let requests = master.phase(&Load {
        address: master.address,
        connections,
        count: instances,
        time: Duration::MAX,
        pace: None,
        request: &|n, to| template.fill(n, to),
        judge: &|n, answer| given.note(n, answer, &fleet),
    })?;
    requests.line("new requests, each durable");
    given.all_acknowledged()?;

    let again = master.phase(&Load {
        address: master.address,
        connections,
        count: usize::MAX,
        time: Duration::from_secs(5),
        pace: None,
        request: &|n, to| template.fill(n.wrapping_mul(7_919) % instances, to),
        judge: &http::expect("slap_computer_partition_id"),
    })?;
    again.line("the same requests again");

    let documents = check::documents(&master, &fleet, &given)?;
    documents.line("documents of nodes, all partitions checked");
    given.all_found()?;
    say(&format!(
        "checked: {instances} instances acknowledged, each found once, in the partition that was told"
    ));

    let database_bytes = master.database_bytes()?;
    let rest = rest::watch(&master, &fleet, &given, Duration::from_secs(options.steady))?;
    let pages = pages::visit(&master)?;
    let results = Results {
        pages,
        share: options.share,
        database: master.kind(),
        nodes,
        connections,
        registered,
        requests,
        again,
        documents,
        database_bytes,
        rest,
    };
    println_table(&results);
    Ok(())
}

fn println_table(results: &Results) {
    say(&format!("\n{}", table::markdown(results)));
}
