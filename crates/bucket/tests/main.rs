//! The log of a table: commits against each other, against a failing store, against garbage.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod deletes;
mod life;
mod store;

use std::sync::Arc;
use std::time::Duration;

use block::{BlockSummary, Day};
use bucket::{
    Bucket, BucketError, Commit, Committed, Config, Deps, DirStore, LogTable, NewFile, Operation, Snapshot,
    Table, Txn,
};
use futures::StreamExt as _;
use model::TenantId;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use proptest::prelude::*;
use runtime::Clock;
use store::{PutFault, TestStore};

const NOW: i64 = 1_795_255_485_000;

async fn open(store: &Arc<TestStore>) -> Arc<LogTable> {
    open_with(store, Config::default()).await
}

async fn open_with(store: &Arc<TestStore>, config: Config) -> Arc<LogTable> {
    let store: Arc<dyn ObjectStore> = Arc::clone(store) as _;
    let deps = Deps { store, clock: Clock::manual(NOW).0 };
    let bucket = Bucket::open(config, deps).await.unwrap();
    bucket.table(&TenantId::anonymous(), Table::Metrics)
}

fn summary(block: i64) -> BlockSummary {
    BlockSummary {
        block,
        day: Day::of(NOW),
        n_rows: 3,
        n_series_rows: 1,
        n_series: 1,
        n_samples: 10,
        min_time: NOW,
        max_time: NOW + 1000,
        metrics: Some(("a".to_string(), "b".to_string())),
        n_metric_nulls: 2,
        shards: vec![0],
    }
}

fn cut(table: &LogTable, shard: u32, sequence: i64) -> Commit {
    let file = table.new_file(Day::of(NOW));
    let summary = summary(file.block);
    let txns = vec![Txn { app_id: format!("{shard}/4/test"), version: sequence }];
    Commit { adds: vec![(file, 100, summary.into())], txns, ..Commit::default() }
}

fn paths(snapshot: &Snapshot) -> Vec<String> {
    snapshot.files().map(|file| file.path.clone()).collect()
}

fn first_path(commit: &Commit) -> &str {
    let file: &NewFile = &commit.adds[0].0;
    &file.path
}

async fn reload(store: &Arc<TestStore>) -> Arc<Snapshot> {
    open(store).await.snapshot().await.unwrap().unwrap()
}

#[tokio::test]
async fn a_table_comes_to_be_with_its_first_commit() {
    let store = TestStore::new();
    let table = open(&store).await;
    assert_eq!(table.version_seen(), None);
    assert!(table.snapshot().await.unwrap().is_none());
    let commit = cut(&table, 0, 1);
    assert_eq!(table.commit(&commit).await.unwrap(), Committed { version: 1, already: false });
    assert_eq!(table.version_seen(), Some(1));
    let again = reload(&store).await;
    assert_eq!(again.version(), 1);
    let file = again.file(first_path(&commit)).unwrap();
    assert_eq!((file.stats.min_time, file.stats.max_time), (Some(NOW), Some(NOW + 1000)));
    assert_eq!(file.stats.max_metric.as_deref(), Some("b"));
    assert_eq!(file.tag("firn.shards"), Some("0"));
    assert_eq!(file.day, Some(Day::of(NOW)));
    assert_eq!(again.txn("0/4/test"), Some(1));
}

#[tokio::test]
async fn an_idle_look_costs_one_request_and_an_uncontended_commit_one_put() {
    let store = TestStore::new();
    let table = open(&store).await;
    table.commit(&cut(&table, 0, 1)).await.unwrap();
    store.take_requests();
    table.snapshot().await.unwrap();
    let requests = store.take_requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    table.commit(&cut(&table, 0, 2)).await.unwrap();
    let requests = store.take_requests();
    assert_eq!((requests.len(), requests[0].verb), (1, "put"), "{requests:?}");
    table.snapshot_at_least(Some(2)).await.unwrap();
    assert_eq!(store.take_requests(), []);
}

#[tokio::test]
async fn a_repeated_cut_commits_nothing() {
    let store = TestStore::new();
    let table = open(&store).await;
    let first = cut(&table, 0, 7);
    table.commit(&first).await.unwrap();
    // The same commit, as after a lost answer.
    assert_eq!(table.commit(&first).await.unwrap(), Committed { version: 1, already: false });
    // The same cut in another file, as after a restart.
    let other = open(&store).await;
    let second = cut(&other, 0, 7);
    assert_eq!(other.commit(&second).await.unwrap(), Committed { version: 1, already: true });
    assert_eq!(paths(&*reload(&store).await), [first_path(&first)]);
}

