//! Evaluation over columns: an expression's value is one row per series with a cell per step.
//!
//! Rows are streamed from where they arise to where they are used: an aggregation over a rate sees one row at a
//! time and keeps its groups only. Labels are looked at once per series, never per step.

mod aggregate;
mod average;
mod binary;
mod chain;
mod count_values;
mod decode;
mod element;
mod held;
mod histogram_states;
mod matching;
mod output;
mod range;
mod rank;
mod result;
mod selector;
mod shared;
mod states;
mod tally;
#[cfg(test)]
mod tests;
mod timelines;
mod vector;
mod windows;

use std::cell::{Cell as Shared, RefCell};
use std::sync::Arc;

use model::{Classify, ErrorKind, SeriesData, Value};

pub(crate) use average::{HistogramMean, Mean};
pub use decode::set_reset_hints;
pub(crate) use decode::{Decoded, Track, are_tame, overlaps};
use held::Held;
pub(crate) use held::Lease;
pub use held::{NoRoom, Room};
pub(crate) use selector::{Aspect, Reference};
use tally::Tally;
use timelines::Timelines;
pub(crate) use vector::{Assembler, Cell, Head, PLACE_BYTES, Row, Sink, Vector, empty_cells, negated};
pub(crate) use windows::Steps;

use crate::annotations::{Annotations, Notice, Notices};
use crate::ast::{Call, Expr, ExprKind, Span, UnaryOp, ValueType};
use crate::functions;
use crate::plan::{Plan, value_type};

/// A result with what there is to say about it.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// The result.
    pub value: Value,
    /// Warnings and infos.
    pub annotations: Annotations,
    /// What it cost.
    pub stats: EvalStats,
}

/// What an evaluation cost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EvalStats {
    /// Samples looked at over all steps.
    pub total_samples: u64,
    /// Samples read for that: those of overlapping windows once.
    pub samples_read: u64,
    /// The most cells held at once.
    pub peak_samples: u64,
    /// Samples looked at by step, where asked for.
    pub per_step: Vec<(i64, u64)>,
    /// Samples read by step, where asked for.
    pub read_per_step: Vec<(i64, u64)>,
}

/// Why a query has no result. The texts are Prometheus's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The query or its data do not allow it.
    #[error("{0}")]
    Execution(String),
    /// More samples than the limit allows.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// More bytes than the query or the process may hold.
    #[error(transparent)]
    NoRoom(NoRoom),
    /// The deadline passed.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// The caller went away.
    #[error("query was canceled in expression evaluation")]
    Canceled,
}

impl Classify for EvalError {
    fn kind(&self) -> ErrorKind {
        match self {
            EvalError::Execution(_) | EvalError::TooManySamples => ErrorKind::LimitExceeded,
            EvalError::NoRoom(refused) => refused.kind,
            EvalError::Timeout => ErrorKind::Timeout,
            EvalError::Canceled => ErrorKind::Canceled,
        }
    }
}

/// The most steps of a grid, whatever the limits: half a gigabyte a row.
const MOST_STEPS: u64 = 1 << 26;

/// After how many series that are decoded one looks at the time: one may have thousands of histograms.
const CHECK_SERIES: usize = 16;

/// After how many samples or cells one looks at the time: some ten microseconds.
const CHECK_EVERY: usize = 1 << 14;

/// What each level of an expression keeps per step while it is evaluated: a row in the making or the values of a scalar.
const SCRATCH_BYTES: usize = 2 * size_of::<f64>();

/// What one more notice takes, with the name of a metric, until it is a text of the answer.
const NOTICE_BYTES: u64 = 400;

/// The times at which an expression is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) start: i64,
    pub(crate) interval: i64,
    pub(crate) steps: usize,
    /// Whether it was made from two times, though there may be one step only between them.
    pub(crate) is_range: bool,
}

impl Grid {
    /// From `start` to `end`, both included.
    pub(crate) fn new(start: i64, end: i64, interval: i64) -> Grid {
        let interval = interval.max(1);
        let steps = if end < start { 0 } else { (end.saturating_sub(start) / interval) as usize + 1 };
        Grid { start, interval, steps, is_range: start != end }
    }

