//! Instant selectors with `smoothed`: the value on the line between the samples around.

use std::sync::Arc;

use model::{EMPTY, ResetHint};

use super::extended::{interpolate, interpolate_histograms};
use super::rate::is_gauge;
use crate::annotations::Notice;
use crate::ast::Span;
use crate::eval::{Decoded, EvalError, Evaluator, Grid, Reference, Row, Sink, Track, empty_cells};
use crate::histogram::FloatHistogram;

pub(crate) fn selector_rows(
    evaluator: &Evaluator<'_>,
    series: &[Decoded<'_>],
    reference: Reference,
    span: Span,
    grid: Grid,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    let lookback = evaluator.plan.options.lookback_ms;
    for series in series {
        let track = series.track();
        let smoother = Smoother { evaluator, track: &track, span, lookback };
        let mut floats = empty_cells(grid.steps);
        let mut histograms = Vec::new();
        for (step, time) in grid.times().enumerate() {
            match smoother.at(reference.of(time)) {
                Some(Smoothed::Float(value)) => floats[step] = value,
                Some(Smoothed::Histogram(histogram)) => {
                    histograms.resize(grid.steps, None);
                    histograms[step] = Some(Arc::new(histogram));
                }
                None => floats[step] = f64::from_bits(EMPTY),
            }
        }
        let row =
            Row { labels: track.labels, drop_name: false, floats: &mut floats, histograms: &mut histograms };
        if !row.is_empty() {
            sink(row)?;
        }
    }
    Ok(())
}

struct Smoother<'s> {
    evaluator: &'s Evaluator<'s>,
    track: &'s Track<'s>,
    span: Span,
    lookback: i64,
}

enum Smoothed {
    Float(f64),
    Histogram(FloatHistogram),
}

impl Smoother<'_> {
    fn at(&self, time: i64) -> Option<Smoothed> {
        let floats = self.around(&self.track.times, time);
        let histograms = self.around(&self.track.histogram_times, time);
        match (floats.is_empty(), histograms.is_empty()) {
            (true, true) => None,
            (false, false) => {
                self.note(Notice::MixedFloatsHistograms(self.metric()));
                None
            }
            (false, true) => self.float(floats, time).map(Smoothed::Float),
            (true, false) => self.histogram(histograms, time).map(Smoothed::Histogram),
        }
    }

    /// The indexes of samples not further away than the lookback.
    fn around(&self, times: &[i64], time: i64) -> std::ops::Range<usize> {
        let from = times.partition_point(|t| *t <= time - self.lookback);
        from..times.partition_point(|t| *t <= time + self.lookback)
    }

    fn float(&self, within: std::ops::Range<usize>, time: i64) -> Option<f64> {
        let (times, values) = (&self.track.times, &self.track.values);
        let next = within.start + times[within.clone()].partition_point(|t| *t < time);
        let point = |index: usize| (times[index], values[index]);
        if next < within.end && times[next] == time {
            return Some(values[next]);
        }
        if next == within.start {
            return None;
        }
        match next < within.end {
            true => Some(interpolate(point(next - 1), point(next), time, false)),
            false => Some(values[next - 1]),
        }
    }

    fn histogram(&self, within: std::ops::Range<usize>, time: i64) -> Option<FloatHistogram> {
        let (times, points) = (&self.track.histogram_times, &self.track.histograms);
        let next = within.start + times[within.clone()].partition_point(|t| *t < time);
        if next < within.end && times[next] == time {
            return Some(FloatHistogram::clone(&points[next]));
        }
        if next == within.start {
            return None;
        }
        let before = &points[next - 1];
        if next == within.end {
            // Nothing follows: the value is carried forward, what it knew of its predecessor is not.
            return Some(FloatHistogram { reset_hint: ResetHint::Unknown, ..FloatHistogram::clone(before) });
        }
        let after = &points[next];
        let is_counter = !(is_gauge(before) && is_gauge(after));
        let from = (times[next - 1], &**before);
        let to = (times[next], &**after);
        let interpolated = match before.uses_custom_buckets() == after.uses_custom_buckets() {
            true => interpolate_histograms(from, to, time, is_counter, &|notice| self.note(notice)).ok(),
            false => None,
        };
        if interpolated.is_none() {
            self.note(Notice::MixedBucketSchemas(self.metric()));
        }
        interpolated
    }

    fn note(&self, notice: Notice) {
        self.evaluator.note(notice, self.span);
    }

    fn metric(&self) -> String {
        self.track.labels.metric_name().unwrap_or_default().to_string()
    }
}
