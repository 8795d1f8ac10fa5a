//! Messages, clients and servers, generated from `proto/firn` by `cargo run -p protogen` and checked in, so that no build
//! needs a protobuf compiler.

#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::allow_attributes_without_reason, reason = "generated; the fields are described in proto/firn/v1")]
pub(crate) mod firn;
