//! A world to run an ingester in, and the truth about what it acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::limits::{Limits, LimitsHandle, PromDuration};
use bucket::{Bucket, Table};
use ingester::{Config, Deps, Flusher, Ingester, Metrics, SyncMode};
use model::{
    Batch, BatchSeries, BucketSpan, Counts, Exemplar, Histogram, HistogramSample, Labels, Matcher, MatcherOp,
    ResetHint, SeriesData, ShardBatch, Shards, TenantId, TimeRange, shard_of,
};
use object_store::memory::InMemory;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use runtime::{Clock, ManualClock, MemoryPart};
use scan::Scan;
use testkit::store::FaultyStore;
use wal::MemoryFiles;
use wire::{Projection, Push, PushError, Pushed, Select, SelectBudget, SelectRequest};

pub(crate) const SHARDS: Shards = Shards { count: 4, spread: 1 };

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;

/// Some window's first millisecond, long past the epoch.
pub(crate) const START: i64 = 1_760_000_000_000 / (2 * HOUR) * (2 * HOUR);

/// What outlives a process.
pub(crate) struct World {
    pub(crate) files: MemoryFiles,
    pub(crate) store: FaultyStore,
    pub(crate) clock: Clock,
    pub(crate) time: ManualClock,
    pub(crate) config: Config,
    pub(crate) limits: Limits,
    pub(crate) memory: MemoryPart,
}

/// A process.
pub(crate) struct Node {
    pub(crate) ingester: Ingester,
    pub(crate) flusher: Flusher,
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) scan: Arc<Scan>,
    registry: Registry,
}

/// A sample as it must come back.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sample {
    Float { bits: u64, start: i64 },
    Histogram { histogram: Histogram, start: i64 },
}

/// What was acknowledged.
pub(crate) type Truth = BTreeMap<(Labels, i64), Sample>;

impl World {
    pub(crate) fn new() -> World {
        let (clock, time) = Clock::manual(START + HOUR);
        let mut config = Config::default();
        config.wal.sync = SyncMode::Never;
        config.wal.segment_bytes = 1 << 16;
        World {
            files: MemoryFiles::new(),
            store: FaultyStore::new(Arc::new(InMemory::new())),
            clock,
            time,
            config,
            limits: Limits::default(),
            memory: MemoryPart::unlimited("head"),
        }
    }

    /// Another handle of the store, as another process has.
    pub(crate) async fn bucket(&self) -> Arc<Bucket> {
        let deps = bucket::Deps { store: Arc::new(self.store.clone()), clock: self.clock.clone() };
        Bucket::open(bucket::Config::default(), deps).await.unwrap()
    }

    /// What a querier in another process reads the tables with.
    pub(crate) async fn scan(&self) -> Arc<Scan> {
        self.scan_of(self.bucket().await)
    }

    fn scan_of(&self, bucket: Arc<Bucket>) -> Arc<Scan> {
        let memory = MemoryPart::unlimited("cache");
        let deps = scan::Deps { bucket, memory, clock: self.clock.clone() };
        Scan::open(scan::Config::default(), deps)
    }

    pub(crate) async fn open(&self) -> Node {
        let bucket = self.bucket().await;
        let mut registry = Registry::default();
        let deps = Deps {
            wal_dir: "wal".into(),
            files: Arc::new(self.files.clone()),
            bucket: Arc::clone(&bucket),
            shards: SHARDS.count,
            limits: LimitsHandle::fixed(self.limits.clone()),
            clock: self.clock.clone(),
            memory: self.memory.clone(),
            metrics: Metrics::register(&mut registry),
        };
        let (ingester, flusher, _syncer) = Ingester::open(self.config.clone(), deps).await.unwrap();
        let scan = self.scan_of(Arc::clone(&bucket));
        Node { ingester, flusher, bucket, scan, registry }
    }

    /// The process dies as by SIGKILL; another one opens what it wrote.
    pub(crate) async fn kill(&mut self, node: Node) -> Node {
        self.files = self.files.kill();
        drop(node);
        self.open().await
    }

    /// The machine dies: only what was synced is left.
    pub(crate) async fn crash(&mut self, node: Node) -> Node {
        self.files = self.files.crash();
        drop(node);
        self.open().await
    }
}

impl Node {
    pub(crate) async fn push(&self, batch: &Batch) -> Result<Pushed, PushError> {
        self.ingester.push(&tenant(), batch).await
    }

