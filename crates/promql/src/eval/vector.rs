use std::collections::HashMap;
use std::sync::Arc;

use model::{EMPTY, Labels, SeriesId, is_empty_cell};

use super::decode::histogram_bytes;
use super::{EvalError, Evaluator};
use crate::histogram::FloatHistogram;

/// A histogram at a step, or none.
pub(crate) type Cell = Option<Arc<FloatHistogram>>;

/// Takes rows one by one.
pub(crate) type Sink<'s> = dyn FnMut(Row<'_>) -> Result<(), EvalError> + 's;

/// A series over the steps, on its way. Whoever gets it may change its cells.
pub(crate) struct Row<'r> {
    pub(crate) labels: &'r Labels,
    /// Whether the metric's name goes away at the end of the query.
    pub(crate) drop_name: bool,
    /// One value or empty cell per step.
    pub(crate) floats: &'r mut [f64],
    /// Nothing, or one cell per step; a step has a float or a histogram, never both.
    pub(crate) histograms: &'r mut [Cell],
}

/// The labels of a kept row.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) labels: Labels,
    pub(crate) drop_name: bool,
}

/// Rows, kept: an instant vector at every step.
#[derive(Debug, Default)]
pub(crate) struct Vector {
    steps: usize,
    heads: Vec<Head>,
    floats: Vec<f64>,
    /// Empty as long as there is no histogram, else as long as `floats`.
    histograms: Vec<Cell>,
    /// Bytes of labels and histograms.
    content: usize,
    /// Cells and bytes that somebody has accounted for.
    accounted: (usize, usize),
}

/// What a row takes besides its labels and cells: its head and the allocation of its labels.
const ROW_BYTES: usize = size_of::<Head>() + 32;

