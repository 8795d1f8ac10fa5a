use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use model::{Histogram, HistogramPoint, Labels, ResetHint, SeriesData, any_cell, is_stale};

use super::Cell;
use super::timelines::Timelines;
use crate::histogram::FloatHistogram;

/// A selected series, its histograms in the form in which they are computed with.
pub(crate) struct Decoded<'d> {
    pub(crate) labels: &'d Labels,
    /// Times of the floats, stale markers included.
    pub(crate) times: &'d [i64],
    /// Their number: series with the same one have floats at the same times.
    pub(super) timeline: Option<usize>,
    pub(crate) values: &'d [f64],
    /// Start timestamps of floats that have one, by time.
    pub(crate) starts: &'d [(i64, i64)],
    pub(crate) histograms: Vec<DecodedHistogram>,
}

pub(crate) struct DecodedHistogram {
    pub(crate) time: i64,
    pub(crate) start: i64,
    pub(crate) histogram: Arc<FloatHistogram>,
    pub(crate) is_stale: bool,
}

/// The samples of a series without stale markers, as range functions see them.
pub(crate) struct Track<'t> {
    pub(crate) labels: &'t Labels,
    pub(crate) drop_name: bool,
    pub(crate) times: Cow<'t, [i64]>,
    /// The number of the times, if they have one.
    pub(super) timeline: Option<usize>,
    pub(crate) values: Cow<'t, [f64]>,
    /// Whether the values are so far from infinity that no sum of them gets there.
    pub(crate) is_tame: bool,
    /// Start timestamps of the floats, 0 for none; empty when there are none at all.
    pub(crate) starts: Vec<i64>,
    pub(crate) histogram_times: Vec<i64>,
    pub(crate) histograms: Vec<Arc<FloatHistogram>>,
    /// Start timestamps of the histograms, 0 for none; empty when there are none at all.
    pub(crate) histogram_starts: Vec<i64>,
    resets: OnceCell<Vec<usize>>,
    overlaps: OnceCell<Vec<usize>>,
}

/// A sum of as many values as memory holds, times seconds of any range, stays finite below this.
const TAME: f64 = 1e280;

/// Whether no sum of these values, or of their products with seconds, comes near infinity.
pub(crate) fn are_tame(values: &[f64]) -> bool {
    !any_cell(values, |value| value.is_nan() | (value.abs() >= TAME))
}

impl<'d> Decoded<'d> {
    /// Decodes a series; of its histograms the count and the sum only, where that is all that is looked at.
    pub(super) fn new(
        series: &'d SeriesData,
        totals_only: bool,
        timelines: &mut Timelines<'d>,
    ) -> Decoded<'d> {
        let (times, values) = match series.floats.first() {
            Some(column) => (&column.timeline[..], &column.values[..]),
            None => (&[][..], &[][..]),
        };
        let histograms = decode(series, totals_only);
        let timeline = timelines.number(times);
        Decoded { labels: &series.labels, times, timeline, values, starts: &series.starts, histograms }
    }

    /// The memory that its histograms take; it takes itself what whoever selected it counts for a series.
    pub(super) fn bytes(&self) -> usize {
        let of_one = |one: &DecodedHistogram| size_of::<DecodedHistogram>() + histogram_bytes(&one.histogram);
        self.histograms.iter().map(of_one).sum()
    }

    /// The samples without stale markers.
    pub(crate) fn track(&self) -> Track<'_> {
        // A stale marker is a NaN, and those are not tame.
        let is_tame = are_tame(self.values);
        let has_stale = !is_tame && any_cell(self.values, is_stale);
        let (times, values) = if has_stale {
            let live = self.times.iter().zip(self.values).filter(|(_, v)| !is_stale(**v));
            let (times, values): (Vec<i64>, Vec<f64>) = live.map(|(t, v)| (*t, *v)).unzip();
            (Cow::Owned(times), Cow::Owned(values))
        } else {
            (Cow::Borrowed(self.times), Cow::Borrowed(self.values))
        };
        let live = || self.histograms.iter().filter(|h| !h.is_stale);
        let mut histogram_starts: Vec<i64> = live().map(|h| h.start).collect();
        if histogram_starts.iter().all(|start| *start == 0) {
            histogram_starts.clear();
        }
        Track {
            labels: self.labels,
            drop_name: false,
            starts: aligned_starts(&times, self.starts),
            times,
            timeline: self.timeline.filter(|_| !has_stale),
            is_tame: if has_stale { are_tame(&values) } else { is_tame },
            values,
            histogram_times: live().map(|h| h.time).collect(),
            histograms: live().map(|h| Arc::clone(&h.histogram)).collect(),
            histogram_starts,
            resets: OnceCell::new(),
            overlaps: OnceCell::new(),
        }
    }
}

