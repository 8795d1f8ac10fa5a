//! The log under the ingester: torn, flipped, released and replayed.

use std::path::PathBuf;

use crate::world::{
    HOUR, MINUTE, SHARDS, START, Sample, Truth, World, histogram, histograms_batch, labels, noisy_scrape,
    scrape, started_batch, tenant,
};

fn newest_segment(world: &World) -> (PathBuf, usize) {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wal");
    world.files.files().into_iter().rfind(|(path, _)| is_segment(path)).unwrap()
}

#[tokio::test]
async fn a_replay_gives_back_everything_with_every_bit() {
    let mut world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &scrape(5, 20, START)).await;
    let odd = [f64::NAN, -0.0, f64::INFINITY, f64::from_bits(model::STALE_NAN), 1e-300, 0.1];
    let odd: Vec<_> = odd.iter().enumerate().map(|(i, v)| (labels("odd", i), START + MINUTE, *v)).collect();
    node.accept(&mut truth, &odd).await;
    let started = [
        (labels("counter", 1), START, 5.0, START - 1000),
        (labels("counter", 1), START + MINUTE, 6.0, START - 1000),
        (labels("counter", 1), START + 2 * MINUTE, 1.0, START + MINUTE),
    ];
    node.push(&started_batch(&started)).await.unwrap();
    for (labels, timestamp, value, start) in started {
        truth.insert((labels, timestamp), Sample::Float { bits: value.to_bits(), start });
    }
    for minute in 0..3 {
        let sample = histogram(START + minute * MINUTE, 10 + minute as u64);
        let start = sample.start_timestamp;
        node.push(&histograms_batch(&[(labels("latency", 1), sample.clone())])).await.unwrap();
        let expected = Sample::Histogram { histogram: *sample.histogram, start };
        truth.insert((labels("latency", 1), sample.timestamp), expected);
    }
    node.check(&truth, "before").await;
    let node = world.kill(node).await;
    node.check(&truth, "after a kill").await;
    assert_eq!(node.metric("ingester_replay_samples_total"), truth.len() as f64);
    node.ingester.flush().await.unwrap();
    node.check(&truth, "after a flush").await;
    let node = world.kill(node).await;
    node.check(&truth, "after another kill").await;
}

#[tokio::test]
async fn segments_go_after_their_commit_and_series_stay_known() {
    let mut world = World::new();
    let mut node = world.open().await;
    let mut truth = Truth::new();
    world.time.set(START + 2 * HOUR);
    for minute in 0..60 {
        node.accept(&mut truth, &scrape(10, 50, START + minute * MINUTE)).await;
    }
    let has_first = || world.files.files().iter().any(|(path, _)| path.ends_with("00000000000000000001.wal"));
    assert!(has_first());
    node.ingester.flush().await.unwrap();
    assert!(!has_first());
    // The refs of these records were defined in segments that are gone.
    for minute in 60..70 {
        node.accept(&mut truth, &scrape(10, 50, START + minute * MINUTE)).await;
    }
    node = world.kill(node).await;
    assert_eq!(node.metric("ingester_replay_unknown_refs_total"), 0.0);
    node.check(&truth, "after a kill").await;
    for round in 0..3 {
        node.ingester.flush().await.unwrap();
        node.accept(&mut truth, &scrape(10, 50, START + (70 + round) * MINUTE)).await;
        node = world.kill(node).await;
        node.check(&truth, "after another kill").await;
    }
}

#[tokio::test]
async fn a_window_that_stays_open_keeps_its_segments_while_others_are_flushed() {
    let mut world = World::new();
    let mut node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &scrape(1, 1, START + HOUR)).await;
    for minute in 0..60 {
        node.accept(&mut truth, &noisy_scrape(4, 25, START - 4 * HOUR + minute * MINUTE)).await;
    }
    world.time.advance(std::time::Duration::from_secs(1200));
    node.flusher.tick().await;
    assert_eq!(node.n_stored().await, truth.len() - 1);
    node = world.kill(node).await;
    node.check(&truth, "after a kill").await;
}

#[tokio::test]
async fn a_log_torn_anywhere_keeps_every_whole_record() {
    let mut world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    for minute in 0..4 {
        node.accept(&mut truth, &scrape(1, 3, START + minute * MINUTE)).await;
    }
    let whole = world.files.kill();
    let (path, len) = newest_segment(&world);
    let mut sizes = Vec::new();
    for cut in (20..=len).rev() {
        world.files = whole.kill();
        world.files.damage(&path, |bytes| bytes.truncate(cut));
        let node = world.open().await;
        let (found, _) = node.recent().await;
        assert!(found.iter().all(|(key, sample)| truth.get(key) == Some(sample)), "torn at {cut}");
        sizes.push(found.len());
        node.accept(&mut found.clone(), &scrape(1, 3, START + 10 * MINUTE)).await;
    }
    sizes.dedup();
    assert_eq!(sizes, [12, 9, 6, 3, 0], "each request is on the log whole or not at all");
}

#[tokio::test]
async fn a_flipped_bit_costs_the_samples_of_one_record_and_is_counted() {
    let mut world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    for minute in 0..5 {
        node.accept(&mut truth, &scrape(1, 3, START + minute * MINUTE)).await;
    }
    let whole = world.files.kill();
    let (path, len) = newest_segment(&world);
    for byte in (20..len).step_by(7) {
        world.files = whole.kill();
        world.files.damage(&path, |bytes| bytes[byte] ^= 0x10);
        let node = world.open().await;
        let (found, _) = node.recent().await;
        assert!(found.iter().all(|(key, sample)| truth.get(key) == Some(sample)), "byte {byte}");
        let counted = node.metric("ingester_replay_corrupt_records_total")
            + f64::from(node.metric("ingester_replay_torn_bytes_total") > 0.0);
        assert_eq!(counted, 1.0, "byte {byte}");
        let lost_definitions = node.metric("ingester_replay_unknown_refs_total") > 0.0;
        assert_eq!(found.len(), if lost_definitions { 0 } else { 12 }, "byte {byte}");
    }
}

#[tokio::test]
async fn another_number_of_shards_finds_what_was_cut_under_the_old_one() {
    let mut world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &scrape(6, 3, START)).await;
    let series = labels("m0", 0);
    let shard = model::shard_of(&tenant(), series.run(), SHARDS);
    // The same series now falls into another shard.
    let mut batch = crate::world::floats_batch(&[(series.clone(), START + MINUTE, 7.0)]);
    batch.shards[0].shard = (shard + 1) % SHARDS.count;
    node.push(&batch).await.unwrap();
    crate::world::note(&mut truth, &[(series, START + MINUTE, 7.0)]);
    node.check(&truth, "before").await;
    node.ingester.flush().await.unwrap();
    node.check(&truth, "after the flush").await;
    let node = world.kill(node).await;
    node.check(&truth, "after a kill").await;
}
