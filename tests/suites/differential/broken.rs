//! Queries that should fail: by their syntax, by their types, or only when they are evaluated.

use promql::Signature;
use promql::ast::ValueType;

use super::grammar::{Flavor, Grammar, kind_of};
use super::operators::{ARITHMETIC, COMPARISONS, PLAIN, SETS, TRIMS, WITH_PARAMETER};
use super::tree::{Kind, Tree};

/// What can be wrong with times, ranges and modifiers.
const SNIPPETS: [(&str, &[&str]); 34] = [
    ("up offset 1m offset 2m", &["offset"]),
    ("up @ 1 @ 2", &["@"]),
    ("(up) offset 1m", &["offset"]),
    ("sum(up) offset -1m", &["offset", "offset -", "sum"]),
    ("(up) @ start()", &["@ start()"]),
    ("rate(up[1m]) @ end()", &["@ end()", "rate"]),
    ("up @ Inf", &["@"]),
    ("up @ NaN", &["@"]),
    ("up @ -Inf", &["@"]),
    ("up @ \"1\"", &["@"]),
    ("up[0s]", &[]),
    ("up[-1m]", &[]),
    ("rate(up[1m-2m])", &["duration expression", "rate"]),
    ("rate(up[5m/0])", &["duration expression", "rate"]),
    ("rate(up[5m%0])", &["duration expression", "rate"]),
    ("up[5m:-1m]", &["subquery"]),
    ("up[5m:0s]", &["subquery"]),
    ("up[5m][1m]", &[]),
    ("(1+1)[5m:1m]", &["subquery", "+"]),
    ("up[5m:1m] anchored", &["anchored", "subquery"]),
    ("up anchored", &["anchored"]),
    ("up smoothed", &["smoothed"]),
    ("sum_over_time(up[5m] anchored)", &["anchored", "sum_over_time"]),
    ("changes(up[5m] smoothed)", &["smoothed", "changes"]),
    ("rate(native[5m] smoothed)", &["smoothed", "rate"]),
    ("{}", &[]),
    ("{job=\"\"}", &["matcher ="]),
    ("{job=~\".*\",zone!=\"x\"}", &["matcher =~", "matcher !="]),
    ("{job!~\"x\"}", &["matcher !~"]),
    ("up{__name__=\"down\"}", &["matcher ="]),
    ("{\"größe.in-m²\", \"other\"}", &["UTF-8 name"]),
    ("up{job=~\"(\"}", &["matcher =~"]),
    ("-up[5m]", &["unary -"]),
    ("+\"text\"", &["unary +"]),
];

/// Modifiers of binary operations that do not fit.
const OPERATIONS: [(&str, &[&str]); 22] = [
    ("up + on (job) requests_total", &["on", "+"]),
    ("requests_total * ignoring (job) up", &["ignoring", "*"]),
    ("requests_total / on (job) group_left () up", &["group_left", "on", "/"]),
    ("up - on (job) group_left (mode) cpu_seconds_total", &["group_left with labels", "on", "-"]),
    ("cpu_seconds_total - on (job) group_right () up", &["group_right", "on", "-"]),
    ("up % on (job) group_right (code) requests_total", &["group_right with labels", "on", "%"]),
    ("up and on (job) group_left () up", &["group_left", "on", "and"]),
    ("up or on (job) group_right (x) up", &["group_right with labels", "on", "or"]),
    ("up + on (job) group_left (job) up", &["group_left with labels", "on", "+"]),
    ("up and fill(0) up", &["fill", "and"]),
    ("up unless fill_left(0) up", &["fill_left", "unless"]),
    ("up or fill_right(1) up", &["fill_right", "or"]),
    ("1 + fill(0) up", &["fill", "+"]),
    ("up + fill_left(0) 1", &["fill_left", "+"]),
    ("up + fill_right(0) 1", &["fill_right", "+"]),
    ("up + fill(up) up", &["fill", "+"]),
    ("up + fill(0) fill_left(0) up", &["fill", "fill_left", "+"]),
    ("1 + on (job) up", &["on", "+"]),
    ("up + ignoring (job) 1", &["ignoring", "+"]),
    ("up > bool on (job) group_left () requests_total", &["group_left", "on", "bool", ">"]),
    ("sum by (job) (up) + on () sum by (job) (up)", &["on", "+", "by", "sum"]),
    ("sum without (job) (requests_total) + ignoring (code) up", &["ignoring", "+", "without", "sum"]),
];

