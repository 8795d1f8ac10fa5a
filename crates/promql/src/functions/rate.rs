//! `rate`, `increase`, `delta`, `irate`, `idelta`.

use std::sync::Arc;

use model::{EMPTY, ResetHint};

use super::extended;
use super::rate_rows;
use super::window::{Outcome, RangeFunction, Window};
use crate::annotations::{HistogramOperation, Notice};
use crate::ast::RangeMode;
use crate::eval::overlaps;
use crate::histogram::{Combined, FloatHistogram, HistogramOpError};

pub(super) const RATE: RangeFunction = extrapolated::<true, true>();
pub(super) const INCREASE: RangeFunction = extrapolated::<true, false>();
pub(super) const DELTA: RangeFunction = extrapolated::<false, false>();
pub(super) const IRATE: RangeFunction = instant::<true>();
pub(super) const IDELTA: RangeFunction = instant::<false>();

const fn extrapolated<const COUNTER: bool, const PER_SECOND: bool>() -> RangeFunction {
    RangeFunction {
        floats: extrapolated_floats::<COUNTER, PER_SECOND>,
        mixed: extrapolated_mixed::<COUNTER, PER_SECOND>,
        row: Some(rate_rows::extrapolated::<COUNTER, PER_SECOND>),
        check: None,
    }
}

const fn instant<const PER_SECOND: bool>() -> RangeFunction {
    RangeFunction {
        floats: instant_floats::<PER_SECOND>,
        mixed: instant_mixed::<PER_SECOND>,
        row: Some(rate_rows::instant::<PER_SECOND>),
        check: None,
    }
}

/// Where a window starts and ends, and its length.
#[derive(Clone, Copy)]
pub(super) struct Borders {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) range_secs: f64,
}

impl Borders {
    fn of(window: &Window<'_>) -> Borders {
        Borders { start: window.start, end: window.end, range_secs: window.range_secs() }
    }
}

/// The first and the last sample of a window, and how many there are.
pub(super) struct Extent {
    first: i64,
    last: i64,
    samples: usize,
    /// Since when the first sample counts, where that lies within the window.
    counts_since: Option<i64>,
}

/// How the samples of a window spread over it, in seconds; what of an extrapolation depends on times only.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    /// From the first sample to the last.
    pub(super) sampled: f64,
    /// How far the first sample is extrapolated towards the start of the window.
    pub(super) to_start: f64,
    /// How far the last sample is extrapolated towards the end of the window.
    pub(super) to_end: f64,
    /// By what a difference is multiplied then.
    pub(super) factor: f64,
}

impl Extent {
    pub(super) fn of(times: &[i64], start_timestamp: i64, window: Borders) -> Extent {
        let (first, last) = (times[0], times[times.len() - 1]);
        let is_within = start_timestamp != 0 && start_timestamp > window.start && start_timestamp < first;
        Extent { first, last, samples: times.len(), counts_since: is_within.then_some(start_timestamp) }
    }

    /// How the samples spread over the window, and by what their difference is to be multiplied to cover all of it.
    pub(super) fn spread(&self, window: Borders, per_second: bool) -> Option<Spread> {
        let seconds = |from: i64, to: i64| (to - from) as f64 / 1000.0;
        let mut to_start = seconds(window.start, self.first);
        let mut to_end = seconds(self.last, window.end);
        let mut sampled = seconds(self.first, self.last);
        let between = if self.samples > 1 { sampled / (self.samples - 1) as f64 } else { 0.0 };
        // A sample that is not there where one more was to be expected means that the series ends there.
        let threshold = between * 1.1;
        if let Some(since) = self.counts_since {
            to_start = 0.0;
            sampled = seconds(since, self.last);
        } else if self.samples < 2 {
            return None;
        } else if to_start >= threshold {
            to_start = between / 2.0;
        }
        if to_end >= threshold {
            to_end = between / 2.0;
        }
        let spread = Spread { sampled, to_start, to_end, factor: 1.0 };
        Some(Spread { factor: factor(&spread, to_start, window, per_second), ..spread })
    }
}

fn factor(spread: &Spread, to_start: f64, window: Borders, per_second: bool) -> f64 {
    let Spread { sampled, to_end, .. } = *spread;
    let factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
    if per_second { factor / window.range_secs } else { factor }
}

/// The factor for a counter, which is not extrapolated to below zero. `to_zero` is how much of the sampled time it
/// took to reach its first value from there.
pub(super) fn counter_factor(
    spread: &Spread,
    to_zero: Option<f64>,
    window: Borders,
    per_second: bool,
) -> f64 {
    match to_zero.map(|share| spread.sampled * share) {
        Some(to_zero) if to_zero < spread.to_start => factor(spread, to_zero, window, per_second),
        _ => spread.factor,
    }
}

