//! The result of an operator between two vectors, in the making.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Labels, SeriesId};

use super::element::Element;
use super::vector::duplicate_labels;
use super::{EvalError, Evaluator, Grid, Head, Vector};

/// The rows of a result. Samples with equal labels at different steps make one row, except in an instant query,
/// where names that are still to go decide in the end what is equal.
pub(super) struct Output<'e> {
    pub(super) evaluator: &'e Evaluator<'e>,
    pub(super) vector: Vector,
    rows: HashMap<SeriesId, usize>,
    is_instant: bool,
}

impl<'e> Output<'e> {
    pub(super) fn new(evaluator: &'e Evaluator<'e>, grid: Grid) -> Output<'e> {
        let is_instant = grid.steps == 1;
        Output { evaluator, vector: Vector::new(grid.steps), rows: HashMap::new(), is_instant }
    }

    pub(super) fn row(&mut self, labels: &Labels, drop_name: bool) -> Result<usize, EvalError> {
        let next = self.vector.len();
        let row = if self.is_instant { next } else { *self.rows.entry(labels.id()).or_insert(next) };
        if row == next {
            self.vector.push_empty(Head { labels: labels.clone(), drop_name });
            self.evaluator.account(&mut self.vector)?;
        }
        Ok(row)
    }

    pub(super) fn put(&mut self, row: usize, step: usize, value: Element) -> Result<(), EvalError> {
        if self.vector.is_present(row, step) {
            return Err(duplicate_labels());
        }
        match value {
            Element::Float(value) => self.vector.set_float(row, step, value),
            Element::Histogram(histogram) => self.vector.set_histogram(row, step, histogram),
        }
        Ok(())
    }

    /// Takes over the samples of a row at the steps that are wanted.
    pub(super) fn copy(
        &mut self,
        from: &Vector,
        row: usize,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<(), EvalError> {
        let mut into = None;
        for step in (0..from.steps()).filter(|step| wanted(*step)) {
            if let Some(element) = element(from, row, step) {
                let head = from.head(row);
                let into = match into {
                    Some(into) => into,
                    None => *into.insert(self.row(&head.labels, head.drop_name)?),
                };
                self.put(into, step, element)?;
            }
        }
        Ok(())
    }
}

pub(super) fn element(rows: &Vector, row: usize, step: usize) -> Option<Element> {
    if let Some(histogram) = rows.histogram_at(row, step) {
        return Some(Element::Histogram(Arc::clone(histogram)));
    }
    let value = rows.float_at(row, step);
    (!model::is_empty_cell(value)).then_some(Element::Float(value))
}
