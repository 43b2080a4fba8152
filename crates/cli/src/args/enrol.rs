//! Becoming known to a Master: `configure client` and `node register` (C 3.1, 3.3).

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use slap_client::Fingerprint;

use super::client::ClientConfig;

/// Set up this program for use with a Master
#[derive(Debug, Subcommand)]
pub(crate) enum Configure {
    Client(ConfigureClient),
    Local(ConfigureLocal),
}

/// Which Master, how it is recognised, and the token it gave.
#[derive(Debug, Clone, Args)]
pub(crate) struct Access {
    /// URL of the Master's API [default: that of --master-url-web, or https://slap.vifib.com]
    #[arg(long, value_name = "URL")]
    pub(crate) master_url: Option<String>,
    /// URL where the Master turns tokens into certificates [default: that of --master-url, or
    /// https://panel.rapid.space]
    #[arg(long, value_name = "URL")]
    pub(crate) master_url_web: Option<String>,
    #[command(flatten)]
    pub(crate) proof: Proof,
}

/// How the Master is recognised, and the token it gave.
#[derive(Debug, Clone, Args)]
pub(crate) struct Proof {
    /// One-time token; every user of this machine can read a command line, so better say it when
    /// asked, on the standard input, or in the environment
    #[arg(long, env = "SLAPOS_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Read the one-time token from this file; `-` is the standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// SHA-256 fingerprint of the certificate of the Master's own authority, which the Master
    /// printed when it was started
    #[arg(long, value_name = "SHA256", help_heading = "Trust")]
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Certificate of the Master's own authority (PEM)
    #[arg(
        long = "master-ca-file",
        aliases = ["ca-file", "master_ca_file"],
        value_name = "FILE",
        conflicts_with = "fingerprint",
        help_heading = "Trust"
    )]
    pub(crate) master_ca_file: Option<PathBuf>,
    /// Believe whoever answers to be the Master, now and later; anybody between can read the token
    /// and the key
    #[arg(long, conflicts_with_all = ["fingerprint", "master_ca_file"], help_heading = "Trust")]
    pub(crate) insecure: bool,
}

/// Get a certificate for yourself, and write the client's configuration
///
/// Writes the configuration, and beside it client.crt and client.key, which are also found under
/// the names certificate and key. A Master with an authority of its own is recognised by the
/// fingerprint of that authority: give it, or say yes when it is shown.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos configure client --master-url https://slapos.example.com:8443
  slapos configure client --master-url https://10.0.0.7:8443 --master-ca-file ca.crt --token TOKEN
  slapos configure client                     at the public Master of Rapid.Space")]
pub(crate) struct ConfigureClient {
    #[command(flatten)]
    pub(crate) access: Access,
    /// Replace a configuration that is there, without asking
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}

/// Make this machine a cloud of its own: a node with a Master for it alone
///
/// Writes both configurations, has the node's supervisor keep the Master, and prepares the
/// partitions. For a trial without any of this, see `slapos standalone`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos configure local
  slapos configure local --partition-number 4 --interface-name eth0
  slapos configure local --slapos-configuration-directory ~/node/etc --partition-number 3

Then: slapos supply URL local_computer, slapos node software, slapos node instance.")]
pub(crate) struct ConfigureLocal {
    /// Network interface that gets the partitions' addresses
    #[arg(long, value_name = "INTERFACE", default_value = "lo")]
    pub(crate) interface_name: String,
    /// How many partitions the node has
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) partition_number: u32,
    /// Network that the partitions' IPv4 addresses are taken from
    #[arg(long, value_name = "NETWORK", default_value = "10.0.0.0/16")]
    pub(crate) ipv4_local_network: String,
    /// Address the Master listens on; it asks nobody who they are
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) daemon_listen_ip: IpAddr,
    /// Port the Master listens on
    #[arg(long, value_name = "PORT", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) daemon_listen_port: u16,
    /// Directory of the partitions [default: /srv/slapgrid]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) slapos_instance_root: Option<PathBuf>,
    /// Directory of the software releases [default: /opt/slapgrid]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) slapos_software_root: Option<PathBuf>,
    /// Directory of the Master's database, logs and locks [default: /opt/slapos]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) slapos_buildout_directory: Option<PathBuf>,
    /// Directory of the configuration [default: /etc/opt/slapos]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) slapos_configuration_directory: Option<PathBuf>,
    /// The node works as an ordinary user: no users, no addresses; everything beside the
    /// configuration [default when not root]
    #[arg(long)]
    pub(crate) unprivileged: bool,
    /// The Master keeps a network cache, to which the node gives the releases it built, signed, and
    /// from which it takes them
    #[arg(long)]
    pub(crate) enable_shacache_proxy: bool,
}

/// Register this machine as a compute node of a Master
///
/// Writes the node's configuration, and beside it ssl/key, ssl/certificate and ssl/partition_pki.
/// A configuration that is there is kept under another name.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos node register rack1-a --master-url https://slapos.example.com:8443
  slapos node register laptop --master-url https://10.0.0.7:8443 --cfg ~/node/etc/slapos.cfg --unprivileged

Then: slapos node format --now, slapos node software, slapos node instance.")]
pub(crate) struct Register {
    /// Title of the node, unique in its project
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) access: Access,
    /// Network interface that gets the partitions' addresses
    #[arg(long, value_name = "INTERFACE", default_value = "lo")]
    pub(crate) interface_name: String,
    /// How many partitions the node has
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) partition_number: u32,
    /// Network that the partitions' IPv4 addresses are taken from
    #[arg(long, value_name = "NETWORK", default_value = "10.0.0.0/16")]
    pub(crate) ipv4_local_network: String,
    /// Directory of the software releases [default: /opt/slapgrid]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) software_root: Option<PathBuf>,
    /// Directory of the partitions [default: /srv/slapgrid]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) instance_root: Option<PathBuf>,
    /// Give each partition a tap interface, for virtual machines
    #[arg(short = 't', long)]
    pub(crate) create_tap: bool,
    /// The node works as an ordinary user: no users, no addresses; everything beside the
    /// configuration [default when not root]
    #[arg(long)]
    pub(crate) unprivileged: bool,
    /// Only show what would be done; the token stays good
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}
