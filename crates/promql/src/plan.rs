//! What a query needs before it can be evaluated: its tree, its times, and the selects that answer it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use model::{Classify, ErrorKind, Matcher, SeriesData, TimeRange};
use runtime::Clock;

use crate::ast::{AggregateOp, At, DurationExpr, Expr, ExprKind, Span, ValueType};
use crate::error::ParseError;
use crate::eval::{self, EvalError, Evaluated, Room};
use crate::selects::{self, Found};
use crate::{Experimental, Projection, parse, resolve_durations};

/// When and within which bounds a query is evaluated.
#[derive(Debug, Clone)]
pub struct EvalOptions {
    /// First evaluation time in milliseconds.
    pub start_ms: i64,
    /// Last evaluation time; equal to the first for an instant query.
    pub end_ms: i64,
    /// Step; `None` for an instant query.
    pub step_ms: Option<i64>,
    /// How far back a sample may lie to stand for the present.
    pub lookback_ms: i64,
    /// Step of subqueries that name none.
    pub subquery_step_ms: i64,
    /// Samples that may be held at once, 0 for any number.
    pub max_samples: u64,
    /// Matchers with regular expressions that the query may have, 0 for any number.
    pub max_patterns: usize,
    /// Where the bytes come from that are held; any number when there is none.
    pub room: Option<Arc<dyn Room>>,
    /// Which experimental parts of the language may be used.
    pub experimental: Experimental,
    /// With whom the evaluation shares its processor.
    pub pace: Option<Arc<dyn Pace>>,
    /// When the evaluation gives up.
    pub deadline: Option<Instant>,
    /// Set by the caller to end the evaluation.
    pub cancel: Arc<AtomicBool>,
    /// Whether samples are counted by step too.
    pub stats_per_step: bool,
}

/// Lets others compute on the same processor.
pub trait Pace: fmt::Debug + Send + Sync {
    /// Called every few microseconds to milliseconds; waits when it is somebody else's turn.
    fn tick(&self);
}

/// A parsed query, ready for its samples.
#[derive(Debug)]
pub struct Plan {
    pub(crate) query: String,
    pub(crate) expr: Expr,
    pub(crate) options: EvalOptions,
    selects: Vec<SelectSpec>,
    /// The longest time that one selector looks at.
    longest_ms: i64,
    /// Which select answers the selector at a place of the query.
    places: Vec<Place>,
    /// The aggregations that are there several times: where each of them stands.
    repeated: Vec<Vec<Span>>,
}

/// A selector in the query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    span: Span,
    /// The select that answers it.
    pub(crate) select: usize,
    /// Whether count and sum are all that is looked at in its histograms.
    pub(crate) totals_only: bool,
}

/// The samples that a selector needs.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectSpec {
    /// Which series.
    pub matchers: Vec<Matcher>,
    /// Which times, both ends included.
    pub range: TimeRange,
    /// Which labels. The series may then come in any order, and several may look the same.
    pub projection: Projection,
}

