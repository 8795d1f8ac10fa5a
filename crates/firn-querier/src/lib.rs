//! The role of the querier: evaluates queries over what is recent and what is stored.
//!
//! On the path: query-frontend → **querier** → ingester and tables.

use std::sync::Arc;

use app::Node;
use bucket::Bucket;
use querier::Querier;
use scan::Scan;
use wire::{Query, Select};

/// Opens the querier over what `recent` has and what lies in the tables.
pub fn open(node: &mut Node, recent: Arc<dyn Select>, bucket: Arc<Bucket>) -> Arc<dyn Query> {
    let memory = node.memory.cache.clone();
    let scan = Scan::open(node.config.scan.clone(), scan::Deps { bucket, memory, clock: node.clock.clone() });
    let querier = node.registry.with(|registry| {
        let deps = querier::Deps {
            recent,
            stored: scan,
            limits: node.limits.clone(),
            memory: node.memory.queries.clone(),
            clock: node.clock.clone(),
            registry,
        };
        Querier::open(node.config.querier.clone(), deps)
    });
    Arc::new(querier)
}
