use std::cell::OnceCell;
use std::ops::Range;

use model::{EMPTY, is_empty_cell};

use super::decode::weight;
use super::selector::Reference;
use super::tally::{Tally, Use};
use super::{Cell, EvalError, Evaluator, Grid, Row, Sink, Track, Vector, empty_cells, unparen};
use crate::annotations::Notice;
use crate::ast::{Call, Expr, ExprKind, RangeMode, Span, Subquery};
use crate::functions::window::{ArgumentCheck, Outcome, RangeFunction, Spread, Window};
use crate::plan::{millis, offset_ms};

/// After how many samples one looks at the time: a window may hold a month of them.
const CHECK_EVERY: u64 = 1 << 14;

/// More steps than a range query over HTTP may have; what is computed for a step takes more room than its cell.
const KEPT_STEPS: usize = 1 << 14;

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
                    self.plan.options.check()?;
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
        let mut slide = Slide {
            evaluator: self,
            source: &source,
            function,
            scalars,
            position: argument_position(&call.args[0]),
            keeps_name: matches!(call.func.name, "last_over_time" | "first_over_time"),
            expects_counter: matches!(call.func.name, "rate" | "increase"),
            grid,
            steps: Steps::default(),
            unchecked: 0,
            floats: empty_cells(grid.steps),
            histograms: Vec::new(),
        };
        let outcome = self.tracks(&source, &mut |track| slide.row(track, sink));
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
    evaluator: &'s Evaluator<'s>,
    source: &'s Source,
    function: RangeFunction,
    /// The other arguments, one value per step.
    scalars: Vec<Vec<f64>>,
    position: Span,
    keeps_name: bool,
    expects_counter: bool,
    grid: Grid,
    steps: Steps,
    /// Samples seen since one looked at the time.
    unchecked: u64,
    floats: Vec<f64>,
    histograms: Vec<Cell>,
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
        let lookback = self.evaluator.plan.options.lookback_ms;
        let mut samples = self.evaluator.samples();
        let mut beyond = self.steps.follow(&track.times, self.source, self.grid, lookback);
        let mut windows = (!track.histograms.is_empty()).then(|| Windows::new(track));
        let is_read = self.source.is_read();
        let mut any = false;
        let mut args = [0.0; 2];
        for (step, time) in self.grid.times().enumerate() {
            let unkept;
            let Step { bounds, floats, n_new, spread } = match self.steps.steps.get(step) {
                Some(step) => step,
                None => {
                    unkept = Step::next(&mut beyond, &track.times, self.source.bounds(time, lookback));
                    &unkept
                }
            };
            self.floats[step] = f64::from_bits(EMPTY);
            let (histograms, weight, n_new) = match &mut windows {
                None => (0..0, floats.len() as u64, *n_new),
                Some(windows) => {
                    let (floats, histograms) = windows.at(bounds.reach);
                    let weight = windows.weight(&floats, &histograms);
                    (histograms, weight, windows.n_new())
                }
            };
            if floats.is_empty() && histograms.is_empty() {
                continue;
            }
            samples.window(step, weight, if is_read { n_new } else { 0 });
            self.unchecked += weight;
            if self.unchecked >= CHECK_EVERY {
                self.unchecked = 0;
                self.evaluator.plan.options.check()?;
            }
            for (arg, scalars) in args.iter_mut().zip(&self.scalars) {
                *arg = scalars[step];
            }
            let window = Window {
                evaluator: self.evaluator,
                position: self.position,
                track,
                is_floats_only: histograms.is_empty(),
                floats: floats.clone(),
                histograms,
                time,
                start: bounds.start,
                end: bounds.end,
                range_ms: self.source.range_ms,
                mode: self.source.mode,
                args,
                spread,
            };
            if window.is_floats_only {
                let value = (self.function.floats)(&window);
                self.floats[step] = value;
                any |= !is_empty_cell(value);
                continue;
            }
            match (self.function.mixed)(&window) {
                Outcome::Nothing => continue,
                Outcome::Float(value) => self.floats[step] = value,
                Outcome::Histogram(histogram) => {
                    self.histograms.resize(self.grid.steps, None);
                    self.histograms[step] = Some(histogram);
                }
            }
            any = true;
        }
        drop(samples);
        if let Some(check) = self.function.check {
            self.refuse_bad_arguments(check, track)?;
        }
        Ok(any)
    }

    /// Bad arguments are an error only where there is something to apply them to.
    fn refuse_bad_arguments(&self, check: ArgumentCheck, track: &Track<'_>) -> Result<(), EvalError> {
        let lookback = self.evaluator.plan.options.lookback_ms;
        let mut windows = Windows::new(track);
        for (step, time) in self.grid.times().enumerate() {
            let (floats, histograms) = windows.at(self.source.bounds(time, lookback).reach);
            if floats.is_empty() && histograms.is_empty() {
                continue;
            }
            let arg = |index: usize| self.scalars.get(index).map_or(0.0, |values| values[step]);
            check([arg(0), arg(1)])?;
        }
        Ok(())
    }

    fn note_doubtful_counter(&self, track: &Track<'_>) {
        let Some(metric) = track.labels.metric_name() else { return };
        let is_named_so = ["_total", "_sum", "_count", "_bucket"].iter().any(|end| metric.ends_with(end));
        if !is_named_so && self.floats.iter().any(|v| !is_empty_cell(*v)) {
            self.evaluator.note(Notice::PossibleNonCounter(metric.to_string()), self.position);
        }
    }
}