/// Why a query cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It is not PromQL.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// It would take too long to compile.
    #[error(
        "the query has {n} matchers with regular expressions (limit max_regex_matchers_per_query of {limit})"
    )]
    TooManyPatterns {
        /// How many it has.
        n: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Its value has no place in a range query.
    #[error("invalid expression type \"{0}\" for range query, must be Scalar or instant Vector")]
    RangeQueryOf(&'static str),
}

impl Classify for PlanError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

impl EvalOptions {
    /// An instant query with the defaults of Prometheus.
    pub fn instant(at_ms: i64) -> EvalOptions {
        EvalOptions {
            start_ms: at_ms,
            end_ms: at_ms,
            step_ms: None,
            lookback_ms: 300_000,
            subquery_step_ms: 60_000,
            max_samples: 50_000_000,
            max_patterns: 200,
            room: None,
            experimental: Experimental::default(),
            pace: None,
            deadline: None,
            cancel: Arc::new(AtomicBool::new(false)),
            stats_per_step: false,
        }
    }

    /// A range query with the defaults of Prometheus.
    pub fn range(start_ms: i64, end_ms: i64, step_ms: i64) -> EvalOptions {
        EvalOptions { end_ms, step_ms: Some(step_ms), ..EvalOptions::instant(start_ms) }
    }

    /// Whether the caller still wants the answer.
    pub(crate) fn check(&self) -> Result<(), EvalError> {
        if let Some(pace) = &self.pace {
            pace.tick();
        }
        if self.cancel.load(Ordering::Relaxed) {
            return Err(EvalError::Canceled);
        }
        if self.deadline.is_some_and(|deadline| Clock::system().instant() > deadline) {
            return Err(EvalError::Timeout);
        }
        Ok(())
    }
}

impl Plan {
    /// Parses `query`, computes its durations and finds out what must be selected.
    pub fn new(query: &str, options: &EvalOptions) -> Result<Plan, PlanError> {
        refuse_patterns(query, options.max_patterns)?;
        let mut expr = parse(query)?;
        options.experimental.check(query, &expr)?;
        let step_ms = options.step_ms.unwrap_or(0);
        resolve_durations(&mut expr, options.start_ms, options.end_ms, step_ms)?;
        if options.step_ms.is_some() {
            match value_type(&expr) {
                ValueType::Vector | ValueType::Scalar => {}
                ValueType::Matrix => return Err(PlanError::RangeQueryOf("range vector")),
                ValueType::String => return Err(PlanError::RangeQueryOf("string")),
            }
        }
        let mut plan = Plan {
            query: query.to_string(),
            expr,
            options: options.clone(),
            selects: Vec::new(),
            longest_ms: 0,
            places: Vec::new(),
            repeated: Vec::new(),
        };
        plan.add_selects(selects::found(options, &plan.expr));
        plan.repeated = repeated(query, &plan.expr);
        Ok(plan)
    }

    /// Evaluates at this pace.
    pub fn keep_pace(&mut self, pace: Arc<dyn Pace>) {
        self.options.pace = Some(pace);
    }

    /// The selects whose series [`Plan::evaluate`] expects, in this order.
    pub fn selects(&self) -> Vec<SelectSpec> {
        self.selects.clone()
    }

    /// The longest time that one selector looks at, in milliseconds; a select may be longer where it serves several.
    pub fn longest_ms(&self) -> i64 {
        self.longest_ms
    }

    /// Whether the reset hints of selected histograms reach the result, or a warning about it. The hint of the first
    /// histogram in a range speaks of one before the range, which somebody then has to look up.
    pub fn shows_reset_hints(&self) -> bool {
        shows_reset_hints(&self.expr)
    }

    /// The tree.
    pub fn expr(&self) -> &Expr {
        &self.expr
    }

    /// Evaluates over the series of each select: merged, sorted samples, a series once per select.
    pub fn evaluate(&self, data: Vec<Vec<SeriesData>>) -> Result<Evaluated, EvalError> {
        eval::evaluate(self, &[data])
    }

    /// Whether every series that it selects goes, by itself, into an aggregation whose states merge. Then the series may
    /// come in parts, in several processes in the end: what is computed of a part is as small as its groups.
    pub fn is_divisible(&self) -> bool {
        divides(&self.expr)
    }

    /// Evaluates over series that come in parts, each in the form in which [`Plan::evaluate`] takes all. A series is in
    /// one part only. What cannot be divided is put together first.
    pub fn evaluate_in_parts(&self, mut parts: Vec<Vec<Vec<SeriesData>>>) -> Result<Evaluated, EvalError> {
        if !self.is_divisible() {
            let mut all = vec![Vec::new(); self.selects.len()];
            for part in parts.drain(..) {
                all.iter_mut().zip(part).for_each(|(all, series)| all.extend(series));
            }
            all.iter_mut().for_each(|series| series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels)));
            parts.push(all);
        }
        eval::evaluate(self, &parts)
    }

    /// The selector at a span.
    pub(crate) fn place(&self, span: Span) -> Option<Place> {
        self.places.iter().copied().find(|place| place.span == span)
    }

    /// How many aggregations are there several times.
    pub(crate) fn n_repeated(&self) -> usize {
        self.repeated.len()
    }

    /// Which of these the expression at a span is, and how often that is there.
    pub(crate) fn repeated(&self, span: Span) -> Option<(usize, usize)> {
        let which = self.repeated.iter().position(|places| places.contains(&span))?;
        Some((which, self.repeated[which].len()))
    }

    /// Whether a selector of an expression gets less than all labels, and its series in no order.
    pub(crate) fn is_projected(&self, expr: &Expr) -> bool {
        let is_all = |span: Span| {
            self.place(span).is_none_or(|place| self.selects[place.select].projection == Projection::All)
        };
        match &expr.kind {
            ExprKind::Vector(_) => !is_all(expr.span),
            ExprKind::Matrix(matrix) => !is_all(matrix.selector_span),
            _ => expr.operands().into_iter().any(|operand| self.is_projected(operand)),
        }
    }

    /// The selectors that a select answers.
    pub(crate) fn places_of(&self, select: usize) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(move |place| place.select == select)
    }

    pub(crate) fn at_ms(&self, at: At) -> i64 {
        at_ms(&self.options, at)
    }

    /// Selectors with the same matchers share a select where the times that they look at meet: what both need is read
    /// once, and neither minds what lies beside its own times.
    fn add_selects(&mut self, found: Vec<Found>) {
        let mut merged: Vec<SelectSpec> = Vec::new();
        for Found { spec, .. } in &found {
            self.longest_ms = self.longest_ms.max(spec.range.end.saturating_sub(spec.range.start));
            let mut union = spec.clone();
            // What is joined may in turn meet others.
            while let Some(at) = merged.iter().position(|known| known.meets(&union)) {
                let known = merged.remove(at);
                union.range = hull(union.range, known.range);
                union.projection = union.projection.union(&known.projection);
            }
            merged.push(union);
        }
        for Found { span, spec, totals_only } in found {
            let serves = |select: &SelectSpec| select.meets(&spec);
            let select = match self.selects.iter().position(serves) {
                Some(known) => known,
                None => {
                    self.selects.extend(merged.iter().find(|select| serves(select)).cloned());
                    self.selects.len() - 1
                }
            };
            self.places.push(Place { span, select, totals_only });
        }
    }
}