impl Row<'_> {
    pub(crate) fn negate(&mut self) {
        self.drop_name = true;
        for value in self.floats.iter_mut().filter(|v| !is_empty_cell(**v)) {
            *value = negated(*value);
        }
        for histogram in self.histograms.iter_mut().flatten() {
            let mut negated = FloatHistogram::clone(histogram);
            negated.mul(-1.0);
            *histogram = Arc::new(negated);
        }
    }

    pub(crate) fn has_histograms(&self) -> bool {
        self.histograms.iter().any(Option::is_some)
    }

    /// Whether there is a sample at a step.
    pub(crate) fn is_present(&self, step: usize) -> bool {
        !is_empty_cell(self.floats[step]) || matches!(self.histograms.get(step), Some(Some(_)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        is_empty_row(self.floats, self.histograms)
    }
}

impl Vector {
    pub(crate) fn new(steps: usize) -> Vector {
        Vector { steps, ..Vector::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    pub(crate) fn cells(&self) -> usize {
        self.floats.len()
    }

    /// Cells and bytes that came since this was last asked.
    pub(super) fn unaccounted(&mut self) -> (usize, usize) {
        let bytes = ROW_BYTES * self.heads.len()
            + size_of::<f64>() * self.floats.len()
            + size_of::<Cell>() * self.histograms.len()
            + self.content;
        let before = std::mem::replace(&mut self.accounted, (self.floats.len(), bytes));
        (self.accounted.0 - before.0, self.accounted.1 - before.1)
    }

    /// Cells and bytes that were accounted for.
    pub(super) fn accounted(&self) -> (usize, usize) {
        self.accounted
    }

    pub(crate) fn head(&self, index: usize) -> &Head {
        &self.heads[index]
    }

    pub(crate) fn heads(&self) -> &[Head] {
        &self.heads
    }

    pub(crate) fn floats(&self, index: usize) -> &[f64] {
        &self.floats[index * self.steps..(index + 1) * self.steps]
    }

    pub(crate) fn histograms(&self, index: usize) -> &[Cell] {
        match self.histograms.is_empty() {
            true => &[],
            false => &self.histograms[index * self.steps..(index + 1) * self.steps],
        }
    }

    pub(crate) fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    pub(crate) fn float_at(&self, index: usize, step: usize) -> f64 {
        self.floats[index * self.steps + step]
    }

    pub(crate) fn histogram_at(&self, index: usize, step: usize) -> Option<&Arc<FloatHistogram>> {
        self.histograms.get(index * self.steps + step).and_then(Option::as_ref)
    }

    pub(crate) fn is_present(&self, index: usize, step: usize) -> bool {
        !is_empty_cell(self.float_at(index, step)) || self.histogram_at(index, step).is_some()
    }

    pub(crate) fn push(&mut self, row: Row<'_>) {
        self.content += row.labels.run().len();
        self.heads.push(Head { labels: row.labels.clone(), drop_name: row.drop_name });
        self.floats.extend_from_slice(row.floats);
        if row.has_histograms() {
            self.content += row.histograms.iter().flatten().map(own_bytes).sum::<usize>();
            self.histograms.resize(self.floats.len() - self.steps, None);
            self.histograms.extend(row.histograms.iter().cloned());
        } else if !self.histograms.is_empty() {
            self.histograms.resize(self.floats.len(), None);
        }
    }

    /// Appends a row without samples.
    pub(crate) fn push_empty(&mut self, head: Head) -> usize {
        self.content += head.labels.run().len();
        self.heads.push(head);
        self.floats.resize(self.floats.len() + self.steps, f64::from_bits(EMPTY));
        if !self.histograms.is_empty() {
            self.histograms.resize(self.floats.len(), None);
        }
        self.heads.len() - 1
    }

    pub(crate) fn set_float(&mut self, index: usize, step: usize, value: f64) {
        self.floats[index * self.steps + step] = value;
    }

    pub(crate) fn set_histogram(&mut self, index: usize, step: usize, histogram: Arc<FloatHistogram>) {
        if self.histograms.is_empty() {
            self.histograms.resize(self.floats.len(), None);
        }
        self.content += own_bytes(&histogram);
        self.histograms[index * self.steps + step] = Some(histogram);
    }

    /// Hands out the rows in the order of `order`.
    pub(crate) fn emit(
        &mut self,
        order: impl IntoIterator<Item = usize>,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        for index in order {
            let cells = index * self.steps..(index + 1) * self.steps;
            let histograms = match self.histograms.is_empty() {
                true => &mut [],
                false => &mut self.histograms[cells.clone()],
            };
            let head = &self.heads[index];
            sink(Row {
                labels: &head.labels,
                drop_name: head.drop_name,
                floats: &mut self.floats[cells],
                histograms,
            })?;
        }
        Ok(())
    }

    /// Hands out all rows that have samples.
    pub(crate) fn emit_all(&mut self, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        for index in 0..self.len() {
            if !is_empty_row(self.floats(index), self.histograms(index)) {
                self.emit([index], sink)?;
            }
        }
        Ok(())
    }
}

/// What a histogram takes, unless many share it: those of a selector stay where they were selected.
fn own_bytes(histogram: &Arc<FloatHistogram>) -> usize {
    if Arc::strong_count(histogram) > 2 { 0 } else { histogram_bytes(histogram) }
}

/// The value with the other sign. Any NaN becomes the ordinary one: with its sign changed, one that came from outside
/// could pass for the empty cell.
pub(crate) fn negated(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { -value }
}

pub(crate) fn empty_cells(steps: usize) -> Vec<f64> {
    vec![f64::from_bits(EMPTY); steps]
}

pub(crate) fn is_empty_row(floats: &[f64], histograms: &[Cell]) -> bool {
    floats.iter().all(|v| is_empty_cell(*v)) && histograms.iter().all(Option::is_none)
}

/// Puts samples together into rows by their labels, and notices when two fall into one cell.
pub(crate) struct Assembler<'e> {
    evaluator: &'e Evaluator<'e>,
    vector: Vector,
    rows: HashMap<SeriesId, usize>,
}

/// What finding a row by its labels takes: the entry of a hash table.
pub(crate) const PLACE_BYTES: usize = 48;

impl<'e> Assembler<'e> {
    pub(crate) fn new(evaluator: &'e Evaluator<'e>, steps: usize) -> Assembler<'e> {
        Assembler { evaluator, vector: Vector::new(steps), rows: HashMap::new() }
    }

    /// The row with these labels; a new one gets the flag.
    pub(crate) fn row(&mut self, labels: &Labels, drop_name: bool) -> Result<usize, EvalError> {
        let next = self.vector.len();
        let row = *self.rows.entry(labels.id()).or_insert(next);
        if row == next {
            self.vector.push_empty(Head { labels: labels.clone(), drop_name });
            self.vector.content += PLACE_BYTES;
            self.evaluator.account(&mut self.vector)?;
        }
        Ok(row)
    }

    pub(crate) fn put_float(&mut self, row: usize, step: usize, value: f64) -> Result<(), EvalError> {
        self.refuse_occupied(row, step)?;
        self.vector.set_float(row, step, value);
        Ok(())
    }

    pub(crate) fn put_histogram(
        &mut self,
        row: usize,
        step: usize,
        histogram: Arc<FloatHistogram>,
    ) -> Result<(), EvalError> {
        self.refuse_occupied(row, step)?;
        self.vector.set_histogram(row, step, histogram);
        Ok(())
    }

    /// Takes over the sample that a row of a vector has at a step, if it has one.
    pub(crate) fn copy_cell(
        &mut self,
        row: usize,
        step: usize,
        from: &Vector,
        index: usize,
    ) -> Result<(), EvalError> {
        if let Some(histogram) = from.histogram_at(index, step) {
            return self.put_histogram(row, step, Arc::clone(histogram));
        }
        let value = from.float_at(index, step);
        if is_empty_cell(value) { Ok(()) } else { self.put_float(row, step, value) }
    }

    /// Adds all samples of a row.
    pub(crate) fn put_row(&mut self, row: &Row<'_>) -> Result<(), EvalError> {
        let into = self.row(row.labels, row.drop_name)?;
        for (step, value) in row.floats.iter().enumerate().filter(|(_, v)| !is_empty_cell(**v)) {
            self.put_float(into, step, *value)?;
        }
        for (step, cell) in row.histograms.iter().enumerate() {
            if let Some(histogram) = cell {
                self.put_histogram(into, step, Arc::clone(histogram))?;
            }
        }
        Ok(())
    }

    /// Hands out the rows, which are no longer held then.
    pub(crate) fn emit(mut self, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        self.evaluator.account(&mut self.vector)?;
        self.evaluator.emit(self.vector, sink)
    }

    fn refuse_occupied(&self, row: usize, step: usize) -> Result<(), EvalError> {
        if self.vector.is_present(row, step) {
            return Err(duplicate_labels());
        }
        Ok(())
    }
}

pub(crate) fn duplicate_labels() -> EvalError {
    EvalError::Execution("vector cannot contain metrics with the same labelset".to_string())
}
