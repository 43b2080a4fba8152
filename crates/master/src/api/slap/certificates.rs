//! Certificates for nodes and instances, by the legacy calls (P 5.5).

use std::sync::Arc;

use axum::http::header;
use axum::response::Response;
use slap::Value;
use slap_server::Problem;

use super::super::{App, Call, reply};
use super::report::nothing;
use crate::auth::Certified;
use crate::domain::CertificateOwner;
use crate::store::Subject;

fn document(certified: Certified) -> Result<Response, Problem> {
    let mut response = reply::marshalled(&Value::dict([
        ("certificate", Value::text(certified.certificate)),
        ("key", Value::text(certified.key)),
    ]))?;
    // The key is for whoever asked, and for no cache.
    reply::set(&mut response, header::CACHE_CONTROL, "private, no-store");
    Ok(response)
}

/// The certificate and key of the instance on a partition, for its node: made when they are asked
/// for the first time.
pub(super) async fn of_instance(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let arguments = call.arguments();
    let node = super::node_in(&arguments, "computer_id")?;
    let partition = arguments.need("computer_partition_id")?.to_owned();
    let subject = Subject::At { node, partition };
    let record = app.store.instance(call.caller, subject).await?;
    let certifier = app.auth.certifier();
    document(certifier.for_instance(call.caller, record.key).await?)
}

/// A new certificate for a node that has none.
pub(super) async fn generate(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let node = super::node_in(&call.form(), "computer_id")?;
    document(app.auth.certifier().for_node(call.caller, node).await?)
}

/// Takes a node's certificates away.
pub(super) async fn revoke(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let node = super::node_in(&call.form(), "computer_id")?;
    let owner = CertificateOwner::Node(node);
    app.store.revoke_certificates(call.caller, owner).await?;
    Ok(nothing())
}
