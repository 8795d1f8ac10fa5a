//! From rows to the value of the query: names that were to go are gone, times are put to the cells.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Histogram, Labels, MatrixSeries, SampleValue, SeriesId, Value, VectorSample, is_empty_cell};

use super::range::{InstantRange, Source, is_range};
use super::vector::duplicate_labels;
use super::{EvalError, Evaluator, Grid, Row, unparen};
use crate::ast::{Expr, ExprKind, RangeMode, ValueType};
use crate::functions::extended;
use crate::functions::labels::is_metadata;
use crate::histogram::FloatHistogram;
use crate::plan::value_type;

impl Evaluator<'_> {
    pub(super) fn value(&self, grid: Grid) -> Result<Value, EvalError> {
        let expr = &self.plan.expr;
        let is_instant = self.plan.options.step_ms.is_none();
        self.plan.options.check()?;
        match value_type(expr) {
            ValueType::String => string(expr, grid.start),
            ValueType::Scalar => Ok(scalar(self.scalars(expr, grid)?, grid, is_instant)),
            ValueType::Matrix => self.instant_matrix(expr, grid),
            ValueType::Vector => {
                let mut collector = Collector::new(grid);
                self.rows(expr, grid, &mut |row| {
                    self.hold(grid.steps)?;
                    collector.take(&row)
                })?;
                let series = collector.finish();
                Ok(if is_instant { vector(series, grid.start) } else { sorted(series) })
            }
        }
    }

    fn instant_matrix(&self, expr: &Expr, grid: Grid) -> Result<Value, EvalError> {
        let expr = unparen(expr);
        debug_assert!(is_range(expr), "only selectors and subqueries are range vectors");
        if let ExprKind::Subquery(subquery) = &expr.kind {
            let (inner, (rows, counted)) = self.subquery(subquery, grid)?;
            if let Some(samples) = self.samples().first_mut() {
                *samples += counted.iter().sum::<u64>();
            }
            let mut collector = Collector::new(inner);
            rows.emit_all(&mut |row| collector.take(&row))?;
            return Ok(sorted(collector.finish()));
        }
        let source = self.range_source(expr, grid)?;
        Ok(sorted(self.selected_ranges(&source, grid.start)?))
    }

    fn selected_ranges(&self, source: &Source, time: i64) -> Result<Vec<MatrixSeries>, EvalError> {
        let mut found = Vec::new();
        self.instant_range(source, time, &mut |InstantRange { track, floats, histograms, borders }| {
            let (times, values) = (&track.times[floats.clone()], &track.values[floats]);
            let floats = match source.mode {
                RangeMode::Normal => times.iter().copied().zip(values.iter().copied()).collect(),
                mode if !histograms.is_empty() => return Err(no_histograms(mode)),
                mode => extended::with_borders(times, values, borders, mode == RangeMode::Smoothed),
            };
            let histograms: Vec<(i64, Arc<Histogram>)> =
                histograms.map(|i| (track.histogram_times[i], to_model(&track.histograms[i]))).collect();
            if !floats.is_empty() || !histograms.is_empty() {
                found.push(MatrixSeries { labels: track.labels.clone(), floats, histograms });
            }
            Ok(())
        })?;
        Ok(found)
    }
}

fn no_histograms(mode: RangeMode) -> EvalError {
    let mode = if mode == RangeMode::Smoothed { "smoothed" } else { "anchored" };
    EvalError::Execution(format!("{mode} modifier is not supported with histograms"))
}

fn string(expr: &Expr, timestamp: i64) -> Result<Value, EvalError> {
    match &unparen(expr).kind {
        ExprKind::String(value) => Ok(Value::String { timestamp, value: value.clone() }),
        _ => Err(EvalError::Execution("unexpected error: not a string".to_string())),
    }
}

fn scalar(values: Vec<f64>, grid: Grid, is_instant: bool) -> Value {
    if is_instant {
        let value = values.first().copied().unwrap_or(f64::NAN);
        return Value::Scalar { timestamp: grid.start, value };
    }
    let floats: Vec<(i64, f64)> = grid.times().zip(values).collect();
    match floats.is_empty() {
        true => Value::Matrix(Vec::new()),
        false => {
            Value::Matrix(vec![MatrixSeries { labels: Labels::empty(), floats, histograms: Vec::new() }])
        }
    }
}

fn vector(series: Vec<MatrixSeries>, timestamp: i64) -> Value {
    let sample = |series: MatrixSeries| {
        let value = match (series.histograms.into_iter().next(), series.floats.first()) {
            (Some((_, histogram)), _) => SampleValue::Histogram(histogram),
            (None, Some((_, value))) => SampleValue::Float(*value),
            (None, None) => return None,
        };
        Some(VectorSample { labels: series.labels, timestamp, value })
    };
    Value::Vector(series.into_iter().filter_map(sample).collect())
}

/// By labels. Often they are in this order already.
fn sorted(mut series: Vec<MatrixSeries>) -> Value {
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Value::Matrix(series)
}

/// Makes series of rows. Rows that are the same once their names are gone are put together, if they are nowhere
/// there at once.
struct Collector {
    times: Vec<i64>,
    series: Vec<MatrixSeries>,
    places: HashMap<SeriesId, usize>,
}

impl Collector {
    fn new(grid: Grid) -> Collector {
        Collector { times: grid.times().collect(), series: Vec::new(), places: HashMap::new() }
    }

    fn take(&mut self, row: &Row<'_>) -> Result<(), EvalError> {
        let labels = if row.drop_name { row.labels.without(is_metadata) } else { row.labels.clone() };
        let next = self.series.len();
        let place = *self.places.entry(labels.id()).or_insert(next);
        if place == next {
            let floats = Vec::with_capacity(row.floats.len());
            self.series.push(MatrixSeries { labels, floats, histograms: Vec::new() });
        }
        let into = &mut self.series[place];
        let present = self.times.iter().zip(row.floats.iter()).filter(|(_, v)| !is_empty_cell(**v));
        into.floats.extend(present.map(|(time, value)| (*time, *value)));
        for (time, cell) in self.times.iter().zip(row.histograms.iter()) {
            if let Some(histogram) = cell {
                into.histograms.push((*time, to_model(histogram)));
            }
        }
        if place == next { Ok(()) } else { put_in_order(into) }
    }

    fn finish(mut self) -> Vec<MatrixSeries> {
        self.series.retain(|series| !series.floats.is_empty() || !series.histograms.is_empty());
        self.series
    }
}

fn put_in_order(series: &mut MatrixSeries) -> Result<(), EvalError> {
    series.floats.sort_by_key(|(time, _)| *time);
    series.histograms.sort_by_key(|(time, _)| *time);
    let collides = series.floats.windows(2).any(|pair| pair[0].0 == pair[1].0)
        || series.histograms.windows(2).any(|pair| pair[0].0 == pair[1].0);
    if collides { Err(duplicate_labels()) } else { Ok(()) }
}

fn to_model(histogram: &Arc<FloatHistogram>) -> Arc<Histogram> {
    Arc::new(FloatHistogram::clone(histogram).into_model())
}
