//! Samples of a series as chunks of Prometheus's TSDB, which is how remote read streams them.
//!
//! On the path: querier → query-frontend → **chunk** → Prometheus, Thanos and whoever else reads remotely.
//!
//! ```text
//!  XOR                [u16 n]         [first: varint t, f64]  [second: uvarint Δt, xor]  [ΔΔt, xor] …
//!  HISTOGRAM          [u16 n] [flags] [layout] [first: t, count, zero, sum, buckets raw] [ΔΔ each, sum xor] …
//!  FLOAT_HISTOGRAM    [u16 n] [flags] [layout] [first: t, count, zero, sum, buckets raw] [ΔΔt, all else xor] …
//!  XOR2               [u16 n] [starts] [first: varint t, f64, s] [second: uvarint Δt, xor, s] [ΔΔt and xor, s] …
//!  …_ST               [flags and u14 n] [starts] and on as without, behind each sample its start s
//!  starts             1 bit: whether the first start is told; 7 bits: from which sample on each is (0: of none)
//!  layout             zero threshold, schema, positive spans, negative spans, custom bounds
//!  flags              the two highest bits: 01 no reset before this chunk, 10 a reset, 11 gauge, 00 unknown
//! ```
//!
//! Always true:
//! - a chunk has 1 to [`SAMPLES_MAX`] samples of one encoding, and chunks of a series follow one another in time;
//! - a reader takes it that no counter reset lies within a chunk of counters, so each begins a new one;
//! - all histograms of a chunk have one layout; a stale marker among histograms has a chunk of its own.

mod bits;
mod chunks;
mod histogram;
mod starts;
mod varbit;
mod xor;
mod xor2;

pub use chunks::{Chunk, Chunks, Encoding, SAMPLES_MAX, chunks, chunks_with_starts};
