//! The legacy API, one method per endpoint (P 1.3), in the field's words.

use std::collections::BTreeMap;
use std::time::SystemTime;

use form_urlencoded::Serializer;
use slap::document::{InstanceDocument, NodeDocument, PartitionDocument, TextDict};
use slap::{
    InstallationState, InstanceState, InstanceTitle, NodeId, PartitionId, ProductReference,
    ReleaseUrl, SoftwareType, Value, marshal,
};

use crate::error::Error;
use crate::transport::{Post, Settings, Transport};

/// Largest error text that is sent to a Master, in bytes: the end of a log is what tells.
const ERROR_LOG_BYTES_MAX: usize = 1 << 20;
/// The endpoint of requests.
const REQUEST: &str = "requestComputerPartition";

/// A connection to a Master. Cheap to clone; clones share the pooled connection.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) transport: Transport,
}

/// What is asked for with [`Client::request`] (P 1.4.1).
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The partition that asks; absent for a person's root instance.
    pub requester: Option<(NodeId, PartitionId)>,
    /// The software release.
    pub release: ReleaseUrl,
    /// The software type.
    pub software_type: SoftwareType,
    /// The title, unique in the tree.
    pub title: InstanceTitle,
    /// The parameters. The Master keeps each as text.
    pub parameters: BTreeMap<String, Value>,
    /// Where the instance may be placed (P 6.9).
    pub sla: BTreeMap<String, Value>,
    /// The state; absent leaves it to the Master.
    pub state: Option<InstanceState>,
    /// Whether it is a shared instance.
    pub shared: bool,
}

/// What a Master answers to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum RequestReply {
    /// The instance has its partition.
    Allocated(Box<InstanceDocument>),
    /// Accepted, nothing to show yet: ask again later (408).
    NotReady {
        /// Why, in the Master's words; empty where it has none.
        why: String,
    },
}

/// A certificate and its key, PEM texts; both empty where the Master issues none.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl IssuedCertificate {
    fn from_value(value: &Value) -> Self {
        let text = |name: &str| {
            value
                .as_dict()
                .and_then(|dict| dict.get(name))
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        IssuedCertificate {
            certificate: text("certificate"),
            key: text("key"),
        }
    }
}

impl std::fmt::Debug for IssuedCertificate {
    /// Keys never reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedCertificate").finish_non_exhaustive()
    }
}

/// What a Master last heard about something (P 1.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRecord {
    /// Who reported.
    pub user: String,
    /// The text, such as `#access Instance correctly started`.
    pub text: String,
    /// The last reported state.
    pub state: String,
    /// When it was reported, as the Master writes it.
    pub created_at: String,
    /// Since when the kind of the text has not changed, as the Master writes it.
    pub since: String,
    /// Whether it was reported after the last change of its subject; `None` where the Master does
    /// not tell (only ours does).
    pub current: Option<bool>,
    /// Whether nothing was ever reported: then the other fields mean nothing.
    pub no_data: bool,
}

type Fields<'a> = &'a [(&'a str, &'a str)];

impl Client {
    /// Prepares a connection; nothing is sent yet.
    ///
    /// # Errors
    /// When the URL makes no sense or a certificate, key or CA file cannot be used.
    pub fn new(settings: Settings) -> Result<Client, Error> {
        Ok(Client {
            transport: Transport::new(settings)?,
        })
    }

    /// The Master's URL, ending in `/`.
    pub fn master_url(&self) -> &str {
        &self.transport.base
    }