#[tokio::test]
async fn a_commit_of_which_a_part_is_there_says_which() {
    let store = TestStore::new();
    let table = open(&store).await;
    table.commit(&cut(&table, 0, 1)).await.unwrap();
    let mut both = cut(&table, 0, 1);
    both.txns.push(Txn { app_id: "1/4/test".to_string(), version: 1 });
    let error = table.commit(&both).await.unwrap_err();
    assert!(matches!(error, BucketError::PartlyCommitted { present } if present == both.txns[..1]));
}

#[tokio::test]
async fn sixteen_writers_lose_nothing_and_duplicate_nothing() {
    let store = TestStore::new();
    let mut writers = Vec::new();
    for shard in 0..16 {
        // Each its own process, as it were; the table is created by all of them at once.
        let table = open(&store).await;
        writers.push(tokio::spawn(async move {
            let mut done = Vec::new();
            for sequence in 1..=10 {
                let commit = cut(&table, shard, sequence);
                let committed = table.commit(&commit).await.unwrap();
                assert!(!committed.already);
                done.push(first_path(&commit).to_string());
            }
            done
        }));
    }
    let mut expected = Vec::new();
    for writer in writers {
        expected.extend(writer.await.unwrap());
    }
    expected.sort();
    let end = reload(&store).await;
    assert_eq!(paths(&end), expected);
    assert_eq!(end.version(), 160, "one creation and one version per commit");
    let puts = store.take_requests().iter().filter(|request| request.path.ends_with(".json")).count();
    assert!(puts > 500, "the writers did compete: {puts}");
    for shard in 0..16 {
        assert_eq!(end.txn(&format!("{shard}/4/test")), Some(10));
    }
}

#[tokio::test]
async fn whatever_the_store_answers_a_commit_is_there_once() {
    use PutFault::{Busy, LostAnswer, Refused, RepeatedByClient};
    for faults in [
        vec![LostAnswer],
        vec![RepeatedByClient],
        vec![Refused, Refused],
        vec![Busy, Busy, Busy],
        vec![Refused, LostAnswer],
        vec![Busy, RepeatedByClient],
    ] {
        let store = TestStore::new();
        let table = open(&store).await;
        table.commit(&cut(&table, 0, 1)).await.unwrap();
        *store.faults.lock().unwrap() = faults.clone().into();
        let commit = cut(&table, 0, 2);
        let committed = table.commit(&commit).await.unwrap();
        assert_eq!(committed, Committed { version: 2, already: false }, "{faults:?}");
        let end = reload(&store).await;
        assert_eq!((end.version(), end.n_files()), (2, 2), "{faults:?}");
    }
}

#[tokio::test]
async fn a_store_that_stays_away_is_an_error_and_the_commit_can_be_repeated() {
    let store = TestStore::new();
    let table = open(&store).await;
    table.commit(&cut(&table, 0, 1)).await.unwrap();
    *store.faults.lock().unwrap() = vec![PutFault::Refused; 5].into();
    let commit = cut(&table, 0, 2);
    assert!(matches!(table.commit(&commit).await, Err(BucketError::Unavailable { .. })));
    assert_eq!(table.commit(&commit).await.unwrap(), Committed { version: 2, already: false });
}

#[tokio::test]
async fn a_swap_whose_input_is_gone_is_refused() {
    let store = TestStore::new();
    let (one, two) = (open(&store).await, open(&store).await);
    let input = cut(&one, 0, 1);
    one.commit(&input).await.unwrap();
    two.snapshot().await.unwrap();
    let swap = |table: &LogTable| {
        let file = table.new_file(Day::of(NOW));
        let summary = summary(file.block);
        let removes = vec![first_path(&input).to_string()];
        Commit {
            adds: vec![(file, 1, summary.into())],
            removes,
            operation: Operation::Optimize,
            ..Commit::default()
        }
    };
    let winner = swap(&one);
    one.commit(&winner).await.unwrap();
    let error = two.commit(&swap(&two)).await.unwrap_err();
    assert!(matches!(error, BucketError::InputGone(path) if path == first_path(&input)));
    assert_eq!(paths(&*reload(&store).await), [first_path(&winner)]);
}

