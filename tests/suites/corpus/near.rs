//! The store in one process and without a network.

use std::sync::Arc;

use bucket::Bucket;
use ingester::Ingester;
use limits::LimitsHandle;
use model::Shards;
use object_store::memory::InMemory;
use prometheus_client::registry::Registry;
use querier::Querier;
use runtime::{Clock, MemoryPart};
use scan::Scan;

use super::{FILES, Neighbours, Placement, Store, check, is_as_published};

const SHARDS: Shards = Shards { count: 4, spread: 1 };

/// Far enough in the future for every timestamp of the scripts.
const NOW_MS: i64 = 253_402_300_799_000;

fn check_near(place: &str, placement: Placement) {
    let score = check(&FILES, |file| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (clock, _) = Clock::manual(NOW_MS);
        let (ingester, querier) = runtime.block_on(open(dir.path(), clock));
        let neighbours = Neighbours {
            push: Arc::new(ingester.clone()),
            admin: Arc::new(ingester),
            query: Arc::new(querier),
            shards: SHARDS,
            runtime: Arc::new(runtime),
        };
        Store { _dir: Some(dir), ..Store::new(neighbours, placement, file) }
    });
    if let Some(score) = score {
        is_as_published(place, score);
    }
}

async fn open(dir: &std::path::Path, clock: Clock) -> (Ingester, Querier) {
    let mut registry = Registry::default();
    let deps = bucket::Deps { store: Arc::new(InMemory::new()), clock: clock.clone() };
    let bucket = Bucket::open(bucket::Config::default(), deps).await.unwrap();
    let deps = ingester::Deps {
        wal_dir: dir.join("wal"),
        files: Arc::new(wal::DiskFiles),
        bucket: Arc::clone(&bucket),
        shards: SHARDS.count,
        limits: LimitsHandle::default(),
        clock: clock.clone(),
        memory: MemoryPart::unlimited("head"),
        metrics: ingester::Metrics::default(),
    };
    let (ingester, _, _) = Ingester::open(ingester::Config::default(), deps).await.unwrap();
    let deps = scan::Deps { bucket, memory: MemoryPart::unlimited("cache"), clock: clock.clone() };
    let scan = Scan::open(scan::Config::default(), deps);
    let deps = querier::Deps {
        recent: Arc::new(ingester.clone()),
        stored: scan,
        limits: LimitsHandle::default(),
        memory: MemoryPart::unlimited("query"),
        max_waiting: 100,
        clock,
        registry: &mut registry,
    };
    (ingester, Querier::open(querier::Config::default(), deps))
}

#[test]
fn all_scripts_pass_over_the_head() {
    check_near("in memory", Placement::Head);
}

#[test]
fn all_scripts_pass_over_blocks() {
    check_near("in tables", Placement::Blocks);
}

#[test]
fn all_scripts_pass_split_by_time() {
    check_near("the first half of each series in tables", Placement::SplitByTime);
}

#[test]
fn all_scripts_pass_with_alternate_samples_in_blocks() {
    check_near("every other sample in tables", Placement::Alternate);
}
