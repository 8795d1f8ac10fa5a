//! Merging, retention, clean-up.

use bucket::Table;
use limits::PromDuration;
use model::Labels;

use crate::world::{DAY, HOUR, MINUTE, Truth, World, labels, scraped, stored, tenant};

#[tokio::test]
async fn the_windows_of_a_day_become_one_file_with_the_same_samples() {
    let world = World::new();
    let mut node = world.open().await;
    let mut truth = Truth::new();
    node.fill_day(&world, &mut truth).await;
    let histograms: Vec<(Labels, i64, u64)> =
        (0..20).map(|i| (labels("h", 1), DAY + i * 5 * MINUTE, i as u64)).collect();
    node.push_histograms(&mut truth, &histograms).await;
    node.flush().await;
    world.at_hour(24);
    node.compact().await;
    assert!(node.n_files().await > 12, "the day is not over for long enough");
    world.at_hour(26);
    node.compact().await;
    assert_eq!(node.n_files().await, 1);
    assert_eq!(node.n_stored().await, truth.len() as u64);
    node.check(&truth, "after the merge").await;
    let file = node.snapshot().await.files().next().unwrap().clone();
    assert_eq!(file.tag("firn.shards"), Some("0,1,2"));
    node.compact().await;
    assert_eq!(node.snapshot().await.files().next().unwrap().path, file.path, "and nothing is left to do");
}

#[tokio::test]
async fn late_and_repeated_samples_are_merged_in_and_are_there_once() {
    let world = World::new();
    let mut node = world.open().await;
    let mut truth = Truth::new();
    node.fill_day(&world, &mut truth).await;
    world.at_hour(26);
    node.compact().await;
    // Some that are stored and some between them.
    node.push(&mut truth, &scraped(3, 5, DAY + 20 * MINUTE)).await;
    node.push(&mut truth, &scraped(3, 5, DAY + 25 * MINUTE)).await;
    node.flush().await;
    assert_eq!(node.n_files().await, 2);
    assert!(node.n_stored().await > truth.len() as u64);
    node.check(&truth, "with late samples").await;
    world.at_hour(27);
    node.compact().await;
    node.check(&truth, "after an hour").await;
    world.at_hour(60);
    node.compact().await;
    assert_eq!(node.n_files().await, 1);
    assert_eq!(node.n_stored().await, truth.len() as u64);
    node.check(&truth, "after all").await;
}

#[tokio::test]
async fn a_merge_ends_files_at_their_size_and_takes_them_up_as_one_input() {
    let mut world = World::new();
    world.config.target_file_bytes = 1;
    let mut node = world.open().await;
    let mut truth = Truth::new();
    node.fill_day(&world, &mut truth).await;
    world.at_hour(26);
    node.compact().await;
    assert_eq!(node.n_files().await, 15, "a file per series");
    node.check(&truth, "after the first merge").await;
    node.push(&mut truth, &scraped(3, 6, DAY + 25 * MINUTE)).await;
    node.flush().await;
    world.at_hour(60);
    node.compact().await;
    assert_eq!(node.n_files().await, 18);
    assert_eq!(node.n_stored().await, truth.len() as u64);
    node.check(&truth, "after the second").await;
}

#[tokio::test]
async fn a_backfill_of_tiny_files_is_merged_within_any_memory() {
    let mut world = World::new();
    world.memory = runtime::MemoryPart::new("compaction", 1 << 20);
    let mut node = world.open().await;
    let mut truth = Truth::new();
    world.at_hour(100);
    for minute in 0..60 {
        node.push(&mut truth, &scraped(1, 3, DAY + minute * MINUTE)).await;
        node.flush().await;
    }
    assert_eq!(node.n_files().await, 60);
    world.at_hour(101);
    node.compact().await;
    assert!(node.n_files().await <= 3, "{} files", node.n_files().await);
    world.at_hour(140);
    node.compact().await;
    assert_eq!((node.n_files().await, node.n_stored().await), (1, truth.len() as u64));
    node.check(&truth, "after the merges").await;
}

