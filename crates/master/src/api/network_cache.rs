//! The network cache (N 1.4): `shacache` has objects by their SHA-512, `shadir` signed entries by key.
//! What is signed anybody may read who is known, or anybody at all where that is wanted; only nodes
//! and those who manage projects or the Master give.

use std::sync::Arc;

use axum::response::Response;
use network_cache::{ENTRY_BODY_BYTES_MAX, NetworkCache};
use serde_json::json;
use slap_server::Problem;

use super::endpoint::handler;
use super::{Api, App, Call, Endpoint, problem};
use crate::domain::Caller;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::get(Api::Cache, "shacache/{sum}", handler!(object)).public(),
    Endpoint::post(Api::Cache, "shacache", handler!(take)).streamed(),
    Endpoint::put(Api::Cache, "shacache/{sum}", handler!(take)).streamed(),
    Endpoint::get(Api::Cache, "shadir/{key}", handler!(entries)).public(),
    Endpoint::put(Api::Cache, "shadir/{key}", handler!(add_entry)).up_to(ENTRY_BODY_BYTES_MAX),
];

/// The network cache of a Master.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    /// What it keeps.
    pub(crate) kept: NetworkCache,
    /// Whether anybody may read.
    pub(crate) public: bool,
}

impl Cache {
    /// Objects and their bytes, for monitoring.
    pub(super) fn gauges(&self) -> [i64; 2] {
        let (objects, bytes) = self.kept.store().size();
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        [number(objects as u64), number(bytes)]
    }
}

/// The cache, for whoever may read.
fn to_read<'a>(app: &'a App, call: &Call) -> Result<&'a NetworkCache, Problem> {
    let is_known = call.caller != Caller::Anonymous;
    match &app.cache {
        Some(cache) if cache.public || is_known => Ok(&cache.kept),
        _ if !is_known => Err(problem::unauthenticated()),
        _ => Err(NetworkCache::absent()),
    }
}

/// The cache, for whoever may give.
async fn to_fill<'a>(app: &'a App, call: &Call) -> Result<&'a NetworkCache, Problem> {
    app.store.check_fills_cache(call.caller).await?;
    match &app.cache {
        Some(cache) => Ok(&cache.kept),
        None => Err(NetworkCache::absent()),
    }
}

async fn object(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    to_read(&app, &call)?
        .object(call.parameter("sum"), &call.headers)
        .await
}

async fn entries(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    to_read(&app, &call)?.entries(call.parameter("key")).await
}

async fn take(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let cache = to_fill(&app, &call).await?;
    let sum = Some(call.parameter("sum")).filter(|sum| !sum.is_empty());
    let taken = cache.take(sum, &call.headers, call.take_stream()).await?;
    if taken.is_new {
        let detail = json!({"bytes": taken.bytes});
        let store = &app.store;
        store
            .note_cached(call.caller, "cache_object", taken.sum.to_string(), detail)
            .await?;
    }
    Ok(taken.response)
}

async fn add_entry(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let cache = to_fill(&app, &call).await?;
    let giver = app.store.giver(call.caller);
    let added = cache
        .add_entry(call.parameter("key"), &call.headers, &call.body, &giver)
        .await?;
    if added.is_new {
        let detail = json!({"sha512": added.sum.to_string()});
        let store = &app.store;
        store
            .note_cached(call.caller, "cache_entry", added.key, detail)
            .await?;
    }
    Ok(added.response)
}
