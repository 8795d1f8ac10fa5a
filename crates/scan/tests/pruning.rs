use model::{Matcher, MatcherOp, TimeRange};
use object_store::ObjectStoreExt as _;
use wire::{Projection, Select as _, SelectBudget, SelectRequest};

use crate::world::{DAY, HOUR, World, floats, is, request, scan_of, scrapes, tenant};

/// 4,000 series over two windows of one day and one of the next.
async fn fleet() -> World {
    let mut world = World::new().await;
    world.options.row_group_rows = 2048;
    for hour in [0, 2, 30] {
        let timeline = scrapes(DAY + hour * HOUR, 100);
        let mut series = Vec::new();
        for i in 0..4000u64 {
            let (name, host) = (format!("metric_{:03}", i % 100), format!("h{:03}", i / 100));
            let labels = [("__name__", name.as_str()), ("instance", host.as_str()), ("job", "node")];
            let noise = move |ts: i64| ((ts as u64 ^ i).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64;
            series.push(floats(&labels, &timeline, noise));
        }
        world.write(series).await;
    }
    world
}

fn data_bytes(world: &World) -> (usize, u64) {
    let requests = world.store.take_requests();
    let ranges =
        requests.iter().filter(|request| request.path.ends_with(".parquet")).flat_map(|r| r.ranges.clone());
    ranges.fold((0, 0), |(n, sum), range| (n + 1, sum + range.end - range.start))
}

#[tokio::test]
async fn a_panel_of_one_metric_reads_a_small_part_of_one_file() {
    let world = fleet().await;
    let size = world.table.snapshot().await.unwrap().unwrap().files().map(|file| file.size).max().unwrap();
    let range = TimeRange::new(DAY + 30 * HOUR, DAY + 31 * HOUR);
    let metric = || vec![is("__name__", "metric_042")];
    world.store.take_requests();
    let cold = world.select(metric(), range).await;
    assert_eq!(cold.series.len(), 40);
    let (n, bytes) = data_bytes(&world);
    assert_eq!(
        (n as u64, bytes),
        (cold.stats.n_requests, cold.stats.n_bytes),
        "what is counted is what was read"
    );
    assert!(bytes * 4 < size, "cold: {bytes} of {size}");
    let neighbour = world.select(vec![is("__name__", "metric_043")], range).await;
    let (_, again) = data_bytes(&world);
    // One page of values, 256 KiB before compression.
    assert!(again * 10 < size, "labels at hand: {again} of {size}");
    assert_eq!(neighbour.stats.n_samples, 40 * 100);
    assert!(neighbour.stats.n_requests <= 4, "{:?}", neighbour.stats);
}

#[tokio::test]
async fn rows_that_were_read_are_not_read_again_whatever_part_of_them_is_asked_for() {
    let world = fleet().await;
    let first = DAY + 30 * HOUR;
    let all = TimeRange::new(first, first + HOUR);
    let metric = || vec![is("__name__", "metric_042")];
    let samples = |selected: &wire::Selected| -> Vec<(i64, u64)> {
        let columns = selected.series.iter().flat_map(|series| &series.floats);
        columns.flat_map(|column| column.samples()).map(|(ts, value)| (ts, value.to_bits())).collect()
    };
    let cold = scan_of(&world.bucket);
    let request = |range| SelectRequest {
        matchers: metric(),
        range,
        within: None,
        projection: Projection::All,
        budget: SelectBudget::unlimited(),
        min_table_version: None,
    };
    let expected = samples(&cold.select(&tenant(), &request(all)).await.unwrap());
    assert_eq!(expected.len(), 40 * 100);
    let some = TimeRange::new(first + 60_000, first + 120_000);
    let part = world.select(metric(), some).await;
    world.store.take_requests();
    let whole = world.select(metric(), all).await;
    assert_eq!(data_bytes(&world), (0, 0));
    assert_eq!(samples(&whole), expected);
    let expected: Vec<_> = expected.into_iter().filter(|(ts, _)| some.contains(*ts)).collect();
    assert_eq!(samples(&part), expected);
    assert!(!expected.is_empty());
}

#[tokio::test]
async fn files_outside_of_the_time_or_without_the_metric_are_not_touched() {
    let world = fleet().await;
    world.store.take_requests();
    for (matchers, range) in [
        (vec![is("__name__", "metric_000")], TimeRange::new(DAY + 10 * HOUR, DAY + 20 * HOUR)),
        (vec![is("__name__", "zzz")], TimeRange::ALL),
        (vec![Matcher::new("__name__", MatcherOp::Regex, "aaa|nnn").unwrap()], TimeRange::ALL),
        (vec![Matcher::new("__name__", MatcherOp::Regex, "(aaa|metrix)_.*").unwrap()], TimeRange::ALL),
    ] {
        assert!(world.select(matchers, range).await.series.is_empty());
        assert_eq!(data_bytes(&world), (0, 0));
    }
}

#[tokio::test]
async fn a_pattern_of_names_reads_what_may_begin_as_it_does() {
    let world = fleet().await;
    let size = world.table.snapshot().await.unwrap().unwrap().files().map(|file| file.size).max().unwrap();
    let range = TimeRange::new(DAY + 30 * HOUR, DAY + 31 * HOUR);
    let ask = async |pattern| {
        let matchers = vec![Matcher::new("__name__", MatcherOp::Regex, pattern).unwrap()];
        let cold = scan_of(&world.bucket);
        world.store.take_requests();
        let found = cold.select(&tenant(), &request(matchers, range)).await.unwrap();
        (found.series.len(), data_bytes(&world).1)
    };
    let (n, bytes) = ask("metric_0(41|42)x?").await;
    assert_eq!(n, 80);
    let (all, whole) = ask(".*_04[12]x?").await;
    assert_eq!(all, 80);
    assert!(bytes * 3 < size && bytes < whole, "{bytes} against {whole} of {size}");
}

#[tokio::test]
async fn every_way_to_match_gives_the_same_series() {
    let world = fleet().await;
    let range = TimeRange::new(DAY, DAY + HOUR);
    let regex = |name, pattern| Matcher::new(name, MatcherOp::Regex, pattern).unwrap();
    let labels = async |matchers| -> Vec<String> {
        let found = world.select(matchers, range).await;
        found.series.iter().map(|series| series.labels.to_string()).collect()
    };
    let by_name = labels(vec![is("__name__", "metric_007"), is("instance", "h005")]).await;
    assert_eq!(by_name.len(), 1);
    assert_eq!(labels(vec![regex("__name__", "metric_0+7"), is("instance", "h005")]).await, by_name);
    assert_eq!(
        labels(vec![is("instance", "h005"), regex("__name__", ".*7|x"), regex("__name__", ".*007")]).await,
        by_name
    );
    let two = labels(vec![regex("__name__", "metric_007|metric_093|nope"), is("instance", "h039")]).await;
    assert_eq!(two.len(), 2);
}

#[tokio::test]
async fn a_file_that_is_gone_is_planned_around_once() {
    let world = World::new().await;
    let timeline = scrapes(DAY, 10);
    let old = world.write(vec![floats(&[("__name__", "a")], &timeline, |ts| ts as f64)]).await;
    let range = TimeRange::ALL;
    let fresh = scan_of(&world.bucket);
    // Another process compacts and vacuums while our snapshot is still held to be good.
    let other = bucket::Bucket::open(
        bucket::Config::default(),
        bucket::Deps {
            store: std::sync::Arc::clone(&world.store) as _,
            clock: runtime::Clock::manual(DAY).0,
        },
    )
    .await
    .unwrap();
    let table = other.table(&tenant(), bucket::Table::Metrics);
    let file = table.new_file(block::Day::of(DAY));
    let meta = block::BlockMeta { block: file.block, window_ms: 2 * HOUR };
    let series = [Ok::<_, std::convert::Infallible>(floats(&[("__name__", "a")], &timeline, |ts| ts as f64))];
    let written = block::write_metrics(meta, series, &world.options).unwrap().unwrap();
    table.upload(&file, written.bytes.clone()).await.unwrap();
    let commit = bucket::Commit {
        adds: vec![(file, written.bytes.len(), written.summary.into())],
        removes: old.clone(),
        operation: bucket::Operation::Optimize,
        ..bucket::Commit::default()
    };
    table.commit(&commit).await.unwrap();
    world.store.inner.delete(&table.object(&old[0])).await.unwrap();
    let request = SelectRequest {
        matchers: Vec::new(),
        range,
        within: None,
        projection: Projection::All,
        budget: SelectBudget::unlimited(),
        min_table_version: None,
    };
    let found = fresh.select(&tenant(), &request).await.unwrap();
    assert_eq!(found.series[0].floats[0].values.len(), 10);
    assert_eq!(found.table_version, Some(2));
    // A file that the newest snapshot still names is an error.
    world.store.inner.delete(&table.object(&commit.adds[0].0.path)).await.unwrap();
    assert!(scan_of(&world.bucket).select(&tenant(), &request).await.is_err());
}

#[tokio::test]
async fn a_select_reflects_the_version_it_was_told() {
    let world = World::new().await;
    let timeline = scrapes(DAY, 10);
    world.write(vec![floats(&[("__name__", "a")], &timeline, |ts| ts as f64)]).await;
    let deps = bucket::Deps {
        store: std::sync::Arc::clone(&world.store) as _,
        clock: runtime::Clock::manual(DAY).0,
    };
    let reader = bucket::Bucket::open(bucket::Config::default(), deps).await.unwrap();
    let scan = scan_of(&reader);
    let request = |min_table_version| SelectRequest {
        matchers: Vec::new(),
        range: TimeRange::ALL,
        within: None,
        projection: Projection::All,
        budget: SelectBudget::unlimited(),
        min_table_version,
    };
    assert_eq!(scan.select(&tenant(), &request(None)).await.unwrap().series.len(), 1);
    world.write(vec![floats(&[("__name__", "b")], &timeline, |ts| ts as f64)]).await;
    // Within the poll interval the snapshot in memory will do, unless the head said otherwise.
    assert_eq!(scan.select(&tenant(), &request(None)).await.unwrap().series.len(), 1);
    assert_eq!(scan.select(&tenant(), &request(world.table.version_seen())).await.unwrap().series.len(), 2);
}
