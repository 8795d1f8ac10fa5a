//! What a tenant and the memory allow.

use std::time::Duration;

use runtime::MemoryPart;
use wire::{PushError, RefusalReason};

use crate::world::{HOUR, MINUTE, START, Truth, World, floats_batch, labels, noisy_scrape, scrape, secs};

#[tokio::test]
async fn samples_too_far_ahead_or_behind_and_series_beyond_the_limit_are_refused_and_the_rest_is_kept() {
    let mut world = World::new();
    world.limits.out_of_order_window = secs(3600);
    world.limits.max_series = 2;
    let node = world.open().await;
    let now = START + HOUR;
    let mut truth = Truth::new();
    node.accept(&mut truth, &[(labels("a", 1), now, 1.0)]).await;
    let mixed = [
        (labels("b", 1), now, 1.0),
        (labels("a", 1), now - HOUR - 1, 1.0),
        (labels("a", 1), now + 10 * MINUTE + 1, 1.0),
        (labels("c", 1), now, 1.0),
    ];
    let pushed = node.push(&floats_batch(&mixed)).await.unwrap();
    assert_eq!(pushed.n_samples(), 1);
    let mut reasons: Vec<RefusalReason> = pushed.refused.iter().map(|refusal| refusal.reason).collect();
    reasons.sort_by_key(|reason| reason.as_str());
    assert_eq!(reasons, [RefusalReason::SeriesLimit, RefusalReason::TooFarInFuture, RefusalReason::TooOld]);
    crate::world::note(&mut truth, &mixed[..1]);
    node.check(&truth, "after the push").await;
    assert_eq!(node.metric("ingester_refused_samples_total"), 3.0);
}

#[tokio::test]
async fn one_metric_may_have_so_many_series_over_all_shards_and_after_a_restart() {
    let mut world = World::new();
    world.limits.max_series_per_metric = 3;
    let node = world.open().await;
    let mut truth = Truth::new();
    // Of ten targets, which lie in several shards, three have room, whichever come first.
    let of = |name: &str| (0..10).map(|target| (labels(name, target), START, 1.0)).collect::<Vec<_>>();
    for name in ["a", "b"] {
        let mut n_stored = 0;
        for one in of(name) {
            let pushed = node.push(&floats_batch(std::slice::from_ref(&one))).await.unwrap();
            if pushed.refused.is_empty() {
                crate::world::note(&mut truth, std::slice::from_ref(&one));
            } else {
                assert_eq!(pushed.refused[0].reason, RefusalReason::MetricSeriesLimit);
                let message = &pushed.refused[0].message;
                assert!(
                    message.contains("max_series_per_metric of 3") && message.contains(name),
                    "{message}"
                );
            }
            n_stored += pushed.n_floats;
        }
        assert_eq!(n_stored, 3, "{name}");
    }
    // All in one batch, whose shards are decided one after the other.
    let pushed = node.push(&floats_batch(&of("c"))).await.unwrap();
    assert_eq!((pushed.n_floats, pushed.n_refused()), (3, 7));
    let node = world.kill(node).await;
    let known: Vec<_> = truth.keys().map(|(labels, _)| (labels.clone(), START + 1, 2.0)).collect();
    let pushed = node.push(&floats_batch(&known)).await.unwrap();
    assert_eq!(pushed.n_refused(), 0, "known series go on");
    let pushed = node.push(&floats_batch(&of("b"))).await.unwrap();
    assert_eq!((pushed.n_floats, pushed.n_refused()), (3, 7), "the same three are there again, no other");
}

#[tokio::test]
async fn when_memory_is_short_pushes_are_refused_by_name_and_windows_are_cut_early() {
    let mut world = World::new();
    world.memory = MemoryPart::new("the head", 1 << 19);
    let mut node = world.open().await;
    let mut truth = Truth::new();
    let mut timestamp = START;
    let refused = loop {
        timestamp += 1000;
        let floats = noisy_scrape(4, 25, timestamp);
        match node.push(&floats_batch(&floats)).await {
            Ok(pushed) => {
                assert_eq!(pushed.refused, []);
                crate::world::note(&mut truth, &floats);
            }
            Err(e) => break e,
        }
    };
    assert!(matches!(refused, PushError::Unavailable { .. }));
    assert!(refused.to_string().contains("memory_limit"), "{refused}");
    node.flusher.tick().await;
    assert!(node.n_stored().await > 0, "a window was cut long before its end");
    node.accept(&mut truth, &noisy_scrape(4, 25, timestamp)).await;
    node.check(&truth, "after the early cut").await;
    node = world.kill(node).await;
    node.check(&truth, "after a kill").await;
}

#[tokio::test]
async fn a_log_that_grows_too_long_has_its_oldest_windows_cut() {
    let mut world = World::new();
    world.config.wal.max_bytes = 2 << 16;
    let node = world.open().await;
    let mut truth = Truth::new();
    for second in 0..180 {
        node.accept(&mut truth, &noisy_scrape(4, 25, START + second * 1000)).await;
    }
    assert_eq!(node.n_stored().await, 0);
    node.flusher.tick().await;
    assert!(node.n_stored().await > 0);
    assert!(node.metric("wal_size_bytes") < 3.0 * 65536.0);
    let n_records = node.metric("wal_appended_records_total");
    assert!(n_records >= 180.0, "{n_records}");
    assert_eq!(node.metric("ingester_last_commit_timestamp_seconds"), world.clock.now_ms() as f64 / 1000.0);
    let node = world.kill(node).await;
    assert!(node.metric("wal_size_bytes") > 0.0, "known before the first look at the windows");
    world.time.advance(Duration::from_secs(1));
    node.check(&truth, "after the cut").await;
}

#[tokio::test]
async fn a_memory_full_of_series_is_freed_and_takes_others() {
    let mut world = World::new();
    world.memory = MemoryPart::new("the head", 1 << 20);
    let node = world.open().await;
    let mut truth = Truth::new();
    let mut n_refused = 0;
    for target in 0..400 {
        let floats: Vec<_> = (0..20).map(|i| (labels(&format!("m{i}"), target), START, 1.0)).collect();
        while node.push(&floats_batch(&floats)).await.is_err() {
            n_refused += 1;
            assert!(n_refused < 400, "memory stays full");
            node.flusher.tick().await;
        }
        crate::world::note(&mut truth, &floats);
    }
    assert!(n_refused > 0);
    node.check(&truth, "at the end").await;
}

#[tokio::test]
async fn a_tenant_that_fell_silent_leaves_memory() {
    let world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &scrape(4, 25, START)).await;
    world.time.advance(Duration::from_secs(3 * 3600));
    node.flusher.tick().await;
    node.flusher.tick().await;
    assert_eq!(node.metric("ingester_series"), 0.0);
    node.check(&truth, "at the end").await;
}