fn extrapolated_floats<const COUNTER: bool, const PER_SECOND: bool>(window: &Window<'_>) -> f64 {
    if window.mode != RangeMode::Normal {
        return extended::floats(window, COUNTER, PER_SECOND);
    }
    let (values, borders) = (window.values(), Borders::of(window));
    let first = values[0];
    let mut result = values[values.len() - 1] - first;
    if COUNTER {
        if window.track.overlaps_in(&window.floats) {
            window.note(Notice::StartTimeOverlap(window.metric()));
        }
        for index in window.track.resets_in(&window.floats) {
            result += window.track.values[index - 1];
        }
    }
    let start_timestamp = if COUNTER { window.track.start(window.floats.start) } else { 0 };
    let extent = Extent::of(window.times(), start_timestamp, borders);
    if extent.counts_since.is_some() {
        result += first;
    }
    let to_zero = (COUNTER && result > 0.0 && first >= 0.0).then(|| first / result);
    match extent.spread(borders, PER_SECOND) {
        Some(spread) => result * counter_factor(&spread, to_zero, borders, PER_SECOND),
        None => f64::from_bits(EMPTY),
    }
}

fn extrapolated_mixed<const COUNTER: bool, const PER_SECOND: bool>(window: &Window<'_>) -> Outcome {
    if window.is_mixed() {
        return window.note_mixed();
    }
    if window.mode != RangeMode::Normal {
        return extended::histograms(window, COUNTER, PER_SECOND);
    }
    let points = window.histograms();
    let mut result = None;
    if points.len() > 1 {
        match difference(window, COUNTER) {
            Some(difference) => result = Some(difference),
            None => return Outcome::Nothing,
        }
    }
    let first = &points[0];
    let start_timestamp = if COUNTER { window.track.histogram_start(window.histograms.start) } else { 0 };
    let borders = Borders::of(window);
    let extent = Extent::of(window.histogram_times(), start_timestamp, borders);
    let to_zero = match &result {
        Some(result) if COUNTER && result.count > 0.0 && first.count >= 0.0 => {
            Some(first.count / result.count)
        }
        _ => None,
    };
    if extent.counts_since.is_some() {
        match &mut result {
            None => result = Some(FloatHistogram::clone(first)),
            Some(sum) => {
                if !add(window, sum, first) {
                    return Outcome::Nothing;
                }
            }
        }
    }
    match (result, extent.spread(borders, PER_SECOND)) {
        (Some(mut result), Some(spread)) => {
            result.mul(counter_factor(&spread, to_zero, borders, PER_SECOND));
            Outcome::of_histogram(result)
        }
        _ => Outcome::Nothing,
    }
}

/// The last histogram of a window less the first, with what was lost by resets added.
fn difference(window: &Window<'_>, is_counter: bool) -> Option<FloatHistogram> {
    let points = window.histograms();
    let starts_anew = |index: usize| window.track.histogram_starts_anew(window.histograms.start + index);
    let (mut previous, last) = (Arc::clone(&points[0]), &points[points.len() - 1]);
    if is_counter && (is_gauge(&previous) || is_gauge(last)) {
        window.note(Notice::NotACounter(window.metric()));
    }
    if is_counter && (starts_anew(1) || points[1].detect_reset(&previous)) {
        // The first histogram does not matter then, nor does its layout.
        let mut empty = FloatHistogram::empty(points[1].schema);
        empty.custom_values = points[1].custom_values.clone();
        previous = Arc::new(empty);
    }
    let is_custom = previous.uses_custom_buckets();
    let mixed_schemas = || window.note(Notice::MixedBucketSchemas(window.metric()));
    if last.uses_custom_buckets() != is_custom {
        mixed_schemas();
        return None;
    }
    let mut schema = last.schema.min(previous.schema);
    if is_counter {
        for point in &points[1..points.len() - 1] {
            if is_gauge(point) {
                window.note(Notice::NotACounter(window.metric()));
            }
            schema = schema.min(point.schema);
            if point.uses_custom_buckets() != is_custom {
                mixed_schemas();
                return None;
            }
        }
    }
    let mut result = match last.copy_to_schema(schema) {
        Ok(copy) => copy,
        Err(_) => FloatHistogram::clone(last),
    };
    if !subtract(window, &mut result, &previous) {
        return None;
    }
    if is_counter {
        note_histogram_overlap(window);
        for (index, point) in points.iter().enumerate().skip(1) {
            let is_reset = starts_anew(index) || point.detect_reset(&previous);
            if is_reset && !add(window, &mut result, &previous) {
                return None;
            }
            previous = Arc::clone(point);
        }
    } else if !is_gauge(&points[0]) || !is_gauge(last) {
        window.note(Notice::NotAGauge(window.metric()));
    }
    result.reset_hint = ResetHint::Gauge;
    result.compact(0);
    Some(result)
}

