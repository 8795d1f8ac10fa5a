//! Any bytes as a decompressed remote write 2.0 body: no panic, a sound batch, malformed where prost says so.
#![no_main]

mod common;

use distributor::Workspace;
use libfuzzer_sys::fuzz_target;
use model::TenantId;
use prost::Message;
use wire::generated::prometheus2::Request;

fuzz_target!(|body: &[u8]| {
    let decoder = common::decoder();
    let mut work = Workspace::default();
    // Twice: unknown, then known.
    for _ in 0..2 {
        work.reset();
        work.body_mut(body.len()).copy_from_slice(body);
        let decoded = decoder.remote_write2(&TenantId::anonymous(), &mut work, &mut common::reservation());
        common::check(&work);
        match (Request::decode(body), decoded) {
            // A reference that leads nowhere is malformed here and nothing to prost.
            (Ok(_), _) | (Err(_), Err(_)) => {}
            (Err(e), Ok(_)) if e.to_string().contains("UTF-8") => {}
            (prost, ours) => panic!("prost {prost:?}, ours {ours:?}"),
        }
    }
});
