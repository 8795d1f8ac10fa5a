//! A tree to text on several lines, as Prometheus's `format_query` prints it: a node that takes more than a line is
//! split, with its parts indented.

use std::fmt::{self, Display, Formatter};

use crate::ast::{Aggregate, Binary, Call, Chain, Expr, ExprKind, Subquery, VectorMatching};
use crate::printer;

/// Bytes of a line (Prometheus: `maxCharactersPerLine`).
const LINE: usize = 100;
const INDENT: &str = "  ";

/// The expression over as many lines as it needs.
pub fn pretty(expr: &Expr) -> String {
    node(expr, 0)
}

fn node(expr: &Expr, level: usize) -> String {
    let line = expr.to_string();
    let indent = INDENT.repeat(level);
    let is_long = line.len() > LINE;
    match &expr.kind {
        ExprKind::Unary(sign, inner) => {
            format!("{indent}{}{}", sign.symbol(), node(inner, level).trim())
        }
        ExprKind::Subquery(inner) if is_long => subquery(inner, level),
        // Prometheus does not indent a subquery that fits on its line.
        ExprKind::Subquery(_) => line,
        ExprKind::Aggregate(inner) if is_long => aggregate(inner, level),
        ExprKind::Binary(_) if is_long => chain(expr, level),
        ExprKind::Call(inner) if is_long => call(inner, level),
        ExprKind::Paren(inner) if is_long => format!("{indent}(\n{}\n{indent})", node(inner, level + 1)),
        _ => format!("{indent}{line}"),
    }
}

fn aggregate(aggregate: &Aggregate, level: usize) -> String {
    let indent = INDENT.repeat(level);
    let param = aggregate.param.as_ref().map(|param| format!("{},\n", node(param, level + 1)));
    let (head, param) = (Head(aggregate), param.unwrap_or_default());
    format!("{indent}{head}(\n{param}{}\n{indent})", node(&aggregate.expr, level + 1))
}

/// Operations from the inside out, each at the level of its left side less one; those at the beginning that fit on a
/// line stay on it.
fn chain(expr: &Expr, level: usize) -> String {
    let Chain { first, links } = expr.chain();
    let is_short = |(expr, _): &(&Expr, &Binary)| expr.to_string().len() <= LINE;
    let n_short = links.partition_point(is_short);
    let innermost = n_short.checked_sub(1).map_or(first, |last| links[last].0);
    let mut text = node(innermost, level + links.len() - n_short);
    for (below, (_, binary)) in links[n_short..].iter().rev().enumerate().rev() {
        let bool = if binary.return_bool { " bool" } else { "" };
        let (indent, op) = (INDENT.repeat(level + below), binary.op.symbol());
        let rhs = node(&binary.rhs, level + below + 1);
        text += &format!("\n{indent}{op}{bool}{}\n{rhs}", Matching(binary.matching.as_ref()));
    }
    text
}

fn call(call: &Call, level: usize) -> String {
    let indent = INDENT.repeat(level);
    let args: Vec<String> = call.args.iter().map(|arg| node(arg, level + 1)).collect();
    format!("{indent}{}(\n{}\n{indent})", call.func.name, args.join(",\n"))
}

fn subquery(subquery: &Subquery, level: usize) -> String {
    format!("{}{}", node(&subquery.expr, level), Window(subquery))
}

/// Operator and grouping of an aggregation.
struct Head<'a>(&'a Aggregate);

/// How a binary operation matches its sides.
struct Matching<'a>(Option<&'a VectorMatching>);

/// What follows the expression of a subquery.
struct Window<'a>(&'a Subquery);

impl Display for Head<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        printer::aggregate_head(f, self.0)
    }
}

impl Display for Matching<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |matching| printer::matching(f, matching))
    }
}

impl Display for Window<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        printer::subquery_window(f, self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::parse;

    #[track_caller]
    fn check(query: &str, lines: &[&str]) {
        let printed = pretty(&parse(query).unwrap());
        assert_eq!(printed, lines.join("\n"));
        assert_eq!(pretty(&parse(&printed).unwrap()), printed, "printed twice");
    }

    #[test]
    fn what_fits_on_a_line_stays_on_it() {
        check("sum(rate(foo[5m]))by(a)", &["sum by (a) (rate(foo[5m]))"]);
        check("rate((-foo)[5m:1m])", &["rate((-foo)[5m:1m])"]);
    }

    #[test]
    fn what_does_not_is_split_and_indented() {
        let (a, b) = ("a".repeat(60), "b".repeat(60));
        check(
            &format!("topk(3, sum by (x) ({a} / on (y) group_left (z) {b}))"),
            &[
                "topk(",
                "  3,",
                "  sum by (x) (",
                &format!("      {a}"),
                "    / on (y) group_left (z)",
                &format!("      {b}"),
                "  )",
                ")",
            ],
        );
        check(
            &format!("-(clamp({a}, 1, scalar({b})))"),
            &["-(", "  clamp(", &format!("    {a},"), "    1,", &format!("    scalar({b})"), "  )", ")"],
        );
    }
}
