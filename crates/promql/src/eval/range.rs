use std::ops::Range;

use model::{EMPTY, is_empty_cell};

use super::selector::Reference;
use super::tally::{Tally, Use};
use super::timelines::{ByTimeline, Computed};
use super::windows::Windows;
use super::{Cell, EvalError, Evaluator, Grid, Row, Sink, Steps, Track, Vector, empty_cells, unparen};
use crate::annotations::Notice;
use crate::ast::{Call, Expr, ExprKind, RangeMode, Span, Subquery};
use crate::functions::window::{ArgumentCheck, FloatRow, Outcome, RangeFunction, Window};
use crate::plan::{millis, offset_ms};

/// More steps than a range query over HTTP may have; what is known of a window takes more room than a cell.
const KNOWN_STEPS: usize = 1 << 14;

/// What the samples of a subquery take per step besides its rows: the time, and those of the row at hand.
const SOURCE_BYTES: usize = 4 * size_of::<i64>();

/// Where the samples of a range come from and how far it reaches.
pub(crate) struct Source {
    pub(crate) reference: Reference,
    pub(crate) range_ms: i64,
    pub(crate) mode: RangeMode,
    samples: Samples,
}

enum Samples {
    /// The series selected for the selector at a place.
    Selected(Span),
    /// The rows of a subquery at its own times.
    Computed { times: Vec<i64>, rows: Vector },
}

/// The times a window covers.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Left out.
    start: i64,
    /// Taken in.
    end: i64,
    /// Where samples are taken from, which exceeds the window for `anchored` and `smoothed`.
    reach: (i64, i64),
}

/// The samples of a series in the range that ends at an instant.
pub(super) struct InstantRange<'t> {
    pub(super) track: &'t Track<'t>,
    /// Indexes into the track's floats.
    pub(super) floats: Range<usize>,
    /// Indexes into the track's histograms.
    pub(super) histograms: Range<usize>,
    /// Where the range starts and ends.
    pub(super) borders: (i64, i64),
}

impl Source {
    /// Whether its samples are read where they are stored; those of a subquery were counted when it was evaluated.
    fn is_read(&self) -> bool {
        matches!(self.samples, Samples::Selected(_))
    }

    fn bounds(&self, time: i64, lookback: i64) -> Bounds {
        let end = self.reference.of(time);
        let start = end.saturating_sub(self.range_ms);
        let reach = match self.mode {
            RangeMode::Normal => (start, end),
            RangeMode::Anchored => (start.saturating_sub(lookback), end),
            RangeMode::Smoothed => (start.saturating_sub(lookback), end.saturating_add(lookback)),
        };
        Bounds { start, end, reach }
    }
}

