//! `slapos master node|network|remote|product|decision|waiting`.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use master::admin::{self, Answer, Command, Secret, unexpected};
use serde_json::json;

use super::connect::ask;
use super::show::{self, moment, read_moment, yes};
use crate::args::OutputFormat;
use crate::args::master::places::{
    Decision, DecisionName, Network, Node, NodeAdd, Product, Release, Remote, Switch,
};
use crate::args::master::{Listing, Printed, Which};
use crate::failure::{Code, Failure};
use crate::{CommandResult, output};

pub(super) fn node(command: Node) -> CommandResult {
    match command {
        Node::Add(arguments) => add(arguments),
        Node::List(arguments) => nodes(&arguments),
        Node::Scope(arguments) => show::done(&ask(
            &arguments.which,
            &Command::NodeScope {
                node: arguments.node,
                scope: arguments.scope.as_str().to_owned(),
            },
        )?),
        Node::Capacity(arguments) => show::done(&ask(
            &arguments.which,
            &Command::NodeCapacity {
                node: arguments.node,
                units: arguments.units.0,
            },
        )?),
        Node::Network(arguments) => show::done(&ask(
            &arguments.which,
            &Command::NodeNetwork {
                node: arguments.node,
                network: Some(arguments.network).filter(|network| network != "none"),
            },
        )?),
        Node::Categories(arguments) => {
            let mut categories = BTreeMap::new();
            for (key, value) in arguments.categories {
                if let Some(other) = categories.insert(key.clone(), value) {
                    return Err(Failure::new(format!(
                        "`{key}` is given twice: {other:?} and {:?}",
                        categories.get(&key).map_or("", String::as_str)
                    ))
                    .code(Code::Usage));
                }
            }
            show::done(&ask(
                &arguments.which,
                &Command::NodeCategories {
                    node: arguments.node,
                    categories,
                },
            )?)
        }
        Node::Remove(arguments) => show::done(&ask(
            &arguments.which,
            &Command::NodeRemove {
                node: arguments.node,
            },
        )?),
        Node::Revoke(arguments) => show::done(&ask(
            &arguments.which,
            &Command::NodeRevoke {
                node: arguments.node,
            },
        )?),
    }
}

/// Makes a node and writes its files. Where these cannot be written, the certificate is refused
/// again: nobody has its key.
fn add(arguments: NodeAdd) -> CommandResult {
    for file in [&arguments.certificate, &arguments.key]
        .into_iter()
        .flatten()
    {
        if file.symlink_metadata().is_ok() {
            return Err(exists(file));
        }
    }
    let command = Command::NodeAdd {
        title: arguments.title,
        project: arguments.project,
    };
    let certified = match ask(&arguments.which, &command)? {
        Answer::NodeCertificate(certified) => certified,
        other => return Err(unexpected(&other).into()),
    };
    let node = &certified.node;
    let or = |given: &Option<PathBuf>, end: &str| {
        let usual = || PathBuf::from(format!("{node}.{end}"));
        given.clone().unwrap_or_else(usual)
    };
    let (certificate, key) = (or(&arguments.certificate, "crt"), or(&arguments.key, "key"));
    let written = private(&certificate, &certified.certificate).and_then(|()| {
        private(&key, &certified.key.0).inspect_err(|_| {
            // One without the other is of no use.
            let _ = std::fs::remove_file(&certificate);
        })
    });
    if let Err(failure) = written {
        let command = Command::NodeRevoke { node: node.clone() };
        ask(&arguments.which, &command)?;
        return Err(failure.hint(format!(
            "{node} is there, its certificate was revoked; ask again with other file names"
        )));
    }
    match output::format(arguments.printed.output) {
        Some(OutputFormat::Table) => output::print(&format!(
            "{node}\nCertificate  {}\nKey          {}\n\
             Take both to the node: `cert_file` and `key_file` in section [slapos] of its slapos.cfg, \
             with `computer_id = {node}`.",
            certificate.display(),
            key.display()
        ))?,
        asked => show::json(
            &json!({
                "reference": node,
                "certificate": certificate,
                "key": key,
            }),
            asked,
        )?,
    }
    Ok(ExitCode::SUCCESS)
}

fn exists(file: &Path) -> Failure {
    Failure::new(format!("{} exists already", file.display())).hint("give the name of a new file")
}

