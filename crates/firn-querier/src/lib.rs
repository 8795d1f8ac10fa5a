//! The role of the querier: evaluates queries over what is recent and what is stored.
//!
//! On the path: query-frontend → **querier** → ingester and tables.

use std::sync::Arc;

use anyhow::bail;
use app::{Node, Role, Routes, Split};
use bucket::Bucket;
use querier::Querier;
use rpc::pull::PullWorker;
use rpc::{Pool, RingSelect};
use scan::Scan;
use wire::{Query, Select};

/// A querier in a process of its own.
pub const ROLE: Role = Role {
    name: "querier",
    services: &["http", "querier", "scan", "pull"],
    memory: Split { queries: 50, cache: 20, results: 0, head: 0, memo: 0, requests: 0, compaction: 0 },
    wire: |node| Box::pin(wire(node)),
};

async fn wire(node: &mut Node) -> anyhow::Result<Routes> {
    let ring = app::open_ring(node)?;
    let frontends = node.config.querier.frontend_addresses.clone();
    if frontends.is_empty() {
        bail!("querier.frontend_addresses is empty: name the query-frontends to work for, each as host:port");
    }
    let (storage, config) = (&node.config.storage, node.config.bucket.clone());
    let bucket = Bucket::connect(storage, config, node.clock.clone()).await?;
    node.registry.with(|registry| bucket.register(registry));
    let pool = Pool::new(&node.config.rpc);
    node.registry.with(|registry| pool.register(registry));
    let recent = Arc::new(RingSelect::new(ring.clone(), pool));
    let querier = open(node, recent, bucket);
    let name = match node.config.cluster.instance.as_str() {
        "" => "querier",
        name => name,
    };
    let max_concurrent = node.config.querier.max_concurrent;
    let worker = PullWorker::new(&node.config.rpc, name, &frontends, max_concurrent, querier);
    node.supervisor.start(worker.map_err(anyhow::Error::msg)?);
    Ok(app::ring_routes(ring).into())
}

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
            max_waiting: node.config.query_frontend.max_outstanding_requests_per_tenant,
            clock: node.clock.clone(),
            registry,
        };
        Querier::open(node.config.querier.clone(), deps)
    });
    Arc::new(querier)
}
