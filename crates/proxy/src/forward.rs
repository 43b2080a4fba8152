//! Requests that another Master answers (P 6.15): which ones, and asking for them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use slap::document::InstanceDocument;
use slap::reference::ReferenceError;
use slap::{InstanceTitle, NodeId, PartitionId, Value};
use slap_client::{Client, RequestReply, Trust};
use tokio::sync::Semaphore;

use crate::domain::Request;

/// Calls to other Masters at the same time. Each holds a thread; more wait.
const CALLS_MAX: usize = 32;

/// Another Master that answers some of the requests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OtherMaster {
    /// Its URL, as the configuration and requests name it.
    pub url: String,
    /// Path of the client certificate.
    pub certificate: Option<PathBuf>,
    /// Path of its key.
    pub key: Option<PathBuf>,
    /// Path of the authority that signed its certificate, where that is no public one.
    pub authority: Option<PathBuf>,
    /// Whether its certificate is not to be checked.
    pub unverified: bool,
    /// Releases whose requests always go there.
    pub releases: Vec<String>,
    /// The partition there as which requests are made; absent for a person's requests.
    pub requester: Option<(NodeId, PartitionId)>,
}

/// Why another Master gave no instance.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    /// Nobody may be asked there.
    #[error("External SlapOS Master URL {url} is not listed in multimaster list.")]
    NotListed { url: String },
    /// A Master behind TLS wants to know who asks.
    #[error("External master {url} configuration did not specify key or certificate.")]
    NoCertificate { url: String },
    /// The title it would have there is no title.
    #[error("{0}")]
    Title(#[from] ReferenceError),
    /// It has nothing to show yet.
    #[error("The external master {url} has nothing to show yet; ask again later")]
    NotReady { url: String },
    /// It did not do it.
    #[error("{0}")]
    Client(#[from] slap_client::Error),
    /// The call was not carried out here.
    #[error("the call to the external master {url} was cut short")]
    CutShort { url: String },
}

/// The other Masters and the connections to them.
pub(crate) struct Forwarder {
    masters: Vec<OtherMaster>,
    clients: Mutex<HashMap<String, Client>>,
    calls: Semaphore,
}

impl Forwarder {
    pub(crate) fn new(masters: Vec<OtherMaster>) -> Self {
        Forwarder {
            masters,
            clients: Mutex::default(),
            calls: Semaphore::new(CALLS_MAX),
        }
    }

    /// The Master a request names in its SLA, if that is not this one.
    pub(crate) fn named(
        &self,
        request: &Request,
        own_url: &str,
    ) -> Result<Option<&OtherMaster>, ForwardError> {
        let bare = |url: &str| url.trim_end_matches('/').to_owned();
        let Some(url) = request
            .sla_text("master_url")
            .filter(|url| bare(url) != bare(own_url))
        else {
            return Ok(None);
        };
        let exact = self.masters.iter().find(|master| master.url == url);
        let found = exact.or_else(|| {
            self.masters
                .iter()
                .find(|master| bare(&master.url) == bare(url))
        });
        match found {
            Some(master) => Ok(Some(master)),
            None => Err(ForwardError::NotListed {
                url: url.to_owned(),
            }),
        }
    }

    /// The Master whose list has the request's release.
    pub(crate) fn listed(&self, request: &Request) -> Option<&OtherMaster> {
        self.masters.iter().find(|master| {
            master
                .releases
                .iter()
                .any(|release| release == request.release.as_str())
        })
    }

    /// The title a request has at another Master: unique among all that come from here.
    pub(crate) fn title(request: &Request) -> Result<InstanceTitle, ReferenceError> {
        let requester = match &request.requester {
            Some(place) => place.partition.as_str(),
            None => "user",
        };
        InstanceTitle::new(format!("{requester}_{}", request.title))
    }

    /// Asks another Master.
    pub(crate) async fn ask(
        &self,
        master: &OtherMaster,
        request: &Request,
    ) -> Result<InstanceDocument, ForwardError> {
        let client = self.client(master)?;
        let title = Self::title(request)?;
        let mut sla = request.sla.0.clone();
        sla.remove("master_url");
        if master.requester.is_none() {
            sla.insert("source_instance_id".to_owned(), Value::text(title.as_str()));
        }
        let asked = slap_client::Request {
            requester: master.requester.clone(),
            release: request.release.clone(),
            software_type: request.software_type.clone(),
            title,
            parameters: request.parameters.0.clone(),
            sla,
            state: request.state,
            shared: request.shared,
        };
        let cut_short = || ForwardError::CutShort {
            url: master.url.clone(),
        };
        let _permit = self.calls.acquire().await.map_err(|_| cut_short())?;
        let reply = tokio::task::spawn_blocking(move || client.request(&asked))
            .await
            .map_err(|_| cut_short())??;
        match reply {
            RequestReply::Allocated(document) => Ok(*document),
            RequestReply::NotReady { .. } => Err(ForwardError::NotReady {
                url: master.url.clone(),
            }),
        }
    }

    fn client(&self, master: &OtherMaster) -> Result<Client, ForwardError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&master.url) {
            return Ok(client.clone());
        }
        let mut settings = slap_client::Settings::new(&master.url);
        settings.certificate = master.certificate.clone().zip(master.key.clone());
        if master.url.starts_with("https:") && settings.certificate.is_none() {
            return Err(ForwardError::NoCertificate {
                url: master.url.clone(),
            });
        }
        settings.trust = match (&master.authority, master.unverified) {
            (_, true) => Trust::Insecure,
            (Some(authority), false) => Trust::CaFile(authority.clone()),
            (None, false) => Trust::WebRoots,
        };
        let client = Client::new(settings)?;
        clients.insert(master.url.clone(), client.clone());
        Ok(client)
    }
}