impl SelectSpec {
    /// Whether it is of the same series, and no time lies between the two.
    fn meets(&self, other: &SelectSpec) -> bool {
        let (a, b) = (self.range, other.range);
        let touch = a.start <= b.end.saturating_add(1) && b.start <= a.end.saturating_add(1);
        touch && self.matchers == other.matchers
    }
}

fn hull(a: TimeRange, b: TimeRange) -> TimeRange {
    TimeRange::new(a.start.min(b.start), a.end.max(b.end))
}

/// The aggregations with the same text, outside of subqueries, whose times are their own. What they look at is the same
/// since the text says all of it; within one that is there several times none is looked for.
fn repeated(query: &str, expr: &Expr) -> Vec<Vec<Span>> {
    let mut by_text: HashMap<&str, Vec<Span>> = HashMap::new();
    aggregations(expr, &mut |expr| {
        by_text
            .entry(query.get(expr.span.start..expr.span.end).unwrap_or_default())
            .or_default()
            .push(expr.span);
        false
    });
    let is_repeated = |expr: &Expr| {
        let places = query.get(expr.span.start..expr.span.end).and_then(|text| by_text.get(text));
        places.is_some_and(|places| places.len() > 1)
    };
    let mut outermost: HashMap<&str, Vec<Span>> = HashMap::new();
    aggregations(expr, &mut |expr| {
        if is_repeated(expr) {
            let text = query.get(expr.span.start..expr.span.end).unwrap_or_default();
            outermost.entry(text).or_default().push(expr.span);
        }
        is_repeated(expr)
    });
    outermost.into_values().filter(|places| places.len() > 1).collect()
}

/// Shows each aggregation outside of subqueries, outer ones first; what is within one that is `taken` is left out.
fn aggregations(expr: &Expr, taken: &mut dyn FnMut(&Expr) -> bool) {
    let is_aggregation = matches!(expr.kind, ExprKind::Aggregate(_));
    if matches!(expr.kind, ExprKind::Subquery(_)) || (is_aggregation && taken(expr)) {
        return;
    }
    expr.operands().into_iter().for_each(|child| aggregations(child, taken));
}

/// Whether an expression sees its series only through aggregations that merge.
fn divides(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Aggregate(aggregate) if merges(aggregate.op) && is_by_series(&aggregate.expr) => true,
        ExprKind::Vector(_) | ExprKind::Matrix(_) | ExprKind::Subquery(_) => false,
        ExprKind::Call(call) if call.func.name == "info" => false,
        _ => expr.operands().into_iter().all(divides),
    }
}

