//! What can be said about a query without evaluating it: `format_query` and `parse_query`.

use axum::response::Response;
use model::{METRIC_NAME, Matcher};
use promql::ast::{
    Aggregate, At, Binary, Call, Cardinality, DurationExpr, DurationNode, Expr, ExprKind, Number, RangeMode,
    Subquery, ValueType, VectorMatching, VectorSelector,
};

use crate::error::ApiError;
use crate::json::{self, Json};
use crate::params::Params;

/// `/format_query`
pub(crate) async fn format(params: Params) -> Result<Response, ApiError> {
    let pretty = promql::pretty(&parse(&params, LONGEST_FORMATTED)?);
    Ok(json::success(|out| {
        out.string(&pretty);
    }))
}

/// `/parse_query`: the tree, in the shape of Prometheus's own page.
pub(crate) async fn tree(params: Params) -> Result<Response, ApiError> {
    let expr = parse(&params, promql::MAX_DEPTH)?;
    Ok(json::success(|out| node(out, &expr)))
}

/// The most operators of a chain whose tree is printed on lines: each operation is indented more than the one that it
/// ends in, so that the text grows with the square.
const LONGEST_FORMATTED: usize = 1_000;

fn parse(params: &Params, longest: usize) -> Result<Expr, ApiError> {
    let refuse = |e: String| ApiError::parameter("query", e);
    let expr = promql::parse(params.get("query").unwrap_or_default()).map_err(|e| refuse(e.to_string()))?;
    let mut length = 0;
    promql::walk(&expr, &mut |expr| length = length.max(expr.chain().links.len()));
    if length > longest {
        let limit = "shown_chain";
        return Err(refuse(format!(
            "chain of {length} operators (fixed limit {limit} of {longest}), which can be evaluated but not shown"
        )));
    }
    Ok(expr)
}

fn node(out: &mut Json, expr: &Expr) {
    out.object(|out| match &expr.kind {
        ExprKind::Number(number) => {
            out.key("type").string("numberLiteral");
            out.key("val").string(&number_text(number.value));
        }
        ExprKind::String(text) => {
            out.key("type").string("stringLiteral");
            out.key("val").string(&promql::as_utf8(text));
        }
        ExprKind::Vector(inner) => {
            out.key("type").string("vectorSelector");
            selector(out, inner);
        }
        ExprKind::Matrix(matrix) => {
            out.key("type").string("matrixSelector");
            selector(out, &matrix.selector);
            duration(out, "range", "rangeExpr", Some(&matrix.range));
        }
        ExprKind::Subquery(inner) => subquery(out, inner),
        ExprKind::Paren(inner) => {
            out.key("type").string("parenExpr");
            node(out.key("expr"), inner);
        }
        ExprKind::Unary(sign, inner) => {
            out.key("type").string("unaryExpr");
            out.key("op").string(sign.symbol());
            node(out.key("expr"), inner);
        }
        ExprKind::Binary(inner) => binary(out, inner),
        ExprKind::Aggregate(inner) => aggregate(out, inner),
        ExprKind::Call(inner) => call(out, inner),
    });
}

fn selector(out: &mut Json, selector: &VectorSelector) {
    out.key("name").string(selector.name.as_deref().unwrap_or_default());
    // A name before the braces is the last of the matchers.
    let is_name = |m: &&Matcher| m.name == METRIC_NAME && Some(&m.value) == selector.name.as_ref();
    let (name, others): (Vec<&Matcher>, Vec<&Matcher>) = selector.matchers.iter().partition(is_name);
    out.key("matchers").array(|out| others.into_iter().chain(name).for_each(|m| matcher(out, m)));
    duration(out, "offset", "offsetExpr", selector.offset.as_ref());
    at(out, selector.at);
    out.key("anchored").bool(selector.range_mode == RangeMode::Anchored);
    out.key("smoothed").bool(selector.range_mode == RangeMode::Smoothed);
}

fn matcher(out: &mut Json, matcher: &Matcher) {
    out.object(|out| {
        out.key("name").string(&matcher.name);
        out.key("type").string(matcher.op.symbol());
        out.key("value").string(&promql::as_utf8(&matcher.value));
    });
}

fn subquery(out: &mut Json, subquery: &Subquery) {
    out.key("type").string("subquery");
    node(out.key("expr"), &subquery.expr);
    duration(out, "range", "rangeExpr", Some(&subquery.range));
    duration(out, "step", "stepExpr", subquery.step.as_ref());
    duration(out, "offset", "offsetExpr", subquery.offset.as_ref());
    at(out, subquery.at);
}

fn binary(out: &mut Json, binary: &Binary) {
    out.key("type").string("binaryExpr");
    out.key("op").string(binary.op.symbol());
    node(out.key("lhs"), &binary.lhs);
    node(out.key("rhs"), &binary.rhs);
    out.key("bool").bool(binary.return_bool);
    match &binary.matching {
        None => out.key("matching").null(),
        Some(found) => out.key("matching").object(|out| matching(out, found)),
    };
}

