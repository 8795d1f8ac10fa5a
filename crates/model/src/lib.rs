//! The nouns of Firn: tenant, labels, matcher, sample, histogram, batch. No I/O, no serde, no async.
//!
//! On the path: everything; each other crate converts to and from these types at its own edge.
//!
//! Always true:
//! - [`Labels`] are sorted by name, without duplicates, without empty names or values, and their bytes are
//!   canonical: equal label sets have equal bytes, so a byte comparison or a hash of the bytes is enough;
//! - after decode there is one [`Batch`] type, whatever protocol brought the samples;
//! - a timestamp is milliseconds since the Unix epoch, a range includes both of its ends.

mod batch;
mod deletion;
mod digits;
mod error;
mod go_regex;
mod histogram;
mod labels;
mod matcher;
mod sample;
mod series;
mod shard;
mod tenant;
mod time;
mod value;

pub use batch::{
    Batch, BatchSeries, Exemplar, HistogramSample, Metadata, MetricType, SeenMetadata, ShardBatch,
};
pub use deletion::{Deletion, is_covered};
pub use digits::Digits;
pub use error::{Classify, ErrorKind};
pub use go_regex::compile_framed;
pub use histogram::{
    BucketSpan, CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, HistogramError, MAX_SCHEMA, MIN_SCHEMA, ResetHint,
};
pub use labels::{
    DecodeLabelsError, Labels, LabelsBuilder, METRIC_NAME, RunLabel, SeriesId, compare_runs, push_label,
    run_labels, run_len, runs,
};
pub use matcher::{Matcher, MatcherError, MatcherOp, Metrics, Test, metric_names, passes};
pub use sample::{EMPTY, STALE_NAN, is_empty_cell, is_stale, resolve};
pub use series::{
    ExemplarPoint, ExemplarSeries, FloatColumn, HistogramPoint, Merger, SeriesData, any_cell, sort_by_labels,
    unite,
};
pub use shard::{Shards, shard_of};
pub use tenant::{TenantId, TenantIdError, TenantIds};
pub use time::{TimeRange, Window};
pub use value::{MatrixSeries, SampleValue, Value, VectorSample};
