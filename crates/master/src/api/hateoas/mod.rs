//! The hypermedia documents with the full Master's meaning (P 4): what `service` and `computer`
//! commands read, and programs of people.
//!
//! Everybody sees what belongs to them: a person its own trees and the nodes of its projects, a node
//! itself, an instance its tree.

mod search;
#[cfg(test)]
mod tests;
mod traverse;

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::Value;
use slap_server::Problem;
use slap_server::hateoas::{Ask, LIMIT_DEFAULT, Templates, root};
use slap_server::json::{Spacing, write};

use super::endpoint::handler;
use super::slap::status::StatusDict;
use super::{Api, App, Call, Endpoint, reply};
use crate::domain::{
    Caller, InstallationKey, InstanceKey, NodeReference, PersonKey, Refusal, TreeKey,
};
use crate::store::{Status, StoreError};

const fn get(name: &'static str, handler: super::endpoint::Handler) -> Endpoint {
    Endpoint::get(Api::Hateoas, name, handler)
}

pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("hateoas", handler!(document)),
    get("hateoas/", handler!(document)),
];

/// The media type of these documents.
const HAL: &str = "application/hal+json";

async fn document(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let arguments = call.arguments();
    let document = match Ask::read(&arguments, LIMIT_DEFAULT)? {
        Ask::Root => {
            let url = format!("{}/hateoas/", call.origin.base_url);
            root(&url, Templates::Exploded, me(call.caller).as_deref())
        }
        Ask::Search(search) => search::find(&app, call.caller, search).await?,
        Ask::Traverse(url) => traverse::show(&app, call.caller, url).await?,
    };
    Ok(answer(&document))
}

fn answer(document: &Value) -> Response {
    let mut response = reply::with(StatusCode::OK, HAL, write(document, Spacing::Tight));
    reply::set(&mut response, header::CACHE_CONTROL, "private, no-cache");
    response
}

/// A refusal of the entrance as upstream's programs want it: where to sign in (P 4.1).
pub(super) fn refuse(problem: &Problem, public_url: &str) -> Response {
    let mut response = super::problem::page(problem);
    if problem.status == StatusCode::UNAUTHORIZED {
        let challenge = format!("X-Delegate uri=\"{public_url}/login{{?came_from}}\"");
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
    }
    response
}

/// What a relative URL names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Tree(TreeKey),
    Node(NodeReference),
    Instance(InstanceKey),
    Installation(InstallationKey),
    Person(PersonKey),
}

impl Place {
    /// Reads what [`Place::url`] writes.
    fn read(url: &str) -> Option<Self> {
        let (module, name) = url.trim_start_matches('/').split_once('/')?;
        Some(match module {
            "instance_tree_module" => Place::Tree(name.parse().ok()?),
            "compute_node_module" => Place::Node(name.parse().ok()?),
            "software_instance_module" => Place::Instance(name.parse().ok()?),
            "software_installation_module" => Place::Installation(name.parse().ok()?),
            "person_module" => Place::Person(PersonKey(name.parse().ok()?)),
            _ => return None,
        })
    }

    /// The relative URL, which clients hand back as it is.
    fn url(self) -> String {
        match self {
            Place::Tree(key) => format!("instance_tree_module/{key}"),
            Place::Node(node) => format!("compute_node_module/{node}"),
            Place::Instance(key) => format!("software_instance_module/{key}"),
            Place::Installation(key) => format!("software_installation_module/{key}"),
            Place::Person(key) => format!("person_module/{}", key.0),
        }
    }
}

/// The relative URL of the caller's own document.
fn me(caller: Caller) -> Option<String> {
    let place = match caller {
        Caller::Person { person, .. } => Place::Person(person),
        // A gate to another Master has no certificate: a node that calls is a compute node.
        Caller::Node(key) => Place::Node(key.reference(crate::domain::NodeKind::Compute)),
        Caller::Instance { instance, .. } => Place::Instance(instance),
        Caller::Anonymous | Caller::Master => return None,
    };
    Some(place.url())
}

/// What was last reported of something, as columns and views carry it.
fn news(app: &App, status: &Status, reference: String, portal_type: &str) -> Value {
    StatusDict {
        status,
        user: reference.clone(),
        reference,
        portal_type,
        changed: None,
        now: app.store.clock().now(),
    }
    .to_value()
    .to_json()
}

/// What there is not is an empty list, to whoever searches.
fn or_nothing<T>(found: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::Refused(Refusal::NotFound(_))) => Ok(None),
        Err(error) => Err(error),
    }
}
