//! A table as it lies in a bucket, seen by the log's own replay and by others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bucket::{Bucket, Config, Snapshot, Table};
use model::TenantId;
use object_store::{ObjectStore, ObjectStoreExt as _};
use runtime::Clock;
use system_tests::{ACCESS_KEY, BUCKET, REGION, SECRET_KEY, Storage, part};

/// What `storage.*` would say.
pub(super) fn storage_of(storage: &Storage) -> config::storage::Config {
    match storage {
        Storage::Folder(folder) => {
            config::storage::Config { url: folder.display().to_string(), ..Default::default() }
        }
        Storage::Bucket { endpoint, prefix } => config::storage::Config {
            url: format!("s3://{BUCKET}/{prefix}"),
            s3: config::storage::S3 {
                endpoint: endpoint.clone(),
                region: REGION.to_string(),
                access_key_id: ACCESS_KEY.to_string(),
                secret_access_key: SECRET_KEY.into(),
                insecure: true,
                ..Default::default()
            },
            ..Default::default()
        },
    }
}

pub(super) async fn open(storage: &Storage, config: Config) -> Arc<Bucket> {
    Bucket::connect(&storage_of(storage), config, Clock::system()).await.unwrap()
}

/// The table `metrics` of the tenant that everyone is, replayed from its log.
pub(super) async fn replayed(storage: &Storage) -> Arc<Snapshot> {
    let bucket = open(storage, Config::default()).await;
    bucket.table(&TenantId::anonymous(), Table::Metrics).snapshot().await.unwrap().unwrap()
}

/// Samples in a table, by the tags of its files.
pub(super) fn samples(snapshot: &Snapshot) -> u64 {
    snapshot.files().map(|file| file.tag("firn.samples").unwrap().parse::<u64>().unwrap()).sum()
}

/// Copies everything below a prefix of a store into a folder.
pub(super) async fn download(store: &Arc<dyn ObjectStore>, below: &str, to: &Path) {
    let prefix = object_store::path::Path::from(below);
    let listed = store.list_with_delimiter(Some(&prefix)).await.unwrap();
    for object in listed.objects {
        let bytes = store.get(&object.location).await.unwrap().bytes().await.unwrap();
        let path = to.join(object.location.filename().unwrap());
        fs::create_dir_all(to).unwrap();
        fs::write(path, bytes).unwrap();
    }
    for folder in listed.common_prefixes {
        let name = folder.filename().unwrap().to_string();
        Box::pin(download(store, folder.as_ref(), &to.join(name))).await;
    }
}

/// A copy of the table `metrics` in a folder.
pub(super) async fn copy(storage: &Storage, to: &Path) -> PathBuf {
    let bucket = open(storage, Config::default()).await;
    let table = to.join("metrics");
    download(bucket.store(), "anonymous/metrics", &table).await;
    table
}

/// How many samples each series of a table in a folder has, by the metric's name, as others read it: Python's
/// deltalake and DuckDB. `None` where a reader is not installed.
pub(super) fn read_by_others(table: &Path) -> Vec<Option<BTreeMap<String, u64>>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readers = [
        ("count_by_metric_deltalake.py", "duckdb2/bin/python"),
        ("count_by_metric_duckdb.py", "duckdb1/bin/python"),
    ];
    let read = |(script, python): (&str, &str)| {
        let python = part(python)?;
        let output = Command::new(python)
            .arg(root.join("readers").join(script))
            .arg(table)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{script}: {text}{}", String::from_utf8_lossy(&output.stderr));
        let line = |line: &str| {
            let (name, count) = line.split_once('\t').unwrap();
            (name.to_string(), count.parse().unwrap())
        };
        Some(text.lines().map(line).collect())
    };
    readers.into_iter().map(read).collect()
}
