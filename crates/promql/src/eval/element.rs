use std::sync::Arc;

use model::ResetHint;

use crate::annotations::{HistogramOperation, Notice};
use crate::ast::BinaryOp;
use crate::go_math;
use crate::histogram::{Combined, FloatHistogram, HistogramOpError};

/// One sample of an operand.
#[derive(Debug, Clone)]
pub(super) enum Element {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

/// What an operator makes of two samples.
pub(super) struct Operated {
    pub(super) value: Element,
    /// For comparisons: whether it holds.
    pub(super) keep: bool,
    /// Something worth a notice that does not spoil the value.
    pub(super) notice: Option<Notice>,
}

/// Why there is no value, or one that only some callers take.
pub(super) struct Unfit {
    pub(super) notice: Notice,
}

/// What an operator does with two floats.
#[derive(Clone, Copy)]
pub(super) enum FloatOp {
    Compute(fn(f64, f64) -> f64),
    Compare(fn(f64, f64) -> bool),
    /// Nothing.
    Undefined,
}

impl FloatOp {
    pub(super) fn of(op: BinaryOp) -> FloatOp {
        match op {
            BinaryOp::Add => FloatOp::Compute(|a, b| a + b),
            BinaryOp::Sub => FloatOp::Compute(|a, b| a - b),
            BinaryOp::Mul => FloatOp::Compute(|a, b| a * b),
            BinaryOp::Div => FloatOp::Compute(|a, b| a / b),
            BinaryOp::Mod => FloatOp::Compute(|a, b| a % b),
            BinaryOp::Pow => FloatOp::Compute(go_math::pow),
            BinaryOp::Atan2 => FloatOp::Compute(go_math::atan2),
            BinaryOp::Eq => FloatOp::Compare(|a, b| a == b),
            BinaryOp::Ne => FloatOp::Compare(|a, b| a != b),
            BinaryOp::Lt => FloatOp::Compare(|a, b| a < b),
            BinaryOp::Le => FloatOp::Compare(|a, b| a <= b),
            BinaryOp::Gt => FloatOp::Compare(|a, b| a > b),
            BinaryOp::Ge => FloatOp::Compare(|a, b| a >= b),
            BinaryOp::TrimUpper | BinaryOp::TrimLower | BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => {
                FloatOp::Undefined
            }
        }
    }
}

/// Whether the result of an operator is something else than what it was made of, and loses its name.
pub(super) fn changes_meaning(op: BinaryOp) -> bool {
    matches!(FloatOp::of(op), FloatOp::Compute(_))
}

/// Applies an operator to two samples.
pub(super) fn operate(op: BinaryOp, lhs: &Element, rhs: &Element) -> Result<Operated, Unfit> {
    match (lhs, rhs) {
        (Element::Float(a), Element::Float(b)) => match FloatOp::of(op) {
            FloatOp::Compute(compute) => Ok(Operated::of_float(compute(*a, *b))),
            FloatOp::Compare(holds) => Ok(Operated { keep: holds(*a, *b), ..Operated::of_float(*a) }),
            FloatOp::Undefined => Err(incompatible_types("float", op, "float")),
        },
        (Element::Float(factor), Element::Histogram(histogram)) => match op {
            BinaryOp::Mul => Ok(changed(histogram, |h| h.mul(*factor))),
            _ => Err(incompatible_types("float", op, "histogram")),
        },
        (Element::Histogram(histogram), Element::Float(number)) => match op {
            BinaryOp::Mul => Ok(changed(histogram, |h| h.mul(*number))),
            BinaryOp::Div => Ok(changed(histogram, |h| h.div(*number))),
            BinaryOp::TrimUpper => Ok(trimmed(histogram, |h| h.trim_upper(*number))),
            BinaryOp::TrimLower => Ok(trimmed(histogram, |h| h.trim_lower(*number))),
            _ => Err(incompatible_types("histogram", op, "float")),
        },
        (Element::Histogram(a), Element::Histogram(b)) => match op {
            BinaryOp::Add => combined(op, a, |h| h.add(b), HistogramOperation::Addition),
            BinaryOp::Sub => combined(op, a, |h| h.sub(b), HistogramOperation::Subtraction),
            BinaryOp::Eq => Ok(Operated { keep: a.equals(b), ..Operated::of_histogram(Arc::clone(a)) }),
            BinaryOp::Ne => Ok(Operated { keep: !a.equals(b), ..Operated::of_histogram(Arc::clone(a)) }),
            _ => Err(incompatible_types("histogram", op, "histogram")),
        },
    }
}

impl Operated {
    fn of_float(value: f64) -> Operated {
        Operated { value: Element::Float(value), keep: true, notice: None }
    }

    fn of_histogram(histogram: Arc<FloatHistogram>) -> Operated {
        Operated { value: Element::Histogram(histogram), keep: true, notice: None }
    }
}

fn incompatible_types(lhs: &'static str, op: BinaryOp, rhs: &'static str) -> Unfit {
    Unfit { notice: Notice::IncompatibleTypes { lhs, op: op.symbol(), rhs } }
}

fn changed(histogram: &FloatHistogram, change: impl Fn(&mut FloatHistogram)) -> Operated {
    let mut result = histogram.clone();
    change(&mut result);
    result.compact(0);
    Operated::of_histogram(Arc::new(result))
}

fn trimmed(histogram: &FloatHistogram, trim: impl Fn(&mut FloatHistogram)) -> Operated {
    let mut result = histogram.clone();
    trim(&mut result);
    Operated::of_histogram(Arc::new(result))
}

fn combined(
    op: BinaryOp,
    lhs: &FloatHistogram,
    combine: impl Fn(&mut FloatHistogram) -> Result<Combined, HistogramOpError>,
    operation: HistogramOperation,
) -> Result<Operated, Unfit> {
    let mut result = lhs.clone();
    let combined =
        combine(&mut result).map_err(|_| Unfit { notice: Notice::IncompatibleBucketLayout(op.symbol()) })?;
    if op == BinaryOp::Sub {
        result.reset_hint = ResetHint::Gauge;
    }
    if combined.counter_reset_collision {
        return Err(Unfit { notice: Notice::CounterResetCollision(operation) });
    }
    result.compact(0);
    let notice = combined.nhcb_bounds_reconciled.then_some(Notice::MismatchedCustomBuckets(operation));
    Ok(Operated { notice, ..Operated::of_histogram(Arc::new(result)) })
}
