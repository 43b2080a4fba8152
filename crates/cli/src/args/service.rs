//! `slapos service …`: what may be typed (C 1.4, and what people expect beyond).

use std::time::Duration;

use clap::{Args, Subcommand};
use slap::{InstanceState, InstanceTitle};

use super::OutputFormat;
use super::client::{ClientConfig, duration};

/// Look at the instances you requested
#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// List your instances: what they are to be, how they are, where, why they wait
    List(ServiceList),
    /// Show one of your instances: states, parameters, connection parameters
    Info(ServiceInfo),
    /// Draw one of your instances with all the instances it requested
    Tree(ServiceTree),
    /// Tell what happened to one of your instances
    Events(ServiceEvents),
    /// Show the errors that nodes reported of one of your instances
    Logs(ServiceEvents),
    /// Show the promises of one of your instances: which fail, since when, and what they say
    Promises(ServicePromises),
    /// Wait until an instance is what it is asked to be
    Wait(ServiceWait),
    /// Open the address an instance has published in a browser
    Open(ServiceOpen),
    /// Start instances that are stopped
    Start(ServiceChange),
    /// Stop instances; what they hold stays
    Stop(ServiceChange),
    /// Destroy instances and all they hold
    Destroy(ServiceDestroy),
    /// Give an instance another title
    Rename(ServiceRename),
    /// Bring an instance to the release it is offered, or to another one
    Upgrade(ServiceUpgrade),
}

#[derive(Debug, Args)]
pub(crate) struct ServiceList {
    /// Show the list again whenever it changes, until Ctrl-C
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// How to print [default: table on a terminal, upstream's JSON otherwise]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceInfo {
    /// Title of the instance
    #[arg(value_name = "TITLE")]
    pub(crate) title: InstanceTitle,
    /// Also show what was reported about it
    #[arg(long)]
    pub(crate) news: bool,
    /// Show passwords and the like on a terminal, too
    #[arg(long)]
    pub(crate) show_secrets: bool,
    /// How to print [default: table on a terminal, JSON otherwise]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceTree {
    /// Title of the instance
    #[arg(value_name = "TITLE")]
    pub(crate) title: InstanceTitle,
    /// How to print [default: a drawing]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}

#[derive(Debug, Args)]
pub(crate) struct ServicePromises {
    /// Title of the instance
    #[arg(value_name = "TITLE")]
    pub(crate) title: InstanceTitle,
    /// Only those that fail
    #[arg(long)]
    pub(crate) failing: bool,
    /// How to print [default: table on a terminal, JSON otherwise]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceEvents {
    /// Title of the instance
    #[arg(value_name = "TITLE")]
    pub(crate) title: InstanceTitle,
    /// Go on with what happens from now on, until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many to show at most, the latest ones
    #[arg(
        short = 'n',
        long,
        value_name = "NUMBER",
        default_value_t = 100,
        value_parser = clap::value_parser!(u16).range(1..=1000)
    )]
    pub(crate) limit: u16,
    /// How to print: lines, or with json one object on each line [default: lines]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}

/// Waiting for what was asked for.
#[derive(Debug, Clone, Args)]
pub(crate) struct Waiting {
    /// Wait until it is done
    #[arg(long)]
    pub(crate) wait: bool,
    /// Longest time to wait, such as `90s`, `10m` or `1h`
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos service wait hello
  slapos service wait hello --for destroyed --timeout 5m")]
pub(crate) struct ServiceWait {
    /// Title of the instance
    #[arg(value_name = "TITLE")]
    pub(crate) title: InstanceTitle,
    /// What to wait for: started, stopped or destroyed [default: what it is asked to be]
    #[arg(long = "for", value_name = "STATE")]
    pub(crate) goal: Option<InstanceState>,
    /// Longest time to wait, such as `90s`, `10m` or `1h`
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos service open hello
  slapos service open hello --parameter monitor-url --print")]
pub(crate) struct ServiceOpen {
    /// Title of the instance
    #[arg(value_name = "TITLE")]
    pub(crate) title: InstanceTitle,
    /// Connection parameter with the address [default: url and its like]
    #[arg(long, value_name = "NAME")]
    pub(crate) parameter: Option<String>,
    /// Only print the address
    #[arg(long)]
    pub(crate) print: bool,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceChange {
    /// Titles of the instances
    #[arg(value_name = "TITLE", required = true)]
    pub(crate) titles: Vec<InstanceTitle>,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceDestroy {
    /// Titles of the instances
    #[arg(value_name = "TITLE", required = true)]
    pub(crate) titles: Vec<InstanceTitle>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceRename {
    /// Title it has
    #[arg(value_name = "TITLE")]
    pub(crate) old: InstanceTitle,
    /// Title it shall have
    #[arg(value_name = "NEW")]
    pub(crate) new: InstanceTitle,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceUpgrade {
    /// Title of the instance
    #[arg(value_name = "TITLE")]
    pub(crate) title: InstanceTitle,
    /// Software release: a URL, a path, or `product.NAME` [default: what is offered, or the best one]
    #[arg(value_name = "URL")]
    pub(crate) release: Option<String>,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    #[command(flatten)]
    pub(crate) config: ClientConfig,
}
