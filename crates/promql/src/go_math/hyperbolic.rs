use std::f64::consts::LN_2;

use super::logarithm::ln_1p;
use super::{exp, ln, polynomial};

/// Beyond this, e^-x is less than half a unit in the last place of e^x.
const ONE_SIDED: f64 = 21.0;

/// Hart & Cheney's approximation number 2029, for small arguments.
const SINH_P: [f64; 4] = [-26.30563213397497, -2894.211355989564, -89912.72022039509, -630767.3640497717];
const SINH_Q: [f64; 4] = [1.0, -173.6789535582337, 15215.17378790019, -630767.3640497717];

pub(crate) fn sinh(value: f64) -> f64 {
    let x = value.abs();
    let result = if x > ONE_SIDED {
        exp(x) * 0.5
    } else if x > 0.5 {
        let exp = exp(x);
        (exp - 1.0 / exp) * 0.5
    } else {
        let square = x * x;
        polynomial(square, &SINH_P) * x / polynomial(square, &SINH_Q)
    };
    result.copysign(value)
}

pub(crate) fn cosh(value: f64) -> f64 {
    let exp = exp(value.abs());
    if value.abs() > ONE_SIDED { exp * 0.5 } else { (exp + 1.0 / exp) * 0.5 }
}

/// Cephes' tanh.c.
const TANH_P: [f64; 3] = [-0.9643991794250523, -99.28772310019185, -1614.6876844170845];
const TANH_Q: [f64; 4] = [1.0, 112.81167849163293, 2235.4883906010045, 4844.063053251255];
/// ln 2^127, half of it: beyond, the result is one.
const TANH_IS_ONE: f64 = 0.5 * 88.02969193111305;

pub(crate) fn tanh(x: f64) -> f64 {
    if x == 0.0 || x.is_nan() {
        return x;
    }
    if x.abs() > TANH_IS_ONE {
        return 1f64.copysign(x);
    }
    if x.abs() >= 0.625 {
        return (1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0)).copysign(x);
    }
    let square = x * x;
    x + x * square * polynomial(square, &TANH_P) / polynomial(square, &TANH_Q)
}

/// Where the square of a number is all there is under a root beside it, and below one over it, where the number is its
/// own sine.
const LARGE: f64 = (1u64 << 28) as f64;

pub(crate) fn asinh(value: f64) -> f64 {
    let x = value.abs();
    let result = if !x.is_finite() {
        x
    } else if x > LARGE {
        ln(x) + LN_2
    } else if x > 2.0 {
        ln(2.0 * x + 1.0 / ((x * x + 1.0).sqrt() + x))
    } else if x < 1.0 / LARGE {
        x
    } else {
        ln_1p(x + x * x / (1.0 + (1.0 + x * x).sqrt()))
    };
    result.copysign(value)
}

pub(crate) fn acosh(x: f64) -> f64 {
    if x < 1.0 || x.is_nan() {
        f64::NAN
    } else if x >= LARGE {
        ln(x) + LN_2
    } else if x > 2.0 {
        ln(2.0 * x - 1.0 / (x + (x * x - 1.0).sqrt()))
    } else {
        let over = x - 1.0;
        ln_1p(over + (2.0 * over + over * over).sqrt())
    }
}

pub(crate) fn atanh(value: f64) -> f64 {
    let x = value.abs();
    let result = if x < 1.0 / LARGE {
        x
    } else if x < 0.5 {
        let twice = x + x;
        0.5 * ln_1p(twice + twice * x / (1.0 - x))
    } else {
        0.5 * ln_1p((x + x) / (1.0 - x))
    };
    result.copysign(value)
}
