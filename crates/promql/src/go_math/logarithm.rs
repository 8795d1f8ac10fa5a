//! After FreeBSD's e_log.c and s_log1p.c.

use std::f64::consts::{LOG2_E, LOG10_E, SQRT_2};

use super::split;

/// ln 2 in two parts, of which the first has so few bits that its products with exponents are exact.
pub(super) const LN2_HIGH: f64 = f64::from_bits(0x3FE6_2E42_FEE0_0000);
pub(super) const LN2_LOW: f64 = 1.9082149292705877e-10;

/// The approximation of (ln(1+s) − ln(1−s) − 2s) / s in s², L1 to L7.
const L: [f64; 7] = [
    0.6666666666666735,
    0.3999999999940942,
    0.2857142874366239,
    0.22222198432149784,
    0.1818357216161805,
    0.15313837699209373,
    0.14798198605116586,
];

/// The natural logarithm.
pub(crate) fn ln(x: f64) -> f64 {
    if x.is_nan() || x == f64::INFINITY {
        return x;
    }
    if x < 0.0 {
        return f64::NAN;
    }
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    let (mut fraction, mut power) = split(x);
    if fraction < SQRT_2 / 2.0 {
        fraction *= 2.0;
        power -= 1;
    }
    let (f, k) = (fraction - 1.0, f64::from(power));
    let s = f / (2.0 + f);
    let s2 = s * s;
    let s4 = s2 * s2;
    let odd = s2 * (L[0] + s4 * (L[2] + s4 * (L[4] + s4 * L[6])));
    let even = s4 * (L[1] + s4 * (L[3] + s4 * L[5]));
    let half_square = 0.5 * f * f;
    k * LN2_HIGH - ((half_square - (s * (half_square + (odd + even)) + k * LN2_LOW)) - f)
}

/// The logarithm for the base of two; exact for powers of two.
pub(crate) fn log2(x: f64) -> f64 {
    match split(x) {
        (0.5, power) => f64::from(power - 1),
        (fraction, power) => ln(fraction) * LOG2_E + f64::from(power),
    }
}

/// The logarithm for the base of ten.
pub(crate) fn log10(x: f64) -> f64 {
    ln(x) * LOG10_E
}

/// Where 1 + x is between √½ and √2.
const SQRT_2_LESS_1: f64 = 0.41421356237309503;
const SQRT_HALF_LESS_1: f64 = -0.2928932188134525;
/// The mantissa of √2.
const SQRT_2_MANTISSA: u64 = 0x0006_A09E_667F_3BCD;

/// ln(1 + x), exact for small x.
pub(super) fn ln_1p(x: f64) -> f64 {
    if x < -1.0 || x.is_nan() {
        return f64::NAN;
    }
    if x == -1.0 || x == f64::INFINITY {
        return if x < 0.0 { f64::NEG_INFINITY } else { x };
    }
    let size = x.abs();
    if size < 2f64.powi(-54) {
        return x;
    }
    if size < 2f64.powi(-29) {
        return x - x * x * 0.5;
    }
    if size < SQRT_2_LESS_1 && x > SQRT_HALF_LESS_1 {
        let half_square = 0.5 * x * x;
        let s = x / (2.0 + x);
        return x - (half_square - s * (half_square + in_s(s)));
    }
    let Reduced { f, k, correction, is_tiny } = reduced(x);
    let half_square = 0.5 * f * f;
    if is_tiny {
        if f == 0.0 {
            return k * LN2_HIGH + (correction + k * LN2_LOW);
        }
        let r = half_square * (1.0 - 0.6666666666666666 * f);
        return k * LN2_HIGH - ((r - (k * LN2_LOW + correction)) - f);
    }
    let s = f / (2.0 + f);
    k * LN2_HIGH - ((half_square - (s * (half_square + in_s(s)) + (k * LN2_LOW + correction))) - f)
}

/// The approximation as one polynomial.
fn in_s(s: f64) -> f64 {
    let z = s * s;
    let [first @ .., last] = L;
    z * first.iter().rev().fold(last, |sum, coefficient| coefficient + z * sum)
}

/// 1 + x as (1 + f)·2^k.
struct Reduced {
    f: f64,
    k: f64,
    /// What was lost in adding one.
    correction: f64,
    /// Whether f is less than 2^−20.
    is_tiny: bool,
}

fn reduced(x: f64) -> Reduced {
    let is_large = x.abs() >= 2f64.powi(53);
    let sum = if is_large { x } else { 1.0 + x };
    let bits = sum.to_bits();
    let mut k = (bits >> 52) as i32 - 1023;
    let correction = match (is_large, k > 0) {
        (true, _) => 0.0,
        (false, true) => (1.0 - (sum - x)) / sum,
        (false, false) => (x - (sum - 1.0)) / sum,
    };
    let mantissa = bits & 0x000F_FFFF_FFFF_FFFF;
    let (normal, is_tiny) = if mantissa < SQRT_2_MANTISSA {
        (f64::from_bits(mantissa | 0x3FF0_0000_0000_0000), mantissa == 0)
    } else {
        k += 1;
        let is_tiny = (0x0010_0000_0000_0000 - mantissa) >> 2 == 0;
        (f64::from_bits(mantissa | 0x3FE0_0000_0000_0000), is_tiny)
    };
    Reduced { f: normal - 1.0, k: f64::from(k), correction, is_tiny }
}
