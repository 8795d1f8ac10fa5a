//! Any bytes as a decompressed remote write body: no panic, a sound batch, malformed where prost says so.
#![no_main]

mod common;

use distributor::{DecodeError, Workspace};
use libfuzzer_sys::fuzz_target;
use model::TenantId;
use prost::Message;
use wire::generated::prometheus::WriteRequest;

fuzz_target!(|body: &[u8]| {
    let decoder = common::decoder();
    let mut work = Workspace::default();
    // Twice: unknown, then expected.
    for _ in 0..2 {
        work.reset();
        work.body_mut(body.len()).copy_from_slice(body);
        let decoded = decoder.remote_write(&TenantId::anonymous(), &mut work, &mut common::reservation());
        common::check(&work);
        match (WriteRequest::decode(body), decoded) {
            (Ok(_), Ok(_)) | (Err(_), Err(_)) => {}
            (Ok(_), Err(DecodeError::NotVersion1 | DecodeError::OverBudget(_))) => {}
            (Err(e), Ok(_)) if e.to_string().contains("UTF-8") => {}
            (prost, ours) => panic!("prost {prost:?}, ours {ours:?}"),
        }
    }
});