    pub(crate) fn times(self) -> impl Iterator<Item = i64> {
        (0..self.steps as i64).map(move |step| self.start + step * self.interval)
    }

    pub(crate) fn time(self, step: usize) -> i64 {
        self.start + step as i64 * self.interval
    }

    pub(crate) fn end(self) -> i64 {
        self.start + (self.steps.max(1) as i64 - 1) * self.interval
    }

    fn first_step(self) -> Grid {
        Grid { steps: 1, is_range: false, ..self }
    }
}

/// The series of a select, decoded as its selectors need them.
struct Selected<'p> {
    whole: Vec<Decoded<'p>>,
    /// With count and sum of histograms only.
    totals: Vec<Decoded<'p>>,
}

impl<'p> Selected<'p> {
    fn new(
        plan: &Plan,
        select: usize,
        series: &'p [SeriesData],
        held: &Held,
    ) -> Result<Selected<'p>, EvalError> {
        let mut timelines = Timelines::default();
        let mut decode = |totals_only: bool| {
            if !plan.places_of(select).any(|place| place.totals_only == totals_only) {
                return Ok(Vec::new());
            }
            let mut decoded = Vec::with_capacity(series.len());
            for some in series.chunks(CHECK_SERIES) {
                plan.options.check()?;
                for one in some {
                    let one = Decoded::new(one, totals_only, &mut timelines);
                    held.add(0, one.bytes() as u64)?;
                    decoded.push(one);
                }
            }
            Ok(decoded)
        };
        Ok(Selected { whole: decode(false)?, totals: decode(true)? })
    }
}

/// Evaluates one query. What is collected on the way is shared, since rows are streamed through closures.
pub(crate) struct Evaluator<'p> {
    pub(crate) plan: &'p Plan,
    /// By part of the series, then by select.
    data: Vec<Vec<Selected<'p>>>,
    /// Which part selectors see.
    part: Shared<usize>,
    /// The grid of the query.
    grid: Grid,
    shelf: shared::Shelf,
    notices: RefCell<Notices>,
    /// Samples by step of the grid being evaluated.
    samples: RefCell<Tally>,
    held: Held,
    /// Samples and cells seen since one looked at the time.
    unchecked: Shared<usize>,
    /// Room for functions that reorder the values of a window.
    pub(crate) scratch: RefCell<Vec<f64>>,
}

pub(crate) fn evaluate(plan: &Plan, parts: &[Vec<Vec<SeriesData>>]) -> Result<Evaluated, EvalError> {
    let options = &plan.options;
    let grid = Grid::new(options.start_ms, options.end_ms, options.step_ms.unwrap_or(1));
    if grid.steps as u64 > MOST_STEPS {
        return Err(EvalError::TooManySamples);
    }
    let held = Held::new(options.max_samples, options.room.clone());
    let mut selected = Vec::with_capacity(parts.len());
    for data in parts {
        let of_part = data.iter().enumerate().map(|(i, series)| Selected::new(plan, i, series, &held));
        selected.push(of_part.collect::<Result<Vec<_>, _>>()?);
    }
    let evaluator = Evaluator {
        plan,
        data: selected,
        part: Shared::new(0),
        grid,
        shelf: RefCell::new((0..plan.n_repeated()).map(|_| None).collect()),
        notices: RefCell::default(),
        samples: RefCell::new(Tally::new(grid.steps)),
        held,
        unchecked: Shared::new(0),
        scratch: RefCell::default(),
    };
    let value = evaluator.value(grid)?;
    let samples = evaluator.samples.into_inner();
    let (per_step, read_per_step) = match options.stats_per_step {
        true => grid.times().zip(samples.by_step()).map(|(at, (n, read))| ((at, n), (at, read))).unzip(),
        false => (Vec::new(), Vec::new()),
    };
    let (total_samples, samples_read) = (samples.total(), samples.total_read());
    let peak_samples = evaluator.held.peak_cells();
    let stats = EvalStats { total_samples, samples_read, peak_samples, per_step, read_per_step };
    Ok(Evaluated { value, annotations: evaluator.notices.into_inner().formatted(&plan.query), stats })
}

