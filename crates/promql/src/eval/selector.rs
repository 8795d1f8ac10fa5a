use std::sync::Arc;

use model::{EMPTY, Labels, is_empty_cell, is_stale};

use super::timelines::{ByTimeline, Computed};
use super::{Cell, Decoded, EvalError, Evaluator, Grid, Row, Sink, empty_cells};
use crate::ast::{RangeMode, Span, VectorSelector};
use crate::functions::labels::to_go;
use crate::functions::smooth;
use crate::plan::offset_ms;

/// What a series costs beside its cells, in cells.
const PER_SERIES: usize = 16;

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

/// Where in a list of times the steps look.
struct Look {
    /// By step, the index of the newest time, or of any where that is too old.
    at: Vec<u32>,
    /// The steps for which there is none.
    absent: Vec<u32>,
    /// How many series were looked at and have not been counted yet.
    n_uncounted: u64,
}

impl Look {
    /// What a step takes at most.
    const BYTES: usize = 2 * size_of::<u32>();

    fn new(times: &[i64], reference: Reference, lookback: i64, grid: Grid) -> Look {
        let mut look = Look { at: Vec::with_capacity(grid.steps), absent: Vec::new(), n_uncounted: 0 };
        let mut after = times.partition_point(|t| *t <= reference.of(grid.start));
        for (step, time) in grid.times().enumerate() {
            let at = reference.of(time);
            while after < times.len() && times[after] <= at {
                after += 1;
            }
            if after == 0 || times[after - 1] <= at.saturating_sub(lookback) {
                look.absent.push(step as u32);
            }
            look.at.push(after.saturating_sub(1) as u32);
        }
        look
    }

    /// Writes the values looked at. Whether one of them is stale, and so not there.
    fn gather(&self, values: &[f64], cells: &mut [f64]) -> bool {
        let mut is_any_stale = false;
        for (cell, at) in cells.iter_mut().zip(&self.at) {
            *cell = values[*at as usize];
            is_any_stale |= is_stale(*cell);
        }
        if is_any_stale {
            cells.iter_mut().filter(|cell| is_stale(**cell)).for_each(|cell| *cell = f64::from_bits(EMPTY));
        }
        self.absent.iter().for_each(|step| cells[*step as usize] = f64::from_bits(EMPTY));
        is_any_stale
    }

    fn count(&mut self, looked_at: &mut [u64]) {
        let n_series = std::mem::take(&mut self.n_uncounted);
        looked_at.iter_mut().for_each(|n| *n += n_series);
        self.absent.iter().for_each(|step| looked_at[*step as usize] -= n_series);
    }
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
        let mut looks = ByTimeline::new(self.lease(0)?);
        for series in self.selected(span)? {
            self.check_after(grid.steps + PER_SERIES)?;
            histograms.clear();
            let found = match series.histograms.is_empty() {
                true => self.gather(series, reference, grid, &mut looks, &mut floats)?,
                false => {
                    let found = fill_mixed(series, reference, lookback, grid, &mut floats, &mut histograms);
                    self.count(&floats, &histograms);
                    found
                }
            };
            if !found {
                continue;
            }
            sink(Row {
                labels: series.labels,
                drop_name: false,
                floats: &mut floats,
                histograms: &mut histograms,
            })?;
        }
        looks.kept().for_each(|look| look.count(self.samples().looked_at()));
        Ok(())
    }

    /// For each step the newest float at or before the reference time, not older than the lookback, not stale. Whether
    /// there is one at all.
    fn gather(
        &self,
        series: &Decoded<'_>,
        reference: Reference,
        grid: Grid,
        looks: &mut ByTimeline<'_, Look>,
        cells: &mut [f64],
    ) -> Result<bool, EvalError> {
        if series.times.is_empty() {
            return Ok(false);
        }
        let compute = || Look::new(series.times, reference, self.plan.options.lookback_ms, grid);
        let (look, is_kept) =
            match looks.of((series.timeline, series.times), (grid.steps, Look::BYTES), compute)? {
                Computed::Kept(look) => (look, true),
                Computed::Loose(look) => (look, false),
            };
        if look.absent.len() == cells.len() {
            return Ok(false);
        }
        let is_any_stale = look.gather(series.values, cells);
        if is_any_stale || !is_kept {
            self.count(cells, &[]);
            return Ok(!is_any_stale || cells.iter().any(|cell| !is_empty_cell(*cell)));
        }
        look.n_uncounted += 1;
        Ok(true)
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
                        *cell = f64::from_bits(EMPTY);
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
            *count += u64::from(!is_empty_cell(*value));
        }
        for (count, cell) in looked_at.iter_mut().zip(histograms) {
            *count += cell.as_ref().map_or(0, |histogram| super::decode::weight(histogram));
        }
    }
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
        floats[step] = f64::from_bits(EMPTY);
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