#[tokio::test]
async fn what_is_older_than_the_retention_goes() {
    let mut world = World::new();
    world.limits.compactor_blocks_retention_period = PromDuration::secs(30 * 3600);
    let mut node = world.open().await;
    let mut truth = Truth::new();
    node.fill_day(&world, &mut truth).await;
    world.at_hour(40);
    node.compact().await;
    // Windows whose newest sample is older than 10:00 are gone, the others are merged.
    truth.retain(|(_, ts), _| *ts >= DAY + 10 * HOUR);
    node.check(&truth, "in part").await;
    assert_eq!(node.n_stored().await, truth.len() as u64);
    world.at_hour(24 + 30);
    node.compact().await;
    assert_eq!(node.n_files().await, 0);
    node.check(&Truth::new(), "in the end").await;
}

#[tokio::test]
async fn the_oldest_days_go_when_a_tenant_has_too_much() {
    let mut world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    world.at_hour(100);
    for day in 0..4 {
        node.push(&mut truth, &scraped(3, 5, DAY + day * 24 * HOUR)).await;
        node.flush().await;
    }
    let sizes: Vec<u64> = node.snapshot().await.files().map(|file| file.size).collect();
    world.limits.compactor_blocks_retention_bytes = sizes[2] + sizes[3];
    let mut node = world.kill(node).await;
    node.compact().await;
    truth.retain(|(_, ts), _| *ts >= DAY + 48 * HOUR);
    assert_eq!(node.n_files().await, 2);
    node.check(&truth, "two days are left").await;
    world.limits.compactor_blocks_retention_bytes = 1;
    let mut node = world.kill(node).await;
    node.compact().await;
    assert_eq!(node.n_files().await, 1, "the newest day stays");
}

#[tokio::test]
async fn a_reader_that_began_before_a_swap_finishes_and_one_that_comes_too_late_plans_again() {
    let world = World::new();
    let mut node = world.open().await;
    let mut truth = Truth::new();
    node.fill_day(&world, &mut truth).await;
    world.at_hour(26);
    // Another process, whose snapshot is of before the swap and is not asked for again within the poll interval.
    let other = world.bucket().await;
    let reader = world.scan(&other);
    assert_eq!(stored(&reader, None).await, truth);
    let before = other.table(&tenant(), Table::Metrics).version_seen();
    node.compact().await;
    assert_eq!(node.n_files().await, 1);
    let fresh = world.scan(&other);
    assert_eq!(stored(&fresh, None).await, truth, "from the files before the swap");
    assert_eq!(other.table(&tenant(), Table::Metrics).version_seen(), before);
    // Vacuum takes them after the grace; the next round does it.
    world.time.set(DAY + 27 * HOUR);
    node.compact().await;
    let late = world.bucket().await;
    let late_reader = world.scan(&late);
    assert_eq!(stored(&late_reader, None).await, truth);
    assert_eq!(stored(&world.scan(&other), None).await, truth);
    let objects = count_objects(&world).await;
    assert_eq!(objects, 1, "the replaced files are gone");
}

/// Parquet files below the table's days.
async fn count_objects(world: &World) -> usize {
    use futures::TryStreamExt as _;
    let all: Vec<_> = world.store.list(None).try_collect().await.unwrap();
    all.iter().filter(|object| object.location.as_ref().contains("/metrics/day=")).count()
}

#[tokio::test]
async fn exemplars_and_descriptions_are_merged_too() {
    let world = World::new();
    let mut node = world.open().await;
    for window in 0..4 {
        world.at_hour(window * 2 + 2);
        let at = DAY + window * 2 * HOUR;
        node.push(&mut Truth::new(), &scraped(1, 1, at)).await;
        node.push_exemplars(&[(labels("m0", 0), at, 1.0), (labels("m1", 0), at, 2.0)]).await;
        node.flush().await;
    }
    let before = node.exemplars().await;
    assert_eq!(before.iter().map(|series| series.exemplars.len()).sum::<usize>(), 8);
    world.at_hour(26);
    node.compact().await;
    let table = node.bucket.table(&tenant(), Table::Exemplars);
    assert_eq!(table.snapshot().await.unwrap().unwrap().n_files(), 1);
    assert_eq!(node.exemplars().await, before);
}
