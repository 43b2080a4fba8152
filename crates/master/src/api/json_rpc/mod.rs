//! The JSON calls `slapos.<verb>.v0.<subject>` with the full Master's meaning (P 3.1, 3.3).
//!
//! What they accept and answer is data in [`slap_server::json_rpc`]; here is what they do. Who
//! requests is who calls: a person asks for the root of a tree, an instance for a member of its own.

pub(super) mod details;
mod read;
#[cfg(test)]
pub(in crate::api) mod tests;
mod write;

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::Response;
use serde_json::Value;
use slap_server::json::{Spacing, write as to_bytes};
use slap_server::json_rpc::{ErrorType, Input, JsonError, Method, answer, openapi};
use slap_server::{Problem, headers};

use super::endpoint::handler;
use super::{Api, App, Call, Endpoint, reply};
use crate::domain::{InstanceKey, NodeReference, Refusal};
use crate::store::{InstanceRecord, StoreError, Subject};

/// All calls, and their description.
pub(super) const ENDPOINTS: &[Endpoint] = &{
    let description = Endpoint::get(Api::JsonRpc, "openapi.json", handler!(description)).public();
    let mut endpoints = [description; Method::ALL.len() + 1];
    let mut index = 0;
    while index < Method::ALL.len() {
        let name = Method::ALL[index].name();
        endpoints[index] = Endpoint::post(Api::JsonRpc, name, handler!(call));
        index += 1;
    }
    endpoints
};

/// How long programs may keep the description, in seconds.
const DESCRIPTION_KEPT: &str = "public, max-age=3600";

/// What a call leads to.
type Answer = Result<Value, JsonError>;

async fn description(_app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let document = openapi::document(&call.origin.base_url);
    let mut response = json(StatusCode::OK, &document);
    reply::set(&mut response, header::CACHE_CONTROL, DESCRIPTION_KEPT);
    Ok(response)
}

async fn call(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    Ok(match answer_to(&app, &call).await {
        Ok(document) => json(StatusCode::OK, &document),
        Err(error) => json(error.status, &error.to_json()),
    })
}

async fn answer_to(app: &App, call: &Call) -> Answer {
    let name = call.endpoint.name;
    let method = Method::named(name).ok_or_else(|| JsonError::no_such_method(name))?;
    let content_type = call.header("content-type").unwrap_or_default();
    if !headers::is_json(content_type) {
        return Err(JsonError::unexpected_media_type(content_type));
    }
    let input = method.read(&call.body)?;
    run(method, app, call, &input).await
}

async fn run(method: Method, app: &App, call: &Call, input: &Input) -> Answer {
    match method {
        Method::NodeInstances => read::node_instances(app, call, input).await,
        Method::NodeInstallations => read::node_installations(app, call, input).await,
        Method::SharedInstances => read::shared_instances(app, call, input).await,
        Method::Trees => read::trees(app, call).await,
        Method::Nodes => read::nodes(app, call).await,
        Method::NodeStatus => read::node_status(app, call, input).await,
        Method::Partition => read::partition(app, call, input).await,
        Method::Instance => read::instance(app, call, input).await,
        Method::Tree => read::tree(app, call, input).await,
        Method::Hateoas => read::hateoas_url(call),
        Method::Products => read::products(app, call).await,
        Method::InstanceCertificate => read::instance_certificate(app, call, input).await,
        Method::NodeCertificate => write::node_certificate(app, call, input).await,
        Method::RemoveNodeCertificate => write::remove_node_certificate(app, call, input).await,
        Method::NodeUsage => write::node_usage(app, call, input).await,
        Method::NodeBang => write::node_bang(app, call, input).await,
        Method::Format => write::format(app, call, input).await,
        Method::Supply => write::supply(app, call, input).await,
        Method::InstallationError => write::installation_error(app, call, input).await,
        Method::InstallationReport => write::installation_report(app, call, input).await,
        Method::Request => write::request(app, call, input).await,
        Method::InstanceBang => write::instance_bang(app, call, input).await,
        Method::Publish => write::publish(app, call, input).await,
        Method::InstanceError => write::instance_error(app, call, input).await,
        Method::InstanceReport => write::instance_report(app, call, input).await,
        Method::Rename => write::rename(app, call, input).await,
        Method::TreeDetails => details::trees(app, call, input).await,
        Method::TreeEvents => details::tree_events(app, call, input).await,
        Method::NodeDetails => details::nodes(app, call).await,
        Method::NodeEvents => details::node_events(app, call, input).await,
        Method::ReleaseNodes => details::release_nodes(app, call, input).await,
        Method::NodeDetail => details::node(app, call, input).await,
        Method::TreeDetail => details::tree(app, call, input).await,
        Method::TreeUpgrade => details::upgrade(app, call, input).await,
        Method::TreePromises => details::tree_promises(app, call, input).await,
        Method::Promises => write::promises(app, call, input).await,
    }
}

