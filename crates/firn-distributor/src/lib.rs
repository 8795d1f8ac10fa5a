//! The role of the distributor: takes what senders push, and brings it to the ingesters.
//!
//! On the path: senders → **distributor** → ingester.

use std::sync::Arc;

use app::Node;
use axum::Router;
use distributor::Distributor;
use model::Shards;
use wire::Push;

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
