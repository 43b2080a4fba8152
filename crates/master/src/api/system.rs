//! How the Master is: for load balancers, for monitoring, and the first thing a person sees.

use std::sync::Arc;

use axum::response::Response;
use slap_server::{Problem, escape};

use super::endpoint::handler;
use super::{Api, App, Call, Endpoint, reply};
use crate::domain::Caller;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::get(Api::Public, "healthz", handler!(healthy)).public(),
    Endpoint::get(Api::Public, "readyz", handler!(ready)).public(),
    Endpoint::get(Api::Public, "metrics", handler!(metrics)).operators(),
    Endpoint::get(Api::Public, "", handler!(home)).public(),
];

/// The process answers.
async fn healthy(_app: Arc<App>, _call: Call) -> Result<Response, Problem> {
    Ok(reply::text("ok\n"))
}

/// The database answers too: requests can be sent here.
async fn ready(app: Arc<App>, _call: Call) -> Result<Response, Problem> {
    app.store.ping().await?;
    Ok(reply::text("ok\n"))
}

async fn metrics(app: Arc<App>, _call: Call) -> Result<Response, Problem> {
    let counts = app.store.counts().await?;
    let text = app.metrics.text(&[
        ("slapos_master_nodes", "Compute nodes.", counts.nodes),
        (
            "slapos_master_nodes_alive",
            "Compute nodes that answer.",
            counts.nodes_alive,
        ),
        (
            "slapos_master_partitions_free",
            "Partitions that are free.",
            counts.partitions_free,
        ),
        (
            "slapos_master_partitions_busy",
            "Partitions with an instance.",
            counts.partitions_busy,
        ),
    ]);
    Ok(reply::with(
        axum::http::StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        text,
    ))
}

/// What this is, for whoever opens it in a browser.
async fn home(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let url = escape(&app.place.public_url);
    let who = match call.caller {
        Caller::Anonymous => "Nobody: your browser showed no certificate of this Master.",
        Caller::Person { .. } => "a person.",
        Caller::Node(_) => "a compute node.",
        Caller::Instance { .. } => "an instance.",
        Caller::Master => "the Master.",
    };
    Ok(reply::with(
        axum::http::StatusCode::OK,
        slap_server::PAGE_TYPE,
        format!(
            "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<title>SlapOS Master</title>\n\
             <h1>SlapOS Master</h1>\n\
             <p>Give this URL as <code>master_url</code> to nodes and clients: <code>{url}/</code></p>\n\
             <p>You are {who}</p>\n"
        ),
    ))
}