impl<'t> Track<'t> {
    /// The samples of a subquery's row. What is known of resets does not survive a subquery, which may leave
    /// samples out or show them twice.
    pub(crate) fn of_row(
        labels: &'t Labels,
        drop_name: bool,
        grid: &[i64],
        floats: &[f64],
        histograms: &[Cell],
    ) -> Track<'t> {
        let present = grid.iter().zip(floats).filter(|(_, v)| !model::is_empty_cell(**v) && !is_stale(**v));
        let (times, values): (Vec<i64>, Vec<f64>) = present.map(|(t, v)| (*t, *v)).unzip();
        let mut track = Track {
            labels,
            drop_name,
            times: Cow::Owned(times),
            timeline: None,
            is_tame: are_tame(&values),
            values: Cow::Owned(values),
            starts: Vec::new(),
            histogram_times: Vec::new(),
            histograms: Vec::new(),
            histogram_starts: Vec::new(),
            resets: OnceCell::new(),
            overlaps: OnceCell::new(),
        };
        for (time, cell) in grid.iter().zip(histograms) {
            if let Some(histogram) = cell {
                track.histogram_times.push(*time);
                track.histograms.push(without_hint(histogram));
            }
        }
        track
    }

    /// Indexes of the floats that follow a counter reset.
    pub(crate) fn resets(&self) -> &[usize] {
        self.resets.get_or_init(|| self.find_resets())
    }

    /// Those among them in `window` but its first.
    pub(crate) fn resets_in(&self, window: &Range<usize>) -> &[usize] {
        behind_first(self.resets(), window)
    }

    /// Whether a float in `window` claims to have started before its predecessor in the window was taken.
    pub(crate) fn overlaps_in(&self, window: &Range<usize>) -> bool {
        !behind_first(self.overlaps.get_or_init(|| self.find_overlaps()), window).is_empty()
    }

    /// The start timestamp of a float, 0 for none.
    pub(crate) fn start(&self, index: usize) -> i64 {
        self.starts.get(index).copied().unwrap_or(0)
    }

    /// The start timestamp of a histogram, 0 for none.
    pub(crate) fn histogram_start(&self, index: usize) -> i64 {
        self.histogram_starts.get(index).copied().unwrap_or(0)
    }

    /// Whether the start timestamps of a float and its predecessor tell of a reset.
    pub(crate) fn starts_anew(&self, index: usize) -> bool {
        !self.starts.is_empty()
            && is_start_reset(
                (self.starts[index - 1], self.times[index - 1]),
                (self.starts[index], self.times[index]),
            )
    }

    /// Whether the start timestamps of a histogram and its predecessor tell of a reset.
    pub(crate) fn histogram_starts_anew(&self, index: usize) -> bool {
        !self.histogram_starts.is_empty()
            && is_start_reset(
                (self.histogram_starts[index - 1], self.histogram_times[index - 1]),
                (self.histogram_starts[index], self.histogram_times[index]),
            )
    }

    fn find_resets(&self) -> Vec<usize> {
        if self.starts.is_empty() {
            return find_drops(&self.values);
        }
        let drops = |index: &usize| self.values[*index] < self.values[*index - 1] || self.starts_anew(*index);
        (1..self.values.len()).filter(drops).collect()
    }

    fn find_overlaps(&self) -> Vec<usize> {
        let previous = |index: usize| (self.starts[index - 1], self.times[index - 1]);
        let overlaps = |index: &usize| overlaps(previous(*index), self.starts[*index]);
        (1..self.starts.len()).filter(overlaps).collect()
    }
}

