//! Which labels a query looks at: an aggregation looks at those that it groups by.

use crate::ast::{Aggregate, AggregateOp, Expr, ExprKind, ValueType};
use crate::functions;
use crate::plan::merges;

/// Which labels of the series of a select are looked at. That of the metric's name always is: annotations name it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Projection {
    /// All.
    #[default]
    All,
    /// These, sorted.
    Only(Vec<String>),
    /// All but these, sorted.
    Without(Vec<String>),
}

impl Projection {
    /// What is looked at of the operands of an expression of which `outer` is looked at, and of the series of a selector.
    pub(crate) fn below(expr: &Expr, outer: &Projection) -> Projection {
        let is_scalar = |operand: &Expr| operand.value_type() == ValueType::Scalar;
        match &expr.kind {
            ExprKind::Aggregate(aggregate) => Projection::of(aggregate),
            _ if *outer == Projection::All => Projection::All,
            ExprKind::Vector(_) | ExprKind::Matrix(_) => outer.clone(),
            ExprKind::Paren(_) | ExprKind::Unary(..) | ExprKind::Subquery(_) => outer.clone(),
            // In a scalar series stand below functions that look at all of them.
            ExprKind::Binary(binary) if is_scalar(&binary.lhs) || is_scalar(&binary.rhs) => outer.clone(),
            ExprKind::Call(call) if functions::is_by_series(call.func.name) => outer.clone(),
            _ => Projection::All,
        }
    }

    /// What both look at.
    pub(crate) fn union(&self, other: &Projection) -> Projection {
        use Projection::{All, Only, Without};
        let kept = |names: &[String], keep: &dyn Fn(&String) -> bool| {
            names.iter().filter(|name| keep(name)).cloned().collect::<Vec<_>>()
        };
        match (self, other) {
            (All, _) | (_, All) => All,
            (Only(a), Only(b)) => Only(sorted(a.iter().chain(b))),
            (Without(a), Without(b)) => Without(kept(a, &|name| b.contains(name))),
            (Only(looked_at), Without(left_out)) | (Without(left_out), Only(looked_at)) => {
                Without(kept(left_out, &|name| !looked_at.contains(name)))
            }
        }
    }

    /// What an aggregation looks at. Those that return series, or find values by the labels of their series, look at all.
    fn of(aggregate: &Aggregate) -> Projection {
        // A quantile needs all values of a group at once, and of their series no more than a sum does.
        if !merges(aggregate.op) && aggregate.op != AggregateOp::Quantile {
            return Projection::All;
        }
        let names = sorted(aggregate.grouping.iter());
        if aggregate.without { Projection::Without(names) } else { Projection::Only(names) }
    }
}

fn sorted<'n>(names: impl Iterator<Item = &'n String>) -> Vec<String> {
    let mut names: Vec<String> = names.cloned().collect();
    names.sort();
    names.dedup();
    names
}
