use std::collections::HashMap;
use std::sync::Arc;

use model::{EMPTY, Labels, METRIC_NAME, ResetHint, SeriesId, is_empty_cell, run_labels};

use super::average::{HistogramMean, Mean};
use super::{Cell, EvalError, Evaluator, Grid, Head, Row, Sink, Vector, empty_cells, unparen};
use crate::annotations::{HistogramOperation, Notice};
use crate::ast::{Aggregate, AggregateOp, Span};
use crate::functions::over_time::quantile;
use crate::histogram::{FloatHistogram, kahan_inc};

/// Finds the group of a series, looking at its labels once.
pub(crate) struct Grouper {
    labels: Vec<String>,
    is_without: bool,
    groups: HashMap<SeriesId, usize>,
    key: Vec<u8>,
}

impl Grouper {
    pub(crate) fn new(labels: &[String], is_without: bool) -> Grouper {
        let mut labels = labels.to_vec();
        labels.sort();
        labels.dedup();
        Grouper { labels, is_without, groups: HashMap::new(), key: Vec::new() }
    }

    /// The group of these labels, and the group's labels where it is new. Groups are numbered from 0.
    pub(crate) fn group(&mut self, labels: &Labels) -> (usize, Option<Labels>) {
        self.key.clear();
        for label in run_labels(labels.run()) {
            let is_named = self.labels.binary_search_by(|l| l.as_bytes().cmp(label.name)).is_ok();
            let is_kept =
                if self.is_without { !is_named && label.name != METRIC_NAME.as_bytes() } else { is_named };
            if is_kept {
                self.key.extend_from_slice(label.bytes);
            }
        }
        let next = self.groups.len();
        let group = *self.groups.entry(SeriesId::of_run(&self.key)).or_insert(next);
        let labels = (group == next).then(|| {
            // A selection of canonical labels in their order is canonical.
            Labels::of_canonical_run(&self.key)
        });
        (group, labels)
    }
}

impl Evaluator<'_> {
    pub(crate) fn aggregate_rows(
        &self,
        aggregate: &Aggregate,
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        match aggregate.op {
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio => {
                self.rank_rows(aggregate, span, grid, sink)
            }
            AggregateOp::CountValues => self.count_values_rows(aggregate, grid, sink),
            AggregateOp::Quantile => self.quantile_rows(aggregate, grid, sink),
            AggregateOp::Sum => self.accumulate::<Sum>(aggregate, grid, sink),
            AggregateOp::Avg => self.accumulate::<Average>(aggregate, grid, sink),
            AggregateOp::Count => self.accumulate::<Count>(aggregate, grid, sink),
            AggregateOp::Group => self.accumulate::<Presence>(aggregate, grid, sink),
            AggregateOp::Min => self.accumulate::<Extreme<true>>(aggregate, grid, sink),
            AggregateOp::Max => self.accumulate::<Extreme<false>>(aggregate, grid, sink),
            AggregateOp::Stddev => self.accumulate::<Deviation<true>>(aggregate, grid, sink),
            AggregateOp::Stdvar => self.accumulate::<Deviation<false>>(aggregate, grid, sink),
        }
    }

    /// Streams rows into the accumulators of their groups.
    fn accumulate<A: Accumulator>(
        &self,
        aggregate: &Aggregate,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let argument = unparen(&aggregate.expr);
        let mut grouper = Grouper::new(&aggregate.grouping, aggregate.without);
        let mut groups: Vec<(Head, A)> = Vec::new();
        let notes = Notes { evaluator: self, at: argument.span };
        self.rows(argument, grid, &mut |row| {
            let (group, labels) = grouper.group(row.labels);
            if let Some(labels) = labels {
                self.hold(grid.steps)?;
                groups.push((Head { labels, drop_name: false }, A::new(grid.steps)));
            }
            let (head, accumulator) = &mut groups[group];
            head.drop_name |= row.drop_name;
            accumulator.add(&row, &notes);
            Ok(())
        })?;
        let mut output = Vector::new(grid.steps);
        let (mut floats, mut histograms) = (empty_cells(grid.steps), Vec::new());
        for (head, accumulator) in groups {
            histograms.clear();
            accumulator.finish(&mut floats, &mut histograms, &notes);
            output.push(Row {
                labels: &head.labels,
                drop_name: head.drop_name,
                floats: &mut floats,
                histograms: &mut histograms,
            });
        }
        self.release_cells(output.cells());
        output.emit_all(sink)
    }

    fn quantile_rows(&self, aggregate: &Aggregate, grid: Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let Some(param) = &aggregate.param else { return Ok(()) };
        let qs = self.scalars(unparen(param), grid)?;
        self.note_invalid_quantiles(&qs, unparen(param).span);
        let argument = unparen(&aggregate.expr);
        let rows = self.vector(argument, grid)?;
        let mut grouper = Grouper::new(&aggregate.grouping, aggregate.without);
        let mut groups: Vec<(Head, Vec<usize>)> = Vec::new();
        for (index, head) in rows.heads().iter().enumerate() {
            let (group, labels) = grouper.group(&head.labels);
            if let Some(labels) = labels {
                groups.push((Head { labels, drop_name: false }, Vec::new()));
            }
            groups[group].0.drop_name |= head.drop_name;
            groups[group].1.push(index);
        }
        if rows.has_histograms() {
            self.note(Notice::HistogramIgnoredInAggregation("quantile"), argument.span);
        }
        let mut output = Vector::new(grid.steps);
        let mut values = Vec::new();
        for (head, members) in groups {
            let into = output.push_empty(head);
            for (step, q) in qs.iter().enumerate() {
                values.clear();
                values.extend(
                    members.iter().map(|row| rows.float_at(*row, step)).filter(|v| !is_empty_cell(*v)),
                );
                if !values.is_empty() {
                    output.set_float(into, step, quantile(*q, &mut values));
                }
            }
        }
        self.release(rows);
        output.emit_all(sink)
    }

    fn note_invalid_quantiles(&self, qs: &[f64], at: Span) {
        let max = qs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let min = qs.iter().copied().fold(f64::INFINITY, f64::min);
        let nan = qs.iter().any(|q| q.is_nan()).then_some(f64::NAN);
        let invalid = nan.into_iter().chain((max > 1.0).then_some(max)).chain((min < 0.0).then_some(min));
        for q in invalid {
            self.note(Notice::InvalidQuantile(crate::number::shortest(q)), at);
        }
    }
}

