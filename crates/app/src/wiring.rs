//! Who meets whom. One function per set of roles; it takes what it needs and returns the routes to serve.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bucket::{Bucket, DirStore};
use distributor::Distributor;
use ingester::Ingester;
use limits::LimitsHandle;
use model::Shards;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use querier::Querier;
use scan::Scan;

use crate::run::Node;

/// The services of [`all_in_one`], for `/services`.
pub(crate) const SERVICES: [&str; 7] =
    ["http", "wal", "ingester", "distributor", "querier", "query-frontend", "scan"];

/// One process needs no more shards than it has cores to lock them; the ring's number comes with the ring.
const SHARDS: Shards = Shards { count: 4, spread: 1 };

/// All roles in one process: the shortest description of the system.
pub(crate) async fn all_in_one(node: &mut Node) -> anyhow::Result<Router> {
    let limits = LimitsHandle::new(&node.config.limits)?;
    let bucket = bucket(node).await?;
    let ingester = ingester(node, &bucket, &limits).await?;
    let pushes = distributor(node, &ingester, &limits);
    let queries = querier(node, &ingester, bucket, &limits);
    let flush = Router::new().route("/flush", post(flush).get(flush)).with_state(ingester);
    Ok(node.http.around(pushes.merge(queries).merge(flush)))
}

async fn bucket(node: &Node) -> anyhow::Result<Arc<Bucket>> {
    let url = node.config.storage.url.as_str();
    let store: Arc<dyn ObjectStore> = match url {
        "memory://" => Arc::new(InMemory::new()),
        _ => {
            let dir = Path::new(url.strip_prefix("file://").unwrap_or(url));
            DirStore::open(dir).with_context(|| format!("open the store {}", dir.display()))?
        }
    };
    let deps = bucket::Deps { store, clock: node.clock.clone() };
    Bucket::open(node.config.bucket.clone(), deps).await.with_context(|| format!("open the store {url}"))
}

async fn ingester(node: &mut Node, bucket: &Arc<Bucket>, limits: &LimitsHandle) -> anyhow::Result<Ingester> {
    let deps = ingester::Deps {
        wal_dir: node.config.storage.wal_dir.clone().into(),
        files: Arc::new(wal::DiskFiles),
        bucket: Arc::clone(bucket),
        shards: SHARDS.count,
        limits: limits.clone(),
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

fn distributor(node: &Node, ingester: &Ingester, limits: &LimitsHandle) -> Router {
    let deps = distributor::Deps {
        push: Arc::new(ingester.clone()),
        limits: limits.clone(),
        clock: node.clock.clone(),
        shards: SHARDS,
        memory: node.memory.requests.clone(),
    };
    let mut config = node.config.distributor.clone();
    config.memo_bytes = node.memory.memo.at_most(config.memo_bytes);
    let distributor = node.registry.with(|r| Distributor::open(&config, deps, r));
    distributor::routes(distributor, node.config.multitenancy_enabled)
}

fn querier(node: &Node, ingester: &Ingester, bucket: Arc<Bucket>, limits: &LimitsHandle) -> Router {
    let memory = node.memory.cache.clone();
    let scan = Scan::open(node.config.scan.clone(), scan::Deps { bucket, memory, clock: node.clock.clone() });
    let querier = node.registry.with(|registry| {
        let deps = querier::Deps {
            recent: Arc::new(ingester.clone()),
            stored: scan,
            limits: limits.clone(),
            memory: node.memory.queries.clone(),
            clock: node.clock.clone(),
            registry,
        };
        Querier::open(node.config.querier.clone(), deps)
    });
    query_frontend::routes(query_frontend::Deps {
        querier: Arc::new(querier),
        multitenancy: node.config.multitenancy_enabled,
        clock: node.clock.clone(),
    })
}

/// `/flush`: returns when everything is in the tables.
async fn flush(State(ingester): State<Ingester>) -> Response {
    match ingester.flush().await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(e) => (StatusCode::SERVICE_UNAVAILABLE, format!("{e}\n")).into_response(),
    }
}
