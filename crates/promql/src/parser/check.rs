//! Types, after the syntax is known to be right. Errors come in the order in which Prometheus finds them.

use model::METRIC_NAME;

use super::Parsed;
use crate::ast::{
    Aggregate, Binary, BinaryOp, Call, Cardinality, Expr, ExprKind, Span, ValueType, VectorMatching,
    VectorSelector,
};
use crate::error::ParseError;
use crate::text::quote;

struct Checker<'a> {
    query: &'a str,
}

/// Checks the types, and settles what depends on them: how the sides of a binary operation are matched.
pub(super) fn check(query: &str, expr: &mut Expr) -> Parsed<()> {
    Checker { query }.expr(expr).map(|_| ())
}

impl Checker<'_> {
    fn expr(&self, expr: &mut Expr) -> Parsed<ValueType> {
        let span = expr.span;
        match &mut expr.kind {
            ExprKind::Number(_) | ExprKind::String(_) => {}
            ExprKind::Vector(selector) => self.selector(selector, span, false)?,
            ExprKind::Matrix(matrix) => {
                let selector_span = matrix.selector_span;
                self.selector(&matrix.selector, selector_span, false)?;
            }
            ExprKind::Subquery(subquery) => {
                let found = self.expr(&mut subquery.expr)?;
                if found != ValueType::Vector {
                    let found = found.name();
                    let message = format!("subquery is only allowed on instant vector, got {found} instead");
                    return Err(self.error(span, message));
                }
            }
            ExprKind::Paren(inner) => {
                self.expr(inner)?;
            }
            ExprKind::Unary(_, inner) => self.unary(inner, span)?,
            ExprKind::Binary(_) => return self.chain(expr),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate)?,
            ExprKind::Call(call) => self.call(call, span)?,
        }
        Ok(expr.value_type())
    }

    fn selector(&self, selector: &VectorSelector, span: Span, may_be_empty: bool) -> Parsed<()> {
        if let Some(name) = &selector.name {
            let inside = &selector.matchers[..selector.matchers.len().saturating_sub(1)];
            return match inside.iter().find(|m| m.name == METRIC_NAME) {
                Some(second) => {
                    let (name, second) = (quote(name), quote(&second.value));
                    let message = format!("metric name must not be set twice: {name} or {second}");
                    Err(self.error(span, message))
                }
                None => Ok(()),
            };
        }
        if !may_be_empty && selector.matchers.iter().all(|m| m.matches_empty()) {
            return Err(self.error(span, "vector selector must contain at least one non-empty matcher"));
        }
        Ok(())
    }

    fn unary(&self, inner: &mut Expr, span: Span) -> Parsed<()> {
        let found = self.expr(inner)?;
        if !is_operand(found) {
            let message = format!(
                "unary expression only allowed on expressions of type scalar or instant vector, got {}",
                quote(found.describe())
            );
            return Err(self.error(span, message));
        }
        Ok(())
    }

    fn aggregate(&self, aggregate: &mut Aggregate) -> Parsed<()> {
        self.expect(&mut aggregate.expr, ValueType::Vector, "aggregation expression")?;
        if let (Some(wanted), Some(param)) = (aggregate.op.param(), &mut aggregate.param) {
            self.expect(param, wanted, "aggregation parameter")?;
        }
        Ok(())
    }

    fn expect(&self, expr: &mut Expr, wanted: ValueType, context: &str) -> Parsed<()> {
        let found = self.expr(expr)?;
        if found != wanted {
            return Err(self.type_error(expr.span, wanted, context, found));
        }
        Ok(())
    }

    /// Operations from the inside out.
    fn chain(&self, expr: &mut Expr) -> Parsed<ValueType> {
        let nothing = || Expr { kind: ExprKind::String(String::new()), span: Span::default() };
        let mut left = std::mem::replace(expr, nothing());
        let mut links = Vec::new();
        while let ExprKind::Binary(mut binary) = left.kind {
            let lhs = std::mem::replace(&mut binary.lhs, nothing());
            links.push((binary, left.span));
            left = lhs;
        }
        let mut found = self.expr(&mut left)?;
        for (mut binary, span) in links.into_iter().rev() {
            binary.lhs = left;
            found = self.binary(&mut binary, found, span)?;
            left = Expr { kind: ExprKind::Binary(binary), span };
        }
        *expr = left;
        Ok(found)
    }

    fn binary(&self, binary: &mut Binary, left: ValueType, span: Span) -> Parsed<ValueType> {
        let right = self.expr(&mut binary.rhs)?;
        self.bool_modifier(binary, left, right)?;
        if let Some(matching) = &mut binary.matching {
            if binary.op.is_set() && matching.cardinality == Cardinality::OneToOne {
                matching.cardinality = Cardinality::ManyToMany;
            }
            let both = matching.labels.iter().find(|label| matching.include.contains(label));
            if let (Some(label), true) = (both.cloned(), matching.on) {
                let label = quote(&label);
                let message = format!("label {label} must not occur in ON and GROUP clause at once");
                return Err(self.error(self.op_span(binary), message));
            }
        }
        for (side, found) in [(&binary.lhs, left), (&binary.rhs, right)] {
            if !is_operand(found) {
                let message = "binary expression must contain only scalar and instant vector types";
                return Err(self.error(side.span, message));
            }
        }
        let both_vectors = left == ValueType::Vector && right == ValueType::Vector;
        if let Some(matching) = &binary.matching {
            self.matching(binary.op, matching, both_vectors, span)?;
        }
        if !both_vectors {
            binary.matching = None;
        }
        if binary.op.is_set() && (left == ValueType::Scalar || right == ValueType::Scalar) {
            let op = quote(binary.op.symbol());
            let message = format!("set operator {op} not allowed in binary scalar expression");
            return Err(self.error(span, message));
        }
        let is_scalar = left == ValueType::Scalar && right == ValueType::Scalar;
        Ok(if is_scalar { ValueType::Scalar } else { ValueType::Vector })
    }

    fn bool_modifier(&self, binary: &Binary, left: ValueType, right: ValueType) -> Parsed<()> {
        if binary.return_bool && !binary.op.is_comparison() {
            let message = "bool modifier can only be used on comparison operators";
            return Err(self.error(self.op_span(binary), message));
        }
        let both_scalars = left == ValueType::Scalar && right == ValueType::Scalar;
        if binary.op.is_comparison() && !binary.return_bool && both_scalars {
            let message = "comparisons between scalars must use BOOL modifier";
            return Err(self.error(self.op_span(binary), message));
        }
        Ok(())
    }

    fn matching(
        &self,
        op: BinaryOp,
        matching: &VectorMatching,
        both_vectors: bool,
        span: Span,
    ) -> Parsed<()> {
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        let groups = matches!(matching.cardinality, Cardinality::ManyToOne | Cardinality::OneToMany);
        let message = match both_vectors {
            false if !matching.labels.is_empty() => "vector matching only allowed between instant vectors",
            false if fills => "filling in missing series only allowed between instant vectors",
            true if op.is_set() && groups => {
                let op = quote(op.symbol());
                return Err(self.error(span, format!("no grouping allowed for {op} operation")));
            }
            true if op.is_set() && fills => "filling in missing series not allowed for set operators",
            _ => return Ok(()),
        };
        Err(self.error(span, message))
    }

    /// The operator and its modifiers: what stands between the two sides.
    fn op_span(&self, binary: &Binary) -> Span {
        let (start, end) = (binary.lhs.span.end, binary.rhs.span.start.max(binary.lhs.span.end));
        let between = &self.query[start..end];
        let blank = between.len() - between.trim_start().len();
        Span { start: start + blank, end: start + between.trim_end().len().max(blank) }
    }

    fn call(&self, call: &mut Call, span: Span) -> Parsed<()> {
        self.count_arguments(call, span)?;
        if call.func.name == "info" {
            self.info_selector(call, span)?;
        }
        let func = call.func;
        let may_be_empty = func.name == "info";
        for (i, arg) in call.args.iter_mut().enumerate() {
            let Some(wanted) = func.args.get(i).or(func.args.last()) else { break };
            let found = match &arg.kind {
                ExprKind::Vector(selector) if may_be_empty && i == 1 => {
                    self.selector(selector, arg.span, true)?;
                    ValueType::Vector
                }
                _ => self.expr(arg)?,
            };
            if found != *wanted {
                let context = format!("call to function {}", quote(func.name));
                return Err(self.type_error(arg.span, *wanted, &context, found));
            }
        }
        Ok(())
    }

    fn count_arguments(&self, call: &Call, span: Span) -> Parsed<()> {
        let (wanted, given, variadic) = (call.func.args.len(), call.args.len(), call.func.variadic);
        let name = quote(call.func.name);
        if variadic == 0 {
            if given == wanted {
                return Ok(());
            }
            let message = format!("expected {wanted} argument(s) in call to {name}, got {given}");
            return Err(self.error(span, message));
        }
        let least = wanted.saturating_sub(1);
        if given < least {
            let message = format!("expected at least {least} argument(s) in call to {name}, got {given}");
            return Err(self.error(span, message));
        }
        let most = usize::try_from(variadic).map(|n| least + n);
        match most {
            Ok(most) if given > most => {
                let message = format!("expected at most {most} argument(s) in call to {name}, got {given}");
                Err(self.error(span, message))
            }
            _ => Ok(()),
        }
    }

    /// The second argument of `info` is a set of matchers, no selector of its own.
    fn info_selector(&self, call: &Call, span: Span) -> Parsed<()> {
        let Some(arg) = call.args.get(1) else { return Ok(()) };
        let found = arg.value_type();
        if found != ValueType::Vector {
            return Err(self.type_error(span, ValueType::Vector, "call to function \"info\"", found));
        }
        match &arg.kind {
            ExprKind::Vector(selector) if selector.name.is_none() => Ok(()),
            ExprKind::Vector(_) => {
                Err(self.error(arg.span, "expected label selectors only, got vector selector instead"))
            }
            _ => Err(self.error(arg.span, "expected label selectors only")),
        }
    }

    fn type_error(&self, span: Span, wanted: ValueType, context: &str, found: ValueType) -> ParseError {
        let (wanted, found) = (wanted.describe(), found.describe());
        self.error(span, format!("expected type {wanted} in {context}, got {found}"))
    }

    fn error(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError::new(self.query, span, message)
    }
}

fn is_operand(found: ValueType) -> bool {
    matches!(found, ValueType::Scalar | ValueType::Vector)
}
