//! Aggregations and binary operations by chance.

use super::grammar::{Flavor, Grammar, LABELS};
use super::tree::{Kind, Tree};

pub(super) const ARITHMETIC: [&str; 7] = ["+", "-", "*", "/", "%", "^", "atan2"];
pub(super) const COMPARISONS: [&str; 6] = ["==", "!=", "<", "<=", ">", ">="];
pub(super) const SETS: [&str; 3] = ["and", "or", "unless"];
pub(super) const TRIMS: [&str; 2] = ["</", ">/"];
/// With and without a parameter.
pub(super) const PLAIN: [&str; 8] = ["sum", "avg", "count", "min", "max", "group", "stddev", "stdvar"];
pub(super) const WITH_PARAMETER: [&str; 6] =
    ["topk", "bottomk", "count_values", "quantile", "limitk", "limit_ratio"];

/// Labels whose series can be found on both sides of an operator, and a metric that has them once each.
const ONE_SIDES: [(&str, &str, &str); 6] = [
    ("job, instance", "target_info", "version"),
    ("job, instance", "build_info", "build, region"),
    ("job, instance", "up", ""),
    ("job", "latency_seconds_count", ""),
    ("zone", "one", ""),
    ("job", "native_custom", ""),
];

impl Grammar<'_> {
    pub(super) fn aggregation(&mut self, flavor: Flavor) -> Tree {
        let is_plain = self.dice.percent(60);
        let name = if is_plain { self.dice.pick(&PLAIN) } else { self.dice.pick(&WITH_PARAMETER) };
        let tree = Tree::text(Kind::Vector, name).tag(name);
        let (modifier, tag) = self.grouping();
        let comes_first = self.dice.percent(70);
        let mut tree = match tag {
            Some(tag) if comes_first => tree.then(format!(" {modifier} (")).tag(tag),
            _ => tree.then("("),
        };
        if !is_plain {
            tree = tree.with(self.parameter(name)).then(", ");
        }
        let argument = if name == "count_values" { self.countable(flavor) } else { self.vector(flavor) };
        let tree = tree.with(argument).then(")");
        match tag {
            Some(tag) if !comes_first => tree.then(format!(" {modifier}")).tag(tag),
            _ => tree,
        }
    }

    /// Values as they were sent, or rounded: the last digit of a sine may differ, and here it becomes a label.
    fn countable(&mut self, flavor: Flavor) -> Tree {
        if self.dice.percent(50) {
            return self.selector(flavor);
        }
        Tree::text(Kind::Vector, "round(").with(self.vector(flavor)).then(", 0.001)").tag("round")
    }

    fn grouping(&mut self) -> (String, Option<&'static str>) {
        let labels = self.dice.some(&LABELS).join(", ");
        match self.dice.below(10) {
            0..=2 => (String::new(), None),
            3..=6 => (format!("by ({labels})"), Some("by")),
            7 => ("by ()".to_string(), Some("by")),
            _ => (format!("without ({labels})"), Some("without")),
        }
    }

    fn parameter(&mut self, aggregation: &str) -> Tree {
        let some: &[&str] = match aggregation {
            "count_values" => {
                let label = self.dice.pick(&["\"value\"", "\"job\"", "\"größe\""]);
                return Tree::text(Kind::Text, label);
            }
            "quantile" => &["0.5", "0.9", "0", "1", "0.33", "-1", "2", "NaN"],
            "limit_ratio" => &["0.5", "-0.5", "0.1", "-0.9", "1", "0", "2", "-3"],
            _ => &["1", "2", "3", "5", "0", "-1", "100", "2.7"],
        };
        if self.dice.percent(8) {
            // Its digits may become those of a message.
            return self.literal();
        }
        Tree::text(Kind::Scalar, self.dice.pick(some))
    }

    pub(super) fn binary(&mut self, flavor: Flavor) -> Tree {
        match self.dice.below(100) {
            0..=34 => self.with_a_scalar(flavor),
            35..=59 => self.one_to_one(flavor),
            60..=74 => self.grouped(flavor),
            75..=89 => self.set(flavor),
            90..=93 => self.trim(),
            _ => self.of_any_two(flavor),
        }
    }

    fn with_a_scalar(&mut self, flavor: Flavor) -> Tree {
        let operator = self.operator();
        let (first, second) = if self.dice.percent(65) {
            (self.vector(flavor), self.scalar())
        } else {
            (self.scalar(), self.vector(flavor))
        };
        self.joined(first, operator, second)
    }

    fn trim(&mut self) -> Tree {
        let op = self.dice.pick(&TRIMS);
        let bound = Tree::text(
            Kind::Scalar,
            self.dice.pick(&["1", "0.5", "2", "0", "-1", "Inf", "-Inf", "NaN", "3.3"]),
        );
        let vector = self.vector(Flavor::Native);
        self.joined(vector, Tree::text(Kind::Part, op).tag(op), bound)
    }

    /// Two sides of which each series has at most one partner.
    fn one_to_one(&mut self, flavor: Flavor) -> Tree {
        let mut operator = self.operator();
        if self.dice.percent(25) {
            // A metric with itself, at another time.
            let plain = self.plain_selector(flavor).of_kind(Kind::Part);
            let first = self.moved(Tree::empty(Kind::Vector).with(plain.clone()));
            let second = self.moved(Tree::empty(Kind::Vector).with(plain));
            if self.dice.percent(20) {
                operator = operator.then(" ignoring ()").tag("ignoring");
            }
            let operator = self.filled(operator);
            return self.joined(first, operator, second);
        }
        let labels = self.dice.some(&["job", "instance", "code", "zone"]).join(", ");
        let side = |grammar: &mut Self| {
            let name = grammar.dice.pick(&["sum", "avg", "max", "count"]);
            let tree = Tree::text(Kind::Vector, format!("{name} by ({labels}) (")).tag(name).tag("by");
            tree.with(grammar.vector(flavor)).then(")")
        };
        let (first, second) = (side(self), side(self));
        match self.dice.below(4) {
            0 => operator = operator.then(format!(" on ({labels})")).tag("on"),
            1 => {
                let ignored = self.dice.pick(&["code", "nothing", "mode, zone"]);
                operator = operator.then(format!(" ignoring ({ignored})")).tag("ignoring");
            }
            _ => {}
        }
        let operator = self.filled(operator);
        self.joined(first, operator, second)
    }

    /// Many on one side and one on the other.
    fn grouped(&mut self, flavor: Flavor) -> Tree {
        let (labels, one, include) = self.dice.pick(&ONE_SIDES);
        let include = if self.dice.percent(60) { include } else { "" };
        let include = if self.dice.percent(5) { "job" } else { include };
        let one = if self.dice.percent(50) {
            let kept = if include.is_empty() { labels.to_string() } else { format!("{labels}, {include}") };
            Tree::text(Kind::Vector, format!("max by ({kept}) ({one})")).tag("max").tag("by")
        } else {
            Tree::text(Kind::Vector, one)
        };
        let many = self.vector(flavor);
        let is_left = self.dice.percent(60);
        let operator = self.operator().then(format!(" on ({labels})")).tag("on");
        let (group, tag) = match (is_left, include.is_empty()) {
            (true, true) => ("group_left", "group_left"),
            (true, false) => ("group_left", "group_left with labels"),
            (false, true) => ("group_right", "group_right"),
            (false, false) => ("group_right", "group_right with labels"),
        };
        let operator = operator.then(format!(" {group} ({include})")).tag(tag);
        let operator = self.filled(operator);
        if is_left { self.joined(many, operator, one) } else { self.joined(one, operator, many) }
    }

    fn set(&mut self, flavor: Flavor) -> Tree {
        let op = self.dice.pick(&SETS);
        let mut operator = Tree::text(Kind::Part, op).tag(op);
        let labels = self.dice.some(&LABELS).join(", ");
        match self.dice.below(3) {
            0 => operator = operator.then(format!(" on ({labels})")).tag("on"),
            1 => operator = operator.then(format!(" ignoring ({labels})")).tag("ignoring"),
            _ => {}
        }
        let (first, second) = (self.vector(flavor), self.vector(flavor));
        self.joined(first, operator, second)
    }

    /// What may or may not find partners.
    fn of_any_two(&mut self, flavor: Flavor) -> Tree {
        let mut operator = self.operator();
        if self.dice.percent(50) {
            let labels = self.dice.some(&LABELS).join(", ");
            let (word, tag) = self.dice.pick(&[("on", "on"), ("ignoring", "ignoring")]);
            operator = operator.then(format!(" {word} ({labels})")).tag(tag);
        }
        let (first, second) = (self.vector(flavor), self.vector(Flavor::Any));
        self.joined(first, operator, second)
    }

    fn operator(&mut self) -> Tree {
        if self.dice.percent(60) {
            let op = self.dice.pick(&ARITHMETIC);
            return Tree::text(Kind::Part, op).tag(op);
        }
        let op = self.dice.pick(&COMPARISONS);
        let tree = Tree::text(Kind::Part, op).tag(op);
        if self.dice.percent(40) { tree.then(" bool").tag("bool") } else { tree }
    }

    fn filled(&mut self, operator: Tree) -> Tree {
        if !self.dice.percent(20) {
            return operator;
        }
        let value = self.dice.pick(&["0", "1", "-2.5", "NaN", "Inf"]);
        match self.dice.below(4) {
            0 => operator.then(format!(" fill_left({value})")).tag("fill_left"),
            1 => operator.then(format!(" fill_right({value})")).tag("fill_right"),
            2 => {
                operator.then(format!(" fill_left({value}) fill_right(7)")).tag("fill_left").tag("fill_right")
            }
            _ => operator.then(format!(" fill({value})")).tag("fill"),
        }
    }

    /// In brackets mostly; without them precedence decides.
    pub(super) fn joined(&mut self, first: Tree, operator: Tree, second: Tree) -> Tree {
        let is_bracketed = self.dice.percent(85);
        let open = if is_bracketed { "(" } else { "" };
        // Positions in messages count lines, and bytes in them.
        let space = self.dice.pick(&[" ", " ", " ", " ", "\n  ", " # ü\n\t"]);
        let tree =
            Tree::text(Kind::Vector, open).with(first).then(" ").with(operator).then(space).with(second);
        if is_bracketed { tree.then(")") } else { tree }
    }
}
