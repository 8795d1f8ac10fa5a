//! A log that is torn at its end or has a flipped bit: what is damaged is counted, and costs itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use system_tests::{Firn, FirnOptions, TimeSeries, WriteRequest, now_ms};

use super::FIRN;

const PUSHES: usize = 60;
/// Bytes of a record's header, and what begins it (docs/format/wal.md).
const HEADER: usize = 32;
const MARK: &[u8] = b"FWR\x1E";
const KIND_SAMPLES: u8 = 1;

/// A record in the bytes of a segment.
#[derive(Debug, Clone, Copy)]
struct Record {
    at: usize,
    len: usize,
}

#[test]
fn a_flipped_bit_costs_one_counted_record() {
    for (name, at_of) in [
        ("the payload", (|r: &Record| r.at + r.len - 3) as fn(&Record) -> usize),
        ("the header", |r: &Record| r.at + 9),
        ("the mark", |r: &Record| r.at + 1),
        ("a checksum", |r: &Record| r.at + HEADER - 2),
    ] {
        let damaged = Damaged::prepare();
        let victim = 30;
        damaged.change(|bytes, records| bytes[at_of(&records[victim])] ^= 0x10);
        let firn = damaged.restart();
        let lost: BTreeSet<usize> = damaged.lost(&firn);
        assert_eq!(lost, BTreeSet::from([victim]), "a bit flipped in {name} of record {victim}");
        assert_eq!(firn.metric("firn_ingester_replay_corrupt_records_total").unwrap(), Some(1.0), "{name}");
        damaged.works_on(&firn);
        println!("a bit flipped in {name} of one record of {PUSHES}: that record lost and counted");
    }
}

#[test]
fn a_flipped_bit_in_a_definition_is_counted_and_costs_no_other_series() {
    let damaged = Damaged::prepare();
    // The first record defines the series that all others use.
    damaged.change(|bytes, records| bytes[records[0].at + HEADER + 20] ^= 0x10);
    let firn = damaged.restart();
    let unknown = firn.metric("firn_ingester_replay_unknown_refs_total").unwrap();
    let lost = damaged.lost(&firn).len();
    assert_eq!(firn.metric("firn_ingester_replay_corrupt_records_total").unwrap(), Some(1.0));
    assert_eq!(unknown, Some((lost - 1) as f64), "samples whose definition is lost are counted");
    let other = firn.samples("other", damaged.base, damaged.base + PUSHES as i64 * 1000).unwrap();
    assert_eq!(other.values().map(Vec::len).sum::<usize>(), PUSHES, "{other:?}");
    damaged.works_on(&firn);
    println!(
        "a bit flipped in a definition: {lost} samples of that series lost and counted, the other series whole"
    );
}

#[test]
fn a_torn_tail_is_cut_and_counted() {
    let half_a_record = |bytes: &mut Vec<u8>, records: &[Record]| {
        let last = records[records.len() - 1];
        let torn = bytes[last.at..last.at + last.len - 5].to_vec();
        bytes.extend_from_slice(&torn);
    };
    let garbage = |bytes: &mut Vec<u8>, _: &[Record]| bytes.extend_from_slice(&[0xA5; 777]);
    let zeros = |bytes: &mut Vec<u8>, _: &[Record]| bytes.extend_from_slice(&[0; 4096]);
    let cut_short = |bytes: &mut Vec<u8>, _: &[Record]| bytes.truncate(bytes.len() - 7);
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>, &[Record]);
    let changes: [(&str, Change<'_>, BTreeSet<usize>); 4] = [
        ("half a record", &half_a_record, BTreeSet::new()),
        ("garbage", &garbage, BTreeSet::new()),
        ("zeros", &zeros, BTreeSet::new()),
        ("an end cut off", &cut_short, BTreeSet::from([PUSHES - 1])),
    ];
    for (name, change, lost) in changes {
        let damaged = Damaged::prepare();
        damaged.change(change);
        let firn = damaged.restart();
        assert_eq!(damaged.lost(&firn), lost, "{name}");
        let torn = firn.metric("firn_ingester_replay_torn_bytes_total").unwrap();
        assert!(torn.is_some_and(|torn| torn > 0.0), "{name}: {torn:?} torn bytes counted");
        damaged.works_on(&firn);
        println!("{name} at the end of the log: {torn:?} torn bytes counted, {} records lost", lost.len());
    }
}