/// Where an accumulator leaves its notices.
struct Notes<'e> {
    evaluator: &'e Evaluator<'e>,
    at: Span,
}

impl Notes<'_> {
    fn add(&self, notice: Notice) {
        self.evaluator.note(notice, self.at);
    }

    fn histogram_ignored(&self, row: &Row<'_>, op: &'static str) {
        if row.has_histograms() {
            self.add(Notice::HistogramIgnoredInAggregation(op));
        }
    }
}

/// One group's state at all steps.
trait Accumulator {
    fn new(steps: usize) -> Self;

    fn add(&mut self, row: &Row<'_>, notes: &Notes<'_>);

    /// Writes the group's row; `histograms` comes empty and stays so where there are none.
    fn finish(self, floats: &mut [f64], histograms: &mut Vec<Cell>, notes: &Notes<'_>);
}

struct Sum {
    /// Sum and compensation by step; an empty cell before the first float.
    floats: Vec<(f64, f64)>,
    histograms: Histograms<SumOfHistograms>,
}

impl Accumulator for Sum {
    fn new(steps: usize) -> Sum {
        Sum { floats: vec![(f64::from_bits(EMPTY), 0.0); steps], histograms: Histograms::new(steps) }
    }

    fn add(&mut self, row: &Row<'_>, notes: &Notes<'_>) {
        for ((sum, compensation), value) in self.floats.iter_mut().zip(row.floats.iter()) {
            if is_empty_cell(*value) {
                continue;
            }
            if is_empty_cell(*sum) {
                *sum = *value;
            } else {
                (*sum, *compensation) = kahan_inc(*value, *sum, *compensation);
            }
        }
        self.histograms.add(row, notes);
    }

    fn finish(self, floats: &mut [f64], histograms: &mut Vec<Cell>, notes: &Notes<'_>) {
        for (cell, (sum, compensation)) in floats.iter_mut().zip(self.floats) {
            *cell = if is_empty_cell(sum) { sum } else { sum + compensation };
        }
        self.histograms.finish(floats, histograms, notes);
    }
}

struct Average {
    floats: Vec<Mean>,
    histograms: Histograms<HistogramMean>,
}

impl Accumulator for Average {
    fn new(steps: usize) -> Average {
        Average { floats: vec![Mean::default(); steps], histograms: Histograms::new(steps) }
    }

    fn add(&mut self, row: &Row<'_>, notes: &Notes<'_>) {
        for (mean, value) in self.floats.iter_mut().zip(row.floats.iter()) {
            if !is_empty_cell(*value) {
                mean.add(*value);
            }
        }
        self.histograms.add(row, notes);
    }

    fn finish(self, floats: &mut [f64], histograms: &mut Vec<Cell>, notes: &Notes<'_>) {
        for (cell, mean) in floats.iter_mut().zip(self.floats) {
            *cell = if mean.is_empty() { f64::from_bits(EMPTY) } else { mean.get() };
        }
        self.histograms.finish(floats, histograms, notes);
    }
}

/// What a group makes of its histograms at one step.
trait OfHistograms: Sized {
    fn begin(first: &FloatHistogram) -> Self;

