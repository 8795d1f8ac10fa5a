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

    /// Takes a row in, whose cells nobody needs afterwards. Most rows have no histograms: then this is a loop without
    /// branches.
    fn add(&mut self, row: &mut Row<'_>, notes: &Notes<'_>);

    /// Takes in what another state of the same group has seen.
    fn merge(&mut self, other: Self, notes: &Notes<'_>);

    /// The memory it takes.
    fn bytes(&self) -> usize;

    /// Writes the group's row; `histograms` comes empty and stays so where there are none.
    fn finish(self, floats: &mut [f64], histograms: &mut Vec<Cell>, notes: &Notes<'_>);
}

/// Sums and what rounding took away from them, by step. Many groups have one row only, which is kept as it is.
pub(super) struct Sum {
    /// An empty cell before the first float; nothing before the first row.
    sums: Vec<f64>,
    /// Nothing before the second row.
    compensations: Vec<f64>,
    histograms: Histograms<SumOfHistograms>,
}

impl Accumulator for Sum {
    fn new(steps: usize) -> Sum {
        Sum { sums: Vec::new(), compensations: Vec::new(), histograms: Histograms::new(steps) }
    }

    fn add(&mut self, row: &mut Row<'_>, notes: &Notes<'_>) {
        self.histograms.clear_ignored(row.floats);
        if self.sums.is_empty() {
            self.sums.extend_from_slice(row.floats);
        } else {
            self.compensations.resize(self.sums.len(), 0.0);
            let sums = self.sums.iter_mut().zip(&mut self.compensations);
            for ((sum, compensation), value) in sums.zip(row.floats.iter()) {
                let (before, is_empty) = (increment(*sum).0, is_empty_cell(*value));
                let (total, lost) = kahan_inc(*value, before, *compensation);
                *sum = if is_empty { *sum } else { total };
                *compensation = if is_empty { *compensation } else { lost };
            }
        }
        let sums = &self.sums;
        self.histograms.add(row, |step| !is_empty_cell(sums[step]), notes);
    }

    fn merge(&mut self, other: Sum, notes: &Notes<'_>) {
        self.compensations.resize(self.sums.len(), 0.0);
        for (step, other_sum) in other.sums.iter().enumerate().filter(|(_, sum)| !is_empty_cell(**sum)) {
            let (before, compensation) = (increment(self.sums[step]).0, self.compensations[step]);
            let (sum, compensation) = kahan_inc(*other_sum, before, compensation);
            let lost = other.compensations.get(step).filter(|_| sum.is_finite());
            self.sums[step] = sum;
            self.compensations[step] = compensation + lost.unwrap_or(&0.0);
        }
        self.histograms.merge(other.histograms, notes);
    }

    fn bytes(&self) -> usize {
        size_of::<f64>() * (self.sums.len() + self.compensations.len()) + self.histograms.bytes()
    }

    fn finish(self, floats: &mut [f64], histograms: &mut Vec<Cell>, notes: &Notes<'_>) {
        // Zero is added too where nothing was lost: minus zero becomes zero.
        let lost = self.compensations.iter().copied().chain(std::iter::repeat(0.0));
        for ((cell, sum), lost) in floats.iter_mut().zip(&self.sums).zip(lost) {
            *cell = if is_empty_cell(*sum) { *sum } else { sum + lost };
        }
        self.histograms.finish(floats, histograms, notes);
    }
}

/// What a cell adds to a sum and to a count: minus zero and nothing if it is empty.
fn increment(cell: f64) -> (f64, f64) {
    if is_empty_cell(cell) { (-0.0, 0.0) } else { (cell, 1.0) }
}

pub(super) struct Average {
    floats: Means,
    histograms: Histograms<HistogramMean>,
}

/// The means of floats by step.
enum Means {
    /// Their sums, as long as all of these are finite or NaN.
    Sums { sums: Vec<f64>, compensations: Vec<f64>, counts: Vec<f64> },
    /// From there on.
    Running(Vec<Mean>),
}

impl Means {
    fn add(&mut self, cells: &[f64]) {
        if let Means::Sums { sums, .. } = self {
            let total = |(sum, cell): (&f64, &f64)| sum + increment(*cell).0;
            let overflows =
                sums.iter().zip(cells).map(total).fold(false, |any, total| any | total.is_infinite());
            if overflows {
                *self = Means::Running(self.running());
            }
        }
        match self {
            Means::Sums { sums, compensations, counts } => {
                let means = sums.iter_mut().zip(compensations).zip(counts);
                for (((sum, compensation), count), value) in means.zip(cells) {
                    let (inc, one) = increment(*value);
                    (*sum, *compensation) = kahan_inc(inc, *sum, *compensation);
                    *count += one;
                }
            }
            Means::Running(means) => {
                let present = means.iter_mut().zip(cells).filter(|(_, cell)| !is_empty_cell(**cell));
                present.for_each(|(mean, value)| mean.add(*value));
            }
        }
    }

    fn running(&self) -> Vec<Mean> {
        match self {
            Means::Running(means) => means.clone(),
            Means::Sums { sums, compensations, counts } => {
                let of_step = |step| Mean::of_sum(counts[step], sums[step], compensations[step]);
                (0..sums.len()).map(of_step).collect()
            }
        }
    }

    fn is_present(&self, step: usize) -> bool {
        match self {
            Means::Sums { counts, .. } => counts[step] > 0.0,
            Means::Running(means) => !means[step].is_empty(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Means::Sums { sums, .. } => 3 * size_of::<f64>() * sums.len(),
            Means::Running(means) => size_of::<Mean>() * means.len(),
        }
    }
}

impl Accumulator for Average {
    fn new(steps: usize) -> Average {
        let (sums, compensations, counts) = (vec![-0.0; steps], vec![0.0; steps], vec![0.0; steps]);
        let floats = Means::Sums { sums, compensations, counts };
        Average { floats, histograms: Histograms::new(steps) }
    }

    fn add(&mut self, row: &mut Row<'_>, notes: &Notes<'_>) {
        self.histograms.clear_ignored(row.floats);
        self.floats.add(row.floats);
        let floats = &self.floats;
        self.histograms.add(row, |step| floats.is_present(step), notes);
    }

    fn merge(&mut self, other: Average, notes: &Notes<'_>) {
        let mut means = self.floats.running();
        for (mean, other) in means.iter_mut().zip(&other.floats.running()) {
            mean.merge(other);
        }
        self.floats = Means::Running(means);
        self.histograms.merge(other.histograms, notes);
    }

    fn bytes(&self) -> usize {
        self.floats.bytes() + self.histograms.bytes()
    }

    fn finish(self, floats: &mut [f64], histograms: &mut Vec<Cell>, notes: &Notes<'_>) {
        for (cell, mean) in floats.iter_mut().zip(self.floats.running()) {
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

    fn add(&mut self, row: &mut Row<'_>, _: &Notes<'_>) {
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

    fn add(&mut self, row: &mut Row<'_>, notes: &Notes<'_>) {
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
            let is_taken = !is_empty_cell(*value) & (displaces | best.is_nan());
            *best = if is_taken { *value } else { *best };
        }
    }
}

impl<const LEAST: bool> Accumulator for Extreme<LEAST> {
    fn new(steps: usize) -> Extreme<LEAST> {
        Extreme(empty_cells(steps))
    }

    fn add(&mut self, row: &mut Row<'_>, notes: &Notes<'_>) {
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
pub(super) struct Deviation<const ROOT: bool> {
    counts: Vec<f64>,
    means: Vec<f64>,
    squares: Vec<f64>,
}

impl<const ROOT: bool> Accumulator for Deviation<ROOT> {
    fn new(steps: usize) -> Deviation<ROOT> {
        Deviation { counts: vec![0.0; steps], means: vec![0.0; steps], squares: vec![0.0; steps] }
    }

    fn add(&mut self, row: &mut Row<'_>, notes: &Notes<'_>) {
        let states = self.counts.iter_mut().zip(&mut self.means).zip(&mut self.squares);
        for (((count, mean), squares), value) in states.zip(row.floats.iter()) {
            let is_empty = is_empty_cell(*value);
            let (n, delta) = (*count + 1.0, value - *mean);
            let moved = *mean + delta / n;
            // Of the first value nothing is added, unless it is not finite: then that is no number.
            let added = *squares + delta * (value - moved);
            *count = if is_empty { *count } else { n };
            *mean = if is_empty { *mean } else { moved };
            *squares = if is_empty { *squares } else { added };
        }
        notes.histogram_ignored(row, if ROOT { "stddev" } else { "stdvar" });
    }

    /// The way of Chan, Golub and LeVeque.
    fn merge(&mut self, other: Deviation<ROOT>, _: &Notes<'_>) {
        for step in 0..self.counts.len().min(other.counts.len()) {
            let (own, more) = (self.counts[step], other.counts[step]);
            if own == 0.0 {
                self.means[step] = other.means[step];
                self.squares[step] = other.squares[step];
            } else if more > 0.0 {
                let delta = other.means[step] - self.means[step];
                self.squares[step] += other.squares[step] + delta * delta * own * more / (own + more);
                self.means[step] += delta * more / (own + more);
            }
            self.counts[step] = own + more;
        }
    }

    fn bytes(&self) -> usize {
        3 * size_of::<f64>() * self.counts.len()
    }

    fn finish(self, floats: &mut [f64], _: &mut Vec<Cell>, _: &Notes<'_>) {
        for (cell, (squares, count)) in floats.iter_mut().zip(self.squares.iter().zip(&self.counts)) {
            let variance = squares / count;
            *cell = match *count == 0.0 {
                true => f64::from_bits(EMPTY),
                false if ROOT => variance.sqrt(),
                false => variance,
            };
        }
    }
}
