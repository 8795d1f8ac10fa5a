//! From rows to the value of the query: names that were to go are gone, times are put to the cells.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Histogram, Labels, MatrixSeries, SampleValue, SeriesId, Value, VectorSample, is_empty_cell};

use super::decode::histogram_bytes;
use super::range::{InstantRange, Source, is_range};
use super::vector::duplicate_labels;
use super::{EvalError, Evaluator, Grid, PLACE_BYTES, Row, unparen};
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
                let mut collector = Collector::new(self, grid);
                self.rows(expr, grid, &mut |row| collector.take(&row))?;
                let series = collector.finish();
                Ok(if is_instant { vector(series, grid.start) } else { sorted(series) })
            }
        }
    }

    fn instant_matrix(&self, expr: &Expr, grid: Grid) -> Result<Value, EvalError> {
        let expr = unparen(expr);
        debug_assert!(is_range(expr), "only selectors and subqueries are range vectors");
        if let ExprKind::Subquery(subquery) = &expr.kind {
            let (inner, (mut rows, counted)) = self.subquery(subquery, grid)?;
            self.samples().whole_subquery(&counted);
            let mut collector = Collector::new(self, inner);
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
                let series = MatrixSeries { labels: track.labels.clone(), floats, histograms };
                self.held
                    .add((series.floats.len() + series.histograms.len()) as u64, series_bytes(&series))?;
                found.push(series);
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

/// By labels, of which no two are alike. Often they are in this order already.
fn sorted(mut series: Vec<MatrixSeries>) -> Value {
    series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
    Value::Matrix(series)
}

/// Makes series of rows. Rows that are the same once their names are gone are put together, if they are nowhere
/// there at once.
struct Collector<'e> {
    evaluator: &'e Evaluator<'e>,
    times: Vec<i64>,
    series: Vec<MatrixSeries>,
    places: Places,
}

/// Where a series of the result lies, by its labels.
#[derive(Default)]
struct Places {
    /// Filled from when on the rows do not come in the order of their labels any more: until then each is new.
    by_id: Option<HashMap<SeriesId, usize>>,
}

impl Places {
    /// The place of these labels, the next one if they are new.
    fn of(&mut self, labels: &Labels, series: &[MatrixSeries]) -> usize {
        let next = series.len();
        let by_id = match &mut self.by_id {
            Some(by_id) => by_id,
            None if series.last().is_none_or(|last| last.labels < *labels) => return next,
            None => {
                let known = series.iter().enumerate().map(|(place, series)| (series.labels.id(), place));
                self.by_id.insert(known.collect())
            }
        };
        *by_id.entry(labels.id()).or_insert(next)
    }
}

impl<'e> Collector<'e> {
    fn new(evaluator: &'e Evaluator<'e>, grid: Grid) -> Collector<'e> {
        let times = grid.times().collect();
        Collector { evaluator, times, series: Vec::new(), places: Places::default() }
    }

    fn take(&mut self, row: &Row<'_>) -> Result<(), EvalError> {
        let labels = if row.drop_name { row.labels.without(is_metadata) } else { row.labels.clone() };
        let next = self.series.len();
        let place = self.places.of(&labels, &self.series);
        let n_floats = row.floats.iter().filter(|v| !is_empty_cell(**v)).count();
        if place == next {
            let bytes = size_of::<MatrixSeries>() + PLACE_BYTES + labels.run().len();
            self.evaluator.hold_bytes(bytes)?;
            self.series.push(MatrixSeries { labels, floats: Vec::new(), histograms: Vec::new() });
        }
        let into = &mut self.series[place];
        self.evaluator.held.add(row.floats.len() as u64, (n_floats * size_of::<(i64, f64)>()) as u64)?;
        into.floats.reserve_exact(n_floats);
        let present = self.times.iter().zip(row.floats.iter()).filter(|(_, v)| !is_empty_cell(**v));
        into.floats.extend(present.map(|(time, value)| (*time, *value)));
        for (time, cell) in self.times.iter().zip(row.histograms.iter()) {
            if let Some(histogram) = cell {
                self.evaluator.hold_bytes(histogram_bytes(histogram))?;
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

fn series_bytes(series: &MatrixSeries) -> u64 {
    let samples = size_of::<(i64, f64)>() * (series.floats.len() + series.histograms.len());
    (size_of::<MatrixSeries>() + series.labels.run().len() + samples) as u64
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
