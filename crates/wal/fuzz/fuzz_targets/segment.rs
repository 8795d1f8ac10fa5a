//! Any bytes behind the header of a segment: no panic, LSNs grow, and a log that opened takes more and replays the
//! same again.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use wal::{Envelope, Lsn, MemoryFiles, Sync, Wal, WalConfig};

/// The length of a segment's header, which is kept.
const SEGMENT_HEADER: usize = 20;
const FIRST: &str = "wal/00000000000000000001.wal";

fuzz_target!(|body: &[u8]| {
    let files = MemoryFiles::new();
    let envelope = Envelope { tenant: "a", shard: 0, kind: 1, version: 1 };
    let (wal, _) = Wal::open(config(), Arc::new(files.clone())).expect("an empty folder");
    wal.append(&envelope, b"first").expect("there is space");
    drop(wal);
    let files = files.kill();
    files.damage(Path::new(FIRST), |bytes| {
        bytes.truncate(SEGMENT_HEADER);
        bytes.extend_from_slice(body);
    });
    let Some((wal, mut lsns)) = replayed(&files) else { return };
    lsns.push(wal.append(&envelope, b"more").expect("there is space"));
    drop(wal);
    let (_, again) = replayed(&files.kill()).expect("it opened before");
    assert_eq!(again, lsns);
});

fn config() -> WalConfig {
    WalConfig { sync: Sync::Never, ..WalConfig::new("wal") }
}

fn replayed(files: &MemoryFiles) -> Option<(Wal, Vec<Lsn>)> {
    let (wal, mut replay) = Wal::open(config(), Arc::new(files.clone())).ok()?;
    let mut lsns = Vec::new();
    while let Some(record) = replay.next().expect("memory can be read") {
        assert!(lsns.last().is_none_or(|last| *last < record.lsn));
        lsns.push(record.lsn);
    }
    Some((wal, lsns))
}