impl Evaluator<'_> {
    /// Evaluates the range argument of a call as far as it must be before its windows can slide.
    pub(crate) fn range_source(&self, arg: &Expr, grid: Grid) -> Result<Source, EvalError> {
        match &unparen(arg).kind {
            ExprKind::Matrix(matrix) => Ok(Source {
                reference: self.reference(&matrix.selector),
                range_ms: millis(&matrix.range),
                mode: matrix.selector.range_mode,
                samples: Samples::Selected(matrix.selector_span),
            }),
            ExprKind::Subquery(subquery) => {
                let (inner, (rows, counted)) = self.subquery(subquery, grid)?;
                self.hold_bytes(SOURCE_BYTES * inner.steps)?;
                let (offset, range_ms) = (offset_ms(&subquery.offset), millis(&subquery.range));
                self.samples().used_subquery(inner, &counted, Use { grid, offset_ms: offset, range_ms });
                Ok(Source {
                    reference: Reference { at: subquery.at.map(|at| self.plan.at_ms(at)), offset },
                    range_ms,
                    mode: RangeMode::Normal,
                    samples: Samples::Computed { times: inner.times().collect(), rows },
                })
            }
            _ => Err(EvalError::Execution("unexpected error: not a range vector".to_string())),
        }
    }

    /// Evaluates a subquery at its own times, and what it looked at by them.
    pub(crate) fn subquery(
        &self,
        subquery: &Subquery,
        grid: Grid,
    ) -> Result<(Grid, (Vector, Tally)), EvalError> {
        let interval = match &subquery.step {
            Some(step) if millis(step) != 0 => millis(step),
            _ => self.plan.options.subquery_step_ms,
        };
        let at = subquery.at.map(|at| self.plan.at_ms(at));
        let offset = offset_ms(&subquery.offset);
        let before = at.unwrap_or(grid.start).saturating_sub(offset).saturating_sub(millis(&subquery.range));
        // The first multiple of the step within the range, whose start is left out. The quotient is cut off
        // toward zero, and below zero that is a multiple within the range already.
        let mut start = interval * (before / interval);
        if start <= before {
            start += interval;
        }
        let inner = Grid::new(start, at.unwrap_or(grid.end()).saturating_sub(offset), interval);
        self.refuse_steps(inner)?;
        // The times, what is counted by them, and a row.
        let _steps = self.lease(4 * size_of::<u64>() * inner.steps)?;
        let evaluated = self.counting(inner.steps, || self.vector(&subquery.expr, inner))?;
        Ok((inner, evaluated))
    }

    /// Shows each series of a source to `visit`.
    pub(crate) fn tracks(
        &self,
        source: &Source,
        visit: &mut dyn FnMut(&Track<'_>) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        match &source.samples {
            Samples::Selected(place) => {
                for series in self.selected(*place)? {
                    self.check_after(series.times.len())?;
                    visit(&series.track())?;
                }
            }
            Samples::Computed { times, rows } => {
                for index in 0..rows.len() {
                    let head = rows.head(index);
                    let cells = (rows.floats(index), rows.histograms(index));
                    visit(&Track::of_row(&head.labels, head.drop_name, times, cells.0, cells.1))?;
                }
            }
        }
        Ok(())
    }

    /// Gives back what a source held.
    pub(crate) fn release_source(&self, source: Source) {
        if let Samples::Computed { times, rows } = source.samples {
            self.release(rows);
            self.held.sub(0, (SOURCE_BYTES * times.len()) as u64);
        }
    }

    /// A call of a function over a range vector.
    pub(crate) fn range_rows(
        &self,
        call: &Call,
        function: RangeFunction,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let Some(range_arg) = call.args.iter().position(is_range) else {
            return Err(EvalError::Execution("unexpected error: no range vector".to_string()));
        };
        let source = self.range_source(&call.args[range_arg], grid)?;
        let mut scalars = Vec::new();
        for (index, arg) in call.args.iter().enumerate() {
            if index != range_arg {
                scalars.push(self.scalars(arg, grid)?);
            }
        }
        refuse_mode(call.func.name, source.mode)?;
        let application = Application {
            evaluator: self,
            source: &source,
            function,
            scalars,
            position: argument_position(&call.args[0]),
            grid,
        };
        let mut slide = Slide {
            application,
            keeps_name: matches!(call.func.name, "last_over_time" | "first_over_time"),
            expects_counter: matches!(call.func.name, "rate" | "increase"),
            steps: ByTimeline::new(self.lease(0)?),
            floats: empty_cells(grid.steps),
            histograms: Vec::new(),
        };
        let outcome = self.tracks(&source, &mut |track| slide.row(track, sink));
        slide.count();
        drop(slide);
        self.release_source(source);
        outcome
    }

    /// For which steps there is a sample in the window of any series of a range vector.
    pub(crate) fn present_steps(&self, arg: &Expr, grid: Grid) -> Result<Vec<bool>, EvalError> {
        let source = self.range_source(arg, grid)?;
        refuse_mode("absent_over_time", source.mode)?;
        let mut present = vec![false; grid.steps];
        let lookback = self.plan.options.lookback_ms;
        self.tracks(&source, &mut |track| {
            let mut windows = Windows::new(track);
            let mut samples = self.samples();
            for (step, time) in grid.times().enumerate() {
                let (floats, histograms) = windows.at(source.bounds(time, lookback).reach);
                present[step] |= !floats.is_empty() || !histograms.is_empty();
                let n_read = if source.is_read() { windows.n_new() } else { 0 };
                samples.window(step, windows.weight(&floats, &histograms), n_read);
            }
            Ok(())
        })?;
        self.release_source(source);
        Ok(present)
    }

    /// The samples of the range that ends at an instant, of each series that has some.
    pub(super) fn instant_range(
        &self,
        source: &Source,
        time: i64,
        visit: &mut dyn FnMut(InstantRange<'_>) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let bounds = source.bounds(time, self.plan.options.lookback_ms);
        self.tracks(source, &mut |track| {
            let mut windows = Windows::new(track);
            let (floats, histograms) = windows.at(bounds.reach);
            if let Some(looked_at) = self.samples().looked_at().first_mut() {
                *looked_at += windows.weight(&floats, &histograms);
            }
            visit(InstantRange { track, floats, histograms, borders: (bounds.start, bounds.end) })
        })
    }
}

