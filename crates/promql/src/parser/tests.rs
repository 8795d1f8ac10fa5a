use proptest::option::of;
use proptest::prelude::*;

use super::{MAX_CHAIN, MAX_NESTING, parse, parse_selector};
use crate::ast::*;
use crate::error::line_col;
use crate::signature::Signature;
use crate::walk::{Descend, selectors, walk, walk_mut};

#[track_caller]
fn fails(query: &str, message: &str) {
    let error = parse(query).expect_err(query);
    assert_eq!(error.to_string(), message, "{query}");
}

#[test]
fn syntax_errors_say_what_prometheus_says() {
    fails("", "unknown position: parse error: no expression found in input");
    fails("# a", "1:1: parse error: no expression found in input");
    fails("foo bar", "1:5: parse error: unexpected identifier \"bar\"");
    fails("sum(foo bar)", "1:9: parse error: unexpected identifier \"bar\" in aggregation");
    fails("foo +", "1:6: parse error: unexpected end of input");
    fails("sum(a, b))", "1:11: parse error: unexpected right parenthesis ')'");
    fails("foo\n + on", "2:6: parse error: unexpected end of input in grouping opts, expected \"(\"");
    fails("(a + on (b) group_left)", "1:23: parse error: unexpected \")\" in grouping opts, expected \"(\"");
    fails("(1 !", "1:4: parse error: unexpected character after '!': '\u{fffd}'");
    fails(
        "1e + 1",
        "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1e\": invalid syntax",
    );
    fails("sum by (5) (foo)", "1:9: parse error: unexpected number \"5\" in grouping opts, expected label");
    fails("foo{a", "1:6: parse error: unexpected end of input inside braces");
    fails(
        "foo{a b}",
        "1:7: parse error: unexpected identifier \"b\" in label matching, expected label matching operator",
    );
    fails(
        "{\"a\" \"b\"}",
        "1:6: parse error: unexpected string \"\\\"b\\\"\" in label matching, expected \",\" or \"}\"",
    );
    fails("((1)", "1:5: parse error: unclosed left parenthesis");
    fails("1)", "1:3: parse error: unexpected right parenthesis ')'");
    fails("foo]", "1:4: parse error: unexpected right bracket ']'");
    fails("foo[5m", "1:7: parse error: unclosed left bracket");
    fails("\"abc", "1:1: parse error: unterminated quoted string");
    fails("'\\q'", "1:1: parse error: unknown escape sequence U+0071 'q'");
    fails("abs(foo,)", "1:8: parse error: trailing commas not allowed in function call args");
    fails("max_of(1, @ 2)", "1:9: parse error: trailing commas not allowed in function call args");
    fails("wonder(foo)", "1:1: parse error: unknown function with name \"wonder\"");
    fails("1.5m", "1:1: parse error: unknown unit \".\" in duration \"1.5m\"");
    fails("foo{a=~\"(\"}", "1:5: parse error: error parsing regexp: missing closing ): `(`");
    fails("é", "1:1: parse error: unexpected character: 'é'");
}

#[test]
fn modifiers_stand_where_they_may_only() {
    let range = "subquery or range selector, expected number, duration, step(), or range()";
    fails("foo[5m+]", &format!("1:8: parse error: unexpected \"]\" in {range}"));
    fails("foo[foo]", "1:5: parse error: unexpected character in duration expression: 'f'");
    fails("foo[0s]", "1:5: parse error: duration must be greater than 0");
    fails("foo[5m/0]", "1:7: parse error: division by zero");
    fails("foo[300y]", "1:5: parse error: duration out of range");
    fails("(foo)[5m]", "1:6: parse error: ranges only allowed for vector selectors");
    fails("foo offset 5m [5m]", "1:15: parse error: no offset modifiers allowed before range");
    fails("foo @ 5 [5m]", "1:9: parse error: no @ modifiers allowed before range");
    fails("foo offset 1 offset 2", "1:1: parse error: offset may not be set multiple times");
    fails("foo @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times");
    fails("foo @ Inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf");
    fails("foo @ NaN", "1:1: parse error: timestamp out of bounds for @ modifier: NaN");
    fails(
        "foo offset bar",
        "1:12: parse error: unexpected identifier \"bar\" in offset, expected number, duration, step(), or range()",
    );
    fails(
        "foo anchored smoothed",
        "1:1: parse error: anchored and smoothed modifiers cannot be used together",
    );
    fails("a[5m:] smoothed", "1:1: parse error: smoothed modifier is not supported for subqueries");
    fails("sum(a) smoothed", "1:1: parse error: smoothed modifier not implemented");
    fails("a + group_left b", "1:5: parse error: unexpected <group_left>");
}

