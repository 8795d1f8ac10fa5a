//! A tree to text that parses back to it.
//!
//! Parentheses are nodes of their own, so nothing is added; spacing and the order of modifiers are Prometheus's.

use std::fmt::{self, Display, Formatter, Write};

use model::{METRIC_NAME, Matcher, MatcherOp};

use crate::ast::{
    Aggregate, At, Binary, Cardinality, DurationExpr, DurationNode, Expr, ExprKind, Number, RangeMode,
    Subquery, UnaryOp, VectorMatching, VectorSelector,
};
use crate::lexer::{is_number_word, is_reserved_metric_name};
use crate::text::{is_plain_label_name, is_plain_metric_name, quote};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(number) => write!(f, "{number}"),
            ExprKind::String(text) => f.write_str(&quote(text)),
            ExprKind::Vector(selector) => {
                matchers(f, selector)?;
                at_modifier(f, selector.at)?;
                range_mode(f, selector.range_mode)?;
                offset_modifier(f, selector.offset.as_ref())
            }
            ExprKind::Matrix(matrix) => {
                matchers(f, &matrix.selector)?;
                write!(f, "[{}]", matrix.range)?;
                range_mode(f, matrix.selector.range_mode)?;
                at_modifier(f, matrix.selector.at)?;
                offset_modifier(f, matrix.selector.offset.as_ref())
            }
            ExprKind::Subquery(inner) => subquery(f, inner),
            ExprKind::Paren(inner) => write!(f, "({inner})"),
            ExprKind::Unary(sign, inner) => write!(f, "{}{inner}", sign.symbol()),
            ExprKind::Binary(_) => {
                let chain = self.chain();
                write!(f, "{}", chain.first)?;
                chain.links.into_iter().try_for_each(|(_, inner)| right_side(f, inner))
            }
            ExprKind::Aggregate(inner) => aggregate(f, inner),
            ExprKind::Call(call) => {
                write!(f, "{}(", call.func.name)?;
                separated(f, &call.args)?;
                f.write_char(')')
            }
        }
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_duration {
            return write_duration(f, (self.value * 1000.0).round() as i64);
        }
        write_float(f, self.value)
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            DurationExpr::Millis(millis) => write_duration(f, *millis),
            DurationExpr::Computed(node, _) => write!(f, "{node}"),
        }
    }
}

impl Display for DurationNode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            DurationNode::Number(number) => write!(f, "{number}"),
            DurationNode::Step => f.write_str("step()"),
            DurationNode::Range => f.write_str("range()"),
            DurationNode::Unary(UnaryOp::Plus, inner) => write!(f, "{inner}"),
            DurationNode::Unary(sign, inner) => write!(f, "{}{inner}", sign.symbol()),
            DurationNode::Binary(op, lhs, rhs, _) => write!(f, "{lhs} {} {rhs}", op.symbol()),
            DurationNode::MinOf(a, b) => write!(f, "min_of({a}, {b})"),
            DurationNode::MaxOf(a, b) => write!(f, "max_of({a}, {b})"),
            // Prometheus remembers that there were parentheses, not how many.
            DurationNode::Paren(inner) if matches!(**inner, DurationNode::Paren(_)) => write!(f, "{inner}"),
            DurationNode::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

fn matchers(f: &mut Formatter<'_>, selector: &VectorSelector) -> fmt::Result {
    let name = selector.name.as_deref().filter(|n| is_plain_metric_name(n) && !is_reserved_metric_name(n));
    f.write_str(name.unwrap_or_default())?;
    let is_name =
        |m: &Matcher| m.name == METRIC_NAME && m.op == MatcherOp::Equal && Some(m.value.as_str()) == name;
    let shown: Vec<&Matcher> = selector.matchers.iter().filter(|m| !is_name(m)).collect();
    if shown.is_empty() && name.is_some() {
        return Ok(());
    }
    let mut texts: Vec<String> = shown.into_iter().map(matcher).collect();
    texts.sort_unstable();
    write!(f, "{{{}}}", texts.join(","))
}