/// Whether the states of an aggregation merge: of their series they keep the labels of the group and no more.
pub(crate) fn merges(op: AggregateOp) -> bool {
    match op {
        AggregateOp::Sum
        | AggregateOp::Avg
        | AggregateOp::Count
        | AggregateOp::Min
        | AggregateOp::Max
        | AggregateOp::Group
        | AggregateOp::Stddev
        | AggregateOp::Stdvar => true,
        AggregateOp::Topk
        | AggregateOp::Bottomk
        | AggregateOp::CountValues
        | AggregateOp::Quantile
        | AggregateOp::Limitk
        | AggregateOp::LimitRatio => false,
    }
}

/// Whether each series of an expression is computed of one selected series and of nothing else.
fn is_by_series(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Vector(_) | ExprKind::Matrix(_) => true,
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => is_by_series(inner),
        ExprKind::Binary(_) => {
            // Of the operands of a chain one has series, and the others are constants.
            let (constant, others): (Vec<&Expr>, Vec<&Expr>) =
                expr.operands().into_iter().partition(|operand| is_constant(operand));
            !constant.is_empty() && matches!(others[..], [other] if is_by_series(other))
        }
        ExprKind::Call(call) => {
            let by_series = call.args.iter().filter(|arg| is_by_series(arg)).count();
            BY_SERIES.contains(&call.func.name)
                && by_series == 1
                && call.args.iter().all(|arg| is_by_series(arg) || is_constant(arg))
        }
        _ => false,
    }
}

/// Whether an expression is a scalar in which no series appears.
fn is_constant(expr: &Expr) -> bool {
    let appears = |expr: &Expr| expr.selector().is_some() || matches!(expr.kind, ExprKind::Subquery(_));
    let mut is_free = value_type(expr) == ValueType::Scalar;
    if is_free {
        crate::walk(expr, &mut |expr| is_free &= !appears(expr));
    }
    is_free
}

/// Functions that make one series of one series, whatever its labels. Those that change labels may put several series
/// together.
const BY_SERIES: [&str; 30] = [
    "abs",
    "avg_over_time",
    "ceil",
    "changes",
    "clamp",
    "clamp_max",
    "clamp_min",
    "count_over_time",
    "delta",
    "deriv",
    "exp",
    "floor",
    "idelta",
    "increase",
    "irate",
    "last_over_time",
    "ln",
    "log10",
    "log2",
    "max_over_time",
    "min_over_time",
    "predict_linear",
    "present_over_time",
    "quantile_over_time",
    "rate",
    "resets",
    "round",
    "sqrt",
    "sum_over_time",
    "timestamp",
];

/// Counted in the text: a pattern that is parsed is compiled, and that costs up to milliseconds and a mebibyte.
fn refuse_patterns(query: &str, limit: usize) -> Result<(), PlanError> {
    let n = query.matches("=~").count() + query.matches("!~").count();
    if limit > 0 && n > limit { Err(PlanError::TooManyPatterns { n, limit }) } else { Ok(()) }
}

/// The type of an expression's value.
pub(crate) fn value_type(expr: &Expr) -> ValueType {
    expr.value_type()
}

/// The value of a duration after [`resolve_durations`].
pub(crate) fn millis(duration: &DurationExpr) -> i64 {
    match duration {
        DurationExpr::Millis(ms) => *ms,
        // No computed duration is left in a plan.
        DurationExpr::Computed(..) => 0,
    }
}

/// The value of an optional duration after [`resolve_durations`].
pub(crate) fn offset_ms(duration: &Option<DurationExpr>) -> i64 {
    duration.as_ref().map_or(0, millis)
}

pub(crate) fn at_ms(options: &EvalOptions, at: At) -> i64 {
    match at {
        At::Timestamp(ms) => ms,
        At::Start => options.start_ms,
        At::End => options.end_ms,
    }
}

/// Functions of histograms that look at nothing but the samples in the range do not care what came before.
fn shows_reset_hints(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Vector(_) | ExprKind::Matrix(_) => true,
        ExprKind::Call(call) if !KEEPS_HINTS.contains(&call.func.name) => false,
        _ => expr.operands().into_iter().any(shows_reset_hints),
    }
}

/// Functions whose result, or a warning about it, depends on the hints of their argument.
const KEEPS_HINTS: [&str; 9] = [
    "avg_over_time",
    "first_over_time",
    "histogram_avg",
    "histogram_count",
    "histogram_sum",
    "last_over_time",
    "sort_by_label",
    "sort_by_label_desc",
    "sum_over_time",
];
