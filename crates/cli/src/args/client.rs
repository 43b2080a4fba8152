//! The client's commands (C 1.4–1.6).

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use slap::serialisation::Serialisation;
use slap::{InstanceState, InstanceTitle, NodeId, SoftwareType};

use super::OutputFormat;

/// Where a client's configuration is.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClientConfig {
    /// Configuration file [default: $SLAPOS_CLIENT_CONFIGURATION, then that of the current context,
    /// ~/.slapos/slapos-client.cfg]
    #[arg(long, value_name = "FILE")]
    pub(crate) cfg: Option<PathBuf>,
    /// The Master of this context [default: $SLAPOS_CONTEXT, then `slapos context use`]
    #[arg(long, value_name = "CONTEXT", conflicts_with = "cfg")]
    pub(crate) context: Option<String>,
}

/// Ask for an instance, change one, or see its state and connection parameters
///
/// Asking again for the same title is harmless: what is not given stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos request hello ~/software/helloworld/software.cfg --wait
  slapos request hello product.helloworld --parameters name=World color=teal
  slapos request hello product.helloworld --node computer_guid=COMP-1 --state stopped
  slapos request hello product.helloworld --set color=navy --unset name --dry-run
  slapos request hello product.helloworld --parameters-file parameters.json --output json")]
pub(crate) struct Request {
    /// Title of the instance, unique among yours
    #[arg(value_name = "TITLE")]
    pub(crate) title: InstanceTitle,
    /// Software release: a URL, a path, or `product.NAME`
    #[arg(value_name = "URL")]
    pub(crate) release: String,
    /// Where it may be placed, such as `computer_guid=COMP-1`
    #[arg(long, num_args = 1.., value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) node: Option<Vec<(String, String)>>,
    /// Software type [default: the one it has, or `default`]
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) software_type: Option<SoftwareType>,
    /// What it shall be: started, stopped or destroyed [default: what it is, or started]
    #[arg(long)]
    pub(crate) state: Option<InstanceState>,
    /// Ask for a shared instance
    #[arg(long = "slave", alias = "shared")]
    pub(crate) shared: bool,
    /// Parameters [default: those it has]
    #[arg(long, num_args = 0.., value_name = "KEY=VALUE", value_parser = key_value, conflicts_with = "parameters_file")]
    pub(crate) parameters: Option<Vec<(String, String)>>,
    /// Read the parameters from a JSON, YAML or XML file
    #[arg(long, value_name = "FILE")]
    pub(crate) parameters_file: Option<PathBuf>,
    /// How the parameters of the file are written down: xml or json-in-xml [default: as the release says]
    #[arg(long, value_name = "SERIALISATION", requires = "parameters_file")]
    pub(crate) force_serialisation: Option<Serialisation>,
    /// Change or add these parameters, and keep the others
    #[arg(long, num_args = 1.., value_name = "KEY=VALUE", value_parser = key_value, conflicts_with_all = ["parameters", "parameters_file"])]
    pub(crate) set: Option<Vec<(String, String)>>,
    /// Take these parameters away, and keep the others
    #[arg(long, num_args = 1.., value_name = "KEY", conflicts_with_all = ["parameters", "parameters_file"])]
    pub(crate) unset: Option<Vec<String>>,
    /// Send parameters that do not fit the release's schema all the same
    #[arg(long)]
    pub(crate) force: bool,
    /// Let an instance of another release become one of this release
    #[arg(long)]
    pub(crate) upgrade: bool,
    /// Only show what would change; nothing is sent
    #[arg(long, visible_alias = "diff", conflicts_with = "wait")]
    pub(crate) dry_run: bool,
    /// Wait until the instance has published its connection parameters (or is gone, when destroyed)
    #[arg(long)]
    pub(crate) wait: bool,
    /// Longest time to wait, such as `90s`, `10m` or `1h`
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// How to print the result [default: table]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}

/// Ask a node to install, or to remove, a software release
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos supply ~/software/helloworld/software.cfg COMP-1
  slapos supply product.helloworld COMP-1 --wait
  slapos remove product.helloworld COMP-1")]
