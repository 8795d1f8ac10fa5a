//! Prometheus's own test scripts against the whole store: what is in the head, what is in blocks, and both halves.

mod far;
mod near;

use std::sync::Arc;

use model::{Batch, BatchSeries, HistogramSample, ShardBatch, Shards, TenantId, shard_of};
use system_tests::shared;
use testkit::script::{self, Engine, LoadedSample, LoadedSeries, LoadedValue, Outcome};
use tokio::runtime::Runtime;
use wire::{Admin, Push, Query, QueryRequest};

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

/// The store as its neighbours know it, which cannot tell near from far.
#[derive(Clone)]
struct Neighbours {
    push: Arc<dyn Push>,
    admin: Arc<dyn Admin>,
    query: Arc<dyn Query>,
    shards: Shards,
    runtime: Arc<Runtime>,
}

/// The store at the disposal of a script; each `clear` moves on to a new tenant.
struct Store {
    neighbours: Neighbours,
    placement: Placement,
    /// Of the names of its tenants.
    prefix: String,
    tenants: u32,
    /// What lies there is its own.
    _dir: Option<tempfile::TempDir>,
}

impl Store {
    fn new(neighbours: Neighbours, placement: Placement, prefix: &str) -> Store {
        Store { neighbours, placement, prefix: prefix.to_string(), tenants: 0, _dir: None }
    }

    fn tenant(&self) -> TenantId {
        TenantId::new(&format!("{}-{}", self.prefix, self.tenants)).unwrap()
    }

    fn push(&self, series: &[LoadedSeries], of: impl Fn(usize, usize) -> bool) {
        let Neighbours { push, shards, runtime, .. } = &self.neighbours;
        let tenant = self.tenant();
        let batch = batch(&tenant, *shards, series, of);
        let pushed = runtime.block_on(push.push(&tenant, &batch)).unwrap();
        assert_eq!(pushed.refused, [], "the script's samples are all acceptable");
    }

    fn flush(&self) {
        let Neighbours { admin, runtime, .. } = &self.neighbours;
        runtime.block_on(admin.flush(Some(&self.tenant()))).unwrap();
    }

    fn query(&self, request: QueryRequest) -> Result<Outcome, String> {
        let Neighbours { query, runtime, .. } = &self.neighbours;
        let result = runtime.block_on(query.query(&self.tenant().into(), &request));
        let result = result.map_err(|e| e.to_string())?;
        Ok(Outcome { value: result.value, warnings: result.warnings, infos: result.infos })
    }
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
fn batch(tenant: &TenantId, by: Shards, series: &[LoadedSeries], of: impl Fn(usize, usize) -> bool) -> Batch {
    let mut batch = Batch::default();
    let mut shards: Vec<ShardBatch> =
        (0..by.count).map(|shard| ShardBatch { shard, ..Default::default() }).collect();
    for one in series {
        let run = one.labels.run();
        let shard = &mut shards[shard_of(tenant, run, by) as usize];
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

/// Runs scripts, each against a store that `store` makes for it by its name; says how many cases passed.
fn check(files: &[&str], store: impl Fn(&str) -> Store) -> usize {
    let Some(folder) = shared("conformance/promqltest") else { return 0 };
    let (mut n_passed, mut failures) = (0, String::new());
    for file in files {
        let script = std::fs::read_to_string(folder.join(format!("{file}.test"))).unwrap();
        let mut store = store(file);
        let report = script::run(file, &script, &mut store);
        println!(
            "{:?}: {file}: {} of {} cases",
            store.placement,
            report.passed,
            report.passed + report.failed
        );
        n_passed += report.passed;
        failures.push_str(&report.failures_text());
    }
    assert!(failures.is_empty(), "{failures}");
    n_passed
}

/// All of the corpus, where it is there at all.
fn is_whole(n_passed: usize) -> bool {
    n_passed == 2243 || shared("conformance/promqltest").is_none()
}
