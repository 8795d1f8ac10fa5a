//! The tables `exemplars` and `metadata`.

use std::collections::BTreeSet;

use block::{Day, FileSummary, WriteOptions, block_order, write_exemplars, write_metadata};
use bucket::{Commit, Table};
use model::{
    ExemplarPoint, ExemplarSeries, Labels, Matcher, MatcherOp, Metadata, MetricType, SeenMetadata, TimeRange,
};
use wire::{MetadataRequest, Meter, Select as _, SelectBudget, SelectError};

use crate::world::{DAY, HOUR, World, is, labels_request, scan_of, tenant};

async fn write(world: &World, day: Day, mut series: Vec<ExemplarSeries>, row_group_rows: usize) {
    let table = world.bucket.table(&tenant(), Table::Exemplars);
    let file = table.new_file(day);
    series.sort_by(|a, b| block_order(&a.labels, &b.labels));
    let options = WriteOptions { row_group_rows, ..WriteOptions::default() };
    let written = write_exemplars(file.block, &[0], series, &options).unwrap().unwrap();
    table.upload(&file, written.bytes.clone()).await.unwrap();
    let adds = vec![(file, written.bytes.len(), FileSummary::Exemplars(written.summary))];
    table.commit(&Commit { adds, ..Commit::default() }).await.unwrap();
}

async fn describe(world: &World, rows: Vec<SeenMetadata>) {
    let table = world.bucket.table(&tenant(), Table::Metadata);
    let file = table.new_file(Day::of(DAY));
    let written = write_metadata(file.block, rows, &WriteOptions::default()).unwrap().unwrap();
    table.upload(&file, written.bytes.clone()).await.unwrap();
    let adds = vec![(file, written.bytes.len(), FileSummary::Metadata(written.summary))];
    table.commit(&Commit { adds, ..Commit::default() }).await.unwrap();
}

fn point(timestamp: i64, value: f64, trace: &str) -> ExemplarPoint {
    ExemplarPoint { timestamp, value, labels: Labels::from_pairs([("trace_id", trace)]) }
}

/// `n_metrics` metrics of ten instances, an exemplar each minute of an hour.
fn fleet(from: i64, n_metrics: usize) -> Vec<ExemplarSeries> {
    let mut all = Vec::new();
    for metric in 0..n_metrics {
        for instance in 0..10 {
            let name = format!("m{metric:03}");
            let labels =
                [("__name__", name.as_str()), ("instance", &format!("h{instance}")), ("job", "node")];
            let exemplars = (0..60)
                .map(|minute| {
                    // Traces that zstd cannot shrink.
                    let number = (metric * 1000 + instance * 100) as u64 + minute as u64;
                    let trace = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                    point(from + minute * 60_000, metric as f64, &format!("{trace:016x}"))
                })
                .collect();
            all.push(ExemplarSeries { labels: Labels::from_pairs(labels), exemplars });
        }
    }
    all
}

fn read_bytes(world: &World) -> u64 {
    let requests = world.store.take_requests();
    let of_files = requests.iter().filter(|request| request.path.ends_with(".parquet"));
    of_files.flat_map(|request| &request.ranges).map(|range| range.end - range.start).sum()
}

#[tokio::test]
async fn exemplars_come_back_with_every_bit_and_each_once() {
    let world = World::new().await;
    let labels = Labels::from_pairs([("__name__", "m"), ("länge", "é\"\n")]);
    let nan = f64::from_bits(0x7ff8_0000_dead_beef);
    let odd = vec![
        point(DAY, -0.0, "a"),
        point(DAY, 0.0, "a"),
        point(DAY, nan, "a"),
        point(DAY + 1, f64::INFINITY, ""),
        point(DAY + 1, 1e-300, &"x".repeat(300)),
    ];
    let nameless = Labels::from_pairs([("job", "x")]);
    let series = || {
        vec![
            ExemplarSeries { labels: labels.clone(), exemplars: odd.clone() },
            ExemplarSeries { labels: nameless.clone(), exemplars: vec![point(DAY, 7.0, "z")] },
        ]
    };
    // The same in two files, as a sender's repetition after a cut.
    write(&world, Day::of(DAY), series(), 3).await;
    write(&world, Day::of(DAY), series(), 8192).await;
    let request = labels_request(Vec::new(), TimeRange::ALL);
    let found = world.scan.exemplars(&tenant(), &request).await.unwrap();
    assert_eq!(found.table_version, Some(2));
    let by_labels: Vec<&Labels> = found.items.iter().map(|series| &series.labels).collect();
    assert_eq!(by_labels, [&labels, &nameless]);
    let key = |point: &ExemplarPoint| (point.timestamp, point.value.to_bits(), point.labels.to_string());
    let bits: BTreeSet<_> = found.items[0].exemplars.iter().map(key).collect();
    assert_eq!(bits, odd.iter().map(key).collect());
    assert_eq!(found.items[0].exemplars.len(), odd.len());
    assert!(found.items[0].exemplars.is_sorted_by_key(|point| point.timestamp));
}

