//! What can be installed: `slapos software …`.

use clap::{Args, Subcommand};
use slap::SoftwareType;

use super::OutputFormat;
use super::client::{ClientConfig, List};

/// Look at the software that can be requested
#[derive(Debug, Subcommand)]
pub(crate) enum Software {
    /// List the products of the Master, and your own aliases
    #[command(after_help = "\
Examples:
  slapos software list
  slapos software list --output json")]
    List(List),
    Info(SoftwareInfo),
}

/// Show a release: its software types, and the parameters of each
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos software info product.helloworld
  slapos software info ~/software/helloworld/software.cfg --type default
  slapos software info product.helloworld --output json")]
pub(crate) struct SoftwareInfo {
    /// Software release: a product, an alias, a URL or a path
    #[arg(value_name = "URL")]
    pub(crate) release: String,
    /// Only this software type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) software_type: Option<SoftwareType>,
    /// How to print [default: table on a terminal, JSON otherwise]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}
