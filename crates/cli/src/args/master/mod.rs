//! What an administrator of a Master may type.

pub(crate) mod keep;
pub(crate) mod people;
pub(crate) mod places;
pub(crate) mod start;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::OutputFormat;

/// The Master: people, projects, certificates, nodes, products, backups
#[derive(Debug, Subcommand)]
pub(crate) enum Master {
    /// Start the Master
    Start(Box<start::Start>),
    /// Persons: add, list, disable, set a password
    #[command(subcommand, arg_required_else_help = true)]
    User(people::User),
    /// Projects and their members
    #[command(subcommand, arg_required_else_help = true)]
    Project(people::Project),
    /// One-time tokens, with which persons and nodes get their certificates
    #[command(subcommand, arg_required_else_help = true)]
    Token(people::Token),
    /// Certificates the Master issued
    #[command(subcommand, arg_required_else_help = true)]
    Certificate(people::Certificate),
    /// The Master's certificate authority
    #[command(subcommand, arg_required_else_help = true)]
    Ca(people::Ca),
    /// Compute nodes: add, list, open, close, limit, remove
    #[command(subcommand, arg_required_else_help = true)]
    Node(Box<places::Node>),
    /// Networks that nodes belong to
    #[command(subcommand, arg_required_else_help = true)]
    Network(places::Network),
    /// Gates to other Masters, whose nodes run instances of this one
    #[command(subcommand, arg_required_else_help = true)]
    Remote(Box<places::Remote>),
    /// Software products, their releases, what their types take of a node
    #[command(subcommand, arg_required_else_help = true)]
    Product(places::Product),
    /// Upgrades that instance trees were offered
    #[command(subcommand, arg_required_else_help = true)]
    Decision(places::Decision),
    /// Instances that wait for a place, and why
    Waiting(Listing),
    /// Who changed what, and when
    Audit(keep::Audit),
    /// Copy the whole database into one file, while the Master runs
    Backup(keep::Backup),
    /// Make a new Master of a backup
    Restore(keep::Restore),
    /// Bring the database's schema up to date
    Upgrade(Plain),
    /// Look for contradictions in the database
    Check(keep::Check),
}

/// Which Master is meant. A Master that runs is asked through the socket in its data directory;
/// otherwise its database is opened.
#[derive(Debug, Clone, Args)]
pub(crate) struct Which {
    /// Configuration file; its section [master] is read
    #[arg(
        long,
        value_name = "FILE",
        env = "SLAPOS_MASTER_CONFIGURATION",
        help_heading = "Which Master"
    )]
    pub(crate) cfg: Option<PathBuf>,
    /// The Master's directory [default: /var/lib/slapos-master]
    #[arg(
        long,
        value_name = "DIRECTORY",
        env = "SLAPOS_MASTER_DATA_DIR",
        help_heading = "Which Master"
    )]
    pub(crate) data_dir: Option<PathBuf>,
    /// Its database [default: sqlite:master.db in that directory]
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "SLAPOS_MASTER_DATABASE",
        hide_env_values = true,
        help_heading = "Which Master"
    )]
    pub(crate) database: Option<String>,
}

/// How a result is printed.
#[derive(Debug, Clone, Args)]
pub(crate) struct Printed {
    /// How to print [default: table on a terminal, JSON otherwise]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
}

/// A command without anything of its own.
#[derive(Debug, Args)]
pub(crate) struct Plain {
    #[command(flatten)]
    pub(crate) which: Which,
}

/// A command that shows something.
#[derive(Debug, Args)]
pub(crate) struct Listing {
    #[command(flatten)]
    pub(crate) printed: Printed,
    #[command(flatten)]
    pub(crate) which: Which,
}