    /// Where the Master's HATEOAS documents start, if it serves any (`getHateoasUrl`).
    pub fn hateoas_url(&self) -> Result<Option<String>, Error> {
        match self.get_text("getHateoasUrl", &[]) {
            // Some old proxies answer anything with anything.
            Ok(url) => Ok(Some(url.trim().to_owned()).filter(|url| url.starts_with("http"))),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All a node is told to do (`getFullComputerInformation`).
    pub fn node(&self, node: &NodeId) -> Result<NodeDocument, Error> {
        let fields = [("computer_id", node.as_str())];
        let call = "getFullComputerInformation";
        let value = match self.get_value(call, &fields) {
            // Old Masters know the other name only (P 1.3).
            Err(Error::NotFound { .. }) => self.get_value("getComputerInformation", &fields)?,
            other => other?,
        };
        NodeDocument::from_value(&value).map_err(|error| unread(call, error))
    }

    /// One partition (`registerComputerPartition`).
    pub fn partition(
        &self,
        node: &NodeId,
        partition: &PartitionId,
    ) -> Result<PartitionDocument, Error> {
        let call = "registerComputerPartition";
        let value = self.get_value(
            call,
            &[
                ("computer_reference", node.as_str()),
                ("computer_partition_reference", partition.as_str()),
            ],
        )?;
        PartitionDocument::from_value(&value).map_err(|error| unread(call, error))
    }

    /// The certificate of the instance on a partition (`getComputerPartitionCertificate`).
    pub fn partition_certificate(
        &self,
        node: &NodeId,
        partition: &PartitionId,
    ) -> Result<IssuedCertificate, Error> {
        let value = self.get_value("getComputerPartitionCertificate", &place(node, partition))?;
        Ok(IssuedCertificate::from_value(&value))
    }

    /// All addresses of the instance's tree: interface and address (`getHostingSubscriptionIpList`).
    pub fn tree_addresses(
        &self,
        node: &NodeId,
        partition: &PartitionId,
    ) -> Result<Vec<(String, String)>, Error> {
        let value = self.get_value("getHostingSubscriptionIpList", &place(node, partition))?;
        Ok(value
            .as_sequence()
            .unwrap_or_default()
            .iter()
            .filter_map(|item| match item.as_sequence()? {
                [interface, address, ..] => {
                    Some((interface.as_str()?.to_owned(), address.as_str()?.to_owned()))
                }
                _ => None,
            })
            .collect())
    }

    /// What the Master last heard about a node (`getComputerStatus`).
    pub fn node_status(&self, node: &NodeId) -> Result<StatusRecord, Error> {
        self.status("getComputerStatus", &[("computer_id", node.as_str())])
    }

    /// What the Master last heard about a partition (`getComputerPartitionStatus`).
    pub fn partition_status(
        &self,
        node: &NodeId,
        partition: &PartitionId,
    ) -> Result<StatusRecord, Error> {
        self.status("getComputerPartitionStatus", &place(node, partition))
    }

    /// What the Master last heard about a software installation
    /// (`getSoftwareInstallationStatus`).
    pub fn installation_status(
        &self,
        release: &ReleaseUrl,
        node: &NodeId,
    ) -> Result<StatusRecord, Error> {
        self.status("getSoftwareInstallationStatus", &on_node(release, node))
    }

    fn status(&self, call: &str, fields: Fields<'_>) -> Result<StatusRecord, Error> {
        let value = self.get_value(call, fields)?;
        let entries = value
            .as_dict()
            .ok_or_else(|| unread(call, format!("{} instead of a status", value.kind())))?;
        let text = |name: &str| entries.get(name).map(slap::python::str).unwrap_or_default();
        Ok(StatusRecord {
            user: text("user"),
            text: text("text"),
            state: text("state"),
            created_at: text("created_at"),
            since: text("since"),
            current: match entries.get("current") {
                Some(Value::Int(number)) => Some(*number != 0),
                _ => None,
            },
            no_data: entries.contains_key("no_data"),
        })
    }

    /// The releases of a product, best first (`getSoftwareReleaseListFromSoftwareProduct`).
    pub fn product_releases(&self, product: &ProductReference) -> Result<Vec<ReleaseUrl>, Error> {
        self.releases(&[("software_product_reference", product.as_str())])
    }

    /// The releases of the product that this release belongs to, best first.
    pub fn sibling_releases(&self, release: &ReleaseUrl) -> Result<Vec<ReleaseUrl>, Error> {
        self.releases(&[("software_release_url", release.as_str())])
    }

    fn releases(&self, fields: Fields<'_>) -> Result<Vec<ReleaseUrl>, Error> {
        let call = "getSoftwareReleaseListFromSoftwareProduct";
        let value = self.get_value(call, fields)?;
        value
            .as_sequence()
            .ok_or_else(|| unread(call, format!("{} instead of a list", value.kind())))?
            .iter()
            .filter_map(Value::as_str)
            .map(|url| ReleaseUrl::new(url).map_err(|error| unread(call, error)))
            .collect()
    }

    /// What the Master's clock says, in whole seconds; `None` when it does not say.
    ///
    /// # Errors
    /// When the Master cannot be reached.
    pub fn master_clock(&self) -> Result<Option<SystemTime>, Error> {
        self.transport.clock()
    }

    /// Whether a Master answers, and knows who asks: any question tells that.
    ///
    /// # Errors
    /// As any call; [`Error::Reply`] when what answers is no Master.
    pub fn is_known(&self) -> Result<(), Error> {
        let fields = [("software_product_reference", "slapos")];
        match self.releases(&fields) {
            // So say Masters without such a product, and every other web server.
            Err(Error::NotFound { .. }) => {}
            other => return other.map(drop),
        }
        if self.hateoas_url()?.is_some() {
            return Ok(());
        }
        match self.run_id() {
            Err(Error::NotFound { .. }) => Err(Error::Reply {
                what: "the first question".to_owned(),
                reason: format!("nothing at {} is a Master", self.master_url()),
            }),
            other => other.map(drop),
        }
    }

    /// A text that differs between two starts of a proxy (`getRunId`).
    pub fn run_id(&self) -> Result<String, Error> {
        self.get_text("getRunId", &[])
    }

    /// Asks for a compute node of this title, which is made if there is none (`requestComputer`).
    /// ERP5 only.
    pub fn request_node(&self, title: &str) -> Result<NodeDocument, Error> {
        let call = "requestComputer";
        let value = decode(call, &self.post(call, &[("computer_title", title)])?)?;
        NodeDocument::from_value(&value).map_err(|error| unread(call, error))
    }

    /// Has a node's certificate issued (`generateComputerCertificate`). ERP5 only.
    pub fn issue_node_certificate(&self, node: &NodeId) -> Result<IssuedCertificate, Error> {
        let call = "generateComputerCertificate";
        let body = self.post(call, &[("computer_id", node.as_str())])?;
        Ok(IssuedCertificate::from_value(&decode(call, &body)?))
    }

    /// Revokes a node's certificates (`revokeComputerCertificate`). ERP5 only.
    pub fn revoke_node_certificate(&self, node: &NodeId) -> Result<(), Error> {
        self.post(
            "revokeComputerCertificate",
            &[("computer_id", node.as_str())],
        )
        .map(drop)
    }

    /// Asks for an instance, or for a change of one (`requestComputerPartition`).
    ///
    /// Sending the same request again is harmless (P 6.3, 6.4).
    pub fn request(&self, request: &Request) -> Result<RequestReply, Error> {
        let encode = |value: &Value| {
            marshal::encode(value).map_err(|error| Error::Unsendable {
                what: format!("the request of `{}`", request.title),
                reason: error.to_string(),
            })
        };
        let parameters = encode(&Value::Dict(request.parameters.clone()))?;
        let sla = encode(&Value::Dict(request.sla.clone()))?;
        let shared = encode(&Value::Bool(request.shared))?;
        let state = encode(&match request.state {
            Some(state) => Value::text(state.as_str()),
            None => Value::None,
        })?;
        let release = ("software_release", request.release.as_str());
        let title = ("partition_reference", request.title.as_str());
        let software_type = ("software_type", request.software_type.as_str());
        let parameters = ("partition_parameter_xml", parameters.as_str());
        let sla = ("filter_xml", sla.as_str());
        let state = ("state", state.as_str());
        let shared = ("shared_xml", shared.as_str());
        let reply = match &request.requester {
            None => self.post(
                REQUEST,
                &[
                    release,
                    title,
                    parameters,
                    sla,
                    software_type,
                    state,
                    shared,
                ],
            ),
            Some((node, partition)) => self.post_as(
                node,
                partition,
                REQUEST,
                &[
                    release,
                    software_type,
                    title,
                    shared,
                    parameters,
                    sla,
                    state,
                ],
            ),
        };
        request_reply(reply)
    }

    /// A person's request with these fields and no others.
    pub(crate) fn requested(&self, fields: Fields<'_>) -> Result<RequestReply, Error> {
        request_reply(self.post(REQUEST, fields))
    }

    /// Asks a node to have a release, or to remove it (`supplySupply`).
    pub fn supply(
        &self,
        release: &ReleaseUrl,
        node: &NodeId,
        state: InstallationState,
    ) -> Result<(), Error> {
        let fields = [
            ("url", release.as_str()),
            ("computer_id", node.as_str()),
            ("state", state.as_str()),
        ];
        self.post("supplySupply", &fields).map(drop)
    }

    /// The node has begun to build a release.
    pub fn release_building(&self, release: &ReleaseUrl, node: &NodeId) -> Result<(), Error> {
        self.post("buildingSoftwareRelease", &on_node(release, node))
            .map(drop)
    }

    /// The node has built a release.
    pub fn release_available(&self, release: &ReleaseUrl, node: &NodeId) -> Result<(), Error> {
        self.post("availableSoftwareRelease", &on_node(release, node))
            .map(drop)
    }

    /// The node has removed a release.
    pub fn release_destroyed(&self, release: &ReleaseUrl, node: &NodeId) -> Result<(), Error> {
        self.post("destroyedSoftwareRelease", &on_node(release, node))
            .map(drop)
    }

    /// The node could not build a release.
    pub fn release_error(
        &self,
        release: &ReleaseUrl,
        node: &NodeId,
        log: &str,
    ) -> Result<(), Error> {
        let [url, computer] = on_node(release, node);
        self.post(
            "softwareReleaseError",
            &[url, computer, ("error_log", end_of(log))],
        )
        .map(drop)
    }

    /// The instance is started and its promises hold.
    pub fn instance_started(&self, node: &NodeId, partition: &PartitionId) -> Result<(), Error> {
        self.post_as(node, partition, "startedComputerPartition", &[])
            .map(drop)
    }

    /// The instance is stopped.
    pub fn instance_stopped(&self, node: &NodeId, partition: &PartitionId) -> Result<(), Error> {
        self.post_as(node, partition, "stoppedComputerPartition", &[])
            .map(drop)
    }

    /// The instance is removed. The proxy's answer is `OK` only when the partition is free
    /// (P 1.7): anything else says why it is not yet.
    pub fn instance_destroyed(
        &self,
        node: &NodeId,
        partition: &PartitionId,
    ) -> Result<String, Error> {
        self.post_as(node, partition, "destroyedComputerPartition", &[])
    }

    /// Something is wrong with the instance, or with a shared instance it hosts.
    pub fn instance_error(
        &self,
        node: &NodeId,
        partition: &PartitionId,
        log: &str,
        shared: Option<&str>,
    ) -> Result<(), Error> {
        let mut fields = vec![("error_log", end_of(log))];
        fields.extend(shared.map(|reference| ("slave_reference", reference)));
        self.post_as(node, partition, "softwareInstanceError", &fields)
            .map(drop)
    }

    /// Asks for reprocessing of the instance's tree.
    pub fn instance_bang(
        &self,
        node: &NodeId,
        partition: &PartitionId,
        message: &str,
    ) -> Result<(), Error> {
        self.post_as(
            node,
            partition,
            "softwareInstanceBang",
            &[("message", message)],
        )
        .map(drop)
    }

    /// Gives the instance, or a shared instance it hosts, another title.
    pub fn instance_rename(
        &self,
        node: &NodeId,
        partition: &PartitionId,
        new: &InstanceTitle,
        shared: Option<&str>,
    ) -> Result<(), Error> {
        let mut fields = vec![("new_name", new.as_str())];
        fields.extend(shared.map(|reference| ("slave_reference", reference)));
        self.post_as(node, partition, "softwareInstanceRename", &fields)
            .map(drop)
    }

    /// Publishes connection parameters, for the instance or for a shared instance it hosts
    /// (`setComputerPartitionConnectionXml`).
    pub fn publish(
        &self,
        node: &NodeId,
        partition: &PartitionId,
        connection: &TextDict,
        shared: Option<&str>,
    ) -> Result<(), Error> {
        let call = "setComputerPartitionConnectionXml";
        let document =
            marshal::encode(&Value::text_dict(connection)).map_err(|error| Error::Unsendable {
                what: format!("the connection parameters of `{partition}`"),
                reason: error.to_string(),
            })?;
        // The reference is always sent, and `None` means the instance itself (P 1.7).
        let fields = [
            ("connection_xml", document.as_str()),
            ("slave_reference", shared.unwrap_or("None")),
        ];
        self.post_as(node, partition, call, &fields).map(drop)
    }

    /// The titles of all instances that this one requested in its last processing
    /// (`updateComputerPartitionRelatedInstanceList`).
    pub fn related_instances(
        &self,
        node: &NodeId,
        partition: &PartitionId,
        titles: &[String],
    ) -> Result<(), Error> {
        let list = Value::List(titles.iter().map(Value::text).collect());
        let document = marshal::encode(&list).map_err(|error| Error::Unsendable {
            what: format!("the instances requested by `{partition}`"),
            reason: error.to_string(),
        })?;
        self.post_as(
            node,
            partition,
            "updateComputerPartitionRelatedInstanceList",
            &[("instance_reference_xml", &document)],
        )
        .map(drop)
    }

    /// Reports the usage of a node: a TioXML journal (P 6.12). An empty one is not sent.
    pub fn report_usage(&self, node: &NodeId, journal: &str) -> Result<(), Error> {
        if journal.is_empty() {
            return Ok(());
        }
        let fields = [("computer_id", node.as_str()), ("use_string", journal)];
        self.post("useComputer", &fields).map(drop)
    }

    /// Asks for reprocessing of everything on the node.
    pub fn node_bang(&self, node: &NodeId, message: &str) -> Result<(), Error> {
        let fields = [("computer_id", node.as_str()), ("message", message)];
        self.post("computerBang", &fields).map(drop)
    }

    /// Tells the Master what the node is made of (`loadComputerConfigurationFromXML`).
    pub fn post_format(&self, description: &Value) -> Result<(), Error> {
        let document = marshal::encode(description).map_err(|error| Error::Unsendable {
            what: "the description of the node".to_owned(),
            reason: error.to_string(),
        })?;
        self.post("loadComputerConfigurationFromXML", &[("xml", &document)])
            .map(drop)
    }

    /// A read by the name of its endpoint, for who hands out what the Master says as it says it:
    /// the SDK for Python, whose methods are upstream's.
    pub fn ask(&self, call: &str, fields: &[(&str, &str)]) -> Result<String, Error> {
        self.get_text(call, fields)
    }

    /// A write by the name of its endpoint, on behalf of a partition if one is named (P 1.2). The
    /// fields are sent as they are: a partition names itself in them too.
    pub fn tell(
        &self,
        call: &str,
        fields: &[(&str, &str)],
        partition: Option<(&NodeId, &PartitionId)>,
    ) -> Result<String, Error> {
        let identity = partition.map(|(node, partition)| identity(node, partition));
        self.send(call, fields, identity)
    }

    fn get_text(&self, call: &str, fields: Fields<'_>) -> Result<String, Error> {
        let mut url = format!("{}{call}", self.transport.base);
        if !fields.is_empty() {
            url.push('?');
            url.push_str(&form(fields));
        }
        self.transport.get(&url, call, &[])
    }

    fn get_value(&self, call: &str, fields: Fields<'_>) -> Result<Value, Error> {
        decode(call, &self.get_text(call, fields)?)
    }

    fn post(&self, call: &str, fields: Fields<'_>) -> Result<String, Error> {
        self.send(call, fields, None)
    }

    /// A call of a partition: it names itself first, in the form and in a header (P 1.2).
    fn post_as(
        &self,
        node: &NodeId,
        partition: &PartitionId,
        call: &str,
        fields: Fields<'_>,
    ) -> Result<String, Error> {
        let mut all = place(node, partition).to_vec();
        all.extend_from_slice(fields);
        self.send(call, &all, Some(identity(node, partition)))
    }

    fn send(
        &self,
        call: &str,
        fields: Fields<'_>,
        authorization: Option<String>,
    ) -> Result<String, Error> {
        let url = format!("{}{call}", self.transport.base);
        let post = Post {
            body: &form(fields),
            content_type: "application/x-www-form-urlencoded",
            authorization,
            token: None,
        };
        self.transport.post(&url, call, &post)
    }
}

fn request_reply(reply: Result<String, Error>) -> Result<RequestReply, Error> {
    match reply {
        Ok(body) => {
            let value = decode(REQUEST, &body)?;
            let document =
                InstanceDocument::from_value(&value).map_err(|error| unread(REQUEST, error))?;
            Ok(RequestReply::Allocated(Box::new(document)))
        }
        Err(Error::NotReady { detail, .. }) => Ok(RequestReply::NotReady { why: detail }),
        Err(error) => Err(error),
    }
}

/// The header by which a partition names itself (P 1.2).
fn identity(node: &NodeId, partition: &PartitionId) -> String {
    format!("X-SlapPartition computer_id={node}, computer_partition_id={partition}")
}

fn place<'a>(node: &'a NodeId, partition: &'a PartitionId) -> [(&'a str, &'a str); 2] {
    [
        ("computer_id", node.as_str()),
        ("computer_partition_id", partition.as_str()),
    ]
}

fn on_node<'a>(release: &'a ReleaseUrl, node: &'a NodeId) -> [(&'a str, &'a str); 2] {
    [("url", release.as_str()), ("computer_id", node.as_str())]
}

fn form(fields: Fields<'_>) -> String {
    Serializer::new(String::new()).extend_pairs(fields).finish()
}

fn decode(call: &str, body: &str) -> Result<Value, Error> {
    marshal::decode(body.as_bytes()).map_err(|error| unread(call, error))
}

fn unread(call: &str, reason: impl ToString) -> Error {
    Error::Reply {
        what: call.to_owned(),
        reason: reason.to_string(),
    }
}

/// The last part of a log, cut between characters.
fn end_of(log: &str) -> &str {
    let mut start = log.len().saturating_sub(ERROR_LOG_BYTES_MAX);
    while !log.is_char_boundary(start) {
        start += 1;
    }
    &log[start..]
}
