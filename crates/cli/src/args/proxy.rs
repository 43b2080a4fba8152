//! The Master for one machine (C 1.8).

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::OutputFormat;

/// A Master for one machine, without security, on loopback
#[derive(Debug, Subcommand)]
pub(crate) enum Proxy {
    /// Start the Master
    Start(Start),
    /// Show what the Master's database holds
    Show(Show),
}

/// Start the Master
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos proxy start --cfg slapos.cfg
  slapos proxy start --database-uri /tmp/master.db --port 5000

Without a configuration file the options must say where the database is.")]
pub(crate) struct Start {
    /// Configuration file [default: $SLAPOS_CONFIGURATION, then /etc/opt/slapos/slapos.cfg]
    #[arg(long, value_name = "FILE")]
    pub(crate) cfg: Option<PathBuf>,
    /// The database file
    #[arg(short = 'u', long, value_name = "FILE")]
    pub(crate) database_uri: Option<String>,
    /// Address to listen on
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// Port to listen on
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Directory below which release URLs are local paths
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) local_software_release_root: Option<PathBuf>,
    /// Listen on an address others can reach, although nobody is asked who they are
    #[arg(long)]
    pub(crate) allow_remote: bool,
    /// Stop when the process that started it ends
    #[arg(long, hide = true)]
    pub(crate) with_parent: bool,
}

/// Show what the Master's database holds
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Configuration file [default: $SLAPOS_CONFIGURATION, then /etc/opt/slapos/slapos.cfg]
    #[arg(long, value_name = "FILE")]
    pub(crate) cfg: Option<PathBuf>,
    /// The database file
    #[arg(short = 'u', long, value_name = "FILE")]
    pub(crate) database_uri: Option<String>,
    /// The compute nodes
    #[arg(long)]
    pub(crate) computers: bool,
    /// The software installations
    #[arg(long)]
    pub(crate) software: bool,
    /// The occupied partitions
    #[arg(long)]
    pub(crate) partitions: bool,
    /// The shared instances
    #[arg(long)]
    pub(crate) slaves: bool,
    /// The parameters of the instances
    #[arg(long)]
    pub(crate) params: bool,
    /// The addresses of the partitions
    #[arg(long)]
    pub(crate) network: bool,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: OutputFormat,
}
