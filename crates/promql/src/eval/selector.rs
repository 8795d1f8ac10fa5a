use std::sync::Arc;

use model::{Labels, is_stale};

use super::{Cell, Decoded, EvalError, Evaluator, Grid, Row, Sink, empty_cells};
use crate::ast::{RangeMode, Span, VectorSelector};
use crate::functions::labels::to_go;
use crate::functions::smooth;
use crate::plan::offset_ms;

/// Where on the axis of time a selector looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reference {
    /// The fixed time of `@`.
    pub(crate) at: Option<i64>,
    pub(crate) offset: i64,
}

/// What a selector finds for a step.
#[derive(Clone, Copy)]
enum Found<'d> {
    Nothing,
    Float { time: i64, value: f64 },
    Histogram { time: i64, start: i64, histogram: &'d Arc<crate::histogram::FloatHistogram> },
}

/// What of a found sample is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aspect {
    Time,
    /// The time; only floats are acceptable.
    FloatTime,
    StartTime,
}

impl Reference {
    /// The time looked at from a step at `time`.
    pub(crate) fn of(self, time: i64) -> i64 {
        self.at.unwrap_or(time).saturating_sub(self.offset)
    }
}

impl Evaluator<'_> {
    pub(crate) fn reference(&self, selector: &VectorSelector) -> Reference {
        Reference { at: selector.at.map(|at| self.plan.at_ms(at)), offset: offset_ms(&selector.offset) }
    }

    /// The series that were selected for the selector at a place.
    pub(crate) fn selected(&self, place: Span) -> Result<&[Decoded<'_>], EvalError> {
        let missing =
            || EvalError::Execution("unexpected error: the series of a selector are missing".into());
        let place = self.plan.place(place).ok_or_else(missing)?;
        let part = self.data.get(self.part.get()).ok_or_else(missing)?;
        let selected = part.get(place.select).ok_or_else(missing)?;
        Ok(if place.totals_only { &selected.totals } else { &selected.whole })
    }

    pub(crate) fn selector_rows(
        &self,
        selector: &VectorSelector,
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let reference = self.reference(selector);
        let lookback = self.plan.options.lookback_ms;
        if selector.range_mode == RangeMode::Smoothed {
            return smooth::selector_rows(self, self.selected(span)?, reference, span, grid, sink);
        }
        let mut floats = empty_cells(grid.steps);
        let mut histograms: Vec<Cell> = Vec::new();
        for series in self.selected(span)? {
            self.plan.options.check()?;
            histograms.clear();
            let found = match series.histograms.is_empty() {
                true => fill_floats(series, reference, lookback, grid, &mut floats),
                false => fill_mixed(series, reference, lookback, grid, &mut floats, &mut histograms),
            };
            if !found {
                continue;
            }
            self.count(&floats, &histograms);
            sink(Row {
                labels: series.labels,
                drop_name: false,
                floats: &mut floats,
                histograms: &mut histograms,
            })?;
        }
        Ok(())
    }

    /// `timestamp(selector)` and `start_timestamp(selector)`: when the found samples were taken. Beside `@` Prometheus
    /// forgets the offset here once the samples are loaded: the newest of those loaded is taken, if it is not too old at
    /// the time of `@`.
    pub(crate) fn time_rows(
        &self,
        selector: &VectorSelector,
        span: Span,
        aspect: Aspect,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let reference = self.reference(selector);
        let lookback = self.plan.options.lookback_ms;
        let (reference, lookback) = match reference.at {
            Some(_) => {
                let near = Reference { offset: reference.offset.max(0), ..reference };
                (near, lookback.saturating_sub(reference.offset.saturating_abs()))
            }
            None => (reference, lookback),
        };
        self.sample_times(span, (reference, lookback), aspect, grid, sink)
    }

    /// The same for the series that were selected for a place of the query.
    pub(crate) fn sample_times(
        &self,
        span: Span,
        (reference, lookback): (Reference, i64),
        aspect: Aspect,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let mut floats = empty_cells(grid.steps);
        for series in self.selected(span)? {
            let mut any = false;
            let mut finder = Finder::new(series, lookback);
            for (cell, time) in floats.iter_mut().zip(grid.times()) {
                let (taken, start) = match finder.find(reference.of(time)) {
                    Found::Nothing => {
                        *cell = f64::from_bits(model::EMPTY);
                        continue;
                    }
                    Found::Float { time, .. } => (time, start_of(series, time)),
                    Found::Histogram { .. } if aspect == Aspect::FloatTime => {
                        return Err(EvalError::Execution(format!(
                            "this should be an info metric, with float samples: {}",
                            to_go(series.labels)
                        )));
                    }
                    Found::Histogram { time, start, .. } => (time, start),
                };
                any = true;
                let asked = if aspect == Aspect::StartTime { start } else { taken };
                *cell = asked as f64 / 1000.0;
            }
            if any {
                self.count(&floats, &[]);
                let labels: &Labels = series.labels;
                sink(Row { labels, drop_name: true, floats: &mut floats, histograms: &mut [] })?;
            }
        }
        Ok(())
    }

    fn count(&self, floats: &[f64], histograms: &[Cell]) {
        let mut samples = self.samples();
        let looked_at = samples.looked_at();
        for (count, value) in looked_at.iter_mut().zip(floats) {
            *count += u64::from(!model::is_empty_cell(*value));
        }
        for (count, cell) in looked_at.iter_mut().zip(histograms) {
            *count += cell.as_ref().map_or(0, |histogram| super::decode::weight(histogram));
        }
    }
}