/// The data of a Firn that was killed after some pushes, each of which is one record of the log.
struct Damaged {
    dir: tempfile::TempDir,
    base: i64,
}

impl Damaged {
    fn prepare() -> Damaged {
        let dir = tempfile::tempdir().unwrap();
        let base = now_ms() - 600_000;
        let mut firn = Firn::start(FIRN, dir.path(), &FirnOptions::default()).unwrap();
        for i in 0..PUSHES {
            let answer = firn.push(&request("damage", base, i)).unwrap();
            assert_eq!(answer.status, 204, "{}", answer.body);
        }
        for i in 0..PUSHES {
            assert_eq!(firn.push(&request("other", base, i)).unwrap().status, 204);
        }
        firn.child().kill();
        Damaged { dir, base }
    }

    /// Changes the only segment of the log, knowing where the records of `damage` lie.
    fn change(&self, change: impl Fn(&mut Vec<u8>, &[Record])) {
        let path = segment(self.dir.path());
        let mut bytes = fs::read(&path).unwrap();
        let records = records(&bytes);
        assert_eq!(records.len(), 2 * PUSHES, "one record per push");
        if change_is_at_the_end(&bytes, &records, &change) {
            // Only of the pushes of `damage` it is asked what is lost: they have to be the last.
            bytes.truncate(records[PUSHES].at);
        }
        change(&mut bytes, &records[..PUSHES]);
        fs::write(&path, bytes).unwrap();
    }

    fn restart(&self) -> Firn {
        Firn::start(FIRN, self.dir.path(), &FirnOptions::default()).unwrap()
    }

    /// Which pushes of `damage` cannot be queried any more; the others must have their value.
    fn lost(&self, firn: &Firn) -> BTreeSet<usize> {
        let found = firn.samples("damage", self.base, self.base + PUSHES as i64 * 1000).unwrap();
        let mut lost: BTreeSet<usize> = (0..PUSHES).collect();
        for (at, bits) in found.values().flatten() {
            let i = ((at - self.base) / 1000) as usize;
            assert_eq!(f64::from_bits(*bits), i as f64 * 1.1);
            assert!(lost.remove(&i), "push {i} is there twice");
        }
        lost
    }

    /// Pushes, flushes and restarts as if nothing had been.
    fn works_on(&self, firn: &Firn) {
        for i in 0..PUSHES {
            assert_eq!(firn.push(&request("damage", self.base, i)).unwrap().status, 204);
        }
        assert!(self.lost(firn).is_empty());
        firn.flush_all().unwrap();
        assert!(self.lost(firn).is_empty());
    }
}

fn change_is_at_the_end(bytes: &[u8], records: &[Record], change: &impl Fn(&mut Vec<u8>, &[Record])) -> bool {
    let mut changed = bytes.to_vec();
    change(&mut changed, records);
    changed.len() != bytes.len()
}

fn request(name: &str, base: i64, i: usize) -> WriteRequest {
    let mut request = WriteRequest::default();
    request.push(&TimeSeries::named(name, "a").sample(base + i as i64 * 1000, i as f64 * 1.1));
    request
}

fn segment(dir: &Path) -> PathBuf {
    let entries = fs::read_dir(dir.join("wal")).unwrap().map(|entry| entry.unwrap().path());
    let segments: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "wal")).collect();
    assert_eq!(segments.len(), 1, "{segments:?}");
    segments[0].clone()
}

/// The records that hold samples, by the letter of docs/format/wal.md.
fn records(bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    let mut at = 20;
    while at + HEADER <= bytes.len() {
        assert_eq!(&bytes[at..at + 4], MARK, "a record begins at {at}");
        let body = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        if bytes[at + 20] == KIND_SAMPLES {
            records.push(Record { at, len: HEADER + body });
        }
        at += HEADER + body;
    }
    records
}