/// Those of some ascending indexes that lie in a window, but for its first.
fn behind_first<'i>(indexes: &'i [usize], window: &Range<usize>) -> &'i [usize] {
    if indexes.is_empty() {
        return indexes;
    }
    let from = indexes.partition_point(|index| *index <= window.start);
    let to = indexes.partition_point(|index| *index < window.end);
    &indexes[from.min(to)..to]
}

/// Indexes of the values that are less than the one before. Looks at many at once: of most none is.
fn find_drops(values: &[f64]) -> Vec<usize> {
    const AT_ONCE: usize = 64;
    let later = values.get(1..).unwrap_or_default();
    let mut drops = Vec::new();
    for (nth, (earlier, later)) in values.chunks(AT_ONCE).zip(later.chunks(AT_ONCE)).enumerate() {
        let pairs = || earlier.iter().zip(later);
        if pairs().fold(false, |any, (earlier, later)| any | (later < earlier)) {
            let places = (nth * AT_ONCE + 1..).zip(pairs());
            drops.extend(places.filter(|(_, (earlier, later))| later < earlier).map(|(index, _)| index));
        }
    }
    drops
}

/// How many samples a histogram counts for, by its size.
pub(crate) fn weight(histogram: &FloatHistogram) -> u64 {
    let words = histogram.positive_spans.len()
        + histogram.negative_spans.len()
        + histogram.positive.len()
        + histogram.negative.len()
        + histogram.custom_values.len();
    // Prometheus: the size of its histogram without buckets and of the timestamp, over that of a float sample.
    (168 + 8 * words as u64 + 8) / 16
}

/// The memory that a histogram takes.
pub(super) fn histogram_bytes(histogram: &FloatHistogram) -> usize {
    16 * weight(histogram) as usize + 64
}

/// Whether a sample's start timestamp, seen beside its predecessor's, tells that the counter began anew. Samples
/// are given as (start timestamp, timestamp).
fn is_start_reset((previous_start, previous_time): (i64, i64), (start, time): (i64, i64)) -> bool {
    // An unchanged start is no news; 0 means unknown; one at or after the sample's own time says nothing.
    if start == previous_start || start == 0 || start >= time || start < previous_time {
        return false;
    }
    if start > previous_time {
        return true;
    }
    // The start is the predecessor's time. So it is with deltas, which are resets, and with a cumulative series
    // whose start is unknown, which is none: there the predecessor has no start that makes sense.
    previous_start != 0 && previous_start < previous_time
}

/// Whether a sample claims to have started before its predecessor was taken, and not together with it.
pub(crate) fn overlaps((previous_start, previous_time): (i64, i64), start: i64) -> bool {
    start != 0 && start < previous_time && start != previous_start
}

fn aligned_starts(times: &[i64], starts: &[(i64, i64)]) -> Vec<i64> {
    if starts.is_empty() {
        return Vec::new();
    }
    let mut known = starts.iter().peekable();
    let start_of = |time: &i64| {
        while known.next_if(|(at, _)| at < time).is_some() {}
        known.peek().filter(|(at, _)| at == time).map_or(0, |(_, start)| *start)
    };
    times.iter().map(start_of).collect()
}

fn decode(series: &SeriesData, totals_only: bool) -> Vec<DecodedHistogram> {
    let mut decoded: Vec<DecodedHistogram> = Vec::with_capacity(series.histograms.len());
    let mut previous: Option<Arc<FloatHistogram>> = None;
    for point in &series.histograms {
        let mut histogram = FloatHistogram::from_model(&point.histogram);
        let is_stale = point.histogram.is_stale();
        if !is_stale {
            histogram.reset_hint = hint(&histogram, previous.as_deref(), totals_only);
        }
        let histogram = Arc::new(histogram);
        let kept = if totals_only { Arc::new(totals(&histogram)) } else { Arc::clone(&histogram) };
        let (time, start) = (point.timestamp, point.start_timestamp);
        decoded.push(DecodedHistogram { time, start, histogram: kept, is_stale });
        previous = (!is_stale).then_some(histogram);
    }
    decoded
}