fn matching(out: &mut Json, matching: &VectorMatching) {
    out.key("card").string(match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    });
    out.key("labels").strings(&matching.labels);
    out.key("on").bool(matching.on);
    out.key("include").strings(&matching.include);
    out.key("fillValues").object(|out| {
        for (side, value) in [("lhs", matching.fill_left), ("rhs", matching.fill_right)] {
            // JSON has no NaN and no infinity.
            match value.filter(|value| value.is_finite()) {
                Some(value) => out.key(side).number(value),
                None => out.key(side).null(),
            };
        }
    });
}

fn aggregate(out: &mut Json, aggregate: &Aggregate) {
    out.key("type").string("aggregation");
    out.key("op").string(aggregate.op.name());
    node(out.key("expr"), &aggregate.expr);
    match &aggregate.param {
        Some(param) => node(out.key("param"), param),
        None => {
            out.key("param").null();
        }
    }
    out.key("grouping").strings(&aggregate.grouping);
    out.key("without").bool(aggregate.without);
}

fn call(out: &mut Json, call: &Call) {
    out.key("type").string("call");
    out.key("func").object(|out| {
        out.key("name").string(call.func.name);
        let types: Vec<&str> = call.func.args.iter().copied().map(type_name).collect();
        out.key("argTypes").strings(&types);
        out.key("variadic").number(call.func.variadic);
        out.key("returnType").string(type_name(call.func.returns));
    });
    out.key("args").array(|out| call.args.iter().for_each(|arg| node(out, arg)));
}

fn type_name(kind: ValueType) -> &'static str {
    match kind {
        ValueType::Scalar => "scalar",
        ValueType::String => "string",
        ValueType::Vector => "vector",
        ValueType::Matrix => "matrix",
    }
}

fn at(out: &mut Json, at: Option<At>) {
    match at {
        Some(At::Timestamp(ms)) => out.key("timestamp").number(ms),
        _ => out.key("timestamp").null(),
    };
    match at {
        Some(At::Start) => out.key("startOrEnd").string("start"),
        Some(At::End) => out.key("startOrEnd").string("end"),
        _ => out.key("startOrEnd").null(),
    };
}

/// A duration in milliseconds under `key`, and what it is computed from under `computed`.
fn duration(out: &mut Json, key: &str, computed: &str, duration: Option<&DurationExpr>) {
    match duration {
        None => {
            out.key(key).number(0);
            out.key(computed).null();
        }
        Some(DurationExpr::Millis(ms)) => {
            out.key(key).number(ms);
            out.key(computed).null();
        }
        Some(DurationExpr::Computed(term, _)) => {
            out.key(key).number(0);
            duration_node(out.key(computed), term, false);
        }
    }
}

fn duration_node(out: &mut Json, term: &DurationNode, wrapped: bool) {
    match term {
        DurationNode::Number(number) if !wrapped => duration_number(out, number),
        DurationNode::Number(_) => operation(out, "+", None, Some(term), wrapped),
        DurationNode::Paren(inner) => duration_node(out, inner, true),
        DurationNode::Step => operation(out, "step", None, None, wrapped),
        DurationNode::Range => operation(out, "range", None, None, wrapped),
        DurationNode::Unary(sign, inner) => operation(out, sign.symbol(), None, Some(inner), wrapped),
        DurationNode::Binary(op, lhs, rhs, _) => operation(out, op.symbol(), Some(lhs), Some(rhs), wrapped),
        DurationNode::MinOf(a, b) => operation(out, "min_of", Some(a), Some(b), wrapped),
        DurationNode::MaxOf(a, b) => operation(out, "max_of", Some(a), Some(b), wrapped),
    }
}

fn operation(
    out: &mut Json,
    op: &str,
    lhs: Option<&DurationNode>,
    rhs: Option<&DurationNode>,
    wrapped: bool,
) {
    out.object(|out| {
        out.key("type").string("durationExpr");
        out.key("op").string(op);
        for (side, term) in [("lhs", lhs), ("rhs", rhs)] {
            match term {
                Some(term) => duration_node(out.key(side), term, false),
                None => {
                    out.key(side).null();
                }
            }
        }
        out.key("wrapped").bool(wrapped);
    });
}

fn duration_number(out: &mut Json, number: &Number) {
    out.object(|out| {
        out.key("type").string("numberLiteral");
        out.key("val").string(&number_text(number.value));
        out.key("duration").bool(number.is_duration);
    });
}

fn number_text(value: f64) -> String {
    match value {
        v if v.is_nan() => "NaN".to_string(),
        v if v.is_infinite() => if v > 0.0 { "+Inf" } else { "-Inf" }.to_string(),
        v => v.to_string(),
    }
}
