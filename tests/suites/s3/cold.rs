//! What a question costs at a real store: requests are counted on their way to it.

use std::convert::Infallible;
use std::sync::Arc;

use block::{BlockMeta, BlockSeries, Day, FileSummary, WriteOptions, block_order, write_metrics};
use bucket::{Bucket, Commit, Config, LogTable, Table};
use model::{FloatColumn, Labels, Matcher, MatcherOp, SeriesData, TenantId, TimeRange};
use runtime::{Clock, MemoryPart};
use scan::Scan;
use system_tests::{FaultProxy, StoreKind};
use wire::{Projection, Select as _, SelectBudget, SelectRequest};

use super::table::open;
use super::{over, store};

const MIDNIGHT: i64 = 1_795_219_200_000;
const DAY_MS: i64 = 86_400_000;
const METRICS: usize = 40;
const HOSTS: usize = 60;
const AT_MOST: usize = 6;

#[test]
fn one_series_of_a_compacted_day_costs_at_most_six_requests_to_minio() {
    cold(StoreKind::Minio);
}

#[test]
fn one_series_of_a_compacted_day_costs_at_most_six_requests_to_seaweedfs() {
    cold(StoreKind::SeaweedFs);
}

fn cold(kind: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let Some(store) = store(kind, dir.path()) else { return };
    let proxy = FaultProxy::start(&store.endpoint()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let bucket = open(&over(&proxy.endpoint(), "cold"), Config::default()).await;
        let table = bucket.table(&TenantId::anonymous(), Table::Metrics);
        write_day(&table).await;
        for (metric, host) in [(0, 0), (METRICS / 2, HOSTS / 2), (METRICS - 1, HOSTS - 1)] {
            proxy.take_requests();
            let samples = one_series(&bucket, metric, host).await;
            assert_eq!(samples, 1440, "a sample a minute");
            let requests = proxy.take_requests();
            println!("metric {metric} of host {host}: {} requests", requests.len());
            assert!(requests.len() <= AT_MOST, "{requests:#?}");
        }
    });
}

/// How many samples a series has, asked with empty caches over the snapshot that is held.
async fn one_series(bucket: &Arc<Bucket>, metric: usize, host: usize) -> usize {
    let memory = MemoryPart::unlimited("scan");
    let deps = scan::Deps { bucket: Arc::clone(bucket), memory, clock: Clock::system() };
    let is = |name: &str, value: String| Matcher::new(name, MatcherOp::Equal, &value).unwrap();
    let request = SelectRequest {
        matchers: vec![is("__name__", name(metric)), is("instance", instance(host))],
        range: TimeRange::new(MIDNIGHT, MIDNIGHT + DAY_MS),
        within: None,
        projection: Projection::All,
        budget: SelectBudget::unlimited(),
        min_table_version: None,
    };
    let scan = Scan::open(scan::Config::default(), deps);
    let found = scan.select(&TenantId::anonymous(), &request).await.unwrap();
    assert_eq!(found.series.len(), 1);
    found.series[0].floats.iter().map(|column| column.values.len()).sum()
}

/// A whole day in one file, twelve windows of each series, as a compaction writes it.
async fn write_day(table: &LogTable) {
    let mut series = Vec::new();
    for host in 0..HOSTS {
        let timeline: Arc<[i64]> = (0..1440).map(|i| MIDNIGHT + host as i64 * 571 + i * 60_000).collect();
        for metric in 0..METRICS {
            let (name, instance) = (name(metric), instance(host));
            let labels = [("__name__", name.as_str()), ("instance", &instance), ("job", "node")];
            let mut data = SeriesData::new(Labels::from_pairs(labels));
            let values = (0..1440).map(|i| ((i * 7919 + metric * 31 + host) % 1000) as f64).collect();
            data.floats.push(FloatColumn { timeline: Arc::clone(&timeline), values });
            series.push(BlockSeries { shard: 0, data });
        }
    }
    series.sort_by(|a, b| block_order(&a.data.labels, &b.data.labels));
    let file = table.new_file(Day::of(MIDNIGHT));
    let meta = BlockMeta { block: file.block, window_ms: 2 * 3_600_000 };
    let options = WriteOptions { zstd_level: 9, ..WriteOptions::default() };
    let block = write_metrics(meta, series.into_iter().map(Ok::<_, Infallible>), &options).unwrap().unwrap();
    let size = block.bytes.len();
    table.upload(&file, block.bytes).await.unwrap();
    let adds = vec![(file, size, FileSummary::Metrics(block.summary))];
    table.commit(&Commit { adds, ..Commit::default() }).await.unwrap();
}

fn name(metric: usize) -> String {
    format!("metric_{metric:03}")
}

fn instance(host: usize) -> String {
    format!("host-{host:03}:9100")
}