#[tokio::test]
async fn a_table_loads_alike_from_its_checkpoint_and_from_its_commits() {
    let store = TestStore::new();
    let config = Config { checkpoint_interval: 8, ..Config::default() };
    let table = open_with(&store, config).await;
    let mut last = cut(&table, 0, 1);
    table.commit(&last).await.unwrap();
    for sequence in 2..=20 {
        let mut commit = cut(&table, sequence as u32 % 4, sequence);
        if sequence % 5 == 0 {
            commit.removes.push(first_path(&last).to_string());
        }
        table.commit(&commit).await.unwrap();
        last = commit;
    }
    let held = table.snapshot().await.unwrap().unwrap();
    let from_checkpoint = reload(&store).await;
    assert_eq!(from_checkpoint.version(), 20);
    assert_same(&from_checkpoint, &held);
    let log = Path::from("anonymous/metrics/_delta_log");
    let pointer =
        store.inner.get(&log.clone().join("_last_checkpoint")).await.unwrap().bytes().await.unwrap();
    let pointer: serde_json::Value = serde_json::from_slice(&pointer).unwrap();
    assert_eq!(pointer["version"], 16);
    // Spark with Delta reads the schema from here; it fails on some pairs of their versions without it.
    let actions =
        pointer["checkpointSchema"]["fields"].as_array().unwrap().iter().map(|field| &field["name"]);
    assert_eq!(actions.collect::<Vec<_>>(), ["txn", "add", "remove", "metaData", "protocol"]);
    // Without the pointer the checkpoint is found by listing; without older commits it is all there is.
    store.inner.delete(&log.clone().join("_last_checkpoint")).await.unwrap();
    for version in 0..16 {
        store.inner.delete(&log.clone().join(format!("{version:020}.json"))).await.unwrap();
    }
    assert_same(&*reload(&store).await, &held);
    // A pointer to what is not there does not matter either.
    store
        .inner
        .put(&log.clone().join("_last_checkpoint"), b"{\"version\":99}".to_vec().into())
        .await
        .unwrap();
    assert_same(&*reload(&store).await, &held);
}

fn assert_same(a: &Snapshot, b: &Snapshot) {
    assert_eq!(a.version(), b.version());
    assert_eq!(paths(a), paths(b));
    for (left, right) in a.files().zip(b.files()) {
        assert_eq!((&left.stats, left.size, left.day), (&right.stats, right.size, right.day));
        assert_eq!(left.tag("firn.block"), right.tag("firn.block"));
    }
    for shard in 0..4 {
        let app_id = format!("{shard}/4/test");
        assert_eq!(a.txn(&app_id), b.txn(&app_id));
    }
}

#[tokio::test]
async fn a_snapshot_unconfirmed_for_long_is_loaded_anew_so_that_no_commit_falls_into_a_hole() {
    let store = TestStore::new();
    let (clock, time) = Clock::manual(NOW);
    let deps = Deps { store: Arc::clone(&store) as _, clock };
    let config = Config { checkpoint_interval: 4, ..Config::default() };
    let old = Bucket::open(config.clone(), deps).await.unwrap();
    let old = old.table(&TenantId::anonymous(), Table::Metrics);
    old.commit(&cut(&old, 0, 1)).await.unwrap();
    let other = open_with(&store, config).await;
    for sequence in 2..=9 {
        other.commit(&cut(&other, 1, sequence)).await.unwrap();
    }
    // Clean-up takes what lies before the checkpoint, version 2 among it.
    for version in 0..8 {
        let path = Path::from(format!("anonymous/metrics/_delta_log/{version:020}.json"));
        store.inner.delete(&path).await.unwrap();
    }
    time.advance(Duration::from_secs(20 * 86_400));
    let committed = old.commit(&cut(&old, 0, 2)).await.unwrap();
    assert_eq!(committed.version, 10);
    assert_eq!(reload(&store).await.n_files(), 10);
}

