//! Aggregations that a query has several times are computed once. What they looked at and what there is to say about
//! them is counted and said each time, as if they had been computed anew.

use std::cell::RefCell;

use super::{EvalError, Evaluator, Grid, Row, Sink, Tally, Vector};
use crate::annotations::Notices;
use crate::ast::{Expr, Span};

/// What came of the first of several equal aggregations.
pub(super) struct Kept {
    rows: Vector,
    samples: Tally,
    notices: Notices,
    /// Where the first one stands.
    at: Span,
    /// How many are still to come.
    left: usize,
}

/// By aggregation that is there several times, what is kept of it.
pub(super) type Shelf = RefCell<Vec<Option<Kept>>>;

impl Evaluator<'_> {
    /// The rows of an aggregation that the query has `n` times; `which` of those that it has several times.
    pub(super) fn shared_rows(
        &self,
        (which, n): (usize, usize),
        expr: &Expr,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let known = self.shelf.borrow_mut().get_mut(which).and_then(Option::take);
        let mut kept = match known {
            Some(kept) => kept,
            None => self.compute(expr, grid, n)?,
        };
        kept.left = kept.left.saturating_sub(1);
        self.samples().add(&kept.samples);
        self.notices().absorb(&kept.notices, kept.at, expr.span);
        if kept.left == 0 {
            return self.emit(kept.rows, sink);
        }
        let mut floats = Vec::new();
        let mut histograms = Vec::new();
        for (index, head) in kept.rows.heads().iter().enumerate() {
            floats.clear();
            floats.extend_from_slice(kept.rows.floats(index));
            histograms.clear();
            histograms.extend_from_slice(kept.rows.histograms(index));
            let (labels, drop_name) = (&head.labels, head.drop_name);
            sink(Row { labels, drop_name, floats: &mut floats, histograms: &mut histograms })?;
        }
        if let Some(place) = self.shelf.borrow_mut().get_mut(which) {
            *place = Some(kept);
        }
        Ok(())
    }

    fn compute(&self, expr: &Expr, grid: Grid, n: usize) -> Result<Kept, EvalError> {
        let outer = self.notices.take();
        let computed = self.counting(grid.steps, || {
            let mut rows = Vector::new(grid.steps);
            self.own_rows(expr, grid, &mut |row| {
                rows.push(row);
                self.account(&mut rows)
            })?;
            Ok(rows)
        });
        let notices = self.notices.replace(outer);
        let (rows, samples) = computed?;
        Ok(Kept { rows, samples, notices, at: expr.span, left: n })
    }
}
