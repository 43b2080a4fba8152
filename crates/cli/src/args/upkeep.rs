//! What an administrator runs on a node besides its daily work (N 6).

use std::path::PathBuf;

use clap::Args;

/// Remove shared parts that nothing uses
///
/// Looks at the last directory of `shared_part_list`. A part is used when a release, a part that is
/// used itself, or a SlapOS inside a partition names it. Releases are not built meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos node prune --dry-run                  what would go, and how much room that makes
  slapos node prune
  slapos node prune --additional-software-directory /srv/runner/software

Exit codes: 0 done; 1 something could not be removed; 255 nothing was done: no shared parts are
configured, or releases are being built.")]
pub(crate) struct Prune {
    /// Only show what would be removed
    #[arg(short = 'n', long, alias = "dry_run")]
    pub(crate) dry_run: bool,
    /// A further directory of releases whose parts are kept; may be given several times
    #[arg(
        long,
        alias = "additional_software_directory",
        value_name = "DIRECTORY"
    )]
    pub(crate) additional_software_directory: Vec<PathBuf>,
}

/// Bring this node back to work after the machine was restarted
///
/// Waits for the network, prepares the machine as `slapos node format` does, tells the Master, and
/// has every partition processed again by the next `slapos node instance`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos node boot
  @reboot root slapos node boot --log-file /opt/slapos/log/slapos-node-format.log     in /etc/cron.d

Exit codes: 0 the Master knows; 1 it did not answer in time, partitions are processed once it does.")]
pub(crate) struct Boot {
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub(crate) timeout: u64,
    /// Accepted for compatibility
    #[arg(short, long, hide = true)]
    pub(crate) message: Option<String>,
}

/// Write down what this machine and its partitions use
///
/// Measures for a few seconds, then adds to the database, the CSV files and the usage reports that
/// `slapos node report` sends, and writes metrics for Prometheus. Meant to run every minute.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos node collect
  * * * * * root slapos node collect -q     in /etc/cron.d

Below INSTANCE_ROOT/var: data-log/collector.db, data-log/*.csv, data-log/DATE.tar.gz,
data-log/metrics.prom, consumption-report/DATE.xml, xml_report/NODE/DATE.xml.")]
pub(crate) struct Collect {
    /// Seconds over which the use of processors is measured
    #[arg(long, value_name = "SECONDS", default_value_t = node::collect::INTERVAL.as_secs(), value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) interval: u64,
}
