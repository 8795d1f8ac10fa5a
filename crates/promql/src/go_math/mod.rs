//! Powers, logarithms and angles to the last bit of what Prometheus computes on amd64.
//!
//! Go brings functions of its own instead of the C library's: where a last digit becomes a label, or is what remains
//! after `%`, the two differ visibly. The methods are those of Cephes (angles), of FreeBSD's msun (logarithms,
//! `exp2`, inverse hyperbolic functions), and of Shibata's paper on functions for SIMD (`exp`).
//!
//! Always true: the bits are those of Go 1.26 on amd64 with FMA, except where Go is wrong there: its logarithm takes
//! subnormal numbers for normal ones, and with it their broken powers; here they are right.

mod exponential;
mod hyperbolic;
mod logarithm;
mod trigonometry;

pub(crate) use exponential::{exp, exp2};
pub(crate) use hyperbolic::{acosh, asinh, atanh, cosh, sinh, tanh};
pub(crate) use logarithm::{ln, log2, log10};
pub(crate) use trigonometry::{acos, asin, atan, atan2, cos, sin, tan};

/// Where the exponent of a double stands in its bits.
const EXPONENT_SHIFT: u32 = 52;
const EXPONENT_BITS: u64 = 0x7FF << EXPONENT_SHIFT;
/// The exponent of doubles from a half to one, as it is stored.
const HALF: i32 = 1022;

/// `base` to the power of `exponent`: the fraction of the exponent by way of logarithms, its whole part by squaring.
pub(crate) fn pow(base: f64, exponent: f64) -> f64 {
    if let Some(known) = special_power(base, exponent) {
        return known;
    }
    let (mut whole, mut fraction) = (exponent.abs().trunc(), exponent.abs().fract());
    let mut result = 1.0;
    if fraction != 0.0 {
        if fraction > 0.5 {
            fraction -= 1.0;
            whole += 1.0;
        }
        result = exp(fraction * ln(base));
    }
    // The result is `result · 2^power`; the squares are kept between a half and one likewise.
    let mut power: i64 = 0;
    let (mut square, square_power) = split(base);
    let mut square_power = i64::from(square_power);
    let mut bits = whole as i64;
    while bits != 0 {
        // Far beyond what a double holds, whatever follows.
        if square_power.abs() > 1 << 12 {
            power += square_power;
            break;
        }
        if bits & 1 == 1 {
            result *= square;
            power += square_power;
        }
        square *= square;
        square_power *= 2;
        if square < 0.5 {
            square += square;
            square_power -= 1;
        }
        bits >>= 1;
    }
    if exponent < 0.0 {
        return scale(1.0 / result, -power);
    }
    scale(result, power)
}

/// The greater: NaN if either is, unless the other is infinite.
pub(crate) fn max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        return f64::INFINITY;
    }
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The lesser: NaN if either is, unless the other is infinite.
pub(crate) fn min(a: f64, b: f64) -> f64 {
    -max(-a, -b)
}

/// Powers that are not computed.
fn special_power(base: f64, exponent: f64) -> Option<f64> {
    let vanishes_or_explodes = |vanishes: bool| if vanishes { 0.0 } else { f64::INFINITY };
    Some(match (base, exponent) {
        (_, 0.0) | (1.0, _) => 1.0,
        (_, 1.0) => base,
        _ if base.is_nan() || exponent.is_nan() => f64::NAN,
        (0.0, _) => {
            let signed = if is_odd(exponent) { base } else { 0.0 };
            if exponent < 0.0 { 1.0 / signed } else { signed }
        }
        (-1.0, _) if exponent.is_infinite() => 1.0,
        _ if exponent.is_infinite() => vanishes_or_explodes((base.abs() < 1.0) == (exponent > 0.0)),
        (f64::NEG_INFINITY, _) => return special_power(-0.0, -exponent),
        (f64::INFINITY, _) => vanishes_or_explodes(exponent < 0.0),
        (_, 0.5) => base.sqrt(),
        (_, -0.5) => 1.0 / base.sqrt(),
        _ if base < 0.0 && exponent.fract() != 0.0 => f64::NAN,
        // Even, and more than 64 bits hold.
        _ if exponent.abs() >= 2f64.powi(63) => match base {
            -1.0 => 1.0,
            _ => vanishes_or_explodes((base.abs() < 1.0) == (exponent > 0.0)),
        },
        _ => return None,
    })
}

/// From 2^53 on all doubles are even.
fn is_odd(value: f64) -> bool {
    value.abs() < 2f64.powi(53) && value % 2.0 != 0.0 && value.fract() == 0.0
}

