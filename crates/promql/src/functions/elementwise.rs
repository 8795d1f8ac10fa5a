//! Functions of one float each: `abs`, `ln`, `sin`, `clamp`, `round`, …. Histograms have no place in them.

use model::{EMPTY, is_empty_cell};

use super::{argument, go_max, go_min, scalar_argument};
use crate::ast::Call;
use crate::eval::{EvalError, Evaluator, Grid, Row, Sink, negated};

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
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => sinh,
        "cosh" => cosh,
        "tanh" => tanh,
        "asinh" => asinh,
        "acosh" => acosh,
        "atanh" => atanh,
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
        false => go_max(min[step], go_min(max[step], value)),
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

/// As the definition has it, with the sign of the argument kept at zero.
/// Beyond this, e^-x is less than half a unit in the last place of e^x.
const ONE_SIDED: f64 = 21.0;

/// Hyperbolic functions and their inverses go by the formulas of Go's library, so that they overflow where they do in
/// Prometheus and mostly have the same last digits, which may become labels.
fn sinh(value: f64) -> f64 {
    let x = value.abs();
    if x <= 0.5 {
        return value.sinh();
    }
    let exp = x.exp();
    (if x > ONE_SIDED { exp * 0.5 } else { (exp - 1.0 / exp) * 0.5 }).copysign(value)
}

fn cosh(value: f64) -> f64 {
    let exp = value.abs().exp();
    if value.abs() > ONE_SIDED { exp * 0.5 } else { (exp + 1.0 / exp) * 0.5 }
}

fn tanh(value: f64) -> f64 {
    let x = value.abs();
    if x < 0.625 {
        return value.tanh();
    }
    (1.0 - 2.0 / ((2.0 * x).exp() + 1.0)).copysign(value)
}

/// Where the square of a number is all there is under a root beside it, and where the number itself is its sine.
const LARGE: f64 = (1u64 << 28) as f64;

fn asinh(value: f64) -> f64 {
    let x = value.abs();
    let result = if x > LARGE {
        x.ln() + std::f64::consts::LN_2
    } else if x > 2.0 {
        (2.0 * x + 1.0 / ((x * x + 1.0).sqrt() + x)).ln()
    } else if x < 1.0 / LARGE {
        x
    } else {
        (x + x * x / (1.0 + (1.0 + x * x).sqrt())).ln_1p()
    };
    result.copysign(value)
}

fn acosh(x: f64) -> f64 {
    if x.is_nan() || x < 1.0 {
        f64::NAN
    } else if x >= LARGE {
        x.ln() + std::f64::consts::LN_2
    } else if x > 2.0 {
        (2.0 * x - 1.0 / (x + (x * x - 1.0).sqrt())).ln()
    } else {
        let over = x - 1.0;
        (over + (2.0 * over + over * over).sqrt()).ln_1p()
    }
}

fn atanh(value: f64) -> f64 {
    let x = value.abs();
    let result = if x < 1.0 / LARGE {
        x
    } else if x < 0.5 {
        let twice = x + x;
        0.5 * (twice + twice * x / (1.0 - x)).ln_1p()
    } else {
        0.5 * ((x + x) / (1.0 - x)).ln_1p()
    };
    result.copysign(value)
}
