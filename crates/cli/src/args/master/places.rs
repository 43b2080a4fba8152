//! Nodes, networks, products, upgrades.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Listing, Printed, Which};

/// Compute nodes
#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// Add a node, and write its certificate and key
    Add(NodeAdd),
    /// List nodes
    List(Listing),
    /// Say whether a node takes new instances
    Scope(NodeScope),
    /// Limit how much a node takes
    Capacity(NodeCapacity),
    /// Say to which network a node belongs
    Network(NodeNetwork),
    /// Say what a node is, for the SLA of requests
    Categories(NodeCategories),
    /// Remove a node that holds no instance any more
    Remove(NodeName),
    /// Refuse the node's certificates from now on
    Revoke(NodeName),
}

/// Add a node
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos master node add rack1-a --certificate node.crt --key node.key
  slapos master node add rack1-a --project Observatory

On the node itself, `slapos node register` with a token does the same and writes its configuration.")]
pub(crate) struct NodeAdd {
    /// Its title
    #[arg(value_name = "TITLE")]
    pub(crate) title: String,
    /// Its project: PROJ-1, or its title [default: the only one]
    #[arg(long, value_name = "PROJECT")]
    pub(crate) project: Option<String>,
    /// Where to write its certificate [default: COMP-n.crt]
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) certificate: Option<PathBuf>,
    /// Where to write its key, readable by you only [default: COMP-n.key]
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) printed: Printed,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// A node by name.
#[derive(Debug, Args)]
pub(crate) struct NodeName {
    /// The node, such as COMP-1
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Say whether a node takes new instances
#[derive(Debug, Args)]
pub(crate) struct NodeScope {
    /// The node, such as COMP-1
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    /// The scope
    #[arg(value_name = "SCOPE")]
    pub(crate) scope: Scope,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Whether a node takes new instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    /// It takes new instances
    #[value(name = "open")]
    Open,
    /// It takes none
    #[value(name = "close/noallocation")]
    NoAllocation,
    /// It takes none, and its instances are to leave
    #[value(name = "close/termination")]
    Termination,
    /// It is given up
    #[value(name = "close/forever")]
    Forever,
    /// It has been silent for long
    #[value(name = "close/outdated")]
    Outdated,
    /// It is being repaired
    #[value(name = "close/maintenance")]
    Maintenance,
}

impl Scope {
    /// As the Master writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Scope::Open => "open",
            Scope::NoAllocation => "close/noallocation",
            Scope::Termination => "close/termination",
            Scope::Forever => "close/forever",
            Scope::Outdated => "close/outdated",
            Scope::Maintenance => "close/maintenance",
        }
    }
}

