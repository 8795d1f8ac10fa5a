//! The log over files that can be torn, flipped, filled up and lost.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod mutated;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime::{Service, Shutdown};
use wal::{
    DiskFiles, Envelope, FileLayer, Lsn, MemoryFiles, ReplayStats, Sync, Wal, WalConfig, WalError, WalSyncer,
};

const FIRST: &str = "wal/00000000000000000001.wal";
const SEGMENT_HEADER: usize = 20;

fn config(sync: Sync) -> WalConfig {
    WalConfig { segment_bytes: 1 << 20, sync, ..WalConfig::new("wal") }
}

fn open(files: &MemoryFiles) -> (Wal, Vec<(Lsn, String)>, ReplayStats) {
    open_with(config(Sync::Never), Arc::new(files.clone()))
}

fn open_with(config: WalConfig, files: Arc<dyn FileLayer>) -> (Wal, Vec<(Lsn, String)>, ReplayStats) {
    let (wal, mut replay) = Wal::open(config, files).unwrap();
    let mut records = Vec::new();
    while let Some(record) = replay.next().unwrap() {
        assert_eq!(record.envelope, envelope(), "record {}", record.lsn);
        records.push((record.lsn, String::from_utf8(record.payload.to_vec()).unwrap()));
    }
    (wal, records, replay.stats())
}

fn envelope() -> Envelope<'static> {
    Envelope { tenant: "team-1", shard: 3, kind: 1, version: 2 }
}

fn append(wal: &Wal, payload: &str) -> Lsn {
    wal.append(&envelope(), payload.as_bytes()).unwrap()
}

fn record_len(payload: &str) -> usize {
    wal::HEADER_LEN + envelope().tenant.len() + payload.len()
}

fn texts(records: &[(Lsn, String)]) -> Vec<&str> {
    records.iter().map(|(_, text)| text.as_str()).collect()
}

/// A log with three records whose payloads are "one", "two" and "three".
fn three() -> MemoryFiles {
    let files = MemoryFiles::new();
    let (wal, ..) = open(&files);
    for text in ["one", "two", "three"] {
        append(&wal, text);
    }
    files.kill()
}

#[test]
fn what_was_appended_is_replayed_in_order_across_segments() {
    let files = MemoryFiles::new();
    let small = WalConfig { segment_bytes: 200, ..config(Sync::Never) };
    let (wal, records, _) = open_with(small.clone(), Arc::new(files.clone()));
    assert_eq!(records, []);
    let written: Vec<(Lsn, String)> =
        (0..100).map(|i| (append(&wal, &format!("r{i}")), format!("r{i}"))).collect();
    assert!(wal.segments().len() > 10);
    let (wal, records, stats) = open_with(small, Arc::new(files.kill()));
    assert_eq!(records, written);
    assert_eq!((stats.n_records, stats.n_lost, stats.torn_bytes), (100, 0, 0));
    assert_eq!(stats.read_bytes, stats.total_bytes);
    assert_eq!(append(&wal, "next"), 101);
}

#[test]
fn a_log_torn_at_any_byte_keeps_every_whole_record_and_goes_on() {
    let whole = three();
    let ends: Vec<usize> = ["one", "two", "three"]
        .iter()
        .scan(SEGMENT_HEADER, |end, text| {
            *end += record_len(text);
            Some(*end)
        })
        .collect();
    for len in 0..ends[2] {
        let files = whole.kill();
        assert!(files.damage(Path::new(FIRST), |bytes| bytes.truncate(len)));
        let (wal, records, stats) = open(&files);
        let n_whole = ends.iter().filter(|end| **end <= len).count();
        assert_eq!(texts(&records), &["one", "two", "three"][..n_whole], "torn at {len}");
        assert_eq!(stats.n_lost, 0, "torn at {len}");
        let end = if n_whole == 0 { len.min(SEGMENT_HEADER) } else { ends[n_whole - 1] };
        assert_eq!(stats.torn_bytes, (len - end) as u64, "torn at {len}");
        append(&wal, "after");
        drop(wal);
        let (_, records, stats) = open(&files);
        assert_eq!(records.last().unwrap(), &(n_whole as Lsn + 1, "after".to_string()), "torn at {len}");
        assert_eq!(stats.torn_bytes, 0);
    }
}

