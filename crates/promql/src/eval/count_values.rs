use std::collections::HashMap;

use model::{Labels, METRIC_NAME, SeriesId, is_empty_cell};

use super::{EvalError, Evaluator, Grid, Head, Sink, Vector, unparen};
use crate::ast::{Aggregate, ExprKind};
use crate::number::plain;
use crate::text::{is_valid_label_name, quote};

impl Evaluator<'_> {
    /// `count_values`: how many samples of a group have which value.
    pub(super) fn count_values_rows(
        &self,
        aggregate: &Aggregate,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let label = match aggregate.param.as_ref().map(|param| &unparen(param).kind) {
            Some(ExprKind::String(label)) => label,
            _ => return Err(EvalError::Execution("unexpected error: no label name".to_string())),
        };
        if !is_valid_label_name(label) {
            return Err(EvalError::Execution(format!("invalid label name {}", quote(label))));
        }
        let mut counter = Counter {
            label,
            aggregate,
            counts: Vector::new(grid.steps),
            groups: HashMap::new(),
            values: HashMap::new(),
        };
        self.rows(unparen(&aggregate.expr), grid, &mut |row| {
            let before = counter.counts.cells();
            counter.values.clear();
            for (step, value) in row.floats.iter().enumerate().filter(|(_, v)| !is_empty_cell(**v)) {
                counter.count(row.labels, step, plain(*value));
            }
            for (step, cell) in row.histograms.iter().enumerate() {
                if let Some(histogram) = cell {
                    counter.count(row.labels, step, histogram.to_string());
                }
            }
            self.hold(counter.counts.cells() - before)
        })?;
        self.release_cells(counter.counts.cells());
        counter.counts.emit_all(sink)
    }
}

struct Counter<'a> {
    label: &'a str,
    aggregate: &'a Aggregate,
    counts: Vector,
    groups: HashMap<SeriesId, usize>,
    /// The groups of the values of the series at hand.
    values: HashMap<String, usize>,
}

impl Counter<'_> {
    fn count(&mut self, labels: &Labels, step: usize, value: String) {
        let group = match self.values.get(&value) {
            Some(group) => *group,
            None => self.group(labels, value),
        };
        let counted = self.counts.float_at(group, step);
        let counted = if is_empty_cell(counted) { 0.0 } else { counted };
        self.counts.set_float(group, step, counted + 1.0);
    }

    fn group(&mut self, labels: &Labels, value: String) -> usize {
        let mut builder = labels.builder();
        builder.set(self.label, &value);
        let Aggregate { grouping, without, .. } = self.aggregate;
        let is_named = |name: &str| grouping.iter().any(|l| l == name);
        let labels = match without {
            true => builder.build().without(|name| is_named(name) || name == METRIC_NAME),
            false => builder.build().without(|name| !is_named(name) && name != self.label),
        };
        let counts = &mut self.counts;
        let group = *self
            .groups
            .entry(labels.id())
            .or_insert_with(|| counts.push_empty(Head { labels, drop_name: false }));
        self.values.insert(value, group);
        group
    }
}
