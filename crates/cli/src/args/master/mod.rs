//! What an administrator of a Master may type.

pub(crate) mod start;

use clap::Subcommand;

/// The Master: people, projects, certificates, nodes, products, backups
#[derive(Debug, Subcommand)]
pub(crate) enum Master {
    /// Start the Master
    Start(Box<start::Start>),
}