impl<'p> Evaluator<'p> {
    /// Looks at the time now and then: `n` samples or cells were looked at, or will be.
    pub(crate) fn check_after(&self, n: usize) -> Result<(), EvalError> {
        let unchecked = self.unchecked.get().saturating_add(n);
        if unchecked < CHECK_EVERY {
            self.unchecked.set(unchecked);
            return Ok(());
        }
        self.unchecked.set(0);
        self.plan.options.check()
    }

    /// Hands each row of a vector expression to `sink`.
    pub(crate) fn rows(&self, expr: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        self.plan.options.check()?;
        if grid.steps == 0 {
            return Ok(());
        }
        if grid.is_range && is_step_invariant(expr) {
            return self.repeated_rows(expr, grid, sink);
        }
        match self.plan.repeated(expr.span).filter(|_| grid == self.grid) {
            Some(repeated) => self.shared_rows(repeated, expr, grid, sink),
            None => self.own_rows(expr, grid, sink),
        }
    }

    /// The rows of an expression, computed here and now.
    fn own_rows(&self, expr: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let _scratch = self.lease(SCRATCH_BYTES * grid.steps)?;
        match &expr.kind {
            ExprKind::Paren(inner) => self.rows(inner, grid, sink),
            ExprKind::Unary(UnaryOp::Plus, inner) => self.rows(inner, grid, sink),
            ExprKind::Unary(UnaryOp::Minus, inner) => self.rows(inner, grid, &mut |mut row| {
                row.negate();
                sink(row)
            }),
            ExprKind::Vector(selector) => self.selector_rows(selector, expr.span, grid, sink),
            ExprKind::Aggregate(aggregate) => self.aggregate_rows(aggregate, expr.span, grid, sink),
            ExprKind::Binary(_) if chain::is_long(expr) => self.chain_rows(expr, grid, sink),
            ExprKind::Binary(binary) => self.binary_rows(binary, expr.span, grid, sink),
            ExprKind::Call(call) => functions::rows(self, call, expr.span, grid, sink),
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Matrix(_) | ExprKind::Subquery(_) => {
                Err(EvalError::Execution("unexpected error: not an instant vector".to_string()))
            }
        }
    }

    /// All rows of a vector expression.
    pub(crate) fn vector(&self, expr: &Expr, grid: Grid) -> Result<Vector, EvalError> {
        let mut vector = Vector::new(grid.steps);
        self.rows(expr, grid, &mut |row| {
            vector.push(row);
            self.account(&mut vector)
        })?;
        Ok(vector)
    }

    /// The values of a scalar expression, one per step.
    pub(crate) fn scalars(&self, expr: &Expr, grid: Grid) -> Result<Vec<f64>, EvalError> {
        let _scratch = self.lease(SCRATCH_BYTES * grid.steps)?;
        match &expr.kind {
            ExprKind::Number(number) => Ok(vec![number.value; grid.steps]),
            ExprKind::Paren(inner) | ExprKind::Unary(UnaryOp::Plus, inner) => self.scalars(inner, grid),
            ExprKind::Unary(UnaryOp::Minus, inner) => {
                let mut values = self.scalars(inner, grid)?;
                values.iter_mut().for_each(|v| *v = negated(*v));
                Ok(values)
            }
            ExprKind::Binary(_) if chain::is_long(expr) => self.chain_scalars(expr, grid),
            ExprKind::Binary(binary) => self.scalar_binary(binary, grid),
            ExprKind::Call(call) => functions::scalars(self, call, grid),
            _ => Err(EvalError::Execution("unexpected error: not a scalar".to_string())),
        }
    }

    /// A scalar argument of a call, or nothing where the call has fewer arguments.
    pub(crate) fn argument(
        &self,
        call: &Call,
        index: usize,
        grid: Grid,
    ) -> Result<Option<Vec<f64>>, EvalError> {
        call.args.get(index).map(|arg| self.scalars(arg, grid)).transpose()
    }

