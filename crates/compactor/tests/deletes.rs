//! Deletion of series and tenants.

use std::time::Duration;

use model::{Deletion, Labels, MatcherOp, TimeRange};
use wire::Select as _;

use crate::world::{DAY, HOUR, MINUTE, Node, Truth, World, labels, labels_request, matcher, scraped, tenant};

fn deletion(name: &str, range: TimeRange) -> Deletion {
    Deletion { selectors: vec![vec![matcher("__name__", MatcherOp::Equal, name)]], range }
}

async fn names(node: &Node) -> Vec<String> {
    node.scan.label_values(&tenant(), "__name__", &labels_request(Vec::new())).await.unwrap().items
}

#[tokio::test]
async fn what_is_deleted_is_gone_at_once_and_what_comes_later_stays() {
    let mut world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.fill_day(&world, &mut truth).await;
    node.push_exemplars(&[(labels("m1", 0), DAY + 23 * HOUR, 1.0), (labels("m2", 0), DAY + 23 * HOUR, 1.0)])
        .await;
    // Some are in the head only.
    node.push(&mut truth, &scraped(3, 5, DAY + 24 * HOUR - MINUTE)).await;
    node.deleter.delete_series(&tenant(), deletion("m1", TimeRange::ALL)).await.unwrap();
    truth.retain(|(labels, _), _| labels.metric_name() != Some("m1"));
    node.check(&truth, "at once").await;
    assert_eq!(names(&node).await, ["m0", "m2", "m3", "m4"]);
    let series = node.scan.series(&tenant(), &labels_request(Vec::new())).await.unwrap().items;
    assert_eq!(series.len(), 12);
    assert_eq!(node.exemplars().await.len(), 1);

    // The same timestamps again, the very last one among them, and a new one.
    let again: Vec<(Labels, i64, f64)> = scraped(3, 5, DAY + 24 * HOUR - MINUTE);
    let again: Vec<_> = again.into_iter().filter(|(l, ..)| l.metric_name() == Some("m1")).collect();
    node.push(&mut truth, &again).await;
    node.push(&mut truth, &scraped(3, 5, DAY + 24 * HOUR)).await;
    node.check(&truth, "with later samples").await;
    node.flush().await;
    node.check(&truth, "after a flush").await;
    let mut node = world.kill(node).await;
    node.check(&truth, "after a restart").await;

    // Rewritten within the hour, in the day that is over and in the one that is not.
    world.time.advance(Duration::from_secs(1800));
    assert!(node.snapshot().await.deletions().count() > 0);
    node.compact().await;
    assert_eq!(node.snapshot().await.deletions().count(), 0);
    assert_eq!(node.n_stored().await, truth.len() as u64);
    node.check(&truth, "after the rewrite").await;
    assert_eq!(node.exemplars().await.len(), 1);
}

#[tokio::test]
async fn a_deletion_takes_its_range_and_no_more() {
    let mut world = World::new();
    let mut node = world.open().await;
    let mut truth = Truth::new();
    node.fill_day(&world, &mut truth).await;
    let histograms: Vec<_> = (0..12).map(|i| (labels("m1", 7), DAY + i * 10 * MINUTE, i as u64)).collect();
    node.push_histograms(&mut truth, &histograms).await;
    node.flush().await;
    let range = TimeRange::new(DAY + 30 * MINUTE, DAY + 5 * HOUR + 20 * MINUTE);
    node.deleter.delete_series(&tenant(), deletion("m1", range)).await.unwrap();
    let is_gone = |labels: &Labels, ts: i64| labels.metric_name() == Some("m1") && range.contains(ts);
    truth.retain(|(labels, ts), _| !is_gone(labels, *ts));
    node.check(&truth, "at once").await;
    assert_eq!(names(&node).await.len(), 5);
    // A merge applies it as well, though it comes before the rewrite.
    world.config.deletion_delay = limits::PromDuration::secs(86_400 * 7);
    world.at_hour(26);
    let mut node = {
        let bucket = world.bucket().await;
        node.compactor = world.compactor(&bucket);
        node
    };
    node.compact().await;
    assert_eq!(node.n_files().await, 1);
    assert_eq!(node.snapshot().await.deletions().count(), 0);
    assert_eq!(node.n_stored().await, truth.len() as u64);
    node.check(&truth, "after the merge").await;
}

#[tokio::test]
async fn a_series_that_is_deleted_again_and_again_is_gone_and_the_rest_is_not() {
    let world = World::new();
    let mut node = world.open().await;
    let mut truth = Truth::new();
    node.fill_day(&world, &mut truth).await;
    for hour in 0..6 {
        let range = TimeRange::new(DAY + hour * HOUR, DAY + (hour + 1) * HOUR);
        node.deleter.delete_series(&tenant(), deletion("m2", range)).await.unwrap();
        node.deleter.delete_series(&tenant(), deletion("m2", range)).await.unwrap();
    }
    truth.retain(|(labels, ts), _| labels.metric_name() != Some("m2") || *ts > DAY + 6 * HOUR);
    node.check(&truth, "after twelve deletions").await;
    node.deleter.delete_series(&tenant(), deletion("absent", TimeRange::ALL)).await.unwrap();
    world.at_hour(25);
    node.compact().await;
    node.check(&truth, "after the rewrites").await;
    assert_eq!(node.n_stored().await, truth.len() as u64);
    assert_eq!(node.snapshot().await.deletions().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deletion_during_merges_is_not_undone_by_them() {
    let world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.fill_day(&world, &mut truth).await;
    world.at_hour(26);
    let mut rounds = Vec::new();
    for _ in 0..3 {
        let mut compactor = world.compactor(&world.bucket().await);
        rounds.push(runtime::spawn(async move { compactor.round().await.unwrap() }));
    }
    for name in ["m0", "m3", "m4"] {
        crate::world::pause(2_000).await;
        node.deleter.delete_series(&tenant(), deletion(name, TimeRange::ALL)).await.unwrap();
        truth.retain(|(labels, _), _| labels.metric_name() != Some(name));
        node.check(&truth, name).await;
    }
    for round in rounds {
        round.await.unwrap();
    }
    node.check(&truth, "after the merges").await;
    world.time.advance(Duration::from_secs(3600));
    world.compactor(&node.bucket).round().await.unwrap();
    node.check(&truth, "after the rewrites").await;
    assert_eq!(node.n_stored().await, truth.len() as u64);
}

#[tokio::test]
async fn a_tenant_that_is_deleted_has_nothing_and_can_begin_anew() {
    let world = World::new();
    let mut node = world.open().await;
    let mut truth = Truth::new();
    assert!(node.deleter.is_deleted(&tenant()).await.unwrap());
    node.fill_day(&world, &mut truth).await;
    node.push(&mut truth, &scraped(1, 1, DAY + 25 * HOUR)).await;
    assert!(!node.deleter.is_deleted(&tenant()).await.unwrap());
    node.deleter.delete_series(&tenant(), deletion("m1", TimeRange::ALL)).await.unwrap();
    node.deleter.delete_tenant(&tenant()).await.unwrap();
    assert!(node.deleter.is_deleted(&tenant()).await.unwrap());
    node.check(&Truth::new(), "after the deletion").await;
    assert_eq!(node.snapshot().await.deletions().count(), 0);
    let mut truth = Truth::new();
    node.push(&mut truth, &scraped(2, 2, DAY + 26 * HOUR)).await;
    node.flush().await;
    node.check(&truth, "with new samples").await;
    world.at_hour(27);
    node.compact().await;
    node.check(&truth, "after vacuum").await;
}
