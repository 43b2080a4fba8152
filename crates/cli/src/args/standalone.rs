//! A whole cloud on one machine.

use std::path::PathBuf;

use clap::Args;

/// Master, node and processing loop on this machine, as an ordinary user
///
/// Everything is kept in one directory; run again, it goes on where it was. Ctrl-C stops it cleanly.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos standalone                         run until Ctrl-C
  slapos standalone --demo                  deploy a real application and keep it running
  slapos standalone --demo --exit           prove it works, then stop everything

While it runs, use it from another terminal (the commands are printed at start).")]
pub(crate) struct Standalone {
    /// Where everything is kept [default: ~/.slapos/standalone]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) root: Option<PathBuf>,
    /// Deploy `helloworld` and show its whole life
    #[arg(long)]
    pub(crate) demo: bool,
    /// Stop everything after the demo; no process is left
    #[arg(long, requires = "demo")]
    pub(crate) exit: bool,
    /// How many partitions the node has
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    pub(crate) partitions: u32,
    /// Port of the Master on 127.0.0.1 [default: the one used before, or a free one]
    #[arg(long)]
    pub(crate) port: Option<u16>,
}
