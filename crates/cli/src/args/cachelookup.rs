//! `slapos cachelookup` (N 6.7).

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::OutputFormat;

/// Look up what the network cache has
///
/// The cache is the one in section [networkcache] of the node's configuration; whoever is in its
/// signature-certificate-list is believed.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheLookup {
    BinarySr(BinarySr),
    Url(Url),
    Pypi(Pypi),
}

/// How and where every lookup looks.
#[derive(Debug, Args)]
pub(crate) struct LookupOptions {
    /// Configuration file [default: $SLAPOS_CONFIGURATION, then /etc/opt/slapos/slapos.cfg]
    #[arg(long, value_name = "FILE")]
    pub(crate) cfg: Option<PathBuf>,
    /// How the result is printed
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
}

/// On which systems a software release was built, and which of them fit this one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos cachelookup binary-sr https://example.com/software/helloworld/software.cfg
  slapos cachelookup binary-sr d0d92cdc9b30c1300fbc3c7ebd304be0 --output json

Exit codes: 0 it is known; 1 it is not, or the cache cannot be asked.")]
pub(crate) struct BinarySr {
    /// URL of the release, or its MD5 sum
    #[arg(value_name = "URL|MD5")]
    pub(crate) software_url: String,
    #[command(flatten)]
    pub(crate) options: LookupOptions,
}

/// Whether a file can be had from the cache instead of its URL
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos cachelookup url https://example.com/archive.tar.gz")]
pub(crate) struct Url {
    /// The file's URL
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) options: LookupOptions,
}

/// Whether a Python package can be had from the cache
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos cachelookup pypi slapos.recipe.template 5.1")]
pub(crate) struct Pypi {
    /// Its name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Its version
    #[arg(id = "package_version", value_name = "VERSION")]
    pub(crate) version: String,
    #[command(flatten)]
    pub(crate) options: LookupOptions,
}
