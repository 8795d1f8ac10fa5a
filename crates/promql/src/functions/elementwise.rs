//! Functions of one float each: `abs`, `ln`, `sin`, `clamp`, `round`, …. Histograms have no place in them.

use model::{EMPTY, is_empty_cell};

use super::{argument, scalar_argument};
use crate::ast::Call;
use crate::eval::{EvalError, Evaluator, Grid, Row, Sink, negated};
use crate::go_math;

/// The function of this name, if it is one of these.
pub(super) fn function(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => |v| {
            if v < 0.0 {
                negated(v)
            } else if v == 0.0 {
                0.0
            } else {
                v
            }
        },
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => go_math::exp,
        "sqrt" => f64::sqrt,
        "ln" => go_math::ln,
        "log2" => go_math::log2,
        "log10" => go_math::log10,
        "sin" => go_math::sin,
        "cos" => go_math::cos,
        "tan" => go_math::tan,
        "asin" => go_math::asin,
        "acos" => go_math::acos,
        "atan" => go_math::atan,
        "sinh" => go_math::sinh,
        "cosh" => go_math::cosh,
        "tanh" => go_math::tanh,
        "asinh" => go_math::asinh,
        "acosh" => go_math::acosh,
        "atanh" => go_math::atanh,
        "rad" => |v| v * std::f64::consts::PI / 180.0,
        "deg" => |v| v * 180.0 / std::f64::consts::PI,
        "sgn" => sign,
        _ => return None,
    })
}

pub(super) fn rows(
    evaluator: &Evaluator<'_>,
    call: &Call,
    apply: fn(f64) -> f64,
    grid: Grid,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    each(evaluator, call, grid, &|_, value| apply(value), sink)
}

pub(super) fn round(
    evaluator: &Evaluator<'_>,
    call: &Call,
    grid: Grid,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    let to_nearest = evaluator.argument(call, 1, grid)?.unwrap_or_else(|| vec![1.0; grid.steps]);
    // Multiplying with the inverse is more exact than dividing: 1/0.1 is 10, 0.1 is not a tenth.
    let inverse: Vec<f64> = to_nearest.iter().map(|v| 1.0 / v).collect();
    let apply = |step: usize, value: f64| (value * inverse[step] + 0.5).floor() / inverse[step];
    each(evaluator, call, grid, &apply, sink)
}

pub(super) fn clamp(
    evaluator: &Evaluator<'_>,
    call: &Call,
    grid: Grid,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    let unbounded = |value: f64| vec![value; grid.steps];
    let (min, max) = match call.func.name {
        "clamp_min" => (scalar_argument(evaluator, call, 1, grid)?, unbounded(f64::INFINITY)),
        "clamp_max" => (unbounded(f64::NEG_INFINITY), scalar_argument(evaluator, call, 1, grid)?),
        _ => (scalar_argument(evaluator, call, 1, grid)?, scalar_argument(evaluator, call, 2, grid)?),
    };
    let apply = |step: usize, value: f64| match max[step] < min[step] {
        true => f64::from_bits(EMPTY),
        false => go_math::max(min[step], go_math::min(max[step], value)),
    };
    each(evaluator, call, grid, &apply, sink)
}

fn each(
    evaluator: &Evaluator<'_>,
    call: &Call,
    grid: Grid,
    apply: &dyn Fn(usize, f64) -> f64,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    evaluator.rows(argument(call, 0)?, grid, &mut |row| {
        for (step, value) in row.floats.iter_mut().enumerate() {
            if !is_empty_cell(*value) {
                *value = apply(step, *value);
            }
        }
        let row = Row { drop_name: true, histograms: &mut [], ..row };
        if row.is_empty() { Ok(()) } else { sink(row) }
    })
}

fn sign(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}
