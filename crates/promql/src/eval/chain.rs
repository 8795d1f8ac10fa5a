//! Long chains of operators, `a + b - c + …`: one after the other from the inside out, with what they leave in hand. Short
//! ones hand their rows on through each other instead, which no stack could bear with thousands.

use super::binary::{ScalarOperation, operate_on_scalars};
use super::{EvalError, Evaluator, Grid, Sink, Vector, is_scalar};
use crate::ast::{Chain, Expr, ExprKind, Span};

/// From so many operators on a chain is long.
const LONG: usize = 64;

/// Whether an expression is a long chain.
pub(super) fn is_long(expr: &Expr) -> bool {
    let mut left = expr;
    for _ in 0..LONG {
        let ExprKind::Binary(binary) = &left.kind else { return false };
        left = &binary.lhs;
    }
    true
}

/// What the operations so far have left.
enum Left {
    Scalars(Vec<f64>),
    Rows(Vector),
}

impl Evaluator<'_> {
    pub(super) fn chain_rows(&self, expr: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        match self.chain(expr, grid)? {
            Left::Rows(rows) => self.emit(rows, sink),
            Left::Scalars(_) => {
                Err(EvalError::Execution("unexpected error: not an instant vector".to_string()))
            }
        }
    }

    pub(super) fn chain_scalars(&self, expr: &Expr, grid: Grid) -> Result<Vec<f64>, EvalError> {
        match self.chain(expr, grid)? {
            Left::Scalars(values) => Ok(values),
            Left::Rows(_) => Err(EvalError::Execution("unexpected error: not a scalar".to_string())),
        }
    }

    fn chain(&self, expr: &Expr, grid: Grid) -> Result<Left, EvalError> {
        let Chain { first, links } = expr.chain();
        let mut left = match is_scalar(first) {
            true => Left::Scalars(self.scalars(first, grid)?),
            false => Left::Rows(self.vector(first, grid)?),
        };
        for (link, binary) in links {
            self.plan.options.check()?;
            left = match (left, is_scalar(&binary.rhs)) {
                (Left::Scalars(mut values), true) => {
                    operate_on_scalars(binary.op, &mut values, self.scalars(&binary.rhs, grid)?)?;
                    Left::Scalars(values)
                }
                (Left::Scalars(values), false) => {
                    let operation = ScalarOperation::new(self, binary, values, true);
                    let right = self.vector(&binary.rhs, grid)?;
                    Left::Rows(self.with_scalars(operation, right, link.span, grid)?)
                }
                (Left::Rows(rows), true) => {
                    let scalars = self.scalars(&binary.rhs, grid)?;
                    let operation = ScalarOperation::new(self, binary, scalars, false);
                    Left::Rows(self.with_scalars(operation, rows, link.span, grid)?)
                }
                (Left::Rows(rows), false) => Left::Rows(self.matched(binary, link.span, rows, grid)?),
            };
        }
        Ok(left)
    }

    fn with_scalars(
        &self,
        mut operation: ScalarOperation<'_>,
        rows: Vector,
        span: Span,
        grid: Grid,
    ) -> Result<Vector, EvalError> {
        let mut result = Vector::new(grid.steps);
        self.emit(rows, &mut |mut row| {
            operation.apply(&mut row);
            if row.is_empty() {
                return Ok(());
            }
            result.push(row);
            self.account(&mut result)
        })?;
        operation.notices.note(span);
        Ok(result)
    }
}
