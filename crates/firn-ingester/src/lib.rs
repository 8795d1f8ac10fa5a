//! The role of the ingester: takes batches into the log and the head, flushes them into tables, answers for what is
//! recent.
//!
//! On the path: distributor → **ingester** → table; querier → **ingester**.

use std::sync::Arc;

use app::Node;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bucket::Bucket;
use ingester::Ingester;

/// Opens the ingester of `shards` shards, which replays its log, and starts what flushes and syncs.
pub async fn open(node: &mut Node, bucket: &Arc<Bucket>, shards: u32) -> anyhow::Result<Ingester> {
    let deps = ingester::Deps {
        wal_dir: node.config.storage.wal_dir.clone().into(),
        files: Arc::new(wal::DiskFiles),
        bucket: Arc::clone(bucket),
        shards,
        limits: node.limits.clone(),
        clock: node.clock.clone(),
        memory: node.memory.head.clone(),
        metrics: node.registry.with(ingester::Metrics::register),
    };
    let (ingester, flusher, syncer) = Ingester::open(node.config.ingester.clone(), deps).await?;
    // Stopped in reverse order: first everything is flushed, then the log is synced for the last time.
    node.supervisor.start(syncer);
    node.supervisor.start(flusher);
    Ok(ingester)
}

/// The operator's routes of an ingester.
pub fn routes(ingester: Ingester) -> Router {
    let flush = post(flush).get(flush);
    Router::new().route("/flush", flush.clone()).route("/ingester/flush", flush).with_state(ingester)
}

/// `/flush`: returns when everything is in the tables.
async fn flush(State(ingester): State<Ingester>) -> Response {
    match ingester.flush().await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(e) => (StatusCode::SERVICE_UNAVAILABLE, format!("{e}\n")).into_response(),
    }
}