/// Writes a new file that only its owner can read.
fn private(path: &Path, text: &str) -> Result<(), Failure> {
    let written = std::fs::File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    written.map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return exists(path);
        }
        Failure::new(format!("cannot write {}: {error}", path.display()))
    })
}

fn nodes(arguments: &Listing) -> CommandResult {
    match ask(&arguments.which, &Command::NodeList)? {
        Answer::Nodes(nodes) => show::list(
            &nodes,
            &arguments.printed,
            "There is no node: `slapos master token create --purpose node` makes a token for \
             `slapos node register`.",
            &[
                "NODE",
                "TITLE",
                "PROJECT",
                "SCOPE",
                "ALIVE",
                "FREE",
                "PARTITIONS",
                "USED",
                "NETWORK",
                "LAST CALL",
            ],
            |node| {
                vec![
                    node.reference.clone(),
                    node.title.clone(),
                    node.project.clone(),
                    node.scope.clone(),
                    yes(node.alive),
                    node.free.to_string(),
                    node.partitions.to_string(),
                    match node.capacity {
                        Some(capacity) => format!("{} of {capacity}", node.used),
                        None => node.used.to_string(),
                    },
                    node.network.clone().unwrap_or_default(),
                    node.contact_at.map_or_else(|| "never".to_owned(), moment),
                ]
            },
        ),
        other => Err(unexpected(&other).into()),
    }
}

pub(super) fn network(command: Network) -> CommandResult {
    match command {
        Network::Add(arguments) => {
            let command = Command::NetworkAdd {
                title: arguments.title,
                project: arguments.project,
            };
            show::made(&ask(&arguments.which, &command)?, &arguments.printed)
        }
        Network::List(arguments) => match ask(&arguments.which, &Command::NetworkList)? {
            Answer::Networks(networks) => show::list(
                &networks,
                &arguments.printed,
                "There is no network.",
                &["NETWORK", "TITLE", "PROJECT", "NODES"],
                |network| {
                    vec![
                        network.reference.clone(),
                        network.title.clone(),
                        network.project.clone(),
                        network.nodes.to_string(),
                    ]
                },
            ),
            other => Err(unexpected(&other).into()),
        },
    }
}

pub(super) fn remote(command: Remote) -> CommandResult {
    match command {
        Remote::Add(arguments) => {
            let text = |path: &Option<PathBuf>| path.as_deref().map(read_text).transpose();
            let command = Command::RemoteAdd {
                title: arguments.title,
                project: arguments.project,
                master_url: arguments.url,
                authority: text(&arguments.ca_file)?,
                certificate: text(&arguments.certificate)?,
                key: text(&arguments.key)?.map(Secret),
                releases: arguments.releases,
            };
            show::made(&ask(&arguments.which, &command)?, &arguments.printed)
        }
        Remote::List(arguments) => match ask(&arguments.which, &Command::RemoteList)? {
            Answer::Remotes(remotes) => show::list(
                &remotes,
                &arguments.printed,
                "There is no gate to another Master.",
                &[
                    "GATE", "TITLE", "PROJECT", "MASTER", "RELEASES", "ANSWERED", "ERROR",
                ],
                |remote| {
                    vec![
                        remote.reference.clone(),
                        remote.title.clone(),
                        remote.project.clone(),
                        remote.master_url.clone(),
                        match remote.releases.len() {
                            0 => "all".to_owned(),
                            count => count.to_string(),
                        },
                        remote.contact_at.map(moment).unwrap_or_default(),
                        remote.error.clone().unwrap_or_default(),
                    ]
                },
            ),
            other => Err(unexpected(&other).into()),
        },
    }
}

fn read_text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))
}

