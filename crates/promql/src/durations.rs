//! Duration expressions, once the query's range and step are known.

use crate::ast::{BinaryOp, DurationExpr, DurationNode, Expr, ExprKind, UnaryOp};
use crate::error::ParseError;
use crate::go_math;
use crate::parser::is_out_of_range;
use crate::walk::{Descend, walk_mut};

/// What duration expressions may ask for, in seconds.
struct Context {
    step: f64,
    range: f64,
}

/// Replaces every [`DurationExpr::Computed`] by its value. `step()` is the query's step, `range()` the distance
/// from its start to its end; both are zero in an instant query.
pub fn resolve_durations(
    expr: &mut Expr,
    start_ms: i64,
    end_ms: i64,
    step_ms: i64,
) -> Result<(), ParseError> {
    let range = end_ms.saturating_sub(start_ms) as f64 / 1000.0;
    let context = Context { step: step_ms as f64 / 1000.0, range };
    let mut outcome = Ok(());
    walk_mut(expr, &mut |expr| {
        if outcome.is_ok() {
            outcome = context.resolve_expr(expr);
        }
        if outcome.is_ok() { Descend::Into } else { Descend::Past }
    });
    outcome
}

impl Context {
    fn resolve_expr(&self, expr: &mut Expr) -> Result<(), ParseError> {
        match &mut expr.kind {
            ExprKind::Vector(selector) => self.resolve(selector.offset.as_mut(), true),
            ExprKind::Matrix(matrix) => {
                self.resolve(Some(&mut matrix.range), false)?;
                self.resolve(matrix.selector.offset.as_mut(), true)
            }
            ExprKind::Subquery(subquery) => {
                self.resolve(subquery.offset.as_mut(), true)?;
                self.resolve(subquery.step.as_mut(), false)?;
                self.resolve(Some(&mut subquery.range), false)
            }
            _ => Ok(()),
        }
    }

    fn resolve(&self, duration: Option<&mut DurationExpr>, may_be_negative: bool) -> Result<(), ParseError> {
        let Some(duration) = duration else { return Ok(()) };
        let DurationExpr::Computed(node, span) = duration else { return Ok(()) };
        let seconds = self.seconds(node)?;
        let refused = if !seconds.is_finite() {
            Some("duration is NaN or infinite")
        } else if seconds <= 0.0 && !may_be_negative {
            Some("duration must be greater than 0")
        } else if is_out_of_range(seconds) {
            Some("duration is out of range")
        } else {
            None
        };
        if let Some(message) = refused {
            return Err(ParseError::of_bytes(*span, message));
        }
        *duration = DurationExpr::Millis((seconds * 1000.0) as i64);
        Ok(())
    }

    fn seconds(&self, node: &DurationNode) -> Result<f64, ParseError> {
        Ok(match node {
            DurationNode::Number(number) => number.value,
            DurationNode::Step => self.step,
            DurationNode::Range => self.range,
            DurationNode::Paren(inner) | DurationNode::Unary(UnaryOp::Plus, inner) => self.seconds(inner)?,
            DurationNode::Unary(UnaryOp::Minus, inner) => -self.seconds(inner)?,
            DurationNode::MinOf(a, b) => go_math::min(self.seconds(a)?, self.seconds(b)?),
            DurationNode::MaxOf(a, b) => go_math::max(self.seconds(a)?, self.seconds(b)?),
            DurationNode::Binary(op, a, b, span) => arithmetic(*op, self.seconds(a)?, self.seconds(b)?)
                .map_err(|message| ParseError::of_bytes(*span, message))?,
        })
    }
}

fn arithmetic(op: BinaryOp, a: f64, b: f64) -> Result<f64, &'static str> {
    match op {
        BinaryOp::Add => Ok(a + b),
        BinaryOp::Sub => Ok(a - b),
        BinaryOp::Mul => Ok(a * b),
        BinaryOp::Div if b == 0.0 => Err("division by zero"),
        BinaryOp::Div => Ok(a / b),
        BinaryOp::Mod if b == 0.0 => Err("modulo by zero"),
        BinaryOp::Mod => Ok(a % b),
        BinaryOp::Pow => Ok(go_math::pow(a, b)),
        _ => Err("operator is not allowed in a duration"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::parse;

    #[track_caller]
    fn check(query: &str, expected: Result<&str, &str>) {
        let mut expr = parse(query).unwrap();
        let outcome = resolve_durations(&mut expr, 50_000, 60_000, 5_000);
        let found = outcome.map(|()| expr.to_string()).map_err(|e| e.to_string());
        assert_eq!(found, expected.map(str::to_string).map_err(str::to_string));
    }

    #[test]
    fn step_and_range_are_the_querys() {
        check("foo[step()]", Ok("foo[5s]"));
        check("foo[(step()) + 1]", Ok("foo[6s]"));
        check("foo[range() * 2:min_of(step(), 1s)]", Ok("foo[20s:1s]"));
        check("foo offset -max_of(step(), 7)", Ok("foo offset -7s"));
        check("foo[30m1s - 30m1s % 1m] offset (2 ^ 2 ^ 0.5)", Ok("foo[30m] offset 2s665ms"));
    }

    #[test]
    fn a_duration_that_is_none_is_refused() {
        check("foo[step() - 5]", Err("4:14: duration must be greater than 0"));
        check("foo[1h / (step() - 5)]", Err("4:20: division by zero"));
        check("foo[1h % (step() - 5)]", Err("4:20: modulo by zero"));
        check("foo[1m + 1h / (step() - 5)]", Err("9:25: division by zero"));
        check("foo[--(-5m)]", Err("4:10: duration must be greater than 0"));
        check("foo[-min_of(1m, (2m))]", Err("4:19: duration must be greater than 0"));
        check("foo offset (2 ^ 43 * 1m)", Err("12:23: duration is out of range"));
        check("foo offset (1m) / NaN", Err("11:21: duration is NaN or infinite"));
        check("foo offset NaN", Ok("foo offset -106751d23h47m16s854ms"));
        check("foo[10 ^ 400]", Err("4:12: duration is NaN or infinite"));
        check("foo[10 ^ 200]", Err("4:12: duration is out of range"));
        check("foo offset (step() - 6)", Ok("foo offset -1s"));
    }
}
