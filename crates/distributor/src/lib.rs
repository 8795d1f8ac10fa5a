//! Where samples enter: push endpoints, decoders, validation, limits; then each series to its shard.
//!
//! On the path: sender → **distributor** → (`wire::Push`) → ingester.
//!
//! Always true:
//! - behind the decoders there is one type, [`model::Batch`], whatever protocol brought the samples;
//! - a malformed body stores nothing; in a well-formed one bad samples are refused by name and their neighbours
//!   are pushed on;
//! - 204 means that everything in the request is on the log;
//! - no memory is taken for a body before its announced size was held against the tenant's limit and the
//!   process's budget;
//! - the memo of label runs saves time only: what it says was worked out from the same bytes under the same limits.

mod answer;
mod body;
mod canonical;
mod decoder;
mod distributor;
mod election;
mod guard;
mod histogram;
mod http;
mod intake;
mod memo;
mod metrics;
mod otlp;
mod outcome;
mod proto;
mod remote_write;
mod remote_write2;
mod rewrite;
mod symbols;
mod tenants;
mod text;

pub use body::BodyError;
pub use config::distributor::Config;
pub use decoder::{Decoded, Decoder, Workspace};
pub use distributor::{Deps, Distributor};
pub use http::routes;
pub use otlp::{Points, otlp_routes};
pub use outcome::{Counts, DecodeError};
pub use proto::Malformed;
pub use rewrite::Replica;
pub use text::LineError;
