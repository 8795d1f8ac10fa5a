//! Which experimental parts of the language a query may use. All of them unless a tenant's limits say otherwise; what
//! is off is refused with the words of a Prometheus that has it off.

use crate::ast::{AggregateOp, Chain, Expr, ExprKind, RangeMode, Span};
use crate::error::ParseError;
use crate::text::quote;

/// The experimental parts that may be used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Experimental {
    /// Functions and aggregations, by name.
    pub functions: Enabled,
    /// `anchored` and `smoothed`.
    pub range_selectors: Enabled,
    /// `fill`, `fill_left` and `fill_right`.
    pub fill_modifiers: Enabled,
}

/// Those of a kind that may be used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Enabled {
    /// All there are.
    #[default]
    All,
    /// Those of these names.
    Only(Vec<String>),
}

impl Enabled {
    fn has(&self, name: &str) -> bool {
        match self {
            Enabled::All => true,
            Enabled::Only(names) => names.iter().any(|known| known == name),
        }
    }
}

impl Experimental {
    /// Refuses the first part of a tree that may not be used. Inner parts come first, as a parser meets them.
    pub(crate) fn check(&self, query: &str, expr: &Expr) -> Result<(), ParseError> {
        if *self == Experimental::default() {
            return Ok(());
        }
        let Chain { first, links } = expr.chain();
        for child in first.children() {
            self.check(query, child)?;
        }
        self.refuse(query, first)?;
        for (link, binary) in links {
            self.check(query, &binary.rhs)?;
            self.refuse(query, link)?;
        }
        Ok(())
    }

    fn refuse(&self, query: &str, expr: &Expr) -> Result<(), ParseError> {
        match self.refusal(expr) {
            Some((at, message)) => Err(ParseError::new(query, at, message)),
            None => Ok(()),
        }
    }

    fn refusal(&self, expr: &Expr) -> Option<(Span, String)> {
        match &expr.kind {
            ExprKind::Call(call) if call.func.experimental && !self.functions.has(call.func.name) => {
                let name = call.func.name;
                let at = Span { start: expr.span.start, end: expr.span.start + name.len() };
                Some((at, format!("function {} is not enabled (limit {FUNCTIONS})", quote(name))))
            }
            ExprKind::Aggregate(aggregate) => {
                let name = experimental_name(aggregate.op).filter(|name| !self.functions.has(name))?;
                let flag = "--enable-feature=promql-experimental-functions";
                let message =
                    format!("{name}() is experimental and must be enabled with {flag} (limit {FUNCTIONS})");
                Some((expr.span, message))
            }
            ExprKind::Vector(_) | ExprKind::Matrix(_) => {
                let name = mode_name(expr.selector()?.range_mode)?;
                if self.range_selectors.has(name) {
                    return None;
                }
                let message =
                    format!("{name} modifier is experimental and not enabled (limit {RANGE_SELECTORS})");
                Some((expr.span, message))
            }
            ExprKind::Binary(binary) => {
                let matching = binary.matching.as_ref()?;
                let used = match (matching.fill_left, matching.fill_right) {
                    (None, None) => return None,
                    (Some(_), Some(_)) => &["fill", "fill_left fill_right"][..],
                    (Some(_), None) => &["fill_left"],
                    (None, Some(_)) => &["fill_right"],
                };
                // One `fill` is the same as both of the others.
                let is_on =
                    used.iter().any(|names| names.split(' ').all(|name| self.fill_modifiers.has(name)));
                let message =
                    format!("binop fill modifiers are experimental and not enabled (limit {FILL_MODIFIERS})");
                (!is_on).then_some((expr.span, message))
            }
            _ => None,
        }
    }
}

/// The limits of a tenant that say what is enabled.
const FUNCTIONS: &str = "enabled_promql_experimental_functions";
const RANGE_SELECTORS: &str = "enabled_promql_extended_range_selectors";
const FILL_MODIFIERS: &str = "enabled_promql_binop_fill_modifiers";

fn experimental_name(op: AggregateOp) -> Option<&'static str> {
    match op {
        AggregateOp::Limitk => Some("limitk"),
        AggregateOp::LimitRatio => Some("limit_ratio"),
        _ => None,
    }
}

fn mode_name(mode: RangeMode) -> Option<&'static str> {
    match mode {
        RangeMode::Normal => None,
        RangeMode::Anchored => Some("anchored"),
        RangeMode::Smoothed => Some("smoothed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(experimental: &Experimental, query: &str) -> Result<(), String> {
        let expr = crate::parse(query).map_err(|e| e.to_string())?;
        experimental.check(query, &expr).map_err(|e| e.to_string())
    }

    const QUERIES: [(&str, &str); 6] = [
        (
            "1 + info(x)",
            "1:5: parse error: function \"info\" is not enabled (limit enabled_promql_experimental_functions)",
        ),
        (
            "abs(limitk(1, x))",
            "1:5: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions (limit enabled_promql_experimental_functions)",
        ),
        (
            "rate(x[5m] anchored)",
            "1:6: parse error: anchored modifier is experimental and not enabled (limit enabled_promql_extended_range_selectors)",
        ),
        (
            "x smoothed",
            "1:1: parse error: smoothed modifier is experimental and not enabled (limit enabled_promql_extended_range_selectors)",
        ),
        (
            "a + fill(0) b",
            "1:1: parse error: binop fill modifiers are experimental and not enabled (limit enabled_promql_binop_fill_modifiers)",
        ),
        (
            "a + fill_left(0) b",
            "1:1: parse error: binop fill modifiers are experimental and not enabled (limit enabled_promql_binop_fill_modifiers)",
        ),
    ];

    #[test]
    fn what_is_off_is_refused_in_the_words_of_prometheus_with_its_limit_and_nothing_else_is() {
        let none = Enabled::Only(Vec::new());
        let off =
            Experimental { functions: none.clone(), range_selectors: none.clone(), fill_modifiers: none };
        for (query, message) in QUERIES {
            assert_eq!(check(&Experimental::default(), query), Ok(()), "{query}");
            assert_eq!(check(&off, query), Err(message.to_string()), "{query}");
        }
        assert_eq!(check(&off, "sum by (job) (rate(x[5m])) / on (job) y"), Ok(()));
    }

    #[test]
    fn a_part_is_enabled_by_its_name() {
        let only = |names: &[&str]| Enabled::Only(names.iter().map(ToString::to_string).collect());
        let some = Experimental {
            functions: only(&["info", "limitk"]),
            range_selectors: only(&["smoothed"]),
            fill_modifiers: only(&["fill_left", "fill_right"]),
        };
        let refused = QUERIES.iter().filter(|(query, _)| check(&some, query).is_err());
        assert_eq!(refused.map(|(query, _)| *query).collect::<Vec<_>>(), ["rate(x[5m] anchored)"]);
    }
}
