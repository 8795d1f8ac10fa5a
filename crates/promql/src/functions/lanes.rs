//! Sums and extremes of many values, several at a time: a value waits for the one before it in its lane only, and lanes
//! lie beside each other in one register.

use crate::histogram::kahan_inc;

/// Two lanes to a register, and as many registers as it takes to keep adders busy.
const LANES: usize = 8;

/// Fewer values are added up faster one after the other.
const FEW: usize = 12;

/// A compensated sum in lanes.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    sums: [f64; LANES],
    compensations: [f64; LANES],
}

impl Sums {
    pub(super) fn new() -> Sums {
        Sums { sums: [-0.0; LANES], compensations: [0.0; LANES] }
    }

    /// Adds a value to each lane. What rounding takes away is found without asking which of two is the larger.
    #[inline(always)]
    pub(super) fn add(&mut self, values: [f64; LANES]) {
        for (lane, value) in values.into_iter().enumerate() {
            let sum = self.sums[lane];
            let total = sum + value;
            let added = total - sum;
            self.compensations[lane] += (sum - (total - added)) + (value - added);
            self.sums[lane] = total;
        }
    }

    /// All lanes, and the values that fill no lane, as sum and compensation.
    pub(super) fn total(&self, rest: impl Iterator<Item = f64>) -> (f64, f64) {
        let (mut sum, mut compensation) = (0.0, 0.0);
        for value in self.sums.into_iter().chain(rest) {
            (sum, compensation) = kahan_inc(value, sum, compensation);
        }
        (sum, compensation + self.compensations.iter().sum::<f64>())
    }
}

/// Sum and compensation of values that are far from infinity.
pub(super) fn sum(values: &[f64]) -> (f64, f64) {
    if values.len() < FEW {
        return Sums::new().total(values.iter().copied());
    }
    let mut sums = Sums::new();
    let (full, rest) = values.as_chunks::<LANES>();
    full.iter().for_each(|some| sums.add(*some));
    sums.total(rest.iter().copied())
}

/// Sums of values and of their products with what `secs` makes of their times.
pub(super) fn products(times: &[f64], secs: impl Fn(f64) -> f64, values: &[f64]) -> [(f64, f64); 2] {
    let (mut sums, mut products) = (Sums::new(), Sums::new());
    let ((full, rest), (full_times, rest_times)) = (values.as_chunks::<LANES>(), times.as_chunks::<LANES>());
    for (some, times) in full.iter().zip(full_times) {
        let mut of_some = [0.0; LANES];
        for lane in 0..LANES {
            of_some[lane] = secs(times[lane]) * some[lane];
        }
        sums.add(*some);
        products.add(of_some);
    }
    let rest_products = rest_times.iter().zip(rest).map(|(time, value)| secs(*time) * value);
    [sums.total(rest.iter().copied()), products.total(rest_products)]
}

/// The greatest value, or the least; `None` where that is infinite or no number, so that order matters.
pub(super) fn extreme<const LEAST: bool>(values: &[f64]) -> Option<f64> {
    // No number displaces nothing here.
    let choose = |best: f64, new: f64| {
        let displaces = if LEAST { new < best } else { new > best };
        if displaces { new } else { best }
    };
    let none = if LEAST { f64::INFINITY } else { f64::NEG_INFINITY };
    let mut lanes = [none; LANES];
    let (full, rest) = values.as_chunks::<LANES>();
    for some in full {
        for (lane, value) in lanes.iter_mut().zip(some) {
            *lane = choose(*lane, *value);
        }
    }
    let best = lanes.into_iter().chain(rest.iter().copied()).fold(none, choose);
    match best {
        best if best.is_infinite() => None,
        // Of two zeros the first is taken, whatever their signs.
        0.0 => values.iter().copied().find(|value| *value == 0.0),
        best => Some(best),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one_by_one(values: impl Iterator<Item = f64>) -> f64 {
        let (sum, compensation) = values.fold((0.0, 0.0), |(sum, lost), v| kahan_inc(v, sum, lost));
        sum + compensation
    }

    /// Values of very different sizes that often cancel out.
    fn values() -> impl Strategy<Value = Vec<f64>> {
        let value = prop_oneof![
            -10.0..10.0,
            (-300i32..250).prop_map(|e| 10f64.powi(e)),
            (-20i32..20).prop_map(|e| -(2f64.powi(e))),
            Just(0.0),
            Just(-0.0),
            Just(1e16),
            Just(-1e16),
        ];
        proptest::collection::vec(value, 1..100)
    }

    fn is_near(a: f64, b: f64, values: &[f64]) -> bool {
        let largest = values.iter().fold(a.abs(), |largest, v| largest.max(v.abs()));
        (a - b).abs() <= 1e-14 * largest
    }

    proptest! {
        #[test]
        fn a_sum_in_lanes_is_the_sum_one_by_one(values in values()) {
            let (sum, compensation) = sum(&values);
            let expected = one_by_one(values.iter().copied());
            prop_assert!(is_near(sum + compensation, expected, &values), "{} {expected}", sum + compensation);
        }

        #[test]
        fn products_in_lanes_are_the_products_one_by_one(values in values(), origin in 0..20i64) {
            let times: Vec<f64> = (0..values.len()).map(|i| (i * 1_500) as f64).collect();
            let origin = (origin * 1_000) as f64;
            let expected: Vec<f64> = values.iter().zip(&times).map(|(v, t)| (t - origin) / 1e3 * v).collect();
            let [_, (sum, lost)] = products(&times, |time| (time - origin) / 1e3, &values);
            prop_assert!(is_near(sum + lost, one_by_one(expected.iter().copied()), &expected));
        }

        #[test]
        fn an_extreme_in_lanes_is_the_first_of_the_extremes(
            mut values in values(),
            odd in proptest::collection::vec(0..100usize, 0..5),
        ) {
            let n = values.len();
            odd.iter().for_each(|at| values[at % n] = f64::NAN);
            let first = |displaces: fn(f64, f64) -> bool| {
                let choose = |best: f64, v: &f64| if displaces(*v, best) || best.is_nan() { *v } else { best };
                values.iter().fold(f64::NAN, choose)
            };
            for (found, expected) in
                [(extreme::<false>(&values), first(|a, b| a > b)), (extreme::<true>(&values), first(|a, b| a < b))]
            {
                let same = found.map_or(expected.is_nan(), |found| found.to_bits() == expected.to_bits());
                prop_assert!(same, "{found:?} {expected}");
            }
        }
    }
}
