//! Which samples lie within the windows of the steps.

use std::ops::Range;

use super::decode::weight;
use super::tally::Tally;
use super::{Grid, Track};
use crate::functions::window::Known;

/// The windows of all steps over a list of times of floats, and what functions know of these windows before they see
/// values: the series of a target share it.
pub(crate) struct Steps {
    /// By step, the index of the first float of the window; never less than that of the step before.
    pub(crate) from: Vec<u32>,
    /// By step, the index behind the last float of the window.
    pub(crate) until: Vec<u32>,
    /// How many floats are in all windows together.
    pub(super) n_floats: u64,
    /// How many series were seen with these times and have not been counted yet.
    pub(super) n_uncounted: u64,
    pub(crate) known: Known,
}

impl Steps {
    /// What a step takes at most, together with what functions know of it.
    pub(super) const BYTES: usize = 2 * size_of::<u32>() + Known::BYTES;

    /// The windows that reach from after the first of two times up to the second, by the time of the step.
    pub(super) fn new(times: &[i64], grid: Grid, reach: impl Fn(i64) -> (i64, i64)) -> Steps {
        let (mut from, mut until) = (Vec::with_capacity(grid.steps), Vec::with_capacity(grid.steps));
        let mut window = 0..0;
        let mut n_floats = 0;
        for time in grid.times() {
            advance(&mut window, times, reach(time));
            n_floats += window.len() as u64;
            from.push(window.start as u32);
            until.push(window.end as u32);
        }
        Steps { from, until, n_floats, n_uncounted: 0, known: Known::default() }
    }

    /// The window of a step.
    pub(crate) fn window(&self, step: usize) -> Range<usize> {
        self.from[step] as usize..self.until[step] as usize
    }

    /// Counts what the series saw that have not been counted; `is_read` if it had to be read for that.
    pub(super) fn count(&mut self, tally: &mut Tally, is_read: bool) {
        let n_series = std::mem::take(&mut self.n_uncounted);
        if n_series == 0 {
            return;
        }
        let mut known = 0;
        for (step, (from, until)) in self.from.iter().zip(&self.until).enumerate() {
            let n_new = if is_read { until - known.max(*from) } else { 0 };
            tally.window(step, n_series * u64::from(until - from), n_series * u64::from(n_new));
            known = *until;
        }
    }
}

/// The indexes of the samples within a window that only moves forward.
pub(super) struct Windows<'t> {
    track: &'t Track<'t>,
    floats: Range<usize>,
    histograms: Range<usize>,
    /// Where the window before ended among the floats and among the histograms.
    known: (usize, usize),
    /// Weights of the histograms before each index.
    weights: Vec<u64>,
}

impl<'t> Windows<'t> {
    pub(super) fn new(track: &'t Track<'t>) -> Windows<'t> {
        let mut weights = Vec::new();
        if !track.histograms.is_empty() {
            weights.push(0);
            let mut sum = 0;
            weights.extend(track.histograms.iter().map(|histogram| {
                sum += weight(histogram);
                sum
            }));
        }
        Windows { track, floats: 0..0, histograms: 0..0, known: (0, 0), weights }
    }

    /// Samples after the first time and up to the second.
    pub(super) fn at(&mut self, reach: (i64, i64)) -> (Range<usize>, Range<usize>) {
        self.known = (self.floats.end, self.histograms.end);
        advance(&mut self.floats, &self.track.times, reach);
        if !self.weights.is_empty() {
            advance(&mut self.histograms, &self.track.histogram_times, reach);
        }
        (self.floats.clone(), self.histograms.clone())
    }

    pub(super) fn weight(&self, floats: &Range<usize>, histograms: &Range<usize>) -> u64 {
        let of_histograms = match self.weights.is_empty() {
            true => 0,
            false => self.weights[histograms.end] - self.weights[histograms.start],
        };
        floats.len() as u64 + of_histograms
    }

    /// The weight of what the window before had not.
    pub(super) fn n_new(&self) -> u64 {
        let from = |window: &Range<usize>, known: usize| window.start.max(known)..window.end;
        self.weight(&from(&self.floats, self.known.0), &from(&self.histograms, self.known.1))
    }
}

fn advance(window: &mut Range<usize>, times: &[i64], (after, until): (i64, i64)) {
    if window.end == 0 && times.len() > 64 && times[0] <= after {
        // The first window may lie far from the first sample.
        window.start = times.partition_point(|t| *t <= after);
        window.end = window.start;
    }
    while window.start < times.len() && times[window.start] <= after {
        window.start += 1;
    }
    window.end = window.end.max(window.start);
    while window.end < times.len() && times[window.end] <= until {
        window.end += 1;
    }
}
