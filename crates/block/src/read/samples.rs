use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ListArray, RecordBatch};
use model::{EMPTY, FloatColumn, TimeRange};

use super::parts::{PartKind, PartRow};
use super::row::{FloatRow, Ints, Values};
use super::{ReadError, column, elements, list, longs, missing};
use crate::decimal::Decimal;

/// A timestamp list cut down to a range of time.
#[derive(Debug, Clone)]
pub struct Clip {
    pub(super) len: usize,
    pub(super) range: Range<usize>,
    /// The timestamps in the range, shared by the columns that are made with it.
    pub times: Arc<[i64]>,
}

impl Clip {
    /// The part of `times` that lies in `range`.
    pub fn new(times: &Arc<[i64]>, range: TimeRange) -> Clip {
        let kept = within(times, range);
        let whole = kept == (0..times.len());
        let clipped = if whole { Arc::clone(times) } else { times[kept.clone()].into() };
        Clip { len: times.len(), range: kept, times: clipped }
    }

    /// How many timestamps the whole list has.
    pub fn whole_len(&self) -> usize {
        self.len
    }

    fn own(times: &[i64], range: TimeRange) -> Clip {
        let kept = within(times, range);
        Clip { len: times.len(), range: kept.clone(), times: times[kept].into() }
    }
}

fn within(times: &[i64], range: TimeRange) -> Range<usize> {
    let start = times.partition_point(|ts| *ts < range.start);
    start..times.partition_point(|ts| *ts <= range.end).max(start)
}

/// Rows of kind `series` with the columns [`super::SAMPLE_COLUMNS`], and [`super::PART_COLUMNS`] where parts are
/// read. A column that is null throughout may be missing.
pub struct SampleRows<'a> {
    batch: &'a RecordBatch,
    range: TimeRange,
    timestamps: Option<&'a ListArray>,
    ints: Option<&'a ListArray>,
    doubles: Option<&'a ListArray>,
    stale_at: Option<&'a ListArray>,
    starts: Option<&'a ListArray>,
}