/// Gives the histograms of a series the reset hints with which Prometheus's storage would return them. An
/// evaluation does the same for those that it sees, but the first of these may have a predecessor that it does not
/// see; so whoever wants the very hints of Prometheus sets them when all samples are at hand.
pub fn set_reset_hints(points: &mut [HistogramPoint]) {
    let mut previous: Option<FloatHistogram> = None;
    for point in points {
        if point.histogram.is_stale() {
            previous = None;
            continue;
        }
        let mut histogram = FloatHistogram::from_model(&point.histogram);
        if previous.is_none() && histogram.reset_hint == ResetHint::No {
            histogram.reset_hint = ResetHint::Unknown;
        }
        let hint = hint(&histogram, previous.as_ref(), false);
        previous = Some(histogram);
        if hint != point.histogram.reset_hint {
            point.histogram = Arc::new(Histogram { reset_hint: hint, ..Histogram::clone(&point.histogram) });
        }
    }
}

/// The hint that Prometheus's storage gives. It compares each histogram with its predecessor when it stores it; one
/// after a reset begins a new chunk, and of the first in a chunk it says nothing. But where only totals are looked
/// at, and buckets are not there any more to find a reset by, it does say that there was one.
fn hint(histogram: &FloatHistogram, previous: Option<&FloatHistogram>, totals_only: bool) -> ResetHint {
    match (histogram.reset_hint, previous) {
        (ResetHint::Gauge, _) => ResetHint::Gauge,
        (ResetHint::Yes, None) => ResetHint::Unknown,
        (given, None) => given,
        (_, Some(previous)) => match histogram.detect_reset(previous) {
            false => ResetHint::No,
            true if totals_only => ResetHint::Yes,
            true => ResetHint::Unknown,
        },
    }
}

fn totals(histogram: &FloatHistogram) -> FloatHistogram {
    let mut totals = FloatHistogram::empty(histogram.schema);
    totals.count = histogram.count;
    totals.sum = histogram.sum;
    totals.reset_hint = histogram.reset_hint;
    totals
}

fn without_hint(histogram: &Arc<FloatHistogram>) -> Arc<FloatHistogram> {
    match histogram.reset_hint {
        ResetHint::Unknown | ResetHint::Gauge => Arc::clone(histogram),
        ResetHint::Yes | ResetHint::No => {
            Arc::new(FloatHistogram { reset_hint: ResetHint::Unknown, ..FloatHistogram::clone(histogram) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_timestamp_tells_of_a_reset_only_where_it_is_believable() {
        for (previous, current, is_reset) in [
            ((0, 10), (0, 20), false),
            ((5, 10), (5, 20), false),
            ((5, 10), (15, 20), true),
            ((0, 10), (15, 20), true),
            // Deltas: each starts where the last ended.
            ((5, 10), (10, 20), true),
            ((0, 10), (10, 20), false),
            ((10, 10), (10, 20), false),
            ((12, 10), (10, 20), false),
            ((5, 10), (7, 20), false),
            ((5, 10), (20, 20), false),
        ] {
            assert_eq!(is_start_reset(previous, current), is_reset, "{previous:?} {current:?}");
        }
    }

    #[test]
    fn each_value_below_its_predecessor_is_found() {
        let mut values: Vec<f64> = (0..200).map(f64::from).collect();
        for index in [64, 65, 128, 199] {
            values[index] = -f64::from(index as u32);
        }
        values[130] = f64::NAN;
        let expected: Vec<usize> = (1..200).filter(|i| values[*i] < values[*i - 1]).collect();
        assert_eq!(find_drops(&values), expected);
        assert!(expected.len() == 4 && find_drops(&[]).is_empty() && find_drops(&[2.0]).is_empty());
        assert_eq!(find_drops(&[2.0, 1.0]), [1]);
    }

    #[test]
    fn starts_are_aligned_with_their_samples() {
        assert_eq!(aligned_starts(&[1, 2, 3], &[(0, 9), (2, 1), (4, 8)]), [0, 1, 0]);
        assert!(aligned_starts(&[1, 2], &[]).is_empty());
    }
}
