use std::collections::HashMap;

use model::{EMPTY, Labels, METRIC_NAME, SeriesId, is_empty_cell};

use super::{EvalError, Evaluator, Grid, Lease, PLACE_BYTES, Row, Sink, empty_cells, unparen};
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
            evaluator: self,
            label,
            aggregate,
            counts: Vec::new(),
            groups: HashMap::new(),
            values: HashMap::new(),
            room: self.lease(0)?,
        };
        self.rows(unparen(&aggregate.expr), grid, &mut |row| {
            counter.values.clear();
            for (step, value) in row.floats.iter().enumerate().filter(|(_, v)| !is_empty_cell(**v)) {
                counter.count(row.labels, step, plain(*value))?;
            }
            for (step, cell) in row.histograms.iter().enumerate() {
                if let Some(histogram) = cell {
                    counter.count(row.labels, step, histogram.to_string())?;
                }
            }
            Ok(())
        })?;
        counter.emit(grid, sink)
    }
}

struct Counter<'a> {
    evaluator: &'a Evaluator<'a>,
    label: &'a str,
    aggregate: &'a Aggregate,
    /// By group, how often its value is there at which step. Most values are there at few steps.
    counts: Vec<(Labels, HashMap<usize, f64>)>,
    groups: HashMap<SeriesId, usize>,
    /// The groups of the values of the series at hand.
    values: HashMap<String, usize>,
    room: Lease<'a>,
}

impl Counter<'_> {
    fn count(&mut self, labels: &Labels, step: usize, value: String) -> Result<(), EvalError> {
        let group = match self.values.get(&value) {
            Some(group) => *group,
            None => self.group(labels, value)?,
        };
        let counts = &mut self.counts[group].1;
        let before = counts.len();
        *counts.entry(step).or_insert(0.0) += 1.0;
        if counts.len() > before {
            self.evaluator.held.add(1, 0)?;
            self.room.grow(PLACE_BYTES)?;
        }
        Ok(())
    }

    fn group(&mut self, labels: &Labels, value: String) -> Result<usize, EvalError> {
        let mut builder = labels.builder();
        builder.set(self.label, &value);
        let Aggregate { grouping, without, .. } = self.aggregate;
        let is_named = |name: &str| grouping.iter().any(|l| l == name);
        let labels = match without {
            true => builder.build().without(|name| is_named(name) || name == METRIC_NAME),
            false => builder.build().without(|name| !is_named(name) && name != self.label),
        };
        let next = self.counts.len();
        let group = *self.groups.entry(labels.id()).or_insert(next);
        self.room.grow(PLACE_BYTES + value.len())?;
        if group == next {
            self.room.grow(PLACE_BYTES + size_of::<(Labels, HashMap<usize, f64>)>() + labels.run().len())?;
            self.counts.push((labels, HashMap::new()));
        }
        self.values.insert(value, group);
        Ok(group)
    }

    fn emit(self, grid: Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let mut floats = empty_cells(grid.steps);
        for (labels, counts) in self.counts {
            counts.iter().for_each(|(step, count)| floats[*step] = *count);
            self.evaluator.held.sub(counts.len() as u64, 0);
            sink(Row { labels: &labels, drop_name: false, floats: &mut floats, histograms: &mut [] })?;
            // Whoever took the row may have changed it.
            match counts.len() * 4 < floats.len() {
                true => counts.keys().for_each(|step| floats[*step] = f64::from_bits(EMPTY)),
                false => floats.fill(f64::from_bits(EMPTY)),
            }
        }
        Ok(())
    }
}
