//! `*_over_time` and its kin: statistics of a window.

use std::sync::Arc;

use model::{EMPTY, ResetHint};

use super::lanes;
use super::regression;
use super::window::{Outcome, RangeFunction, Window};
use crate::annotations::{HistogramOperation, Notice};
use crate::eval::{EvalError, are_tame};
use crate::histogram::{FloatHistogram, kahan_inc};

/// The function of this name, if it is one of these.
pub(super) fn function(name: &str) -> Option<RangeFunction> {
    let of = |floats: fn(&Window<'_>) -> f64, mixed: fn(&Window<'_>) -> Outcome| {
        Some(RangeFunction { floats, mixed, row: None, check: None })
    };
    match name {
        "avg_over_time" => of(avg, avg_mixed),
        "sum_over_time" => of(sum, sum_mixed),
        "count_over_time" => of(count, |window| Outcome::Float(count(window))),
        "present_over_time" => of(|_| 1.0, |_| Outcome::Float(1.0)),
        "min_over_time" => of(min, |window| ignoring_histograms(window, min)),
        "max_over_time" => of(max, |window| ignoring_histograms(window, max)),
        "ts_of_min_over_time" => of(time_of_min, |window| ignoring_histograms(window, time_of_min)),
        "ts_of_max_over_time" => of(time_of_max, |window| ignoring_histograms(window, time_of_max)),
        "stddev_over_time" => of(stddev, |window| ignoring_histograms(window, stddev)),
        "stdvar_over_time" => of(stdvar, |window| ignoring_histograms(window, stdvar)),
        "mad_over_time" => of(mad, |window| ignoring_histograms(window, mad)),
        "quantile_over_time" => {
            of(quantile_of_window, |window| ignoring_histograms(window, quantile_of_window))
        }
        "first_over_time" => of(|window| window.values()[0], first_mixed),
        "last_over_time" => of(last, last_mixed),
        "ts_of_first_over_time" => of(|window| window.times()[0] as f64 / 1000.0, time_of_first_mixed),
        "ts_of_last_over_time" => of(time_of_last, time_of_last_mixed),
        "deriv" => Some(RangeFunction {
            floats: regression::deriv,
            mixed: |window| ignoring_histograms(window, regression::deriv),
            row: Some(regression::deriv_row),
            check: None,
        }),
        "predict_linear" => Some(RangeFunction {
            floats: regression::predict,
            mixed: |window| ignoring_histograms(window, regression::predict),
            row: Some(regression::predict_row),
            check: None,
        }),
        "changes" => of(super::changes::changes, super::changes::changes_mixed),
        "resets" => of(super::changes::resets, super::changes::resets_mixed),
        "double_exponential_smoothing" => Some(RangeFunction {
            floats: smooth,
            mixed: |window| ignoring_histograms(window, smooth),
            row: None,
            check: Some(refuse_smoothing_factors),
        }),
        _ => None,
    }
}

/// Floats only count; that histograms were there is noted.
fn ignoring_histograms(window: &Window<'_>, floats: fn(&Window<'_>) -> f64) -> Outcome {
    if window.floats.is_empty() {
        return Outcome::Nothing;
    }
    window.note(Notice::HistogramIgnoredInMixedRange(window.metric()));
    Outcome::of_cell(floats(window))
}

/// Whether the values of a window may be added up in any order: no sum of some of them is infinite.
fn is_tame(window: &Window<'_>) -> bool {
    window.track.is_tame || are_tame(window.values())
}

fn sum(window: &Window<'_>) -> f64 {
    if is_tame(window) {
        let (sum, compensation) = lanes::sum(window.values());
        return sum + compensation;
    }
    let (mut sum, mut compensation) = (0.0, 0.0);
    for value in window.values() {
        (sum, compensation) = kahan_inc(*value, sum, compensation);
    }
    if sum.is_infinite() { sum } else { sum + compensation }
}

fn avg(window: &Window<'_>) -> f64 {
    if is_tame(window) {
        let (sum, compensation) = lanes::sum(window.values());
        let n = window.values().len() as f64;
        return sum / n + compensation / n;
    }
    let mut mean = crate::eval::Mean::default();
    for value in window.values() {
        mean.add(*value);
    }
    mean.get()
}

fn sum_mixed(window: &Window<'_>) -> Outcome {
    if window.is_mixed() {
        return window.note_mixed();
    }
    let hints = HintsSeen::of(window.histograms());
    let mut total = FloatHistogram::clone(&window.histograms()[0]);
    let mut compensation = None;
    let mut reconciled = false;
    for histogram in &window.histograms()[1..] {
        match total.kahan_add(histogram, &mut compensation) {
            Ok(combined) => reconciled |= combined.nhcb_bounds_reconciled,
            Err(_) => return note_mixed_schemas(window),
        }
    }
    if let Some(compensation) = compensation {
        match total.add(&compensation) {
            Ok(combined) => reconciled |= combined.nhcb_bounds_reconciled,
            Err(_) => return note_mixed_schemas(window),
        }
    }
    hints.note(window, reconciled);
    Outcome::of_histogram(total)
}