/// What only the evaluation can know.
const EVALUATED: [&str; 24] = [
    "label_replace({V}, \"job\", \"same\", \"job\", \".*\")",
    "label_replace({V}, \"instance\", \"\", \"instance\", \".*\")",
    "label_replace({V}, \"x\", \"$1\", \"job\", \"(\")",
    "label_replace({V}, \"\\xff\", \"$1\", \"job\", \"(.*)\")",
    "label_join({V}, \"\\xff\", \"-\", \"job\")",
    "label_join({V}, \"instance\", \"-\", \"nothing\")",
    "count_values(\"\\xff\", {V})",
    "topk(NaN, {V})",
    "bottomk(Inf, {V})",
    "limitk(-Inf, {V})",
    "limit_ratio(NaN, {V})",
    "quantile({S}, {R})",
    "double_exponential_smoothing({R}, 0, 0.5)",
    "double_exponential_smoothing({R}, 0.5, 1.5)",
    "histogram_quantiles({V}, \"le\", 0.5, 0.5)",
    "histogram_quantiles({V}, \"\\xff\", 0.5, 0.9)",
    "rate({__name__=~\".+_total|temperature\"}[5m])",
    "abs({__name__=~\".+_total|temperature|up\"})",
    "-{__name__=~\"up|one|queue_length\"}",
    "{V} + {V} + on () {V}",
    "sum by (job) ({V}) + on () group_left () {V}",
    "label_replace({V}, \"job\", \"x\", \"\", \"\") + {V}",
    "info({V}, target_info)",
    "last_over_time(label_join({V}, \"job\", \"\")[5m:1m])",
];

