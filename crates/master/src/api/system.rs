//! How the Master is, for load balancers and for monitoring.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use slap_server::Problem;

use super::endpoint::handler;
use super::metrics::by_node;
use super::traffic::Slot;
use super::{Api, App, Cache, Call, Endpoint, reply};
use crate::domain::usage::{CPU_PERCENT, MEMORY_BYTES, quantity};

/// What nodes report of themselves once a day: the name, the help, the resource.
const USED: [(&str, &str, &str); 2] = [
    (
        "slapos_node_cpu_percent",
        "Load of the processors in percent: average of the last day the node reported.",
        CPU_PERCENT,
    ),
    (
        "slapos_node_memory_used_bytes",
        "Memory in use: average of the last day the node reported.",
        MEMORY_BYTES,
    ),
];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::get(Api::Public, "healthz", handler!(healthy)).public(),
    Endpoint::get(Api::Public, "readyz", handler!(ready)).public(),
    Endpoint::get(Api::Public, "metrics", handler!(metrics)).operators(),
];

/// What this Master does now and did during the last minutes.
pub(crate) struct Load {
    /// How long it has run.
    pub(crate) uptime: Duration,
    /// Requests being answered.
    pub(crate) under_way: i64,
    /// Those who wait to be told of changes.
    pub(crate) listeners: usize,
    /// The last minutes in slots of [`super::SLOT_SECONDS`], the latest last.
    pub(crate) recent: Vec<Slot>,
}

impl App {
    /// What this Master does.
    pub(crate) fn load(&self) -> Load {
        let traffic = &self.metrics.traffic;
        Load {
            uptime: traffic.uptime(),
            under_way: self.metrics.under_way(),
            listeners: self.streams.count(),
            recent: traffic.recent(),
        }
    }
}

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
    let [cached, cached_bytes] = app.cache.as_ref().map_or([0, 0], Cache::gauges);
    let mut text = app.metrics.text(&[
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
        (
            "slapos_master_event_streams",
            "Open streams of events.",
            i64::try_from(app.streams.count()).unwrap_or(i64::MAX),
        ),
        (
            "slapos_master_cache_objects",
            "Objects in the network cache.",
            cached,
        ),
        ("slapos_master_cache_bytes", "Their bytes.", cached_bytes),
    ]);
    let used = app.store.latest_usage().await?;
    for (name, help, resource) in USED {
        let values = used.iter().filter_map(|(node, report)| {
            let value = quantity(report, resource, &node.to_string())?;
            Some((*node, value))
        });
        by_node(&mut text, name, help, values);
    }
    Ok(reply::with(
        axum::http::StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        text,
    ))
}
