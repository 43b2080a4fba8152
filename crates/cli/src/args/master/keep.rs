//! The audit trail, backups.

use std::path::PathBuf;

use clap::Args;

use super::{Printed, Which};
use crate::args::OutputFormat;

/// Who changed what, and when
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos master audit
  slapos master audit --subject SOFTINST-7 --limit 20
  slapos master audit --actor ada --project Observatory")]
pub(crate) struct Audit {
    /// In this project only: PROJ-1, or its title
    #[arg(long, value_name = "PROJECT")]
    pub(crate) project: Option<String>,
    /// Of this only: SOFTINST-7, COMP-1, a login …
    #[arg(long, value_name = "REFERENCE")]
    pub(crate) subject: Option<String>,
    /// By this one only: a login, COMP-1, SOFTINST-7, or `master`
    #[arg(long, value_name = "NAME")]
    pub(crate) actor: Option<String>,
    /// The newest so many
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    pub(crate) limit: i64,
    #[command(flatten)]
    pub(crate) printed: Printed,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Copy the whole database into one file
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos master backup /backup/master-$(date +%F).db
  slapos master backup /safe/master.db --with-secret

The keys in the database (the certificate authority's, the instances') are sealed with the file
secret.key of the data directory. A backup without it is of no use to a thief, and of no use to you
without a copy of secret.key. With --with-secret the backup alone makes a new Master: guard it like
the Master itself.")]
pub(crate) struct Backup {
    /// The file to write, which must not exist
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Put secret.key into the file
    #[arg(long)]
    pub(crate) with_secret: bool,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Make a new Master of a backup
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos master restore /safe/master.db --data-dir /srv/master
  slapos master restore master.db --secret-key secret.key --data-dir /srv/master
  slapos master restore master.db --data-dir /srv/master --database postgres://slapos@db/slapos

The data directory and the database must be new. The backup is checked before anything is written:
every record, and that the sealed keys open. A backup of an SQLite database can be restored into
PostgreSQL, and the other way round.")]
pub(crate) struct Restore {
    /// The backup
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The file secret.key of the Master that was backed up, if the backup does not hold it
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_key: Option<PathBuf>,
    /// Restore it although it holds contradictions, which are shown
    #[arg(long)]
    pub(crate) anyway: bool,
    #[command(flatten)]
    pub(crate) printed: Printed,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Look for contradictions in the database
#[derive(Debug, Args)]
#[command(after_help = "\
Looks whether partitions and instances agree, counters are right, destroyed trees have no running
members, certificates of what is gone are refused, sealed keys open, and more. The Master may run.
Prints one line for each contradiction; the exit code is 1 when there is one.")]
pub(crate) struct Check {
    /// How to print [default: one line for each contradiction]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    #[command(flatten)]
    pub(crate) which: Which,
}
