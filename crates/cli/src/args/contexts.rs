//! Several Masters: `login`, `logout`, `context`.

use clap::{Args, Subcommand};

use super::OutputFormat;
use super::client::ClientConfig;
use super::enrol::Proof;

/// Become known to a Master, under a name of your choice, and use it from now on
///
/// Turns a one-time token into a certificate and a key. The first Master gets the name `default`,
/// whose configuration is ~/.slapos/slapos-client.cfg; each further one is a context of its own
/// below ~/.slapos/contexts. With the name of a context, its certificate is renewed and its
/// configuration stays as it is. A Master that asks nobody who they are needs no token.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos login https://slapos.example.com:8443
  slapos login https://10.0.0.7:8443 --context lab --master-ca-file ca.crt
  slapos login http://127.0.0.1:5000 --context here
  slapos login lab                            a new certificate for a context there is
  pass slapos/token | slapos login https://slapos.example.com:8443")]
pub(crate) struct Login {
    /// URL of a Master, or the name of a context [default: the current context]
    #[arg(value_name = "URL|CONTEXT")]
    pub(crate) target: Option<String>,
    /// Name of the new context [default: `default` for the first, else the Master's host]
    #[arg(long, value_name = "CONTEXT")]
    pub(crate) context: Option<String>,
    /// URL where the Master turns tokens into certificates [default: the Master's own]
    #[arg(long, value_name = "URL")]
    pub(crate) master_url_web: Option<String>,
    #[command(flatten)]
    pub(crate) proof: Proof,
}

/// Forget the key and the certificate of a context
///
/// Its configuration stays, so that `slapos login CONTEXT` brings it back.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos logout
  slapos logout lab --yes")]
pub(crate) struct Logout {
    /// The context [default: the current one]
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// The Masters you know, and which one is meant
///
/// A context is a client's configuration with a name. What counts for a command is, in this order:
/// --cfg, --context, $SLAPOS_CONTEXT, $SLAPOS_CLIENT_CONFIGURATION, `slapos context use`,
/// ~/.slapos/slapos-client.cfg.
#[derive(Debug, Subcommand)]
pub(crate) enum Context {
    /// List the contexts
    #[command(after_help = "\
Examples:
  slapos context list
  slapos context list --output name")]
    List(ContextList),
    /// Use another context from now on
    #[command(after_help = "\
Examples:
  slapos context use lab
  slapos context use default")]
    Use(ContextName),
    /// Show a context: its Master, its files, until when its certificate is good
    #[command(after_help = "\
Examples:
  slapos context show
  slapos context show lab --output json")]
    Show(ContextShow),
    /// Remove a context with its configuration, key and certificate
    #[command(after_help = "\
Examples:
  slapos context remove lab
  slapos context remove lab --yes")]
    Remove(ContextRemove),
}

#[derive(Debug, Args)]
pub(crate) struct ContextList {
    /// How to print [default: table on a terminal, JSON otherwise]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
}

#[derive(Debug, Args)]
pub(crate) struct ContextName {
    /// The context
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: String,
}

#[derive(Debug, Args)]
pub(crate) struct ContextShow {
    /// The context [default: the current one]
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: Option<String>,
    /// How to print [default: table on a terminal, JSON otherwise]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
}

#[derive(Debug, Args)]
pub(crate) struct ContextRemove {
    /// The context
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: String,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Find out what is wrong between you and your Master
///
/// Looks at the configuration, the key, the certificate, the connection, and what the Master says, one
/// after the other; nothing is changed. Ends with 1 if something has to be done.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos check
  slapos check --context lab --output json")]
pub(crate) struct Check {
    /// How to print [default: table on a terminal, JSON otherwise]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}
