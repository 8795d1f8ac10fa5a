use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use block::{BlockMeta, BlockSeries, Day, WriteOptions, block_order, write_metrics};
use bucket::{Bucket, Commit, Deps, LogTable, Table, Txn};
use model::{FloatColumn, Labels, Matcher, MatcherOp, SeriesData, TenantId, TimeRange};
use runtime::{Clock, MemoryPart};
use scan::Scan;
use wire::{LabelsRequest, Projection, Select as _, SelectBudget, SelectRequest, Selected};

use crate::store::TestStore;

/// Midnight of a day.
pub(crate) const DAY: i64 = 1_795_219_200_000;
pub(crate) const HOUR: i64 = 3_600_000;

/// A table in a store that counts, and a scan over it.
pub(crate) struct World {
    pub(crate) store: Arc<TestStore>,
    pub(crate) table: Arc<LogTable>,
    pub(crate) scan: Arc<Scan>,
    pub(crate) options: WriteOptions,
    pub(crate) bucket: Arc<Bucket>,
    sequence: std::sync::atomic::AtomicI64,
}

impl World {
    pub(crate) async fn new() -> World {
        World::with(bucket::Config::default()).await
    }

    pub(crate) async fn with(config: bucket::Config) -> World {
        let store = TestStore::new();
        let deps = Deps { store: Arc::clone(&store) as _, clock: Clock::manual(DAY).0 };
        let bucket = Bucket::open(config, deps).await.unwrap();
        World {
            table: bucket.table(&tenant(), Table::Metrics),
            scan: scan_of(&bucket),
            store,
            options: WriteOptions::default(),
            bucket,
            sequence: 0.into(),
        }
    }

    /// Writes one file per day of these series and commits them; returns the paths.
    pub(crate) async fn write(&self, mut series: Vec<BlockSeries>) -> Vec<String> {
        series.sort_by(|a, b| block_order(&a.data.labels, &b.data.labels));
        let mut by_day: BTreeMap<Day, Vec<BlockSeries>> = BTreeMap::new();
        for one in series {
            let first = one.data.floats.iter().filter_map(|column| column.timeline.first().copied());
            let first = first.chain(one.data.histograms.iter().map(|point| point.timestamp)).min().unwrap();
            by_day.entry(Day::of(first)).or_default().push(one);
        }
        let mut paths = Vec::new();
        for (day, series) in by_day {
            let file = self.table.new_file(day);
            let meta = BlockMeta { block: file.block, window_ms: 2 * HOUR };
            let series = series.into_iter().map(Ok::<_, Infallible>);
            let Some(written) = write_metrics(meta, series, &self.options).unwrap() else { continue };
            self.table.upload(&file, written.bytes.clone()).await.unwrap();
            let sequence = self.sequence.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let txns = vec![Txn { app_id: "0/1/test".to_string(), version: sequence }];
            paths.push(file.path.clone());
            let adds = vec![(file, written.bytes.len(), written.summary.into())];
            let commit = Commit { adds, txns, ..Commit::default() };
            self.table.commit(&commit).await.unwrap();
        }
        paths
    }

    pub(crate) async fn select(&self, matchers: Vec<Matcher>, range: TimeRange) -> Selected {
        self.scan.select(&tenant(), &request(matchers, range)).await.unwrap()
    }
}

/// For whole series, without limits.
pub(crate) fn request(matchers: Vec<Matcher>, range: TimeRange) -> SelectRequest {
    SelectRequest {
        matchers,
        range,
        within: None,
        projection: Projection::All,
        budget: SelectBudget::unlimited(),
        min_table_version: None,
    }
}

pub(crate) fn scan_of(bucket: &Arc<Bucket>) -> Arc<Scan> {
    let deps = scan::Deps {
        bucket: Arc::clone(bucket),
        memory: MemoryPart::unlimited("scan"),
        clock: Clock::system(),
    };
    Scan::open(scan::Config::default(), deps)
}

pub(crate) fn tenant() -> TenantId {
    TenantId::anonymous()
}

pub(crate) fn is(name: &str, value: &str) -> Matcher {
    Matcher::new(name, MatcherOp::Equal, value).unwrap()
}

pub(crate) fn labels_request(selectors: Vec<Vec<Matcher>>, range: TimeRange) -> LabelsRequest {
    LabelsRequest { selectors, range, limit: 0, budget: SelectBudget::unlimited(), min_table_version: None }
}

/// A series of floats.
pub(crate) fn floats(
    labels: &[(&str, &str)],
    timeline: &Arc<[i64]>,
    value: impl Fn(i64) -> f64,
) -> BlockSeries {
    let mut data = SeriesData::new(Labels::from_pairs(labels.iter().copied()));
    let values = timeline.iter().map(|ts| value(*ts)).collect();
    data.floats.push(FloatColumn { timeline: Arc::clone(timeline), values });
    BlockSeries { shard: 0, data }
}

/// `n` scrapes, 15 s apart.
pub(crate) fn scrapes(from: i64, n: i64) -> Arc<[i64]> {
    (0..n).map(|i| from + i * 15_000).collect()
}