/// A number as a fraction from a half to one and a power of two.
fn split(value: f64) -> (f64, i32) {
    if value == 0.0 || !value.is_finite() {
        return (value, 0);
    }
    let is_subnormal = value.abs() < f64::MIN_POSITIVE;
    let (value, shifted) = if is_subnormal { (value * 2f64.powi(52), 52) } else { (value, 0) };
    let bits = value.to_bits();
    let stored = ((bits & EXPONENT_BITS) >> EXPONENT_SHIFT) as i32;
    let fraction = f64::from_bits(bits & !EXPONENT_BITS | (HALF as u64) << EXPONENT_SHIFT);
    (fraction, stored - HALF - shifted)
}

/// `value · 2^power`, rounded once.
fn scale(value: f64, power: i64) -> f64 {
    let (fraction, own_power) = split(value);
    if fraction == 0.0 || !fraction.is_finite() {
        return value;
    }
    let stored = power + i64::from(own_power + HALF);
    if stored < -52 {
        return 0f64.copysign(value);
    }
    if stored >= 0x7FF {
        return f64::INFINITY.copysign(value);
    }
    // Subnormal numbers are made from normal ones, so that what is lost is rounded.
    let (stored, rest) = if stored < 1 { (stored + 53, 2f64.powi(-53)) } else { (stored, 1.0) };
    let bits = fraction.to_bits() & !EXPONENT_BITS | (stored as u64) << EXPONENT_SHIFT;
    f64::from_bits(bits) * rest
}

/// A polynomial, by Horner; the coefficient of the highest power comes first.
fn polynomial(x: f64, coefficients: &[f64]) -> f64 {
    coefficients.iter().fold(0.0, |sum, coefficient| sum * x + coefficient)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What functions of Go's `math` say: a function, its arguments and its result a line, numbers as `%016x` prints
    /// their `math.Float64bits`.
    const TRUTH: &str = include_str!("go1.26-amd64.txt");

    fn compute(name: &str, arguments: &[f64]) -> Option<f64> {
        let one: fn(f64) -> f64 = match (name, arguments) {
            ("pow", [base, exponent]) => return Some(pow(*base, *exponent)),
            ("atan2", [y, x]) => return Some(atan2(*y, *x)),
            ("exp", _) => exp,
            ("exp2", _) => exp2,
            ("ln", _) => ln,
            ("log2", _) => log2,
            ("log10", _) => log10,
            ("log1p", _) => logarithm::ln_1p,
            ("sin", _) => sin,
            ("cos", _) => cos,
            ("tan", _) => tan,
            ("asin", _) => asin,
            ("acos", _) => acos,
            ("atan", _) => atan,
            ("sinh", _) => sinh,
            ("cosh", _) => cosh,
            ("tanh", _) => tanh,
            ("asinh", _) => asinh,
            ("acosh", _) => acosh,
            ("atanh", _) => atanh,
            _ => return None,
        };
        arguments.first().map(|argument| one(*argument))
    }

    /// The number of cases, and those that are wrong.
    fn check(truth: &str) -> (usize, Vec<String>) {
        let mut wrong = Vec::new();
        for line in truth.lines() {
            let (name, bits) = line.split_once(' ').unwrap();
            let mut numbers: Vec<f64> =
                bits.split(' ').map(|word| f64::from_bits(u64::from_str_radix(word, 16).unwrap())).collect();
            let expected = numbers.pop().unwrap();
            let found = compute(name, &numbers).unwrap_or_else(|| panic!("no function {name}"));
            let is_same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
            // There Go is wrong.
            let is_subnormal = numbers[0].is_subnormal() && matches!(name, "ln" | "log10" | "pow");
            if !is_same && !is_subnormal {
                wrong.push(format!("{name}{numbers:?} is {found:?}, should be {expected:?}"));
            }
        }
        (truth.lines().count(), wrong)
    }

    #[test]
    fn every_bit_is_that_of_go() {
        let (n, wrong) = check(TRUTH);
        assert!(n > 1_000, "{n} cases");
        assert!(wrong.is_empty(), "{} of {n}: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
    }

    #[test]
    fn subnormal_numbers_have_their_own_logarithms() {
        let least = 5e-324;
        assert_eq!(ln(least), -744.440_071_921_381_2);
        assert_eq!(log2(least), -1074.0);
        assert!((pow(least, 0.25) / 1.490_891_930_853_835_5e-81 - 1.0).abs() < 1e-12);
        assert_eq!(split(least), (0.5, -1073));
        assert_eq!(scale(0.5, -1073), least);
    }
}
