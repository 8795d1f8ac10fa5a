//! Random histories: pushes, late samples, flushes, ticks, faults and deaths in any order.

use std::time::Duration;

use testkit::store::{Fault, On};

use crate::world::{HOUR, MINUTE, Node, START, Truth, World, labels, note};
use ingester::SyncMode;

/// Numbers that look random and come again with their seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

async fn push(node: &Node, truth: &mut Truth, dice: &mut Dice, now: i64) {
    let n = 1 + dice.roll(40);
    let mut floats = Vec::new();
    for _ in 0..n {
        let age = if dice.roll(4) == 0 { dice.roll(8 * HOUR as u64) as i64 } else { 0 };
        let at = (now - age) / 15_000 * 15_000;
        let series = labels(&format!("m{}", dice.roll(5)), dice.roll(12) as usize);
        // The value follows from series and time, so that a repetition is one.
        let value = (at / 15_000 % 977) as f64 / 8.0 + series.run().len() as f64;
        floats.push((series, at, value));
    }
    floats.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    floats.dedup_by(|a, b| a.0 == b.0 && a.1 == b.1);
    let pushed = node.push(&crate::world::floats_batch(&floats)).await.unwrap();
    assert_eq!(pushed.refused, Vec::new());
    note(truth, &floats);
}

async fn live(seed: u64, sync: SyncMode) {
    let mut dice = Dice(seed);
    let mut world = World::new();
    world.config.wal.sync = sync;
    world.config.wal.segment_bytes = 1 << 16;
    let mut node = world.open().await;
    let mut truth = Truth::new();
    for step in 0..80 {
        let when = format!("seed {seed}, step {step}");
        let now = world.clock.now_ms();
        match dice.roll(20) {
            0..=9 => push(&node, &mut truth, &mut dice, now).await,
            10..=12 => world.time.advance(Duration::from_millis(dice.roll(40 * MINUTE as u64))),
            13..=14 => node.flusher.tick().await,
            15 => {
                let _may_fail = node.ingester.flush().await;
            }
            16 => {
                let on = [On::Put(".parquet"), On::Put(".json"), On::Everything][dice.roll(3) as usize];
                let fault = [Fault::Refuse, Fault::LoseAnswer][dice.roll(2) as usize];
                world.store.fail(on, fault, Some(1 + dice.roll(8) as usize));
            }
            17 => flush_and_die(&mut world, &mut dice, &node).await,
            _ => {
                world.store.heal();
                node = match sync {
                    SyncMode::Always if dice.roll(2) == 0 => world.crash(node).await,
                    _ => world.kill(node).await,
                };
                check(&node, &truth, &when).await;
            }
        }
    }
    world.store.heal();
    world.time.advance(Duration::from_secs(60));
    node.ingester.flush().await.unwrap();
    check(&node, &truth, &format!("seed {seed}, at the end")).await;
    assert_eq!(node.stored(node.table_version().await).await, truth, "seed {seed}");
    assert!(START < world.clock.now_ms());
}

/// A flush that is cut short while the store stalls, before or after it did what it was asked.
async fn flush_and_die(world: &mut World, dice: &mut Dice, node: &Node) {
    let on = [On::Put(".parquet"), On::Put(".json")][dice.roll(2) as usize];
    let fault = [Fault::Stall, Fault::StallAfter][dice.roll(2) as usize];
    world.store.heal();
    let faults_before = world.store.n_faults();
    world.store.fail(on, fault, None);
    let ingester = node.ingester.clone();
    let flush = tokio::spawn(async move { ingester.flush().await });
    while world.store.n_faults() == faults_before && !flush.is_finished() {
        tokio::task::yield_now().await;
    }
    flush.abort();
    let _gone = flush.await;
    world.store.heal();
}

async fn check(node: &Node, truth: &Truth, when: &str) {
    let (recent, version) = node.recent().await;
    let mut found = node.stored(version).await;
    for (key, sample) in recent {
        let twice = found.insert(key.clone(), sample.clone());
        assert!(twice.is_none_or(|stored| stored == sample), "{when}: {key:?}");
    }
    for (key, sample) in truth {
        assert_eq!(found.get(key), Some(sample), "{when}: {key:?} is lost");
    }
    assert_eq!(found.len(), truth.len(), "{when}");
}

#[tokio::test]
async fn no_history_of_kills_and_faults_loses_what_was_acknowledged() {
    for seed in 0..12 {
        live(seed, SyncMode::Never).await;
    }
}

#[tokio::test]
async fn no_history_of_machine_deaths_loses_what_was_acknowledged_and_synced() {
    for seed in 1000..1006 {
        live(seed, SyncMode::Always).await;
    }
}
