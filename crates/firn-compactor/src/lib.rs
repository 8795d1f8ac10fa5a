//! The role of the compactor: merges, retains and deletes what lies in the tables.
//!
//! On the path: beside it; tables → **compactor** → tables.

use std::sync::Arc;

use app::{Node, Role, Routes, Split};
use axum::Router;
use bucket::Bucket;
use compactor::{Api, Compactor, Deleter, Deps, Metrics};
use rpc::{Pool, RingAdmin};
use wire::Admin;

/// The compactor in a process of its own.
pub const ROLE: Role = Role {
    name: "compactor",
    services: &["http", "compactor"],
    memory: Split { compaction: 75, head: 0, memo: 0, requests: 0, queries: 0, cache: 0, results: 0 },
    wire: |node| Box::pin(wire(node)),
};

async fn wire(node: &mut Node) -> anyhow::Result<Routes> {
    let ring = app::open_ring(node)?;
    let (storage, config) = (&node.config.storage, node.config.bucket.clone());
    let bucket = Bucket::connect(storage, config, node.clock.clone()).await?;
    node.registry.with(|registry| bucket.register(registry));
    let ingesters = Arc::new(RingAdmin::new(ring.clone(), Pool::new(&node.config.rpc)));
    let (health, health_routes) = rpc::health_routes().await;
    health.set(true).await;
    let routes = open(node, bucket, ingesters);
    Ok(routes.merge(app::ring_routes(ring)).merge(health_routes.reset_fallback()).into())
}

/// Starts the compactor over these tables; the routes of deletions, which ask `ingesters` to flush first.
pub fn open(node: &mut Node, bucket: Arc<Bucket>, ingesters: Arc<dyn Admin>) -> Router {
    let deps = Deps {
        bucket: Arc::clone(&bucket),
        limits: node.limits.clone(),
        memory: node.memory.compaction.clone(),
        window: node.config.ingester.window,
        clock: node.clock.clone(),
        metrics: node.registry.with(Metrics::register),
    };
    let compactor = Compactor::open(node.config.compactor.clone(), deps);
    let hurry = compactor.hurry();
    node.supervisor.start(compactor);
    let deleter = Deleter::new(bucket, ingesters);
    let (clock, multitenancy) = (node.clock.clone(), node.config.multitenancy_enabled);
    compactor::routes(Api { deleter, hurry, clock, multitenancy })
}