    /// Pushes floats and notes them as acknowledged.
    pub(crate) async fn accept(&self, truth: &mut Truth, floats: &[(Labels, i64, f64)]) {
        let pushed = self.push(&floats_batch(floats)).await.unwrap();
        assert_eq!((pushed.n_samples(), pushed.refused), (floats.len(), Vec::new()));
        note(truth, floats);
    }

    pub(crate) async fn recent(&self) -> (Truth, Option<u64>) {
        let selected = self.ingester.select(&tenant(), &everything(None)).await.unwrap();
        (collect(selected.series), selected.table_version)
    }

    pub(crate) async fn stored(&self, version: Option<u64>) -> Truth {
        let selected = self.scan.select(&tenant(), &everything(version)).await.unwrap();
        collect(selected.series)
    }

    /// Head and table together must be the truth, and the table must hold nothing twice.
    pub(crate) async fn check(&self, truth: &Truth, when: &str) {
        let (mut found, version) = self.recent().await;
        let stored = self.stored(version).await;
        assert_eq!(self.n_stored().await, stored.len(), "{when}: a sample is in the table twice");
        for (key, sample) in stored {
            if let Some(recent) = found.insert(key.clone(), sample.clone()) {
                assert_eq!(recent, sample, "{when}: {key:?} differs between head and table");
            }
        }
        for (key, sample) in truth {
            assert_eq!(found.get(key), Some(sample), "{when}: {key:?}");
        }
        assert_eq!(found.len(), truth.len(), "{when}: more than was acknowledged");
    }

    /// Samples in all files of the table, as their commits say.
    pub(crate) async fn n_stored(&self) -> usize {
        let table = self.bucket.table(&tenant(), Table::Metrics);
        let Some(snapshot) = table.snapshot().await.unwrap() else { return 0 };
        snapshot.files().map(|file| file.tag("firn.samples").unwrap().parse::<usize>().unwrap()).sum()
    }

    pub(crate) async fn table_version(&self) -> Option<u64> {
        let table = self.bucket.table(&tenant(), Table::Metrics);
        table.snapshot().await.unwrap().map(|snapshot| snapshot.version())
    }

    /// A value of our own metrics.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let values =
            text.lines().filter(of).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
        values.sum()
    }
}

pub(crate) fn tenant() -> TenantId {
    TenantId::new("team-1").unwrap()
}

pub(crate) fn labels(name: &str, instance: usize) -> Labels {
    Labels::from_pairs([("__name__", name), ("job", "node"), ("instance", &format!("h{instance}:9100"))])
}

/// One scrape of `n_targets` targets with `n_series` each.
pub(crate) fn scrape(n_targets: usize, n_series: usize, timestamp: i64) -> Vec<(Labels, i64, f64)> {
    let mut samples = Vec::new();
    for target in 0..n_targets {
        for series in 0..n_series {
            let value = (timestamp / 1000 % 1000) as f64 * 0.25 + series as f64;
            samples.push((labels(&format!("m{series}"), target), timestamp, value));
        }
    }
    samples
}

/// A scrape whose values do not compress.
pub(crate) fn noisy_scrape(n_targets: usize, n_series: usize, timestamp: i64) -> Vec<(Labels, i64, f64)> {
    let mut samples = scrape(n_targets, n_series, timestamp);
    samples.iter_mut().enumerate().for_each(|(i, sample)| sample.2 = ((timestamp + i as i64) as f64).sin());
    samples
}

pub(crate) fn floats_batch(floats: &[(Labels, i64, f64)]) -> Batch {
    let mut batch = Batch::default();
    for (labels, timestamp, value) in floats {
        let series = series_of(&mut batch, labels);
        let part = part_of(&mut batch, labels);
        part.series.push(BatchSeries { n_floats: 1, ..series });
        part.timestamps.push(*timestamp);
        part.values.push(*value);
    }
    batch
}

/// Floats with start timestamps.
pub(crate) fn started_batch(floats: &[(Labels, i64, f64, i64)]) -> Batch {
    let plain: Vec<(Labels, i64, f64)> = floats.iter().map(|(l, t, v, _)| (l.clone(), *t, *v)).collect();
    let mut batch = floats_batch(&plain);
    for (labels, _, _, start) in floats {
        part_of(&mut batch, labels).start_timestamps.push(*start);
    }
    batch
}

pub(crate) fn histograms_batch(samples: &[(Labels, HistogramSample)]) -> Batch {
    let mut batch = Batch::default();
    for (labels, sample) in samples {
        let series = series_of(&mut batch, labels);
        let part = part_of(&mut batch, labels);
        part.series.push(BatchSeries { n_histograms: 1, ..series });
        part.histograms.push(sample.clone());
    }
    batch
}

