//! Prometheus's own test scripts against the whole store: what is in the head, what is in blocks, and both halves.

mod far;
mod near;

use std::path::Path;
use std::sync::Arc;

use model::{Batch, BatchSeries, HistogramSample, ShardBatch, Shards, TenantId, shard_of};
use system_tests::shared;
use testkit::script::{self, Beside, Engine, LoadedSample, LoadedSeries, LoadedValue, Outcome};
use tokio::runtime::Runtime;
use wire::{Admin, Push, Query, QueryRequest};

/// How many cases the scripts of Prometheus 3.15 have.
const CASES: usize = 2243;

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
            is_known: false,
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

/// How many cases passed of how many, and what was checked beside them.
#[derive(Debug, Clone, Copy, Default)]
struct Score {
    passed: usize,
    all: usize,
    beside: Beside,
}

/// Runs scripts, each against a store that `store` makes for it by its name; `None` where there are no scripts.
fn check(files: &[&str], store: impl Fn(&str) -> Store) -> Option<Score> {
    let folder = shared("conformance/promqltest")?;
    let (mut score, mut failures) = (Score::default(), String::new());
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
        score.passed += report.passed;
        score.all += report.passed + report.failed;
        score.beside += report.beside;
        failures.push_str(&report.failures_text());
    }
    assert!(failures.is_empty(), "{failures}");
    Some(score)
}

/// The score of all scripts in one place: what README.md says of it must be what was just counted.
fn is_as_published(place: &str, score: Score) {
    assert_eq!(score.all, CASES, "the corpus has all of its cases");
    let row = score.row(place);
    println!("{row}");
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    assert!(readme.lines().any(|line| line == row), "README.md has not the row\n{row}");
}

impl Score {
    /// As README.md shows it.
    fn row(&self, place: &str) -> String {
        let Beside { pinned, as_range, annotations } = self.beside;
        let cases = format!("{} of {}", grouped(self.passed), grouped(self.all));
        format!(
            "| {place} | {cases} | {} | {} | {} |",
            grouped(pinned),
            grouped(as_range),
            grouped(annotations)
        )
    }
}

/// `2,243`
fn grouped(n: usize) -> String {
    match n {
        0..1000 => n.to_string(),
        _ => format!("{},{:03}", grouped(n / 1000), n % 1000),
    }
}
