//! The role of the query-frontend: takes questions over HTTP and has queriers answer them.
//!
//! On the path: Grafana → **query-frontend** → querier.

use std::sync::Arc;

use app::{Node, Role, Routes, Split};
use axum::Router;
use rpc::pull::{Drain, QueueDeps};
use wire::Query;

/// A query-frontend in a process of its own.
pub const ROLE: Role = Role {
    name: "query-frontend",
    services: &["http", "query-frontend", "queue"],
    memory: Split { queries: 60, head: 0, memo: 0, requests: 0, cache: 0, compaction: 0 },
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
    query_frontend::routes(query_frontend::Deps {
        querier,
        multitenancy: node.config.multitenancy_enabled,
        clock: node.clock.clone(),
    })
}
