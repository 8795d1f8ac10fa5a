//! Rows as they are encoded, from one file into another.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrowPrimitiveType, ListArray, PrimitiveArray};
use model::Labels;

use super::MergeError;
use super::batch::{Columns, RowRef};
use crate::decimal::Decimal;
use crate::histogram::{COUNT, NEGATIVE, POSITIVE, SUM, ZERO};
use crate::read::{RowForm, elements};
use crate::rows::{Part, SeriesRow, Times, Values};
use crate::write::Writer;

/// Whether the row is the first of a form of histograms.
pub(super) fn begins_form(row: &RowRef) -> bool {
    part_kind(&row.batch.columns, row.row) == Some(COUNT)
}

/// Copies rows of one series that have the same timestamps: one of floats, or whole forms. `false`: a row is in no
/// shape to be copied, and none was.
pub(super) fn rows(
    writer: &mut Writer,
    labels: &Labels,
    rows: &[RowRef],
    form: &mut i32,
) -> Result<bool, MergeError> {
    let Some(lists) = rows.iter().map(Lists::of).collect::<Option<Vec<_>>>() else { return Ok(false) };
    let Some((first, list)) = rows.first().zip(lists.first()) else { return Ok(true) };
    let own: Option<Arc<[i64]>> = list.times.map(Arc::from);
    let timeline = first.timeline()?;
    let (times, shared) = match (timeline, &own) {
        (Some(clip), _) => (&clip.times, true),
        (None, Some(own)) => (own, false),
        (None, None) => return Ok(false),
    };
    let n_values = |list: &Lists<'_>| list.values.len() == times.len();
    if !lists.iter().all(n_values) {
        let reason = "a row has more or fewer values than timestamps";
        return Err(MergeError::corrupt(&first.batch.file.name, reason));
    }
    let number = writer.timeline(super::SHARD, times, shared);
    let times = number.map_or(Times::Own(times), Times::Shared);
    let mut scratch = Scratch::default();
    for (at, (row, list)) in rows.iter().zip(&lists).enumerate() {
        if at > 0 && begins_form(row) {
            *form += 1;
        }
        scratch.fill(list);
        writer.push(&series_row(labels, row, list, times, &scratch, *form))?;
    }
    if first.form() == RowForm::Part {
        *form += 1;
    }
    Ok(true)
}

/// The lists of a row, as slices of its batch.
struct Lists<'a> {
    times: Option<&'a [i64]>,
    values: EncodedValues<'a>,
    nulls: Option<(&'a dyn Array, Range<usize>)>,
    stale_at: &'a [i64],
    starts: Option<Sparse<'a, Int64Type>>,
    hints: Option<Sparse<'a, Int32Type>>,
    custom_values: &'a [f64],
}

#[derive(Clone, Copy)]
enum EncodedValues<'a> {
    Ints(Decimal, &'a [i64]),
    Doubles(&'a [f64]),
}

/// A list with null elements.
type Sparse<'a, T> = (&'a PrimitiveArray<T>, Range<usize>);

/// What a row needs beside slices of its batch.
#[derive(Default)]
struct Scratch {
    present: Vec<bool>,
    starts: Vec<i64>,
    hints: Vec<i32>,
}

impl EncodedValues<'_> {
    fn len(&self) -> usize {
        match self {
            EncodedValues::Ints(_, ints) => ints.len(),
            EncodedValues::Doubles(doubles) => doubles.len(),
        }
    }
}