pub(crate) struct Supply {
    /// Software release: a URL, a path, or `product.NAME`
    #[arg(value_name = "URL")]
    pub(crate) release: String,
    /// The compute node: its reference such as COMP-1, or its title
    #[arg(value_name = "NODE")]
    pub(crate) node: NodeId,
    /// Wait until the node has built it, or has removed it
    #[arg(long)]
    pub(crate) wait: bool,
    /// Longest time to wait, such as `90s`, `10m` or `1h`
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}

/// Look at compute nodes
#[derive(Debug, Subcommand)]
pub(crate) enum Computer {
    /// List the compute nodes you may see
    List(List),
    /// Show one compute node
    Info(ComputerInfo),
    /// Get a one-time token by which a machine becomes a compute node
    Token(ComputerToken),
    /// Ask a node to install a software release, as `slapos supply`
    Supply(Supply),
    /// Ask a node to remove a software release, as `slapos remove`
    Remove(Supply),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos computer token
  slapos node register NAME --master-url https://slapos.example.com:8443 --token TOKEN")]
pub(crate) struct ComputerToken {
    /// How to print [default: upstream's text]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// How to print [default: table on a terminal, upstream's text or JSON otherwise]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}

#[derive(Debug, Args)]
pub(crate) struct ComputerInfo {
    /// The compute node, such as COMP-1
    #[arg(value_name = "NODE")]
    pub(crate) node: NodeId,
    /// How to print [default: table on a terminal, upstream's text otherwise]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}

pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not of the form KEY=VALUE")),
    }
}

/// A time span as people write it: a number and `s`, `m` or `h`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|character: char| character.is_ascii_alphabetic()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let seconds_per_unit = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{unit}` is not a unit of time; use s, m or h")),
    };
    let seconds = number
        .parse::<f64>()
        .map_err(|_| format!("`{text}` is not a time such as `90s` or `10m`"))?
        * seconds_per_unit;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for bad in ["", "m", "10 minutes", "-1s", "1d"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_value_may_hold_an_equals_sign() {
        assert_eq!(key_value("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(key_value("a="), Ok(("a".into(), String::new())));
        assert!(key_value("a").is_err());
        assert!(key_value("=b").is_err());
    }
}

/// Python with this Master in it: a shell, or a script
///
/// Runs the Python of $SLAPOS_PYTHON, of the active virtual environment, or `python3` of PATH.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos console
  slapos console --cfg ~/.slapos/slapos-client.cfg -p
  slapos console deploy.py --everything      what follows the script is the script's
  slapos console --command 'print(product.kvm)'
  echo 'print(product.kvm)' | slapos console

In the console:
  request(product.kvm, \"my kvm\")            ask for an instance, or for news of it
  supply(product.kvm, \"COMP-1\")             install software on a node
  software_list                             every release the Master supports")]
pub(crate) struct Console {
    #[command(flatten)]
    pub(crate) config: ClientConfig,
    /// The Master's URL [default: that of the configuration]
    #[arg(
        short = 'u',
        long = "master-url",
        alias = "master_url",
        value_name = "URL"
    )]
    pub(crate) master_url: Option<String>,
    /// Key of the client certificate [default: that of the configuration]
    #[arg(short, long = "key-file", alias = "key_file", value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Client certificate [default: that of the configuration]
    #[arg(short, long = "cert-file", alias = "cert_file", value_name = "FILE")]
    pub(crate) cert_file: Option<PathBuf>,
    /// Use IPython [default: IPython if it is installed, else plain Python]
    #[arg(short, long, group = "a_shell")]
    ipython: bool,
    /// Use bpython
    #[arg(short, long, group = "a_shell")]
    bpython: bool,
    /// Use plain Python
    #[arg(short, long, group = "a_shell")]
    python: bool,
    /// Python to run instead of a script
    #[arg(long, value_name = "CODE")]
    pub(crate) command: Option<String>,
    /// A script to run, and its arguments
    #[arg(
        value_name = "SCRIPT",
        num_args = 0..,
        trailing_var_arg = true
    )]
    pub(crate) script: Vec<std::ffi::OsString>,
}

impl Console {
    /// The name of the shell, as the Python half calls it.
    pub(crate) fn shell(&self) -> &'static str {
        match (self.ipython, self.bpython, self.python) {
            (true, ..) => "ipython",
            (_, true, _) => "bpython",
            (.., true) => "python",
            _ => "auto",
        }
    }
}
