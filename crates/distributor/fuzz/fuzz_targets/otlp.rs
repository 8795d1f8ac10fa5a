//! Any bytes as a request of OpenTelemetry's metrics: no panic, a sound batch, nothing refused that prost can read.
#![no_main]

mod common;

use distributor::{DecodeError, Workspace};
use libfuzzer_sys::fuzz_target;
use model::TenantId;
use prost::Message;
use wire::generated::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;

fuzz_target!(|body: &[u8]| {
    let decoder = common::decoder();
    let mut work = Workspace::default();
    // Twice: unknown, then expected.
    for _ in 0..2 {
        work.reset();
        work.text.extend_from_slice(body);
        let decoded = decoder.otlp(&TenantId::anonymous(), &mut work, &mut common::reservation());
        common::check(&work);
        match (ExportMetricsServiceRequest::decode(body), decoded) {
            (Ok(_), Err(DecodeError::OverBudget(_) | DecodeError::Expands { .. })) => {}
            (Ok(_), Err(ours)) => panic!("{ours:?}"),
            (_, Ok((_, points))) => assert!(points.refused <= points.received),
            (Err(_), Err(_)) => {}
        }
    }
});
