//! `absent` and `absent_over_time`: one where there is nothing.

use model::{EMPTY, Labels, METRIC_NAME, Matcher, MatcherOp};

use super::argument;
use crate::ast::{Call, Expr, ExprKind};
use crate::eval::{EvalError, Evaluator, Grid, Row, Sink, unparen};

pub(super) fn absent(
    evaluator: &Evaluator<'_>,
    call: &Call,
    grid: Grid,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    let arg = argument(call, 0)?;
    let mut present = vec![false; grid.steps];
    evaluator.rows(arg, grid, &mut |row| {
        for (step, present) in present.iter_mut().enumerate() {
            *present |= row.is_present(step);
        }
        Ok(())
    })?;
    emit(&labels(arg), &present, false, sink)
}

pub(super) fn absent_over_time(
    evaluator: &Evaluator<'_>,
    call: &Call,
    grid: Grid,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    let arg = argument(call, 0)?;
    let present = evaluator.present_steps(arg, grid)?;
    emit(&labels(arg), &present, true, sink)
}

fn emit(labels: &Labels, present: &[bool], drop_name: bool, sink: &mut Sink<'_>) -> Result<(), EvalError> {
    if present.iter().all(|present| *present) {
        return Ok(());
    }
    let cell = |present: &bool| if *present { f64::from_bits(EMPTY) } else { 1.0 };
    let mut floats: Vec<f64> = present.iter().map(cell).collect();
    sink(Row { labels, drop_name, floats: &mut floats, histograms: &mut [] })
}

/// The labels that the missing series would have for certain: those with exactly one matcher, for equality.
fn labels(arg: &Expr) -> Labels {
    let matchers = match &unparen(arg).kind {
        ExprKind::Vector(selector) => &selector.matchers,
        ExprKind::Matrix(matrix) => &matrix.selector.matchers,
        _ => return Labels::empty(),
    };
    let mut builder = Labels::empty().builder();
    let mut set: Vec<&str> = Vec::new();
    // Prometheus puts matchers of labels that may be absent behind the others before it looks for series, and comes here
    // afterwards.
    let is_there = |name: &str| matchers.iter().any(|other| other.name == name && !other.matches_empty());
    let may_be_absent = |matcher: &&Matcher| {
        let is_negative = matches!(matcher.op, MatcherOp::NotEqual | MatcherOp::NotRegex);
        !is_there(&matcher.name) || (is_negative && matcher.matches_empty())
    };
    let (last, first): (Vec<&Matcher>, Vec<&Matcher>) = matchers.iter().partition(may_be_absent);
    for matcher in first.into_iter().chain(last).filter(|matcher| matcher.name != METRIC_NAME) {
        if matcher.op == MatcherOp::Equal && !set.contains(&matcher.name.as_str()) {
            builder.set(&matcher.name, &matcher.value);
            set.push(&matcher.name);
        } else {
            builder.remove(&matcher.name);
        }
    }
    builder.build()
}
