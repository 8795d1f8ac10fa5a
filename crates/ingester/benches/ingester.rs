//! Encoding and decoding of records, append (decide, log, apply), select and flush, in process.

use std::hint::black_box;
use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box_drop};
use ingester::record::{self, Definition, Samples};
use ingester::{Config, Deps, Ingester, Metrics};
use limits::{Limits, LimitsHandle, PromDuration};
use model::{
    Batch, BatchSeries, Labels, Matcher, MatcherOp, ShardBatch, Shards, TenantId, TimeRange, shard_of,
};
use object_store::memory::InMemory;
use runtime::{Clock, MemoryPart};
use tokio::runtime::Runtime;
use wal::MemoryFiles;
use wire::{Projection, Push, Select, SelectBudget, SelectRequest};

const SHARDS: Shards = Shards { count: 4, spread: 1 };
const N_SERIES: usize = 2000;
const START: i64 = 1_760_000_000_000;

fn main() {
    divan::main();
}

/// Values as node_exporter has them: counters, small integers, decimals, zeros.
fn value(series: usize, step: i64) -> f64 {
    match series % 4 {
        0 => 0.0,
        1 => (series as i64 * 1000 + step * 7) as f64,
        2 => (series as f64 * 100.0 + step as f64).round() / 100.0,
        _ => (series % 17) as f64,
    }
}

fn columns() -> (Vec<u32>, Vec<i64>, Vec<f64>) {
    let refs = (0..N_SERIES as u32).collect();
    (refs, vec![START; N_SERIES], (0..N_SERIES).map(|series| value(series, 12)).collect())
}

#[divan::bench]
fn wal_encode(bencher: Bencher<'_, '_>) {
    let (refs, timestamps, values) = columns();
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(N_SERIES)).bench_local(|| {
        out.clear();
        record::put_floats(&mut out, black_box(&refs), black_box(&timestamps), black_box(&values), &[]);
        out.len()
    });
}

#[divan::bench]
fn wal_encode_with_checksum_and_write(bencher: Bencher<'_, '_>) {
    let (refs, timestamps, values) = columns();
    let dir = std::env::temp_dir().join(format!("firn-bench-{}", std::process::id()));
    let (wal, _replay) = wal::Wal::open(wal::WalConfig::new(&dir), Arc::new(wal::DiskFiles))
        .expect("a temporary folder is writable");
    let envelope = wal::Envelope { tenant: "anonymous", shard: 1, kind: 1, version: 1 };
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(N_SERIES)).bench_local(|| {
        out.clear();
        record::put_floats(&mut out, &refs, &timestamps, &values, &[]);
        wal.append(&envelope, &out).expect("a temporary folder is writable")
    });
    let _removed = std::fs::remove_dir_all(dir);
}

#[divan::bench]
fn wal_decode(bencher: Bencher<'_, '_>) {
    let (refs, timestamps, values) = columns();
    let mut out = Vec::new();
    let run = Labels::from_pairs([("__name__", "up")]);
    let definition = Definition { series_ref: 1, run: run.run(), flushed: None };
    record::put_definitions(&mut out, std::iter::once(definition));
    record::put_floats(&mut out, &refs, &timestamps, &values, &[]);
    let mut samples = Samples::default();
    bencher.counter(ItemsCount::new(N_SERIES)).bench_local(|| {
        samples.decode(black_box(&out)).expect("what was encoded decodes");
        samples.values.len()
    });
}

