//! Which range queries may be evaluated in parts: those whose answer at a step does not depend on the other steps.

use promql::ast::{Aggregate, AggregateOp, Call, DurationExpr, DurationNode, Expr, ExprKind, ValueType};
use promql::{EvalOptions, Plan, parse, walk};
use wire::QueryRequest;

/// Prometheus's, and ours unless the request or the configuration of queriers says otherwise; here it only decides how
/// large the parts are.
const LOOKBACK_MS: i64 = 300_000;

/// Functions whose result depends on the range of the query, or on all of its steps; those that sort say that they do
/// not, unless the range is a single time.
const OF_THE_RANGE: [&str; 8] =
    ["start", "end", "range", "info", "sort", "sort_desc", "sort_by_label", "sort_by_label_desc"];

/// Functions over series that leave the order of their rows to chance.
const UNORDERED: [&str; 4] = ["label_replace", "label_join", "sort", "sort_desc"];

/// How far around a step the samples lie that its answer needs, in milliseconds; `None` when the query has to be
/// evaluated as a whole, or when it is wrong: then the querier says so.
///
/// A query with `@` is evaluated as a whole as well: each part would read the same samples again.
pub(crate) fn reach_ms(request: &QueryRequest) -> Option<i64> {
    let step_ms = request.step_ms?;
    let expr = parse(&request.query).ok()?;
    let mut is_exact = true;
    walk(&expr, &mut |expr| is_exact &= is_of_its_step(expr));
    if !is_exact {
        return None;
    }
    let start = request.start_ms;
    let lookback_ms = request.lookback_ms.unwrap_or(LOOKBACK_MS);
    let options = EvalOptions { lookback_ms, ..EvalOptions::range(start, start, step_ms) };
    let plan = Plan::new(&request.query, &options).ok()?;
    let reach = |from: i64, to: i64| to.saturating_sub(from).max(0);
    let reaches = plan.selects().into_iter().map(|spec| {
        let (first, last) = (spec.range.start.min(start), spec.range.end.max(start));
        reach(first, last)
    });
    Some(reaches.max().unwrap_or(0))
}

/// Whether a node's value at a step needs nothing of other steps.
fn is_of_its_step(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Paren(_) => true,
        ExprKind::Unary(..) | ExprKind::Binary(_) => true,
        ExprKind::Vector(selector) => selector.at.is_none() && is_fixed(selector.offset.as_ref()),
        ExprKind::Matrix(matrix) => {
            let selector = &matrix.selector;
            selector.at.is_none() && is_fixed(selector.offset.as_ref()) && is_fixed(Some(&matrix.range))
        }
        ExprKind::Subquery(subquery) => {
            let durations = [Some(&subquery.range), subquery.step.as_ref(), subquery.offset.as_ref()];
            subquery.at.is_none() && durations.into_iter().all(is_fixed)
        }
        ExprKind::Aggregate(aggregate) => picks_the_same(aggregate),
        ExprKind::Call(call) => !OF_THE_RANGE.contains(&call.func.name),
    }
}

/// Which series `limitk` takes follows from the order in which they come; where that depends on which series there are in
/// the range, so does the answer. Of equal samples `topk` picks by labels, whatever the order.
fn picks_the_same(aggregate: &Aggregate) -> bool {
    aggregate.op != AggregateOp::Limitk || is_ordered(&aggregate.expr)
}

/// Whether the rows come in the order of the selected series.
fn is_ordered(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Vector(_) | ExprKind::Matrix(_) | ExprKind::Number(_) | ExprKind::String(_) => true,
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => is_ordered(inner),
        ExprKind::Binary(_) => {
            // Between two vectors, the order is that of their signatures.
            let is_scalar = |operand: &&Expr| operand.value_type() == ValueType::Scalar;
            let mut vectors = expr.operands().into_iter().filter(|operand| !is_scalar(operand));
            vectors.next().is_none_or(is_ordered) && vectors.next().is_none()
        }
        ExprKind::Call(call) => is_ordered_call(call),
        ExprKind::Aggregate(_) | ExprKind::Subquery(_) => false,
    }
}

fn is_ordered_call(call: &Call) -> bool {
    let is_scalar = |arg: &Expr| matches!(arg.value_type(), ValueType::Scalar | ValueType::String);
    !UNORDERED.contains(&call.func.name) && call.args.iter().all(|arg| is_scalar(arg) || is_ordered(arg))
}

/// Whether a duration does not depend on how long the query's range is.
fn is_fixed(duration: Option<&DurationExpr>) -> bool {
    match duration {
        None | Some(DurationExpr::Millis(_)) => true,
        Some(DurationExpr::Computed(node, _)) => !names_range(node),
    }
}

fn names_range(node: &DurationNode) -> bool {
    match node {
        DurationNode::Number(_) | DurationNode::Step => false,
        DurationNode::Range => true,
        DurationNode::Unary(_, inner) | DurationNode::Paren(inner) => names_range(inner),
        DurationNode::Binary(_, a, b, _) | DurationNode::MinOf(a, b) | DurationNode::MaxOf(a, b) => {
            names_range(a) || names_range(b)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(query: &str) -> Option<i64> {
        let request = QueryRequest {
            query: query.to_string(),
            start_ms: 1_000_000_000,
            end_ms: 2_000_000_000,
            step_ms: Some(60_000),
            lookback_ms: None,
            timeout_ms: None,
            stats_per_step: false,
        };
        reach_ms(&request)
    }

    #[test]
    fn what_needs_the_whole_range_is_not_split() {
        for query in [
            "x @ start()",
            "rate(x[5m] @ end())",
            "x @ 1700000000",
            "max_over_time(x[1h:1m] @ end())",
            "x - end()",
            "rate(x[range()])",
            "rate(x[max_of(step(), range() / 2)])",
            "x offset range()",
            "max_over_time(x[1h:range() / 10])",
            "info(x)",
            "sort(x)",
            "limitk(2, sum by (a) (x))",
            "limitk(2, x * on (a) y)",
            "limitk(2, label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\"))",
            "sum(limitk(1, max by (a) (x)))",
            "nonsense(",
            "x[5m]",
        ] {
            assert_eq!(reach(query), None, "{query}");
        }
    }

    #[test]
    fn what_is_of_its_step_is_split_and_says_how_far_it_reaches() {
        for (query, reaches) in [
            ("x", 299_999),
            ("rate(x[10m])", 599_999),
            ("x offset 1h", 3_600_000 + 299_999),
            ("x offset -1h", 3_600_000),
            ("sum by (a) (rate(x[5m])) / on (a) group_left y", 299_999),
            ("max_over_time(rate(x[5m])[1d:1h])", 86_400_000 + 299_999),
            ("topk(3, rate(x[5m]) * 2)", 299_999),
            ("limitk(3, -x)", 299_999),
            ("sum(topk(1, sum by (a) (x)))", 299_999),
            ("bottomk(2, x * on (a) label_replace(y, \"a\", \"$1\", \"b\", \"(.*)\"))", 299_999),
            ("limit_ratio(0.5, sum by (a) (x))", 299_999),
            ("rate(x[5 * step()])", 299_999),
            ("vector(time())", 0),
        ] {
            assert_eq!(reach(query), Some(reaches), "{query}");
        }
    }
}
