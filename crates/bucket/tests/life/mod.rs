//! A table that lives long: its log is cleaned, its files are vacuumed, and nobody who looks away is harmed.

use std::sync::Arc;
use std::time::Duration;

use block::Day;
use bucket::{
    Bucket, BucketError, Commit, Config, Deps, DirStore, LogTable, NewFile, Operation, Table, Txn, Vacuumed,
};
use bytes::Bytes;
use model::TenantId;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use runtime::{Clock, ManualClock, PromDuration};

use super::store::TestStore;
use super::{NOW, cut, first_path, paths, summary};

const DAY: Duration = Duration::from_secs(86_400);
const GRACE: PromDuration = PromDuration::secs(130);

/// A store, tables over it, and the time by which they go.
struct World {
    store: Arc<TestStore>,
    time: ManualClock,
    clock: Clock,
    config: Config,
}

impl World {
    fn new(config: Config) -> World {
        // The store in memory dates objects by the machine's clock.
        let (clock, time) = Clock::manual(Clock::system().now_ms());
        World { store: TestStore::new(), time, clock, config }
    }

    /// Another process.
    async fn bucket(&self) -> Arc<Bucket> {
        let deps = Deps { store: Arc::clone(&self.store) as _, clock: self.clock.clone() };
        Bucket::open(self.config.clone(), deps).await.unwrap()
    }

    async fn table(&self) -> Arc<LogTable> {
        self.bucket().await.table(&TenantId::anonymous(), Table::Metrics)
    }

    async fn objects(&self, folder: &str) -> Vec<String> {
        use futures::TryStreamExt as _;
        let folder = Path::from(format!("anonymous/metrics/{folder}"));
        let objects: Vec<_> = self.store.inner.list(Some(&folder)).try_collect().await.unwrap();
        let mut names: Vec<String> =
            objects.iter().map(|object| object.location.filename().unwrap().to_string()).collect();
        names.sort();
        names
    }
}

/// The same samples in another file.
fn swap(table: &LogTable, old: &str, sequence: i64) -> Commit {
    let mut commit = cut(table, 9, sequence);
    commit.removes = vec![old.to_string()];
    commit.operation = Operation::Optimize;
    commit
}

async fn uploaded(table: &LogTable, commit: &Commit) {
    table.upload(&commit.adds[0].0, b"rows".to_vec()).await.unwrap();
}

#[tokio::test]
async fn a_cleaned_log_has_no_hole_and_tells_the_same_table() {
    let world = World::new(Config { checkpoint_interval: 4, ..Config::default() });
    let table = world.table().await;
    for sequence in 1..=10 {
        table.commit(&cut(&table, 0, sequence)).await.unwrap();
    }
    assert_eq!(table.clean_log().await.unwrap(), 0, "nothing is old yet");
    world.time.advance(31 * DAY);
    // Versions 0 to 7 and the checkpoint of version 4 lie before the newest checkpoint, that of version 8.
    assert_eq!(table.clean_log().await.unwrap(), 9);
    assert_eq!(
        world.objects("_delta_log").await,
        [
            "00000000000000000008.checkpoint.parquet",
            "00000000000000000008.json",
            "00000000000000000009.json",
            "00000000000000000010.json",
            "_last_checkpoint",
        ]
    );
    assert_eq!(table.clean_log().await.unwrap(), 0);
    let again = world.table().await;
    assert_eq!(again.snapshot().await.unwrap().unwrap().n_files(), 10);
    again.commit(&cut(&again, 0, 11)).await.unwrap();
    assert_eq!(again.version_seen(), Some(11));
}

#[tokio::test]
async fn a_log_without_a_checkpoint_stays_as_it_is() {
    let world = World::new(Config::default());
    let table = world.table().await;
    table.commit(&cut(&table, 0, 1)).await.unwrap();
    world.time.advance(100 * DAY);
    assert_eq!(table.clean_log().await.unwrap(), 0);
    assert_eq!(world.objects("_delta_log").await.len(), 2);
}

