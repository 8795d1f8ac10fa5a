use model::{EMPTY, is_empty_cell};

use super::element::{Element, FloatOp, changes_meaning, operate};
use super::{EvalError, Evaluator, Grid, Row, Sink, is_scalar};
use crate::annotations::Notice;
use crate::ast::{Binary, BinaryOp, Span};
use crate::text::quote;

impl Evaluator<'_> {
    pub(crate) fn binary_rows(
        &self,
        binary: &Binary,
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let mut operation = match (is_scalar(&binary.lhs), is_scalar(&binary.rhs)) {
            (true, _) => ScalarOperation::new(self, binary, self.scalars(&binary.lhs, grid)?, true),
            (_, true) => ScalarOperation::new(self, binary, self.scalars(&binary.rhs, grid)?, false),
            _ => return self.matched_rows(binary, span, grid, sink),
        };
        let vector = if operation.is_swapped { &binary.rhs } else { &binary.lhs };
        self.rows(vector, grid, &mut |mut row| {
            operation.apply(&mut row);
            if row.is_empty() { Ok(()) } else { sink(row) }
        })?;
        operation.notices.note(span);
        Ok(())
    }

    pub(super) fn scalar_binary(&self, binary: &Binary, grid: Grid) -> Result<Vec<f64>, EvalError> {
        let mut values = self.scalars(&binary.lhs, grid)?;
        operate_on_scalars(binary.op, &mut values, self.scalars(&binary.rhs, grid)?)?;
        Ok(values)
    }
}

/// Applies an operator to each value and its partner.
pub(super) fn operate_on_scalars(op: BinaryOp, lhs: &mut [f64], rhs: Vec<f64>) -> Result<(), EvalError> {
    for (a, b) in lhs.iter_mut().zip(rhs) {
        *a = match FloatOp::of(op) {
            FloatOp::Compute(compute) => compute(*a, b),
            FloatOp::Compare(holds) => f64::from(u8::from(holds(*a, b))),
            FloatOp::Undefined => {
                let message = format!("operator {} not allowed for Scalar operations", quote(op.symbol()));
                return Err(EvalError::Execution(message));
            }
        };
    }
    Ok(())
}

/// An operator with a scalar on one side.
pub(super) struct ScalarOperation<'e> {
    op: BinaryOp,
    returns_bool: bool,
    scalars: Vec<f64>,
    /// Whether the scalar is on the left.
    is_swapped: bool,
    /// The last thing to say about each step.
    pub(super) notices: LastNotices<'e>,
}

/// Of all notices of a step the last one counts, as in Prometheus.
pub(super) struct LastNotices<'e> {
    evaluator: &'e Evaluator<'e>,
    by_step: Vec<Option<Notice>>,
}

impl<'e> LastNotices<'e> {
    pub(super) fn new(evaluator: &'e Evaluator<'e>) -> LastNotices<'e> {
        LastNotices { evaluator, by_step: Vec::new() }
    }

    pub(super) fn set(&mut self, step: usize, notice: Notice) {
        if self.by_step.len() <= step {
            self.by_step.resize(step + 1, None);
        }
        self.by_step[step] = Some(notice);
    }

    pub(super) fn note(self, at: Span) {
        for notice in self.by_step.into_iter().flatten() {
            self.evaluator.note(notice, at);
        }
    }
}

impl<'e> ScalarOperation<'e> {
    pub(super) fn new(
        evaluator: &'e Evaluator<'e>,
        binary: &Binary,
        scalars: Vec<f64>,
        is_swapped: bool,
    ) -> ScalarOperation<'e> {
        ScalarOperation {
            op: binary.op,
            returns_bool: binary.return_bool,
            scalars,
            is_swapped,
            notices: LastNotices::new(evaluator),
        }
    }

    pub(super) fn apply(&mut self, row: &mut Row<'_>) {
        match FloatOp::of(self.op) {
            FloatOp::Compute(compute) if self.is_swapped => self.each_float(row, |v, s| compute(s, v)),
            FloatOp::Compute(compute) => self.each_float(row, compute),
            FloatOp::Compare(holds) => {
                let returns_bool = self.returns_bool;
                let is_swapped = self.is_swapped;
                self.each_float(row, |v, s| {
                    let is_so = if is_swapped { holds(s, v) } else { holds(v, s) };
                    match (returns_bool, is_so) {
                        (true, is_so) => f64::from(u8::from(is_so)),
                        (false, true) => v,
                        (false, false) => f64::from_bits(EMPTY),
                    }
                });
            }
            FloatOp::Undefined => self.refuse_floats(row),
        }
        if row.has_histograms() {
            self.each_histogram(row);
        }
        row.drop_name |= changes_meaning(self.op) || self.returns_bool;
    }

    fn each_float(&self, row: &mut Row<'_>, compute: impl Fn(f64, f64) -> f64) {
        for (value, scalar) in row.floats.iter_mut().zip(&self.scalars) {
            if !is_empty_cell(*value) {
                *value = compute(*value, *scalar);
            }
        }
    }

    fn refuse_floats(&mut self, row: &mut Row<'_>) {
        for (step, value) in row.floats.iter_mut().enumerate().filter(|(_, v)| !is_empty_cell(**v)) {
            if let Err(unfit) = operate(self.op, &Element::Float(*value), &Element::Float(0.0)) {
                self.notices.set(step, unfit.notice);
            }
            *value = f64::from_bits(EMPTY);
        }
    }

    fn each_histogram(&mut self, row: &mut Row<'_>) {
        for (step, cell) in row.histograms.iter_mut().enumerate() {
            let Some(histogram) = cell.take() else { continue };
            let (mut lhs, mut rhs) = (Element::Histogram(histogram), Element::Float(self.scalars[step]));
            if self.is_swapped {
                std::mem::swap(&mut lhs, &mut rhs);
            }
            match operate(self.op, &lhs, &rhs) {
                Err(unfit) => self.notices.set(step, unfit.notice),
                Ok(operated) => {
                    if let Element::Histogram(result) = operated.value {
                        *cell = Some(result);
                    }
                }
            }
        }
    }
}
