//! `slapos apply`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::OutputFormat;
use super::client::{ClientConfig, duration};

/// Make the services of a file what the file says
///
/// Shows the difference between the file and what the Master holds, asks, and requests what is
/// different, and nothing else: applied again, there is nothing to do. What the file does not name
/// stays as it is; what it leaves out of a service, too. Nothing is destroyed without `state =
/// "destroyed"`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos apply -f services.toml --dry-run     only show the difference
  slapos apply -f services.toml --yes --wait
  generate | slapos apply -f - --yes          TOML, YAML or JSON

A file (docs/apply.md tells all of it):
  [[supply]]
  release = \"product.helloworld\"
  node = \"COMP-1\"

  [[service]]
  title = \"hello\"
  release = \"product.helloworld\"
  parameters = { name = \"World\" }")]
pub(crate) struct Apply {
    /// The file: TOML, YAML (.yaml, .yml) or JSON (.json); `-` is the standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Only show the difference
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Wait until every service that is changed is what it shall be
    #[arg(long)]
    pub(crate) wait: bool,
    /// Longest time to wait for each, such as `90s`, `10m` or `1h`
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// How to print the difference [default: table on a terminal, JSON otherwise]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}
