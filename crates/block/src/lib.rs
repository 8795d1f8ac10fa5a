//! One Parquet file of the table `metrics`: what its columns are, how series become rows and rows series again.
//!
//! On the path: ingester → cut → **block** → bucket (commit); bucket → scan → **block** (decode). The format is
//! written down in `docs/format/metrics-table.md`.
//!
//! Always true:
//! - a sample that went into [`write_metrics`] comes back from [`read`] with every bit it had;
//! - a row never exceeds its window, a file never exceeds its day;
//! - the writer holds one row group of encoded pages at a time, whatever the number of series.

pub mod decimal;
mod histogram;
mod labels;
pub mod merge;
pub mod read;
mod rows;
pub mod schema;
mod summary;
mod timelines;
mod windows;
mod write;

pub use schema::Day;
pub use summary::BlockSummary;
pub use write::{BlockMeta, BlockSeries, WriteError, WriteOptions, WrittenBlock, block_order, write_metrics};
