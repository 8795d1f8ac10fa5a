use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, Int64Array, RecordBatch, StringArray};
use model::{Labels, TimeRange, push_label};

use super::{ReadError, column, missing};

/// The labels of consecutive rows of kind `series`, and what it takes to decide whether to read on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LabelRows {
    runs: Vec<u8>,
    ends: Vec<u32>,
    times: Vec<(i64, i64)>,
    counts: Vec<u32>,
    ts_refs: Vec<Option<u32>>,
    forms: Vec<RowForm>,
}

/// What a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowForm {
    /// Float samples.
    Floats,
    /// A part of histograms.
    Part,
}

/// One row of [`LabelRows`].
#[derive(Debug, Clone, Copy)]
pub struct LabelRow<'a> {
    /// The canonical label run.
    pub run: &'a [u8],
    /// First and last timestamp.
    pub times: TimeRange,
    /// Samples.
    pub count: u32,
    /// The timeline, unless the row carries its own.
    pub ts_ref: Option<u32>,
    /// What it holds.
    pub form: RowForm,
}

impl LabelRows {
    /// Decodes the rows of a batch with the columns [`super::LABEL_COLUMNS`]; a column that is null throughout may
    /// be missing.
    pub fn decode(batches: &[RecordBatch]) -> Result<LabelRows, ReadError> {
        let mut rows = LabelRows::default();
        for batch in batches {
            rows.append(batch)?;
        }
        rows.runs.shrink_to_fit();
        Ok(rows)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// A row, if there are so many.
    pub fn get(&self, row: usize) -> Option<LabelRow<'_>> {
        let end = *self.ends.get(row)? as usize;
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        let (first, last) = self.times[row];
        Some(LabelRow {
            run: &self.runs[start..end],
            times: TimeRange::new(first, last),
            count: self.counts[row],
            ts_ref: self.ts_refs[row],
            form: self.forms[row],
        })
    }

    /// Bytes of memory held.
    pub fn size(&self) -> usize {
        self.runs.capacity() + self.ends.len() * 40
    }

    fn append(&mut self, batch: &RecordBatch) -> Result<(), ReadError> {
        let (min_time, max_time) = (longs(batch, "min_time")?, longs(batch, "max_time")?);
        let counts = longs(batch, "count")?;
        let ts_refs = longs(batch, "ts_ref").ok();
        let parts = column(batch, "h_part");
        self.append_runs(batch)?;
        for row in 0..batch.num_rows() {
            self.times.push((min_time.value(row), max_time.value(row)));
            self.counts.push(u32::try_from(counts.value(row)).unwrap_or(u32::MAX));
            let ts_ref = match ts_refs {
                Some(refs) if refs.is_valid(row) => Some(refs.value(row) as u32),
                _ => None,
            };
            self.ts_refs.push(ts_ref);
            let is_part = parts.is_some_and(|parts| parts.is_valid(row));
            self.forms.push(if is_part { RowForm::Part } else { RowForm::Floats });
        }
        Ok(())
    }

    fn append_runs(&mut self, batch: &RecordBatch) -> Result<(), ReadError> {
        let Some(maps) = column(batch, "labels") else {
            // Null throughout: series without labels.
            self.ends.resize(self.ends.len() + batch.num_rows(), self.runs.len() as u32);
            return Ok(());
        };
        let maps = maps.as_map_opt().ok_or_else(|| missing("labels"))?;
        let names = maps.keys().as_string_opt::<i32>().ok_or_else(|| missing("labels.key"))?;
        let values = maps.values().as_string_opt::<i32>().ok_or_else(|| missing("labels.value"))?;
        let offsets = maps.value_offsets();
        for row in 0..batch.num_rows() {
            self.push_run(names, values, offsets[row] as usize..offsets[row + 1] as usize)?;
        }
        Ok(())
    }

    fn push_run(
        &mut self,
        names: &StringArray,
        values: &StringArray,
        range: std::ops::Range<usize>,
    ) -> Result<(), ReadError> {
        push_run_of(names, values, range, &mut self.runs);
        let end = u32::try_from(self.runs.len());
        self.ends.push(end.map_err(|_| ReadError("more than 4 GiB of labels in one piece".to_string()))?);
        Ok(())
    }
}

/// Appends the canonical run of a map's entries in `range`.
pub(super) fn push_run_of(
    names: &StringArray,
    values: &StringArray,
    range: std::ops::Range<usize>,
    run: &mut Vec<u8>,
) {
    let start = run.len();
    let mut last = "";
    let mut in_order = true;
    for at in range.clone() {
        let (name, value) = (names.value(at), values.value(at));
        in_order &= last < name && !value.is_empty();
        last = name;
        push_label(run, name, value);
    }
    if !in_order {
        // Another writer's order or empty value; the run must be canonical all the same.
        let pairs = range.map(|at| (names.value(at), values.value(at)));
        let labels = Labels::from_pairs(pairs);
        run.truncate(start);
        run.extend_from_slice(labels.run());
    }
}

/// The pairs in rows of kind `labels`. A batch without the column `label_value` gives names with empty values.
pub fn label_pairs(batch: &RecordBatch) -> Result<Vec<(&str, &str)>, ReadError> {
    let names = column(batch, "label_name").and_then(|array| array.as_string_opt::<i32>());
    let names = names.ok_or_else(|| missing("label_name"))?;
    let values = column(batch, "label_value").and_then(|array| array.as_string_opt::<i32>());
    let value = |row| values.map_or("", |values| values.value(row));
    Ok((0..names.len()).map(|row| (names.value(row), value(row))).collect())
}

fn longs<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a Int64Array, ReadError> {
    let array = column(batch, name).and_then(|array| array.as_primitive_opt::<Int64Type>());
    array.ok_or_else(|| missing(name))
}