/// A body's worth of series of ten targets.
fn batch() -> Batch {
    let mut batch = Batch::default();
    let tenant = TenantId::anonymous();
    for series in 0..N_SERIES {
        let labels = Labels::from_pairs([
            ("__name__", format!("node_metric_{}_total", series % 200)),
            ("instance", format!("host-{}.example:9100", series / 200)),
            ("job", "node".to_string()),
        ]);
        let from = batch.bytes.len() as u32;
        batch.bytes.extend_from_slice(labels.run());
        let at = (from, batch.bytes.len() as u32);
        let shard = shard_of(&tenant, labels.run(), SHARDS);
        let part = match batch.shards.iter_mut().find(|part| part.shard == shard) {
            Some(part) => part,
            None => {
                batch.shards.push(ShardBatch { shard, ..ShardBatch::default() });
                batch.shards.last_mut().expect("it was just pushed")
            }
        };
        part.series.push(BatchSeries {
            id: labels.id(),
            labels: at,
            is_known: false,
            n_floats: 1,
            n_histograms: 0,
            n_exemplars: 0,
        });
        part.timestamps.push(START);
        part.values.push(0.0);
    }
    batch
}

fn at_step(batch: &mut Batch, step: i64) {
    for part in &mut batch.shards {
        part.timestamps.fill(START + step * 15_000);
        part.values.iter_mut().enumerate().for_each(|(series, v)| *v = value(series, step));
    }
}

async fn open() -> Ingester {
    let clock = Clock::system();
    let deps = bucket::Deps { store: Arc::new(InMemory::new()), clock: clock.clone() };
    let bucket = bucket::Bucket::open(bucket::Config::default(), deps).await.expect("memory does not fail");
    let limits = Limits { creation_grace_period: PromDuration::secs(0), ..Limits::default() };
    let deps = Deps {
        wal_dir: "wal".into(),
        files: Arc::new(MemoryFiles::new()),
        bucket,
        shards: SHARDS.count,
        limits: LimitsHandle::fixed(limits),
        clock,
        memory: MemoryPart::unlimited("head"),
        metrics: Metrics::default(),
    };
    let (ingester, ..) = Ingester::open(Config::default(), deps).await.expect("memory does not fail");
    ingester
}

async fn filled(n_steps: i64) -> Ingester {
    let ingester = open().await;
    let mut batch = batch();
    for step in 0..n_steps {
        at_step(&mut batch, step);
        ingester.push(&TenantId::anonymous(), &batch).await.expect("nothing is in the way");
    }
    ingester
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built")
}

#[divan::bench(sample_count = 20, sample_size = 20)]
fn append(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let ingester = runtime.block_on(filled(1));
    let mut batch = batch();
    let mut step = 1;
    bencher.counter(ItemsCount::new(N_SERIES)).bench_local(|| {
        step += 1;
        at_step(&mut batch, step);
        let pushed = runtime.block_on(ingester.push(&TenantId::anonymous(), &batch));
        pushed.expect("nothing is in the way").n_samples()
    });
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn append_new_series(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let batch = batch();
    bencher.counter(ItemsCount::new(N_SERIES)).with_inputs(|| runtime.block_on(open())).bench_local_refs(
        |ingester| {
            let pushed = runtime.block_on(ingester.push(&TenantId::anonymous(), &batch));
            pushed.expect("nothing is in the way").n_samples()
        },
    );
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn select_one_metric_of_ten_targets(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let ingester = runtime.block_on(filled(480));
    let request = SelectRequest {
        matchers: vec![
            Matcher::new("__name__", MatcherOp::Equal, "node_metric_7_total").expect("no pattern"),
        ],
        range: TimeRange::ALL,
        within: None,
        projection: Projection::All,
        budget: SelectBudget::unlimited(),
        min_table_version: None,
    };
    bencher.counter(ItemsCount::new(10usize * 480)).bench_local(|| {
        runtime.block_on(ingester.select(&TenantId::anonymous(), &request)).map(|s| s.series.len()).ok()
    });
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn flush_a_window(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    bencher
        .counter(ItemsCount::new(N_SERIES * 480))
        .with_inputs(|| runtime.block_on(filled(480)))
        .bench_local_values(|ingester| {
            runtime.block_on(ingester.flush()).expect("memory does not fail");
            black_box_drop(ingester);
        });
}
