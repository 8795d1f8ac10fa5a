//! `histogram_*`: of native histograms, and of classic ones, which are rows that differ in `le` only.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Labels, SeriesId, is_empty_cell};

use super::{argument, scalar_argument, string_argument};
use crate::annotations::{MonotonicityRepair, Notice};
use crate::ast::{Call, Expr, Span};
use crate::eval::{EvalError, Evaluator, Grid, Lease, PLACE_BYTES, Row, Sink, Vector, empty_cells};
use crate::histogram::classic::{ClassicBucket, bucket_fraction, bucket_quantile, parse_bound};
use crate::histogram::{self, FloatHistogram, QuantileNote};
use crate::number::{open_metrics, shortest};

/// The label with the upper bound of a bucket.
const BOUND: &str = "le";

/// The histograms of a vector.
struct Histograms<'e> {
    evaluator: &'e Evaluator<'e>,
    /// Where notices about them point to.
    at: Span,
    rows: Vector,
    /// Rows with native histograms, and the classic histogram with the same labels.
    native: Vec<(usize, Option<usize>)>,
    classic: Vec<Classic>,
    /// For the classic ones.
    room: Lease<'e>,
}

/// A classic histogram: its rows by ascending bound.
struct Classic {
    labels: Labels,
    buckets: Vec<(f64, usize)>,
    /// The native histogram with the same labels.
    twin: Option<usize>,
}

