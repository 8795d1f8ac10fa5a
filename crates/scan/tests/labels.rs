use std::collections::BTreeSet;

use model::{Matcher, MatcherOp, TimeRange};
use wire::Select as _;

use crate::world::{DAY, HOUR, World, floats, is, labels_request, scan_of, scrapes, tenant};

async fn fleet(n: usize) -> World {
    let world = World::new().await;
    for hour in [0, 2, 26] {
        let timeline = scrapes(DAY + hour * HOUR, 400);
        let mut series = Vec::new();
        for i in 0..n {
            let (name, host) = (format!("m{}", i % 20), format!("h{:04}", i / 20));
            let labels = [("__name__", name.as_str()), ("instance", host.as_str()), ("job", "node")];
            // Values that zstd cannot shrink, so that data pages are most of the file.
            let noise = move |ts: i64| {
                f64::from_bits((ts as u64 ^ i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 12)
            };
            series.push(floats(&labels, &timeline, noise));
        }
        world.write(series).await;
    }
    world
}

#[tokio::test]
async fn label_queries_read_no_data_pages() {
    let world = fleet(400).await;
    let sizes: u64 = world.table.snapshot().await.unwrap().unwrap().files().map(|file| file.size).sum();
    let request = labels_request(Vec::new(), TimeRange::new(DAY, DAY + 48 * HOUR));
    world.store.take_requests();
    let names = world.scan.label_names(&tenant(), &request).await.unwrap().items;
    assert_eq!(names, ["__name__", "instance", "job"]);
    let values = world.scan.label_values(&tenant(), "instance", &request).await.unwrap().items;
    assert_eq!(values.len(), 20);
    assert_eq!(
        world.scan.label_values(&tenant(), "nope", &request).await.unwrap().items,
        Vec::<String>::new()
    );
    let selectors =
        vec![vec![is("__name__", "m3"), Matcher::new("instance", MatcherOp::Regex, "h000.").unwrap()]];
    let narrow = labels_request(selectors, request.range);
    assert_eq!(world.scan.series(&tenant(), &narrow).await.unwrap().items.len(), 10);
    assert_eq!(world.scan.label_values(&tenant(), "__name__", &narrow).await.unwrap().items, ["m3"]);
    let data = data_ranges(&world).await;
    let mut read = 0;
    for request in world.store.take_requests().iter().filter(|request| request.path.ends_with(".parquet")) {
        for range in &request.ranges {
            read += range.end - range.start;
            let in_data = data.iter().find(|(path, data)| {
                // The first read of a file takes its end, whatever lies there.
                let is_tail = range.end - range.start == 64 * 1024;
                !is_tail && request.path.ends_with(path) && data.start < range.end && range.start < data.end
            });
            assert!(in_data.is_none(), "{range:?} of {} is data", request.path);
        }
    }
    assert!(read * 4 < sizes, "{read} of {sizes} bytes were read");
}

/// Where values and timestamps lie in the files.
async fn data_ranges(world: &World) -> Vec<(String, std::ops::Range<u64>)> {
    use object_store::ObjectStoreExt as _;
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    let mut ranges = Vec::new();
    for file in world.table.snapshot().await.unwrap().unwrap().files() {
        let path = world.table.object(&file.path);
        let bytes = world.store.inner.get(&path).await.unwrap().bytes().await.unwrap();
        let reader = SerializedFileReader::new(bytes).unwrap();
        for group in reader.metadata().row_groups() {
            for column in group.columns() {
                let name = column.column_path().string();
                if ["values_int", "values_double", "timestamps", "stale_at"]
                    .iter()
                    .any(|data| name.starts_with(data))
                {
                    // Chunks of nothing but nulls are a few bytes between the labels.
                    let (start, len) = column.byte_range();
                    if len > 16 * 1024 {
                        ranges.push((file.path.clone(), start + 8 * 1024..start + len - 8 * 1024));
                    }
                }
            }
        }
    }
    assert!(!ranges.is_empty());
    ranges
}

#[tokio::test]
async fn a_label_query_asked_again_reads_nothing() {
    let world = fleet(100).await;
    let request = labels_request(Vec::new(), TimeRange::ALL);
    let narrow =
        labels_request(vec![vec![is("__name__", "m1")], vec![is("instance", "h0001")]], TimeRange::ALL);
    let ask = async || {
        let mut all = world.scan.label_names(&tenant(), &request).await.unwrap().items;
        all.extend(world.scan.label_values(&tenant(), "instance", &request).await.unwrap().items);
        all.extend(
            world.scan.series(&tenant(), &narrow).await.unwrap().items.iter().map(ToString::to_string),
        );
        all
    };
    let first = ask().await;
    world.store.take_requests();
    assert_eq!(ask().await, first);
    assert_eq!(world.store.take_requests(), []);
}

#[tokio::test]
async fn label_queries_look_only_at_files_of_their_time() {
    let world = fleet(40).await;
    let late = labels_request(Vec::new(), TimeRange::new(DAY + 24 * HOUR, DAY + 48 * HOUR));
    world.store.take_requests();
    world.scan.label_names(&tenant(), &late).await.unwrap();
    let paths: BTreeSet<String> = world
        .store
        .take_requests()
        .into_iter()
        .map(|request| request.path)
        .filter(|p| p.contains(".parquet"))
        .collect();
    assert_eq!(paths.len(), 1, "{paths:?}");
    let never = labels_request(Vec::new(), TimeRange::new(0, 1));
    assert!(world.scan.label_names(&tenant(), &never).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_label_query_finds_what_a_select_finds() {
    let world = fleet(200).await;
    let scan = scan_of(&world.bucket);
    let matchers =
        vec![Matcher::new("instance", MatcherOp::NotEqual, "h0003").unwrap(), is("__name__", "m7")];
    let request = labels_request(vec![matchers.clone()], TimeRange::ALL);
    let series = scan.series(&tenant(), &request).await.unwrap();
    let selected = world.select(matchers, TimeRange::ALL).await.series;
    assert_eq!(series.items, selected.into_iter().map(|series| series.labels).collect::<Vec<_>>());
    assert_eq!(series.items.len(), 9);
}
