//! The fuzz targets' bodies with seeded mutations, so that every run of the suite exercises them.

use distributor::{DecodeError, Workspace};
use model::TenantId;
use prost::Message;
use runtime::MemoryPart;
use wire::generated::prometheus as pb;

use crate::sample_bodies::{everything, snappy};
use crate::{corpus, oracle};

/// A small generator with a seed, so that a failure repeats.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// One to four changes: a flipped bit, another byte, a cut, a repeated or a removed piece.
    pub(crate) fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(3) {
            let (at, len) = (self.below(bytes.len()), self.below(24));
            let end = (at + len).min(bytes.len());
            match self.below(5) {
                _ if bytes.is_empty() => {}
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.next() as u8,
                2 => bytes.truncate(at),
                3 => {
                    let piece = bytes[at..end].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, piece);
                }
                _ => drop(bytes.drain(at..end)),
            }
        }
        bytes
    }
}

fn messages() -> Vec<Vec<u8>> {
    let mut messages = vec![everything().encode_to_vec()];
    let mut work = Workspace::default();
    let mut reservation = MemoryPart::unlimited("test").reserve(0).unwrap();
    for (_, packed, _) in corpus::bodies() {
        work.unpack(&packed, 1 << 20, &mut reservation).unwrap();
        messages.push(work.batch.bytes.clone());
    }
    messages
}

#[test]
fn a_mutated_message_is_refused_or_becomes_what_prost_makes_of_it() {
    let messages = messages();
    let decoder = oracle::decoder(oracle::ONE_SHARD);
    let mut work = Workspace::default();
    let mut random = Random(0x5EED);
    let (mut decoded, mut malformed, mut not_text) = (0, 0, 0);
    for i in 0..6000 {
        let body = random.mutate(&messages[i % messages.len()]);
        let seen = oracle::decode(&decoder, &body, &mut work);
        match (pb::WriteRequest::decode(&body[..]), seen) {
            (Ok(request), Ok(seen)) => {
                assert_eq!(seen, oracle::expected(&request), "{i}: {body:02x?}");
                decoded += 1;
            }
            (Err(_), Err(_)) => malformed += 1,
            // Ours refuses what is not UTF-8 series by series, prost the whole message. It may still be
            // malformed behind that.
            (Err(e), Ok(_)) if e.to_string().contains("UTF-8") => not_text += 1,
            (Ok(_), Err(DecodeError::NotVersion1)) => {}
            (prost, ours) => panic!("{i}: prost {prost:?}, ours {ours:?}: {body:02x?}"),
        }
    }
    println!("{decoded} decoded, {malformed} malformed, {not_text} not UTF-8");
    assert!(decoded > 300 && malformed > 300 && not_text > 30);
}

#[test]
fn a_mutated_body_is_refused_or_unpacked_within_the_limit() {
    let bytes = everything().encode_to_vec();
    let packed = [snappy(&everything()), zstd::bulk::compress(&bytes, 1).unwrap()];
    let decoder = oracle::decoder(oracle::ONE_SHARD);
    let mut work = Workspace::default();
    let mut random = Random(0xB0D1);
    let (mut unpacked, mut refused) = (0, 0);
    let limit = 64 << 10;
    for i in 0..20_000 {
        let body = random.mutate(&packed[i % 2]);
        work.reset();
        let mut reservation = MemoryPart::new("test", 64 << 20).reserve(0).unwrap();
        if work.unpack(&body, limit, &mut reservation).is_ok() {
            assert!(work.batch.bytes.len() as u64 <= limit);
            let _may_be_malformed = decoder.remote_write(&TenantId::anonymous(), &mut work, &mut reservation);
            unpacked += 1;
        } else {
            refused += 1;
        }
    }
    println!("{unpacked} unpacked, {refused} refused");
    assert!(unpacked > 100 && refused > 100);
}

#[test]
fn mutated_text_keeps_the_shape_of_a_batch() {
    let text = "# HELP up Whether it answers\\n really\n# TYPE up gauge\n\
                up{job=\"a\",instance=\"b:1\"} 1 1795251153981\n\
                {\"my.metric\",\"a b\"=\"\\\"q\\\\\"} NaN\nplain 1e-3\n\
                h_bucket{le=\"+Inf\"} 3 1795251153981 # {trace_id=\"x\"} 0.5 1795251153.5\n";
    let decoder = oracle::decoder(oracle::ONE_SHARD);
    let mut work = Workspace::default();
    let mut random = Random(0x7E47);
    let (mut clean, mut bad) = (0, 0);
    for _ in 0..20_000 {
        work.reset();
        work.text.extend_from_slice(&random.mutate(text.as_bytes()));
        let n_lines = work.text.split(|b| *b == b'\n').count();
        let mut reservation = MemoryPart::unlimited("test").reserve(0).unwrap();
        let decoded = decoder.text(&TenantId::anonymous(), &mut work, &mut reservation).unwrap();
        oracle::seen(&work.batch);
        match decoded.bad_lines {
            Some((first, n)) => {
                assert!(first.line <= n_lines && n <= n_lines);
                bad += 1;
            }
            None => clean += 1,
        }
    }
    assert!(clean > 1000 && bad > 1000, "{clean} {bad}");
}