impl<'e> Histograms<'e> {
    fn of(evaluator: &'e Evaluator<'e>, arg: &Expr, grid: Grid) -> Result<Histograms<'e>, EvalError> {
        let rows = evaluator.vector(arg, grid)?;
        let (native, classic, room) = (Vec::new(), Vec::new(), evaluator.lease(0)?);
        let mut histograms = Histograms { evaluator, at: arg.span, rows, native, classic, room };
        let mut known: HashMap<SeriesId, usize> = HashMap::new();
        for row in 0..histograms.rows.len() {
            if histograms.rows.histograms(row).iter().any(Option::is_some) {
                histograms.native.push((row, None));
            }
            if histograms.rows.floats(row).iter().any(|v| !is_empty_cell(*v)) {
                histograms.add_bucket(row, &mut known)?;
            }
        }
        for classic in &mut histograms.classic {
            classic.buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        }
        for (index, (row, twin)) in histograms.native.iter_mut().enumerate() {
            *twin = known.get(&histograms.rows.head(*row).labels.id()).copied();
            if let Some(classic) = twin {
                histograms.classic[*classic].twin = Some(index);
            }
        }
        histograms.note_mixed();
        Ok(histograms)
    }

    fn add_bucket(&mut self, row: usize, known: &mut HashMap<SeriesId, usize>) -> Result<(), EvalError> {
        let labels = &self.rows.head(row).labels;
        let bound = labels.get(BOUND).unwrap_or_default();
        let Some(upper) = parse_bound(bound) else {
            let metric = metric(labels);
            self.evaluator.note(Notice::BadBucketLabel { metric, label: bound.to_string() }, self.at);
            return Ok(());
        };
        let labels = labels.without(|name| name == BOUND);
        let mut bytes = size_of::<(f64, usize)>();
        let classic = *known.entry(labels.id()).or_insert_with(|| {
            bytes += size_of::<Classic>() + PLACE_BYTES + labels.run().len();
            self.classic.push(Classic { labels, buckets: Vec::new(), twin: None });
            self.classic.len() - 1
        });
        self.classic[classic].buckets.push((upper, row));
        self.room.grow(bytes)
    }

    /// A native histogram beside a classic one: neither is looked at where both are.
    fn note_mixed(&self) {
        for (row, classic) in self.native.iter().filter_map(|(row, twin)| Some((*row, (*twin)?))) {
            if (0..self.rows.steps()).any(|step| self.is_mixed(row, classic, step)) {
                self.evaluator.note(Notice::MixedClassicNative(metric(&self.rows.head(row).labels)), self.at);
            }
        }
    }

    fn is_mixed(&self, native: usize, classic: usize, step: usize) -> bool {
        let mut buckets = self.classic[classic].buckets.iter();
        self.rows.histogram_at(native, step).is_some()
            && buckets.any(|(_, row)| !is_empty_cell(self.rows.float_at(*row, step)))
    }

    /// Computes a row for each native histogram and one for each classic one.
    fn emit(
        &self,
        of_native: &dyn Fn(usize, &Arc<FloatHistogram>, &Labels) -> f64,
        of_classic: &dyn Fn(usize, &mut Vec<ClassicBucket>, &Labels) -> f64,
        relabel: &dyn Fn(&Labels) -> Labels,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let mut floats = empty_cells(self.rows.steps());
        for (row, twin) in &self.native {
            let labels = &self.rows.head(*row).labels;
            for (step, cell) in floats.iter_mut().enumerate() {
                let is_mixed = twin.is_some_and(|classic| self.is_mixed(*row, classic, step));
                *cell = match self.rows.histogram_at(*row, step) {
                    Some(histogram) if !is_mixed => of_native(step, histogram, labels),
                    _ => f64::from_bits(model::EMPTY),
                };
            }
            emit_floats(&relabel(labels), &mut floats, sink)?;
        }
        let mut buckets = Vec::new();
        for (index, classic) in self.classic.iter().enumerate() {
            for (step, cell) in floats.iter_mut().enumerate() {
                let is_mixed =
                    classic.twin.is_some_and(|twin| self.is_mixed(self.native[twin].0, index, step));
                buckets.clear();
                buckets.extend(classic.buckets.iter().filter_map(|(upper, row)| {
                    let count = self.rows.float_at(*row, step);
                    (!is_empty_cell(count)).then_some(ClassicBucket { upper: *upper, count })
                }));
                *cell = match buckets.is_empty() || is_mixed {
                    true => f64::from_bits(model::EMPTY),
                    false => of_classic(step, &mut buckets, &classic.labels),
                };
            }
            emit_floats(&relabel(&classic.labels), &mut floats, sink)?;
        }
        Ok(())
    }

    fn quantiles(
        &self,
        qs: &[f64],
        grid: Grid,
        relabel: &dyn Fn(&Labels) -> Labels,
        says_repairs: &dyn Fn(usize) -> bool,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let of_native = |step: usize, histogram: &Arc<FloatHistogram>, labels: &Labels| {
            let (value, note) = histogram::histogram_quantile(qs[step], histogram);
            match note {
                Some(QuantileNote::NanResult) => {
                    self.evaluator.note(Notice::QuantileNanResult(metric(labels)), self.at);
                }
                Some(QuantileNote::NanSkew) => {
                    self.evaluator.note(Notice::QuantileNanSkew(metric(labels)), self.at);
                }
                None => {}
            }
            value
        };
        let of_classic = |step: usize, buckets: &mut Vec<ClassicBucket>, labels: &Labels| {
            let quantile = bucket_quantile(qs[step], buckets);
            if let Some(forced) = quantile.forced.filter(|_| says_repairs(step)) {
                let time = grid.start + step as i64 * grid.interval;
                let repair = MonotonicityRepair {
                    first_ms: time,
                    last_ms: time,
                    min_bucket: forced.min_bucket,
                    max_bucket: forced.max_bucket,
                    max_diff: forced.max_diff,
                };
                self.evaluator.notices().add_repair(&metric(labels), self.at, repair);
            }
            quantile.value
        };
        self.emit(&of_native, &of_classic, relabel, sink)
    }
}

pub(super) fn quantile(
    evaluator: &Evaluator<'_>,
    call: &Call,
    grid: Grid,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    let qs = scalar_argument(evaluator, call, 0, grid)?;
    note_invalid(evaluator, &qs, argument(call, 0)?.span);
    let histograms = Histograms::of(evaluator, argument(call, 1)?, grid)?;
    histograms.quantiles(&qs, grid, &Labels::clone, &|_| true, sink)?;
    evaluator.release(histograms.rows);
    Ok(())
}

