//! The same query with its time pinned by `@`, which must not care when it is asked.

use std::sync::LazyLock;

use promql::Descend;
use promql::ast::{At, Expr, ExprKind};
use regex::Regex;

/// Functions whose value depends on the time of evaluation even where their arguments do not.
const TIME_DEPENDENT: [&str; 15] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "end",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "range",
    "start",
    "step",
    "time",
    "timestamp",
    "year",
];

/// Calls that mean something else in a range query.
static CONTEXT_CALLS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(start|end|range|step)\(\)").expect("the pattern is a constant that compiles")
});

/// Whether the query asks for its own range or step.
pub(super) fn asks_for_context(expr: &str) -> bool {
    CONTEXT_CALLS.is_match(expr)
}

/// The query with `@ at` on every outermost selector and subquery, and the times to ask it at; none if its value
/// depends on the time anyway.
pub(super) fn pinned(mut expr: Expr, at: i64) -> Option<(String, Vec<i64>)> {
    let mut time_dependent = false;
    promql::walk_mut(&mut expr, &mut |expr| pin(expr, at, &mut time_dependent));
    if time_dependent {
        return None;
    }
    let times = if at == 0 { vec![-1000, 0, 1000] } else { vec![-10 * at, 0, at / 5, at, 10 * at] };
    Some((expr.to_string(), times))
}

fn pin(expr: &mut Expr, at: i64, time_dependent: &mut bool) -> Descend {
    let slot = match &mut expr.kind {
        ExprKind::Vector(selector) => &mut selector.at,
        ExprKind::Matrix(matrix) => &mut matrix.selector.at,
        ExprKind::Subquery(subquery) => &mut subquery.at,
        ExprKind::Call(call) => {
            *time_dependent |= TIME_DEPENDENT.contains(&call.func.name);
            return Descend::Into;
        }
        _ => return Descend::Into,
    };
    if !matches!(slot, Some(At::Timestamp(_))) {
        *slot = Some(At::Timestamp(at));
    }
    // Below a subquery with a time of its own nothing depends on when it is asked.
    Descend::Past
}