/// An exemplar: its series, its time, its value, and the trace it names.
pub(crate) type Example = (Labels, i64, f64, String);

/// Exemplars as Prometheus sends them: each as a series of its own, without samples.
pub(crate) fn exemplars_batch(exemplars: &[Example]) -> Batch {
    let mut batch = Batch::default();
    for (labels, timestamp, value, trace) in exemplars {
        let series = series_of(&mut batch, labels);
        let from = batch.bytes.len() as u32;
        model::push_label(&mut batch.bytes, "trace_id", trace);
        model::push_label(&mut batch.bytes, "span_id", "00f067aa0ba902b7");
        let own = (from, batch.bytes.len() as u32);
        let part = part_of(&mut batch, labels);
        part.series.push(BatchSeries { n_exemplars: 1, ..series });
        part.exemplars.push(Exemplar { timestamp: *timestamp, value: *value, labels: own });
    }
    batch
}

pub(crate) fn histogram(timestamp: i64, count: u64) -> HistogramSample {
    let histogram = Histogram {
        schema: 3,
        zero_threshold: 1e-128,
        sum: count as f64 * 1.5,
        counts: Counts::Int { count: 2 * count, zero: 0, positive: vec![count, count], negative: Vec::new() },
        positive_spans: vec![BucketSpan { offset: -2, length: 2 }],
        negative_spans: Vec::new(),
        custom_values: Vec::new(),
        reset_hint: ResetHint::Unknown,
    };
    HistogramSample { timestamp, start_timestamp: timestamp - 1000, histogram: Box::new(histogram) }
}

pub(crate) fn note(truth: &mut Truth, floats: &[(Labels, i64, f64)]) {
    for (labels, timestamp, value) in floats {
        let sample = Sample::Float { bits: value.to_bits(), start: 0 };
        truth.entry((labels.clone(), *timestamp)).or_insert(sample);
    }
}

fn series_of(batch: &mut Batch, labels: &Labels) -> BatchSeries {
    let from = batch.bytes.len() as u32;
    batch.bytes.extend_from_slice(labels.run());
    let to = batch.bytes.len() as u32;
    BatchSeries {
        id: labels.id(),
        labels: (from, to),
        is_known: false,
        n_floats: 0,
        n_histograms: 0,
        n_exemplars: 0,
    }
}

fn part_of<'a>(batch: &'a mut Batch, labels: &Labels) -> &'a mut ShardBatch {
    let shard = shard_of(&tenant(), labels.run(), SHARDS);
    let at = batch.shards.iter().position(|part| part.shard == shard).unwrap_or_else(|| {
        batch.shards.push(ShardBatch { shard, ..ShardBatch::default() });
        batch.shards.len() - 1
    });
    &mut batch.shards[at]
}

pub(crate) fn everything(min_table_version: Option<u64>) -> SelectRequest {
    SelectRequest {
        matchers: vec![Matcher::new("__name__", MatcherOp::NotEqual, "").unwrap()],
        range: TimeRange::ALL,
        within: None,
        projection: Projection::All,
        budget: SelectBudget::unlimited(),
        min_table_version,
    }
}

fn collect(series: Vec<SeriesData>) -> Truth {
    let mut truth = Truth::new();
    for series in series {
        let series = series.merged();
        let start_of =
            |ts: i64| series.starts.iter().find(|(at, _)| *at == ts).map_or(0, |(_, start)| *start);
        for (timestamp, value) in series.floats.iter().flat_map(|column| column.samples()) {
            let sample = Sample::Float { bits: value.to_bits(), start: start_of(timestamp) };
            assert_eq!(truth.insert((series.labels.clone(), timestamp), sample), None);
        }
        for point in &series.histograms {
            let histogram = Histogram::clone(&point.histogram);
            let sample = Sample::Histogram { histogram, start: point.start_timestamp };
            assert_eq!(truth.insert((series.labels.clone(), point.timestamp), sample), None);
        }
    }
    truth
}

pub(crate) fn secs(secs: u64) -> PromDuration {
    PromDuration::secs(secs)
}

impl Node {
    /// Head and table together must be the truth; a committed cut may still be in both.
    pub(crate) async fn check_overlap(&self, truth: &Truth) {
        let (mut found, version) = self.recent().await;
        found.extend(self.stored(version).await);
        assert_eq!(&found, truth);
    }
}
