//! The role of the distributor: takes what senders push, and brings it to the ingesters.
//!
//! On the path: senders → **distributor** → ingester.

use std::sync::Arc;

use anyhow::Context;
use app::{Gate, Node, Role, Routes, Split};
use axum::Router;
use distributor::Distributor;
use model::Shards;
use rpc::{Pool, RingPush};
use wire::Push;

/// A distributor in a process of its own.
pub const ROLE: Role = Role {
    name: "distributor",
    services: &["http", "distributor"],
    memory: Split { memo: 20, requests: 50, head: 0, queries: 0, cache: 0, results: 0, compaction: 0 },
    wire: |node| Box::pin(wire(node)),
};

async fn wire(node: &mut Node) -> anyhow::Result<Routes> {
    let otlp = OtlpPorts::bind(node).await?;
    let ring = app::open_ring(node)?;
    let shards = ring.borrow().shards();
    let pool = Pool::new(&node.config.rpc);
    node.registry.with(|registry| pool.register(registry));
    let push = Arc::new(RingPush::new(ring.clone(), pool));
    Ok(open(node, push, shards, &otlp).merge(app::ring_routes(ring)).into())
}

/// The ports that OpenTelemetry's senders know by default.
#[derive(Debug)]
pub struct OtlpPorts {
    gates: Vec<Gate>,
}

impl OtlpPorts {
    /// Takes the ports that are configured; they are served once there is a distributor.
    pub async fn bind(node: &mut Node) -> anyhow::Result<OtlpPorts> {
        let config = &node.config.distributor;
        let grpc = ("distributor.otlp_grpc_listen_address", config.otlp_grpc_listen_address.clone());
        let http = ("distributor.otlp_http_listen_address", config.otlp_http_listen_address.clone());
        let mut gates = Vec::new();
        for (key, address) in [grpc, http] {
            // The same for both is one port, which speaks both.
            if !address.is_empty() && !gates.iter().any(|(taken, _)| *taken == address) {
                let gate = node.listen(&address).await.with_context(|| format!("{key}, empty for none"))?;
                gates.push((address, gate));
            }
        }
        Ok(OtlpPorts { gates: gates.into_iter().map(|(_, gate)| gate).collect() })
    }
}

/// Opens the distributor and returns the routes of pushes; those of OpenTelemetry are served on its own ports, too.
pub fn open(node: &mut Node, push: Arc<dyn Push>, shards: Shards, otlp: &OtlpPorts) -> Router {
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
    let multitenancy = node.config.multitenancy_enabled;
    for gate in &otlp.gates {
        gate.open(node.http.around(distributor::otlp_routes(Arc::clone(&distributor), multitenancy)));
    }
    distributor::routes(distributor, multitenancy)
}