/// Limit how much a node takes
#[derive(Debug, Args)]
pub(crate) struct NodeCapacity {
    /// The node, such as COMP-1
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    /// Units, or `none` for no limit; an instance takes 1 unless its product says otherwise
    #[arg(value_name = "UNITS", value_parser = units_or_none)]
    pub(crate) units: Units,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// A limit, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Units(pub(crate) Option<i64>);

fn units_or_none(text: &str) -> Result<Units, String> {
    if text == "none" {
        return Ok(Units(None));
    }
    match text.parse::<i64>() {
        Ok(units) if units >= 0 => Ok(Units(Some(units))),
        _ => Err("give a whole number of units, or `none`".to_owned()),
    }
}

/// Say to which network a node belongs
#[derive(Debug, Args)]
pub(crate) struct NodeNetwork {
    /// The node, such as COMP-1
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    /// The network, such as NET-1, or `none`
    #[arg(value_name = "NETWORK")]
    pub(crate) network: String,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Say what a node is
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  slapos master node categories COMP-1 region=europe/paris cpu=amd64

What is not named is removed.")]
pub(crate) struct NodeCategories {
    /// The node, such as COMP-1
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    /// KEY=VALUE, each once
    #[arg(value_name = "KEY=VALUE", value_parser = crate::args::client::key_value)]
    pub(crate) categories: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Networks
#[derive(Debug, Subcommand)]
pub(crate) enum Network {
    /// Add a network
    Add(NetworkAdd),
    /// List networks
    List(Listing),
}

/// Add a network
#[derive(Debug, Args)]
pub(crate) struct NetworkAdd {
    /// Its title
    #[arg(value_name = "TITLE")]
    pub(crate) title: String,
    /// Its project: PROJ-1, or its title [default: the only one]
    #[arg(long, value_name = "PROJECT")]
    pub(crate) project: Option<String>,
    #[command(flatten)]
    pub(crate) printed: Printed,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Gates to other Masters
#[derive(Debug, Subcommand)]
pub(crate) enum Remote {
    /// Add a gate, or change how its Master is reached
    Add(RemoteAdd),
    /// List gates, and whether their Masters answer
    List(Listing),
}

/// Add a gate to another Master, or change how it is reached
#[derive(Debug, Args)]
#[command(after_help = "\
What is requested here and placed at the gate is requested at the other Master, as the person whose
certificate is given; what it publishes there comes back. `slapos configure client` at the other
Master makes the certificate.

Examples:
  slapos master remote add partner --url https://master.example.org:8443/ --ca-file partner-ca.crt \
    --certificate client.crt --key client.key --release https://example.org/software.cfg
  slapos master remote list")]
pub(crate) struct RemoteAdd {
    /// Its title
    #[arg(value_name = "TITLE")]
    pub(crate) title: String,
    /// Its project: PROJ-1, or its title [default: the only one]
    #[arg(long, value_name = "PROJECT")]
    pub(crate) project: Option<String>,
    /// The other Master
    #[arg(long, value_name = "URL")]
    pub(crate) url: String,
    /// The authority that signed the other Master's certificate [default: the public ones]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Our certificate there
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) certificate: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) key: Option<PathBuf>,
    /// A release that goes there; may be repeated [default: every release]
    #[arg(long = "release", value_name = "URL")]
    pub(crate) releases: Vec<String>,
    #[command(flatten)]
    pub(crate) printed: Printed,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Software products
#[derive(Debug, Subcommand)]
pub(crate) enum Product {
    /// Add a product
    Add(ProductAdd),
    /// List products
    List(Listing),
    /// The releases of a product
    #[command(subcommand, arg_required_else_help = true)]
    Release(Release),
    /// Say how much of a node instances of a software type take
    Type(ProductType),
}

/// Add a product
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  slapos master product add wordpress --title WordPress
  slapos master product release add wordpress https://example.com/1.0/software.cfg")]
pub(crate) struct ProductAdd {
    /// Its reference: users write product.REFERENCE instead of a URL
    #[arg(value_name = "REFERENCE")]
    pub(crate) reference: String,
    /// Its title [default: the reference]
    #[arg(long)]
    pub(crate) title: Option<String>,
    /// Its project: PROJ-1, or its title [default: the only one]
    #[arg(long, value_name = "PROJECT")]
    pub(crate) project: Option<String>,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Which product.
#[derive(Debug, Args)]
pub(crate) struct ProductName {
    /// The product's reference
    #[arg(value_name = "PRODUCT")]
    pub(crate) product: String,
    /// Its project: PROJ-1, or its title [default: the only one]
    #[arg(long, value_name = "PROJECT")]
    pub(crate) project: Option<String>,
}

/// The releases of a product
#[derive(Debug, Subcommand)]
pub(crate) enum Release {
    /// Add a release; trees that use an older one are offered it from its date on
    Add(ReleaseAdd),
    /// List the releases, the best first
    List(ReleaseList),
    /// Take a release out of the product; instances that use it keep it
    Remove(ReleaseRemove),
}

/// Add a release
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos master product release add wordpress https://example.com/2.0/software.cfg
  slapos master product release add wordpress URL --effective 2027-01-31")]
pub(crate) struct ReleaseAdd {
    #[command(flatten)]
    pub(crate) product: ProductName,
    /// The URL of the release
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// From when on it is the one to use: YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ [default: now]
    #[arg(long, value_name = "DATE")]
    pub(crate) effective: Option<String>,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// List the releases
#[derive(Debug, Args)]
pub(crate) struct ReleaseList {
    #[command(flatten)]
    pub(crate) product: ProductName,
    #[command(flatten)]
    pub(crate) printed: Printed,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Take a release out of a product
#[derive(Debug, Args)]
pub(crate) struct ReleaseRemove {
    #[command(flatten)]
    pub(crate) product: ProductName,
    /// The URL of the release
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Say how much of a node instances of a software type take
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  slapos master product type wordpress default --units 4")]
pub(crate) struct ProductType {
    #[command(flatten)]
    pub(crate) product: ProductName,
    /// The software type
    #[arg(value_name = "TYPE")]
    pub(crate) software_type: String,
    /// Units of a node's capacity; counts for instances that are requested from now on
    #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(i64).range(0..=1_000_000))]
    pub(crate) units: i64,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Upgrades that instance trees were offered
#[derive(Debug, Subcommand)]
pub(crate) enum Decision {
    /// List open offers
    List(DecisionList),
    /// Take an offer: the new release is supplied, then the tree uses it
    Accept(DecisionName),
    /// Turn an offer down
    Reject(DecisionName),
    /// Take every offer for a tree by itself, or ask again
    Auto(DecisionAuto),
}

/// List offers
#[derive(Debug, Args)]
pub(crate) struct DecisionList {
    /// Also those that were decided
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) printed: Printed,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// An offer by number.
#[derive(Debug, Args)]
pub(crate) struct DecisionName {
    /// Its number, as `slapos master decision list` shows it
    #[arg(value_name = "NUMBER")]
    pub(crate) number: i64,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Take every offer for a tree by itself
#[derive(Debug, Args)]
pub(crate) struct DecisionAuto {
    /// The tree, such as HOSTSUBS-1
    #[arg(value_name = "TREE")]
    pub(crate) tree: String,
    /// `on` or `off`
    #[arg(value_name = "ON|OFF", default_value = "on")]
    pub(crate) switch: Switch,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}
