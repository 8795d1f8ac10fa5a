//! The role of the ingester: takes batches into the log and the head, flushes them into tables, answers for what is
//! recent.
//!
//! On the path: distributor → **ingester** → table; querier → **ingester**.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use app::{Gate, Node, Role, Routes, Split};
use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bucket::Bucket;
use cluster::Ring;
use ingester::Ingester;
use model::{Batch, TenantId};
use rpc::{IngesterDeps, Place};
use wire::{Push, PushError, Pushed};

/// An ingester in a process of its own.
pub const ROLE: Role = Role {
    name: "ingester",
    services: &["http", "wal", "ingester"],
    memory: Split { head: 52, requests: 12, queries: 12, memo: 0, cache: 0, results: 0, compaction: 0 },
    wire: |node| Box::pin(wire(node)),
};

async fn wire(node: &mut Node) -> anyhow::Result<Routes> {
    let ring = app::open_ring(node)?;
    let instance = instance(&node.config.cluster.instance, &ring.borrow())?;
    let storage = (&node.config.storage, node.config.bucket.clone());
    let bucket = Bucket::connect(storage.0, storage.1, node.clock.clone()).await?;
    node.registry.with(|registry| bucket.register(registry));
    let shards = ring.borrow().shards().count;
    let ingester = open(node, &bucket, shards).await?;
    let (health, health_routes) = rpc::health_routes().await;
    health.set(true).await;
    let far = |push: Arc<dyn Push>| {
        let deps = IngesterDeps {
            push,
            select: Arc::new(ingester.clone()),
            admin: Arc::new(ingester.clone()),
            place: Some(Place { ring: ring.clone(), instance: instance.clone() }),
            push_memory: node.memory.requests.clone(),
            select_memory: node.memory.queries.clone(),
            clock: node.clock.clone(),
        };
        // What it does not know is a page's, or nobody's.
        rpc::ingester_routes(&node.config.rpc, deps).reset_fallback()
    };
    let pages = app::ring_routes(ring.clone()).merge(routes(node, ingester.clone()));
    let open = far(Arc::new(ingester.clone())).merge(health_routes.reset_fallback()).merge(pages.clone());
    // Until its last sample is in a table and the process is gone, what is recent is known only here.
    let stopping = far(Arc::new(Stopping)).merge(pages);
    Ok(Routes { open, stopping, unready: None })
}

/// What an ingester that stops says to a push: another attempt finds it started again, or another in its place.
struct Stopping;

#[async_trait]
impl Push for Stopping {
    async fn push(&self, _: &TenantId, _: &Batch) -> Result<Pushed, PushError> {
        let message = "the ingester is stopping".to_string();
        Err(PushError::Unavailable { message, retry_after_secs: 5 })
    }
}

/// Of the time to stop, what the last flush may take: the log has to be synced and the port closed after it.
const LAST_FLUSH_PART: f64 = 0.8;

/// Who this ingester is among the members.
fn instance(named: &str, ring: &Ring) -> anyhow::Result<String> {
    match ring.members() {
        _ if !named.is_empty() => Ok(named.to_string()),
        [only] => Ok(only.name.clone()),
        members => {
            let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
            bail!("cluster.instance is empty: name which of {} this ingester is", names.join(", "))
        }
    }
}

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
    let last_flush = node.config.server.graceful_shutdown_timeout.0.mul_f64(LAST_FLUSH_PART);
    node.supervisor.start(flusher.stopping_within(last_flush));
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