fn avg_mixed(window: &Window<'_>) -> Outcome {
    if window.is_mixed() {
        return window.note_mixed();
    }
    let hints = HintsSeen::of(window.histograms());
    let mut mean = crate::eval::HistogramMean::new(&window.histograms()[0]);
    let mut reconciled = false;
    for histogram in &window.histograms()[1..] {
        match mean.add(histogram) {
            Ok(combined) => reconciled |= combined.nhcb_bounds_reconciled,
            Err(_) => return note_mixed_schemas(window),
        }
    }
    hints.note(window, reconciled);
    Outcome::of_histogram(mean.finish())
}

fn note_mixed_schemas(window: &Window<'_>) -> Outcome {
    window.note(Notice::MixedBucketSchemas(window.metric()));
    Outcome::Nothing
}

/// Which reset hints occur.
struct HintsSeen {
    reset: bool,
    no_reset: bool,
}

impl HintsSeen {
    fn of(histograms: &[Arc<FloatHistogram>]) -> HintsSeen {
        let seen = |hint: ResetHint| histograms.iter().any(|h| h.reset_hint == hint);
        HintsSeen { reset: seen(ResetHint::Yes), no_reset: seen(ResetHint::No) }
    }

    fn note(&self, window: &Window<'_>, reconciled: bool) {
        if self.reset && self.no_reset {
            window.note(Notice::CounterResetCollision(HistogramOperation::Aggregation));
        }
        if reconciled {
            window.note(Notice::MismatchedCustomBuckets(HistogramOperation::Aggregation));
        }
    }
}

fn count(window: &Window<'_>) -> f64 {
    (window.floats.len() + window.histograms.len()) as f64
}

/// The index of the value that no other displaces.
fn extreme(values: &[f64], displaces: impl Fn(f64, f64) -> bool) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if displaces(*value, values[best]) || values[best].is_nan() {
            best = index;
        }
    }
    best
}

fn max(window: &Window<'_>) -> f64 {
    lanes::extreme::<false>(window.values())
        .unwrap_or_else(|| extreme_value(window.values(), |new, best| new > best))
}

fn min(window: &Window<'_>) -> f64 {
    lanes::extreme::<true>(window.values())
        .unwrap_or_else(|| extreme_value(window.values(), |new, best| new < best))
}

/// The value that no other displaces; faster than to keep its index.
fn extreme_value(values: &[f64], displaces: impl Fn(f64, f64) -> bool) -> f64 {
    let choose = |best: f64, new: &f64| if displaces(*new, best) || best.is_nan() { *new } else { best };
    values.iter().fold(f64::NAN, choose)
}

fn time_of_max(window: &Window<'_>) -> f64 {
    window.times()[extreme(window.values(), |new, best| new >= best)] as f64 / 1000.0
}

fn time_of_min(window: &Window<'_>) -> f64 {
    window.times()[extreme(window.values(), |new, best| new <= best)] as f64 / 1000.0
}

fn stdvar(window: &Window<'_>) -> f64 {
    let mut count = 0.0;
    let (mut mean, mut mean_compensation) = (0.0, 0.0);
    let (mut squares, mut squares_compensation) = (0.0, 0.0);
    for value in window.values() {
        count += 1.0;
        let delta = value - (mean + mean_compensation);
        (mean, mean_compensation) = kahan_inc(delta / count, mean, mean_compensation);
        let product = delta * (value - (mean + mean_compensation));
        (squares, squares_compensation) = kahan_inc(product, squares, squares_compensation);
    }
    (squares + squares_compensation) / count
}

fn stddev(window: &Window<'_>) -> f64 {
    stdvar(window).sqrt()
}

fn mad(window: &Window<'_>) -> f64 {
    if window.values().iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    let median = with_scratch(window, |values| quantile(0.5, values));
    with_scratch(window, |values| {
        values.iter_mut().for_each(|v| *v = (*v - median).abs());
        quantile(0.5, values)
    })
}

fn quantile_of_window(window: &Window<'_>) -> f64 {
    let q = window.args[0];
    if !(0.0..=1.0).contains(&q) {
        window.note(Notice::InvalidQuantile(crate::number::shortest(q)));
    }
    with_scratch(window, |values| quantile(q, values))
}

/// Applies a function to a copy of a window's values, with which it may do what it likes.
fn with_scratch(window: &Window<'_>, function: impl Fn(&mut [f64]) -> f64) -> f64 {
    let mut values = window.evaluator.scratch.borrow_mut();
    values.clear();
    values.extend_from_slice(window.values());
    function(&mut values)
}

