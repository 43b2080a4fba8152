//! Starting a Master.

use std::path::PathBuf;

use clap::Args;

/// Where a Master keeps its files, where nothing is said.
pub(crate) const DATA_DIR: &str = "/var/lib/slapos-master";

/// Start the Master
#[derive(Debug, Args)]
#[command(after_help = "\
The first start makes everything that is needed: a certificate authority, the server's certificate,
an administrator `admin` with a one-time link to set its password, and the project PROJ-1. Later
starts find it again; certificates are renewed early, without a restart.

Examples:
  slapos master start --data-dir ~/master
  slapos master start --public-url https://slapos.example.com:8443
  slapos master start --database postgres://slapos@/slapos --listen 10.0.0.7:8443
  slapos master start --plain 127.0.0.1:8080 --trusted-proxy 127.0.0.1 --public-url https://slapos.example.com

Options may also stand in section [master] of a file (--cfg), with underscores: `public_url = …`.")]
pub(crate) struct Start {
    /// Configuration file; its section [master] is read
    #[arg(long, value_name = "FILE", env = "SLAPOS_MASTER_CONFIGURATION")]
    pub(crate) cfg: Option<PathBuf>,
    /// Directory for the Master's files, which only its user can read [default: /var/lib/slapos-master]
    #[arg(long, value_name = "DIRECTORY", env = "SLAPOS_MASTER_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Its database: sqlite:PATH or postgres://USER@HOST/NAME [default: sqlite:master.db in the data
    /// directory]
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "SLAPOS_MASTER_DATABASE",
        hide_env_values = true
    )]
    pub(crate) database: Option<String>,
    /// Where to listen for HTTPS: HOST:PORT or :PORT; may be repeated [default: :8443]
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "SLAPOS_MASTER_LISTEN",
        value_delimiter = ','
    )]
    pub(crate) listen: Vec<String>,
    /// Where to listen for plain HTTP: on this machine, or for proxies that are trusted
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "SLAPOS_MASTER_PLAIN",
        value_delimiter = ','
    )]
    pub(crate) plain: Vec<String>,
    /// Proxies that end TLS: their Remote-User and X-Forwarded-… headers are believed
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "SLAPOS_MASTER_TRUSTED_PROXY",
        value_delimiter = ','
    )]
    pub(crate) trusted_proxy: Vec<String>,
    /// The URL that nodes, clients and people use [default: the machine's name with the port]
    #[arg(long, value_name = "URL", env = "SLAPOS_MASTER_PUBLIC_URL")]
    pub(crate) public_url: Option<String>,
    /// Further names or addresses of this machine, for the server's certificate
    #[arg(
        long,
        value_name = "NAME",
        env = "SLAPOS_MASTER_SERVER_NAME",
        value_delimiter = ','
    )]
    pub(crate) server_name: Vec<String>,
    /// A server certificate from elsewhere (PEM); the file may change while the Master runs
    #[arg(long, value_name = "FILE", env = "SLAPOS_MASTER_CERTIFICATE")]
    pub(crate) certificate: Option<PathBuf>,
    /// The key of that certificate (PEM)
    #[arg(long, value_name = "FILE", env = "SLAPOS_MASTER_KEY")]
    pub(crate) key: Option<PathBuf>,
    /// Whom a new certificate authority is made for
    #[arg(long, value_name = "NAME", env = "SLAPOS_MASTER_ORGANISATION")]
    pub(crate) organisation: Option<String>,
    /// Keep a network cache there, at /shacache and /shadir; its limits are in section [master]
    #[arg(long, value_name = "DIRECTORY", env = "SLAPOS_MASTER_CACHE_DIRECTORY")]
    pub(crate) cache_directory: Option<PathBuf>,
    /// Stop when the process that started it ends
    #[arg(long, hide = true)]
    pub(crate) with_parent: bool,
}
