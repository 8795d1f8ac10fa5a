//! A cut that does not fit the bound of a file: several files, one commit, nothing twice.

use std::collections::BTreeSet;

use bucket::Table;
use model::Labels;
use runtime::MemoryPart;
use testkit::store::{Fault, On};

use crate::world::{MINUTE, Node, START, Truth, World, exemplars_batch, tenant};

/// A file may take an eighth of it.
const HEAD_BYTES: u64 = 8 << 20;
const SERIES: usize = 3000;

fn world() -> World {
    let mut world = World::new();
    world.memory = MemoryPart::new("head", HEAD_BYTES);
    world
}

/// Series with a label of 1,000 bytes that no other has and that does not compress well.
fn long_labels(i: usize) -> Labels {
    let mut state = i as u64 + 1;
    let mut digits = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:010x}", state >> 24)
    };
    let unique: String = (0..100).map(|_| digits()).collect();
    Labels::from_pairs([("__name__", "long"), ("job", "j"), ("unique", unique.as_str())])
}

async fn fill(node: &Node, truth: &mut Truth) {
    let floats: Vec<_> = (0..SERIES).map(|i| (long_labels(i), START + (i % 7) as i64, i as f64)).collect();
    for part in floats.chunks(500) {
        node.accept(truth, part).await;
    }
}

/// Samples by file, of one commit; the files are a run from 0 on.
async fn files(node: &Node, table: Table) -> Vec<String> {
    let tag = if table == Table::Metrics { "firn.samples" } else { "firn.exemplars" };
    let snapshot = node.bucket.table(&tenant(), table).snapshot().await.unwrap().unwrap();
    let mut places: Vec<_> = snapshot.files().map(|file| file.run()).collect();
    places.sort();
    if places.len() > 1 {
        let runs: BTreeSet<String> = places.iter().flatten().map(|tag| tag.run.clone()).collect();
        assert_eq!(runs.len(), 1, "one run: {places:?}");
        let numbers: Vec<u32> = places.iter().flatten().map(|tag| tag.place).collect();
        assert_eq!(numbers, (0..places.len() as u32).collect::<Vec<_>>());
    }
    snapshot.files().map(|file| file.tag(tag).unwrap().to_string()).collect()
}

#[tokio::test]
async fn a_cut_of_long_labels_becomes_several_files_in_one_commit() {
    let mut world = world();
    let node = world.open().await;
    let mut truth = Truth::new();
    fill(&node, &mut truth).await;
    node.ingester.flush().await.unwrap();
    let samples = files(&node, Table::Metrics).await;
    assert!(samples.len() > 2, "{samples:?}");
    assert_eq!(samples.iter().map(|n| n.parse::<usize>().unwrap()).sum::<usize>(), SERIES);
    assert_eq!(node.table_version().await, Some(1), "version 0 makes the table, one more brings the cut");
    assert_eq!(node.recent().await.0.len(), 0, "nothing is left in the head");
    node.check(&truth, "after the flush").await;
    let node = world.kill(node).await;
    node.check(&truth, "after a kill").await;
}

#[tokio::test]
async fn a_cut_of_short_labels_is_one_file() {
    let world = world();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &crate::world::scrape(20, 20, START)).await;
    node.ingester.flush().await.unwrap();
    assert_eq!(files(&node, Table::Metrics).await, ["400"]);
}

#[tokio::test]
async fn a_store_that_fails_between_two_files_of_a_cut_has_them_all_once_afterwards() {
    for (suffix, fault) in
        [(".parquet", Fault::Refuse), (".parquet", Fault::LoseAnswer), (".json", Fault::LoseAnswer)]
    {
        let when = format!("{suffix} {fault:?}");
        let mut world = world();
        let node = world.open().await;
        let mut truth = Truth::new();
        fill(&node, &mut truth).await;
        let puts = world.store.n_puts();
        let flush = {
            let ingester = node.ingester.clone();
            tokio::spawn(async move { ingester.flush().await })
        };
        while world.store.n_puts() == puts {
            tokio::task::yield_now().await;
        }
        world.store.fail(On::Put(suffix), fault, None);
        // What got there without an answer is found there or written anew.
        let flushed = flush.await.unwrap();
        assert!(world.store.n_faults() > 0, "{when}: nothing went wrong");
        assert!(flushed.is_err(), "{when}: a flush that failed is said to have come through");
        world.store.heal();
        node.check(&truth, &when).await;
        let node = world.kill(node).await;
        node.ingester.flush().await.unwrap();
        assert_eq!(node.n_stored().await, SERIES, "{when}");
        node.check(&truth, &when).await;
    }
}

#[tokio::test]
async fn exemplars_of_series_with_long_labels_become_several_files_too() {
    let world = world();
    let node = world.open().await;
    let example = |i: usize| (long_labels(i), START + MINUTE, i as f64, format!("{i:032x}"));
    let exemplars: Vec<_> = (0..SERIES).map(example).collect();
    for part in exemplars.chunks(500) {
        node.push(&exemplars_batch(part)).await.unwrap();
    }
    node.ingester.flush().await.unwrap();
    let rows = files(&node, Table::Exemplars).await;
    assert!(rows.len() > 1, "{rows:?}");
    assert_eq!(rows.iter().map(|n| n.parse::<usize>().unwrap()).sum::<usize>(), SERIES);
}
