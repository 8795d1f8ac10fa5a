//! `info`: adds labels of info series, such as `target_info`, to the series of the same target.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::{Labels, METRIC_NAME, Matcher, MatcherOp};

use super::argument;
use super::labels::to_go;
use crate::ast::{At, Call, Expr, ExprKind, Span, Subquery, ValueType, VectorSelector};
use crate::eval::{Aspect, Assembler, EvalError, Evaluator, Grid, Reference, Sink, Vector, unparen};
use crate::plan::{offset_ms, value_type};

/// The labels that tell targets apart.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// Which series the call selects besides those of its first argument.
pub(crate) fn matchers(call: &Call) -> Vec<Matcher> {
    let mut matchers = name_matchers(call);
    matchers.extend(data_matchers(call).into_iter().cloned());
    matchers
}

/// The time of the info series: that of the selectors below the first argument if they agree, else the step's.
pub(crate) fn reference(call: &Call, resolve: &dyn Fn(At) -> i64) -> Reference {
    let mut finder = ReferenceFinder { resolve, first: None, is_uniform: true };
    if let Some(base) = call.args.first() {
        finder.visit(base, &mut Vec::new());
    }
    match finder.first {
        Some((at, offset)) if finder.is_uniform => Reference { at, offset },
        _ => Reference { at: None, offset: 0 },
    }
}

struct ReferenceFinder<'f> {
    resolve: &'f dyn Fn(At) -> i64,
    first: Option<(Option<i64>, i64)>,
    is_uniform: bool,
}

impl<'f> ReferenceFinder<'f> {
    /// Whether the expression's vectors come from selectors.
    fn visit(&mut self, expr: &'f Expr, within: &mut Vec<&'f Subquery>) -> bool {
        if !matches!(value_type(expr), ValueType::Vector | ValueType::Matrix) {
            return false;
        }
        let selects = match &expr.kind {
            ExprKind::Vector(selector) => return self.selector(selector, within),
            ExprKind::Matrix(matrix) => return self.selector(&matrix.selector, within),
            ExprKind::Subquery(subquery) => {
                within.push(subquery);
                let selects = self.visit(&subquery.expr, within);
                within.pop();
                selects
            }
            ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => self.visit(inner, within),
            ExprKind::Binary(_) => {
                expr.operands().into_iter().filter(|operand| self.visit(operand, within)).count() > 0
            }
            ExprKind::Aggregate(aggregate) => self.visit(&aggregate.expr, within),
            ExprKind::Call(call) if call.func.name == "info" => {
                call.args.first().is_some_and(|base| self.visit(base, within))
            }
            ExprKind::Call(call) => {
                // All of them are to be visited, not only up to the first that selects.
                call.args.iter().filter(|arg| self.visit(arg, within)).count() > 0
            }
            ExprKind::Number(_) | ExprKind::String(_) => false,
        };
        // A vector that comes from nowhere has the time of the step.
        self.is_uniform &= selects;
        selects
    }

    fn selector(&mut self, selector: &VectorSelector, within: &[&Subquery]) -> bool {
        let mut at = selector.at.map(self.resolve);
        let mut offset = offset_ms(&selector.offset);
        for subquery in within.iter().rev() {
            if at.is_none() {
                offset += offset_ms(&subquery.offset);
                at = subquery.at.map(self.resolve);
            }
        }
        let found = (at, offset);
        let first = *self.first.get_or_insert(found);
        self.is_uniform &= match (first.0, at) {
            (Some(a), Some(b)) => a - first.1 == b - offset,
            _ => first == found,
        };
        true
    }
}

pub(super) fn rows(
    evaluator: &Evaluator<'_>,
    call: &Call,
    span: Span,
    grid: Grid,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    let base = evaluator.vector(argument(call, 0)?, grid)?;
    let reference = reference(call, &|at| evaluator.plan.at_ms(at));
    let names = name_matchers(call);
    let is_info = |labels: &Labels| {
        let name = labels.metric_name().unwrap_or_default();
        names.iter().all(|matcher| matcher.matches(name))
    };
    let targets = Targets::of(base.heads().iter().map(|head| &head.labels).filter(|labels| !is_info(labels)));
    let mut infos = Vector::new(grid.steps);
    evaluator.sample_times(
        span,
        (reference, evaluator.plan.options.lookback_ms),
        Aspect::FloatTime,
        grid,
        &mut |row| {
            if targets.include(row.labels) {
                infos.push(row);
            }
            evaluator.account(&mut infos)
        },
    )?;
    let mut output = Assembler::new(evaluator, grid.steps);
    let enrichment = Enrichment::new(&infos, data_matchers(call))?;
    for index in 0..base.len() {
        let labels = &base.head(index).labels;
        if is_info(labels) {
            let into = output.row(labels, base.head(index).drop_name)?;
            for step in 0..grid.steps {
                output.copy_cell(into, step, &base, index)?;
            }
        } else {
            enrichment.enrich(&base, index, &mut output)?;
        }
    }
    drop(enrichment);
    evaluator.release(base);
    evaluator.release(infos);
    output.emit(sink)
}

/// The targets whose info series are looked for, by which of the identifying labels they have.
struct Targets(HashMap<[bool; 2], [BTreeSet<String>; 2]>);

impl Targets {
    fn of<'l>(series: impl Iterator<Item = &'l Labels>) -> Targets {
        let mut targets: HashMap<[bool; 2], [BTreeSet<String>; 2]> = HashMap::new();
        for labels in series {
            let values = IDENTIFYING.map(|name| labels.get(name).unwrap_or_default());
            let known = targets.entry(values.map(|value| !value.is_empty())).or_default();
            for (known, value) in known.iter_mut().zip(values) {
                known.insert(value.to_string());
            }
        }
        targets.remove(&[false, false]);
        Targets(targets)
    }

    fn include(&self, labels: &Labels) -> bool {
        let values = IDENTIFYING.map(|name| labels.get(name).unwrap_or_default());
        let known = self.0.get(&values.map(|value| !value.is_empty()));
        known.is_some_and(|known| known.iter().zip(values).all(|(known, value)| known.contains(value)))
    }
}

