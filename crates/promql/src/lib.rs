//! PromQL: parse, plan, evaluate over a source. No I/O.
//!
//! On the path: query-frontend → querier → **promql** → (querier's source).

pub mod ast;
mod signature;

pub use signature::Signature;
