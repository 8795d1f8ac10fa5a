//! Several compactors, and processes that die in the middle.

use std::sync::Arc;
use std::time::Duration;

use bucket::DirStore;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::world::{DAY, MINUTE, Truth, World, scraped, stored};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_compactions_of_the_same_files_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let stores: [Arc<dyn ObjectStore>; 2] = [Arc::new(InMemory::new()), DirStore::open(dir.path()).unwrap()];
    for store in stores {
        let world = World::over(store);
        let node = world.open().await;
        let mut truth = Truth::new();
        node.fill_day(&world, &mut truth).await;
        world.at_hour(26);
        let mut rounds = Vec::new();
        for _ in 0..4 {
            // Each has a bucket of its own, as another process has.
            let mut compactor = world.compactor(&world.bucket().await);
            rounds.push(runtime::spawn(async move { compactor.round().await.unwrap() }));
        }
        for round in rounds {
            round.await.unwrap();
        }
        assert_eq!(node.n_files().await, 1);
        assert_eq!(node.n_stored().await, truth.len() as u64, "nothing twice");
        node.check(&truth, "after the race").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_compactor_that_dies_anywhere_loses_nothing_and_another_goes_on() {
    let mut world = World::new();
    world.config.target_file_bytes = 1;
    let node = world.open().await;
    let mut truth = Truth::new();
    node.fill_day(&world, &mut truth).await;
    world.at_hour(26);
    let mut n_died = 0;
    for attempt in 0..25u64 {
        let mut compactor = world.compactor(&world.bucket().await);
        let life = Duration::from_micros(attempt * attempt * 100);
        n_died += usize::from(runtime::timeout(life, compactor.round()).await.is_none());
        drop(compactor);
        let reader = world.scan(&world.bucket().await);
        assert_eq!(stored(&reader, None).await, truth, "after {life:?}");
        // Something for the next one to do.
        node.push(&mut truth, &scraped(1, 2, DAY + attempt as i64 * MINUTE + 7)).await;
        node.flush().await;
        world.time.advance(Duration::from_secs(1800));
    }
    assert!(n_died > 5, "{n_died} of 25 died");
    let mut compactor = world.compactor(&world.bucket().await);
    world.time.advance(Duration::from_secs(2 * 86_400));
    compactor.round().await.unwrap();
    assert_eq!(node.n_stored().await, truth.len() as u64);
    node.check(&truth, "in the end").await;
}