    fn absorb(
        &mut self,
        histogram: &FloatHistogram,
    ) -> Result<crate::histogram::Combined, crate::histogram::HistogramOpError>;

    fn result(self) -> FloatHistogram;
}

struct SumOfHistograms {
    sum: FloatHistogram,
    compensation: Option<FloatHistogram>,
}

impl OfHistograms for SumOfHistograms {
    fn begin(first: &FloatHistogram) -> SumOfHistograms {
        SumOfHistograms { sum: first.clone(), compensation: None }
    }

    fn absorb(
        &mut self,
        histogram: &FloatHistogram,
    ) -> Result<crate::histogram::Combined, crate::histogram::HistogramOpError> {
        self.sum.kahan_add(histogram, &mut self.compensation)
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

    fn absorb(
        &mut self,
        histogram: &FloatHistogram,
    ) -> Result<crate::histogram::Combined, crate::histogram::HistogramOpError> {
        self.add(histogram)
    }

    fn result(self) -> FloatHistogram {
        self.finish()
    }
}

/// The histograms of a group by step; nothing is kept for groups that have none.
struct Histograms<H> {
    steps: usize,
    states: Vec<HistogramState<H>>,
}

struct HistogramState<H> {
    value: Option<H>,
    is_incompatible: bool,
    reset_seen: bool,
    no_reset_seen: bool,
}

impl<H: OfHistograms> Histograms<H> {
    fn new(steps: usize) -> Histograms<H> {
        Histograms { steps, states: Vec::new() }
    }

    fn add(&mut self, row: &Row<'_>, notes: &Notes<'_>) {
        if !row.has_histograms() {
            return;
        }
        if self.states.is_empty() {
            self.states.resize_with(self.steps, || HistogramState {
                value: None,
                is_incompatible: false,
                reset_seen: false,
                no_reset_seen: false,
            });
        }
        for (state, cell) in self.states.iter_mut().zip(row.histograms.iter()) {
            if let Some(histogram) = cell {
                state.add(histogram, row.labels, notes);
            }
        }
    }

    fn finish(self, floats: &mut [f64], histograms: &mut Vec<Cell>, notes: &Notes<'_>) {
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
            self.value = Some(H::begin(histogram));
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

    fn finish(self, float: &mut f64, notes: &Notes<'_>) -> Option<FloatHistogram> {
        let value = self.value?;
        if !is_empty_cell(*float) {
            notes.add(Notice::MixedFloatsHistogramsAggregation);
            *float = f64::from_bits(EMPTY);
            return None;
        }
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

struct Count(Vec<u64>);

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

    fn finish(self, floats: &mut [f64], _: &mut Vec<Cell>, _: &Notes<'_>) {
        for (cell, count) in floats.iter_mut().zip(self.0) {
            *cell = if count == 0 { f64::from_bits(EMPTY) } else { count as f64 };
        }
    }
}

struct Presence(Count);

impl Accumulator for Presence {
    fn new(steps: usize) -> Presence {
        Presence(Count::new(steps))
    }

    fn add(&mut self, row: &Row<'_>, notes: &Notes<'_>) {
        self.0.add(row, notes);
    }

    fn finish(self, floats: &mut [f64], histograms: &mut Vec<Cell>, notes: &Notes<'_>) {
        self.0.finish(floats, histograms, notes);
        floats.iter_mut().filter(|v| !is_empty_cell(**v)).for_each(|v| *v = 1.0);
    }
}

/// The least or the greatest value.
struct Extreme<const LEAST: bool>(Vec<f64>);

impl<const LEAST: bool> Accumulator for Extreme<LEAST> {
    fn new(steps: usize) -> Extreme<LEAST> {
        Extreme(empty_cells(steps))
    }

    fn add(&mut self, row: &Row<'_>, notes: &Notes<'_>) {
        for (best, value) in self.0.iter_mut().zip(row.floats.iter()) {
            let displaces = if LEAST { *best > *value } else { *best < *value };
            // The empty cell is a NaN, and any NaN gives way to a value.
            if !is_empty_cell(*value) && (displaces || best.is_nan()) {
                *best = *value;
            }
        }
        notes.histogram_ignored(row, if LEAST { "min" } else { "max" });
    }

    fn finish(self, floats: &mut [f64], _: &mut Vec<Cell>, _: &Notes<'_>) {
        floats.copy_from_slice(&self.0);
    }
}

/// Standard deviation or variance, in Welford's way.
struct Deviation<const ROOT: bool>(Vec<Welford>);

#[derive(Clone, Copy, Default)]
struct Welford {
    count: f64,
    mean: f64,
    squares: f64,
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
