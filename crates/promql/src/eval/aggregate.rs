use std::collections::HashMap;

use model::{EMPTY, Labels, METRIC_NAME, SeriesId, is_empty_cell, run_labels};

use super::states::{Accumulator, Average, Count, Deviation, Extreme, Presence, Sum};
use super::{EvalError, Evaluator, Grid, Head, Lease, PLACE_BYTES, Row, Sink, empty_cells, unparen};
use crate::annotations::Notice;
use crate::ast::{Aggregate, AggregateOp, Span};
use crate::functions::over_time::quantile;

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
        let mut groups = Groups::<A>::new(aggregate);
        let mut room = self.lease(0)?;
        self.take_in(aggregate, grid, &mut groups, &mut room)?;
        for part in 1..self.data.len() {
            let mut more = Groups::<A>::new(aggregate);
            self.part.set(part);
            self.take_in(aggregate, grid, &mut more, &mut room)?;
            let notes = Notes { evaluator: self, at: unparen(&aggregate.expr).span };
            let n_known = groups.merge(more, &notes);
            self.held.sub((n_known * grid.steps) as u64, 0);
        }
        self.part.set(0);
        if self.plan.is_projected(&aggregate.expr) {
            // The series had no order that the groups could take over.
            groups.states.sort_by(|(a, _), (b, _)| a.labels.cmp(&b.labels));
        }
        self.finish(groups, aggregate, grid, sink)
    }

    /// Takes the rows of an aggregation's argument into groups.
    fn take_in<A: Accumulator>(
        &self,
        aggregate: &Aggregate,
        grid: Grid,
        groups: &mut Groups<A>,
        room: &mut Lease<'_>,
    ) -> Result<(), EvalError> {
        let argument = unparen(&aggregate.expr);
        let notes = Notes { evaluator: self, at: argument.span };
        self.rows(argument, grid, &mut |mut row| {
            let (group, labels) = groups.grouper.group(row.labels);
            let mut known = 0;
            match labels {
                Some(labels) => {
                    self.held.add(grid.steps as u64, 0)?;
                    room.grow(PLACE_BYTES + size_of::<(Head, A)>() + labels.run().len())?;
                    groups.states.push((Head { labels, drop_name: false }, A::new(grid.steps)));
                }
                None => known = groups.states[group].1.bytes(),
            }
            let (head, accumulator) = &mut groups.states[group];
            head.drop_name |= row.drop_name;
            accumulator.add(&mut row, &notes);
            room.grow(accumulator.bytes().saturating_sub(known))
        })
    }

    fn finish<A: Accumulator>(
        &self,
        groups: Groups<A>,
        aggregate: &Aggregate,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let notes = Notes { evaluator: self, at: unparen(&aggregate.expr).span };
        let (mut floats, mut histograms) = (empty_cells(grid.steps), Vec::new());
        for (Head { labels, drop_name }, accumulator) in groups.states {
            histograms.clear();
            accumulator.finish(&mut floats, &mut histograms, &notes);
            self.held.sub(grid.steps as u64, 0);
            let row = Row { labels: &labels, drop_name, floats: &mut floats, histograms: &mut histograms };
            if !row.is_empty() {
                sink(row)?;
            }
        }
        Ok(())
    }

    fn quantile_rows(&self, aggregate: &Aggregate, grid: Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let Some(param) = &aggregate.param else { return Ok(()) };
        let qs = self.scalars(unparen(param), grid)?;
        self.note_invalid_quantiles(&qs, unparen(param).span);
        let argument = unparen(&aggregate.expr);
        let rows = self.vector(argument, grid)?;
        let mut grouper = Grouper::new(&aggregate.grouping, aggregate.without);
        let mut groups: Vec<(Head, Vec<usize>)> = Vec::new();
        // Members, and the values of one step.
        let mut room = self.lease(3 * size_of::<usize>() * rows.len())?;
        for (index, head) in rows.heads().iter().enumerate() {
            let (group, labels) = grouper.group(&head.labels);
            if let Some(labels) = labels {
                room.grow(PLACE_BYTES + size_of::<(Head, Vec<usize>)>() + labels.run().len())?;
                groups.push((Head { labels, drop_name: false }, Vec::new()));
            }
            groups[group].0.drop_name |= head.drop_name;
            groups[group].1.push(index);
        }
        if self.plan.is_projected(argument) {
            groups.sort_by(|(a, _), (b, _)| a.labels.cmp(&b.labels));
        }
        if rows.has_histograms() {
            self.note(Notice::HistogramIgnoredInAggregation("quantile"), argument.span);
        }
        let mut floats = empty_cells(grid.steps);
        let mut values = Vec::new();
        for (Head { labels, drop_name }, members) in groups {
            self.plan.options.check()?;
            for (step, (cell, q)) in floats.iter_mut().zip(&qs).enumerate() {
                values.clear();
                values.extend(
                    members.iter().map(|row| rows.float_at(*row, step)).filter(|v| !is_empty_cell(*v)),
                );
                *cell = if values.is_empty() { f64::from_bits(EMPTY) } else { quantile(*q, &mut values) };
            }
            let row = Row { labels: &labels, drop_name, floats: &mut floats, histograms: &mut [] };
            if !row.is_empty() {
                sink(row)?;
            }
        }
        self.release(rows);
        Ok(())
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

/// The groups of an aggregation, each with its state.
struct Groups<A> {
    grouper: Grouper,
    states: Vec<(Head, A)>,
}

impl<A: Accumulator> Groups<A> {
    fn new(aggregate: &Aggregate) -> Groups<A> {
        Groups { grouper: Grouper::new(&aggregate.grouping, aggregate.without), states: Vec::new() }
    }

    /// Takes in groups of other series, and says how many of them it had already.
    fn merge(&mut self, other: Groups<A>, notes: &Notes<'_>) -> usize {
        let mut n_known = 0;
        for (head, state) in other.states {
            // The labels of a group are in a group of the same labels.
            let (group, new) = self.grouper.group(&head.labels);
            match new {
                Some(_) => self.states.push((head, state)),
                None => {
                    n_known += 1;
                    self.states[group].0.drop_name |= head.drop_name;
                    self.states[group].1.merge(state, notes);
                }
            }
        }
        n_known
    }
}

/// Where an accumulator leaves its notices.
pub(super) struct Notes<'e> {
    evaluator: &'e Evaluator<'e>,
    at: Span,
}

impl Notes<'_> {
    pub(super) fn add(&self, notice: Notice) {
        self.evaluator.note(notice, self.at);
    }

    pub(super) fn histogram_ignored(&self, row: &Row<'_>, op: &'static str) {
        if row.has_histograms() {
            self.add(Notice::HistogramIgnoredInAggregation(op));
        }
    }
}
