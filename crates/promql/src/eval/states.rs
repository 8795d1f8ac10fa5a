//! The states of aggregations: what is kept of a group while its rows go by.
//!
//! Always true:
//! - states merge: a state that saw some rows and a state that saw others make the state of all of them, so that the
//!   series of a group may be gone through in parts. Count, group, min and max come out the same to the bit however the
//!   rows are divided; sum, average, deviation and variance to within the rounding of their compensated sums;
//! - what there is to say about a group is said when its state is finished, or when what it speaks of is met.

use model::{EMPTY, is_empty_cell};

use super::aggregate::Notes;
use super::average::{HistogramMean, Mean};
use super::histogram_states::{Histograms, SumOfHistograms};
use super::{Cell, Row, empty_cells};
use crate::histogram::kahan_inc;

/// One group's state at all steps.
pub(super) trait Accumulator: Sized {
    fn new(steps: usize) -> Self;

    /// Takes a row in.
    fn add(&mut self, row: &Row<'_>, notes: &Notes<'_>);

    /// Takes in what another state of the same group has seen.
    fn merge(&mut self, other: Self, notes: &Notes<'_>);

    /// The memory it takes.
    fn bytes(&self) -> usize;

    /// Writes the group's row; `histograms` comes empty and stays so where there are none.
    fn finish(self, floats: &mut [f64], histograms: &mut Vec<Cell>, notes: &Notes<'_>);
}

pub(super) struct Sum {
    /// Sum and compensation by step; an empty cell before the first float.
    floats: Vec<(f64, f64)>,
    histograms: Histograms<SumOfHistograms>,
}

impl Accumulator for Sum {
    fn new(steps: usize) -> Sum {
        Sum { floats: vec![(f64::from_bits(EMPTY), 0.0); steps], histograms: Histograms::new(steps) }
    }

    fn add(&mut self, row: &Row<'_>, notes: &Notes<'_>) {
        let ignores = self.histograms.ignore_some();
        let floats = self.floats.iter_mut().zip(row.floats.iter()).enumerate();
        for (step, ((sum, compensation), value)) in floats {
            if is_empty_cell(*value) || (ignores && self.histograms.ignore(step)) {
                continue;
            }
            if is_empty_cell(*sum) {
                *sum = *value;
            } else {
                (*sum, *compensation) = kahan_inc(*value, *sum, *compensation);
            }
        }
        let floats = &self.floats;
        self.histograms.add(row, |step| !is_empty_cell(floats[step].0), notes);
    }

    fn merge(&mut self, other: Sum, notes: &Notes<'_>) {
        for ((sum, compensation), (other_sum, other_compensation)) in self.floats.iter_mut().zip(other.floats)
        {
            if is_empty_cell(other_sum) {
                continue;
            }
            if is_empty_cell(*sum) {
                (*sum, *compensation) = (other_sum, other_compensation);
                continue;
            }
            (*sum, *compensation) = kahan_inc(other_sum, *sum, *compensation);
            if sum.is_finite() {
                *compensation += other_compensation;
            }
        }
        self.histograms.merge(other.histograms, notes);
    }

    fn bytes(&self) -> usize {
        size_of::<(f64, f64)>() * self.floats.len() + self.histograms.bytes()
    }

    fn finish(self, floats: &mut [f64], histograms: &mut Vec<Cell>, notes: &Notes<'_>) {
        for (cell, (sum, compensation)) in floats.iter_mut().zip(self.floats) {
            *cell = if is_empty_cell(sum) { sum } else { sum + compensation };
        }
        self.histograms.finish(floats, histograms, notes);
    }
}

pub(super) struct Average {
    floats: Vec<Mean>,
    histograms: Histograms<HistogramMean>,
}

impl Accumulator for Average {
    fn new(steps: usize) -> Average {
        Average { floats: vec![Mean::default(); steps], histograms: Histograms::new(steps) }
    }

    fn add(&mut self, row: &Row<'_>, notes: &Notes<'_>) {
        let ignores = self.histograms.ignore_some();
        for (step, (mean, value)) in self.floats.iter_mut().zip(row.floats.iter()).enumerate() {
            if is_empty_cell(*value) || (ignores && self.histograms.ignore(step)) {
                continue;
            }
            mean.add(*value);
        }
        let floats = &self.floats;
        self.histograms.add(row, |step| !floats[step].is_empty(), notes);
    }

    fn merge(&mut self, other: Average, notes: &Notes<'_>) {
        for (mean, other) in self.floats.iter_mut().zip(&other.floats) {
            mean.merge(other);
        }
        self.histograms.merge(other.histograms, notes);
    }

    fn bytes(&self) -> usize {
        size_of::<Mean>() * self.floats.len() + self.histograms.bytes()
    }

    fn finish(self, floats: &mut [f64], histograms: &mut Vec<Cell>, notes: &Notes<'_>) {
        for (cell, mean) in floats.iter_mut().zip(self.floats) {
            *cell = if mean.is_empty() { f64::from_bits(EMPTY) } else { mean.get() };
        }
        self.histograms.finish(floats, histograms, notes);
    }
}

pub(super) struct Count(Vec<u64>);

impl Accumulator for Count {
    fn new(steps: usize) -> Count {
        Count(vec![0; steps])
    }

    fn add(&mut self, row: &Row<'_>, _: &Notes<'_>) {
        for (count, value) in self.0.iter_mut().zip(row.floats.iter()) {
            *count += u64::from(!is_empty_cell(*value));
        }
        for (count, cell) in self.0.iter_mut().zip(row.histograms.iter()) {
            *count += u64::from(cell.is_some());
        }
    }

    fn merge(&mut self, other: Count, _: &Notes<'_>) {
        for (count, other) in self.0.iter_mut().zip(other.0) {
            *count += other;
        }
    }

    fn bytes(&self) -> usize {
        size_of::<u64>() * self.0.len()
    }

    fn finish(self, floats: &mut [f64], _: &mut Vec<Cell>, _: &Notes<'_>) {
        for (cell, count) in floats.iter_mut().zip(self.0) {
            *cell = if count == 0 { f64::from_bits(EMPTY) } else { count as f64 };
        }
    }
}

pub(super) struct Presence(Count);

impl Accumulator for Presence {
    fn new(steps: usize) -> Presence {
        Presence(Count::new(steps))
    }

    fn add(&mut self, row: &Row<'_>, notes: &Notes<'_>) {
        self.0.add(row, notes);
    }

    fn merge(&mut self, other: Presence, notes: &Notes<'_>) {
        self.0.merge(other.0, notes);
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }

    fn finish(self, floats: &mut [f64], histograms: &mut Vec<Cell>, notes: &Notes<'_>) {
        self.0.finish(floats, histograms, notes);
        floats.iter_mut().filter(|v| !is_empty_cell(**v)).for_each(|v| *v = 1.0);
    }
}

/// The least or the greatest value.
pub(super) struct Extreme<const LEAST: bool>(Vec<f64>);

impl<const LEAST: bool> Extreme<LEAST> {
    fn take(&mut self, values: &[f64]) {
        for (best, value) in self.0.iter_mut().zip(values) {
            let displaces = if LEAST { *best > *value } else { *best < *value };
            // The empty cell is a NaN, and any NaN gives way to a value.
            if !is_empty_cell(*value) && (displaces || best.is_nan()) {
                *best = *value;
            }
        }
    }
}

impl<const LEAST: bool> Accumulator for Extreme<LEAST> {
    fn new(steps: usize) -> Extreme<LEAST> {
        Extreme(empty_cells(steps))
    }

    fn add(&mut self, row: &Row<'_>, notes: &Notes<'_>) {
        self.take(row.floats);
        notes.histogram_ignored(row, if LEAST { "min" } else { "max" });
    }

    fn merge(&mut self, other: Extreme<LEAST>, _: &Notes<'_>) {
        self.take(&other.0);
    }

    fn bytes(&self) -> usize {
        size_of::<f64>() * self.0.len()
    }

    fn finish(self, floats: &mut [f64], _: &mut Vec<Cell>, _: &Notes<'_>) {
        floats.copy_from_slice(&self.0);
    }
}

/// Standard deviation or variance, in Welford's way.
pub(super) struct Deviation<const ROOT: bool>(Vec<Welford>);

#[derive(Clone, Copy, Default)]
struct Welford {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Welford {
    /// The way of Chan, Golub and LeVeque.
    fn merge(&mut self, other: &Welford) {
        if other.count == 0.0 || self.count == 0.0 {
            if self.count == 0.0 {
                *self = *other;
            }
            return;
        }
        let count = self.count + other.count;
        let delta = other.mean - self.mean;
        self.squares += other.squares + delta * delta * self.count * other.count / count;
        self.mean += delta * other.count / count;
        self.count = count;
    }
}

impl<const ROOT: bool> Accumulator for Deviation<ROOT> {
    fn new(steps: usize) -> Deviation<ROOT> {
        Deviation(vec![Welford::default(); steps])
    }

    fn add(&mut self, row: &Row<'_>, notes: &Notes<'_>) {
        for (state, value) in self.0.iter_mut().zip(row.floats.iter()) {
            if is_empty_cell(*value) {
                continue;
            }
            state.count += 1.0;
            if state.count == 1.0 {
                state.mean = *value;
                state.squares = if value.is_finite() { 0.0 } else { f64::NAN };
                continue;
            }
            let delta = value - state.mean;
            state.mean += delta / state.count;
            state.squares += delta * (value - state.mean);
        }
        notes.histogram_ignored(row, if ROOT { "stddev" } else { "stdvar" });
    }

    fn merge(&mut self, other: Deviation<ROOT>, _: &Notes<'_>) {
        for (state, other) in self.0.iter_mut().zip(&other.0) {
            state.merge(other);
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Welford>() * self.0.len()
    }

    fn finish(self, floats: &mut [f64], _: &mut Vec<Cell>, _: &Notes<'_>) {
        for (cell, state) in floats.iter_mut().zip(self.0) {
            let variance = state.squares / state.count;
            *cell = match state.count == 0.0 {
                true => f64::from_bits(EMPTY),
                false if ROOT => variance.sqrt(),
                false => variance,
            };
        }
    }
}
