//! When windows are cut, and what a cut leaves behind.

use std::time::Duration;

use ::limits::PromDuration;

use crate::world::{HOUR, MINUTE, Node, START, Truth, World, floats_batch, labels, scrape};

#[tokio::test]
async fn after_a_flush_everything_is_in_the_table_and_nothing_in_the_head() {
    let world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    for minute in 0..30 {
        node.accept(&mut truth, &scrape(3, 10, START + minute * MINUTE)).await;
    }
    node.check(&truth, "before the flush").await;
    assert_eq!(node.n_stored().await, 0);
    node.ingester.flush().await.unwrap();
    node.check(&truth, "after the flush").await;
    assert_eq!(node.recent().await.0.len(), 0);
    assert_eq!(node.n_stored().await, truth.len());
    assert_eq!(node.table_version().await, Some(1), "all shards share one commit");
}

#[tokio::test]
async fn a_window_is_cut_half_an_hour_after_its_end_and_not_before() {
    let world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &scrape(2, 5, START + HOUR)).await;
    world.time.set(START + 2 * HOUR + 30 * MINUTE - 1);
    node.flusher.tick().await;
    assert_eq!(node.n_stored().await, 0);
    world.time.advance(Duration::from_millis(1));
    node.flusher.tick().await;
    assert_eq!(node.n_stored().await, truth.len());
    node.check(&truth, "after the cut").await;
}

#[tokio::test]
async fn the_newest_sample_closes_windows_like_the_clock_does() {
    let mut world = World::new();
    world.limits.creation_grace_period = PromDuration::secs(0);
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &scrape(1, 5, START + HOUR)).await;
    node.accept(&mut truth, &scrape(1, 5, START + 2 * HOUR + 30 * MINUTE)).await;
    node.flusher.tick().await;
    assert_eq!(node.n_stored().await, 5);
    node.check(&truth, "after the cut").await;
}

#[tokio::test]
async fn late_samples_wait_for_ten_quiet_minutes_and_make_a_second_cut_of_their_window() {
    let world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &scrape(2, 5, START)).await;
    world.time.set(START + 3 * HOUR);
    node.flusher.tick().await;
    assert_eq!(node.n_stored().await, 10);
    node.accept(&mut truth, &scrape(2, 5, START + MINUTE)).await;
    world.time.advance(Duration::from_secs(599));
    node.flusher.tick().await;
    assert_eq!(node.n_stored().await, 10, "late samples are not cut one by one");
    world.time.advance(Duration::from_secs(1));
    node.flusher.tick().await;
    assert_eq!(node.n_stored().await, 20);
    node.check(&truth, "after the second cut").await;
}

#[tokio::test]
async fn a_backfill_of_many_windows_makes_one_file_of_each() {
    let world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    for window in (0..24).rev() {
        for scrape_of in 0..3 {
            let at = START - window * 2 * HOUR + scrape_of * MINUTE;
            node.accept(&mut truth, &scrape(1, 4, at)).await;
            node.flusher.tick().await;
        }
    }
    assert_eq!(node.n_stored().await, 0);
    world.time.advance(Duration::from_secs(3 * 3600));
    node.flusher.tick().await;
    assert_eq!(node.table_version().await, Some(24));
    node.check(&truth, "after the cuts").await;
}

#[tokio::test]
async fn what_was_flushed_is_judged_after_the_flush_and_after_a_restart() {
    let mut world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    let first = [(labels("up", 1), START, 1.0)];
    node.accept(&mut truth, &first).await;
    node.ingester.flush().await.unwrap();
    check_judgement(&node, "after the flush").await;
    let node = world.kill(node).await;
    check_judgement(&node, "after a kill").await;
    node.accept(&mut truth, &[(labels("up", 1), START + MINUTE, 2.0)]).await;
    node.check(&truth, "after all").await;
}

/// The same bits are accepted and dropped, another value is refused.
async fn check_judgement(node: &Node, when: &str) {
    let again = node.push(&floats_batch(&[(labels("up", 1), START, 1.0)])).await.unwrap();
    assert_eq!((again.n_samples(), again.refused.len()), (1, 0), "{when}");
    let other = node.push(&floats_batch(&[(labels("up", 1), START, 7.0)])).await.unwrap();
    assert_eq!((other.n_samples(), other.refused.len()), (0, 1), "{when}");
    assert_eq!(other.refused[0].reason, wire::RefusalReason::DuplicateTimestamp);
    assert_eq!(node.recent().await.0.len(), 0, "{when}: nothing new came into the head");
}

#[tokio::test]
async fn idle_series_leave_memory_and_come_back_with_their_next_sample() {
    let world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &scrape(10, 20, START)).await;
    world.time.set(START + 5 * HOUR);
    node.accept(&mut truth, &scrape(1, 1, START + 5 * HOUR)).await;
    node.flusher.tick().await;
    assert_eq!(node.metric("ingester_series"), 1.0);
    node.accept(&mut truth, &scrape(10, 20, START + 5 * HOUR + MINUTE)).await;
    node.flusher.tick().await;
    assert_eq!(node.metric("ingester_series"), 200.0);
    node.check(&truth, "after they came back").await;
}

#[tokio::test]
async fn a_flush_with_nothing_to_flush_makes_no_table() {
    let world = World::new();
    let node = world.open().await;
    node.ingester.flush().await.unwrap();
    assert_eq!(node.table_version().await, None);
}
