use super::logarithm::{LN2_HIGH, LN2_LOW};
use super::scale;

/// The largest argument whose power of e is finite, as Go has it.
const LARGEST: f64 = 7.09782712893384e2;

/// ln 2 in two parts, of which the first has so few bits that its products with whole numbers are exact.
const LN2_UPPER: f64 = f64::from_bits(0x3FE6_2E42_FEFA_3000);
const LN2_LOWER: f64 = 2.8235290563031577e-13;

/// 1/8!, 1/7!, … 1/1!: the series of (e^x − 1) / x.
const TAYLOR: [f64; 8] = [
    2.48015873015873e-5,
    0.0001984126984126984,
    0.001388888888888889,
    0.008333333333333333,
    0.041666666666666664,
    0.16666666666666666,
    0.5,
    1.0,
];

/// e^x: of a sixteenth of what remains beside whole powers of two by a series, squared four times.
pub(crate) fn exp(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x > LARGEST {
        return f64::INFINITY;
    }
    let power = (x * std::f64::consts::LOG2_E).round_ties_even();
    // Whatever the rest would be.
    if power < -1075.0 {
        return 0.0;
    }
    let rest = (-power).mul_add(LN2_LOWER, (-power).mul_add(LN2_UPPER, x)) * 0.0625;
    let [first, others @ ..] = TAYLOR;
    let series = others.iter().fold(first, |sum, coefficient| sum.mul_add(rest, *coefficient));
    // With y = e^x − 1 is e^2x − 1 = y·(y + 2).
    let mut less_one = series * rest;
    for _ in 0..3 {
        less_one *= less_one + 2.0;
    }
    times_power(less_one.mul_add(less_one + 2.0, 1.0), power as i32)
}

/// `value · 2^power` for values near one; subnormal results are rounded after they were scaled in two steps.
fn times_power(value: f64, power: i32) -> f64 {
    let stored = power + 1023;
    if stored >= 0x7FF {
        return f64::INFINITY;
    }
    if stored > 0 {
        return value * f64::from_bits((stored as u64) << 52);
    }
    if stored < -52 {
        return 0.0;
    }
    value * f64::from_bits(((stored + 1022) as u64) << 52) * f64::MIN_POSITIVE
}

/// The rational approximation of FreeBSD's e_exp.c.
const EXP_P: [f64; 5] = [
    4.1381367970572385e-8,
    -1.6533902205465252e-6,
    6.613756321437934e-5,
    -0.0027777777777015593,
    0.16666666666666666,
];

/// 2^x
pub(crate) fn exp2(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x > 1023.9999999999999 {
        return f64::INFINITY;
    }
    if x < -1074.0 {
        return 0.0;
    }
    let power = (x + 0.5f64.copysign(x)).trunc();
    let rest = x - power;
    let (high, low) = (rest * LN2_HIGH, -rest * LN2_LOW);
    let r = high - low;
    let t = r * r;
    let c = r - t * super::polynomial(t, &EXP_P);
    scale(1.0 - ((low - (r * c) / (2.0 - c)) - high), power as i64)
}