fn note_histogram_overlap(window: &Window<'_>) {
    let track = window.track;
    if track.histogram_starts.is_empty() {
        return;
    }
    let overlap = |index: usize| {
        let previous = (track.histogram_starts[index - 1], track.histogram_times[index - 1]);
        overlaps(previous, track.histogram_starts[index])
    };
    if (window.histograms.start + 1..window.histograms.end).any(overlap) {
        window.note(Notice::StartTimeOverlap(window.metric()));
    }
}

/// One of the last two samples of a window.
enum Recent {
    Float(usize),
    Histogram(usize),
}

fn instant_floats<const PER_SECOND: bool>(window: &Window<'_>) -> f64 {
    if window.floats.len() < 2 {
        return f64::from_bits(EMPTY);
    }
    let last = window.floats.end - 1;
    instant_value(window, (last - 1, last), PER_SECOND)
}

fn instant_value(window: &Window<'_>, (earlier, later): (usize, usize), per_second: bool) -> f64 {
    let track = window.track;
    let interval = track.times[later] - track.times[earlier];
    if interval == 0 {
        return f64::from_bits(EMPTY);
    }
    let (from, to) = (track.values[earlier], track.values[later]);
    let is_reset = per_second && (to < from || (later == earlier + 1 && track.starts_anew(later)));
    let value = if is_reset { to } else { to - from };
    if per_second { value / (interval as f64 / 1000.0) } else { value }
}

fn instant_mixed<const PER_SECOND: bool>(window: &Window<'_>) -> Outcome {
    let mut recent: Vec<(i64, Recent)> = window
        .floats
        .clone()
        .rev()
        .take(2)
        .map(|i| (window.track.times[i], Recent::Float(i)))
        .chain(
            window
                .histograms
                .clone()
                .rev()
                .take(2)
                .map(|i| (window.track.histogram_times[i], Recent::Histogram(i))),
        )
        .collect();
    recent.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    match &recent[..] {
        [(_, Recent::Float(later)), (_, Recent::Float(earlier)), ..] => {
            Outcome::of_cell(instant_value(window, (*earlier, *later), PER_SECOND))
        }
        [(_, Recent::Histogram(later)), (_, Recent::Histogram(earlier)), ..] => {
            instant_histogram(window, (*earlier, *later), PER_SECOND)
        }
        [_, _, ..] => window.note_mixed(),
        _ => Outcome::Nothing,
    }
}

fn instant_histogram(window: &Window<'_>, (earlier, later): (usize, usize), per_second: bool) -> Outcome {
    let track = window.track;
    let interval = track.histogram_times[later] - track.histogram_times[earlier];
    if interval == 0 {
        return Outcome::Nothing;
    }
    let (from, to) = (&track.histograms[earlier], &track.histograms[later]);
    if per_second && (is_gauge(from) || is_gauge(to)) {
        window.note(Notice::NotACounter(window.metric()));
    }
    let are_gauges = is_gauge(from) && is_gauge(to);
    if !per_second && !are_gauges {
        window.note(Notice::NotAGauge(window.metric()));
    }
    let mut result = FloatHistogram::clone(to);
    let is_reset = per_second && (track.histogram_starts_anew(later) || to.detect_reset(from));
    if !is_reset && !subtract(window, &mut result, from) {
        return Outcome::Nothing;
    }
    result.reset_hint = ResetHint::Gauge;
    result.compact(0);
    if per_second {
        result.div(interval as f64 / 1000.0);
    }
    Outcome::of_histogram(result)
}

pub(super) fn is_gauge(histogram: &FloatHistogram) -> bool {
    histogram.reset_hint == ResetHint::Gauge
}

/// Adds a histogram; notes what stood in the way. Whether it worked.
pub(super) fn add(window: &Window<'_>, sum: &mut FloatHistogram, other: &FloatHistogram) -> bool {
    let combined = sum.add(other);
    combined_or_noted(window, combined, HistogramOperation::Addition)
}

/// Subtracts a histogram; notes what stood in the way. Whether it worked.
pub(super) fn subtract(window: &Window<'_>, difference: &mut FloatHistogram, other: &FloatHistogram) -> bool {
    let combined = difference.sub(other);
    combined_or_noted(window, combined, HistogramOperation::Subtraction)
}

fn combined_or_noted(
    window: &Window<'_>,
    combined: Result<Combined, HistogramOpError>,
    operation: HistogramOperation,
) -> bool {
    match combined {
        Ok(combined) => {
            if combined.nhcb_bounds_reconciled {
                window.note(Notice::MismatchedCustomBuckets(operation));
            }
            true
        }
        Err(_) => {
            window.note(Notice::MixedBucketSchemas(window.metric()));
            false
        }
    }
}