#[tokio::test]
async fn who_looked_away_while_the_log_was_cleaned_neither_reads_nor_writes_into_the_past() {
    let world = World::new(Config { checkpoint_interval: 4, ..Config::default() });
    let (old, other) = (world.table().await, world.table().await);
    old.commit(&cut(&old, 0, 1)).await.unwrap();
    for sequence in 2..=9 {
        other.commit(&cut(&other, 1, sequence)).await.unwrap();
    }
    world.time.advance(31 * DAY);
    assert!(other.clean_log().await.unwrap() > 0);
    // The old one knows version 1, and version 2 is free again.
    assert_eq!(old.snapshot().await.unwrap().unwrap().n_files(), 9);
    let late = world.table().await;
    world.time.advance(31 * DAY);
    assert_eq!(late.commit(&cut(&late, 0, 2)).await.unwrap().version, 10);
    assert_eq!(old.commit(&cut(&old, 0, 3)).await.unwrap().version, 11);
}

#[tokio::test]
async fn vacuum_takes_removed_files_after_the_grace_and_no_earlier() {
    let world = World::new(Config::default());
    let table = world.table().await;
    let first = cut(&table, 0, 1);
    uploaded(&table, &first).await;
    table.commit(&first).await.unwrap();
    let second = swap(&table, first_path(&first), 1);
    uploaded(&table, &second).await;
    table.commit(&second).await.unwrap();
    world.time.advance(Duration::from_secs(120));
    assert_eq!(table.vacuum(GRACE).await.unwrap(), Vacuumed::default(), "a query may still read it");
    world.time.advance(Duration::from_secs(20));
    let taken = Vacuumed { n_removed: 1, n_orphans: 0, n_bytes: 4 };
    assert_eq!(table.vacuum(GRACE).await.unwrap(), taken);
    assert_eq!(table.vacuum(GRACE).await.unwrap(), Vacuumed::default());
    let left = world.objects("").await;
    assert!(left.iter().any(|name| first_path(&second).ends_with(name.as_str())), "{left:?}");
    let error = table.vacuum(PromDuration::secs(2 * 86_400)).await.unwrap_err();
    assert!(error.to_string().contains("longer than a day"), "{error}");
}

#[tokio::test]
async fn vacuum_takes_uploads_that_nobody_committed_and_spares_all_that_may_yet_be() {
    let world = World::new(Config::default());
    let table = world.table().await;
    table.commit(&cut(&table, 0, 1)).await.unwrap();
    let orphan = cut(&table, 0, 2);
    uploaded(&table, &orphan).await;
    for spared in ["_firn/side.idx", "day=2026-11-21/_tmp/x.parquet", "day=2026-11-21/part-0-spark.parquet"] {
        world.store.inner.put(&table.object(spared), b"x".to_vec().into()).await.unwrap();
    }
    world.time.advance(DAY - Duration::from_secs(60));
    assert_eq!(table.vacuum(GRACE).await.unwrap(), Vacuumed::default(), "it may still be committed");
    world.time.advance(Duration::from_secs(120));
    let young = cut(&table, 0, 3);
    uploaded(&table, &young).await;
    let taken = Vacuumed { n_removed: 0, n_orphans: 1, n_bytes: 4 };
    assert_eq!(table.vacuum(GRACE).await.unwrap(), taken);
    assert_eq!(world.objects("").await.iter().filter(|name| name.ends_with("parquet")).count(), 3);
    // And what vacuum has taken, or may take now, does not get into the table.
    let error = table.commit(&orphan).await.unwrap_err();
    assert!(matches!(error, BucketError::UploadTooOld { .. }), "{error}");
    table.commit(&young).await.unwrap();
}

#[tokio::test]
async fn transactions_and_tombstones_are_forgotten_when_nobody_can_need_them() {
    let world = World::new(Config { checkpoint_interval: 3, ..Config::default() });
    let table = world.table().await;
    let first = cut(&table, 0, 1);
    table.commit(&first).await.unwrap();
    table.commit(&swap(&table, first_path(&first), 1)).await.unwrap();
    world.time.advance(91 * DAY);
    let newest = cut(&table, 1, 1);
    table.commit(&newest).await.unwrap();
    for snapshot in [table.snapshot().await, world.table().await.snapshot().await] {
        let snapshot = snapshot.unwrap().unwrap();
        assert_eq!(snapshot.version(), 3);
        assert_eq!((snapshot.txn("0/4/test"), snapshot.txn("1/4/test")), (None, Some(1)));
        assert_eq!(snapshot.n_files(), 2);
    }
}

