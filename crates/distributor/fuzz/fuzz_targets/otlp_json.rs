//! Any bytes as OpenTelemetry's JSON: no panic, and what is rewritten is protobuf that prost can read.
#![no_main]

mod common;

use distributor::Workspace;
use libfuzzer_sys::fuzz_target;
use model::TenantId;
use prost::Message;
use wire::generated::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;

fuzz_target!(|text: &[u8]| {
    let mut work = Workspace::default();
    work.text.extend_from_slice(text);
    let mut reservation = common::reservation();
    if work.otlp_from_json(&mut reservation).is_err() {
        return;
    }
    ExportMetricsServiceRequest::decode(&work.text[..]).expect("what we write is well-formed");
    let _over_budget = common::decoder().otlp(&TenantId::anonymous(), &mut work, &mut reservation);
    common::check(&work);
});
