//! Any bytes as a batch: no panic, and what is taken comes out of its own bytes again. The checksum is put right, so
//! that the fuzzer gets past it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::bytes::{decode_batch, encode_batch};
use xxhash_rust::xxh3::xxh3_64;

fuzz_target!(|body: &[u8]| {
    let mut bytes = b"FIRB\x01\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend_from_slice(body);
    let checksum = xxh3_64(&bytes[16..]);
    bytes[8..16].copy_from_slice(&checksum.to_le_bytes());
    let Ok(batch) = decode_batch(&bytes) else { return };
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    encode_batch(&batch, &mut once);
    let again = decode_batch(&once).expect("our own bytes");
    encode_batch(&again, &mut twice);
    assert_eq!(once, twice);
});
