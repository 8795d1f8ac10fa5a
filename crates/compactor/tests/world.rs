//! Processes around one store, and the truth about what is in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bucket::{Bucket, LogTable, Snapshot, Table};
use compactor::{Compactor, Deleter, Deps, Metrics};
use ingester::{Ingester, SyncMode};
use limits::{Limits, LimitsHandle, PromDuration};
use model::{
    Batch, BatchSeries, BucketSpan, Counts, Exemplar, ExemplarSeries, Histogram, HistogramSample, Labels,
    Matcher, MatcherOp, ResetHint, SeriesData, ShardBatch, Shards, TenantId, TimeRange, shard_of,
};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use prometheus_client::registry::Registry;
use runtime::{Clock, ManualClock, MemoryPart};
use scan::Scan;
use wal::MemoryFiles;
use wire::{LabelsRequest, Projection, Push, Select, SelectBudget, SelectRequest};

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;
/// A day's first millisecond.
pub(crate) const DAY: i64 = 1_795_219_200_000;
const SHARDS: Shards = Shards { count: 4, spread: 1 };

/// What outlives a process.
pub(crate) struct World {
    pub(crate) store: Arc<dyn ObjectStore>,
    files: MemoryFiles,
    pub(crate) clock: Clock,
    pub(crate) time: ManualClock,
    pub(crate) limits: Limits,
    pub(crate) config: compactor::Config,
    pub(crate) memory: MemoryPart,
}

/// A process.
pub(crate) struct Node {
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) ingester: Ingester,
    pub(crate) compactor: Compactor,
    pub(crate) deleter: Deleter,
    pub(crate) scan: Arc<Scan>,
}

/// Samples by series and time, in a form in which every bit shows.
pub(crate) type Truth = BTreeMap<(Labels, i64), String>;

impl World {
    pub(crate) fn new() -> World {
        World::over(Arc::new(InMemory::new()))
    }

    pub(crate) fn over(store: Arc<dyn ObjectStore>) -> World {
        let (clock, time) = Clock::manual(DAY);
        let config = compactor::Config::default();
        let memory = MemoryPart::unlimited("compaction");
        let limits = Limits { creation_grace_period: PromDuration::secs(0), ..Limits::default() };
        World { store, files: MemoryFiles::new(), clock, time, limits, config, memory }
    }

    /// Moves the clock to so many hours after the day's beginning.
    pub(crate) fn at_hour(&self, hour: i64) {
        self.time.set(DAY + hour * HOUR);
    }

    pub(crate) async fn bucket(&self) -> Arc<Bucket> {
        let deps = bucket::Deps { store: Arc::clone(&self.store), clock: self.clock.clone() };
        Bucket::open(bucket::Config::default(), deps).await.unwrap()
    }

    pub(crate) fn compactor(&self, bucket: &Arc<Bucket>) -> Compactor {
        let deps = Deps {
            bucket: Arc::clone(bucket),
            limits: LimitsHandle::fixed(self.limits.clone()),
            memory: self.memory.clone(),
            window: PromDuration::secs(7200),
            clock: self.clock.clone(),
            metrics: Metrics::register(&mut Registry::default()),
        };
        Compactor::open(self.config.clone(), deps)
    }

    pub(crate) fn scan(&self, bucket: &Arc<Bucket>) -> Arc<Scan> {
        let memory = MemoryPart::unlimited("cache");
        Scan::open(
            scan::Config::default(),
            scan::Deps { bucket: Arc::clone(bucket), memory, clock: self.clock.clone() },
        )
    }

