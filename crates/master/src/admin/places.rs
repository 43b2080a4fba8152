//! Nodes, networks, products, upgrades: what an administrator changes of them.

use slap::{ReleaseUrl, SoftwareType};

use super::execute::{Work, done, made, other_room, parse};
use super::{Answer, Command, NodeCertificate, Refused, Secret, lists};
use crate::domain::upgrade::{Answer as UpgradeAnswer, UpgradePolicy};
use crate::domain::{
    AllocationScope, CertificateOwner, DecisionKey, NetworkKey, NodeKind, NodeReference, Timestamp,
    TreeKey,
};
use crate::remote::sealing_purpose;
use crate::store::RemoteSettings;

impl Work<'_> {
    pub(super) async fn node(&self, command: Command) -> Result<Answer, Refused> {
        let (store, caller) = (self.store, self.caller);
        match command {
            Command::NodeAdd { title, project } => {
                let project = self.project(project).await?;
                let node = store
                    .create_node(caller, project, NodeKind::Compute, title)
                    .await?;
                let certifier = self.administration.auth.certifier();
                let certified = certifier.for_node(caller, node).await?;
                Ok(Answer::NodeCertificate(NodeCertificate {
                    node: node.to_string(),
                    certificate: certified.certificate,
                    key: Secret(certified.key),
                }))
            }
            Command::NodeScope { node, scope } => {
                let (node, scope): (NodeReference, AllocationScope) =
                    (parse(&node)?, parse(&scope)?);
                store.set_scope(caller, node, scope).await?;
                done(format!("{node} is {scope}"))
            }
            Command::NodeCapacity { node, units } => {
                let node: NodeReference = parse(&node)?;
                store.set_capacity(caller, node, units).await?;
                done(match units {
                    Some(units) => format!("{node} takes {units} units at most"),
                    None => format!("{node} has no limit but its partitions"),
                })
            }
            Command::NodeNetwork { node, network } => {
                let node: NodeReference = parse(&node)?;
                let network = network.as_deref().map(parse::<NetworkKey>).transpose()?;
                store.set_network(caller, node, network).await?;
                done(match network {
                    Some(network) => format!("{node} belongs to {network}"),
                    None => format!("{node} belongs to no network"),
                })
            }
            Command::NodeCategories { node, categories } => {
                let node: NodeReference = parse(&node)?;
                store.set_categories(caller, node, categories).await?;
                done(format!("{node} has these categories"))
            }
            Command::NodeRemove { node } => {
                let node: NodeReference = parse(&node)?;
                store.remove_node(caller, node).await?;
                done(format!("{node} is removed"))
            }
            Command::NodeRevoke { node } => {
                let node: NodeReference = parse(&node)?;
                let count = store
                    .revoke_certificates(caller, CertificateOwner::Node(node))
                    .await?;
                done(match count {
                    0 => format!("{node} had no certificate that was good"),
                    _ => format!(
                        "{node} is refused from now on; `slapos node register` with a token, or \
                         `slapos master node add` with its title, gives it a new certificate"
                    ),
                })
            }
            Command::NetworkAdd { title, project } => {
                let project = self.project(project).await?;
                let key = store.create_network(caller, project, title.clone()).await?;
                made(key, format!("network {title:?}"))
            }
            other => Err(other_room(&other)),
        }
    }

    pub(super) async fn remote(&self, command: Command) -> Result<Answer, Refused> {
        let Command::RemoteAdd {
            title,
            project,
            master_url,
            authority,
            certificate,
            key,
            releases,
        } = command
        else {
            return Err(other_room(&command));
        };
        let (store, caller) = (self.store, self.caller);
        if !(master_url.starts_with("https://") || master_url.starts_with("http://")) {
            return Err(Refused::invalid(format!(
                "{master_url:?} is no URL of a Master: it begins with https://"
            )));
        }
        for release in &releases {
            ReleaseUrl::new(release.as_str()).map_err(Refused::invalid)?;
        }
        if certificate.is_some() != key.is_some() {
            return Err(Refused::invalid(
                "a certificate goes with its key: give both, or neither",
            ));
        }
        let project = self.project(project).await?;
        let node = store
            .create_node(caller, project, NodeKind::Remote, title)
            .await?;
        let sealed_key = key
            .map(|key| {
                self.administration
                    .sealer
                    .seal(&sealing_purpose(node), key.0.as_bytes())
            })
            .transpose()?;
        let settings = RemoteSettings {
            master_url: master_url.clone(),
            authority,
            certificate,
            sealed_key,
            releases,
        };
        store.set_remote(caller, node, settings).await?;
        made(node, format!("gate to {master_url}"))
    }

    pub(super) async fn product(&self, command: Command) -> Result<Answer, Refused> {
        let (store, caller) = (self.store, self.caller);
        let url = |url: &str| ReleaseUrl::new(url).map_err(Refused::invalid);
        match command {
            Command::ProductAdd {
                product,
                title,
                project,
            } => {
                let project = self.project(project).await?;
                let title = title.unwrap_or_else(|| product.clone());
                store
                    .create_product(caller, project, product.clone(), title)
                    .await?;
                made(&product, format!("product {product:?} of {project}"))
            }
            Command::ReleaseAdd {
                product,
                project,
                url: given,
                effective_at,
            } => {
                let project = self.project(project).await?;
                let effective = effective_at.map(Timestamp);
                store
                    .add_release(caller, project, product.clone(), url(&given)?, effective)
                    .await?;
                done(format!("{given} is a release of {product}"))
            }
            Command::ReleaseRemove {
                product,
                project,
                url: given,
            } => {
                let project = self.project(project).await?;
                store
                    .remove_release(caller, project, product.clone(), url(&given)?)
                    .await?;
                done(format!("{given} is no release of {product} any more"))
            }
            Command::ProductType {
                product,
                project,
                software_type,
                units,
            } => {
                let project = self.project(project).await?;
                let kind = SoftwareType::new(software_type.as_str()).map_err(Refused::invalid)?;
                store
                    .set_units(caller, project, product.clone(), kind, units)
                    .await?;
                done(format!(
                    "instances of {product} with type {software_type} take {units} units"
                ))
            }
            other => Err(other_room(&other)),
        }
    }

    pub(super) async fn decide(&self, number: i64, accept: bool) -> Result<Answer, Refused> {
        let answer = if accept {
            UpgradeAnswer::Accept
        } else {
            UpgradeAnswer::Reject
        };
        let decision = self
            .store
            .answer_decision(self.caller, DecisionKey(number), answer)
            .await?;
        Ok(Answer::Decisions(vec![lists::decision(decision)]))
    }

    pub(super) async fn automatic(&self, tree: &str, automatic: bool) -> Result<Answer, Refused> {
        let tree: TreeKey = parse(tree)?;
        let policy = if automatic {
            UpgradePolicy::Automatic
        } else {
            UpgradePolicy::Ask
        };
        self.store
            .set_upgrade_policy(self.caller, tree, policy)
            .await?;
        done(if automatic {
            format!("{tree} takes its upgrades by itself")
        } else {
            format!("the owner of {tree} is asked about its upgrades")
        })
    }
}