pub(super) fn product(command: Product) -> CommandResult {
    match command {
        Product::Add(arguments) => {
            let command = Command::ProductAdd {
                product: arguments.reference,
                title: arguments.title,
                project: arguments.project,
            };
            show::made(&ask(&arguments.which, &command)?, &Printed { output: None })
        }
        Product::List(arguments) => products(&arguments),
        Product::Release(Release::Add(arguments)) => {
            let effective_at = arguments
                .effective
                .as_deref()
                .map(read_moment)
                .transpose()?;
            show::done(&ask(
                &arguments.which,
                &Command::ReleaseAdd {
                    product: arguments.product.product,
                    project: arguments.product.project,
                    url: arguments.url,
                    effective_at,
                },
            )?)
        }
        Product::Release(Release::Remove(arguments)) => show::done(&ask(
            &arguments.which,
            &Command::ReleaseRemove {
                product: arguments.product.product,
                project: arguments.product.project,
                url: arguments.url,
            },
        )?),
        Product::Release(Release::List(arguments)) => {
            let command = Command::ReleaseList {
                product: arguments.product.product,
                project: arguments.product.project,
            };
            match ask(&arguments.which, &command)? {
                Answer::Releases(releases) => show::list(
                    &releases,
                    &arguments.printed,
                    "The product has no release: add one with `slapos master product release add`.",
                    &["RELEASE", "EFFECTIVE", "ADDED"],
                    |release: &admin::Release| {
                        vec![
                            release.url.clone(),
                            release.effective_at.map(moment).unwrap_or_default(),
                            moment(release.created_at),
                        ]
                    },
                ),
                other => Err(unexpected(&other).into()),
            }
        }
        Product::Type(arguments) => show::done(&ask(
            &arguments.which,
            &Command::ProductType {
                product: arguments.product.product,
                project: arguments.product.project,
                software_type: arguments.software_type,
                units: arguments.units,
            },
        )?),
    }
}

fn products(arguments: &Listing) -> CommandResult {
    match ask(&arguments.which, &Command::ProductList)? {
        Answer::Products(products) => show::list(
            &products,
            &arguments.printed,
            "There is no product: add one with `slapos master product add`.",
            &["PRODUCT", "TITLE", "PROJECT", "RELEASES", "BEST", "UNITS"],
            |product| {
                let units: Vec<String> = product
                    .units
                    .iter()
                    .map(|(kind, units)| format!("{kind}: {units}"))
                    .collect();
                vec![
                    product.reference.clone(),
                    product.title.clone(),
                    product.project.clone(),
                    product.releases.to_string(),
                    product.best.clone().unwrap_or_default(),
                    units.join(", "),
                ]
            },
        ),
        other => Err(unexpected(&other).into()),
    }
}

pub(super) fn decision(command: Decision) -> CommandResult {
    match command {
        Decision::List(arguments) => {
            let command = Command::DecisionList { all: arguments.all };
            decisions(&ask(&arguments.which, &command)?, &arguments.printed)
        }
        Decision::Accept(arguments) => decide(&arguments, true),
        Decision::Reject(arguments) => decide(&arguments, false),
        Decision::Auto(arguments) => show::done(&ask(
            &arguments.which,
            &Command::DecisionAuto {
                tree: arguments.tree,
                automatic: arguments.switch == Switch::On,
            },
        )?),
    }
}

fn decide(arguments: &DecisionName, accept: bool) -> CommandResult {
    let which: &Which = &arguments.which;
    let command = Command::DecisionMake {
        number: arguments.number,
        accept,
    };
    decisions(&ask(which, &command)?, &Printed { output: None })
}

fn decisions(answer: &Answer, printed: &Printed) -> CommandResult {
    match answer {
        Answer::Decisions(decisions) => show::list(
            decisions,
            printed,
            "No upgrade is offered.",
            &["NUMBER", "TREE", "TITLE", "OWNER", "FROM", "TO", "STATE"],
            |decision| {
                vec![
                    decision.number.to_string(),
                    decision.tree.clone(),
                    decision.title.clone(),
                    decision.owner.clone(),
                    decision.from.clone(),
                    decision.to.clone(),
                    decision.state.clone(),
                ]
            },
        ),
        other => Err(unexpected(other).into()),
    }
}

pub(super) fn waiting(arguments: &Listing) -> CommandResult {
    match ask(&arguments.which, &Command::Waiting)? {
        Answer::Waiting(waiting) => show::list(
            &waiting,
            &arguments.printed,
            "No instance waits for a place.",
            &["INSTANCE", "TITLE", "TREE", "PROJECT", "SINCE", "WHY"],
            |instance| {
                vec![
                    instance.instance.clone(),
                    instance.title.clone(),
                    instance.tree.clone(),
                    instance.project.clone(),
                    moment(instance.since),
                    instance.why.clone(),
                ]
            },
        ),
        other => Err(unexpected(&other).into()),
    }
}