pub(super) fn quantiles(
    evaluator: &Evaluator<'_>,
    call: &Call,
    grid: Grid,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    let label = string_argument(call, 1)?;
    let histograms = Histograms::of(evaluator, argument(call, 0)?, grid)?;
    // Steps whose buckets a quantile has made monotonic: they are so for the quantiles that follow.
    let mut repaired = vec![false; grid.steps];
    for index in 2..call.args.len() {
        let qs = scalar_argument(evaluator, call, index, grid)?;
        note_invalid(evaluator, &qs, argument(call, index)?.span);
        // Quantiles that change over time make a row each.
        let mut distinct = qs.clone();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup_by(|a, b| a.to_bits() == b.to_bits());
        for (pass, q) in distinct.into_iter().enumerate() {
            let text = open_metrics(q);
            let relabel = |labels: &Labels| {
                let mut builder = labels.builder();
                builder.set(label, &text);
                builder.build()
            };
            let says_repairs = |step: usize| pass == 0 && !repaired[step];
            histograms.quantiles(&qs, grid, &relabel, &says_repairs, &mut |row| {
                for (cell, at_step) in row.floats.iter_mut().zip(&qs) {
                    if at_step.to_bits() != q.to_bits() {
                        *cell = f64::from_bits(model::EMPTY);
                    }
                }
                sink(row)
            })?;
        }
        repaired.iter_mut().zip(&qs).for_each(|(repaired, q)| *repaired |= (0.0..=1.0).contains(q));
    }
    evaluator.release(histograms.rows);
    Ok(())
}

pub(super) fn fraction(
    evaluator: &Evaluator<'_>,
    call: &Call,
    grid: Grid,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    let lower = scalar_argument(evaluator, call, 0, grid)?;
    let upper = scalar_argument(evaluator, call, 1, grid)?;
    let arg = argument(call, 2)?;
    let histograms = Histograms::of(evaluator, arg, grid)?;
    let of_native = |step: usize, histogram: &Arc<FloatHistogram>, labels: &Labels| {
        let (value, has_nans) = histogram::histogram_fraction(lower[step], upper[step], histogram);
        if has_nans {
            evaluator.note(Notice::FractionNans(metric(labels)), arg.span);
        }
        value
    };
    let of_classic = |step: usize, buckets: &mut Vec<ClassicBucket>, _: &Labels| {
        bucket_fraction(lower[step], upper[step], buckets)
    };
    histograms.emit(&of_native, &of_classic, &Labels::clone, sink)?;
    evaluator.release(histograms.rows);
    Ok(())
}

/// `histogram_count`, `histogram_sum`, …: a number of each native histogram.
pub(super) fn statistic(
    evaluator: &Evaluator<'_>,
    call: &Call,
    grid: Grid,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    let of: fn(&FloatHistogram) -> f64 = match call.func.name {
        "histogram_count" => histogram::histogram_count,
        "histogram_sum" => histogram::histogram_sum,
        "histogram_avg" => histogram::histogram_avg,
        "histogram_stddev" => histogram::histogram_stddev,
        _ => histogram::histogram_stdvar,
    };
    let mut floats = empty_cells(grid.steps);
    evaluator.rows(argument(call, 0)?, grid, &mut |row| {
        if !row.has_histograms() {
            return Ok(());
        }
        for (float, cell) in floats.iter_mut().zip(row.histograms.iter()) {
            *float = cell.as_ref().map_or(f64::from_bits(model::EMPTY), |histogram| of(histogram));
        }
        emit_floats(row.labels, &mut floats, sink)
    })
}

fn emit_floats(labels: &Labels, floats: &mut [f64], sink: &mut Sink<'_>) -> Result<(), EvalError> {
    let row = Row { labels, drop_name: true, floats, histograms: &mut [] };
    if row.is_empty() { Ok(()) } else { sink(row) }
}

fn note_invalid(evaluator: &Evaluator<'_>, qs: &[f64], at: Span) {
    for q in qs.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
        evaluator.note(Notice::InvalidQuantile(shortest(*q)), at);
    }
}

fn metric(labels: &Labels) -> String {
    labels.metric_name().unwrap_or_default().to_string()
}