#[tokio::test]
async fn what_we_do_not_understand_is_refused_by_name() {
    let log = "anonymous/metrics/_delta_log/00000000000000000000.json";
    let meta = r#"{"metaData":{"id":"x","format":{"provider":"parquet"},"schemaString":"{}","partitionColumns":[],"configuration":{CONF}}}"#;
    let protocol = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#;
    let check = async |text: String, want: &str| {
        let store = TestStore::new();
        let table = open(&store).await;
        store.inner.put(&Path::from(log), text.into_bytes().into()).await.unwrap();
        let message = table.snapshot().await.unwrap_err().to_string();
        assert!(message.contains(want), "{message}");
    };
    let plain = meta.replace("CONF", "");
    check(format!("{}\n{plain}", protocol.replace('1', "2")), "reader version 2").await;
    check(format!("{}\n{plain}", protocol.replace("2}", "7}")), "writer version 7").await;
    let mapped = meta.replace("CONF", r#""delta.columnMapping.mode":"name""#);
    check(format!("{protocol}\n{mapped}"), "delta.columnMapping.mode = name").await;
    let add = r#"{"add":{"path":"p","size":1,"modificationTime":1,"dataChange":true,"deletionVector":{}}}"#;
    check(format!("{protocol}\n{plain}\n{add}"), "a deletion vector").await;
    let outside = r#"{"add":{"path":"s3://x/p","size":1,"modificationTime":1,"dataChange":true}}"#;
    check(format!("{protocol}\n{plain}\n{outside}"), "a file outside the table").await;
    check(protocol.to_string(), "protocol or metaData is missing").await;
}

#[tokio::test]
async fn an_unknown_action_and_a_foreign_field_are_passed_over() {
    let store = TestStore::new();
    let table = open(&store).await;
    table.commit(&cut(&table, 0, 1)).await.unwrap();
    let foreign = r#"{"commitInfo":{"engineInfo":"Apache-Spark"}}
{"add":{"path":"day=2026-11-21/a%20b.parquet","partitionValues":{"day":"2026-11-21"},"size":5,"modificationTime":1,"dataChange":true,"stats":"{","extra":[1]}}
{"unheardOf":{"x":1}}
"#;
    let path = Path::from("anonymous/metrics/_delta_log/00000000000000000002.json");
    store.inner.put(&path, foreign.as_bytes().to_vec().into()).await.unwrap();
    let snapshot = table.snapshot().await.unwrap().unwrap();
    let file = snapshot.file("day=2026-11-21/a b.parquet").unwrap();
    assert_eq!(file.stats, bucket::FileStats::default());
}

#[tokio::test]
async fn tenants_are_those_that_have_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirStore::open(dir.path()).unwrap();
    let deps = Deps { store, clock: Clock::manual(NOW).0 };
    let bucket = Bucket::open(Config::default(), deps).await.unwrap();
    assert_eq!(bucket.tenants().await.unwrap(), []);
    let mut tenants: Vec<TenantId> =
        ["a", "b.c", "x*!'()", "_d"].iter().map(|id| TenantId::new(id).unwrap()).collect();
    for tenant in &tenants {
        let table = bucket.table(tenant, Table::Metrics);
        table.commit(&cut(&table, 0, 1)).await.unwrap();
    }
    tenants.sort();
    assert_eq!(bucket.tenants().await.unwrap(), tenants);
}

#[tokio::test]
async fn a_folder_holds_a_table_through_restarts_and_ignores_litter() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("anonymous/metrics/_delta_log");
    for round in 1..=3 {
        let store = DirStore::open(dir.path()).unwrap();
        let deps = Deps { store, clock: Clock::manual(NOW).0 };
        let bucket = Bucket::open(Config::default(), deps).await.unwrap();
        let table = bucket.table(&TenantId::anonymous(), Table::Metrics);
        let commit = cut(&table, 0, round);
        table.upload(&commit.adds[0].0, b"bytes".to_vec()).await.unwrap();
        table.commit(&commit).await.unwrap();
        assert_eq!(table.snapshot().await.unwrap().unwrap().n_files() as i64, round);
        // A writer died between staging and linking.
        std::fs::write(log.join("00000000000000000009.json#42"), b"torn").unwrap();
    }
    let leftovers: Vec<_> = std::fs::read_dir(&log)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().contains('#') && !name.to_string_lossy().ends_with("#42"))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

