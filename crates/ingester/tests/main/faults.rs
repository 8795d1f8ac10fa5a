//! Stores that fail and stall, disks that fill up, processes and machines that die.

use testkit::store::{Fault, On};
use wire::PushError;

use crate::world::{MINUTE, START, Truth, World, floats_batch, noisy_scrape, scrape};
use ingester::SyncMode;

#[tokio::test]
async fn a_store_that_fails_loses_nothing_and_is_tried_again_after_a_pause() {
    let world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &scrape(2, 5, START)).await;
    node.check(&truth, "before").await;
    world.store.fail(On::Everything, Fault::Refuse, None);
    assert!(node.ingester.flush().await.is_err());
    assert_eq!(node.recent().await.0, truth, "it stays readable");
    node.flusher.tick().await;
    assert!(
        node.metric("ingester_flush_failures_total") > 0.0 || node.metric("ingester_pending_cuts") == 0.0
    );
    world.store.heal();
    node.accept(&mut truth, &scrape(2, 5, START + MINUTE)).await;
    node.ingester.flush().await.unwrap();
    assert_eq!(node.n_stored().await, truth.len());
    node.check(&truth, "after the store came back").await;
}

#[tokio::test]
async fn each_step_that_fails_is_repeated_without_a_duplicate() {
    for suffix in [".parquet", ".json"] {
        for fault in [Fault::Refuse, Fault::LoseAnswer] {
            for times in [1, 3, 20] {
                let when = format!("{suffix} {fault:?} {times} times");
                let mut world = World::new();
                let node = world.open().await;
                let mut truth = Truth::new();
                node.accept(&mut truth, &scrape(2, 5, START)).await;
                world.store.fail(On::Put(suffix), fault, Some(times));
                while node.ingester.flush().await.is_err() {
                    assert_eq!(node.recent().await.0, truth, "{when}: it stays readable");
                }
                node.check(&truth, &when).await;
                let node = world.kill(node).await;
                node.ingester.flush().await.unwrap();
                node.check(&truth, &when).await;
                assert_eq!(node.n_stored().await, truth.len(), "{when}");
            }
        }
    }
}

#[tokio::test]
async fn a_store_that_stalls_stops_neither_pushes_nor_selects() {
    let mut world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &scrape(2, 5, START)).await;
    node.check(&truth, "before").await;
    world.store.fail(On::Everything, Fault::Stall, None);
    let ingester = node.ingester.clone();
    let flush = tokio::spawn(async move { ingester.flush().await });
    while world.store.n_faults() == 0 {
        tokio::task::yield_now().await;
    }
    node.accept(&mut truth, &scrape(2, 5, START + MINUTE)).await;
    assert_eq!(node.recent().await.0, truth);
    flush.abort();
    assert!(flush.await.is_err());
    world.store.heal();
    node.ingester.flush().await.unwrap();
    node.check(&truth, "after the store came back").await;
    let node = world.kill(node).await;
    node.check(&truth, "after a kill").await;
}

#[tokio::test]
async fn a_death_between_commit_and_its_record_repeats_the_cut_and_commits_nothing() {
    let mut world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &scrape(2, 5, START)).await;
    node.ingester.flush().await.unwrap();
    node.accept(&mut truth, &scrape(2, 5, START + MINUTE)).await;
    world.store.fail(On::Put(".json"), Fault::StallAfter, None);
    let ingester = node.ingester.clone();
    let flush = tokio::spawn(async move { ingester.flush().await });
    while world.store.n_faults() == 0 {
        tokio::task::yield_now().await;
    }
    flush.abort();
    assert!(flush.await.is_err());
    world.store.heal();
    let node = world.kill(node).await;
    node.check_overlap(&truth).await;
    let version = node.table_version().await;
    node.ingester.flush().await.unwrap();
    assert_eq!(node.table_version().await, version, "the repeated cut commits nothing");
    assert_eq!(node.metric("ingester_repeated_commits_total"), 1.0);
    node.check(&truth, "after the repeated cut").await;
    node.accept(&mut truth, &scrape(2, 5, START + 2 * MINUTE)).await;
    node.ingester.flush().await.unwrap();
    node.check(&truth, "after the next cut").await;
    assert_eq!(node.n_stored().await, truth.len());
}