impl<'a> Lists<'a> {
    /// `None`: a list that should be there is not, or a null where there is never one.
    fn of(row: &'a RowRef) -> Option<Lists<'a>> {
        let (columns, at) = (&row.batch.columns, row.row);
        let (values, nulls) = values(columns, at)?;
        Some(Lists {
            times: whole::<Int64Type>(columns.timestamps.as_ref(), at)?,
            values,
            nulls,
            stale_at: whole::<Int64Type>(columns.stale_at.as_ref(), at)?.unwrap_or_default(),
            starts: sparse(columns.starts.as_ref(), at)?,
            hints: sparse(columns.h_hint.as_ref(), at)?,
            custom_values: whole::<Float64Type>(columns.h_custom_values.as_ref(), at)?.unwrap_or_default(),
        })
    }
}

type WithNulls<'a> = (EncodedValues<'a>, Option<(&'a dyn Array, Range<usize>)>);

fn values(columns: &Columns, row: usize) -> Option<WithNulls<'_>> {
    if let Some((ints, range)) = sparse::<Int64Type>(columns.ints.as_ref(), row)? {
        let decimal = Decimal {
            base: value(columns.base.as_ref(), row)?,
            mul: value(columns.mul.as_ref(), row)?,
            div: value(columns.div.as_ref(), row)?,
        };
        let nulls = (ints.null_count() > 0).then(|| (ints as &dyn Array, range.clone()));
        return Some((EncodedValues::Ints(decimal, &ints.values()[range]), nulls));
    }
    let (doubles, range) = sparse::<Float64Type>(columns.doubles.as_ref(), row)??;
    let nulls = (doubles.null_count() > 0).then(|| (doubles as &dyn Array, range.clone()));
    Some((EncodedValues::Doubles(&doubles.values()[range]), nulls))
}

/// `Some(None)`: the row has no such list.
fn sparse<T: ArrowPrimitiveType>(lists: Option<&ListArray>, row: usize) -> Option<Option<Sparse<'_, T>>> {
    let Some((lists, range)) = lists.and_then(|lists| Some((lists, elements(lists, row)?))) else {
        return Some(None);
    };
    Some(Some((lists.values().as_primitive_opt::<T>()?, range)))
}

/// A list without null elements.
fn whole<T: ArrowPrimitiveType>(lists: Option<&ListArray>, row: usize) -> Option<Option<&[T::Native]>> {
    let Some((values, range)) = sparse::<T>(lists, row)? else { return Some(None) };
    (values.null_count() == 0).then(|| Some(&values.values()[range]))
}

fn value<T: ArrowPrimitiveType>(column: Option<&PrimitiveArray<T>>, row: usize) -> Option<T::Native> {
    column.filter(|values| values.is_valid(row)).map(|values| values.value(row))
}

impl Scratch {
    fn fill(&mut self, lists: &Lists<'_>) {
        self.present.clear();
        self.starts.clear();
        self.hints.clear();
        if let Some((values, range)) = &lists.nulls {
            self.present.extend(range.clone().map(|at| values.is_valid(at)));
            if !self.present.contains(&false) {
                self.present.clear();
            }
        }
        if let Some((starts, range)) = &lists.starts {
            let of = |at| if starts.is_valid(at) { starts.value(at) } else { 0 };
            self.starts.extend(range.clone().map(of));
        }
        if let Some((hints, range)) = &lists.hints {
            let of = |at| if hints.is_valid(at) { hints.value(at) } else { 0 };
            self.hints.extend(range.clone().map(of));
        }
    }
}

fn series_row<'a>(
    labels: &'a Labels,
    row: &'a RowRef,
    lists: &Lists<'a>,
    times: Times<'a>,
    scratch: &'a Scratch,
    form: i32,
) -> SeriesRow<'a> {
    let range = row.times();
    SeriesRow {
        labels,
        min_time: range.start,
        max_time: range.end,
        count: row.batch.columns.count.value(row.row),
        times,
        values: match lists.values {
            EncodedValues::Ints(decimal, ints) => Values::Int(decimal, ints),
            EncodedValues::Doubles(doubles) => Values::Double(doubles),
        },
        present: &scratch.present,
        stale_at: lists.stale_at,
        starts: &scratch.starts,
        part: part(&row.batch.columns, row.row, lists, &scratch.hints, form),
    }
}

fn part<'a>(
    columns: &Columns,
    row: usize,
    lists: &Lists<'a>,
    hints: &'a [i32],
    form: i32,
) -> Option<Part<'a>> {
    let kind = part_kind(columns, row)?;
    let float = columns.h_float.as_ref().is_some_and(|floats| floats.is_valid(row) && floats.value(row));
    Some(Part {
        form,
        kind,
        float,
        schema: value(columns.h_schema.as_ref(), row).unwrap_or_default(),
        zero_threshold: value(columns.h_zero_threshold.as_ref(), row).unwrap_or_default(),
        custom_values: lists.custom_values,
        hints,
        bucket: value(columns.h_bucket.as_ref(), row),
        bounds: value(columns.h_lower.as_ref(), row).zip(value(columns.h_upper.as_ref(), row)),
    })
}

fn part_kind(columns: &Columns, row: usize) -> Option<&'static str> {
    let kinds = columns.h_part.as_ref().filter(|kinds| kinds.is_valid(row))?;
    [COUNT, SUM, ZERO, NEGATIVE, POSITIVE].into_iter().find(|kind| kinds.value(row) == *kind)
}
