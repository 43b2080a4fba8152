//! The legacy SLAP calls (P 1.3), with the proxy's replies.

mod documents;
mod get;
mod post;

use std::sync::Arc;

use axum::response::Response;

use super::{Allow, App, Call, Problem};

/// The methods a call takes; `None` for what the proxy does not serve.
pub(super) fn allowed(name: &str) -> Option<Allow> {
    match name {
        "getHateoasUrl"
        | "getFullComputerInformation"
        | "getComputerInformation"
        | "registerComputerPartition"
        | "getComputerPartitionStatus"
        | "getComputerPartitionCertificate"
        | "getSoftwareInstallationStatus"
        | "getSoftwareReleaseListFromSoftwareProduct"
        | "getRunId" => Some(Allow::Get),
        "requestComputerPartition"
        | "supplySupply"
        | "buildingSoftwareRelease"
        | "availableSoftwareRelease"
        | "softwareReleaseError"
        | "destroyedSoftwareRelease"
        | "startedComputerPartition"
        | "stoppedComputerPartition"
        | "destroyedComputerPartition"
        | "softwareInstanceError"
        | "softwareInstanceBang"
        | "softwareInstanceRename"
        | "setComputerPartitionConnectionXml"
        | "useComputer"
        | "computerBang"
        | "loadComputerConfigurationFromXML" => Some(Allow::Post),
        _ => None,
    }
}

pub(super) fn get(app: &App, name: &str, call: &Call) -> Result<Response, Problem> {
    get::answer(app, name, call)
}

pub(super) async fn post(app: &Arc<App>, name: &str, call: &Call) -> Result<Response, Problem> {
    post::answer(app, name, call).await
}