#[test]
fn type_errors_say_what_prometheus_says() {
    fails(
        "rate(foo)",
        "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
    );
    fails("rate()", "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 0");
    fails(
        "label_join(foo)",
        "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 1",
    );
    fails("round(foo, 1, 2)", "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3");
    fails(
        "sum(foo[5m])",
        "1:5: parse error: expected type instant vector in aggregation expression, got range vector",
    );
    fails(
        "topk(foo)",
        "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
    );
    fails("topk(\"a\", b)", "1:6: parse error: expected type scalar in aggregation parameter, got string");
    fails("1 > 2", "1:3: parse error: comparisons between scalars must use BOOL modifier");
    fails("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators");
    fails("1 and foo", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression");
    fails("a and on(b) group_left c", "1:1: parse error: no grouping allowed for \"and\" operation");
    fails("a or fill(0) b", "1:1: parse error: filling in missing series not allowed for set operators");
    fails("1 + on(a) foo", "1:1: parse error: vector matching only allowed between instant vectors");
    fails(
        "1 + fill(1) foo",
        "1:1: parse error: filling in missing series only allowed between instant vectors",
    );
    fails(
        "a + on(x) group_left(x) b",
        "1:3: parse error: label \"x\" must not occur in ON and GROUP clause at once",
    );
    fails(
        "foo[5m] + 1",
        "1:1: parse error: binary expression must contain only scalar and instant vector types",
    );
    fails(
        "-\"a\"",
        "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \
         \"string\"",
    );
    fails("rate(1[5m:])", "1:6: parse error: subquery is only allowed on instant vector, got scalar instead");
    fails("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher");
    fails("{a=~\".*\"}", "1:1: parse error: vector selector must contain at least one non-empty matcher");
    fails("a{__name__=\"b\"}", "1:1: parse error: metric name must not be set twice: \"a\" or \"b\"");
    fails("info(a, b)", "1:9: parse error: expected label selectors only, got vector selector instead");
}

/// The tree with a parenthesis around every operation.
#[track_caller]
fn grouped(query: &str, expected: &str) {
    fn show(expr: &Expr) -> String {
        match &expr.kind {
            ExprKind::Binary(b) => format!("[{} {} {}]", show(&b.lhs), b.op.symbol(), show(&b.rhs)),
            ExprKind::Unary(sign, inner) => format!("[{}{}]", sign.symbol(), show(inner)),
            _ => expr.to_string(),
        }
    }
    assert_eq!(show(&parse(query).unwrap()), expected);
}

#[test]
fn operators_bind_by_precedence() {
    grouped("a or b and c unless d", "[a or [[b and c] unless d]]");
    grouped("a == b + c * d ^ e", "[a == [b + [c * [d ^ e]]]]");
    grouped("a ^ b ^ c", "[a ^ [b ^ c]]");
    grouped("a - b - c", "[[a - b] - c]");
    grouped("-a ^ b * c", "[[-[a ^ b]] * c]");
    grouped("a ^ -b ^ c", "[a ^ [-[b ^ c]]]");
    grouped("-1 ^ 2", "[-[1 ^ 2]]");
    grouped("a </ 1 > 2", "[[a </ 1] > 2]");
    grouped("a * b atan2 c % d", "[[[a * b] atan2 c] % d]");
    grouped("a offset -2 ^ 2", "[a offset -2s ^ 2]");
    grouped("a offset step() * 2", "[a offset step() * 2]");
}

#[test]
fn keywords_are_names_where_nothing_else_fits() {
    grouped("sum + by", "[sum + by]");
    grouped("and and or or unless", "[[and and or] or unless]");
    grouped("offset offset 5m", "offset offset 5m");
    grouped("fill + fill(0) other", "[fill + other]");
    for query in [
        "start",
        "end{a=\"b\"}",
        "sum by (bool, on, group_left) (sum)",
        "sum by (and) (by)",
        "smoothed smoothed",
    ] {
        assert!(parse(query).is_ok(), "{query}");
    }
    assert!(parse("bool").is_err() && parse("atan2").is_err() && parse("on").is_err());
}

#[test]
fn every_node_knows_its_bytes() {
    let query = " -sum by (a) ( rate(foo{b=\"c\"}[5m] offset 1m) ) + (bar @ 3) * 2";
    let mut found = Vec::new();
    let expr = parse(query).unwrap();
    walk(&expr, &mut |expr| found.push(&query[expr.span.start..expr.span.end]));
    assert_eq!(
        found,
        [
            "-sum by (a) ( rate(foo{b=\"c\"}[5m] offset 1m) ) + (bar @ 3) * 2",
            "-sum by (a) ( rate(foo{b=\"c\"}[5m] offset 1m) )",
            "sum by (a) ( rate(foo{b=\"c\"}[5m] offset 1m) )",
            "rate(foo{b=\"c\"}[5m] offset 1m)",
            "foo{b=\"c\"}[5m] offset 1m",
            "(bar @ 3) * 2",
            "(bar @ 3)",
            "bar @ 3",
            "2",
        ]
    );
    assert_eq!(selectors(&expr).len(), 2);
    assert_eq!(line_col(query, &expr.span), (1, 2));
}

#[test]
fn matching_is_settled_by_the_types() {
    let matching = |query: &str| match parse(query).unwrap().kind {
        ExprKind::Binary(binary) => binary.matching.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(matching("a + 1"), None);
    assert_eq!(matching("a and b").unwrap().cardinality, Cardinality::ManyToMany);
    assert_eq!(matching("a + b").unwrap().cardinality, Cardinality::OneToOne);
    let grouped = matching("a * on(x, y) group_right(z) fill_left(-1) b").unwrap();
    assert_eq!((grouped.on, grouped.labels), (true, vec!["x".to_string(), "y".to_string()]));
    assert_eq!((grouped.cardinality, grouped.include), (Cardinality::OneToMany, vec!["z".to_string()]));
    assert_eq!((grouped.fill_left, grouped.fill_right), (Some(-1.0), None));
}

#[test]
fn a_selector_alone_may_select_everything() {
    assert_eq!(parse_selector("up{job=\"a\"}").map(|m| m.len()), Ok(2));
    assert_eq!(parse_selector("{}").map(|m| m.len()), Ok(0));
    for bad in ["", "up + 1", "up[5m]", "up offset 5m", "{a=}"] {
        assert!(parse_selector(bad).is_err(), "{bad}");
    }
}

/// Queries that lean on one rule of the grammar each.
fn deep(levels: usize) -> Vec<String> {
    let around = |open: &str, inner: &str, close: &str| {
        format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
    };
    vec![
        around("(", "1", ")"),
        around("-", "a", ""),
        around("sum(", "a", ")"),
        around("abs(", "a", ")"),
        around("a ^ ", "a", ""),
        around("", "a", "[1m:1m]"),
        format!("a[{}]", around("(", "1", ")")),
        format!("a[{}]", around("-", "step()", "")),
        format!("a[{}]", around("1 + ", "1", "")),
        format!("a offset {}", around("min_of(1, ", "1", ")")),
    ]
}

#[test]
fn hostile_depth_is_an_error_on_a_small_stack() {
    let check = || {
        for query in deep(100_000) {
            let message = parse(&query).expect_err("too deep").message;
            assert!(message.starts_with("expression is nested more than"), "{message}");
        }
        for query in deep(MAX_NESTING - 2) {
            // Of the deep queries two are no PromQL in other ways.
            let Ok(expr) = parse(&query) else { continue };
            assert_eq!(parse(&expr.to_string()).unwrap().to_string(), expr.to_string());
        }
        let chain = |operators: usize| format!("a{}", " + a".repeat(operators));
        assert_eq!(parse(&chain(MAX_CHAIN)).unwrap().to_string(), chain(MAX_CHAIN));
        for too_long in [MAX_CHAIN + 1, 100_000] {
            let message = parse(&chain(too_long)).expect_err("too long").message;
            assert!(
                message.starts_with("chain of more than 5000 operators (fixed limit query_chain"),
                "{message}"
            );
        }
        // What is right of an operator is a level deeper, and so is what is in brackets.
        let chains = format!("{}{}", "(a + a + ".repeat(40), "a".to_string() + &")".repeat(40));
        assert_eq!(parse(&chains).unwrap().to_string(), chains);
    };
    // The threads of the runtime have two megabytes.
    std::thread::Builder::new().stack_size(2 << 20).spawn(check).unwrap().join().unwrap();
}

/// The tree without positions; text compares NaN too.
fn bare(expr: &Expr) -> String {
    let mut expr = expr.clone();
    walk_mut(&mut expr, &mut |expr| {
        expr.span = Span::default();
        if let ExprKind::Matrix(matrix) = &mut expr.kind {
            matrix.selector_span = Span::default();
            forget(&mut matrix.range);
        }
        if let ExprKind::Subquery(subquery) = &mut expr.kind {
            forget(&mut subquery.range);
            subquery.step.iter_mut().for_each(forget);
            subquery.offset.iter_mut().for_each(forget);
        }
        if let Some(selector) = expr.selector_mut() {
            selector.offset.iter_mut().for_each(forget);
            // Printing puts them in order.
            selector.matchers.sort_by_key(ToString::to_string);
        }
        Descend::Into
    });
    format!("{expr:?}")
}

fn forget(duration: &mut DurationExpr) {
    if let DurationExpr::Computed(node, span) = duration {
        *span = Span::default();
        **node = printed(node);
    }
}

/// The term as far as it is printed: a plus sign is left out, of parentheses within parentheses one pair remains.
fn printed(node: &DurationNode) -> DurationNode {
    let of = |inner: &DurationNode| Box::new(printed(inner));
    match node {
        DurationNode::Unary(UnaryOp::Plus, inner) => printed(inner),
        DurationNode::Unary(sign, inner) => DurationNode::Unary(*sign, of(inner)),
        DurationNode::Paren(inner) => match printed(inner) {
            inner @ DurationNode::Paren(_) => inner,
            inner => DurationNode::Paren(Box::new(inner)),
        },
        DurationNode::Binary(op, lhs, rhs, _) => DurationNode::Binary(*op, of(lhs), of(rhs), Span::default()),
        DurationNode::MinOf(a, b) => DurationNode::MinOf(of(a), of(b)),
        DurationNode::MaxOf(a, b) => DurationNode::MaxOf(of(a), of(b)),
        DurationNode::Number(_) | DurationNode::Step | DurationNode::Range => node.clone(),
    }
}

fn expr(kind: ExprKind) -> Expr {
    Expr { kind, span: Span::default() }
}

fn paren(inner: Expr) -> Expr {
    expr(ExprKind::Paren(Box::new(inner)))
}

/// An operand that stands by itself beside any operator.
fn operand(inner: Expr) -> Expr {
    let is_signed = matches!(&inner.kind, ExprKind::Number(n) if n.value.is_sign_negative());
    // After a parenthesis, arithmetic belongs to the offset.
    let is_open = matches!(
        &inner.kind,
        ExprKind::Vector(VectorSelector { offset: Some(DurationExpr::Computed(node, _)), .. })
            if matches!(&**node, DurationNode::Paren(_))
    );
    match inner.kind {
        ExprKind::Binary(_) | ExprKind::Unary(..) => paren(inner),
        _ if is_signed || is_open => paren(inner),
        _ => inner,
    }
}

fn number() -> impl Strategy<Value = Number> {
    let float = prop_oneof![any::<f64>(), (-1000i32..1000).prop_map(f64::from), Just(f64::INFINITY)];
    prop_oneof![
        // One NaN has no sign and no payload in text.
        float.prop_map(|v| Number { value: if v.is_nan() { f64::NAN } else { v }, is_duration: false }),
        (0..400_000_000i64).prop_map(|ms| Number { value: ms as f64 / 1000.0, is_duration: true }),
    ]
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_][a-z0-9_]{0,4}", Just("inf".to_string()), Just("by".to_string()), "\\PC{1,5}"]
}

fn duration_node() -> impl Strategy<Value = DurationNode> {
    let positive = (1..100_000i64)
        .prop_map(|ms| DurationNode::Number(Number { value: ms as f64 / 1000.0, is_duration: true }));
    let leaf = prop_oneof![positive, Just(DurationNode::Step), Just(DurationNode::Range)];
    leaf.prop_recursive(3, 8, 2, |inner| {
        let op =
            prop_oneof![Just(BinaryOp::Add), Just(BinaryOp::Mul), Just(BinaryOp::Pow), Just(BinaryOp::Mod)];
        let term = inner.prop_map(|node| match node {
            DurationNode::Binary(..) | DurationNode::Unary(..) => DurationNode::Paren(Box::new(node)),
            node => node,
        });
        prop_oneof![
            (op, term.clone(), term.clone()).prop_map(|(op, a, b)| DurationNode::Binary(
                op,
                a.into(),
                b.into(),
                Span::default()
            )),
            (term.clone(), term.clone()).prop_map(|(a, b)| DurationNode::MinOf(a.into(), b.into())),
            (term.clone(), term.clone()).prop_map(|(a, b)| DurationNode::MaxOf(a.into(), b.into())),
            term.prop_map(|a| DurationNode::Unary(UnaryOp::Minus, DurationNode::Paren(a.into()).into())),
        ]
    })
}

fn range() -> impl Strategy<Value = DurationExpr> {
    prop_oneof![
        (1..100_000_000_000i64).prop_map(DurationExpr::Millis),
        duration_node().prop_map(|node| match node {
            DurationNode::Number(number) => DurationExpr::Millis((number.value * 1000.0).round() as i64),
            node => DurationExpr::Computed(Box::new(node), Span::default()),
        }),
    ]
}

fn offset() -> impl Strategy<Value = DurationExpr> {
    let computed = duration_node().prop_map(|node| {
        DurationExpr::Computed(Box::new(DurationNode::Paren(Box::new(node))), Span::default())
    });
    prop_oneof![(-100_000_000_000i64..100_000_000_000).prop_map(DurationExpr::Millis), computed]
}

fn at() -> impl Strategy<Value = At> {
    prop_oneof![(-1i64 << 50..1 << 50).prop_map(At::Timestamp), Just(At::Start), Just(At::End)]
}

fn selector() -> impl Strategy<Value = VectorSelector> {
    let op = prop_oneof![
        Just(model::MatcherOp::Equal),
        Just(model::MatcherOp::NotEqual),
        Just(model::MatcherOp::Regex),
        Just(model::MatcherOp::NotRegex),
    ];
    let matcher = (label(), op, "[a-z]{0,3}\\PC{0,3}")
        .prop_filter_map("patterns compile", |(name, op, value)| model::Matcher::new(&name, op, &value).ok());
    let name = of("(sum|by|start|[a-z_:][a-z0-9_:]{0,5})");
    let mode = prop_oneof![Just(RangeMode::Normal), Just(RangeMode::Anchored), Just(RangeMode::Smoothed)];
    (name, proptest::collection::vec(matcher, 0..3), of(offset()), of(at()), mode).prop_map(
        |(name, mut matchers, offset, at, range_mode)| {
            let name = name.filter(|name| !crate::lexer::is_reserved_metric_name(name));
            let shown = name.clone().unwrap_or_else(|| "never empty".to_string());
            let named = model::Matcher::new("__name__", model::MatcherOp::Equal, &shown).unwrap();
            matchers.retain(|m| m.name != "__name__");
            matchers.push(named);
            VectorSelector { name, matchers, offset, at, range_mode }
        },
    )
}

fn matching() -> impl Strategy<Value = VectorMatching> {
    let fill = || of(prop_oneof![Just(f64::NAN), (-9i32..9).prop_map(f64::from)]);
    let cardinality =
        prop_oneof![Just(Cardinality::OneToOne), Just(Cardinality::ManyToOne), Just(Cardinality::OneToMany)];
    let labels = || proptest::collection::vec(label(), 0..3);
    (cardinality, labels(), any::<bool>(), labels(), fill(), fill()).prop_map(
        |(cardinality, labels, on, mut include, fill_left, fill_right)| {
            include.retain(|label| cardinality != Cardinality::OneToOne && !labels.contains(label));
            VectorMatching { cardinality, labels, on, include, fill_left, fill_right }
        },
    )
}

fn binary_op() -> impl Strategy<Value = BinaryOp> {
    (0..BinaryOp::ALL.len()).prop_map(|i| BinaryOp::ALL[i])
}

/// Any expression whose value is an instant vector.
fn vector() -> BoxedStrategy<Expr> {
    let leaf = selector().prop_map(|selector| expr(ExprKind::Vector(selector)));
    leaf.prop_recursive(4, 24, 3, |inner| {
        let inner = inner.boxed();
        prop_oneof![
            inner.clone().prop_map(paren),
            inner.clone().prop_map(|e| expr(ExprKind::Unary(UnaryOp::Minus, Box::new(operand(e))))),
            vector_binary(inner.clone()),
            scalar_binary(inner.clone()),
            aggregate(inner.clone()),
            (0..Signature::all().len(), inner.clone()).prop_filter_map("of one vector", |(i, arg)| {
                let func = &Signature::all()[i];
                (func.args == [ValueType::Vector] && func.returns == ValueType::Vector)
                    .then(|| expr(ExprKind::Call(Call { func, args: vec![arg] })))
            }),
            rate_of_range(),
            subquery(inner),
        ]
    })
    .boxed()
}

fn vector_binary(inner: BoxedStrategy<Expr>) -> impl Strategy<Value = Expr> {
    (binary_op(), inner.clone(), inner, any::<bool>(), matching()).prop_map(
        |(op, lhs, rhs, flag, matching)| {
            let mut matching = matching;
            if op.is_set() {
                matching.cardinality = Cardinality::ManyToMany;
                matching.include.clear();
                (matching.fill_left, matching.fill_right) = (None, None);
            }
            // `ignoring ()` says nothing and is not printed.
            let return_bool = flag && op.is_comparison();
            let (lhs, rhs) = (operand(lhs), operand(rhs));
            expr(ExprKind::Binary(Box::new(Binary { op, lhs, rhs, return_bool, matching: Some(matching) })))
        },
    )
}

fn scalar_binary(inner: BoxedStrategy<Expr>) -> impl Strategy<Value = Expr> {
    (binary_op(), inner, number()).prop_filter_map("no sets of scalars", |(op, lhs, number)| {
        let rhs = operand(expr(ExprKind::Number(number)));
        let binary = Binary { op, lhs: operand(lhs), rhs, return_bool: false, matching: None };
        (!op.is_set()).then(|| expr(ExprKind::Binary(Box::new(binary))))
    })
}

fn aggregate(inner: BoxedStrategy<Expr>) -> impl Strategy<Value = Expr> {
    let labels = proptest::collection::vec(label(), 0..3);
    (0..AggregateOp::ALL.len(), inner, labels, any::<bool>(), number(), "\\PC{0,5}").prop_map(
        |(op, inner, grouping, without, number, text)| {
            let op = AggregateOp::ALL[op];
            let param = op.param().map(|wanted| {
                expr(match wanted {
                    ValueType::String => ExprKind::String(text),
                    _ => ExprKind::Number(number),
                })
            });
            expr(ExprKind::Aggregate(Box::new(Aggregate { op, expr: inner, param, grouping, without })))
        },
    )
}

fn rate_of_range() -> impl Strategy<Value = Expr> {
    (selector(), range()).prop_map(|(selector, range)| {
        let matrix = MatrixSelector { selector, selector_span: Span::default(), range };
        let func = Signature::find("rate").unwrap();
        expr(ExprKind::Call(Call { func, args: vec![expr(ExprKind::Matrix(Box::new(matrix)))] }))
    })
}

fn subquery(inner: BoxedStrategy<Expr>) -> impl Strategy<Value = Expr> {
    (inner, range(), of(range()), of(offset()), of(at())).prop_map(|(inner, range, step, offset, at)| {
        // Prometheus takes no colon before the first digit.
        let has_digit = range.to_string().contains(|c: char| c.is_ascii_digit());
        let range = if has_digit { range } else { DurationExpr::Millis(60_000) };
        let subquery = Subquery { expr: operand(inner), range, step, offset, at };
        let func = Signature::find("sum_over_time").unwrap();
        expr(ExprKind::Call(Call { func, args: vec![expr(ExprKind::Subquery(Box::new(subquery)))] }))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_parses_back_to_the_same_tree(tree in vector()) {
        let printed = tree.to_string();
        let again = parse(&printed).map_err(|e| TestCaseError::fail(format!("{printed}: {e}")))?;
        prop_assert_eq!(bare(&again), bare(&tree), "{}", printed);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,40}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_heap_of_tokens_makes_the_parser_panic(
        words in proptest::collection::vec(
            prop_oneof![
                Just("sum"), Just("by"), Just("("), Just(")"), Just("["), Just("]"), Just("{"), Just("}"),
                Just("a"), Just("5m"), Just("1"), Just("-"), Just("+"), Just("offset"), Just("@"), Just(","),
                Just("\"x\""), Just("="), Just("on"), Just("rate"), Just("step"), Just(":"), Just("and"),
                Just("fill"), Just("info"), Just("smoothed"), Just("group_left"), Just("\n")
            ],
            0..16,
        )
    ) {
        let text = words.join(" ");
        if let Ok(expr) = parse(&text) {
            let printed = expr.to_string();
            let again = parse(&printed).map_err(|e| TestCaseError::fail(format!("{printed}: {e}")))?;
            prop_assert_eq!(bare(&again), bare(&expr), "{}", printed);
        }
    }
}