fn json(status: StatusCode, document: &Value) -> Response {
    reply::with(status, reply::JSON, to_bytes(document, Spacing::Wide))
}

/// A refusal of the entrance as these calls show it.
pub(super) fn refuse(problem: &Problem) -> Response {
    let error = error(problem.clone());
    json(error.status, &error.to_json())
}

/// Whether a path looks like one of these calls: then a refusal does too.
pub(super) fn is_method_like(name: &str) -> bool {
    name.starts_with("slapos.") && !name.contains('/')
}

/// The error that goes with a status where the call has no word of its own for it.
fn error(problem: Problem) -> JsonError {
    let kind = match problem.status {
        StatusCode::BAD_REQUEST => ErrorType::InvalidInput,
        StatusCode::NOT_FOUND => ErrorType::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => return JsonError::method_not_allowed(),
        StatusCode::INTERNAL_SERVER_ERROR => ErrorType::Unknown,
        _ => return JsonError::from(problem),
    };
    JsonError::new(kind, problem.text)
}

/// What the store refuses: what there is not has the call's own word (P 3.3).
fn refused(error_: StoreError, unknown: ErrorType) -> JsonError {
    match error_ {
        StoreError::Refused(Refusal::NotFound(text)) => JsonError::new(unknown, text),
        other => error(other.into()),
    }
}

/// The node a call is about.
fn node(input: &Input) -> Result<NodeReference, JsonError> {
    let text = input.text("computer_guid");
    text.parse()
        .map_err(|_| unknown(ErrorType::NodeNotFound, "compute node", text))
}

/// The instance a call is about.
fn instance_key(input: &Input, kind: ErrorType) -> Result<InstanceKey, JsonError> {
    let text = input.text("instance_guid");
    text.parse().map_err(|_| unknown(kind, "instance", text))
}

/// The instance a call is about, as operations take it.
fn subject(input: &Input) -> Result<Subject, JsonError> {
    instance_key(input, ErrorType::InstanceNotFound).map(Subject::Instance)
}

/// In the words of the store for what there is not: nobody learns whether a reference is used.
fn unknown(kind: ErrorType, what: &str, reference: &str) -> JsonError {
    let shown: String = reference.chars().take(80).collect();
    JsonError::new(kind, Refusal::unknown(what, shown).to_string())
}

/// An instance in all detail. One that has no place yet says so by an empty node (P 3.3).
fn document(record: InstanceRecord) -> Value {
    let texts = |texts: crate::store::Texts| {
        texts
            .into_iter()
            .map(|(name, text)| (name, Value::String(text)))
            .collect()
    };
    let (plain, routed): (Vec<_>, Vec<_>) = record
        .addresses
        .into_iter()
        .partition(|address| address.route.is_none());
    let (node, partition) = match record.placement {
        Some(placement) => (placement.node.to_string(), placement.partition),
        None => Default::default(),
    };
    answer::InstanceAnswer {
        title: record.title,
        guid: record.key.to_string(),
        release: record.release,
        software_type: record.software_type,
        state: record.state.as_str().to_owned(),
        connection: texts(record.connection.unwrap_or_default()),
        parameters: texts(record.parameters),
        shared: record.shared,
        root_title: record.root_title,
        addresses: plain
            .into_iter()
            .map(|address| [address.interface, address.ip])
            .collect(),
        routed_addresses: routed
            .into_iter()
            .filter_map(|address| {
                let route = address.route?;
                Some([
                    address.interface,
                    address.ip,
                    route.gateway,
                    route.netmask,
                    route.network,
                ])
            })
            .collect(),
        sla: texts(record.sla),
        node,
        partition,
        timestamp: record.timestamp.0,
        status: record.status.text.unwrap_or_default(),
    }
    .into()
}
