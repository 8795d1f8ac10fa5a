use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Float64Array, Int64Array, MapArray, RecordBatch};
use model::Labels;

use super::labels::push_run_of;
use super::{ReadError, column, missing};

/// Rows of the table `exemplars` with the columns [`super::EXEMPLAR_COLUMNS`]. A column that is null throughout may be
/// missing.
pub struct ExemplarRows<'a> {
    n_rows: usize,
    labels: Option<&'a MapArray>,
    timestamps: &'a Int64Array,
    values: &'a Float64Array,
    own: Option<&'a MapArray>,
}

impl<'a> ExemplarRows<'a> {
    /// The rows of a batch.
    pub fn new(batch: &'a RecordBatch) -> Result<ExemplarRows<'a>, ReadError> {
        let timestamps = column(batch, "ts").and_then(|array| array.as_primitive_opt::<Int64Type>());
        let values = column(batch, "value").and_then(|array| array.as_primitive_opt::<Float64Type>());
        Ok(ExemplarRows {
            n_rows: batch.num_rows(),
            labels: map(batch, "labels")?,
            timestamps: timestamps.ok_or_else(|| missing("ts"))?,
            values: values.ok_or_else(|| missing("value"))?,
            own: map(batch, "exemplar_labels")?,
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.n_rows
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.n_rows == 0
    }

    /// When.
    pub fn timestamp(&self, row: usize) -> i64 {
        self.timestamps.value(row)
    }

    /// The observed value.
    pub fn value(&self, row: usize) -> f64 {
        self.values.value(row)
    }

    /// Replaces `run` with the series' canonical label run.
    pub fn series_run(&self, row: usize, run: &mut Vec<u8>) -> Result<(), ReadError> {
        run.clear();
        self.labels.map_or(Ok(()), |maps| push_map(maps, row, run))
    }

    /// The exemplar's own labels.
    pub fn labels(&self, row: usize) -> Result<Labels, ReadError> {
        let mut run = Vec::new();
        self.own.map_or(Ok(()), |maps| push_map(maps, row, &mut run))?;
        Ok(Labels::of_canonical_run(&run))
    }
}

fn map<'a>(batch: &'a RecordBatch, name: &str) -> Result<Option<&'a MapArray>, ReadError> {
    match column(batch, name) {
        None => Ok(None),
        Some(array) => array.as_map_opt().map(Some).ok_or_else(|| missing(name)),
    }
}

fn push_map(maps: &MapArray, row: usize, run: &mut Vec<u8>) -> Result<(), ReadError> {
    let names = maps.keys().as_string_opt::<i32>().ok_or_else(|| missing("key"))?;
    let values = maps.values().as_string_opt::<i32>().ok_or_else(|| missing("value"))?;
    let offsets = maps.value_offsets();
    push_run_of(names, values, offsets[row] as usize..offsets[row + 1] as usize, run);
    Ok(())
}