#[tokio::test]
async fn a_table_that_nobody_asks_for_is_let_go_and_costs_no_request() {
    let world = World::new(Config::default());
    let bucket = world.bucket().await;
    for n in 0..1000 {
        let tenant = TenantId::new(&format!("tenant-{n}")).unwrap();
        let table = bucket.table(&tenant, Table::Metrics);
        if n < 10 {
            table.commit(&cut(&table, 0, 1)).await.unwrap();
        }
    }
    assert_eq!(bucket.n_held(), 1000);
    let used = bucket.table(&TenantId::new("tenant-3").unwrap(), Table::Metrics);
    world.store.take_requests();
    world.time.advance(Duration::from_secs(2 * 3600));
    bucket.table(&TenantId::new("tenant-7").unwrap(), Table::Metrics);
    assert_eq!(bucket.n_held(), 2, "the one that is asked for and the one that is in use");
    assert_eq!(world.store.take_requests(), []);
    // Whoever comes back finds all of it.
    let back = bucket.table(&TenantId::new("tenant-5").unwrap(), Table::Metrics);
    assert_eq!(back.snapshot().await.unwrap().unwrap().n_files(), 1);
    assert_eq!(used.snapshot().await.unwrap().unwrap().n_files(), 1);
}

#[tokio::test]
async fn a_large_file_goes_up_in_parts_and_a_broken_one_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let stores: [Arc<dyn ObjectStore>; 2] = [TestStore::new(), DirStore::open(dir.path()).unwrap()];
    for store in stores {
        let deps = Deps { store: Arc::clone(&store), clock: Clock::manual(NOW).0 };
        let bucket = Bucket::open(Config::default(), deps).await.unwrap();
        let table = bucket.table(&TenantId::anonymous(), Table::Metrics);
        let file = table.new_file(Day::of(NOW));
        let mut writer = table.writer(&file);
        let mut expected = Vec::new();
        for n in 0..50u32 {
            let piece: Vec<u8> = (0..400_000u32).map(|i| (i.wrapping_mul(n + 1) >> 7) as u8).collect();
            writer.write(Bytes::from(piece.clone())).await.unwrap();
            expected.extend(piece);
        }
        assert_eq!(writer.finish().await.unwrap(), expected.len() as u64, "{store}");
        let object = table.object(&file.path);
        assert_eq!(store.get(&object).await.unwrap().bytes().await.unwrap(), expected, "{store}");

        let given_up: NewFile = table.new_file(Day::of(NOW));
        let mut writer = table.writer(&given_up);
        writer.write(Bytes::from(vec![1; 20 << 20])).await.unwrap();
        writer.abort().await;
        assert!(store.head(&table.object(&given_up.path)).await.is_err(), "{store}");
        let dropped: NewFile = table.new_file(Day::of(NOW));
        let mut writer = table.writer(&dropped);
        writer.write(Bytes::from(vec![1; 20 << 20])).await.unwrap();
        drop(writer);
        assert!(store.head(&table.object(&dropped.path)).await.is_err(), "{store}");
    }
    let folder = dir.path().join(format!("anonymous/metrics/day={}", Day::of(NOW)));
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1, "no litter");
}

#[tokio::test]
async fn a_table_of_a_hundred_thousand_files_takes_less_than_a_kilobyte_for_each() {
    let world = World::new(Config { checkpoint_interval: 1_000_000, ..Config::default() });
    let table = world.table().await;
    const FILES: i64 = 100_000;
    let mut adds = Vec::new();
    for _ in 0..FILES {
        let file = table.new_file(Day::of(NOW));
        let summary = summary(file.block);
        adds.push((file, 100, summary.into()));
    }
    let txns = vec![Txn { app_id: "0/4/test".to_string(), version: 1 }];
    table.commit(&Commit { adds, txns, ..Commit::default() }).await.unwrap();
    let loaded = world.table().await;
    let snapshot = loaded.snapshot().await.unwrap().unwrap();
    assert_eq!(paths(&snapshot).len() as i64, FILES);
    let bytes: usize = snapshot.files().map(|file| file.held_bytes()).sum();
    let each = bytes / FILES as usize;
    println!("{each} bytes for a file");
    assert!(each < 1000, "{each} bytes for a file");
}

#[tokio::test]
async fn of_many_who_wait_for_the_same_look_one_looks() {
    let world = World::new(Config::default());
    let table = world.table().await;
    table.commit(&cut(&table, 0, 1)).await.unwrap();
    world.time.advance(Duration::from_secs(11));
    world.store.take_requests();
    let looks = (0..20).map(|_| table.snapshot_at_least(None));
    for found in futures::future::join_all(looks).await {
        assert_eq!(found.unwrap().unwrap().version(), 1);
    }
    assert_eq!(world.store.take_requests().len(), 1);
}
