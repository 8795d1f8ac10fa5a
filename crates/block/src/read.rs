//! Rows of a file back into series.
//!
//! A reader goes through a file in the order of what it can leave out: footer, then [`LabelRows`] of the row groups
//! and pages that may match, then [`SampleRows`] of the rows that do, and the [`timelines`] those refer to.

mod exemplars;
mod labels;
mod packed;
mod parts;
mod row;
mod samples;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch};

pub use exemplars::ExemplarRows;
pub use labels::{LabelRow, LabelRows, RowForm, label_pairs};
pub use packed::{FloatRows, PackedRow};
pub use parts::{PartRow, assemble};
pub use row::FloatRow;
pub use samples::{Clip, SampleRows};

/// The columns that [`LabelRows`] reads.
pub const LABEL_COLUMNS: [&str; 6] = ["labels", "min_time", "max_time", "count", "ts_ref", "h_part"];
/// The columns that [`SampleRows`] reads of rows with floats.
pub const SAMPLE_COLUMNS: [&str; 8] = [
    "timestamps",
    "values_base",
    "values_mul",
    "values_div",
    "values_int",
    "values_double",
    "stale_at",
    "start_ts",
];
/// The columns that [`SampleRows`] reads besides of histogram parts.
pub const PART_COLUMNS: [&str; 8] =
    ["h_form", "h_part", "h_float", "h_schema", "h_zero_threshold", "h_custom_values", "h_hint", "h_bucket"];

/// The columns that [`ExemplarRows`] reads.
pub const EXEMPLAR_COLUMNS: [&str; 4] = ["labels", "ts", "value", "exemplar_labels"];

/// A file does not hold what its format says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(pub String);

/// The timestamp lists of rows of kind `timestamps`, in order.
pub fn timelines(batch: &RecordBatch) -> Result<Vec<Vec<i64>>, ReadError> {
    let lists = list(batch, "timestamps")?.ok_or_else(|| missing("timestamps"))?;
    (0..lists.len()).map(|row| Ok(longs(lists, row)?.unwrap_or_default().to_vec())).collect()
}

pub(crate) fn missing(column: &str) -> ReadError {
    ReadError(format!("column {column} is missing or of another type"))
}

/// The column, if the batch has it.
pub(crate) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a ArrayRef> {
    batch.column_by_name(name)
}

fn list<'a>(batch: &'a RecordBatch, name: &str) -> Result<Option<&'a ListArray>, ReadError> {
    match column(batch, name) {
        None => Ok(None),
        Some(array) => array.as_list_opt::<i32>().map(Some).ok_or_else(|| missing(name)),
    }
}

/// Where the elements of a row lie among those of all rows; `None` for a null list.
pub(crate) fn elements(lists: &ListArray, row: usize) -> Option<std::ops::Range<usize>> {
    if lists.is_null(row) {
        return None;
    }
    let offsets = lists.value_offsets();
    Some(offsets[row] as usize..offsets[row + 1] as usize)
}

/// The elements of a row without nulls among them.
fn longs(lists: &ListArray, row: usize) -> Result<Option<&[i64]>, ReadError> {
    let Some(range) = elements(lists, row) else { return Ok(None) };
    let values =
        lists.values().as_primitive_opt::<Int64Type>().ok_or_else(|| missing("of a list of integers"))?;
    Ok(Some(&values.values()[range]))
}
