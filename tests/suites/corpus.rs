//! Prometheus's own test scripts against the whole store: what is in the head, what is in blocks, and both halves.

use std::sync::Arc;

use bucket::Bucket;
use ingester::Ingester;
use limits::LimitsHandle;
use model::{Batch, BatchSeries, HistogramSample, ShardBatch, Shards, TenantId, shard_of};
use object_store::memory::InMemory;
use prometheus_client::registry::Registry;
use querier::Querier;
use runtime::{Clock, MemoryPart};
use scan::Scan;
use system_tests::shared;
use testkit::script::{self, Engine, LoadedSample, LoadedSeries, LoadedValue, Outcome};
use tokio::runtime::Runtime;
use wire::{Push, Query, QueryRequest};

/// All of them.
const FILES: [&str; 21] = [
    "aggregators",
    "at_modifier",
    "collision",
    "duration_expression",
    "extended_vectors",
    "fill-modifier",
    "functions",
    "histograms",
    "info",
    "limit",
    "literals",
    "name_label_dropping",
    "native_histograms",
    "operators",
    "range_queries",
    "selectors",
    "staleness",
    "start_timestamps",
    "subquery",
    "trig_functions",
    "type_and_unit",
];

const SHARDS: u32 = 4;

/// Far enough in the future for every timestamp of the scripts.
const NOW_MS: i64 = 253_402_300_799_000;

/// Where the samples of a script are when it asks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Placement {
    Head,
    Blocks,
    /// The first half of each series' samples is in blocks, the second in the head.
    SplitByTime,
    /// Every other sample is in blocks.
    Alternate,
}

/// The store, in one process and without HTTP; each `clear` moves on to a new tenant.
struct Store {
    runtime: Runtime,
    ingester: Ingester,
    querier: Querier,
    placement: Placement,
    tenants: u32,
    _dir: tempfile::TempDir,
}

impl Store {
    fn new(placement: Placement) -> Store {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (clock, _) = Clock::manual(NOW_MS);
        let (ingester, querier) = runtime.block_on(open(dir.path(), clock));
        Store { runtime, ingester, querier, placement, tenants: 0, _dir: dir }
    }

    fn tenant(&self) -> TenantId {
        TenantId::new(&format!("t{}", self.tenants)).unwrap()
    }

    fn push(&self, series: &[LoadedSeries], of: impl Fn(usize, usize) -> bool) {
        let tenant = self.tenant();
        let batch = batch(&tenant, series, of);
        let pushed = self.runtime.block_on(self.ingester.push(&tenant, &batch)).unwrap();
        assert_eq!(pushed.refused, [], "the script's samples are all acceptable");
    }

    fn flush(&self) {
        self.runtime.block_on(self.ingester.flush()).unwrap();
    }

    fn query(&self, request: QueryRequest) -> Result<Outcome, String> {
        let result = self.runtime.block_on(self.querier.query(&self.tenant().into(), &request));
        let result = result.map_err(|e| e.to_string())?;
        Ok(Outcome { value: result.value, warnings: result.warnings, infos: result.infos })
    }
}

async fn open(dir: &std::path::Path, clock: Clock) -> (Ingester, Querier) {
    let mut registry = Registry::default();
    let deps = bucket::Deps { store: Arc::new(InMemory::new()), clock: clock.clone() };
    let bucket = Bucket::open(bucket::Config::default(), deps).await.unwrap();
    let deps = ingester::Deps {
        wal_dir: dir.join("wal"),
        files: Arc::new(wal::DiskFiles),
        bucket: Arc::clone(&bucket),
        shards: SHARDS,
        limits: LimitsHandle::default(),
        clock: clock.clone(),
        memory: MemoryPart::unlimited("head"),
        metrics: ingester::Metrics::default(),
    };
    let (ingester, _, _) = Ingester::open(ingester::Config::default(), deps).await.unwrap();
    let deps = scan::Deps { bucket, memory: MemoryPart::unlimited("cache"), clock: clock.clone() };
    let scan = Scan::open(scan::Config::default(), deps);
    let deps = querier::Deps {
        recent: Arc::new(ingester.clone()),
        stored: scan,
        limits: LimitsHandle::default(),
        memory: MemoryPart::unlimited("query"),
        clock,
        registry: &mut registry,
    };
    (ingester, Querier::open(querier::Config::default(), deps))
}

impl Engine for Store {
    fn clear(&mut self) {
        self.tenants += 1;
    }