#[tokio::test]
async fn a_death_before_the_commit_makes_the_cut_again_with_its_number() {
    let mut world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &scrape(2, 5, START)).await;
    world.store.fail(On::Put(".parquet"), Fault::Refuse, None);
    assert!(node.ingester.flush().await.is_err());
    node.accept(&mut truth, &scrape(2, 5, START + MINUTE)).await;
    world.store.heal();
    let node = world.kill(node).await;
    node.check(&truth, "after the kill").await;
    node.ingester.flush().await.unwrap();
    node.check(&truth, "after the flush").await;
    assert_eq!(node.n_stored().await, truth.len());
    assert_eq!(node.table_version().await, Some(2), "the old cut and the new one");
}

#[tokio::test]
async fn a_full_disk_refuses_pushes_by_name_and_recovers_by_itself() {
    let mut world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &scrape(2, 5, START)).await;
    world.files.set_space(Some(20));
    let refused = node.push(&floats_batch(&scrape(3, 5, START + MINUTE))).await.unwrap_err();
    assert!(matches!(refused, PushError::Unavailable { .. }), "{refused}");
    assert!(refused.to_string().contains("log"), "{refused}");
    node.check(&truth, "while the disk is full").await;
    world.files.set_space(None);
    node.accept(&mut truth, &scrape(3, 5, START + 2 * MINUTE)).await;
    let node = world.kill(node).await;
    node.check(&truth, "after a kill").await;
}

#[tokio::test]
async fn a_disk_that_is_full_of_our_own_log_is_freed_by_a_flush() {
    let mut world = World::new();
    world.config.wal.segment_bytes = 1 << 16;
    let node = world.open().await;
    let mut truth = Truth::new();
    world.files.set_space(Some(100 << 10));
    let mut timestamp = START;
    let refused = loop {
        let floats = noisy_scrape(4, 25, timestamp);
        match node.push(&floats_batch(&floats)).await {
            Ok(_) => crate::world::note(&mut truth, &floats),
            Err(_) => break floats,
        }
        timestamp += 1000;
    };
    world.files.set_space(Some(0));
    node.ingester.flush().await.unwrap();
    assert!(node.n_stored().await >= truth.len());
    // Some shards may have taken their part; to push it again is safe.
    node.accept(&mut truth, &refused).await;
    node.accept(&mut truth, &scrape(4, 25, START + 50 * MINUTE)).await;
    let node = world.kill(node).await;
    node.check(&truth, "after a kill").await;
}

#[tokio::test]
async fn with_sync_always_what_was_acknowledged_survives_the_machine() {
    let mut world = World::new();
    world.config.wal.sync = SyncMode::Always;
    let mut node = world.open().await;
    let mut truth = Truth::new();
    for minute in 0..40 {
        node.accept(&mut truth, &scrape(2, 3, START + minute * MINUTE)).await;
        if minute % 8 == 5 {
            node.ingester.flush().await.unwrap();
        }
        if minute % 7 == 6 {
            node = world.crash(node).await;
            node.check(&truth, "after a crash").await;
        }
    }
}

#[tokio::test]
async fn with_sync_always_a_failed_sync_is_not_acknowledged() {
    let mut world = World::new();
    world.config.wal.sync = SyncMode::Always;
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &scrape(2, 3, START)).await;
    world.files.fail_syncs(true);
    let refused = node.push(&floats_batch(&scrape(2, 3, START + MINUTE))).await.unwrap_err();
    assert!(matches!(refused, PushError::Unavailable { .. }), "{refused}");
    let node = world.crash(node).await;
    node.check(&truth, "after a crash").await;
}

#[tokio::test]
async fn a_machine_that_dies_without_syncs_cannot_make_a_new_cut_look_like_an_old_one() {
    let mut world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &scrape(2, 3, START)).await;
    // What another log of the same issuer has committed is not taken for ours, whatever became of our records.
    let before = world.files.kill();
    node.ingester.flush().await.unwrap();
    world.files = before;
    drop(node);
    let node = world.open().await;
    let mut again = scrape(2, 3, START + MINUTE);
    again.retain(|(labels, ..)| !labels.is_empty());
    node.accept(&mut truth, &again).await;
    node.ingester.flush().await.unwrap();
    let stored = node.stored(node.table_version().await).await;
    for key in truth.keys() {
        assert!(stored.contains_key(key), "{key:?}");
    }
}
