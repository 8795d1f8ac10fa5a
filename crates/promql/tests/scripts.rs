//! Our own scripts: they touch every function and operator, whether the corpus is at hand or not.

use std::collections::BTreeSet;
use std::path::PathBuf;

use promql::Signature;
use promql::ast::{
    AggregateOp, At, BinaryOp, Cardinality, DurationExpr, DurationNode, Expr, ExprKind, RangeMode,
};
use testkit::script::{CommandKind, parse, run};

use crate::memory::Memory;

fn scripts() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut scripts = Vec::new();
    for entry in std::fs::read_dir(folder).expect("our scripts lie beside this file") {
        let path = entry.expect("the folder of our scripts can be listed").path();
        let script = std::fs::read_to_string(&path).expect("a script of ours can be read");
        scripts.push((path.display().to_string(), script));
    }
    scripts.sort();
    scripts
}

#[test]
fn our_scripts_pass() {
    let mut failures = String::new();
    let mut passed = 0;
    for (name, script) in scripts() {
        let report = run(&name, &script, &mut Memory::default());
        println!("{name}: {} passed, {} failed", report.passed, report.failed);
        assert!(report.passed + report.failed > 0, "{name} asks nothing");
        passed += report.passed;
        failures += &report.failures_text();
    }
    assert!(failures.is_empty(), "{failures}");
    println!("scripts: {passed} cases passed");
}

#[test]
fn our_scripts_touch_everything_there_is() {
    let mut seen = BTreeSet::new();
    for (_, script) in scripts() {
        for command in parse(&script).unwrap() {
            let CommandKind::Eval(eval) = command.kind else { continue };
            // What must fail shows no more than that it fails.
            if eval.expectations.fail.is_none() {
                let expr = promql::parse(&eval.expr).unwrap();
                promql::walk(&expr, &mut |expr| note(expr, &mut seen));
            }
        }
    }
    let missing: Vec<String> = everything().into_iter().filter(|name| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "no script touches {missing:?}");
}

fn everything() -> BTreeSet<String> {
    let functions = Signature::all().iter().map(|s| format!("{}()", s.name));
    let aggregations = AggregateOp::ALL.iter().map(|op| op.name().to_string());
    let operators = BinaryOp::ALL.iter().map(|op| op.symbol().to_string());
    let modifiers = [
        "by",
        "without",
        "bool",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "fill",
        "fill_left",
        "fill_right",
        "offset",
        "negative offset",
        "@",
        "@ start()",
        "@ end()",
        "anchored",
        "smoothed",
        "subquery",
        "subquery step",
        "unary",
        "quoted name",
        "duration number",
        "duration expression",
        "duration step()",
        "duration range()",
        "duration min_of()",
        "duration max_of()",
    ];
    functions.chain(aggregations).chain(operators).chain(modifiers.map(str::to_string)).collect()
}

fn note(expr: &Expr, seen: &mut BTreeSet<String>) {
    let mut add = |name: &str| {
        seen.insert(name.to_string());
    };
    match &expr.kind {
        ExprKind::Number(number) if number.is_duration => add("duration number"),
        ExprKind::Unary(..) => add("unary"),
        ExprKind::Call(call) => add(&format!("{}()", call.func.name)),
        ExprKind::Aggregate(aggregate) => {
            add(aggregate.op.name());
            if aggregate.without {
                add("without");
            } else if !aggregate.grouping.is_empty() {
                add("by");
            }
        }
        ExprKind::Binary(binary) => {
            add(binary.op.symbol());
            if binary.return_bool {
                add("bool");
            }
            if let Some(matching) = &binary.matching {
                note_matching(matching, &mut add);
            }
        }
        ExprKind::Matrix(matrix) => note_duration(&matrix.range, &mut add),
        ExprKind::Subquery(subquery) => {
            add("subquery");
            note_duration(&subquery.range, &mut add);
            if let Some(step) = &subquery.step {
                add("subquery step");
                note_duration(step, &mut add);
            }
            note_times(subquery.at, subquery.offset.as_ref(), &mut add);
        }
        _ => {}
    }
    let Some(selector) = expr.selector() else { return };
    note_times(selector.at, selector.offset.as_ref(), &mut add);
    match selector.range_mode {
        RangeMode::Normal => {}
        RangeMode::Anchored => add("anchored"),
        RangeMode::Smoothed => add("smoothed"),
    }
    if selector.name.is_none() && selector.matchers.iter().any(|m| m.value.contains('.')) {
        add("quoted name");
    }
}

fn note_matching(matching: &promql::ast::VectorMatching, add: &mut dyn FnMut(&str)) {
    if matching.on {
        add("on");
    } else if !matching.labels.is_empty() {
        add("ignoring");
    }
    match matching.cardinality {
        Cardinality::ManyToOne => add("group_left"),
        Cardinality::OneToMany => add("group_right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => {}
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(_), Some(_)) => add("fill"),
        (Some(_), None) => add("fill_left"),
        (None, Some(_)) => add("fill_right"),
        (None, None) => {}
    }
}

fn note_times(at: Option<At>, offset: Option<&DurationExpr>, add: &mut dyn FnMut(&str)) {
    match at {
        None => {}
        Some(At::Timestamp(_)) => add("@"),
        Some(At::Start) => add("@ start()"),
        Some(At::End) => add("@ end()"),
    }
    if let Some(offset) = offset {
        add(if matches!(offset, DurationExpr::Millis(ms) if *ms < 0) { "negative offset" } else { "offset" });
        note_duration(offset, add);
    }
}

fn note_duration(duration: &DurationExpr, add: &mut dyn FnMut(&str)) {
    if let DurationExpr::Computed(node, _) = duration {
        add("duration expression");
        note_node(node, add);
    }
}

fn note_node(node: &DurationNode, add: &mut dyn FnMut(&str)) {
    match node {
        DurationNode::Number(_) => {}
        DurationNode::Step => add("duration step()"),
        DurationNode::Range => add("duration range()"),
        DurationNode::Paren(inner) | DurationNode::Unary(_, inner) => note_node(inner, add),
        DurationNode::MinOf(a, b) | DurationNode::MaxOf(a, b) | DurationNode::Binary(_, a, b, _) => {
            match node {
                DurationNode::MinOf(..) => add("duration min_of()"),
                DurationNode::MaxOf(..) => add("duration max_of()"),
                _ => {}
            }
            note_node(a, add);
            note_node(b, add);
        }
    }
}