    pub(crate) fn note(&self, notice: Notice, at: Span) {
        if self.notices.borrow_mut().add(notice, at) {
            // What is too much is refused by the next who asks for bytes.
            let _later = self.held.add(0, NOTICE_BYTES);
        }
    }

    pub(crate) fn notices(&self) -> std::cell::RefMut<'_, Notices> {
        self.notices.borrow_mut()
    }

    /// Counts samples for the steps of the grid being evaluated.
    pub(crate) fn samples(&self) -> std::cell::RefMut<'_, Tally> {
        self.samples.borrow_mut()
    }

    /// Runs `inner` with counters of its own for a grid of `steps`, and returns what it counted.
    pub(crate) fn counting<T>(
        &self,
        steps: usize,
        inner: impl FnOnce() -> Result<T, EvalError>,
    ) -> Result<(T, Tally), EvalError> {
        let _counters = self.lease(Tally::BYTES * steps)?;
        let outer = self.samples.replace(Tally::new(steps));
        let outcome = inner();
        let counted = self.samples.replace(outer);
        Ok((outcome?, counted))
    }

    /// Refuses a grid of which not even one row could be held.
    pub(crate) fn refuse_steps(&self, grid: Grid) -> Result<(), EvalError> {
        let limit = match self.plan.options.max_samples {
            0 => MOST_STEPS,
            limit => limit.min(MOST_STEPS),
        };
        if grid.steps as u64 > limit { Err(EvalError::TooManySamples) } else { Ok(()) }
    }

    /// What does not depend on the step is evaluated once and shown at every step.
    fn repeated_rows(&self, expr: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let (once, counted) = self.counting(1, || self.vector(expr, grid.first_step()))?;
        self.samples().repeat(&counted);
        let mut floats = empty_cells(grid.steps);
        let mut histograms = Vec::new();
        for index in 0..once.len() {
            floats.fill(once.floats(index)[0]);
            histograms.clear();
            if let Some(Some(histogram)) = once.histograms(index).first() {
                histograms.resize(grid.steps, Some(Arc::clone(histogram)));
            }
            let head = once.head(index);
            sink(Row {
                labels: &head.labels,
                drop_name: head.drop_name,
                floats: &mut floats,
                histograms: &mut histograms,
            })?;
        }
        self.release(once);
        Ok(())
    }
}

/// The expression within parentheses.
pub(crate) fn unparen(expr: &Expr) -> &Expr {
    match &expr.kind {
        ExprKind::Paren(inner) => unparen(inner),
        _ => expr,
    }
}

/// Functions whose result depends on the time of evaluation even if their arguments do not.
const TIME_DEPENDENT: [&str; 16] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "end",
    "hour",
    "info",
    "minute",
    "month",
    "year",
    "predict_linear",
    "range",
    "start",
    "step",
    "time",
    "timestamp",
];

/// Whether an expression has the same value at every step.
fn is_step_invariant(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => true,
        ExprKind::Vector(selector) => selector.at.is_some(),
        ExprKind::Matrix(matrix) => matrix.selector.at.is_some(),
        ExprKind::Subquery(subquery) => subquery.at.is_some(),
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => is_step_invariant(inner),
        ExprKind::Aggregate(aggregate) => is_step_invariant(unparen(&aggregate.expr)),
        ExprKind::Binary(_) => expr.operands().into_iter().all(is_step_invariant),
        ExprKind::Call(call) => {
            let args_are = call.args.iter().all(is_step_invariant);
            // The time of a selected sample is what it is, whenever one asks.
            let is_timestamp_of_selector = call.func.name == "timestamp"
                && call.args.iter().all(|arg| matches!(unparen(arg).kind, ExprKind::Vector(_)));
            args_are && (is_timestamp_of_selector || !TIME_DEPENDENT.contains(&call.func.name))
        }
    }
}

/// Whether an expression is a scalar.
pub(crate) fn is_scalar(expr: &Expr) -> bool {
    value_type(expr) == ValueType::Scalar
}
