//! A Master as its user sees it: products, services, nodes.
//!
//! Stands on [`Client`] and [`Hateoas`]; the one place that knows that our Masters keep what a
//! request leaves out and others do not.

mod names;
mod order;
mod wait;
mod watching;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use slap::{InstallationState, InstanceTitle, NodeId, ProductReference, ReleaseUrl};

use crate::error::Error;
use crate::hateoas::{Hateoas, InstanceTreeInfo, InstanceTreeSummary, NodeSummary};
use crate::json_rpc::Product;
use crate::profile::{Profile, expand_home};
use crate::slap_api::{Client, RequestReply};

pub use names::similar;
pub use order::Order;
pub use wait::{Changes, Rest, WaitError};

/// A Master as its user sees it. Nothing is asked before it is needed; what does not change is asked
/// once. Clones share what was learnt; threads may use one at the same time.
#[derive(Debug, Clone)]
pub struct Cloud {
    client: Client,
    rest_url: Option<String>,
    aliases: Arc<BTreeMap<String, String>>,
    learnt: Arc<Learnt>,
}

#[derive(Debug, Default)]
struct Learnt {
    keeps_omitted: OnceLock<bool>,
    documents: OnceLock<Hateoas>,
}

impl Cloud {
    /// Prepares the connection a profile describes.
    ///
    /// # Errors
    /// When its certificates cannot be used, or its URL makes no sense.
    pub fn open(profile: &Profile) -> Result<Cloud, Error> {
        let client = Client::new(profile.settings.clone())?;
        Ok(Cloud {
            rest_url: profile.rest_url.clone(),
            aliases: Arc::new(profile.aliases.clone()),
            ..Cloud::of(client)
        })
    }

    /// The Master behind a client, without aliases.
    pub fn of(client: Client) -> Cloud {
        Cloud {
            client,
            rest_url: None,
            aliases: Arc::default(),
            learnt: Arc::default(),
        }
    }

    /// The calls of the protocol, one by one.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The user's own names of releases.
    pub fn aliases(&self) -> &BTreeMap<String, String> {
        &self.aliases
    }

    fn keeps_omitted(&self) -> Result<bool, Error> {
        if let Some(keeps) = self.learnt.keeps_omitted.get() {
            return Ok(*keeps);
        }
        let keeps = match self.client.keeps_omitted() {
            Ok(keeps) => keeps,
            Err(error @ (Error::Connection { .. } | Error::Tls { .. })) => return Err(error),
            // A Master without JSON calls has its own way to refuse one.
            Err(_) => false,
        };
        Ok(*self.learnt.keeps_omitted.get_or_init(|| keeps))
    }

    /// The Master's documents.
    ///
    /// # Errors
    /// [`Error::NoHateoas`] where it has none.
    pub fn documents(&self) -> Result<&Hateoas, Error> {
        if let Some(documents) = self.learnt.documents.get() {
            return Ok(documents);
        }
        let found = Hateoas::open(&self.client, self.rest_url.as_deref())?;
        Ok(self.learnt.documents.get_or_init(|| found))
    }

    /// The products of the Master; `None` where it does not list them.
    ///
    /// # Errors
    /// As any call.
    pub fn products(&self) -> Result<Option<Vec<Product>>, Error> {
        self.client.products()
    }

    /// The best release of a product.
    ///
    /// # Errors
    /// [`Error::UnknownName`] when the Master knows no such product.
    pub fn product(&self, name: &str) -> Result<ReleaseUrl, Error> {
        let unknown = |names: Vec<String>| Error::unknown_name("product", name, names);
        let Ok(reference) = ProductReference::new(name) else {
            return Err(unknown(Vec::new()));
        };
        let releases = self.client.product_releases(&reference)?;
        match releases.into_iter().next() {
            Some(best) => Ok(best),
            None => {
                let known = self.products().ok().flatten().unwrap_or_default();
                Err(unknown(
                    known.into_iter().map(|product| product.reference).collect(),
                ))
            }
        }
    }

    /// Every release that has a name: the best one of each product of the Master, and the user's
    /// aliases, which win.
    ///
    /// # Errors
    /// As any call.
    pub fn software_list(&self) -> Result<BTreeMap<String, String>, Error> {
        let products = self.products()?.unwrap_or_default();
        let mut list: BTreeMap<String, String> = products
            .into_iter()
            .filter_map(|product| Some((product.reference, product.releases.into_iter().next()?)))
            .collect();
        let aliases = self.aliases.iter();
        list.extend(aliases.map(|(name, url)| (name.clone(), url.clone())));
        Ok(list)
    }

