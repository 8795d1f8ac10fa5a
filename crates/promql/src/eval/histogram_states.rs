//! What aggregations make of native histograms.

use std::sync::Arc;

use model::{EMPTY, Labels, ResetHint, is_empty_cell};

use super::aggregate::Notes;
use super::average::HistogramMean;
use super::decode::histogram_bytes;
use super::{Cell, Row};
use crate::annotations::{HistogramOperation, Notice};
use crate::histogram::{Combined, FloatHistogram, HistogramOpError};

/// What a group makes of its histograms at one step.
pub(super) trait OfHistograms: Sized {
    fn begin(first: &FloatHistogram) -> Self;

    fn absorb(&mut self, histogram: &FloatHistogram) -> Result<Combined, HistogramOpError>;

    /// Takes in what another one absorbed.
    fn merge(&mut self, other: Self) -> Result<Combined, HistogramOpError>;

    fn result(self) -> FloatHistogram;
}

pub(super) struct SumOfHistograms {
    sum: FloatHistogram,
    compensation: Option<FloatHistogram>,
}

impl OfHistograms for SumOfHistograms {
    fn begin(first: &FloatHistogram) -> SumOfHistograms {
        SumOfHistograms { sum: first.clone(), compensation: None }
    }

    fn absorb(&mut self, histogram: &FloatHistogram) -> Result<Combined, HistogramOpError> {
        self.sum.kahan_add(histogram, &mut self.compensation)
    }

    fn merge(&mut self, other: SumOfHistograms) -> Result<Combined, HistogramOpError> {
        let combined = self.sum.kahan_add(&other.sum, &mut self.compensation)?;
        if let Some(lost) = other.compensation {
            self.sum.kahan_add(&lost, &mut self.compensation)?;
        }
        Ok(combined)
    }

    fn result(mut self) -> FloatHistogram {
        if let Some(compensation) = &self.compensation {
            // The compensation was made for this sum, so the two go together.
            let _ = self.sum.add(compensation);
        }
        self.sum
    }
}

impl OfHistograms for HistogramMean {
    fn begin(first: &FloatHistogram) -> HistogramMean {
        HistogramMean::new(first)
    }

    fn absorb(&mut self, histogram: &FloatHistogram) -> Result<Combined, HistogramOpError> {
        self.add(histogram)
    }

    fn merge(&mut self, other: HistogramMean) -> Result<Combined, HistogramOpError> {
        HistogramMean::merge(self, other)
    }

    fn result(self) -> FloatHistogram {
        self.finish()
    }
}

/// The histograms of a group by step; nothing is kept for groups that have none.
pub(super) struct Histograms<H> {
    steps: usize,
    states: Vec<HistogramState<H>>,
    /// Bytes of the values, by the size that each began with.
    content: usize,
}

struct HistogramState<H> {
    value: Option<Box<H>>,
    /// After a histogram that does not go with those before it, everything is ignored.
    is_incompatible: bool,
    /// Whether there was one after a float: then none is looked at.
    is_after_float: bool,
    reset_seen: bool,
    no_reset_seen: bool,
}

impl<H: OfHistograms> Histograms<H> {
    pub(super) fn new(steps: usize) -> Histograms<H> {
        Histograms { steps, states: Vec::new(), content: 0 }
    }

    /// The memory they take.
    pub(super) fn bytes(&self) -> usize {
        size_of::<HistogramState<H>>() * self.states.len() + self.content
    }

    /// Takes in what others saw.
    pub(super) fn merge(&mut self, other: Histograms<H>, notes: &Notes<'_>) {
        self.content += other.content;
        if self.states.is_empty() {
            self.states = other.states;
            return;
        }
        for (state, other) in self.states.iter_mut().zip(other.states) {
            state.merge(other, notes);
        }
    }

