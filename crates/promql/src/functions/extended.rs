//! `rate`, `increase` and `delta` of `anchored` and `smoothed` ranges: from border to border, not extrapolated.

use model::{EMPTY, ResetHint};

use super::rate::{add, is_gauge, subtract};
use super::window::{Outcome, Window};
use crate::annotations::{HistogramOperation, Notice};
use crate::ast::RangeMode;
use crate::histogram::{FloatHistogram, HistogramOpError};

/// Between which samples of a window the difference is taken, as indexes into the window.
fn borders(window: &Window<'_>, times: &[i64]) -> Option<(usize, usize)> {
    let is_smoothed = window.mode == RangeMode::Smoothed;
    let last = times.len() - 1;
    let first = times[..last].partition_point(|time| *time <= window.start).saturating_sub(1);
    let last = match is_smoothed {
        true => times[..last].partition_point(|time| *time < window.end),
        false => last,
    };
    let is_outside = times[last] <= window.start || (is_smoothed && times[first] > window.end);
    (!is_outside).then_some((first, last))
}

pub(super) fn floats(window: &Window<'_>, is_counter: bool, per_second: bool) -> f64 {
    let (times, values) = (window.times(), window.values());
    let Some((mut first, last)) = borders(window, times) else { return f64::from_bits(EMPTY) };
    let is_smoothed = window.mode == RangeMode::Smoothed;
    let (left, right) = border_values(window, (times, values), (first, last), is_smoothed, is_counter);
    let mut result = right - left;
    if is_counter {
        if times[first] <= window.start {
            first += 1;
        }
        let until = if times[last] >= window.end { last } else { last + 1 };
        result += lost_by_resets(left, right, values.get(first..until).unwrap_or_default());
    }
    if per_second { result / window.range_secs() } else { result }
}

fn border_values(
    window: &Window<'_>,
    (times, values): (&[i64], &[f64]),
    (first, last): (usize, usize),
    is_smoothed: bool,
    is_counter: bool,
) -> (f64, f64) {
    let point = |index: usize| (times[index], values[index]);
    let left = match is_smoothed && times[first] < window.start && first + 1 < times.len() {
        true => interpolate(point(first), point(first + 1), window.start, is_counter),
        false => values[first],
    };
    let right = match is_smoothed && last > 0 && times[last] > window.end {
        true => interpolate(point(last - 1), point(last), window.end, is_counter),
        false => values[last],
    };
    (left, right)
}

/// The value at `time` on the line between two samples; a counter that was reset between them grew from zero.
pub(super) fn interpolate(
    (earlier, from): (i64, f64),
    (later, to): (i64, f64),
    time: i64,
    is_counter: bool,
) -> f64 {
    let from = if is_counter && to < from { 0.0 } else { from };
    from + (to - from) * (time - earlier) as f64 / (later - earlier) as f64
}

fn lost_by_resets(left: f64, right: f64, between: &[f64]) -> f64 {
    let mut lost = 0.0;
    let mut previous = left;
    for value in between.iter().chain([&right]) {
        if *value < previous {
            lost += previous;
        }
        previous = *value;
    }
    lost
}

/// The floats of an instant range with values at both of its borders, as `(time, value)`.
pub(crate) fn with_borders(
    times: &[i64],
    values: &[f64],
    (start, end): (i64, i64),
    is_smoothed: bool,
) -> Vec<(i64, f64)> {
    if times.is_empty() {
        return Vec::new();
    }
    let last = times.len() - 1;
    let mut first = times[..last].partition_point(|time| *time <= start).saturating_sub(1);
    let last = if is_smoothed { times[..last].partition_point(|time| *time < end) } else { last };
    if times[last] <= start {
        return Vec::new();
    }
    let point = |index: usize| (times[index], values[index]);
    let left = match is_smoothed && times[first] < start && first < last {
        true => interpolate(point(first), point(first + 1), start, false),
        false => values[first],
    };
    let right = match is_smoothed && last > 0 && times[last] > end {
        true => interpolate(point(last - 1), point(last), end, false),
        false => values[last],
    };
    if times[first] <= start {
        first += 1;
    }
    let until = if times[last] >= end { last } else { last + 1 };
    let mut points = vec![(start, left)];
    points.extend((first..until).map(point));
    points.push((end, right));
    points
}

