//! What a function over a range vector gets to see and what it returns.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use crate::annotations::Notice;
use crate::ast::{RangeMode, Span};
use crate::eval::{EvalError, Evaluator, Track};
use crate::histogram::FloatHistogram;

/// The samples of one series within the range of one step.
pub(crate) struct Window<'w> {
    pub(crate) evaluator: &'w Evaluator<'w>,
    /// Where notices point to.
    pub(crate) position: Span,
    pub(crate) track: &'w Track<'w>,
    pub(crate) is_floats_only: bool,
    /// Indexes into the track's floats.
    pub(crate) floats: Range<usize>,
    /// Indexes into the track's histograms.
    pub(crate) histograms: Range<usize>,
    /// The time of the step.
    pub(crate) time: i64,
    /// Where the range starts; left out of it.
    pub(crate) start: i64,
    /// Where the range ends.
    pub(crate) end: i64,
    pub(crate) range_ms: i64,
    pub(crate) mode: RangeMode,
    /// The function's scalar arguments at this step.
    pub(crate) args: [f64; 2],
    /// Shared with the windows of series that have floats at the same times, and of the same function.
    pub(crate) spread: &'w OnceCell<Option<Spread>>,
}

/// How the samples of a window spread over it, in seconds; what of an extrapolation depends on times only.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    /// From the first sample to the last.
    pub(crate) sampled: f64,
    /// How far the first sample is extrapolated towards the start of the window.
    pub(crate) to_start: f64,
    /// How far the last sample is extrapolated towards the end of the window.
    pub(crate) to_end: f64,
    /// By what a difference is multiplied then.
    pub(crate) factor: f64,
}

/// What a function makes of a window.
#[derive(Debug)]
pub(crate) enum Outcome {
    Nothing,
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

/// Refuses arguments that a function cannot work with.
pub(crate) type ArgumentCheck = fn([f64; 2]) -> Result<(), EvalError>;

/// A function over a range vector. Most windows hold floats only and go the short way.
#[derive(Clone, Copy)]
pub(crate) struct RangeFunction {
    /// For windows of floats; the empty cell stands for no result.
    pub(crate) floats: fn(&Window<'_>) -> f64,
    /// For windows with histograms, alone or among floats.
    pub(crate) mixed: fn(&Window<'_>) -> Outcome,
    /// Refuses arguments.
    pub(crate) check: Option<ArgumentCheck>,
}

impl Window<'_> {
    pub(crate) fn times(&self) -> &[i64] {
        &self.track.times[self.floats.clone()]
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.track.values[self.floats.clone()]
    }

    pub(crate) fn histogram_times(&self) -> &[i64] {
        &self.track.histogram_times[self.histograms.clone()]
    }

    pub(crate) fn histograms(&self) -> &[Arc<FloatHistogram>] {
        &self.track.histograms[self.histograms.clone()]
    }

    pub(crate) fn range_secs(&self) -> f64 {
        self.range_ms as f64 / 1000.0
    }

    pub(crate) fn is_mixed(&self) -> bool {
        !self.floats.is_empty() && !self.histograms.is_empty()
    }

    pub(crate) fn metric(&self) -> String {
        self.track.labels.metric_name().unwrap_or_default().to_string()
    }

    pub(crate) fn note(&self, notice: Notice) {
        self.evaluator.note(notice, self.position);
    }

    /// Notes a mix of floats and histograms, of which nothing can be made.
    pub(crate) fn note_mixed(&self) -> Outcome {
        self.note(Notice::MixedFloatsHistograms(self.metric()));
        Outcome::Nothing
    }
}

impl Outcome {
    /// A float, or nothing for the empty cell.
    pub(crate) fn of_cell(value: f64) -> Outcome {
        if model::is_empty_cell(value) { Outcome::Nothing } else { Outcome::Float(value) }
    }

    pub(crate) fn of_histogram(histogram: FloatHistogram) -> Outcome {
        Outcome::Histogram(Arc::new(histogram))
    }
}