#[tokio::test]
async fn only_files_and_row_groups_of_the_time_and_the_metric_are_read() {
    let world = World::new().await;
    for hour in [0, 30] {
        write(&world, Day::of(DAY + hour * HOUR), fleet(DAY + hour * HOUR, 100), 4096).await;
    }
    let table = world.bucket.table(&tenant(), Table::Exemplars);
    let size = table.snapshot().await.unwrap().unwrap().files().map(|file| file.size).max().unwrap();
    let range = TimeRange::new(DAY + 30 * HOUR, DAY + 31 * HOUR);
    world.store.take_requests();
    let request = labels_request(vec![vec![is("__name__", "m042"), is("instance", "h3")]], range);
    let found = world.scan.exemplars(&tenant(), &request).await.unwrap();
    assert_eq!((found.items.len(), found.items[0].exemplars.len()), (1, 60));
    let read = read_bytes(&world);
    assert!(read * 2 < size, "{read} of {size} bytes");
    for (selector, range) in [
        (is("__name__", "m042"), TimeRange::new(DAY + 10 * HOUR, DAY + 20 * HOUR)),
        (is("__name__", "zzz"), TimeRange::ALL),
    ] {
        let request = labels_request(vec![vec![selector]], range);
        assert!(world.scan.exemplars(&tenant(), &request).await.unwrap().items.is_empty());
        assert_eq!(read_bytes(&world), 0);
    }
    // A selector without a name among others prunes nothing.
    let any = Matcher::new("instance", MatcherOp::Regex, "h[12]").unwrap();
    let request = labels_request(vec![vec![is("__name__", "m042")], vec![any]], TimeRange::ALL);
    let found = world.scan.exemplars(&tenant(), &request).await.unwrap();
    assert_eq!(found.items.len(), 10 + 2 * 99);
    assert!(found.items.iter().all(|series| series.exemplars.len() == 120));
}

#[tokio::test]
async fn exemplars_stay_within_the_limits_of_a_query() {
    let world = World::new().await;
    write(&world, Day::of(DAY), fleet(DAY, 3), 8192).await;
    for (series, samples, bytes, name) in [
        (29, 0, 0, "max_series_per_query"),
        (0, 1799, 0, "max_samples_per_query"),
        (0, 0, 50_000, "max_bytes_per_query"),
    ] {
        let mut request = labels_request(Vec::new(), TimeRange::ALL);
        request.budget = std::sync::Arc::new(SelectBudget {
            series: Meter::new("max_series_per_query", series),
            samples: Meter::new("max_samples_per_query", samples),
            bytes: Meter::new("max_bytes_per_query", bytes),
            deadline: None,
        });
        let error = world.scan.exemplars(&tenant(), &request).await.unwrap_err();
        assert!(matches!(error, SelectError::LimitExceeded { name: hit, .. } if hit == name), "{error}");
    }
    let exact = labels_request(Vec::new(), TimeRange::ALL);
    assert_eq!(world.scan.exemplars(&tenant(), &exact).await.unwrap().items.len(), 30);
}

#[tokio::test]
async fn a_list_reflects_the_version_it_was_told() {
    let world = World::new().await;
    let deps = bucket::Deps {
        store: std::sync::Arc::clone(&world.store) as _,
        clock: runtime::Clock::manual(DAY).0,
    };
    let scan = scan_of(&bucket::Bucket::open(bucket::Config::default(), deps).await.unwrap());
    let count = async |min_table_version| {
        let mut request = labels_request(Vec::new(), TimeRange::ALL);
        request.min_table_version = min_table_version;
        scan.exemplars(&tenant(), &request).await.unwrap().items.len()
    };
    assert_eq!(count(None).await, 0);
    write(&world, Day::of(DAY), fleet(DAY, 1), 8192).await;
    assert_eq!(count(None).await, 0, "within the poll interval what is in memory will do");
    assert_eq!(count(Some(1)).await, 10);
}

#[tokio::test]
async fn descriptions_come_newest_first_and_are_kept_between_queries() {
    let world = World::new().await;
    let row = |family: &str, help: &str, seen_ms| SeenMetadata {
        metadata: Metadata {
            family: family.to_string(),
            metric_type: MetricType::Summary,
            unit: "s".to_string(),
            help: help.to_string(),
        },
        seen_ms,
    };
    describe(&world, vec![row("b", "old", 1), row("a", "x", 5)]).await;
    describe(&world, vec![row("b", "new", 2), row("a", "x", 7)]).await;
    let ask = async |family: Option<&str>| {
        let request = MetadataRequest {
            family: family.map(str::to_string),
            budget: SelectBudget::unlimited(),
            min_table_version: None,
        };
        let found = world.scan.metadata(&tenant(), &request).await.unwrap();
        assert_eq!(found.table_version, Some(2));
        found.items.into_iter().map(|one| format!("{}: {}", one.family, one.help)).collect::<Vec<_>>()
    };
    assert_eq!(ask(None).await, ["a: x", "b: new", "b: old"]);
    world.store.take_requests();
    assert_eq!(ask(Some("b")).await, ["b: new", "b: old"]);
    assert_eq!(ask(Some("c")).await, Vec::<String>::new());
    assert_eq!(world.store.take_requests(), []);
}
