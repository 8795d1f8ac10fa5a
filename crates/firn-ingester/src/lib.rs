//! The role of the ingester: takes batches into the log and the head, flushes them into tables, answers for what is
//! recent.
//!
//! On the path: distributor → **ingester** → table; querier → **ingester**.

use std::sync::Arc;
use std::time::Duration;

use app::{Gate, Node};
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

/// What an operator asks of an ingester.
pub fn routes(node: &Node, ingester: Ingester) -> Router {
    let flush = post(flush).get(flush);
    let leave = post(leave);
    Router::new()
        .route("/flush", flush.clone())
        .route("/ingester/flush", flush)
        .route("/shutdown", leave.clone())
        .route("/ingester/shutdown", leave)
        .with_state(Operated { ingester, gate: node.gate() })
}

#[derive(Clone)]
struct Operated {
    ingester: Ingester,
    gate: Gate,
}

/// `/shutdown`: takes no more pushes, brings everything into the tables, and answers questions until the process is
/// ended. What asks for it may then end the process and throw its log away.
async fn leave(State(Operated { ingester, gate }): State<Operated>) -> Response {
    gate.close("left: asked to by /shutdown").wait_for_others(PUSHES_END_WITHIN).await;
    flush(State(Operated { ingester, gate })).await
}

/// How long pushes that were let in before may take.
const PUSHES_END_WITHIN: Duration = Duration::from_secs(30);

/// `/flush`: returns when everything is in the tables.
async fn flush(State(Operated { ingester, .. }): State<Operated>) -> Response {
    match ingester.flush().await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(e) => (StatusCode::SERVICE_UNAVAILABLE, format!("{e}\n")).into_response(),
    }
}
