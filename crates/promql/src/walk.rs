//! Going through a tree.

use crate::ast::{Chain, Expr, ExprKind, ValueType, VectorSelector};

/// Whether to go on below a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descend {
    /// Visit the children too.
    Into,
    /// Leave the children alone.
    Past,
}

impl Expr {
    /// The type of its value.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number(_) => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Vector(_) | ExprKind::Aggregate(_) => ValueType::Vector,
            ExprKind::Matrix(_) | ExprKind::Subquery(_) => ValueType::Matrix,
            ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => inner.value_type(),
            ExprKind::Binary(_) => {
                let is_scalar = |operand: &Expr| operand.value_type() == ValueType::Scalar;
                let all_are = self.operands().into_iter().all(is_scalar);
                if all_are { ValueType::Scalar } else { ValueType::Vector }
            }
            ExprKind::Call(call) => call.func.returns,
        }
    }

    /// The operations that end in this expression, down to what is leftmost; none where it is no operation. Whoever
    /// goes along them instead of calling itself for each left side needs no stack for long ones, of which the parser
    /// lets pass up to [`crate::MAX_CHAIN`].
    pub fn chain(&self) -> Chain<'_> {
        let (mut first, mut links) = (self, Vec::new());
        while let ExprKind::Binary(binary) = &first.kind {
            links.push((first, &**binary));
            first = &binary.lhs;
        }
        links.reverse();
        Chain { first, links }
    }

    /// The expressions below in the order of the text, where those of a chain of operators are all below its last.
    pub fn operands(&self) -> Vec<&Expr> {
        if !matches!(self.kind, ExprKind::Binary(_)) {
            return self.children();
        }
        let chain = self.chain();
        let right = chain.links.into_iter().map(|(_, binary)| &binary.rhs);
        std::iter::once(chain.first).chain(right).collect()
    }

    /// The expressions directly below, in the order of the text.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => {
                Vec::new()
            }
            ExprKind::Subquery(subquery) => vec![&subquery.expr],
            ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => vec![inner],
            ExprKind::Binary(binary) => vec![&binary.lhs, &binary.rhs],
            ExprKind::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.expr]).collect(),
            ExprKind::Call(call) => call.args.iter().collect(),
        }
    }

    /// The expressions directly below, in the order of the text.
    pub fn children_mut(&mut self) -> Vec<&mut Expr> {
        match &mut self.kind {
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => {
                Vec::new()
            }
            ExprKind::Subquery(subquery) => vec![&mut subquery.expr],
            ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => vec![inner],
            ExprKind::Binary(binary) => vec![&mut binary.lhs, &mut binary.rhs],
            ExprKind::Aggregate(aggregate) => {
                aggregate.param.iter_mut().chain([&mut aggregate.expr]).collect()
            }
            ExprKind::Call(call) => call.args.iter_mut().collect(),
        }
    }

    /// The selector of a vector or matrix selector.
    pub fn selector(&self) -> Option<&VectorSelector> {
        match &self.kind {
            ExprKind::Vector(selector) => Some(selector),
            ExprKind::Matrix(matrix) => Some(&matrix.selector),
            _ => None,
        }
    }

    /// The selector of a vector or matrix selector.
    pub fn selector_mut(&mut self) -> Option<&mut VectorSelector> {
        match &mut self.kind {
            ExprKind::Vector(selector) => Some(selector),
            ExprKind::Matrix(matrix) => Some(&mut matrix.selector),
            _ => None,
        }
    }
}

/// Visits every expression, parents first.
pub fn walk<'a>(expr: &'a Expr, visit: &mut dyn FnMut(&'a Expr)) {
    let mut ahead = vec![expr];
    while let Some(expr) = ahead.pop() {
        visit(expr);
        ahead.extend(expr.children().into_iter().rev());
    }
}

/// Visits every expression, parents first, and goes below where `visit` says so.
pub fn walk_mut(expr: &mut Expr, visit: &mut dyn FnMut(&mut Expr) -> Descend) {
    let mut ahead = vec![expr];
    while let Some(expr) = ahead.pop() {
        if visit(expr) == Descend::Into {
            ahead.extend(expr.children_mut().into_iter().rev());
        }
    }
}

/// All selectors, in the order of the text.
pub fn selectors(expr: &Expr) -> Vec<&VectorSelector> {
    let mut found = Vec::new();
    walk(expr, &mut |expr| found.extend(expr.selector()));
    found
}
