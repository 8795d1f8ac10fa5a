//! Any bytes as a packed remote write body, snappy or zstd: no panic, nothing larger than the limit.
#![no_main]

mod common;

use distributor::Workspace;
use libfuzzer_sys::fuzz_target;
use model::TenantId;

fuzz_target!(|packed: &[u8]| {
    let limit = 1 << 20;
    let mut work = Workspace::default();
    let mut reservation = common::reservation();
    if work.unpack(packed, limit, &mut reservation).is_ok() {
        assert!(work.batch.bytes.len() as u64 <= limit);
        let _may_be_malformed =
            common::decoder().remote_write(&TenantId::anonymous(), &mut work, &mut reservation);
        common::check(&work);
    }
});
