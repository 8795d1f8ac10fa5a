//! The role of the distributor: takes what senders push, and brings it to the ingesters.
//!
//! On the path: senders → **distributor** → ingester.

use std::sync::Arc;

use app::{Node, Role, Routes, Split};
use axum::Router;
use distributor::Distributor;
use model::Shards;
use rpc::{Pool, RingPush};
use wire::Push;

/// A distributor in a process of its own.
pub const ROLE: Role = Role {
    name: "distributor",
    services: &["http", "distributor"],
    memory: Split { memo: 20, requests: 50, head: 0, queries: 0, cache: 0, compaction: 0 },
    wire: |node| Box::pin(wire(node)),
};

async fn wire(node: &mut Node) -> anyhow::Result<Routes> {
    let ring = app::open_ring(node)?;
    let shards = ring.borrow().shards();
    let push = Arc::new(RingPush::new(ring.clone(), Pool::new(&node.config.rpc)));
    Ok(open(node, push, shards).merge(app::ring_routes(ring)).into())
}

/// Opens the distributor and returns the routes of pushes.
pub fn open(node: &mut Node, push: Arc<dyn Push>, shards: Shards) -> Router {
    let deps = distributor::Deps {
        push,
        limits: node.limits.clone(),
        clock: node.clock.clone(),
        shards,
        memory: node.memory.requests.clone(),
    };
    let mut config = node.config.distributor.clone();
    config.memo_bytes = node.memory.memo.at_most(config.memo_bytes);
    let distributor = node.registry.with(|r| Distributor::open(&config, deps, r));
    distributor::routes(distributor, node.config.multitenancy_enabled)
}