/// The info series by metric and target, and the labels wanted of them.
struct Enrichment<'i> {
    infos: &'i Vector,
    wanted: Vec<&'i Matcher>,
    /// For each info metric, by target, the row that counts at each step.
    metrics: BTreeMap<String, HashMap<Labels, Vec<Option<usize>>>>,
}

impl<'i> Enrichment<'i> {
    fn new(infos: &'i Vector, wanted: Vec<&'i Matcher>) -> Result<Enrichment<'i>, EvalError> {
        let mut metrics: BTreeMap<String, HashMap<Labels, Vec<Option<usize>>>> = BTreeMap::new();
        for row in 0..infos.len() {
            let labels = &infos.head(row).labels;
            let targets = metrics.entry(labels.metric_name().unwrap_or_default().to_string()).or_default();
            let chosen = targets.entry(target(labels)).or_insert_with(|| vec![None; infos.steps()]);
            for (step, chosen) in
                chosen.iter_mut().enumerate().filter(|(step, _)| infos.is_present(row, *step))
            {
                *chosen = Some(match *chosen {
                    Some(known) => newer(infos, known, row, step)?,
                    None => row,
                });
            }
        }
        Ok(Enrichment { infos, wanted, metrics })
    }

    /// Adds a series to the output with the labels that it has at each step.
    fn enrich(&self, base: &Vector, index: usize, output: &mut Assembler<'_>) -> Result<(), EvalError> {
        let head = base.head(index);
        let target = target(&head.labels);
        let mut last: Option<(Vec<usize>, Option<usize>)> = None;
        for step in (0..base.steps()).filter(|step| base.is_present(index, *step)) {
            let found: Vec<usize> =
                self.metrics.values().filter_map(|targets| targets.get(&target)?[step]).collect();
            let into = match &last {
                Some((known, into)) if *known == found => *into,
                _ => {
                    let labels = self.labels(&head.labels, &found)?;
                    let into = labels.map(|labels| output.row(&labels, head.drop_name)).transpose()?;
                    last = Some((found, into));
                    into
                }
            };
            if let Some(into) = into {
                output.copy_cell(into, step, base, index)?;
            }
        }
        Ok(())
    }

    /// The labels of a series with those of its info series; nothing if it must have some and has none.
    fn labels(&self, base: &Labels, found: &[usize]) -> Result<Option<Labels>, EvalError> {
        if found.is_empty() && self.wanted.iter().any(|matcher| !matcher.matches_empty()) {
            return Ok(None);
        }
        let is_wanted = |name: &str| self.wanted.is_empty() || self.wanted.iter().any(|m| m.name == name);
        let mut added: BTreeMap<&str, &str> = BTreeMap::new();
        for row in found {
            let labels = self.infos.head(*row).labels.iter();
            for (name, value) in labels.filter(|(name, _)| *name != METRIC_NAME && is_wanted(name)) {
                if added.get(name).is_some_and(|known| *known != value) {
                    return Err(EvalError::Execution(format!("conflicting label: {name}")));
                }
                if base.get(name).is_none() {
                    added.insert(name, value);
                }
            }
        }
        let mut builder = base.builder();
        for (name, value) in added {
            builder.set(name, value);
        }
        Ok(Some(builder.build()))
    }
}

fn target(labels: &Labels) -> Labels {
    labels.without(|name| !IDENTIFYING.contains(&name))
}

/// The row whose sample is newer. Info rows hold the times of their samples.
fn newer(infos: &Vector, a: usize, b: usize, step: usize) -> Result<usize, EvalError> {
    let (time_a, time_b) = (infos.float_at(a, step), infos.float_at(b, step));
    if time_a == time_b {
        let (labels_a, labels_b) = (to_go(&infos.head(a).labels), to_go(&infos.head(b).labels));
        let ms = (time_a * 1000.0).round();
        return Err(EvalError::Execution(format!(
            "found duplicate series for info metric: existing {labels_a} @ {ms}, new {labels_b} @ {ms}"
        )));
    }
    Ok(if time_a > time_b { a } else { b })
}

fn selector(call: &Call) -> Option<&VectorSelector> {
    match &unparen(call.args.get(1)?).kind {
        ExprKind::Vector(selector) => Some(selector),
        _ => None,
    }
}

fn data_matchers(call: &Call) -> Vec<&Matcher> {
    let matchers = selector(call).map(|selector| selector.matchers.as_slice()).unwrap_or_default();
    matchers.iter().filter(|matcher| matcher.name != METRIC_NAME).collect()
}

/// Which metrics are info metrics: those asked for; of those excluded the others that end in `_info`; else
/// `target_info`.
fn name_matchers(call: &Call) -> Vec<Matcher> {
    let matchers = selector(call).map(|selector| selector.matchers.as_slice()).unwrap_or_default();
    let named: Vec<Matcher> =
        matchers.iter().filter(|matcher| matcher.name == METRIC_NAME).cloned().collect();
    let matcher = |op: MatcherOp, value: &str| {
        Matcher::new(METRIC_NAME, op, value).expect("a constant pattern compiles")
    };
    if named.iter().any(|m| matches!(m.op, MatcherOp::Equal | MatcherOp::Regex)) {
        return named;
    }
    if named.is_empty() {
        return vec![matcher(MatcherOp::Equal, "target_info")];
    }
    std::iter::once(matcher(MatcherOp::Regex, ".+_info")).chain(named).collect()
}
