//! What the functions do. Their names and types are in the signatures; here each finds its doing by name, once per
//! call, and what does it sees whole rows or windows.

pub(crate) mod absent;
mod changes;
mod elementwise;
pub(crate) mod extended;
mod histogram;
pub(crate) mod info;
pub(crate) mod labels;
mod lanes;
pub(crate) mod over_time;
mod rate;
mod rate_rows;
mod regression;
pub(crate) mod smooth;
mod sort;
mod time;
pub(crate) mod window;

use model::{Labels, is_empty_cell};

use crate::ast::{Call, Expr, ExprKind, Span};
use crate::eval::{Aspect, EvalError, Evaluator, Grid, Row, Sink, unparen};
use crate::go_math;
use window::RangeFunction;

/// Hands each row of a call's result to `sink`.
pub(crate) fn rows(
    evaluator: &Evaluator<'_>,
    call: &Call,
    span: Span,
    grid: Grid,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    if let Some(function) = range_function(call.func.name) {
        return evaluator.range_rows(call, function, grid, sink);
    }
    if let Some(apply) = elementwise::function(call.func.name) {
        return elementwise::rows(evaluator, call, apply, grid, sink);
    }
    if let Some(part) = time::function(call.func.name) {
        return time::rows(evaluator, call, part, grid, sink);
    }
    match call.func.name {
        "absent" => absent::absent(evaluator, call, grid, sink),
        "absent_over_time" => absent::absent_over_time(evaluator, call, grid, sink),
        "clamp" | "clamp_min" | "clamp_max" => elementwise::clamp(evaluator, call, grid, sink),
        "round" => elementwise::round(evaluator, call, grid, sink),
        "timestamp" | "start_timestamp" => timestamps(evaluator, call, grid, sink),
        "vector" => vector(evaluator, call, grid, sink),
        "label_replace" => labels::replace(evaluator, call, grid, sink),
        "label_join" => labels::join(evaluator, call, grid, sink),
        "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => {
            sort::rows(evaluator, call, span, grid, sink)
        }
        "histogram_quantile" => histogram::quantile(evaluator, call, grid, sink),
        "histogram_quantiles" => histogram::quantiles(evaluator, call, grid, sink),
        "histogram_fraction" => histogram::fraction(evaluator, call, grid, sink),
        "histogram_count" | "histogram_sum" | "histogram_avg" | "histogram_stddev" | "histogram_stdvar" => {
            histogram::statistic(evaluator, call, grid, sink)
        }
        "info" => info::rows(evaluator, call, span, grid, sink),
        name => Err(EvalError::Execution(format!("unexpected error: unknown function {name}"))),
    }
}

/// The values of a call that returns a scalar.
pub(crate) fn scalars(evaluator: &Evaluator<'_>, call: &Call, grid: Grid) -> Result<Vec<f64>, EvalError> {
    let options = &evaluator.plan.options;
    let constant = |value: f64| Ok(vec![value; grid.steps]);
    match call.func.name {
        "time" => Ok(grid.times().map(|time| time as f64 / 1000.0).collect()),
        "pi" => constant(std::f64::consts::PI),
        "start" => constant(options.start_ms as f64 / 1000.0),
        "end" => constant(options.end_ms as f64 / 1000.0),
        "range" => constant((options.end_ms - options.start_ms) as f64 / 1000.0),
        "step" => match options.step_ms {
            Some(step) if options.start_ms != options.end_ms => constant(step as f64 / 1000.0),
            _ => constant(0.0),
        },
        "min_of" => pairwise(evaluator, call, grid, go_math::min),
        "max_of" => pairwise(evaluator, call, grid, go_math::max),
        "scalar" => scalar(evaluator, call, grid),
        name => Err(EvalError::Execution(format!("unexpected error: unknown function {name}"))),
    }
}

/// Whether a function makes a series of each series of its argument, looks at no label but the metric's name for that, and
/// does not mind if two series look the same.
pub(crate) fn is_by_series(name: &str) -> bool {
    range_function(name).is_some()
        || elementwise::function(name).is_some()
        || matches!(name, "clamp" | "clamp_min" | "clamp_max" | "round" | "timestamp")
        || matches!(name, "histogram_count" | "histogram_sum" | "histogram_avg")
        || matches!(name, "histogram_stddev" | "histogram_stdvar")
}

fn range_function(name: &str) -> Option<RangeFunction> {
    match name {
        "rate" => Some(rate::RATE),
        "increase" => Some(rate::INCREASE),
        "delta" => Some(rate::DELTA),
        "irate" => Some(rate::IRATE),
        "idelta" => Some(rate::IDELTA),
        name => over_time::function(name),
    }
}

/// The vector argument at an index.
fn argument(call: &Call, index: usize) -> Result<&Expr, EvalError> {
    let missing = || EvalError::Execution(format!("unexpected error: {} lacks an argument", call.func.name));
    call.args.get(index).map(unparen).ok_or_else(missing)
}

/// The scalar argument at an index.
fn scalar_argument(
    evaluator: &Evaluator<'_>,
    call: &Call,
    index: usize,
    grid: Grid,
) -> Result<Vec<f64>, EvalError> {
    evaluator.scalars(argument(call, index)?, grid)
}

/// The string argument at an index.
fn string_argument(call: &Call, index: usize) -> Result<&str, EvalError> {
    match &argument(call, index)?.kind {
        ExprKind::String(text) => Ok(text),
        _ => Err(EvalError::Execution(format!("unexpected error: {} wants a string", call.func.name))),
    }
}

fn pairwise(
    evaluator: &Evaluator<'_>,
    call: &Call,
    grid: Grid,
    choose: fn(f64, f64) -> f64,
) -> Result<Vec<f64>, EvalError> {
    let mut values = scalar_argument(evaluator, call, 0, grid)?;
    for (value, other) in values.iter_mut().zip(scalar_argument(evaluator, call, 1, grid)?) {
        *value = choose(*value, other);
    }
    Ok(values)
}

/// `scalar(v)`: the value of the only float there is.
fn scalar(evaluator: &Evaluator<'_>, call: &Call, grid: Grid) -> Result<Vec<f64>, EvalError> {
    let mut found = vec![0usize; grid.steps];
    let mut values = vec![f64::NAN; grid.steps];
    evaluator.rows(argument(call, 0)?, grid, &mut |row| {
        for (step, value) in row.floats.iter().enumerate().filter(|(_, v)| !is_empty_cell(**v)) {
            found[step] += 1;
            values[step] = if found[step] == 1 { *value } else { f64::NAN };
        }
        Ok(())
    })?;
    Ok(values)
}

fn vector(evaluator: &Evaluator<'_>, call: &Call, grid: Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
    let mut values = scalar_argument(evaluator, call, 0, grid)?;
    sink(Row { labels: &Labels::empty(), drop_name: false, floats: &mut values, histograms: &mut [] })
}

fn timestamps(
    evaluator: &Evaluator<'_>,
    call: &Call,
    grid: Grid,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    let arg = argument(call, 0)?;
    let is_start = call.func.name == "start_timestamp";
    if let ExprKind::Vector(selector) = &arg.kind {
        let aspect = if is_start { Aspect::StartTime } else { Aspect::Time };
        return evaluator.time_rows(selector, arg.span, aspect, grid, sink);
    }
    evaluator.rows(arg, grid, &mut |row| {
        if is_start {
            // What is computed started nowhere.
            return Ok(());
        }
        for (step, time) in grid.times().enumerate() {
            if row.is_present(step) {
                row.floats[step] = time as f64 / 1000.0;
            }
        }
        sink(Row { drop_name: true, histograms: &mut [], ..row })
    })
}
