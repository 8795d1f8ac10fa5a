//! Doubles that are decimals in disguise, as integers: `value = (base + v) * mul / div`, bit for bit.

use model::{EMPTY, STALE_NAN};

/// Integers up to here are doubles without rounding.
const EXACT: u64 = 1 << 53;

/// How the integers of a row become its values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decimal {
    /// Added to each integer.
    pub base: i64,
    /// Multiplied with the sum.
    pub mul: f64,
    /// Divides the product.
    pub div: f64,
}

impl Decimal {
    /// The value that `v` stands for.
    #[inline]
    pub fn value(&self, v: i64) -> f64 {
        self.base.wrapping_add(v) as f64 * self.mul / self.div
    }
}

/// Whether the cell has no value of its own: no sample, or a stale marker.
#[inline]
pub fn is_null(cell: f64) -> bool {
    let bits = cell.to_bits();
    bits == EMPTY || bits == STALE_NAN
}

/// Finds the formula that gives back every value of `cells`, and its integers; cells without a value become 0.
/// `None` means that the row needs doubles.
pub fn detect(cells: &[f64], ints: &mut Vec<i64>) -> Option<Decimal> {
    if integers(cells, ints) {
        return Some(reduce(cells, ints, 1.0, 1.0, true));
    }
    if let Some(div) = decimals(cells, ints) {
        return Some(reduce(cells, ints, 1.0, div, true));
    }
    if cells.iter().any(|cell| !is_null(*cell) && (!cell.is_finite() || is_negative_zero(*cell))) {
        return None;
    }
    for mul in [1e-3, 1e-6, 1e-9, 1e-12] {
        if multiples(cells, ints, mul) {
            return Some(reduce(cells, ints, mul, 1.0, false));
        }
    }
    let mul = last_bit_of_the_largest(cells);
    multiples(cells, ints, mul).then(|| reduce(cells, ints, mul, 1.0, true))
}

fn is_negative_zero(value: f64) -> bool {
    value.to_bits() == (-0.0f64).to_bits()
}

fn integers(cells: &[f64], ints: &mut Vec<i64>) -> bool {
    ints.clear();
    ints.reserve(cells.len());
    for &cell in cells {
        let k = cell as i64;
        let exact = (k as f64).to_bits() == cell.to_bits() && k.unsigned_abs() < EXACT;
        if !exact && !is_null(cell) {
            return false;
        }
        ints.push(k);
    }
    true
}

/// The least power of ten that makes integers of all values.
fn decimals(cells: &[f64], ints: &mut Vec<i64>) -> Option<f64> {
    let mut exponent = 1;
    for &cell in cells {
        // What a smaller power makes an integer a greater one does too, so the exponent only grows.
        while !is_null(cell) && scaled(cell, POWERS[exponent]).is_none() {
            exponent += 1;
            if exponent == POWERS.len() {
                return None;
            }
        }
    }
    let div = POWERS[exponent];
    ints.clear();
    for &cell in cells {
        ints.push(if is_null(cell) { 0 } else { scaled(cell, div)? });
    }
    Some(div)
}