    /// A process that takes the log up where another left it.
    pub(crate) async fn open(&self) -> Node {
        let bucket = self.bucket().await;
        let mut config = ingester::Config::default();
        config.wal.sync = SyncMode::Never;
        let deps = ingester::Deps {
            wal_dir: "wal".into(),
            files: Arc::new(self.files.clone()),
            bucket: Arc::clone(&bucket),
            shards: SHARDS.count,
            limits: LimitsHandle::fixed(self.limits.clone()),
            clock: self.clock.clone(),
            memory: MemoryPart::unlimited("head"),
            metrics: ingester::Metrics::register(&mut Registry::default()),
        };
        let (ingester, _flusher, _syncer) = Ingester::open(config, deps).await.unwrap();
        Node {
            compactor: self.compactor(&bucket),
            deleter: Deleter::new(Arc::clone(&bucket), Arc::new(ingester.clone())),
            scan: self.scan(&bucket),
            ingester,
            bucket,
        }
    }

    /// The process dies; another takes its place.
    pub(crate) async fn kill(&mut self, node: Node) -> Node {
        self.files = self.files.kill();
        drop(node);
        self.open().await
    }
}

impl Node {
    pub(crate) fn table(&self) -> Arc<LogTable> {
        self.bucket.table(&tenant(), Table::Metrics)
    }

    pub(crate) async fn snapshot(&self) -> Arc<Snapshot> {
        self.table().snapshot().await.unwrap().unwrap()
    }

    pub(crate) async fn n_files(&self) -> usize {
        self.snapshot().await.n_files()
    }

    /// Samples that the files of the table hold, deleted ones and repeated ones included.
    pub(crate) async fn n_stored(&self) -> u64 {
        let samples = |file: &Arc<bucket::FileEntry>| file.tag("firn.samples").unwrap().parse::<u64>();
        self.snapshot().await.files().map(|file| samples(file).unwrap()).sum()
    }

    /// Pushes floats and notes them; who was flushed before in the same file comes into another.
    pub(crate) async fn push(&self, truth: &mut Truth, floats: &[(Labels, i64, f64)]) {
        let pushed = self.ingester.push(&tenant(), &floats_batch(floats)).await.unwrap();
        assert_eq!(pushed.refused, Vec::new());
        for (labels, ts, value) in floats {
            truth.insert((labels.clone(), *ts), format!("{:016x}", value.to_bits()));
        }
    }

    pub(crate) async fn push_histograms(&self, truth: &mut Truth, samples: &[(Labels, i64, u64)]) {
        let mut batch = Batch::default();
        for (labels, ts, count) in samples {
            let sample = histogram(*ts, *count);
            truth.insert((labels.clone(), *ts), format!("{:?}", sample.histogram));
            let series = series_of(&mut batch, labels);
            let part = part_of(&mut batch, labels);
            part.series.push(BatchSeries { n_histograms: 1, ..series });
            part.histograms.push(sample);
        }
        let pushed = self.ingester.push(&tenant(), &batch).await.unwrap();
        assert_eq!(pushed.refused, Vec::new());
    }

    pub(crate) async fn push_exemplars(&self, exemplars: &[(Labels, i64, f64)]) {
        let mut batch = Batch::default();
        for (labels, timestamp, value) in exemplars {
            let series = series_of(&mut batch, labels);
            let from = batch.bytes.len() as u32;
            model::push_label(&mut batch.bytes, "trace_id", &format!("t{timestamp}"));
            let own = (from, batch.bytes.len() as u32);
            let part = part_of(&mut batch, labels);
            part.series.push(BatchSeries { n_exemplars: 1, ..series });
            part.exemplars.push(Exemplar { timestamp: *timestamp, value: *value, labels: own });
        }
        self.ingester.push(&tenant(), &batch).await.unwrap();
    }

    pub(crate) async fn flush(&self) {
        self.ingester.flush().await.unwrap();
    }

    /// Fills the day's windows, a file each: 3 targets with 5 series, a scrape every ten minutes.
    pub(crate) async fn fill_day(&self, world: &World, truth: &mut Truth) {
        for window in 0..12 {
            world.at_hour(window * 2 + 2);
            for scrape in 0..12 {
                self.push(truth, &scraped(3, 5, DAY + window * 2 * HOUR + scrape * 10 * MINUTE)).await;
            }
            self.flush().await;
        }
    }