#[tokio::test]
async fn a_store_without_conditional_puts_is_refused() {
    #[derive(Debug)]
    struct Careless(object_store::memory::InMemory);
    impl std::fmt::Display for Careless {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Careless")
        }
    }
    #[async_trait::async_trait]
    impl ObjectStore for Careless {
        async fn put_opts(
            &self,
            location: &Path,
            payload: object_store::PutPayload,
            _: object_store::PutOptions,
        ) -> object_store::Result<object_store::PutResult> {
            self.0.put(location, payload).await
        }
        async fn put_multipart_opts(
            &self,
            location: &Path,
            opts: object_store::PutMultipartOptions,
        ) -> object_store::Result<Box<dyn object_store::MultipartUpload>> {
            self.0.put_multipart_opts(location, opts).await
        }
        async fn get_opts(
            &self,
            location: &Path,
            options: object_store::GetOptions,
        ) -> object_store::Result<object_store::GetResult> {
            self.0.get_opts(location, options).await
        }
        fn delete_stream(
            &self,
            locations: futures::stream::BoxStream<'static, object_store::Result<Path>>,
        ) -> futures::stream::BoxStream<'static, object_store::Result<Path>> {
            self.0.delete_stream(locations)
        }
        fn list(
            &self,
            prefix: Option<&Path>,
        ) -> futures::stream::BoxStream<'static, object_store::Result<object_store::ObjectMeta>> {
            self.0.list(prefix)
        }
        async fn list_with_delimiter(
            &self,
            prefix: Option<&Path>,
        ) -> object_store::Result<object_store::ListResult> {
            self.0.list_with_delimiter(prefix).await
        }
        async fn copy_opts(
            &self,
            from: &Path,
            to: &Path,
            options: object_store::CopyOptions,
        ) -> object_store::Result<()> {
            self.0.copy_opts(from, to, options).await
        }
    }
    let store = Arc::new(Careless(object_store::memory::InMemory::new()));
    let deps = Deps { store, clock: Clock::system() };
    let outcome = Bucket::open(Config::default(), deps).await;
    let error = outcome.unwrap_err();
    assert!(matches!(&error, BucketError::Unfit { store, .. } if store == "Careless"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_in_the_log_is_an_error_and_never_a_panic(
        name in prop_oneof![
            Just("00000000000000000002.json"),
            Just("00000000000000000002.checkpoint.parquet"),
            Just("_last_checkpoint"),
        ],
        cut_at in 0usize..2000,
        noise in prop::collection::vec(any::<u8>(), 0..64),
        real in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = TestStore::new();
            let table = open_with(&store, Config { checkpoint_interval: 2, ..Config::default() }).await;
            table.commit(&cut(&table, 0, 1)).await.unwrap();
            table.commit(&cut(&table, 0, 2)).await.unwrap();
            let path = Path::from(format!("anonymous/metrics/_delta_log/{name}"));
            let mut bytes = store.inner.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
            if !real {
                bytes.clear();
            }
            let at = cut_at.min(bytes.len());
            let end = (at + noise.len()).min(bytes.len());
            bytes.splice(at..end, noise.iter().copied());
            store.inner.put(&path, bytes.into()).await.unwrap();
            let table = open(&store).await;
            let _outcome = table.snapshot().await;
            let _outcome = table.commit(&cut(&table, 0, 3)).await;
        });
    }
}

#[tokio::test]
async fn what_is_asked_of_the_store_is_counted_by_operation_and_outcome() {
    let store = TestStore::new();
    let deps = Deps { store: Arc::clone(&store) as Arc<dyn ObjectStore>, clock: Clock::manual(NOW).0 };
    let bucket = Bucket::open(Config::default(), deps).await.unwrap();
    let mut registry = Registry::default();
    bucket.register(&mut registry);
    let metric = |name: &str| -> f64 {
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or(0.0)
    };
    let puts = |outcome: &str| {
        let labels = format!("{{operation=\"put if absent\",outcome=\"{outcome}\"}}");
        metric(&format!("store_request_duration_seconds_count{labels}"))
    };
    let before = (puts("done"), puts("failed"), metric("store_written_bytes_total"));
    let table = bucket.table(&TenantId::anonymous(), Table::Metrics);
    table.commit(&cut(&table, 0, 1)).await.unwrap();
    // The table's first version, and the commit.
    assert_eq!((puts("done"), puts("failed")), (before.0 + 2.0, before.1));
    *store.faults.lock().unwrap() = vec![PutFault::Refused].into();
    table.commit(&cut(&table, 0, 2)).await.unwrap();
    assert_eq!((puts("done"), puts("failed")), (before.0 + 3.0, before.1 + 1.0));
    let written = metric("store_written_bytes_total") - before.2;
    let held: u64 =
        store.inner.list(None).map(|object| object.unwrap().size).collect::<Vec<u64>>().await.iter().sum();
    assert_eq!(written, held as f64, "what was refused was not written");
    assert!(metric("store_request_duration_seconds_count{operation=\"get\",outcome=\"not found\"}") > 0.0);
}