/// The windows of the steps over a list of times. The series of a target share theirs, so what was computed for one
/// series is kept for the next.
#[derive(Default)]
struct Steps {
    times: Vec<i64>,
    /// Of the first [`KEPT_STEPS`].
    steps: Vec<Step>,
}

struct Step {
    bounds: Bounds,
    floats: Range<usize>,
    /// Floats that the window before had not.
    n_new: u64,
    spread: OnceCell<Option<Spread>>,
}

impl Steps {
    /// Computes the windows over these times unless they are at hand, and says which is the last.
    fn follow(&mut self, times: &[i64], source: &Source, grid: Grid, lookback: i64) -> Range<usize> {
        if self.steps.is_empty() || self.times != times {
            self.times.clear();
            self.times.extend_from_slice(times);
            self.steps.clear();
            let mut floats = 0..0;
            let kept = grid.times().take(KEPT_STEPS);
            self.steps.extend(kept.map(|time| Step::next(&mut floats, times, source.bounds(time, lookback))));
        }
        self.steps.last().map_or(0..0, |step| step.floats.clone())
    }
}

impl Step {
    /// Moves the window `floats` on to these bounds.
    fn next(floats: &mut Range<usize>, times: &[i64], bounds: Bounds) -> Step {
        let known = floats.end;
        advance(floats, times, bounds.reach.0, bounds.reach.1);
        let n_new = (floats.end - floats.start.max(known)) as u64;
        Step { bounds, floats: floats.clone(), n_new, spread: OnceCell::new() }
    }
}

/// The indexes of the samples within a window that only moves forward.
struct Windows<'t> {
    track: &'t Track<'t>,
    floats: Range<usize>,
    histograms: Range<usize>,
    /// Where the window before ended among the floats and among the histograms.
    known: (usize, usize),
    /// Weights of the histograms before each index.
    weights: Vec<u64>,
}

impl<'t> Windows<'t> {
    fn new(track: &'t Track<'t>) -> Windows<'t> {
        let mut weights = Vec::new();
        if !track.histograms.is_empty() {
            weights.push(0);
            let mut sum = 0;
            weights.extend(track.histograms.iter().map(|histogram| {
                sum += weight(histogram);
                sum
            }));
        }
        Windows { track, floats: 0..0, histograms: 0..0, known: (0, 0), weights }
    }

    /// Samples after the first time and up to the second.
    fn at(&mut self, (after, until): (i64, i64)) -> (Range<usize>, Range<usize>) {
        self.known = (self.floats.end, self.histograms.end);
        advance(&mut self.floats, &self.track.times, after, until);
        if !self.weights.is_empty() {
            advance(&mut self.histograms, &self.track.histogram_times, after, until);
        }
        (self.floats.clone(), self.histograms.clone())
    }

    fn weight(&self, floats: &Range<usize>, histograms: &Range<usize>) -> u64 {
        let of_histograms = match self.weights.is_empty() {
            true => 0,
            false => self.weights[histograms.end] - self.weights[histograms.start],
        };
        floats.len() as u64 + of_histograms
    }

    /// The weight of what the window before had not.
    fn n_new(&self) -> u64 {
        let from = |window: &Range<usize>, known: usize| window.start.max(known)..window.end;
        self.weight(&from(&self.floats, self.known.0), &from(&self.histograms, self.known.1))
    }
}

fn advance(window: &mut Range<usize>, times: &[i64], after: i64, until: i64) {
    if window.end == 0 && times.len() > 64 && times[0] <= after {
        // The first window may lie far from the first sample.
        window.start = times.partition_point(|t| *t <= after);
        window.end = window.start;
    }
    while window.start < times.len() && times[window.start] <= after {
        window.start += 1;
    }
    window.end = window.end.max(window.start);
    while window.end < times.len() && times[window.end] <= until {
        window.end += 1;
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