    fn load(&mut self, series: Vec<LoadedSeries>) {
        match self.placement {
            Placement::Head => self.push(&series, |_, _| true),
            Placement::Blocks => {
                self.push(&series, |_, _| true);
                self.flush();
            }
            Placement::SplitByTime => {
                self.push(&series, |i, n| i < n / 2);
                self.flush();
                self.push(&series, |i, n| i >= n / 2);
            }
            Placement::Alternate => {
                self.push(&series, |i, _| i % 2 == 0);
                self.flush();
                self.push(&series, |i, _| i % 2 == 1);
            }
        }
    }

    fn instant(&mut self, expr: &str, at_ms: i64) -> Result<Outcome, String> {
        self.query(request(expr, at_ms, at_ms, None))
    }

    fn range(&mut self, expr: &str, start_ms: i64, end_ms: i64, step_ms: i64) -> Result<Outcome, String> {
        self.query(request(expr, start_ms, end_ms, Some(step_ms)))
    }
}

fn request(query: &str, start_ms: i64, end_ms: i64, step_ms: Option<i64>) -> QueryRequest {
    QueryRequest {
        query: query.to_string(),
        start_ms,
        end_ms,
        step_ms,
        lookback_ms: None,
        timeout_ms: None,
        stats_per_step: false,
    }
}

/// The samples of `series` for whose place among n samples `of` says so.
fn batch(tenant: &TenantId, series: &[LoadedSeries], of: impl Fn(usize, usize) -> bool) -> Batch {
    let mut batch = Batch::default();
    let mut shards: Vec<ShardBatch> =
        (0..SHARDS).map(|shard| ShardBatch { shard, ..Default::default() }).collect();
    for one in series {
        let run = one.labels.run();
        let shard = &mut shards[shard_of(tenant, run, Shards { count: SHARDS, spread: 1 }) as usize];
        let start = batch.bytes.len() as u32;
        batch.bytes.extend_from_slice(run);
        let mut entry = BatchSeries {
            id: one.labels.id(),
            labels: (start, batch.bytes.len() as u32),
            n_floats: 0,
            n_histograms: 0,
            n_exemplars: 0,
        };
        let n = one.samples.len();
        for (_, sample) in one.samples.iter().enumerate().filter(|(i, _)| of(*i, n)) {
            push_sample(shard, &mut entry, sample);
        }
        if entry.n_floats + entry.n_histograms > 0 {
            shard.series.push(entry);
        }
    }
    batch.shards = shards.into_iter().filter(|shard| !shard.series.is_empty()).collect();
    batch
}

fn push_sample(shard: &mut ShardBatch, entry: &mut BatchSeries, sample: &LoadedSample) {
    match &sample.value {
        LoadedValue::Float(value) => {
            entry.n_floats += 1;
            shard.timestamps.push(sample.timestamp);
            shard.values.push(*value);
            shard.start_timestamps.push(sample.start_timestamp);
        }
        LoadedValue::Histogram(histogram) => {
            entry.n_histograms += 1;
            shard.histograms.push(HistogramSample {
                timestamp: sample.timestamp,
                start_timestamp: sample.start_timestamp,
                histogram: Box::new(histogram.clone()),
            });
        }
    }
}

fn check(placement: Placement) {
    let Some(folder) = shared("conformance/promqltest") else { return };
    let (mut n_passed, mut n_cases, mut failures) = (0, 0, String::new());
    for file in FILES {
        let script = std::fs::read_to_string(folder.join(format!("{file}.test"))).unwrap();
        let report = script::run(file, &script, &mut Store::new(placement));
        println!("{placement:?}: {file}: {} of {} cases", report.passed, report.passed + report.failed);
        n_passed += report.passed;
        n_cases += report.passed + report.failed;
        failures.push_str(&report.failures_text());
    }
    println!("{placement:?}: {n_passed} of {n_cases} cases passed");
    assert!(failures.is_empty(), "{failures}");
    assert_eq!(n_cases, 2243, "the corpus has all of its cases");
}

#[test]
fn all_scripts_pass_over_the_head() {
    check(Placement::Head);
}

#[test]
fn all_scripts_pass_over_blocks() {
    check(Placement::Blocks);
}

#[test]
fn all_scripts_pass_split_by_time() {
    check(Placement::SplitByTime);
}

#[test]
fn all_scripts_pass_with_alternate_samples_in_blocks() {
    check(Placement::Alternate);
}