/// Slides a window along one series after the other.
struct Slide<'s> {
    application: Application<'s>,
    keeps_name: bool,
    expects_counter: bool,
    steps: ByTimeline<'s, Steps>,
    floats: Vec<f64>,
    histograms: Vec<Cell>,
}

/// A function and what it is applied to.
struct Application<'s> {
    evaluator: &'s Evaluator<'s>,
    source: &'s Source,
    function: RangeFunction,
    /// The other arguments, one value per step.
    scalars: Vec<Vec<f64>>,
    position: Span,
    grid: Grid,
}

impl Application<'_> {
    fn window<'w>(
        &'w self,
        track: &'w Track<'w>,
        step: usize,
        bounds: Bounds,
        (floats, histograms): (Range<usize>, Range<usize>),
    ) -> Window<'w> {
        let arg = |index: usize| self.scalars.get(index).map_or(0.0, |values| values[step]);
        Window {
            evaluator: self.evaluator,
            position: self.position,
            track,
            is_floats_only: histograms.is_empty(),
            floats,
            histograms,
            time: self.grid.time(step),
            start: bounds.start,
            end: bounds.end,
            range_ms: self.source.range_ms,
            mode: self.source.mode,
            args: [arg(0), arg(1)],
        }
    }
}

impl Slide<'_> {
    fn row(&mut self, track: &Track<'_>, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        self.histograms.clear();
        if !self.fill(track)? {
            return Ok(());
        }
        if self.expects_counter {
            self.note_doubtful_counter(track);
        }
        sink(Row {
            labels: track.labels,
            drop_name: !self.keeps_name || track.drop_name,
            floats: &mut self.floats,
            histograms: &mut self.histograms,
        })
    }

    /// Computes the row of a series; whether it has samples.
    fn fill(&mut self, track: &Track<'_>) -> Result<bool, EvalError> {
        let Application { source, grid, .. } = &self.application;
        let is_usual = source.mode == RangeMode::Normal && grid.steps <= KNOWN_STEPS;
        let any = match is_usual && track.histograms.is_empty() {
            true => self.fill_by_timeline(track)?,
            false => self.fill_by_windows(track)?,
        };
        if let Some(check) = self.application.function.check {
            self.refuse_bad_arguments(check, track)?;
        }
        Ok(any)
    }

    /// The row of a series of floats, whose windows are known from those before it with the same times.
    fn fill_by_timeline(&mut self, track: &Track<'_>) -> Result<bool, EvalError> {
        let application = &self.application;
        let Application { evaluator, source, function, grid, .. } = *application;
        let compute = || {
            let reach = |time| source.bounds(time, 0).reach;
            Steps::new(&track.times, grid, reach)
        };
        let (steps, is_kept) =
            match self.steps.of((track.timeline, &track.times), (grid.steps, Steps::BYTES), compute)? {
                Computed::Kept(steps) => (steps, true),
                Computed::Loose(steps) => (steps, false),
            };
        evaluator.check_after(grid.steps + steps.n_floats as usize)?;
        steps.n_uncounted += 1;
        if !is_kept {
            steps.count(&mut evaluator.samples(), source.is_read());
        }
        if let Some(row) = function.row.filter(|_| track.starts.is_empty()) {
            let (reference, range_ms) = (source.reference, source.range_ms);
            let args = &application.scalars;
            return Ok(row(&FloatRow { track, steps, grid, reference, range_ms, args }, &mut self.floats));
        }
        let mut any = false;
        for step in 0..grid.steps {
            let floats = steps.window(step);
            self.floats[step] = f64::from_bits(EMPTY);
            if !floats.is_empty() {
                let bounds = source.bounds(grid.time(step), 0);
                let value = (function.floats)(&application.window(track, step, bounds, (floats, 0..0)));
                self.floats[step] = value;
                any |= !is_empty_cell(value);
            }
        }
        Ok(any)
    }

    /// The row of any series, whose windows are found on the way.
    fn fill_by_windows(&mut self, track: &Track<'_>) -> Result<bool, EvalError> {
        let application = &self.application;
        let Application { evaluator, source, function, grid, .. } = *application;
        let lookback = evaluator.plan.options.lookback_ms;
        let mut samples = evaluator.samples();
        let mut windows = Windows::new(track);
        let is_read = source.is_read();
        let mut any = false;
        for step in 0..grid.steps {
            let bounds = source.bounds(grid.time(step), lookback);
            self.floats[step] = f64::from_bits(EMPTY);
            let (floats, histograms) = windows.at(bounds.reach);
            if floats.is_empty() && histograms.is_empty() {
                continue;
            }
            let weight = windows.weight(&floats, &histograms);
            samples.window(step, weight, if is_read { windows.n_new() } else { 0 });
            evaluator.check_after(weight as usize)?;
            let window = application.window(track, step, bounds, (floats, histograms));
            if window.is_floats_only {
                let value = (function.floats)(&window);
                self.floats[step] = value;
                any |= !is_empty_cell(value);
                continue;
            }
            match (function.mixed)(&window) {
                Outcome::Nothing => continue,
                Outcome::Float(value) => self.floats[step] = value,
                Outcome::Histogram(histogram) => {
                    self.histograms.resize(grid.steps, None);
                    self.histograms[step] = Some(histogram);
                }
            }
            any = true;
        }
        Ok(any)
    }

    /// Counts what was not counted on the way.
    fn count(&mut self) {
        let Application { evaluator, source, .. } = &self.application;
        let mut samples = evaluator.samples();
        self.steps.kept().for_each(|steps| steps.count(&mut samples, source.is_read()));
    }

    /// Bad arguments are an error only where there is something to apply them to.
    fn refuse_bad_arguments(&self, check: ArgumentCheck, track: &Track<'_>) -> Result<(), EvalError> {
        let Application { evaluator, source, scalars, grid, .. } = &self.application;
        let lookback = evaluator.plan.options.lookback_ms;
        let mut windows = Windows::new(track);
        for (step, time) in grid.times().enumerate() {
            let (floats, histograms) = windows.at(source.bounds(time, lookback).reach);
            if floats.is_empty() && histograms.is_empty() {
                continue;
            }
            let arg = |index: usize| scalars.get(index).map_or(0.0, |values| values[step]);
            check([arg(0), arg(1)])?;
        }
        Ok(())
    }

    fn note_doubtful_counter(&self, track: &Track<'_>) {
        let Some(metric) = track.labels.metric_name() else { return };
        let is_named_so = ["_total", "_sum", "_count", "_bucket"].iter().any(|end| metric.ends_with(end));
        if !is_named_so && self.floats.iter().any(|v| !is_empty_cell(*v)) {
            let Application { evaluator, position, .. } = self.application;
            evaluator.note(Notice::PossibleNonCounter(metric.to_string()), position);
        }
    }
}

/// Whether an argument is a range vector.
pub(crate) fn is_range(arg: &Expr) -> bool {
    matches!(unparen(arg).kind, ExprKind::Matrix(_) | ExprKind::Subquery(_))
}

/// Where notices about an argument point to. Those about a subquery's samples point to the query's start, as in
/// Prometheus, which replaces a subquery by its samples before it looks at them.
pub(crate) fn argument_position(arg: &Expr) -> Span {
    let arg = unparen(arg);
    match arg.kind {
        ExprKind::Subquery(_) => Span::default(),
        _ => arg.span,
    }
}

fn refuse_mode(function: &str, mode: RangeMode) -> Result<(), EvalError> {
    let (mode, allowed) = match mode {
        RangeMode::Normal => return Ok(()),
        RangeMode::Anchored => ("anchored", &["changes", "delta", "increase", "rate", "resets"][..]),
        RangeMode::Smoothed => ("smoothed", &["delta", "increase", "rate"][..]),
    };
    if allowed.contains(&function) {
        return Ok(());
    }
    let allowed = allowed.join(", ");
    Err(EvalError::Execution(format!(
        "{mode} modifier can only be used with: {allowed} - not with {function}"
    )))
}
