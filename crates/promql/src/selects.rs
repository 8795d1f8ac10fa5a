//! What the selectors of a query need: which series, at which times, and which of their labels.

use model::{Matcher, TimeRange};

use crate::ast::{
    AggregateOp, Binary, BinaryOp, Call, Chain, Expr, ExprKind, RangeMode, Span, VectorSelector,
};
use crate::plan::{EvalOptions, SelectSpec, at_ms, millis, offset_ms};
use crate::{Projection, functions};

/// A selector of the query and what it needs.
pub(crate) struct Found {
    pub(crate) span: Span,
    pub(crate) spec: SelectSpec,
    /// Whether count and sum are all that is looked at in its histograms.
    pub(crate) totals_only: bool,
}

/// The selectors of a query in the order of the text.
pub(crate) fn found(options: &EvalOptions, expr: &Expr) -> Vec<Found> {
    // The groups of an answer at an instant come as their first series do.
    let within = Within { order: options.step_ms.is_none(), ..Within::default() };
    let looked_at = Projection::All;
    let mut finder = SelectFinder { options, within, looked_at, found: Vec::new() };
    finder.visit(expr, TimeRange::new(options.start_ms, options.end_ms));
    finder.found
}

struct SelectFinder<'a> {
    options: &'a EvalOptions,
    within: Within,
    /// Which labels are looked at of what is being visited.
    looked_at: Projection,
    found: Vec<Found>,
}

/// What the expression being visited is an argument of, directly or not.
#[derive(Debug, Clone, Copy, Default)]
struct Within {
    /// A function that looks at count and sum of histograms only.
    totals: bool,
    /// Something that looks at their buckets.
    buckets: bool,
    /// Something whose result depends on the order of series, and so of the groups of an aggregation.
    order: bool,
}

impl Within {
    fn call(mut self, function: &str) -> Within {
        match function {
            "histogram_count" | "histogram_sum" | "histogram_avg" => self.totals = true,
            "histogram_quantile"
            | "histogram_quantiles"
            | "histogram_fraction"
            | "histogram_stddev"
            | "histogram_stdvar" => self.buckets = true,
            _ => {}
        }
        self
    }

    /// An operation. Where several series match one, the error names those that come first.
    fn operation(mut self, binary: &Binary) -> Within {
        let matching = binary.matching.as_ref();
        self.buckets |= matches!(binary.op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
        self.order |= matching.is_some_and(|matching| matching.on || !matching.labels.is_empty());
        self
    }

    fn buckets_if(mut self, looks_at_buckets: bool) -> Within {
        self.buckets |= looks_at_buckets;
        self
    }
}

impl SelectFinder<'_> {
    /// Visits what is evaluated at times within `times`.
    fn visit(&mut self, expr: &Expr, times: TimeRange) {
        if matches!(expr.kind, ExprKind::Binary(_)) {
            return self.visit_chain(expr, times);
        }
        let outer = self.within;
        self.within = match &expr.kind {
            ExprKind::Call(call) => outer.call(call.func.name),
            ExprKind::Subquery(_) => outer.buckets_if(true),
            ExprKind::Aggregate(aggregate) if aggregate.op == AggregateOp::Limitk => {
                Within { order: true, ..outer }
            }
            _ => outer,
        };
        let below = Projection::below(expr, &self.looked_at);
        let looked_at = std::mem::replace(&mut self.looked_at, below);
        self.visit_kind(expr, times);
        self.looked_at = looked_at;
        self.within = outer;
    }

    /// Visits the operands of a chain of operators in the order of the text. An operation is within those behind it.
    fn visit_chain(&mut self, expr: &Expr, times: TimeRange) {
        let Chain { first, links } = expr.chain();
        let outer = (self.within, self.looked_at.clone());
        let mut below = vec![outer.clone()];
        for (link, binary) in links.iter().rev() {
            self.within = self.within.operation(binary);
            self.looked_at = Projection::below(link, &self.looked_at);
            below.push((self.within, self.looked_at.clone()));
        }
        self.visit(first, times);
        for (_, binary) in links {
            (self.within, self.looked_at) = below.pop().unwrap_or_else(|| outer.clone());
            self.visit(&binary.rhs, times);
        }
        (self.within, self.looked_at) = outer;
    }

    fn visit_kind(&mut self, expr: &Expr, times: TimeRange) {
        match &expr.kind {
            ExprKind::Number(_) | ExprKind::String(_) => {}
            ExprKind::Vector(selector) => self.add(selector, expr.span, None, times),
            ExprKind::Matrix(matrix) => {
                let range = millis(&matrix.range);
                self.add(&matrix.selector, matrix.selector_span, Some(range), times);
            }
            ExprKind::Subquery(subquery) => {
                let times = match subquery.at {
                    Some(at) => TimeRange::new(at_ms(self.options, at), at_ms(self.options, at)),
                    None => times,
                };
                let offset = offset_ms(&subquery.offset);
                let start = times.start.saturating_sub(offset).saturating_sub(millis(&subquery.range));
                let end = times.end.saturating_sub(offset);
                self.visit(&subquery.expr, TimeRange::new(start, end));
            }
            ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => self.visit(inner, times),
            ExprKind::Binary(_) => self.visit_chain(expr, times),
            ExprKind::Aggregate(aggregate) => {
                if let Some(param) = &aggregate.param {
                    self.visit(param, times);
                }
                self.visit(&aggregate.expr, times);
            }
            ExprKind::Call(call) if call.func.name == "info" => {
                if let Some(base) = call.args.first() {
                    self.visit(base, times);
                }
                self.add_info(call, expr.span, times);
            }
            ExprKind::Call(call) => call.args.iter().for_each(|arg| self.visit(arg, times)),
        }
    }

    fn add(&mut self, selector: &VectorSelector, span: Span, range: Option<i64>, times: TimeRange) {
        let times = match selector.at {
            Some(at) => TimeRange::new(at_ms(self.options, at), at_ms(self.options, at)),
            None => times,
        };
        let lookback = self.options.lookback_ms;
        let is_plain = selector.range_mode == RangeMode::Normal;
        let back = match range {
            None => lookback,
            Some(range) if is_plain => range,
            Some(range) => range + lookback,
        };
        let ahead = if selector.range_mode == RangeMode::Smoothed { lookback } else { 0 };
        let offset = offset_ms(&selector.offset);
        // The start is left out of the range, so the first millisecond needed is one later.
        let (start, end) = (times.start.saturating_sub(offset), times.end.saturating_sub(offset));
        let range = TimeRange::new(start.saturating_sub(back - 1), end.saturating_add(ahead));
        self.push(span, selector.matchers.clone(), range, self.looked_at.clone());
    }

    fn add_info(&mut self, call: &Call, span: Span, times: TimeRange) {
        let reference = functions::info::reference(call, &|at| at_ms(self.options, at));
        let times = reference.at.map_or(times, |at| TimeRange::new(at, at));
        let at = |time: i64| time.saturating_sub(reference.offset);
        let start = at(times.start).saturating_sub(self.options.lookback_ms - 1);
        let range = TimeRange::new(start, at(times.end));
        self.push(span, functions::info::matchers(call), range, Projection::All);
    }

    fn push(&mut self, span: Span, matchers: Vec<Matcher>, range: TimeRange, projection: Projection) {
        let totals_only = self.within.totals && !self.within.buckets;
        let projection = if self.within.order { Projection::All } else { projection };
        self.found.push(Found { span, spec: SelectSpec { matchers, range, projection }, totals_only });
    }
}
