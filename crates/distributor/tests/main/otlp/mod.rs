//! OpenTelemetry's metrics: recorded requests, a second decoder, the contracts of HTTP and gRPC, mutated input.

mod contract;
mod differential;
mod generated;
mod oracle;
mod recorded;
mod truth;