impl Grammar<'_> {
    /// A query that is most probably wrong.
    pub(super) fn broken(&mut self) -> Tree {
        match self.dice.below(100) {
            0..=29 => self.wrong_call(),
            30..=41 => self.wrong_aggregation(),
            42..=53 => self.wrong_operation(),
            54..=61 => self.within(&SNIPPETS),
            62..=69 => self.within(&OPERATIONS),
            70..=83 => self.wrong_when_evaluated(),
            _ => self.misspelt(),
        }
    }

    fn wrong_call(&mut self) -> Tree {
        let function = self.dice.pick(&Signature::all().iter().collect::<Vec<_>>());
        let tree = Tree::text(kind_of(function.returns), format!("{}(", function.name)).tag(function.name);
        let mut arguments: Vec<Tree> = function.args.iter().map(|kind| self.of(*kind)).collect();
        if arguments.is_empty() || self.dice.percent(30) {
            match self.dice.below(2) {
                0 if !arguments.is_empty() => arguments.truncate(self.dice.below(arguments.len())),
                _ => (0..=self.dice.below(12)).for_each(|_| arguments.push(Tree::text(Kind::Scalar, "1"))),
            }
        } else {
            let at = self.dice.below(arguments.len());
            let others = [ValueType::Scalar, ValueType::Vector, ValueType::Matrix, ValueType::String];
            let others: Vec<ValueType> = others.into_iter().filter(|k| *k != function.args[at]).collect();
            let other = self.dice.pick(&others);
            arguments[at] = self.of(other);
        }
        let listed = arguments
            .into_iter()
            .enumerate()
            .fold(tree, |tree, (i, argument)| tree.then(if i == 0 { "" } else { ", " }).with(argument));
        listed.then(")")
    }

    fn wrong_aggregation(&mut self) -> Tree {
        let is_plain = self.dice.percent(50);
        let name = if is_plain { self.dice.pick(&PLAIN) } else { self.dice.pick(&WITH_PARAMETER) };
        let (grouping, tag) =
            self.dice.pick(&[(" by (job) ", Some("by")), (" without (le) ", Some("without")), ("", None)]);
        let tree = Tree::text(Kind::Vector, format!("{name}{grouping}(")).tag(name);
        let tree = tag.into_iter().fold(tree, Tree::tag);
        let kinds = [ValueType::Scalar, ValueType::Vector, ValueType::Matrix, ValueType::String];
        let (first, second) = (self.dice.pick(&kinds), self.dice.pick(&kinds));
        match self.dice.below(5) {
            0 => tree.then(")"),
            1 => tree.with(self.of(first)).then(", ").with(self.of(second)).then(", 1)"),
            2 => tree.with(self.of(first)).then(")"),
            _ => tree.with(self.of(first)).then(", ").with(self.of(second)).then(")"),
        }
    }

    fn wrong_operation(&mut self) -> Tree {
        let all: Vec<&'static str> = [&ARITHMETIC[..], &COMPARISONS, &SETS, &TRIMS].concat();
        let op = self.dice.pick(&all);
        let operator = Tree::text(Kind::Part, op).tag(op);
        let kinds = [ValueType::Scalar, ValueType::Vector, ValueType::Matrix, ValueType::String];
        let (first, second) = match self.dice.below(4) {
            // Comparisons of scalars want `bool`, which nothing else takes; sets want vectors.
            0 => (ValueType::Scalar, ValueType::Scalar),
            1 => (ValueType::Scalar, ValueType::Vector),
            _ => (self.dice.pick(&kinds), self.dice.pick(&[ValueType::Matrix, ValueType::String])),
        };
        let is_comparison = COMPARISONS.contains(&op);
        let operator = match self.dice.percent(40) && !is_comparison {
            true => operator.then(" bool").tag("bool"),
            false => operator,
        };
        let (first, second) = (self.of(first), self.of(second));
        self.joined(first, operator, second)
    }

    /// A snippet as it is, or in the middle of something that is right.
    fn within(&mut self, snippets: &[(&'static str, &'static [&'static str])]) -> Tree {
        let (text, tags) = self.dice.pick(snippets);
        let tree = tags.iter().fold(Tree::text(Kind::Vector, text), |tree, tag| tree.tag(tag));
        match self.dice.below(4) {
            0 => Tree::text(Kind::Vector, "sum(").with(tree).then(")").tag("sum"),
            1 => {
                let first = self.vector(Flavor::Float);
                Tree::empty(Kind::Vector).with(first).then(" or (").with(tree).then(")").tag("or")
            }
            2 => Tree::text(Kind::Vector, "vector(1)\n  + ").with(tree).tag("+").tag("vector"),
            _ => tree,
        }
    }

    fn wrong_when_evaluated(&mut self) -> Tree {
        let template = self.dice.pick(&EVALUATED);
        let mut tree = Tree::empty(Kind::Vector);
        let mut rest = template;
        for name in
            ["label_replace", "label_join", "histogram_quantiles", "double_exponential_smoothing", "info"]
        {
            if rest.starts_with(name) {
                tree = tree.tag(name);
            }
        }
        while let Some(at) =
            rest.find("{V}").into_iter().chain(rest.find("{R}")).chain(rest.find("{S}")).min()
        {
            let part = match &rest[at..at + 3] {
                "{V}" => self.vector(Flavor::Any),
                "{R}" => self.range(Flavor::Any, false),
                _ => self.scalar(),
            };
            tree = tree.then(&rest[..at]).with(part);
            rest = &rest[at + 3..];
        }
        tree.then(rest)
    }

    /// Something right with a slip of the pen.
    fn misspelt(&mut self) -> Tree {
        let right = self.vector(Flavor::Any);
        let mut tokens: Vec<String> = tokens(&right.print());
        let at = self.dice.below(tokens.len());
        match self.dice.below(5) {
            0 => drop(tokens.remove(at)),
            1 => tokens.insert(at, tokens[at].clone()),
            2 => {
                let other = self.dice.below(tokens.len());
                tokens.swap(at, other);
            }
            3 => tokens.truncate(at),
            _ => {
                let strays = [
                    ")",
                    "(",
                    "}",
                    "{",
                    "[",
                    "]",
                    ",",
                    "by",
                    "on",
                    "offset",
                    "@",
                    "bool",
                    "sum",
                    "1",
                    "\"x\"",
                    "5m",
                    "foo",
                    "=",
                    "=~",
                    "+",
                    "and",
                    "group_left",
                    "!",
                    "#",
                    "'",
                    "$",
                    ";",
                    ":",
                    "fill",
                    "1.2.3",
                    "é",
                    "\"\\z\"",
                    "5x",
                    "0x",
                    "start",
                    "offset -",
                    "unless",
                    "nope(",
                    "sum by",
                    "without (",
                ];
                tokens.insert(at, self.dice.pick(&strays).to_string());
            }
        }
        let text = tokens.join(if self.dice.percent(30) { " " } else { "" });
        right.tags().into_iter().fold(Tree::text(Kind::Vector, text), Tree::tag)
    }

    fn of(&mut self, kind: ValueType) -> Tree {
        self.budget = self.budget.min(2);
        match kind {
            ValueType::Scalar => self.scalar(),
            ValueType::Vector => self.vector(Flavor::Float),
            ValueType::Matrix => self.range(Flavor::Float, false),
            ValueType::String => Tree::text(Kind::Text, "\"text\""),
        }
    }
}

/// Words, strings and signs; white space stays with what is before it.
fn tokens(query: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut in_string = false;
    let mut escaped = false;
    let mut last = ' ';
    for c in query.chars() {
        let goes_on = in_string
            || c.is_whitespace()
            || (c.is_alphanumeric() || c == '_') && (last.is_alphanumeric() || last == '_');
        match tokens.last_mut() {
            Some(token) if goes_on => token.push(c),
            _ => tokens.push(c.to_string()),
        }
        if c == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = c == '\\' && !escaped;
        last = c;
    }
    tokens
}

#[test]
fn a_query_falls_apart_into_words_strings_and_signs() {
    assert_eq!(
        tokens("sum by (a) (up{x=\"a b\"}) + 1"),
        ["sum ", "by ", "(", "a", ") ", "(", "up", "{", "x", "=", "\"a b\"", "}", ") ", "+ ", "1"]
    );
}
