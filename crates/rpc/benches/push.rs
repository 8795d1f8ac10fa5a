//! What it costs to push to another process: batches of 2,000 samples of node exporters, as a distributor makes them.
//! Everything runs on one thread, so that the time is the processor's of both sides together, the kernel's included.

use std::sync::Arc;

use async_trait::async_trait;
use cluster::{Member, Ring};
use divan::counter::ItemsCount;
use model::{Batch, BatchSeries, Labels, ShardBatch, Shards, TenantId, shard_of};
use rpc::{Config, IngesterDeps, Pool, RingPush};
use runtime::{Clock, MemoryPart, Service, Shutdown};
use wire::bytes::{decode_batch, encode_parts};
use wire::{
    Admin, AdminError, LabelsRequest, Listed, MetadataRequest, Push, PushError, Pushed, Select, SelectError,
    SelectRequest, Selected,
};

const SAMPLES: usize = 2_000;

fn main() {
    divan::main();
}

/// Some 180 bytes of labels a series; the shards of a target lie together.
fn batch(shards: Shards, is_known: bool) -> Batch {
    let tenant = TenantId::anonymous();
    let mut batch = Batch::default();
    for i in 0..SAMPLES {
        let (target, metric) = (i / 500, i % 500);
        let labels = Labels::from_pairs([
            ("__name__", format!("node_some_longer_metric_name_total_{}", metric / 8)),
            ("cpu", (metric % 8).to_string()),
            ("device", format!("/dev/disk/by-id/{metric}")),
            ("instance", format!("host-{target}.example.org:9100")),
            ("job", "node".to_string()),
            ("mode", "system".to_string()),
        ]);
        let from = batch.bytes.len() as u32;
        batch.bytes.extend_from_slice(labels.run());
        let run = (from, batch.bytes.len() as u32);
        let shard = shard_of(&tenant, labels.run(), shards);
        let at = batch.shards.iter().position(|part| part.shard == shard).unwrap_or_else(|| {
            batch.shards.push(ShardBatch { shard, ..ShardBatch::default() });
            batch.shards.len() - 1
        });
        let part = &mut batch.shards[at];
        let id = labels.id();
        part.series.push(BatchSeries {
            id,
            labels: run,
            is_known,
            n_floats: 1,
            n_histograms: 0,
            n_exemplars: 0,
        });
        part.push_float(1_795_251_000_000 + target as i64, 0, i as f64);
    }
    batch
}

const CLUSTER: Shards = Shards { count: 64, spread: 4 };

/// Whether the series were met before: then their labels stay behind.
const KNOWN: [bool; 2] = [false, true];

fn encoded(is_known: bool) -> Vec<u8> {
    let batch = batch(CLUSTER, is_known);
    let parts: Vec<usize> = (0..batch.shards.len()).collect();
    let mut bytes = Vec::new();
    encode_parts(&batch, &parts, false, &mut bytes);
    bytes
}

#[divan::bench(args = KNOWN)]
fn encode(bencher: divan::Bencher<'_, '_>, is_known: bool) {
    let batch = batch(CLUSTER, is_known);
    let parts: Vec<usize> = (0..batch.shards.len()).collect();
    let mut bytes = Vec::new();
    bencher.counter(ItemsCount::new(SAMPLES)).bench_local(|| {
        encode_parts(&batch, &parts, false, &mut bytes);
        bytes.len()
    });
}

#[divan::bench(args = KNOWN)]
fn decode(bencher: divan::Bencher<'_, '_>, is_known: bool) {
    let bytes = encoded(is_known);
    bencher.counter(ItemsCount::new(SAMPLES)).bench_local(|| decode_batch(&bytes));
}

/// Takes everything and does nothing, so that only the way is measured.
struct Sink;

#[async_trait]
impl Push for Sink {
    async fn push(&self, _tenant: &TenantId, batch: &Batch) -> Result<Pushed, PushError> {
        Ok(Pushed { n_floats: batch.n_samples(), ..Pushed::default() })
    }
}

fn unasked<T>() -> Result<T, SelectError> {
    Err(SelectError::Unavailable("only pushes are measured".to_string()))
}

#[async_trait]
impl Select for Sink {
    async fn select(&self, _: &TenantId, _: &SelectRequest) -> Result<Selected, SelectError> {
        unasked()
    }

    async fn series(&self, _: &TenantId, _: &LabelsRequest) -> Result<Listed<Labels>, SelectError> {
        unasked()
    }

    async fn label_names(&self, _: &TenantId, _: &LabelsRequest) -> Result<Listed<String>, SelectError> {
        unasked()
    }

    async fn label_values(
        &self,
        _: &TenantId,
        _: &str,
        _: &LabelsRequest,
    ) -> Result<Listed<String>, SelectError> {
        unasked()
    }

    async fn exemplars(
        &self,
        _: &TenantId,
        _: &LabelsRequest,
    ) -> Result<Listed<model::ExemplarSeries>, SelectError> {
        unasked()
    }

    async fn metadata(
        &self,
        _: &TenantId,
        _: &MetadataRequest,
    ) -> Result<Listed<model::Metadata>, SelectError> {
        unasked()
    }
}

#[async_trait]
impl Admin for Sink {
    async fn flush(&self, _: Option<&TenantId>) -> Result<(), AdminError> {
        Ok(())
    }

    async fn observe(&self, _: &TenantId, _: u64) -> Result<(), AdminError> {
        Ok(())
    }
}

/// Starts an ingester that takes everything; says where.
async fn sink() -> String {
    let config = server::Config { http_listen_port: 0, ..server::Config::default() };
    let bound = server::Bound::bind(&config).await.expect("a free port");
    let address = bound.address().to_string();
    let (push_memory, select_memory) = (MemoryPart::unlimited("requests"), MemoryPart::unlimited("query"));
    let (push, select, admin) = (Arc::new(Sink), Arc::new(Sink), Arc::new(Sink));
    let clock = Clock::system();
    let deps = IngesterDeps { push, select, admin, place: None, push_memory, select_memory, clock };
    let serve = bound.serve(rpc::ingester_routes(&Config::default(), deps));
    let (handle, shutdown) = Shutdown::new();
    runtime::spawn(async move {
        let _forever = handle;
        serve.run(shutdown).await
    });
    address
}

#[divan::bench(args = [(1, false), (1, true), (3, false), (3, true)])]
fn far(bencher: divan::Bencher<'_, '_>, (n_ingesters, is_known): (usize, bool)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut members = Vec::new();
    for i in 0..n_ingesters {
        let address = runtime.block_on(sink());
        members.push(Member::parse(&format!("ingester-{i}={address}")).expect("a member"));
    }
    let ring = Ring::new(1, CLUSTER, 1, members).expect("a ring");
    let ring = tokio::sync::watch::Sender::new(Arc::new(ring));
    let push = RingPush::new(ring.subscribe(), Pool::new(&Config::default()));
    let (tenant, batch) = (TenantId::anonymous(), batch(CLUSTER, is_known));
    bencher.counter(ItemsCount::new(SAMPLES)).bench_local(|| {
        let pushed = runtime.block_on(push.push(&tenant, &batch));
        assert_eq!(pushed.expect("the sinks take everything").n_floats, SAMPLES);
    });
}
