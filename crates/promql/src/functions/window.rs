//! What a function over a range vector gets to see and what it returns.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use super::rate::Spread;
use super::rate_rows::{Pairs, Spreads};
use super::regression::Lines;
use crate::annotations::Notice;
use crate::ast::{RangeMode, Span};
use crate::eval::{EvalError, Evaluator, Grid, Reference, Steps, Track};
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
}

/// The windows of a series of floats without start timestamps, all at once.
pub(crate) struct FloatRow<'r> {
    pub(crate) track: &'r Track<'r>,
    pub(crate) steps: &'r Steps,
    pub(crate) grid: Grid,
    pub(crate) reference: Reference,
    pub(crate) range_ms: i64,
    /// The function's scalar arguments, a value per step.
    pub(crate) args: &'r [Vec<f64>],
}

/// What functions know of windows before they see values; each keeps what it needs.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) spreads: OnceCell<Spreads>,
    pub(crate) pairs: OnceCell<Pairs>,
    pub(crate) lines: OnceCell<Lines>,
}

impl Known {
    /// What it takes per window.
    pub(crate) const BYTES: usize = size_of::<Spread>() + 2 * size_of::<f64>() + 2 * size_of::<u32>();
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
    /// For all windows of a series at once, if there is a faster way. Writes what `floats` would return for each, or to
    /// within the rounding of a sum, and says whether there is any result.
    pub(crate) row: Option<fn(&FloatRow<'_>, &mut [f64]) -> bool>,
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