    /// Empties the cells at steps at which floats are ignored, too.
    pub(super) fn clear_ignored(&self, floats: &mut [f64]) {
        for (cell, state) in floats.iter_mut().zip(&self.states) {
            if state.is_incompatible {
                *cell = f64::from_bits(EMPTY);
            }
        }
    }

    /// Takes the histograms of a row in; `has_float` tells of the rows before it.
    pub(super) fn add(&mut self, row: &Row<'_>, has_float: impl Fn(usize) -> bool, notes: &Notes<'_>) {
        if !row.has_histograms() {
            return;
        }
        if self.states.is_empty() {
            self.states.resize_with(self.steps, || HistogramState {
                value: None,
                is_incompatible: false,
                is_after_float: false,
                reset_seen: false,
                no_reset_seen: false,
            });
        }
        for (step, (state, cell)) in self.states.iter_mut().zip(row.histograms.iter()).enumerate() {
            if let Some(histogram) = cell {
                if state.value.is_none() && has_float(step) {
                    state.is_after_float = true;
                    continue;
                }
                if state.value.is_none() {
                    // A value, what rounding took away from it, and room for other buckets.
                    self.content += size_of::<H>() + 3 * histogram_bytes(histogram);
                }
                state.add(histogram, row.labels, notes);
            }
        }
    }

    pub(super) fn finish(self, floats: &mut [f64], histograms: &mut Vec<Cell>, notes: &Notes<'_>) {
        if self.states.is_empty() {
            return;
        }
        for (cell, state) in floats.iter_mut().zip(self.states) {
            let histogram = state.finish(cell, notes);
            histograms.push(histogram.map(Arc::new));
        }
    }
}

impl<H: OfHistograms> HistogramState<H> {
    fn add(&mut self, histogram: &FloatHistogram, labels: &Labels, notes: &Notes<'_>) {
        if self.is_incompatible {
            return;
        }
        self.reset_seen |= histogram.reset_hint == ResetHint::Yes;
        self.no_reset_seen |= histogram.reset_hint == ResetHint::No;
        let Some(value) = &mut self.value else {
            self.value = Some(Box::new(H::begin(histogram)));
            return;
        };
        match value.absorb(histogram) {
            Ok(combined) if combined.nhcb_bounds_reconciled => {
                notes.add(Notice::MismatchedCustomBuckets(HistogramOperation::Aggregation));
            }
            Ok(_) => {}
            Err(_) => {
                notes.add(Notice::MixedBucketSchemas(labels.metric_name().unwrap_or_default().to_string()));
                self.is_incompatible = true;
            }
        }
    }

    fn merge(&mut self, other: HistogramState<H>, notes: &Notes<'_>) {
        self.is_incompatible |= other.is_incompatible;
        self.is_after_float |= other.is_after_float;
        self.reset_seen |= other.reset_seen;
        self.no_reset_seen |= other.no_reset_seen;
        let Some(value) = &mut self.value else {
            self.value = other.value;
            return;
        };
        let Some(other) = other.value.filter(|_| !self.is_incompatible) else { return };
        match value.merge(*other) {
            Ok(combined) if combined.nhcb_bounds_reconciled => {
                notes.add(Notice::MismatchedCustomBuckets(HistogramOperation::Aggregation));
            }
            Ok(_) => {}
            Err(_) => {
                notes.add(Notice::MixedBucketSchemas(String::new()));
                self.is_incompatible = true;
            }
        }
    }

    fn finish(self, float: &mut f64, notes: &Notes<'_>) -> Option<FloatHistogram> {
        if !is_empty_cell(*float) && (self.is_after_float || self.value.is_some()) {
            notes.add(Notice::MixedFloatsHistogramsAggregation);
            *float = f64::from_bits(EMPTY);
            return None;
        }
        let value = self.value?;
        if self.is_incompatible {
            return None;
        }
        if self.reset_seen && self.no_reset_seen {
            notes.add(Notice::CounterResetCollision(HistogramOperation::Aggregation));
        }
        let mut result = value.result();
        result.compact(0);
        Some(result)
    }
}
