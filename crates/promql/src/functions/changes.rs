//! `changes` and `resets`, which look at each pair of neighbours.

use std::sync::Arc;

use model::EMPTY;

use super::window::{Outcome, Window};
use crate::ast::RangeMode;
use crate::histogram::FloatHistogram;

/// A sample of a window and its index in its track.
enum Sample<'w> {
    Float(usize, f64),
    Histogram(usize, &'w Arc<FloatHistogram>),
}

pub(super) fn changes(window: &Window<'_>) -> f64 {
    let Some((floats, _)) = anchored(window) else { return f64::from_bits(EMPTY) };
    let values = &window.track.values[floats..window.floats.end];
    values.windows(2).filter(|pair| differ(pair[0], pair[1])).count() as f64
}

pub(super) fn resets(window: &Window<'_>) -> f64 {
    let Some((floats, _)) = anchored(window) else { return f64::from_bits(EMPTY) };
    window.track.resets_in(&(floats..window.floats.end)).len() as f64
}

pub(super) fn changes_mixed(window: &Window<'_>) -> Outcome {
    count_pairs(window, |earlier, later| match (earlier, later) {
        (Sample::Float(_, a), Sample::Float(_, b)) => differ(*a, *b),
        (Sample::Histogram(_, a), Sample::Histogram(_, b)) => !b.equals(a),
        _ => true,
    })
}

pub(super) fn resets_mixed(window: &Window<'_>) -> Outcome {
    let track = window.track;
    count_pairs(window, |earlier, later| match (earlier, later) {
        (Sample::Float(_, a), Sample::Float(index, b)) => b < a || track.starts_anew(*index),
        (Sample::Histogram(_, a), Sample::Histogram(index, b)) => {
            track.histogram_starts_anew(*index) || b.detect_reset(a)
        }
        _ => true,
    })
}

fn differ(a: f64, b: f64) -> bool {
    a != b && !(a.is_nan() && b.is_nan())
}

fn count_pairs(window: &Window<'_>, counts: impl Fn(&Sample<'_>, &Sample<'_>) -> bool) -> Outcome {
    let Some((first_float, first_histogram)) = anchored(window) else { return Outcome::Nothing };
    let (mut float, mut histogram) = (first_float, first_histogram);
    let (float_end, histogram_end) = (window.floats.end, window.histograms.end);
    let track = window.track;
    let mut previous: Option<Sample<'_>> = None;
    let mut counted = 0;
    while float < float_end || histogram < histogram_end {
        let is_float = histogram >= histogram_end
            || (float < float_end && track.times[float] <= track.histogram_times[histogram]);
        let sample = if is_float {
            float += 1;
            Sample::Float(float - 1, track.values[float - 1])
        } else {
            histogram += 1;
            Sample::Histogram(histogram - 1, &track.histograms[histogram - 1])
        };
        if previous.is_some_and(|previous| counts(&previous, &sample)) {
            counted += 1;
        }
        previous = Some(sample);
    }
    Outcome::Float(f64::from(counted))
}

/// The first float and the first histogram to look at. With `anchored` the newest sample at or before the start of
/// the range comes first; nothing if no sample follows it.
fn anchored(window: &Window<'_>) -> Option<(usize, usize)> {
    let (floats, histograms) = (&window.floats, &window.histograms);
    if window.mode != RangeMode::Anchored {
        return Some((floats.start, histograms.start));
    }
    let until_start = |times: &[i64]| times.partition_point(|time| *time <= window.start);
    let floats_before = until_start(window.times());
    let histograms_before = until_start(window.histogram_times());
    if floats_before == floats.len() && histograms_before == histograms.len() {
        return None;
    }
    let float_time = floats_before.checked_sub(1).map(|i| window.times()[i]);
    let histogram_time = histograms_before.checked_sub(1).map(|i| window.histogram_times()[i]);
    let (float, histogram) = (floats.start + floats_before, histograms.start + histograms_before);
    Some(match (float_time, histogram_time) {
        (None, None) => (float, histogram),
        (Some(f), h) if h.is_none_or(|h| f >= h) => (float - 1, histogram),
        _ => (float, histogram - 1),
    })
}