impl<'a> SampleRows<'a> {
    /// Rows of which the samples in `range` are wanted.
    pub fn new(batch: &'a RecordBatch, range: TimeRange) -> Result<SampleRows<'a>, ReadError> {
        Ok(SampleRows {
            batch,
            range,
            timestamps: list(batch, "timestamps")?,
            ints: list(batch, "values_int")?,
            doubles: list(batch, "values_double")?,
            stale_at: list(batch, "stale_at")?,
            starts: list(batch, "start_ts")?,
        })
    }

    /// The float samples of a row and their start timestamps. `timeline` is what its `ts_ref` refers to.
    pub fn floats(
        &self,
        row: usize,
        timeline: Option<&Clip>,
    ) -> Result<(FloatColumn, Vec<(i64, i64)>), ReadError> {
        self.float_row(row)?.floats(timeline, self.range)
    }

    /// The float samples of a row, whatever the range.
    pub fn float_row(&self, row: usize) -> Result<FloatRow, ReadError> {
        let (values, nulls) = self.all_values(row)?;
        let own = self.timestamps.map(|lists| longs(lists, row)).transpose()?.flatten();
        Ok(FloatRow {
            times: own.map(Arc::from),
            values,
            nulls,
            stale_at: self.stale(row)?.into(),
            starts: self.all_starts(row)?,
        })
    }

    /// A histogram part.
    pub fn part(&self, row: usize, timeline: Option<&Clip>) -> Result<PartRow, ReadError> {
        let clip = self.clip(row, timeline)?;
        let kind = column(self.batch, "h_part").and_then(|array| array.as_string_opt::<i32>());
        let kind = kind.filter(|kinds| kinds.is_valid(row)).ok_or_else(|| missing("h_part"))?.value(row);
        let kind =
            PartKind::parse(kind).ok_or_else(|| ReadError(format!("unknown histogram part {kind:?}")))?;
        let float = column(self.batch, "h_float").and_then(|array| array.as_boolean_opt());
        let float = float.filter(|floats| floats.is_valid(row)).ok_or_else(|| missing("h_float"))?.value(row);
        let is_count = kind != PartKind::Sum && !float;
        let (bits, present) = if is_count { self.counts(row, &clip)? } else { self.double_bits(row, &clip)? };
        Ok(PartRow {
            kind,
            float,
            form: self.integer("h_form", row)?,
            schema: self.integer("h_schema", row)?,
            zero_threshold: self.double("h_zero_threshold", row)?,
            custom_values: self.custom_values(row)?,
            bucket: if kind.is_bucket() { self.integer("h_bucket", row)? } else { 0 },
            hints: self.hints(row, &clip)?,
            starts: self.starts(row, &clip)?,
            stale_at: self.stale(row)?.iter().copied().filter(|ts| self.range.contains(*ts)).collect(),
            times: clip.times,
            bits,
            present,
        })
    }

    fn clip(&self, row: usize, timeline: Option<&Clip>) -> Result<Clip, ReadError> {
        if let Some(clip) = timeline {
            return Ok(clip.clone());
        }
        let own = self.timestamps.map(|lists| longs(lists, row)).transpose()?.flatten();
        let own = own.ok_or_else(|| ReadError("a row has neither timestamps nor ts_ref".to_string()))?;
        Ok(Clip::own(own, self.range))
    }

    /// A double per timestamp of the clip.
    fn values(&self, row: usize, clip: &Clip) -> Result<Vec<f64>, ReadError> {
        let (values, nulls) = self.all_values(row)?;
        let times = Some(Arc::clone(&clip.times));
        let row = FloatRow { times, values, nulls, stale_at: Box::default(), starts: Box::default() };
        Ok(row.floats(Some(clip), self.range)?.0.values)
    }

    /// Integer counts as `u64` bits.
    fn counts(&self, row: usize, clip: &Clip) -> Result<(Vec<u64>, Vec<bool>), ReadError> {
        let Some((lists, range)) = row_of(self.ints, row) else {
            return Ok((vec![0; clip.times.len()], vec![false; clip.times.len()]));
        };
        check_len(range.len(), clip.len)?;
        let base = self.decimal(row)?.base;
        let ints = lists.values().as_primitive_opt::<Int64Type>().ok_or_else(|| missing("values_int"))?;
        let wanted = range.start + clip.range.start..range.start + clip.range.end;
        let present = wanted.clone().map(|at| ints.is_valid(at)).collect();
        Ok((ints.values()[wanted].iter().map(|v| base.wrapping_add(*v).cast_unsigned()).collect(), present))
    }

    /// The values of a row, and where it has none.
    fn all_values(&self, row: usize) -> Result<(Values, Box<[u32]>), ReadError> {
        if let Some((lists, range)) = row_of(self.ints, row) {
            let ints = lists.values().as_primitive_opt::<Int64Type>().ok_or_else(|| missing("values_int"))?;
            let values = Values::Decimals(self.decimal(row)?, Ints::new(&ints.values()[range.clone()]));
            return Ok((values, nulls(ints, range)));
        }
        let Some((lists, range)) = row_of(self.doubles, row) else {
            // A column that holds nothing but null elements is left out by whoever read the batch.
            return Ok((Values::None, Box::default()));
        };
        let doubles =
            lists.values().as_primitive_opt::<Float64Type>().ok_or_else(|| missing("values_double"))?;
        Ok((Values::Doubles(doubles.values()[range.clone()].into()), nulls(doubles, range)))
    }

    /// All start timestamps of a row, 0 for unknown; empty when it has none.
    fn all_starts(&self, row: usize) -> Result<Box<[i64]>, ReadError> {
        let Some((lists, range)) = row_of(self.starts, row) else { return Ok(Box::default()) };
        let values = lists.values().as_primitive_opt::<Int64Type>().ok_or_else(|| missing("start_ts"))?;
        Ok(range.map(|at| if values.is_valid(at) { values.value(at) } else { 0 }).collect())
    }

    fn double_bits(&self, row: usize, clip: &Clip) -> Result<(Vec<u64>, Vec<bool>), ReadError> {
        let values = self.values(row, clip)?;
        let present = values.iter().map(|value| value.to_bits() != EMPTY).collect();
        Ok((values.into_iter().map(f64::to_bits).collect(), present))
    }

    fn decimal(&self, row: usize) -> Result<Decimal, ReadError> {
        let base = column(self.batch, "values_base").and_then(|array| array.as_primitive_opt::<Int64Type>());
        let base = base.ok_or_else(|| missing("values_base"))?.value(row);
        Ok(Decimal { base, mul: self.double("values_mul", row)?, div: self.double("values_div", row)? })
    }

    fn stale(&self, row: usize) -> Result<&'a [i64], ReadError> {
        let stale = self.stale_at.map(|lists| longs(lists, row)).transpose()?.flatten();
        Ok(stale.unwrap_or_default())
    }

