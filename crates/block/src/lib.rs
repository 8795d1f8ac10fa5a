//! One Parquet file of a table: what the columns of `metrics`, `exemplars` and `metadata` are, how series become rows and
//! rows series again.
//!
//! On the path: ingester → cut → **block** → bucket (commit); bucket → scan → **block** (decode). The formats
//! are written down in `docs/format/`.
//!
//! Always true:
//! - a sample that went into [`write_metrics`] comes back from [`read`] with every bit it had;
//! - a row never exceeds its window, a file never exceeds its day;
//! - a file that is written takes about as much memory as it was allowed, whatever the number of series.

pub mod decimal;
pub mod exemplars;
mod histogram;
mod labels;
pub mod merge;
pub mod metadata;
pub mod read;
mod rowfile;
mod rows;
pub mod schema;
mod summary;
mod timelines;
mod windows;
mod write;

pub use exemplars::{write_exemplars, write_exemplars_within};
pub use metadata::{read_metadata, write_metadata};
pub use rowfile::WrittenRows;
pub use schema::Day;
pub use summary::{BlockSummary, FileSummary, RowsSummary};
pub use write::{
    BlockMeta, BlockSeries, WriteError, WriteOptions, WrittenBlock, block_order, write_metrics,
    write_metrics_within,
};
