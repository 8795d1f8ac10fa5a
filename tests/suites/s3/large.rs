//! Files that go up in parts, to real stores and through failures.

use block::Day;
use bucket::{Bucket, Config, LogTable, Table};
use model::TenantId;
use object_store::ObjectStoreExt as _;
use runtime::PromDuration;
use system_tests::{FaultProxy, ProxyFault, ProxyTarget, StoreKind};

use super::table::open;
use super::{over, store};

const NOON: i64 = 1_795_262_400_000;
const PIECES: u32 = 40;

#[test]
fn a_file_of_several_parts_is_whole_on_minio_whatever_happened_on_its_way() {
    large(StoreKind::Minio);
}

#[test]
fn a_file_of_several_parts_is_whole_on_seaweedfs_whatever_happened_on_its_way() {
    large(StoreKind::SeaweedFs);
}

fn large(kind: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let Some(store) = store(kind, dir.path()) else { return };
    let proxy = FaultProxy::start(&store.endpoint()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let config = Config { request_timeout: PromDuration::secs(6), ..Config::default() };
        let bucket = open(&over(&proxy.endpoint(), "large"), config).await;
        let table = bucket.table(&TenantId::anonymous(), Table::Metrics);
        whole(&bucket, &table, || ()).await;
        let requests = proxy.take_requests();
        let parts = requests.iter().filter(|request| request.contains("partNumber=")).count();
        assert_eq!(parts, 3, "of 8, 8 and 4 MB: {requests:#?}");

        // The answers to two parts get lost: they are put again, each under its number.
        let lose = || proxy.fail_times(ProxyTarget::Of("PUT", ".parquet"), ProxyFault::LoseAnswer, 2);
        let before = proxy.n_faults();
        whole(&bucket, &table, lose).await;
        assert_eq!(proxy.n_faults(), before + 2, "two answers were lost");

        // One that is given up is in no listing.
        let file = table.new_file(Day::of(NOON));
        let mut writer = table.writer(&file);
        writer.write(piece(1).repeat(40).into()).await.unwrap();
        proxy.take_requests();
        writer.abort().await;
        assert!(
            proxy.take_requests().iter().any(|request| request.starts_with("DELETE")),
            "it is not aborted"
        );
        assert!(bucket.store().head(&table.object(&file.path)).await.is_err());
    });
}

/// Writes a file piece by piece, with something happening half way, and reads it back.
async fn whole(bucket: &Bucket, table: &LogTable, half_way: impl Fn()) {
    let file = table.new_file(Day::of(NOON));
    let mut writer = table.writer(&file);
    let mut expected = Vec::new();
    for n in 0..PIECES {
        if n == PIECES / 2 {
            half_way();
        }
        writer.write(piece(n).into()).await.unwrap();
        expected.extend(piece(n));
    }
    assert_eq!(writer.finish().await.unwrap(), expected.len() as u64);
    let found = bucket.store().get(&table.object(&file.path)).await.unwrap().bytes().await.unwrap();
    assert!(found == expected, "{} bytes came back of {}", found.len(), expected.len());
}

/// Half a megabyte that differs from all others.
fn piece(n: u32) -> Vec<u8> {
    (0..500_000u32).map(|i| (i.wrapping_mul(n * 2 + 1) >> 9) as u8).collect()
}