    /// Start timestamps parallel to the clip, 0 for unknown; empty when the row has none.
    fn starts(&self, row: usize, clip: &Clip) -> Result<Vec<i64>, ReadError> {
        let Some((lists, range)) = row_of(self.starts, row) else { return Ok(Vec::new()) };
        check_len(range.len(), clip.len)?;
        let values = lists.values().as_primitive_opt::<Int64Type>().ok_or_else(|| missing("start_ts"))?;
        let wanted = range.start + clip.range.start..range.start + clip.range.end;
        Ok(wanted.map(|at| if values.is_valid(at) { values.value(at) } else { 0 }).collect())
    }

    fn hints(&self, row: usize, clip: &Clip) -> Result<Vec<i32>, ReadError> {
        let Some((lists, range)) = row_of(list(self.batch, "h_hint")?, row) else { return Ok(Vec::new()) };
        check_len(range.len(), clip.len)?;
        let hints = lists.values().as_primitive_opt::<Int32Type>().ok_or_else(|| missing("h_hint"))?;
        let wanted = range.start + clip.range.start..range.start + clip.range.end;
        Ok(wanted.map(|at| if hints.is_valid(at) { hints.value(at) } else { 0 }).collect())
    }

    fn custom_values(&self, row: usize) -> Result<Vec<f64>, ReadError> {
        let Some((lists, range)) = row_of(list(self.batch, "h_custom_values")?, row) else {
            return Ok(Vec::new());
        };
        let values = lists.values().as_primitive_opt::<Float64Type>();
        Ok(values.ok_or_else(|| missing("h_custom_values"))?.values()[range].to_vec())
    }

    fn integer(&self, name: &str, row: usize) -> Result<i32, ReadError> {
        let column = column(self.batch, name).and_then(|array| array.as_primitive_opt::<Int32Type>());
        Ok(column.filter(|values| values.is_valid(row)).ok_or_else(|| missing(name))?.value(row))
    }

    fn double(&self, name: &str, row: usize) -> Result<f64, ReadError> {
        let column = column(self.batch, name).and_then(|array| array.as_primitive_opt::<Float64Type>());
        Ok(column.filter(|values| values.is_valid(row)).ok_or_else(|| missing(name))?.value(row))
    }
}

fn row_of(lists: Option<&ListArray>, row: usize) -> Option<(&ListArray, Range<usize>)> {
    let lists = lists?;
    Some((lists, elements(lists, row)?))
}

pub(super) fn check_len(have: usize, want: usize) -> Result<(), ReadError> {
    if have == want {
        return Ok(());
    }
    Err(ReadError(format!("a row has {have} elements for {want} timestamps")))
}

fn nulls(array: &dyn Array, range: Range<usize>) -> Box<[u32]> {
    if array.null_count() == 0 {
        return Box::default();
    }
    range.clone().filter(|at| array.is_null(*at)).map(|at| (at - range.start) as u32).collect()
}
