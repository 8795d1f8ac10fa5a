//! Protobuf messages, generated from `proto/` by `cargo run -p protogen` and checked in, so that no build needs a
//! protobuf compiler. Hot paths do not use them: they decode by hand and are tested against these.

/// Remote write 1.0.
#[rustfmt::skip]
#[expect(missing_docs, reason = "generated; the fields are described in proto/prometheus/remote.proto")]
pub mod prometheus;

/// Remote read.
#[rustfmt::skip]
#[expect(missing_docs, reason = "generated; the fields are described in proto/prometheus/read.proto")]
pub mod prometheus_read;

/// Remote write 2.0.
#[rustfmt::skip]
#[expect(missing_docs, reason = "generated; the fields are described in proto/prometheus/remote2.proto")]
pub mod prometheus2;

/// OpenTelemetry's metrics.
#[rustfmt::skip]
#[expect(missing_docs, reason = "generated; the fields are described in proto/opentelemetry")]
pub mod opentelemetry;