fn matcher(matcher: &Matcher) -> String {
    let (op, value) = (matcher.op.symbol(), quote(&matcher.value));
    if is_plain_label_name(&matcher.name) {
        format!("{}{op}{value}", matcher.name)
    } else {
        format!("{}{op}{value}", quote(&matcher.name))
    }
}

fn range_mode(f: &mut Formatter<'_>, mode: RangeMode) -> fmt::Result {
    f.write_str(match mode {
        RangeMode::Normal => "",
        RangeMode::Anchored => " anchored",
        RangeMode::Smoothed => " smoothed",
    })
}

fn at_modifier(f: &mut Formatter<'_>, at: Option<At>) -> fmt::Result {
    match at {
        None => Ok(()),
        Some(At::Start) => f.write_str(" @ start()"),
        Some(At::End) => f.write_str(" @ end()"),
        Some(At::Timestamp(millis)) => {
            let sign = if millis < 0 { "-" } else { "" };
            let millis = millis.unsigned_abs();
            write!(f, " @ {sign}{}.{:03}", millis / 1000, millis % 1000)
        }
    }
}

fn offset_modifier(f: &mut Formatter<'_>, offset: Option<&DurationExpr>) -> fmt::Result {
    offset.map_or(Ok(()), |offset| write!(f, " offset {offset}"))
}

fn subquery(f: &mut Formatter<'_>, subquery: &Subquery) -> fmt::Result {
    write!(f, "{}", subquery.expr)?;
    subquery_window(f, subquery)
}

/// What follows the expression of a subquery.
pub(crate) fn subquery_window(f: &mut Formatter<'_>, subquery: &Subquery) -> fmt::Result {
    write!(f, "[{}:", subquery.range)?;
    if let Some(step) = &subquery.step {
        write!(f, "{step}")?;
    }
    f.write_char(']')?;
    at_modifier(f, subquery.at)?;
    offset_modifier(f, subquery.offset.as_ref())
}

/// An operator and what is on its right.
fn right_side(f: &mut Formatter<'_>, binary: &Binary) -> fmt::Result {
    write!(f, " {}", binary.op.symbol())?;
    if binary.return_bool {
        f.write_str(" bool")?;
    }
    if let Some(found) = &binary.matching {
        matching(f, found)?;
    }
    write!(f, " {}", binary.rhs)
}

