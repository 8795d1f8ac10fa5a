//! The fuzz target's segments with seeded mutations, so that every run of the suite exercises them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use wal::{Envelope, Lsn, MemoryFiles, Sync, Wal, WalConfig};

/// A small generator with a seed, so that a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// A flipped bit, another byte, a cut, zeros, a repeated, a moved or a removed piece.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let (at, len) = (self.below(bytes.len()), self.below(200));
        let end = (at + len).min(bytes.len());
        match self.below(7) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.next() as u8,
            2 => bytes.truncate(at),
            3 => bytes[at..end].fill(0),
            4 => {
                let piece = bytes[at..end].to_vec();
                let to = self.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            5 => {
                let piece: Vec<u8> = bytes.drain(at..end).collect();
                let to = self.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            _ => drop(bytes.drain(at..end)),
        }
    }
}

type Records = BTreeMap<Lsn, (String, u32, Vec<u8>)>;

fn config() -> WalConfig {
    WalConfig { segment_bytes: 2048, sync: Sync::Never, ..WalConfig::new("wal") }
}

/// A log of several segments, with long and short and empty records.
fn written(random: &mut Random) -> (MemoryFiles, Records) {
    let files = MemoryFiles::new();
    let (wal, _) = Wal::open(config(), Arc::new(files.clone())).unwrap();
    let mut records = Records::new();
    for i in 0..40 {
        let tenant = ["a", "team-b", "another-tenant"][random.below(3)];
        let payload: Vec<u8> = (0..random.below(300)).map(|_| random.next() as u8).collect();
        let envelope = Envelope { tenant, shard: i % 5, kind: 1, version: 2 };
        let lsn = wal.append(&envelope, &payload).unwrap();
        records.insert(lsn, (tenant.to_string(), i % 5, payload));
    }
    (files.kill(), records)
}

/// Everything that a replay yields, whose LSNs grow.
fn replayed(files: &MemoryFiles) -> Option<(Wal, Records)> {
    let (wal, mut replay) = Wal::open(config(), Arc::new(files.clone())).ok()?;
    let mut records = Records::new();
    while let Some(record) = replay.next().unwrap() {
        let last = records.last_key_value().map_or(0, |(lsn, _)| *lsn);
        assert!(record.lsn > last, "{} after {last}", record.lsn);
        let envelope = record.envelope;
        records.insert(record.lsn, (envelope.tenant.to_string(), envelope.shard, record.payload.to_vec()));
    }
    Some((wal, records))
}

#[test]
fn a_mutated_log_yields_nothing_that_was_not_written_and_takes_more() {
    let mut random = Random(0x5EED);
    let (mut n_opened, mut n_refused, mut n_records, mut n_lost) = (0, 0, 0, 0);
    for case in 0..3000 {
        let (files, written) = written(&mut random);
        let segments: Vec<PathBuf> = files
            .files()
            .into_iter()
            .map(|(path, _)| path)
            .filter(|p| p.extension().is_some_and(|e| e == "wal"))
            .collect();
        assert!(segments.len() > 2);
        for _ in 0..=random.below(3) {
            let segment = &segments[random.below(segments.len())];
            assert!(files.damage(segment, |bytes| random.mutate(bytes)));
        }
        let Some((wal, records)) = replayed(&files) else {
            n_refused += 1;
            continue;
        };
        for (lsn, record) in &records {
            assert_eq!(written.get(lsn), Some(record), "case {case}: record {lsn}");
        }
        n_opened += 1;
        n_records += records.len();
        n_lost += written.len() - records.len();

        let envelope = Envelope { tenant: "later", shard: 0, kind: 1, version: 2 };
        let lsn = wal.append(&envelope, b"after the damage").unwrap();
        drop(wal);
        let (_, again) = replayed(&files.kill()).unwrap();
        let mut expected = records;
        expected.insert(lsn, ("later".to_string(), 0, b"after the damage".to_vec()));
        let lsns = |records: &Records| records.keys().copied().collect::<Vec<_>>();
        assert!(
            again == expected,
            "case {case}: what survived the damage survives the next start: {:?}, should be {:?}",
            lsns(&again),
            lsns(&expected)
        );
    }
    println!("{n_opened} logs opened with {n_records} records, {n_lost} lost to damage; {n_refused} refused");
    assert!(n_opened > 1000 && n_lost > 1000);
}
