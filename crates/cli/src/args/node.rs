//! The node's commands (C 1.7, N 1.6).

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Run this machine as a compute node
///
/// Without a command it shows the state of the services.
#[derive(Debug, Args)]
pub(crate) struct Node {
    #[command(flatten)]
    pub(crate) config: NodeConfig,
    #[command(subcommand)]
    pub(crate) command: Option<NodeCommand>,
}

/// Where a node's configuration is.
#[derive(Debug, Clone, Args)]
pub(crate) struct NodeConfig {
    /// Configuration file [default: $SLAPOS_CONFIGURATION, then /etc/opt/slapos/slapos.cfg]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) cfg: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    Register(Box<super::enrol::Register>),
    /// Do all of it all the time: a daemon that the Master wakes
    Agent(Agent),
    /// Prepare this machine: partitions, addresses; tell the Master
    Format(Format),
    /// Build and remove software releases as the Master wants
    Software(Software),
    /// Process the partitions as the Master wants
    Instance(Instance),
    /// Report usage, and remove the instances that shall be destroyed
    Report(Report),
    /// Check all promises
    Promise(Promise),
    /// Ask the Master to have everything on this node processed again
    Bang(Bang),
    Boot(super::upkeep::Boot),
    Collect(super::upkeep::Collect),
    Prune(super::upkeep::Prune),
    /// Control the services, with supervisorctl's words
    Supervisorctl(Supervisorctl),
    /// Show what the partitions use: processor, memory, tasks
    Usage(Usage),
    /// Show what the agent does and why, and the state of the services
    Status(Status),
    /// Start services
    Start(Names),
    /// Stop services
    Stop(Names),
    /// Restart services
    Restart(Names),
    /// Show the end of a service's log
    Tail(Tail),
    /// Run the supervisor of the services
    Supervisord(Supervisord),
}

/// Options that software, instance, report and promise share.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Common {
    /// Directory of the partitions
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) instance_root: Option<PathBuf>,
    /// Directory of the software releases
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) software_root: Option<PathBuf>,
    /// URL of the Master
    #[arg(long, value_name = "URL")]
    pub(crate) master_url: Option<String>,
    /// Reference of this compute node
    #[arg(long, value_name = "NODE")]
    pub(crate) computer_id: Option<String>,
    /// Accepted for compatibility
    #[arg(long, hide = true)]
    pub(crate) supervisord_socket: Option<PathBuf>,
    /// Accepted for compatibility
    #[arg(long, hide = true)]
    pub(crate) supervisord_configuration_path: Option<PathBuf>,
    /// Script to bootstrap buildout with
    #[arg(long, value_name = "FILE")]
    pub(crate) buildout: Option<PathBuf>,
    /// Lock file
    #[arg(long, value_name = "FILE")]
    pub(crate) pidfile: Option<PathBuf>,
    /// Private key of this node
    #[arg(long = "key_file", alias = "key-file", value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Certificate of this node
    #[arg(long = "cert_file", alias = "cert-file", value_name = "FILE")]
    pub(crate) cert_file: Option<PathBuf>,
    /// Key to sign uploads to the network cache with
    #[arg(long = "signature_private_key_file", value_name = "FILE")]
    pub(crate) signature_private_key_file: Option<PathBuf>,
    /// Certificates of the authorities that sign the Master's
    #[arg(long = "master_ca_file", alias = "master-ca-file", value_name = "FILE")]
    pub(crate) master_ca_file: Option<PathBuf>,
    /// Directory of the partitions' certificates
    #[arg(long = "certificate_repository_path", value_name = "DIRECTORY")]
    pub(crate) certificate_repository_path: Option<PathBuf>,
    /// Seconds after which an unchanged partition is processed again
    #[arg(long, value_name = "SECONDS")]
    pub(crate) maximum_periodicity: Option<i64>,
    /// Seconds a promise may take
    #[arg(long, value_name = "SECONDS")]
    pub(crate) promise_timeout: Option<u64>,
    /// Seconds the processing of a partition may take
    #[arg(long, value_name = "SECONDS")]
    pub(crate) partition_timeout: Option<u64>,
    /// Start at once, whatever --maximal_delay says
    #[arg(long)]
    pub(crate) now: bool,
    /// Wait a random time of at most so many seconds first
    #[arg(
        long = "maximal_delay",
        alias = "maximal-delay",
        value_name = "SECONDS"
    )]
    pub(crate) maximal_delay: Option<u64>,
}

/// Do all of it all the time: a daemon that the Master wakes
///
/// Builds releases, processes partitions, checks promises, reports and removes, as soon as there is
/// something to do; without events of the Master it asks once a minute. It takes the place of cron
/// jobs for the other commands, which may be typed nevertheless. SIGHUP has it read its
/// configuration anew; `slapos node status` shows what it does and why.
#[derive(Debug, Args)]
pub(crate) struct Agent {
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Build and remove software releases as the Master wants
#[derive(Debug, Args)]
pub(crate) struct Software {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Let buildout stop in its debugger on failure
    #[arg(long)]
    pub(crate) buildout_debug: bool,
    /// Also remove releases the Master does not know
    #[arg(long)]
    pub(crate) garbage_collect: bool,
    /// Build all releases again, complete ones included
    #[arg(long, alias = "all")]
    pub(crate) force: bool,
    /// Only these releases: URLs or their MD5 sums, separated by commas
    #[arg(
        long = "only-sr",
        alias = "only",
        alias = "only_sr",
        value_name = "LIST",
        value_delimiter = ','
    )]
    pub(crate) only: Vec<String>,
}

