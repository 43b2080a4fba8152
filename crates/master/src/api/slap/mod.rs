//! The legacy calls (P 1.3) with the full Master's meaning (P 6) and documents (P 1.4.2, 1.5).

mod certificates;
mod documents;
mod node;
mod read;
mod report;
mod request;
pub(super) mod status;
#[cfg(test)]
mod tests;

use slap::{NodeId, PartitionId};
use slap_server::{Fields, Problem, forms};

use super::endpoint::handler;
use super::{Api, Endpoint};
use crate::domain::{InstanceKey, NodeReference, ProjectKey};
use crate::store::Subject;

const fn get(name: &'static str, handler: super::endpoint::Handler) -> Endpoint {
    Endpoint::get(Api::Slap, name, handler)
}

const fn post(name: &'static str, handler: super::endpoint::Handler) -> Endpoint {
    Endpoint::post(Api::Slap, name, handler)
}

pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("getHateoasUrl", handler!(read::hateoas_url)).public(),
    get("getRunId", handler!(read::run_id)).public(),
    get("getFullComputerInformation", handler!(node::document)),
    get("getComputerInformation", handler!(node::document)),
    get("registerComputerPartition", handler!(read::partition)),
    get("getComputerStatus", handler!(read::node_status)),
    get(
        "getComputerPartitionStatus",
        handler!(read::instance_status),
    ),
    get(
        "getSoftwareInstallationStatus",
        handler!(read::installation_status),
    ),
    get(
        "getHostingSubscriptionIpList",
        handler!(read::tree_addresses),
    ),
    get(
        "getSoftwareReleaseListFromSoftwareProduct",
        handler!(read::product_releases),
    ),
    get(
        "getComputerPartitionCertificate",
        handler!(certificates::of_instance),
    ),
    post(
        "generateComputerCertificate",
        handler!(certificates::generate),
    ),
    post("revokeComputerCertificate", handler!(certificates::revoke)),
    post("requestComputerPartition", handler!(request::request)),
    post("requestComputer", handler!(node::create)),
    post("loadComputerConfigurationFromXML", handler!(node::format)),
    post("computerBang", handler!(node::bang)),
    post("useComputer", handler!(node::usage)),
    post("supplySupply", handler!(node::supply)),
    post("buildingSoftwareRelease", handler!(report::building)),
    post("availableSoftwareRelease", handler!(report::available)),
    post("softwareReleaseError", handler!(report::release_error)),
    post("destroyedSoftwareRelease", handler!(report::release_gone)),
    post("startedComputerPartition", handler!(report::started)),
    post("stoppedComputerPartition", handler!(report::stopped)),
    post("destroyedComputerPartition", handler!(report::destroyed)),
    post("softwareInstanceError", handler!(report::instance_error)),
    post("softwareInstanceBang", handler!(report::instance_bang)),
    post("softwareInstanceRename", handler!(report::rename)),
    post(
        "setComputerPartitionConnectionXml",
        handler!(report::publish),
    ),
    post(
        "updateComputerPartitionRelatedInstanceList",
        handler!(report::related),
    ),
];

/// The node a text names; a text that is no reference names none.
fn node_named(text: &str) -> Result<NodeReference, Problem> {
    text.parse()
        .map_err(|_| crate::domain::Refusal::unknown("compute node", shown(text)).into())
}

/// The node a field names.
fn node_in(fields: &Fields<'_>, name: &str) -> Result<NodeReference, Problem> {
    node_named(fields.need(name)?)
}

/// The project that is named, if one is.
fn project_in(fields: &Fields<'_>) -> Result<Option<ProjectKey>, Problem> {
    fields
        .given("project_reference")
        .map(project_named)
        .transpose()
}

/// The project a text names; a text that is no reference names none.
fn project_named(text: &str) -> Result<ProjectKey, Problem> {
    text.parse()
        .map_err(|_| crate::domain::Refusal::unknown("project", shown(text)).into())
}

/// The instance on a partition.
pub(super) fn subject_at(place: &(NodeId, PartitionId)) -> Result<Subject, Problem> {
    Ok(Subject::At {
        node: node_named(place.0.as_str())?,
        partition: place.1.as_str().to_owned(),
    })
}

/// The instance that a form names by its partition.
fn subject(form: &Fields<'_>) -> Result<Subject, Problem> {
    subject_at(&forms::place(form)?)
}

/// The shared instance that is meant rather than the one on the partition.
fn shared_named(reference: Option<String>) -> Result<Option<InstanceKey>, Problem> {
    reference
        .map(|text| {
            text.parse().map_err(|_| {
                Problem::from(crate::domain::Refusal::unknown(
                    "shared instance",
                    shown(&text),
                ))
            })
        })
        .transpose()
}

/// The beginning of a text, for messages.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}
