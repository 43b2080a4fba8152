//! HTTP in, HTTP out: one entrance, then the rooms.
//!
//! [`endpoints`] lists everything that can be called; the entrance finds a request's entry in it,
//! finds out who calls, reads the body, and hands a [`Call`] to the entry's handler. A new room is a
//! module with a constant list of [`Endpoint`]s that `endpoint::ROOMS` names.

#[cfg(test)]
mod access_table;
mod cache;
mod call;
pub(crate) mod description;
pub(crate) mod endpoint;
mod entrance;
mod events;
mod hateoas;
mod json_rpc;
mod metrics;
mod network_cache;
pub(crate) mod problem;
mod register;
pub(crate) mod reply;
mod slap;
mod system;
#[cfg(test)]
pub(crate) mod testing;
mod traffic;

use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::Auth;
use crate::catalogue::{Catalogue, CatalogueSettings};
use crate::store::Store;
use cache::Documents;
pub(crate) use call::Call;
use endpoint::Table;
pub use endpoint::{Api, Audience, Endpoint, Verb, endpoints};
use entrance::Large;
pub(crate) use entrance::router;
pub(crate) use json_rpc::details::actual;
use metrics::Metrics;
pub(crate) use network_cache::Cache;
pub(crate) use system::Load;
pub(crate) use traffic::SLOT_SECONDS;

/// What the entrance needs to know of the configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// Where the Master says it is, without a slash at its end.
    pub(crate) public_url: String,
    /// Proxies whose headers about the caller are believed.
    pub(crate) trusted_proxies: Vec<IpAddr>,
}

/// What handlers work with.
pub(crate) struct App {
    /// The database.
    pub(crate) store: Arc<Store>,
    /// Where this Master is.
    pub(crate) place: Place,
    /// Who calls, and how one becomes somebody.
    pub(crate) auth: Arc<Auth>,
    /// Differs between two starts.
    run_id: String,
    /// Differs between two databases, and before and after one is restored: revisions are worth
    /// nothing beyond it.
    epoch: String,
    documents: Documents,
    metrics: Metrics,
    streams: events::Streams,
    pub(crate) table: Table,
    large: Large,
    /// The network cache, if this Master keeps one.
    cache: Option<Cache>,
    /// What the releases of its products say.
    pub(crate) catalogue: Catalogue,
}

impl App {
    pub(crate) fn new(
        store: Arc<Store>,
        auth: Arc<Auth>,
        place: Place,
        run_id: String,
        epoch: String,
    ) -> Self {
        App {
            store,
            place,
            auth,
            run_id,
            epoch,
            documents: Documents::default(),
            metrics: Metrics::new(),
            streams: events::Streams::default(),
            table: Table::new(),
            large: Large::default(),
            cache: None,
            catalogue: Catalogue::new(CatalogueSettings::default()),
        }
    }

    /// With a network cache.
    pub(crate) fn with_cache(self, cache: Option<Cache>) -> Self {
        App { cache, ..self }
    }

    /// With releases read from there.
    pub(crate) fn with_catalogue(self, settings: CatalogueSettings) -> Self {
        App {
            catalogue: Catalogue::new(settings),
            ..self
        }
    }
}
