//! Series as tables of others: a stream of Arrow IPC, a file of Parquet.
//!
//! On the path: querier → query-frontend → **columnar** → pandas, Polars, DuckDB, Spark.
//!
//! ```text
//!  metric       map<utf8, utf8>                   the labels
//!  timestamps   list<timestamp[ms, UTC]>          of the floats
//!  values       list<double>                      one each
//!  histograms   list<struct<timestamp, count, sum, schema, zero_threshold, zero_count,
//!                           positive_spans, positive_counts, negative_spans, negative_counts,
//!                           custom_values, is_float, counter_reset_hint>>
//! ```
//!
//! Always true:
//! - a row is a series with its samples in order of time, floats bit for bit; counts of histograms are absolute and
//!   floats, exact up to 2⁵³;
//! - what has been written is given out at once, so a table of any length needs the memory of one part of it.

mod rows;
mod writer;

pub use rows::schema;
pub use writer::{Columnar, ColumnarError, Format};
