//! Any bytes as a commit of a table, as its checkpoint or as the pointer to that: an error or a snapshot, no panic,
//! and twice the same.
#![no_main]

use std::sync::Arc;

use bucket::{Bucket, Config, Deps, Table};
use libfuzzer_sys::fuzz_target;
use model::TenantId;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use runtime::Clock;

/// The first byte chooses.
const NAMES: [&str; 4] = [
    "00000000000000000000.json",
    "00000000000000000001.json",
    "00000000000000000000.checkpoint.parquet",
    "_last_checkpoint",
];

const FIRST: &str = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}
{"metaData":{"id":"fuzz","format":{"provider":"parquet","options":{}},"schemaString":"{}","partitionColumns":["day"],"configuration":{}}}
"#;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, body)) = bytes.split_first() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let log = |name: &str| Path::from(format!("anonymous/metrics/_delta_log/{name}"));
        store.put(&log(NAMES[0]), FIRST.into()).await.expect("memory takes it");
        let name = NAMES[*choice as usize % NAMES.len()];
        store.put(&log(name), body.to_vec().into()).await.expect("memory takes it");
        let files = |store: Arc<dyn ObjectStore>| async move {
            let deps = Deps { store, clock: Clock::manual(1_795_255_485_000).0 };
            let bucket = Bucket::open(Config::default(), deps).await.expect("memory puts on condition");
            let snapshot = bucket.table(&TenantId::anonymous(), Table::Metrics).snapshot().await.ok()??;
            Some((snapshot.version(), snapshot.n_files()))
        };
        assert_eq!(files(Arc::clone(&store)).await, files(store).await);
    });
});
