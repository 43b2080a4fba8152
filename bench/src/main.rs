//! Side by side with the released upstream: the same work, in the same run, one after the other in
//! turn (A B A B …). Prints what it does and a table in Markdown. See `docs/benchmarks.md`.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A program for people at a terminal.

mod cli;
mod failure;
mod http;
mod masters;
mod node;
mod os;
mod peers;
mod process;
mod report;
mod scale;
mod services;
mod stats;
mod trivial;
mod wire;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::failure::{Context, Failure};
use crate::http::Load;

/// Compare our Master, node and command line with the released upstream's
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    Scale(scale::Options),
    /// Run one command and print what it used
    #[command(hide = true)]
    Measure {
        #[arg(long, requires = "gid")]
        uid: Option<u32>,
        #[arg(long)]
        gid: Option<u32>,
        #[arg(last = true)]
        command: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct Options {
    /// Our program [default: `slapos` beside this program]
    #[arg(long, value_name = "FILE")]
    slapos: Option<PathBuf>,
    /// Where upstream is, or gets, installed [default: `target/peer`]
    #[arg(long, value_name = "DIRECTORY")]
    peer: Option<PathBuf>,
    /// Measure ours only
    #[arg(long)]
    ours_only: bool,
    /// Measure only these [default: all]
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// Few partitions, short rounds: does it work at all?
    #[arg(long)]
    quick: bool,
    /// Partitions of the node
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    partitions: usize,
    /// Runs of each measurement of the node
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    node_runs: usize,
    /// Connections of the concurrent measurements
    #[arg(long, value_name = "NUMBER", default_value_t = 64)]
    connections: usize,
    /// Put the table into this document as well, between its two marks
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Master,
    Node,
    Services,
    Cli,
}

/// How much is measured.
struct Sizes {
    /// Rounds of the Master's measurements.
    rounds: usize,
    /// The longest time for one round of one measurement.
    time: Duration,
    connections: usize,
    /// Partitions of each node that new requests go to.
    node_partitions: usize,
    /// How many such nodes a round takes for a quick Master.
    nodes_for_us: usize,
    /// Partitions of the node whose `node instance` is measured.
    partitions: usize,
    node_runs: usize,
    /// Services of one supervisor.
    services: usize,
    /// How long is looked at a supervisor that has nothing to do.
    idle: Duration,
    /// Runs of each command of the command line.
    runs: usize,
}

impl Sizes {
    fn new(options: &Options) -> Sizes {
        let connections = options.connections.clamp(1, 1000);
        if options.quick {
            return Sizes {
                rounds: 1,
                time: Duration::from_millis(300),
                connections: connections.min(8),
                node_partitions: 100,
                nodes_for_us: 1,
                partitions: options.partitions.min(5),
                node_runs: 1,
                services: 20,
                idle: Duration::from_millis(500),
                runs: 3,
            };
        }
        Sizes {
            rounds: 3,
            time: Duration::from_secs(3),
            connections,
            node_partitions: 1000,
            nodes_for_us: 20,
            partitions: options.partitions,
            node_runs: options.node_runs.max(1),
            services: 500,
            idle: Duration::from_secs(10),
            runs: 20,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Some(Command::Scale(options)) => scale::run(&options),
        Some(Command::Measure { uid, gid, command }) => process::launcher(uid.zip(gid), &command),
        None => run(&arguments.options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    os::catch_interrupts();
    let sizes = Sizes::new(options);
    let wanted = |part| options.only.is_empty() || options.only.contains(&part);
    let mut peers = vec![peers::ours(options.slapos.clone())?];
    if !options.ours_only {
        peers.push(peers::upstream(options.peer.clone())?);
    }
    // A short path: sockets of the nodes are below it.
    let directory = tempfile::Builder::new()
        .prefix("slapos-bench.")
        .tempdir_in("/tmp")
        .context("making a temporary directory")?;
    // The node's programs may run as another user.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))
        .context("opening the temporary directory")?;

    let mut results = report::Results {
        peers: peers.iter().map(|peer| peer.description.clone()).collect(),
        machine: report::Machine {
            description: report::machine(directory.path()),
            load_before: report::load_average(),
            load_after: String::new(),
            connections: sizes.connections,
            rounds: sizes.rounds,
            seconds: sizes.time.as_secs_f64(),
            node_partitions: sizes.node_partitions,
            partitions: sizes.partitions,
            node_runs: sizes.node_runs,
            services: sizes.services,
            idle_seconds: sizes.idle.as_secs_f64(),
            runs: sizes.runs,
        },
        ..report::Results::default()
    };
    if wanted(Part::Cli) {
        results.cli = cli::compare(&peers, directory.path(), &sizes)?;
    }
    if wanted(Part::Master) {
        results.generator = Some(generator(&sizes)?);
        results.master = masters::compare(&peers, directory.path(), &sizes)?;
    }
    if wanted(Part::Node) {
        results.node = node::compare(&peers, directory.path(), &sizes)?;
    }
    if wanted(Part::Services) {
        results.services = services::compare(&peers, directory.path(), &sizes)?;
    }
    results.machine.load_after = report::load_average();

    let table = report::markdown(&results);
    println!("\n{table}");
    if let Some(file) = &options.write {
        let document = fs::read_to_string(file).unwrap_or_default();
        fs::write(file, report::insert(&document, &table))
            .context(format_args!("writing {}", file.display()))?;
    }
    Ok(())
}

/// What the generator can do: it must not be what is measured.
fn generator(sizes: &Sizes) -> Result<[f64; 2], Failure> {
    let server = trivial::Server::start(trivial::KEEP_ALIVE).context("starting a server")?;
    let template = wire::RequestTemplate::new("COMP-1")?;
    let measure = |connections| {
        http::run(&Load {
            address: server.address(),
            connections,
            count: usize::MAX,
            time: sizes.time.min(Duration::from_secs(2)),
            request: &|n, to| template.fill(n % 1000, to),
            pace: None,
            judge: &http::expect("ok"),
        })
        .map(|outcome| outcome.per_second())
    };
    Ok([measure(1)?, measure(sizes.connections)?])
}

/// Progress, for the person who waits.
fn say(text: &str) {
    println!("{text}");
}
