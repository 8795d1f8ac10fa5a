//! Batches whose columns do not belong together: every reader says so, or reads something; none panics.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, ListArray, PrimitiveArray, RecordBatch, new_null_array};
use arrow_schema::DataType;
use block::read::{
    Clip, ExemplarRows, LabelRows, ReadError, RowForm, SampleRows, assemble, label_pairs, timelines,
};
use model::TimeRange;

use crate::files::{batches, write};
use crate::merge::{Part, input};

/// A small generator with a seed, so that a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// Small, large, negative, and the ends.
    fn number(&mut self) -> i64 {
        match self.below(6) {
            0 => i64::MIN,
            1 => i64::MAX,
            2 => self.next() as i64,
            3 => -(self.below(100) as i64),
            _ => self.below(100) as i64,
        }
    }

    /// One column or two are moved against the others, emptied, or filled with other numbers.
    fn mutate(&mut self, batch: &RecordBatch) -> RecordBatch {
        let moved = self.below(batch.num_rows().min(4));
        let n_rows = batch.num_rows() - moved;
        let mut columns: Vec<ArrayRef> =
            batch.columns().iter().map(|column| column.slice(0, n_rows)).collect();
        for _ in 0..=self.below(2) {
            let at = self.below(columns.len());
            let column = batch.column(at);
            columns[at] = match self.below(3) {
                0 => column.slice(moved, n_rows),
                1 if batch.schema().field(at).is_nullable() => new_null_array(column.data_type(), n_rows),
                _ => self.other_numbers(&columns[at]),
            };
        }
        RecordBatch::try_new(batch.schema(), columns).unwrap()
    }

    fn other_numbers(&mut self, column: &ArrayRef) -> ArrayRef {
        match column.data_type() {
            DataType::Int64 => self.primitive::<Int64Type>(column, |random| random.number()),
            DataType::Int32 => self.primitive::<Int32Type>(column, |random| random.number() as i32),
            DataType::Float64 => self.primitive::<Float64Type>(column, |random| random.number() as f64),
            DataType::List(field) => {
                let list: &ListArray = column.as_list();
                let values = self.other_numbers(list.values());
                Arc::new(ListArray::new(field.clone(), list.offsets().clone(), values, list.nulls().cloned()))
            }
            _ => column.clone(),
        }
    }

    fn primitive<T: ArrowPrimitiveType>(
        &mut self,
        column: &ArrayRef,
        number: impl Fn(&mut Random) -> T::Native,
    ) -> ArrayRef {
        let values = column.as_primitive::<T>();
        let share = self.below(4);
        let changed = values.iter().map(|value| match self.below(4) < share {
            true => value.map(|_| number(self)),
            false => value,
        });
        Arc::new(changed.collect::<PrimitiveArray<T>>().with_data_type(column.data_type().clone()))
    }
}

/// What a reader got out of a batch, and how often it was refused.
#[derive(Debug, Default)]
struct Outcome {
    n_read: usize,
    n_refused: usize,
}

impl Outcome {
    fn take<T>(&mut self, result: Result<T, ReadError>) -> Option<T> {
        match &result {
            Ok(_) => self.n_read += 1,
            Err(_) => self.n_refused += 1,
        }
        result.ok()
    }
}

/// Everything that a reader does with a batch, whatever kind of rows it is of.
fn read_all(batch: &RecordBatch, clips: &[Clip], outcome: &mut Outcome) {
    outcome.take(timelines(batch));
    outcome.take(label_pairs(batch));
    if let Some(rows) = outcome.take(ExemplarRows::new(batch)) {
        for at in 0..rows.len() {
            outcome.take(rows.series_run(at, &mut Vec::new()));
            outcome.take(rows.labels(at));
        }
    }
    let Some(labels) = outcome.take(LabelRows::decode(std::slice::from_ref(batch))) else { return };
    let Some(rows) = outcome.take(SampleRows::new(batch, TimeRange::ALL)) else { return };
    let mut parts = Vec::new();
    for at in 0..labels.len() {
        let Some(row) = labels.get(at) else { continue };
        let clip = row.ts_ref.and_then(|number| clips.get(number as usize));
        if row.form == RowForm::Part {
            parts.extend(outcome.take(rows.part(at, clip)));
            outcome.take(assemble(&parts));
        } else if let Some((column, _)) = outcome.take(rows.floats(at, clip)) {
            assert!(column.samples().count() <= column.timeline.len());
        }
    }
}

/// Floats and histograms of every kind, with and without starts, on shared timelines and on others.
fn good() -> Vec<RecordBatch> {
    let part = |kind: u8, shift| {
        let (series, from, scrapes, with_starts) = (kind, kind % 3, 12 + kind, kind.is_multiple_of(2));
        Part { series, from, scrapes, shift, kind, with_starts }
    };
    let parts: Vec<Part> = (0..8).flat_map(|kind| [part(kind, 0), part(kind, kind % 4)]).collect();
    batches(&write(input(&parts), 0, 64).bytes.into())
}

#[test]
fn columns_that_do_not_belong_together_are_an_error_and_never_a_panic() {
    let good = good();
    let all_clips = |batches: &[RecordBatch]| -> Vec<Clip> {
        let lists = batches.iter().flat_map(|batch| timelines(batch).unwrap_or_default());
        lists.map(|times| Clip::new(&times.into(), TimeRange::ALL)).collect()
    };
    let clips = all_clips(&good);
    let mut whole = Outcome::default();
    good.iter().for_each(|batch| read_all(batch, &clips, &mut whole));
    assert!(!clips.is_empty() && whole.n_read > 40, "{whole:?}");

    let (mut random, mut outcome) = (Random(0x5EED), Outcome::default());
    for case in 0..8_000 {
        read_all(&random.mutate(&good[case % good.len()]), &clips, &mut outcome);
    }
    println!("{outcome:?}");
    assert!(outcome.n_read > 10_000 && outcome.n_refused > 1_000, "{outcome:?}");
}
