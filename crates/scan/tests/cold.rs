//! What a question costs that finds nothing in the caches, over files as a compaction leaves them.

use model::TimeRange;

use crate::world::{DAY, HOUR, World, floats, is, scan_of, scrapes, tenant};
use wire::{Projection, Select as _, SelectBudget, SelectRequest};

/// How many metrics each of how many hosts has.
#[derive(Clone, Copy)]
struct Fleet {
    metrics: u64,
    hosts: u64,
}

/// A day in one file, 4,800 series of twelve windows each, in a store as far away as a bucket is.
async fn compacted_day(Fleet { metrics, hosts }: Fleet, row_group_rows: usize) -> World {
    let far = bucket::Config { coalesce_bytes: 1 << 20, ..bucket::Config::default() };
    let mut world = World::with(far).await;
    world.options.zstd_level = 9;
    world.options.row_group_rows = row_group_rows;
    let timelines: Vec<_> = (0..hosts as i64).map(|host| scrapes_of_day(host * 57)).collect();
    let mut series = Vec::new();
    for i in 0..metrics * hosts {
        let (metric, host) = (i % metrics, i / metrics);
        let (name, instance) = (format!("metric_{metric:03}"), format!("host-{host:04}:9100"));
        let labels = [("__name__", name.as_str()), ("instance", instance.as_str()), ("job", "node")];
        let noise = move |ts: i64| ((ts as u64 ^ i).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44) as f64;
        series.push(floats(&labels, &timelines[host as usize], noise));
    }
    world.write(series).await;
    world
}

/// Two minutes apart over a whole day.
fn scrapes_of_day(offset_ms: i64) -> std::sync::Arc<[i64]> {
    scrapes(DAY + offset_ms, 24 * 60 * 4).iter().step_by(8).copied().collect()
}

#[tokio::test]
async fn a_query_of_one_series_over_a_compacted_day_costs_at_most_six_requests() {
    check(Fleet { metrics: 60, hosts: 80 }, 8192, 6).await;
}

#[tokio::test]
async fn a_metric_of_so_many_series_that_it_fills_row_groups_costs_no_more() {
    check(Fleet { metrics: 3, hosts: 1600 }, 8192, 6).await;
}

#[tokio::test]
async fn a_footer_that_is_longer_than_the_number_of_rows_promises_costs_no_more() {
    check(Fleet { metrics: 60, hosts: 80 }, 512, 6).await;
}

/// Asks for series at the beginning, in the middle and at the end of the file, each with empty caches, with the
/// snapshot at hand.
async fn check(fleet: Fleet, row_group_rows: usize, at_most: u64) {
    let world = compacted_day(fleet, row_group_rows).await;
    let snapshot = world.table.snapshot().await.unwrap().unwrap();
    let size = snapshot.files().map(|file| file.size).sum::<u64>();
    assert_eq!(snapshot.n_files(), 1);
    let Fleet { metrics, hosts } = fleet;
    for (metric, host) in
        [(0, 0), (metrics / 3, hosts / 2), (metrics / 2, hosts - 1), (metrics - 1, hosts - 1)]
    {
        let request = SelectRequest {
            matchers: vec![
                is("__name__", &format!("metric_{metric:03}")),
                is("instance", &format!("host-{host:04}:9100")),
            ],
            range: TimeRange::new(DAY, DAY + 24 * HOUR),
            within: None,
            projection: Projection::All,
            budget: SelectBudget::unlimited(),
            min_table_version: None,
        };
        world.store.take_requests();
        let found = scan_of(&world.bucket).select(&tenant(), &request).await.unwrap();
        assert_eq!(found.series.len(), 1);
        assert_eq!(found.stats.n_samples, 720);
        let requests = world.store.take_requests();
        let n = requests.iter().map(|request| request.ranges.len().max(1) as u64).sum::<u64>();
        println!("metric {metric} of host {host}: {n} requests, {} of {size} bytes", found.stats.n_bytes);
        assert_eq!(n, found.stats.n_requests, "what is counted is what was asked: {requests:?}");
        assert!(n <= at_most, "{n} requests: {requests:?}");
    }
}