    /// Rounds until nothing is left to do.
    pub(crate) async fn compact(&mut self) {
        self.compactor.round().await.unwrap();
    }

    /// What a query finds: first in the head, then in the table.
    pub(crate) async fn found(&self) -> Truth {
        let head = self.ingester.select(&tenant(), &everything(None)).await.unwrap();
        let mut truth = collect(head.series);
        truth.extend(stored(&self.scan, head.table_version).await);
        truth
    }

    pub(crate) async fn check(&self, truth: &Truth, when: &str) {
        let found = self.found().await;
        let missing: Vec<_> = truth.iter().filter(|(key, value)| found.get(*key) != Some(value)).collect();
        let extra: Vec<_> = found.iter().filter(|(key, _)| !truth.contains_key(*key)).collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "{when}: {} missing, {} too many, such as {:?} and {:?}",
            missing.len(),
            extra.len(),
            missing.first(),
            extra.first()
        );
    }

    pub(crate) async fn exemplars(&self) -> Vec<ExemplarSeries> {
        let request = labels_request(vec![vec![matcher("__name__", MatcherOp::NotEqual, "")]]);
        self.scan.exemplars(&tenant(), &request).await.unwrap().items
    }
}

pub(crate) async fn stored(scan: &Scan, version: Option<u64>) -> Truth {
    collect(scan.select(&tenant(), &everything(version)).await.unwrap().series)
}

pub(crate) fn tenant() -> TenantId {
    TenantId::new("team-1").unwrap()
}

pub(crate) fn labels(name: &str, instance: usize) -> Labels {
    Labels::from_pairs([("__name__", name), ("job", "node"), ("instance", &format!("h{instance}:9100"))])
}

/// One scrape of `n_targets` targets with `n_series` each.
pub(crate) fn scraped(n_targets: usize, n_series: usize, timestamp: i64) -> Vec<(Labels, i64, f64)> {
    let series = (0..n_targets).flat_map(|target| (0..n_series).map(move |series| (target, series)));
    let value = |series: usize| (timestamp / 1000 % 1000) as f64 * 0.25 + series as f64;
    series.map(|(target, i)| (labels(&format!("m{i}"), target), timestamp, value(i))).collect()
}

pub(crate) fn matcher(name: &str, op: MatcherOp, value: &str) -> Matcher {
    Matcher::new(name, op, value).unwrap()
}

pub(crate) fn everything(min_table_version: Option<u64>) -> SelectRequest {
    SelectRequest {
        matchers: vec![matcher("__name__", MatcherOp::NotEqual, "")],
        range: TimeRange::ALL,
        within: None,
        projection: Projection::All,
        budget: SelectBudget::unlimited(),
        min_table_version,
    }
}

pub(crate) fn labels_request(selectors: Vec<Vec<Matcher>>) -> LabelsRequest {
    LabelsRequest {
        selectors,
        range: TimeRange::ALL,
        limit: 0,
        budget: SelectBudget::unlimited(),
        min_table_version: None,
    }
}

/// Waits long enough for others to make a step.
pub(crate) async fn pause(micros: u64) {
    runtime::sleep(Duration::from_micros(micros)).await;
}

fn collect(series: Vec<SeriesData>) -> Truth {
    let mut truth = Truth::new();
    for series in series {
        let series = series.merged();
        for (ts, value) in series.floats.iter().flat_map(|column| column.samples()) {
            truth.insert((series.labels.clone(), ts), format!("{:016x}", value.to_bits()));
        }
        for point in &series.histograms {
            truth.insert((series.labels.clone(), point.timestamp), format!("{:?}", point.histogram));
        }
    }
    truth
}

fn floats_batch(floats: &[(Labels, i64, f64)]) -> Batch {
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

fn histogram(timestamp: i64, count: u64) -> HistogramSample {
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
    HistogramSample { timestamp, start_timestamp: 0, histogram: Box::new(histogram) }
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