    /// The release a person names: an alias, `product.NAME`, a URL, a path that exists, or the name
    /// of a product.
    ///
    /// # Errors
    /// [`Error::UnknownName`] when it is none of them, with the names that are like it.
    pub fn release(&self, name: &str) -> Result<ReleaseUrl, Error> {
        let unsendable = |error: slap::reference::ReferenceError| Error::Unsendable {
            what: format!("the software release `{name}`"),
            reason: error.to_string(),
        };
        if let Some(url) = self.aliases.get(name) {
            return ReleaseUrl::new(url.clone()).map_err(unsendable);
        }
        if let Some(product) = name.strip_prefix("product.") {
            return self.product(product);
        }
        if let Some((scheme, rest)) = name.split_once("://") {
            if scheme.is_empty() || rest.trim_matches('/').is_empty() {
                return Err(Error::unknown_name("software release", name, []));
            }
            return ReleaseUrl::new(name.to_owned()).map_err(unsendable);
        }
        let path = expand_home(Path::new(name));
        if !name.is_empty()
            && let Ok(absolute) = std::path::absolute(&path)
            && absolute.is_file()
        {
            let text = absolute.to_string_lossy().into_owned();
            return ReleaseUrl::new(text).map_err(unsendable);
        }
        // What looks like a path is no name: nobody is asked.
        let list = if name.is_empty() || name.contains('/') {
            BTreeMap::new()
        } else {
            self.software_list()?
        };
        match list.get(name) {
            Some(url) => ReleaseUrl::new(url.clone()).map_err(unsendable),
            None => Err(Error::unknown_name(
                "software release",
                name,
                list.into_keys(),
            )),
        }
    }

    /// Asks for an instance, or for a change of one. What the order leaves out stays as it is.
    ///
    /// # Errors
    /// As any call.
    pub fn request(&self, order: &Order) -> Result<RequestReply, Error> {
        self.send(order, None)
    }

    /// As [`Cloud::request`], by who has just seen what the Master holds: it is not asked again.
    ///
    /// # Errors
    /// As any call.
    pub fn request_over(
        &self,
        order: &Order,
        held: &InstanceTreeInfo,
    ) -> Result<RequestReply, Error> {
        self.send(order, Some(held))
    }

    fn send(&self, order: &Order, seen: Option<&InstanceTreeInfo>) -> Result<RequestReply, Error> {
        let complete = order.is_complete();
        if (complete && order.sla.is_some()) || self.keeps_omitted()? {
            return self.client.order(order);
        }
        // This Master would overwrite what is left out: it is sent what it holds. It does not tell
        // the SLA.
        if complete {
            return self.client.order(&order.filled());
        }
        if let Some(held) = seen {
            return self.client.order(&order.filled_with(held));
        }
        match self.known(&order.title)? {
            Some(held) => self.client.order(&order.filled_with(&held)),
            None => self.client.order(&order.filled()),
        }
    }

    /// What the Master holds of this title, where it tells.
    ///
    /// # Errors
    /// As any call; a Master without documents holds nothing we could keep.
    pub fn known(&self, title: &InstanceTitle) -> Result<Option<InstanceTreeInfo>, Error> {
        let found = self
            .documents()
            .and_then(|documents| documents.instance_tree(title));
        match found {
            Ok(tree) => Ok(Some(tree)),
            // One that is not ready is something: it must not be taken for nothing.
            Err(Error::NotFound { .. } | Error::NoHateoas { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks a node to have a release, or to remove it.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such node.
    pub fn supply(
        &self,
        release: &ReleaseUrl,
        node: &NodeId,
        state: InstallationState,
    ) -> Result<(), Error> {
        self.client.supply(release, node, state)
    }

    /// My instance trees, by title.
    ///
    /// # Errors
    /// As any call.
    pub fn services(&self) -> Result<Vec<InstanceTreeSummary>, Error> {
        let mut trees = self.documents()?.instance_trees()?;
        trees.sort_by(|a, b| a.title.cmp(&b.title));
        Ok(trees)
    }

    /// One of my instance trees.
    ///
    /// # Errors
    /// [`Error::UnknownName`] when there is none of this title, with the titles that are like it.
    pub fn service(&self, title: &InstanceTitle) -> Result<InstanceTreeInfo, Error> {
        let documents = self.documents()?;
        match documents.instance_tree(title) {
            Err(Error::NotFound { .. }) => {
                let titles = documents.instance_trees().unwrap_or_default();
                let titles = titles.into_iter().map(|tree| tree.title);
                Err(Error::unknown_name("instance", title.as_str(), titles))
            }
            found => found,
        }
    }

    /// The compute nodes I may see.
    ///
    /// # Errors
    /// As any call.
    pub fn nodes(&self) -> Result<Vec<NodeSummary>, Error> {
        self.documents()?.nodes()
    }

    /// One compute node.
    ///
    /// # Errors
    /// [`Error::UnknownName`] when there is none of this reference, with those that are like it.
    pub fn node(&self, node: &NodeId) -> Result<NodeSummary, Error> {
        let documents = self.documents()?;
        match documents.node(node) {
            Err(Error::NotFound { .. }) => {
                let nodes = documents.nodes().unwrap_or_default();
                let names = nodes.into_iter().map(|node| node.reference);
                Err(Error::unknown_name("compute node", node.as_str(), names))
            }
            found => found,
        }
    }
}