pub(super) fn histograms(window: &Window<'_>, is_counter: bool, per_second: bool) -> Outcome {
    difference(window, is_counter, per_second).map_or(Outcome::Nothing, Outcome::of_histogram)
}

fn difference(window: &Window<'_>, is_counter: bool, per_second: bool) -> Option<FloatHistogram> {
    let (times, points) = (window.histogram_times(), window.histograms());
    let (first, last) = borders(window, times)?;
    let is_smoothed = window.mode == RangeMode::Smoothed;
    let is_custom = points[first].uses_custom_buckets();
    for point in &points[first..=last] {
        if point.uses_custom_buckets() != is_custom {
            window.note(Notice::MixedBucketSchemas(window.metric()));
            return None;
        }
        if is_counter && is_gauge(point) {
            window.note(Notice::NotACounter(window.metric()));
        }
    }
    let between = |a: usize, b: usize, time: i64| {
        let (a, b) = ((times[a], &*points[a]), (times[b], &*points[b]));
        interpolate_histograms(a, b, time, is_counter, &|notice| window.note(notice))
            .map_err(|_| window.note(Notice::MixedBucketSchemas(window.metric())))
            .ok()
    };
    let left = match is_smoothed && times[first] < window.start && first + 1 < times.len() {
        true => between(first, first + 1, window.start)?,
        false => FloatHistogram::clone(&points[first]),
    };
    let right = match is_smoothed && last > 0 && times[last] > window.end {
        true => between(last - 1, last, window.end)?,
        false => FloatHistogram::clone(&points[last]),
    };
    let are_gauges = is_gauge(&left) && is_gauge(&right);
    if !is_counter && !are_gauges {
        window.note(Notice::NotAGauge(window.metric()));
    }
    let mut result = right.clone();
    if !subtract(window, &mut result, &left) {
        return None;
    }
    if is_counter {
        let lost = lost_histograms(window, (first, last), (&left, &right))?;
        if lost.is_some_and(|lost| !add(window, &mut result, &lost)) {
            return None;
        }
    }
    if per_second {
        result.div(window.range_secs());
    }
    result.reset_hint = ResetHint::Gauge;
    result.compact(0);
    Some(result)
}

/// What was lost by resets between the borders: the inner option is empty if there was none, the outer one if the
/// histograms do not go together.
fn lost_histograms(
    window: &Window<'_>,
    (first, last): (usize, usize),
    (left, right): (&FloatHistogram, &FloatHistogram),
) -> Option<Option<FloatHistogram>> {
    let (times, points) = (window.histogram_times(), window.histograms());
    // The first sample is represented by the left border, the last by the right one.
    let mut from = first + 1;
    let mut previous = left;
    let spans_reset = window.mode == RangeMode::Smoothed
        && times[first] < window.start
        && first + 1 < points.len()
        && points[first + 1].detect_reset(&points[first]);
    if spans_reset {
        // The interpolation of the left border has dealt with that reset.
        previous = &points[first + 1];
        from += 1;
    }
    if from > last {
        return Some(None);
    }
    let mut lost: Option<FloatHistogram> = None;
    for point in points[from..last].iter().map(|point| &**point).chain([right]) {
        if point.detect_reset(previous) {
            match &mut lost {
                None => lost = Some(previous.clone()),
                Some(sum) => {
                    if !add(window, sum, previous) {
                        return None;
                    }
                }
            }
        }
        previous = point;
    }
    Some(lost)
}

/// The histogram at `time` on the line between two; a counter that was reset between them grew from nothing.
pub(super) fn interpolate_histograms(
    (earlier, from): (i64, &FloatHistogram),
    (later, to): (i64, &FloatHistogram),
    time: i64,
    is_counter: bool,
    note: &dyn Fn(Notice),
) -> Result<FloatHistogram, HistogramOpError> {
    if time == earlier {
        return Ok(from.clone());
    }
    let mut result = to.clone();
    if time == later {
        return Ok(result);
    }
    let fraction = (time - earlier) as f64 / (later - earlier) as f64;
    if is_counter && to.detect_reset(from) {
        result.mul(fraction);
        return Ok(result);
    }
    if result.sub(from)?.nhcb_bounds_reconciled {
        note(Notice::MismatchedCustomBuckets(HistogramOperation::Subtraction));
    }
    result.mul(fraction);
    if result.add(from)?.nhcb_bounds_reconciled {
        note(Notice::MismatchedCustomBuckets(HistogramOperation::Addition));
    }
    Ok(result)
}