#[test]
fn any_flipped_bit_costs_one_counted_record_at_most() {
    let whole = three();
    let len = whole.files().iter().find(|(path, _)| path == Path::new(FIRST)).unwrap().1;
    for bit in 0..len * 8 {
        let files = whole.kill();
        files.damage(Path::new(FIRST), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let (wal, records, stats) = open(&files);
        let in_header = bit / 8 < SEGMENT_HEADER;
        assert_eq!(records.len(), if in_header { 3 } else { 2 }, "bit {bit}");
        let counted = stats.n_lost + u64::from(stats.torn_bytes > 0);
        assert_eq!(counted, u64::from(!in_header), "bit {bit}: {stats:?}");
        append(&wal, "after");
        drop(wal);
        let (_, records, _) = open(&files);
        assert_eq!(texts(&records).last(), Some(&"after"), "bit {bit}");
    }
}

#[test]
fn garbage_between_records_is_stepped_over_even_when_it_is_longer_than_a_read() {
    let files = MemoryFiles::new();
    let (wal, ..) = open(&files);
    append(&wal, "one");
    append(&wal, &"F".repeat(900_000));
    append(&wal, "three");
    let files = files.kill();
    let at = SEGMENT_HEADER + record_len("one");
    files.damage(Path::new(FIRST), |bytes| bytes[at] ^= 1);
    let (_, records, stats) = open(&files);
    assert_eq!(texts(&records), ["one", "three"]);
    assert_eq!(stats.n_lost, 1);
}

#[test]
fn records_missing_between_segments_are_counted() {
    let files = MemoryFiles::new();
    let small = WalConfig { segment_bytes: 100, ..config(Sync::Never) };
    let (wal, ..) = open_with(small.clone(), Arc::new(files.clone()));
    for i in 0..10 {
        append(&wal, &format!("r{i}"));
    }
    let segment = wal.segments()[1];
    let path = PathBuf::from(format!("wal/{:020}.wal", segment.first_lsn));
    let files = files.kill();
    files.damage(&path, |bytes| bytes.truncate(SEGMENT_HEADER));
    let (_, records, stats) = open_with(small, Arc::new(files));
    let n_gone = segment.end_lsn - segment.first_lsn;
    assert_eq!((records.len() as u64, stats.n_lost), (10 - n_gone, n_gone));
}

#[test]
fn a_full_disk_refuses_writes_and_the_log_recovers_by_itself() {
    let files = MemoryFiles::new();
    let (wal, ..) = open(&files);
    append(&wal, "before");
    files.set_space(Some(10));
    let refused = wal.append(&envelope(), b"does not fit").unwrap_err();
    assert!(matches!(refused, WalError::Write(_)), "{refused}");
    assert!(wal.append(&envelope(), b"neither").is_err());
    files.set_space(None);
    assert_eq!(append(&wal, "after"), 2);
    let (_, records, stats) = open(&files.kill());
    assert_eq!(texts(&records), ["before", "after"]);
    assert_eq!((stats.n_lost, stats.torn_bytes), (0, 0));
    assert_eq!(wal.stats().n_failed_appends, 2);
}

#[test]
fn a_disk_that_fills_up_at_the_start_of_a_segment_loses_nothing() {
    let files = MemoryFiles::new();
    let small = WalConfig { segment_bytes: 60, ..config(Sync::Never) };
    let (wal, ..) = open_with(small.clone(), Arc::new(files.clone()));
    append(&wal, "one");
    files.set_space(Some(5));
    assert!(wal.append(&envelope(), b"two").is_err());
    files.set_space(Some(25));
    assert!(wal.append(&envelope(), b"two").is_err());
    files.set_space(None);
    append(&wal, "two");
    let (_, records, stats) = open_with(small, Arc::new(files.kill()));
    assert_eq!(texts(&records), ["one", "two"]);
    assert_eq!((stats.n_lost, stats.torn_bytes), (0, 0));
}

#[tokio::test]
async fn on_a_full_disk_a_vital_record_takes_the_reserve_which_is_made_again_later() {
    let files = MemoryFiles::new();
    let (wal, ..) = open(&files);
    append(&wal, "before");
    wal.rotate().unwrap();
    files.set_space(Some(0));
    assert!(wal.append(&envelope(), b"refused").is_err());
    assert_eq!(wal.append_vital(&envelope(), b"vital").unwrap(), 2);
    let has_reserve = || files.files().iter().any(|(path, _)| path.ends_with("reserve"));
    assert!(!has_reserve());
    files.set_space(None);
    wal.truncate_before(2).await.unwrap();
    assert!(has_reserve());
    let (_, records, _) = open(&files.kill());
    assert_eq!(records, [(2, "vital".to_string())]);
}

#[tokio::test]
async fn what_was_synced_survives_the_machine_and_the_rest_may_not() {
    let files = MemoryFiles::new();
    let small = WalConfig { segment_bytes: 100, ..config(Sync::Always) };
    let (wal, ..) = open_with(small.clone(), Arc::new(files.clone()));
    let mut lsn = 0;
    for i in 0..10 {
        lsn = append(&wal, &format!("r{i}"));
    }
    wal.sync_through(lsn).await.unwrap();
    append(&wal, "not synced");
    let (_, records, _) = open_with(small, Arc::new(files.crash()));
    assert_eq!(records.len(), 10);
}

#[tokio::test]
async fn callers_that_wait_together_share_a_sync() {
    let files = MemoryFiles::new();
    let (wal, ..) = open_with(config(Sync::Always), Arc::new(files.clone()));
    let lsns: Vec<Lsn> = (0..50).map(|i| append(&wal, &format!("r{i}"))).collect();
    let before = files.n_syncs();
    for lsn in lsns {
        wal.sync_through(lsn).await.unwrap();
    }
    assert_eq!(files.n_syncs() - before, 1);
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_acknowledged_where_that_means_durable() {
    let files = MemoryFiles::new();
    let (wal, ..) = open_with(config(Sync::Always), Arc::new(files.clone()));
    let lsn = append(&wal, "one");
    files.fail_syncs(true);
    assert!(matches!(wal.sync_through(lsn).await, Err(WalError::Sync(_))));
    files.fail_syncs(false);
    assert!(matches!(wal.sync_through(lsn).await, Err(WalError::Poisoned)));
    assert!(matches!(wal.append(&envelope(), b"two"), Err(WalError::Poisoned)));
}

#[tokio::test]
async fn with_an_interval_a_failed_sync_is_counted_and_tried_again() {
    let files = MemoryFiles::new();
    let interval = Sync::Interval(std::time::Duration::from_secs(3600));
    let (wal, ..) = open_with(config(interval), Arc::new(files.clone()));
    append(&wal, "one");
    wal.rotate().unwrap();
    append(&wal, "two");
    files.fail_syncs(true);
    assert!(wal.sync().await.is_err());
    files.fail_syncs(false);
    wal.sync().await.unwrap();
    assert_eq!((wal.stats().n_failed_syncs, wal.stats().n_syncs), (1, 1));
    let (_, records, _) = open(&files.crash());
    assert_eq!(texts(&records), ["one", "two"]);
}

#[tokio::test]
async fn segments_go_only_when_all_their_records_lie_before_the_mark() {
    let files = MemoryFiles::new();
    let (wal, ..) = open(&files);
    for text in ["one", "two", "three", "four"] {
        append(&wal, text);
        if text == "two" {
            wal.rotate().unwrap();
        }
    }
    assert_eq!(wal.truncate_before(2).await.unwrap(), 0);
    assert_eq!(wal.truncate_before(3).await.unwrap(), 1);
    assert_eq!(wal.truncate_before(100).await.unwrap(), 0, "the newest segment stays");
    let (_, records, stats) = open(&files.crash());
    assert_eq!(records, [(3, "three".to_string()), (4, "four".to_string())]);
    assert_eq!(stats.n_lost, 0);
}

#[test]
fn an_empty_segment_is_not_rotated_and_its_lsn_is_remembered() {
    let files = MemoryFiles::new();
    let (wal, ..) = open(&files);
    append(&wal, "one");
    wal.rotate().unwrap();
    wal.rotate().unwrap();
    assert_eq!(wal.segments().len(), 2);
    let (wal, ..) = open(&files.kill());
    assert_eq!(wal.next_lsn(), 2);
}

#[test]
fn the_issuer_is_born_with_the_log_and_differs_between_logs() {
    let files = MemoryFiles::new();
    let issuer = open(&files).0.issuer().to_string();
    assert_eq!(open(&files.crash()).0.issuer(), issuer);
    assert_ne!(open(&MemoryFiles::new()).0.issuer(), issuer);
}

#[test]
fn a_second_process_is_refused_while_the_first_has_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let config = WalConfig::new(dir.path().join("wal"));
    let first = Wal::open(config.clone(), Arc::new(DiskFiles)).unwrap();
    assert!(matches!(Wal::open(config.clone(), Arc::new(DiskFiles)), Err(WalError::Locked(_))));
    drop(first);
    assert!(Wal::open(config, Arc::new(DiskFiles)).is_ok());
}

#[tokio::test]
async fn the_disk_keeps_what_memory_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let config = WalConfig { segment_bytes: 200, ..WalConfig::new(dir.path().join("wal")) };
    let (wal, ..) = open_with(config.clone(), Arc::new(DiskFiles));
    for i in 0..20 {
        append(&wal, &format!("r{i}"));
    }
    wal.truncate_before(10).await.unwrap();
    drop(wal);
    let (wal, records, stats) = open_with(config, Arc::new(DiskFiles));
    assert!(records[0].0 > 1 && records[0].0 <= 10);
    assert_eq!(records.last().unwrap(), &(20, "r19".to_string()));
    assert_eq!(stats.n_lost, 0);
    assert_eq!(wal.next_lsn(), 21);
}

#[tokio::test]
async fn the_syncer_syncs_for_the_last_time_when_it_is_told_to_stop() {
    for sync in [Sync::Never, Sync::Interval(std::time::Duration::from_secs(3600))] {
        let files = MemoryFiles::new();
        let (wal, ..) = open_with(config(sync), Arc::new(files.clone()));
        append(&wal, "one");
        let (told, shutdown) = Shutdown::new();
        told.tell();
        WalSyncer::new(wal).run(shutdown).await.unwrap();
        let (_, records, _) = open(&files.crash());
        assert_eq!(texts(&records), ["one"]);
    }
}