/// For each step the newest float at or before the reference time, not older than the lookback, not stale.
fn fill_floats(
    series: &Decoded<'_>,
    reference: Reference,
    lookback: i64,
    grid: Grid,
    cells: &mut [f64],
) -> bool {
    let (times, values) = (series.times, series.values);
    let mut any = false;
    let mut after = times.partition_point(|t| *t <= reference.of(grid.start));
    for (cell, time) in cells.iter_mut().zip(grid.times()) {
        let at = reference.of(time);
        while after < times.len() && times[after] <= at {
            after += 1;
        }
        let found =
            after > 0 && times[after - 1] > at.saturating_sub(lookback) && !is_stale(values[after - 1]);
        *cell = if found { values[after - 1] } else { f64::from_bits(model::EMPTY) };
        any |= found;
    }
    any
}

fn fill_mixed(
    series: &Decoded<'_>,
    reference: Reference,
    lookback: i64,
    grid: Grid,
    floats: &mut [f64],
    histograms: &mut Vec<Cell>,
) -> bool {
    let mut finder = Finder::new(series, lookback);
    let mut any = false;
    histograms.resize(grid.steps, None);
    for (step, time) in grid.times().enumerate() {
        floats[step] = f64::from_bits(model::EMPTY);
        match finder.find(reference.of(time)) {
            Found::Nothing => continue,
            Found::Float { value, .. } => floats[step] = value,
            Found::Histogram { histogram, .. } => histograms[step] = Some(Arc::clone(histogram)),
        }
        any = true;
    }
    any
}

/// Walks along a series with floats and histograms; times asked for must not go back.
struct Finder<'s, 'd> {
    series: &'s Decoded<'d>,
    lookback: i64,
    floats_before: usize,
    histograms_before: usize,
}

impl<'s, 'd> Finder<'s, 'd> {
    fn new(series: &'s Decoded<'d>, lookback: i64) -> Finder<'s, 'd> {
        Finder { series, lookback, floats_before: 0, histograms_before: 0 }
    }

    fn find(&mut self, at: i64) -> Found<'s> {
        let Decoded { times, values, histograms, .. } = self.series;
        while self.floats_before < times.len() && times[self.floats_before] <= at {
            self.floats_before += 1;
        }
        while self.histograms_before < histograms.len() && histograms[self.histograms_before].time <= at {
            self.histograms_before += 1;
        }
        let float = self.floats_before.checked_sub(1).map(|i| (times[i], values[i]));
        let histogram = self.histograms_before.checked_sub(1).map(|i| &histograms[i]);
        let oldest = at.saturating_sub(self.lookback);
        match (float, histogram) {
            (Some((time, value)), newer) if newer.is_none_or(|h| h.time < time) => {
                if time <= oldest || is_stale(value) {
                    return Found::Nothing;
                }
                Found::Float { time, value }
            }
            (_, Some(found)) if found.time > oldest && !found.is_stale => {
                Found::Histogram { time: found.time, start: found.start, histogram: &found.histogram }
            }
            _ => Found::Nothing,
        }
    }
}

fn start_of(series: &Decoded<'_>, time: i64) -> i64 {
    match series.starts.binary_search_by_key(&time, |(at, _)| *at) {
        Ok(index) => series.starts[index].1,
        Err(_) => 0,
    }
}
