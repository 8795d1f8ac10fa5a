use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{
    Array, ArrowPrimitiveType, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, PrimitiveArray,
    RecordBatch, StringArray,
};
use model::{Deletion, TimeRange};

use super::MergeError;
use crate::read::{Clip, LabelRows, RowForm, column};

/// Consecutive rows of a file.
pub(super) struct Batch {
    pub(super) file: Arc<OpenFile>,
    pub(super) labels: LabelRows,
    pub(super) record: RecordBatch,
    pub(super) columns: Columns,
}

/// What all batches of a file share.
pub(super) struct OpenFile {
    pub(super) name: String,
    /// Tells files of one merge apart.
    pub(super) number: usize,
    pub(super) timelines: Vec<Clip>,
    pub(super) deletions: Vec<Arc<Deletion>>,
}

/// One row of a batch.
#[derive(Clone)]
pub(super) struct RowRef {
    pub(super) batch: Arc<Batch>,
    pub(super) row: usize,
}

/// The columns of a batch; one that is null throughout may be missing.
pub(super) struct Columns {
    pub(super) count: Int64Array,
    pub(super) timestamps: Option<ListArray>,
    pub(super) base: Option<Int64Array>,
    pub(super) mul: Option<Float64Array>,
    pub(super) div: Option<Float64Array>,
    pub(super) ints: Option<ListArray>,
    pub(super) doubles: Option<ListArray>,
    pub(super) stale_at: Option<ListArray>,
    pub(super) starts: Option<ListArray>,
    pub(super) h_part: Option<StringArray>,
    pub(super) h_float: Option<BooleanArray>,
    pub(super) h_schema: Option<Int32Array>,
    pub(super) h_zero_threshold: Option<Float64Array>,
    pub(super) h_custom_values: Option<ListArray>,
    pub(super) h_hint: Option<ListArray>,
    pub(super) h_bucket: Option<Int32Array>,
    pub(super) h_lower: Option<Float64Array>,
    pub(super) h_upper: Option<Float64Array>,
}

impl Batch {
    pub(super) fn new(file: &Arc<OpenFile>, record: RecordBatch) -> Result<Batch, MergeError> {
        let broken = |e| MergeError::read(&file.name, e);
        let labels = LabelRows::decode(std::slice::from_ref(&record)).map_err(broken)?;
        let columns = Columns::of(&record)
            .ok_or_else(|| MergeError::corrupt(&file.name, "a column is of another type or missing"))?;
        Ok(Batch { file: Arc::clone(file), labels, record, columns })
    }
}

impl RowRef {
    pub(super) fn form(&self) -> RowForm {
        self.batch.labels.get(self.row).map_or(RowForm::Floats, |row| row.form)
    }

    pub(super) fn times(&self) -> TimeRange {
        self.batch.labels.get(self.row).map_or(TimeRange::ALL, |row| row.times)
    }

    pub(super) fn run(&self) -> &[u8] {
        self.batch.labels.get(self.row).map_or(&[], |row| row.run)
    }

    /// The timeline that the row refers to, if it does.
    pub(super) fn timeline(&self) -> Result<Option<&Clip>, MergeError> {
        let file = &self.batch.file;
        let Some(number) = self.batch.labels.get(self.row).and_then(|row| row.ts_ref) else {
            return Ok(None);
        };
        let found = file.timelines.get(number as usize);
        found
            .map(Some)
            .ok_or_else(|| MergeError::corrupt(&file.name, format!("timeline {number} is missing")))
    }
}

impl Columns {
    fn of(record: &RecordBatch) -> Option<Columns> {
        Some(Columns {
            count: primitive::<Int64Type>(record, "count")??,
            timestamps: list(record, "timestamps")?,
            base: primitive::<Int64Type>(record, "values_base")?,
            mul: primitive::<Float64Type>(record, "values_mul")?,
            div: primitive::<Float64Type>(record, "values_div")?,
            ints: list(record, "values_int")?,
            doubles: list(record, "values_double")?,
            stale_at: list(record, "stale_at")?,
            starts: list(record, "start_ts")?,
            h_part: typed(record, "h_part", |array| array.as_string_opt::<i32>().cloned())?,
            h_float: typed(record, "h_float", |array| array.as_boolean_opt().cloned())?,
            h_schema: primitive::<Int32Type>(record, "h_schema")?,
            h_zero_threshold: primitive::<Float64Type>(record, "h_zero_threshold")?,
            h_custom_values: list(record, "h_custom_values")?,
            h_hint: list(record, "h_hint")?,
            h_bucket: primitive::<Int32Type>(record, "h_bucket")?,
            h_lower: primitive::<Float64Type>(record, "h_lower")?,
            h_upper: primitive::<Float64Type>(record, "h_upper")?,
        })
    }
}

fn primitive<T: ArrowPrimitiveType>(record: &RecordBatch, name: &str) -> Option<Option<PrimitiveArray<T>>> {
    typed(record, name, |array| array.as_primitive_opt::<T>().cloned())
}

fn list(record: &RecordBatch, name: &str) -> Option<Option<ListArray>> {
    typed(record, name, |array| array.as_list_opt::<i32>().cloned())
}

/// `Some(None)`: there is no such column. `None`: it is of another type.
fn typed<A>(record: &RecordBatch, name: &str, cast: impl Fn(&dyn Array) -> Option<A>) -> Option<Option<A>> {
    match column(record, name) {
        None => Some(None),
        Some(array) => cast(array.as_ref()).map(Some),
    }
}