/// ` on (…) group_left (…) fill (…)`, nothing for a plain match.
pub(crate) fn matching(f: &mut Formatter<'_>, matching: &VectorMatching) -> fmt::Result {
    let group = match matching.cardinality {
        Cardinality::ManyToOne => Some(" group_left "),
        Cardinality::OneToMany => Some(" group_right "),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if matching.on || !matching.labels.is_empty() || group.is_some() {
        f.write_str(if matching.on { " on " } else { " ignoring " })?;
        labels(f, &matching.labels)?;
    }
    if let Some(group) = group {
        f.write_str(group)?;
        labels(f, &matching.include)?;
    }
    match (matching.fill_left, matching.fill_right) {
        // Two NaNs are not equal, neither here nor to Prometheus.
        (Some(left), Some(right)) if left == right => fill(f, "fill", left),
        (left, right) => {
            left.map_or(Ok(()), |value| fill(f, "fill_left", value))?;
            right.map_or(Ok(()), |value| fill(f, "fill_right", value))
        }
    }
}

fn fill(f: &mut Formatter<'_>, keyword: &str, value: f64) -> fmt::Result {
    write!(f, " {keyword} (")?;
    write_float(f, value)?;
    f.write_char(')')
}

fn aggregate(f: &mut Formatter<'_>, aggregate: &Aggregate) -> fmt::Result {
    aggregate_head(f, aggregate)?;
    f.write_char('(')?;
    if let Some(param) = &aggregate.param {
        write!(f, "{param}, ")?;
    }
    write!(f, "{})", aggregate.expr)
}

/// `op by (…) `
pub(crate) fn aggregate_head(f: &mut Formatter<'_>, aggregate: &Aggregate) -> fmt::Result {
    f.write_str(aggregate.op.name())?;
    if aggregate.without || !aggregate.grouping.is_empty() {
        f.write_str(if aggregate.without { " without " } else { " by " })?;
        labels(f, &aggregate.grouping)?;
        f.write_char(' ')?;
    }
    Ok(())
}

fn labels(f: &mut Formatter<'_>, labels: &[String]) -> fmt::Result {
    let shown: Vec<String> = labels
        .iter()
        .map(|label| {
            let is_bare = is_plain_label_name(label) && !is_number_word(label);
            if is_bare { label.clone() } else { quote(label) }
        })
        .collect();
    write!(f, "({})", shown.join(", "))
}

fn separated(f: &mut Formatter<'_>, exprs: &[Expr]) -> fmt::Result {
    for (i, expr) in exprs.iter().enumerate() {
        f.write_str(if i > 0 { ", " } else { "" })?;
        write!(f, "{expr}")?;
    }
    Ok(())
}

/// Without an exponent, as Go's `'f'` with the shortest precision.
fn write_float(f: &mut Formatter<'_>, value: f64) -> fmt::Result {
    match value {
        v if v.is_nan() => f.write_str("NaN"),
        v if v.is_infinite() => f.write_str(if v > 0.0 { "+Inf" } else { "-Inf" }),
        v => write!(f, "{v}"),
    }
}

/// As Prometheus writes durations: years and weeks only where nothing is left over.
fn write_duration(f: &mut Formatter<'_>, millis: i64) -> fmt::Result {
    const UNITS: [(&str, u64, bool); 7] = [
        ("y", 365 * 86_400_000, true),
        ("w", 7 * 86_400_000, true),
        ("d", 86_400_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1000, false),
        ("ms", 1, false),
    ];
    if millis == 0 {
        return f.write_str("0s");
    }
    if millis < 0 {
        f.write_char('-')?;
    }
    let mut rest = millis.unsigned_abs();
    for (unit, size, only_exact) in UNITS {
        let count = rest / size;
        if count > 0 && (!only_exact || rest.is_multiple_of(size)) {
            write!(f, "{count}{unit}")?;
            rest -= count * size;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::parser::parse;

    #[track_caller]
    fn check(query: &str, printed: &str) {
        assert_eq!(parse(query).unwrap().to_string(), printed);
        assert_eq!(parse(printed).unwrap().to_string(), printed, "printed twice");
    }

    #[test]
    fn everything_prints_as_prometheus_prints_it() {
        check("sum(foo)by(a,)", "sum by (a) (foo)");
        check("sum by() (foo)", "sum(foo)");
        check("sum without() (foo)", "sum without () (foo)");
        check("topk(+5, foo{a=\"b\"})", "topk(5, foo{a=\"b\"})");
        check("a * on(b)group_left c", "a * on (b) group_left () c");
        check("a > bool ignoring(b) fill(0)c", "a > bool ignoring (b) fill (0) c");
        check("a + fill_right(-1) fill_left(NaN) c", "a + fill_left (NaN) fill_right (-1) c");
        check("{\"foo\", 'b.c'=~`x`}", "{\"b.c\"=~\"x\",__name__=\"foo\"}");
        check("sum by (\"a.b\", \"inf\") (foo)", "sum by (\"a.b\", \"inf\") (foo)");
        check("foo[90d] @ -1.5 offset -61s", "foo[90d] @ -1.500 offset -1m1s");
        check("foo offset 5m anchored @ end()", "foo @ end() anchored offset 5m");
        check("foo[1y:] offset 2w@ start()", "foo[1y:] @ start() offset 2w");
        check("-foo ^ -2 + -(1)", "-foo ^ -2 + -(1)");
        check("5m + 1e300", &format!("5m + 1{}", "0".repeat(300)));
        check("-Inf * 0x1f", "-Inf * 31");
        check("info(a, {b=\"c\"})", "info(a, {b=\"c\"})");
        check("info(a, {})", "info(a, {})");
        check("foo[-(5m) + 10m:STEP()]", "foo[-(5m) + 10m:step()]");
    }
}
