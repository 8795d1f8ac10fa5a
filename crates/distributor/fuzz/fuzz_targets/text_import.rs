//! Any bytes as a text exposition: no panic, a sound batch.
#![no_main]

mod common;

use distributor::Workspace;
use libfuzzer_sys::fuzz_target;
use model::TenantId;

fuzz_target!(|text: &[u8]| {
    let mut work = Workspace::default();
    work.text.extend_from_slice(text);
    let _over_budget =
        common::decoder().text(&TenantId::anonymous(), &mut work, &mut common::reservation());
    common::check(&work);
});