/// Process the partitions as the Master wants
#[derive(Debug, Args)]
pub(crate) struct Instance {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Let buildout stop in its debugger on failure
    #[arg(long)]
    pub(crate) buildout_debug: bool,
    /// Process the partitions but stop their services
    #[arg(long)]
    pub(crate) force_stop: bool,
    /// Process all partitions, unchanged ones included
    #[arg(long, alias = "all")]
    pub(crate) force: bool,
    /// Only these partitions, separated by commas
    #[arg(
        long = "only-cp",
        alias = "only",
        alias = "only_cp",
        value_name = "LIST",
        value_delimiter = ','
    )]
    pub(crate) only: Vec<String>,
}

/// Report usage, and remove the instances that shall be destroyed
#[derive(Debug, Args)]
pub(crate) struct Report {
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Check all promises
#[derive(Debug, Args)]
pub(crate) struct Promise {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Only these partitions, separated by commas
    #[arg(
        long = "only-cp",
        alias = "only",
        alias = "only_cp",
        value_name = "LIST",
        value_delimiter = ','
    )]
    pub(crate) only: Vec<String>,
    /// How to print what fails
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: super::OutputFormat,
}

/// Prepare this machine: partitions, addresses; tell the Master
#[derive(Debug, Args)]
pub(crate) struct Format {
    /// State file
    #[arg(short = 'x', long = "computer_xml", value_name = "FILE")]
    pub(crate) computer_xml: Option<PathBuf>,
    /// The same in JSON
    #[arg(long = "computer_json", value_name = "FILE")]
    pub(crate) computer_json: Option<PathBuf>,
    /// File that says what the partitions shall be
    #[arg(short = 'i', long = "input_definition_file", value_name = "FILE")]
    pub(crate) input_definition_file: Option<PathBuf>,
    /// Write what the partitions are to this file
    #[arg(short = 'o', long = "output_definition_file", value_name = "FILE")]
    pub(crate) output_definition_file: Option<PathBuf>,
    /// Create users and give them their files
    #[arg(long = "alter_user", value_name = "True|False")]
    pub(crate) alter_user: Option<String>,
    /// Create interfaces and addresses
    #[arg(long = "alter_network", value_name = "True|False")]
    pub(crate) alter_network: Option<String>,
    /// Start at once
    #[arg(long)]
    pub(crate) now: bool,
    /// Only show what would be done
    #[arg(short = 'n', long = "dry_run", alias = "dry-run")]
    pub(crate) dry_run: bool,
    /// Remove what format made on this machine: users, directories, interfaces, addresses
    #[arg(long)]
    pub(crate) undo: bool,
    /// Accepted for compatibility
    #[arg(short = 'c', long, hide = true)]
    pub(crate) console: Option<String>,
}

/// Ask the Master to have everything on this node processed again
#[derive(Debug, Args)]
pub(crate) struct Bang {
    /// Why
    #[arg(short, long, default_value = "")]
    pub(crate) message: String,
}

/// Show what the partitions use: processor, memory, tasks
///
/// Counted by the kernel (cgroup v2) since the partition's instance was first started; `-` is what
/// this kernel does not count.
#[derive(Debug, Args)]
pub(crate) struct Usage {
    /// How to print it [default: a table on a terminal, else JSON]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<super::OutputFormat>,
}

/// Control the services, with supervisorctl's words
#[derive(Debug, Args)]
pub(crate) struct Supervisorctl {
    /// status, start, stop, restart, tail, … and names of services
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Names are PARTITION:SERVICE, PARTITION: for all of a partition, or `all`.")]
pub(crate) struct Names {
    /// Names of services
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// Show what the agent does and why, and the state of the services
///
/// The agent's part is for people on a terminal, or whoever asks for a format; otherwise only the
/// services are printed, as supervisorctl does.
#[derive(Debug, Default, Args)]
#[command(after_help = "\
Names are PARTITION:SERVICE, PARTITION: for all of a partition, or `all`.")]
pub(crate) struct Status {
    /// Only these services
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// How to print it [default: tables on a terminal, else supervisorctl's lines]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<super::OutputFormat>,
}

/// Show the end of a service's log
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// Go on as the log grows
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Name of the service
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// Run the supervisor of the services
#[derive(Debug, Args)]
pub(crate) struct Supervisord {
    /// Stay in the foreground
    #[arg(short, long)]
    pub(crate) nodaemon: bool,
    /// The supervisor's own configuration
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) configuration: Option<PathBuf>,
}
