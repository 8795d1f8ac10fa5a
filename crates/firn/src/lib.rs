//! All roles in one binary: `firn`, or `firn -target=ingester` and so on.
//!
//! On the path: the whole of it. Here near neighbours meet; in a role's own crate the far ones.

use std::sync::Arc;

use anyhow::bail;
use app::{Node, Role, Routes, Split};
use bucket::Bucket;
use model::Shards;

/// What this binary can be.
pub const ROLES: &[Role] = &[
    ALL,
    firn_distributor::ROLE,
    firn_ingester::ROLE,
    firn_querier::ROLE,
    firn_query_frontend::ROLE,
    firn_compactor::ROLE,
];

/// All roles in one process.
pub const ALL: Role = Role {
    name: "all",
    services: &["http", "wal", "ingester", "distributor", "querier", "query-frontend", "scan", "compactor"],
    memory: Split { head: 34, memo: 6, requests: 12, queries: 14, cache: 5, results: 1, compaction: 6 },
    wire: |node| Box::pin(all_in_one(node)),
};

/// One process needs no more shards than it has cores to lock them; the ring's number comes with the ring.
const SHARDS: Shards = Shards { count: 4, spread: 1 };

/// The shortest description of the system.
async fn all_in_one(node: &mut Node) -> anyhow::Result<Routes> {
    if !node.config.cluster.members.is_empty() {
        bail!("cluster.members names ingesters, but target is all: everything is in this one process");
    }
    let otlp = firn_distributor::OtlpPorts::bind(node).await?;
    let (storage, config) = (&node.config.storage, node.config.bucket.clone());
    let bucket = Bucket::connect(storage, config, node.clock.clone()).await?;
    node.registry.with(|registry| bucket.register(registry));
    let ingester = firn_ingester::open(node, &bucket, SHARDS.count).await?;
    let pushes = firn_distributor::open(node, Arc::new(ingester.clone()), SHARDS, &otlp);
    let deletions = firn_compactor::open(node, Arc::clone(&bucket), Arc::new(ingester.clone()));
    let querier = firn_querier::open(node, Arc::new(ingester.clone()), bucket);
    let queries = firn_query_frontend::open(node, querier);
    let stopping = queries.merge(firn_ingester::routes(node, ingester));
    Ok(Routes { open: pushes.merge(deletions).merge(stopping.clone()), stopping, unready: None })
}