/// The quantile of some values, which are lost on the way. NaN is less than any number.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let last = values.len() - 1;
    let rank = q * last as f64;
    let lower = rank.floor().max(0.0) as usize;
    let weight = rank - rank.floor();
    // Integers are compared faster, and they find room where the values were.
    values.iter_mut().for_each(|v| *v = f64::from_bits(rank_key(*v) as u64));
    let key = |v: &f64| v.to_bits() as i64;
    let (_, at_rank, above) = values.select_nth_unstable_by(lower, |a, b| key(a).cmp(&key(b)));
    let next = above.iter().map(key).min().unwrap_or(key(at_rank));
    let (at_rank, next) = (value_of_key(key(at_rank)), value_of_key(next));
    at_rank * (1.0 - weight) + next * weight
}

/// Numbers in the order of values, those of no number before all.
fn rank_key(value: f64) -> i64 {
    if value.is_nan() { i64::MIN } else { flip_negative(value.to_bits() as i64) }
}

fn value_of_key(key: i64) -> f64 {
    if key == i64::MIN { f64::NAN } else { f64::from_bits(flip_negative(key) as u64) }
}

/// Of a negative number, all bits but the sign: the further from zero, the less it is.
fn flip_negative(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

fn last(window: &Window<'_>) -> f64 {
    let values = window.values();
    values[values.len() - 1]
}

fn time_of_last(window: &Window<'_>) -> f64 {
    let times = window.times();
    times[times.len() - 1] as f64 / 1000.0
}

fn first_mixed(window: &Window<'_>) -> Outcome {
    match (window.times().first(), window.histogram_times().first()) {
        (Some(float), Some(histogram)) if float < histogram => Outcome::Float(window.values()[0]),
        (_, Some(_)) => Outcome::Histogram(Arc::clone(&window.histograms()[0])),
        _ => Outcome::Nothing,
    }
}

fn last_mixed(window: &Window<'_>) -> Outcome {
    match (window.times().last(), window.histogram_times().last()) {
        (Some(float), Some(histogram)) if histogram < float => Outcome::Float(last(window)),
        (_, Some(_)) => Outcome::Histogram(Arc::clone(&window.histograms()[window.histograms.len() - 1])),
        _ => Outcome::Nothing,
    }
}

fn time_of_first_mixed(window: &Window<'_>) -> Outcome {
    let first = window.times().iter().take(1).chain(window.histogram_times().iter().take(1)).min();
    first.map_or(Outcome::Nothing, |time| Outcome::Float(*time as f64 / 1000.0))
}

fn time_of_last_mixed(window: &Window<'_>) -> Outcome {
    let last = window.times().last().into_iter().chain(window.histogram_times().last()).max();
    last.map_or(Outcome::Nothing, |time| Outcome::Float(*time as f64 / 1000.0))
}

fn smooth(window: &Window<'_>) -> f64 {
    let values = window.values();
    if values.len() < 2 {
        return f64::from_bits(EMPTY);
    }
    let [smoothing, trending] = window.args;
    let (mut before, mut smoothed) = (0.0, values[0]);
    let mut trend = values[1] - values[0];
    for (index, value) in values.iter().enumerate().skip(1) {
        let scaled = smoothing * value;
        if index > 1 {
            trend = trending * (smoothed - before) + (1.0 - trending) * trend;
        }
        let carried = (1.0 - smoothing) * (smoothed + trend);
        (before, smoothed) = (smoothed, scaled + carried);
    }
    smoothed
}

fn refuse_smoothing_factors([smoothing, trending]: [f64; 2]) -> Result<(), EvalError> {
    let refused = |name: &str, symbol: &str, value: f64| {
        let value = go_fixed(value);
        Err(EvalError::Execution(format!("invalid {name} factor. Expected: 0 < {symbol} < 1, got: {value}")))
    };
    if smoothing <= 0.0 || smoothing >= 1.0 {
        return refused("smoothing", "sf", smoothing);
    }
    if trending <= 0.0 || trending >= 1.0 {
        return refused("trend", "tf", trending);
    }
    Ok(())
}

/// Go's `%f`.
fn go_fixed(value: f64) -> String {
    if value.is_finite() { format!("{value:.6}") } else { crate::number::shortest(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_between_two_values_is_weighted() {
        assert_eq!(quantile(0.5, &mut [3.0, 1.0, 2.0, 4.0]), 2.5);
        assert_eq!(quantile(1.0, &mut [3.0, 1.0]), 3.0);
        assert_eq!(quantile(1.0, &mut [f64::NAN, 1.0]), 1.0);
        assert!(quantile(0.0, &mut [1.0, f64::NAN]).is_nan());
        assert_eq!(quantile(0.5, &mut [-1.0, f64::NEG_INFINITY, 0.0, -3.0, f64::INFINITY]), -1.0);
        assert_eq!(quantile(0.25, &mut [-1.0, f64::NEG_INFINITY, 0.0, -3.0, f64::INFINITY]), -3.0);
        assert_eq!(quantile(-0.1, &mut [1.0]), f64::NEG_INFINITY);
        assert!(quantile(f64::NAN, &mut [1.0]).is_nan());
    }
}
