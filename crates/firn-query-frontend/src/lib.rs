//! The role of the query-frontend: takes questions over HTTP and has queriers answer them.
//!
//! On the path: Grafana → **query-frontend** → querier.

use std::sync::Arc;

use app::{Node, Role, Routes, Split};
use axum::Router;
use query_frontend::{Frontend, FrontendDeps, Process};
use rpc::pull::{Drain, QueueDeps};
use wire::Query;

/// A query-frontend in a process of its own.
pub const ROLE: Role = Role {
    name: "query-frontend",
    services: &["http", "query-frontend", "queue"],
    memory: Split { queries: 50, results: 15, head: 0, memo: 0, requests: 0, cache: 0, compaction: 0 },
    wire: |node| Box::pin(wire(node)),
};

async fn wire(node: &mut Node) -> anyhow::Result<Routes> {
    let deps = QueueDeps {
        limits: node.limits.clone(),
        memory: node.memory.queries.clone(),
        clock: node.clock.clone(),
    };
    let (queue, pulls) = rpc::pull::queue(&node.config.query_frontend, &node.config.rpc, deps);
    node.registry.with(|registry| queue.register(registry));
    let (health, health_routes) = rpc::health_routes().await;
    health.set(true).await;
    // Stopped before the port is closed: what waits is still answered.
    node.supervisor.start(Drain(Arc::clone(&queue)));
    let connected = Arc::clone(&queue);
    let unready = move || (connected.n_queriers() == 0).then(|| "no querier is connected".to_string());
    let open = open(node, queue).merge(pulls.reset_fallback()).merge(health_routes.reset_fallback());
    Ok(Routes { open, stopping: Router::new(), unready: Some(Arc::new(unready)) })
}

/// The routes of questions, answered by `querier`.
pub fn open(node: &mut Node, querier: Arc<dyn Query>) -> Router {
    let frontend = node.registry.with(|registry| {
        let deps = FrontendDeps {
            querier: Arc::clone(&querier),
            limits: node.limits.clone(),
            memory: node.memory.queries.clone(),
            cache_memory: node.memory.results.clone(),
            clock: node.clock.clone(),
            registry,
        };
        Frontend::open(node.config.query_frontend.clone(), deps)
    });
    query_frontend::routes(query_frontend::Deps {
        querier,
        frontend,
        multitenancy: node.config.multitenancy_enabled,
        limits: node.limits.clone(),
        process: Arc::new(process(node)),
        clock: node.clock.clone(),
        memory: node.memory.queries.clone(),
        lookback_ms: node.config.querier.lookback_delta.millis(),
        remote_read: node.config.query_frontend.remote_read,
    })
}

fn process(node: &Node) -> Process {
    let (overrides, registry) = (node.overrides.clone(), node.registry.clone());
    // The log is the ingester's; where that is another process there is no such metric here.
    let corruptions = move || registry.value(CORRUPTIONS).map_or(0, |n| n as u64);
    Process {
        config: node.config.shown(),
        flags: node.config.flags(),
        memory_limit: node.config.memory_limit_bytes().unwrap_or(0),
        in_force: Arc::new(move || overrides.in_force()),
        corruptions: Arc::new(corruptions),
        registry: node.registry.clone(),
    }
}

/// Damaged records that a replay met.
const CORRUPTIONS: &str = "firn_ingester_replay_corrupt_records_total";