const POWERS: [f64; 16] =
    [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

#[inline]
fn scaled(value: f64, div: f64) -> Option<i64> {
    let k = nearest(value * div);
    let exact = (k / div).to_bits() == value.to_bits() && k.abs() < EXACT as f64;
    exact.then_some(k as i64)
}

fn multiples(cells: &[f64], ints: &mut Vec<i64>, mul: f64) -> bool {
    ints.clear();
    for &cell in cells {
        if is_null(cell) {
            ints.push(0);
            continue;
        }
        let k = nearest(cell / mul);
        if (k * mul).to_bits() != cell.to_bits() || k.abs() >= EXACT as f64 {
            return false;
        }
        ints.push(k as i64);
    }
    true
}

/// The nearest integer. Adding and subtracting 1.5 · 2^52 rounds without a call into the mathematics library,
/// which the baseline instruction set needs for `round_ties_even`.
#[inline]
fn nearest(x: f64) -> f64 {
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    if x.abs() < 2_251_799_813_685_248.0 { (x + SHIFT) - SHIFT } else { x.round_ties_even() }
}

fn last_bit_of_the_largest(cells: &[f64]) -> f64 {
    let largest = cells.iter().filter(|cell| !is_null(**cell)).fold(0.0f64, |max, v| max.max(v.abs()));
    let exponent = (largest.to_bits() >> 52).max(1) - 1;
    // 2^(e-52) where `largest` lies in [2^e, 2^(e+1)), subnormal where need be.
    if exponent >= 52 { f64::from_bits((exponent + 1 - 52) << 52) } else { f64::from_bits(1 << exponent) }
}

/// Moves the common divisor into `mul` and the least integer into `base`.
fn reduce(cells: &[f64], ints: &mut [i64], mul: f64, div: f64, divisible: bool) -> Decimal {
    let divisor = if divisible { common_divisor(cells, ints) } else { 1 };
    if divisor > 1 {
        ints.iter_mut().for_each(|k| *k /= divisor);
    }
    let has_nulls = cells.iter().any(|cell| is_null(*cell));
    let base = if has_nulls {
        let present = cells.iter().zip(&*ints).filter(|(cell, _)| !is_null(**cell));
        present.map(|(_, k)| *k).min().unwrap_or(0)
    } else {
        ints.iter().copied().min().unwrap_or(0)
    };
    ints.iter_mut().for_each(|k| *k = k.wrapping_sub(base));
    Decimal { base, mul: mul * divisor as f64, div }
}

fn common_divisor(cells: &[f64], ints: &[i64]) -> i64 {
    let mut divisor = 0u64;
    let mut last = 0u64;
    for (&cell, &k) in cells.iter().zip(ints) {
        let k = k.unsigned_abs();
        if k == last || is_null(cell) {
            continue;
        }
        last = k;
        divisor = gcd(divisor, k);
        if divisor == 1 {
            break;
        }
    }
    (divisor as i64).max(1)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(cells: &[f64]) -> Option<Decimal> {
        let mut ints = Vec::new();
        let decimal = detect(cells, &mut ints)?;
        assert_eq!(ints.len(), cells.len());
        for (cell, v) in cells.iter().zip(&ints).filter(|(cell, _)| !is_null(**cell)) {
            assert_eq!(decimal.value(*v).to_bits(), cell.to_bits(), "{cell} from {v} by {decimal:?}");
            assert!(*v >= 0 && (decimal.base + v).unsigned_abs() < EXACT);
        }
        Some(decimal)
    }

    #[test]
    fn decimals_become_integers() {
        let empty = f64::from_bits(EMPTY);
        let stale = f64::from_bits(STALE_NAN);
        assert_eq!(check(&[1.0, 2.0, 5.0]), Some(Decimal { base: 1, mul: 1.0, div: 1.0 }));
        assert_eq!(check(&[4096.0, empty, 8192.0]), Some(Decimal { base: 1, mul: 4096.0, div: 1.0 }));
        assert_eq!(check(&[0.1, 0.25, stale]), Some(Decimal { base: 2, mul: 5.0, div: 100.0 }));
        assert_eq!(check(&[-0.5, 3.0]), Some(Decimal { base: -1, mul: 5.0, div: 10.0 }));
        assert_eq!(check(&[7.0, 7.0]), Some(Decimal { base: 1, mul: 7.0, div: 1.0 }));
        assert_eq!(check(&[empty, stale]), Some(Decimal { base: 0, mul: 1.0, div: 1.0 }));
        assert_eq!(check(&[1390.0 * 0.001 + 0.0, 1391.0 * 1e-3]).map(|d| d.base > 0), Some(true));
        assert!(check(&[f64::MIN_POSITIVE / 4.0, f64::MIN_POSITIVE]).is_some());
        assert!(check(&[1e300, 2e300]).is_some());
    }

    #[test]
    fn what_is_no_number_of_a_lattice_stays_double() {
        for cells in [
            [1.0, -0.0],
            [1.0, f64::NAN],
            [1.0, f64::INFINITY],
            [f64::NEG_INFINITY, 0.1],
            [1e300, 1e-300],
            [1.0 / 3.0, 1e-20],
        ] {
            assert_eq!(check(&cells), None, "{cells:?}");
        }
    }

    proptest! {
        #[test]
        fn every_bit_comes_back_or_the_row_is_refused(
            cells in prop::collection::vec(
                prop_oneof![
                    any::<u64>().prop_map(f64::from_bits),
                    any::<i32>().prop_map(f64::from),
                    any::<i64>().prop_map(|k| k as f64),
                    (any::<i32>(), 0..12i32).prop_map(|(k, e)| f64::from(k) / 10f64.powi(e)),
                    any::<i32>().prop_map(|k| f64::from(k) * 0.001),
                    Just(f64::from_bits(EMPTY)),
                    Just(f64::from_bits(STALE_NAN)),
                ],
                1..6,
            )
        ) {
            check(&cells);
        }

        #[test]
        fn short_decimals_never_need_doubles(
            cells in prop::collection::vec((any::<i32>(), 0..6i32), 1..50)
        ) {
            let cells: Vec<f64> =
                cells.iter().map(|(k, e)| f64::from(*k) / 10f64.powi(*e)).map(|v| v + 0.0).collect();
            prop_assert!(check(&cells).is_some());
        }
    }
}
