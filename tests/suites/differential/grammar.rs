//! Queries by chance that know the grammar: most of them mean something.

use promql::Signature;
use promql::ast::ValueType;

use super::data::SPAN_MS;
use super::dice::Dice;
use super::tree::{Kind, Tree};

/// Float metrics, classic histograms, native histograms, and series that are now this, now that.
pub(super) const FLOATS: [&str; 15] = [
    "temperature",
    "queue_length",
    "up",
    "disk_free_bytes",
    "requests_total",
    "requests_total",
    "cpu_seconds_total",
    "weird",
    "one",
    "constant",
    "\"größe.in-m²\"",
    "typed_total",
    "typed",
    "zz_started_total",
    "latency_seconds_sum",
];
pub(super) const CLASSIC: [&str; 4] =
    ["latency_seconds_bucket", "latency_seconds_bucket", "broken_bucket", "endless_bucket"];
pub(super) const NATIVE: [&str; 11] = [
    "native",
    "native_float",
    "native_gauge",
    "native_nan",
    "native_custom",
    "native_custom_changing",
    "latency_seconds",
    "zz_started_sizes",
    "native_varied",
    "native_varied_gauge",
    "native_varied_custom",
];
pub(super) const MIXED: [&str; 3] = ["mixed", "{__name__=~\"native.*\"}", "{job=\"api\"}"];
pub(super) const LABELS: [&str; 9] =
    ["job", "instance", "code", "mode", "le", "zone", "kind", "__name__", "__type__"];
const MATCHERS: [(&str, &[&str]); 7] = [
    ("job", &["api", "db", "web", "a.*", ".*b", "api|db", ".+", "", "none", "(?i)API"]),
    ("instance", &["h1:80", "h2:80", "h.:80", "", "h[13].*"]),
    ("code", &["200", "404|500", "[45]..", ""]),
    ("mode", &["idle", "user|system", ".+"]),
    ("zone", &["a", "b|c", "", "[^a]"]),
    ("le", &["0.5", "+Inf", "1|2.5", ".*"]),
    ("\"path/to\"", &["a b", ".*quoted.*", "a\\\\sb"]),
];

/// Each with its tag.
pub(super) const MATCHER_OPERATORS: [(&str, &str); 4] =
    [("=", "matcher ="), ("!=", "matcher !="), ("=~", "matcher =~"), ("!~", "matcher !~")];

/// What the values of a vector should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavor {
    Float,
    Classic,
    Native,
    Any,
}

/// Makes the parts of a query.
pub(super) struct Grammar<'a> {
    pub(super) dice: &'a mut Dice,
    pub(super) from_ms: i64,
    /// How many expressions it may still make, roughly.
    pub(super) budget: usize,
}

impl Grammar<'_> {
    /// A query of its own: mostly a vector.
    pub(super) fn query(&mut self, is_range: bool) -> Tree {
        match self.dice.below(100) {
            0..=3 => self.scalar(),
            9 => self.wide(),
            4..=7 if !is_range => self.range(Flavor::Any, false),
            8 if !is_range => Tree::text(Kind::Text, "\"a \\\"text\\\" ü\""),
            _ => self.vector(Flavor::Any),
        }
    }

    /// Something about every series there is, which gives reason for many annotations.
    fn wide(&mut self) -> Tree {
        if self.dice.percent(20) {
            // Most series have not all of these labels.
            let function = self.dice.pick(&["sort_by_label", "sort_by_label_desc"]);
            let all = Tree::text(Kind::Vector, "{__name__=~\".+\"}").tag("matcher =~");
            let tree = Tree::text(Kind::Vector, format!("{function}(")).tag(function).with(all);
            return tree.then(", \"mode\", \"code\", \"zone\")");
        }
        let function = self.dice.pick(&["rate", "increase", "delta", "resets", "quantile_over_time"]);
        let first = if function == "quantile_over_time" { "7, " } else { "" };
        // Counted, since without their names many are the same.
        let tree = Tree::text(Kind::Vector, format!("count({function}({first}")).tag("count").tag(function);
        let all = Tree::text(Kind::Range, "{__name__=~\".+\"}[3m]").tag("matcher =~");
        tree.with(all).then("))")
    }

    pub(super) fn vector(&mut self, flavor: Flavor) -> Tree {
        if self.budget == 0 {
            return self.selector(flavor);
        }
        self.budget -= 1;
        match self.dice.below(100) {
            0..=24 => self.selector(flavor),
            25..=59 => self.call_for(flavor),
            60..=74 => self.aggregation(flavor),
            75..=92 => self.binary(flavor),
            93..=95 => Tree::text(Kind::Vector, "(").with(self.vector(flavor)).then(")"),
            _ => {
                let (sign, tag) = self.dice.pick(&[("-", "unary -"), ("+", "unary +")]);
                Tree::text(Kind::Vector, sign).with(self.vector(flavor)).tag(tag)
            }
        }
    }

    /// A call whose result has this flavor, mostly.
    fn call_for(&mut self, flavor: Flavor) -> Tree {
        let keeps =
            ["rate", "increase", "sum_over_time", "avg_over_time", "last_over_time", "delta", "irate"];
        let passes = ["sort", "label_replace", "label_join", "info", "first_over_time", "idelta"];
        let name = match flavor {
            Flavor::Native | Flavor::Classic if self.dice.percent(70) => self.dice.pick(&keeps),
            Flavor::Native | Flavor::Classic => self.dice.pick(&passes),
            Flavor::Float | Flavor::Any => return self.any_call(),
        };
        match Signature::find(name) {
            Some(function) => self.call(function, flavor),
            None => self.selector(flavor),
        }
    }

    fn any_call(&mut self) -> Tree {
        let vectors: Vec<&Signature> =
            Signature::all().iter().filter(|s| s.returns == ValueType::Vector).collect();
        let function = self.dice.pick(&vectors);
        let flavor = match function.name {
            "histogram_quantile" | "histogram_fraction" | "histogram_quantiles" if self.dice.percent(50) => {
                Flavor::Classic
            }
            name if name.starts_with("histogram_") && self.dice.percent(90) => Flavor::Native,
            _ if self.dice.percent(70) => Flavor::Float,
            _ => Flavor::Any,
        };
        self.call(function, flavor)
    }

    /// A call with arguments of the right types and with values that mostly make sense.
    pub(super) fn call(&mut self, function: &'static Signature, flavor: Flavor) -> Tree {
        let mut tree =
            Tree::text(kind_of(function.returns), format!("{}(", function.name)).tag(function.name);
        for (i, argument) in self.arguments(function, flavor).into_iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            tree = tree.then(comma).with(argument);
        }
        tree.then(")")
    }

    fn arguments(&mut self, function: &'static Signature, flavor: Flavor) -> Vec<Tree> {
        let text = |text: &str| Tree::text(Kind::Text, format!("\"{text}\""));
        match function.name {
            "label_replace" => {
                let source = self.dice.pick(&["job", "instance", "__name__", "nothing"]);
                let target = self.dice.pick(&["job", "new", "ü", "code", "__name__"]);
                let pattern = self.dice.pick(&["(.*)", "(.).*", "h(\\\\d):(?P<port>.*)", "none", ""]);
                let into = self.dice.pick(&["$1", "x-$1", "", "${port}!", "$2", "$$"]);
                vec![self.vector(flavor), text(target), text(into), text(source), text(pattern)]
            }
            "label_join" => {
                let target = self.dice.pick(&["job", "new", "ü"]);
                let mut arguments = vec![self.vector(flavor), text(target), text("-")];
                arguments.extend(self.dice.some(&LABELS).into_iter().map(text));
                arguments
            }
            "sort_by_label" | "sort_by_label_desc" => {
                let mut arguments = vec![self.vector(flavor)];
                arguments.extend(self.dice.some(&LABELS).into_iter().map(text));
                arguments
            }
            "histogram_quantiles" => {
                let mut arguments = vec![self.vector(flavor), text("quantile")];
                arguments.extend((0..=self.dice.below(3)).map(|i| number(0.1 + 0.35 * i as f64)));
                arguments
            }
            "info" => {
                let mut arguments = vec![self.vector(flavor)];
                arguments.extend(self.info_matchers());
                arguments
            }
            // Not `histogram_quantiles`: Prometheus's adds equal bounds up in place and again for each quantile.
            "histogram_quantile" if self.dice.percent(10) => {
                vec![self.quantile(), Tree::text(Kind::Vector, "doubled_bucket")]
            }
            "double_exponential_smoothing" => {
                vec![self.range(flavor, false), self.fraction(), self.fraction()]
            }
            _ => self.plain_arguments(function, flavor),
        }
    }

    fn plain_arguments(&mut self, function: &'static Signature, flavor: Flavor) -> Vec<Tree> {
        // Without its last argument such a function takes the time or 1.
        let optional = usize::from(function.variadic != 0 && self.dice.percent(40));
        let wanted = function.args.len() - optional;
        let extends = ["rate", "increase", "delta", "changes", "resets", "irate", "idelta"];
        let mut arguments = Vec::new();
        for kind in &function.args[..wanted] {
            arguments.push(match kind {
                ValueType::Scalar if function.name.contains("quantile") => self.quantile(),
                ValueType::Scalar => self.scalar(),
                ValueType::Vector => self.vector(flavor),
                ValueType::Matrix => self.range(flavor, extends.contains(&function.name)),
                ValueType::String => Tree::text(Kind::Text, "\"x\""),
            });
        }
        arguments
    }

    fn info_matchers(&mut self) -> Option<Tree> {
        let matchers = [
            "{version=~\".+\"}",
            "{env=\"prod\"}",
            "{__name__=\"build_info\"}",
            "{__name__=~\".*_info\", region=~\".*\"}",
            "{__name__=~\"(target|build)_info\"}",
            "{version!=\"1.0\"}",
            "{nothing=\"x\"}",
        ];
        self.dice.percent(70).then(|| Tree::text(Kind::Part, self.dice.pick(&matchers)))
    }

    pub(super) fn scalar(&mut self) -> Tree {
        if self.budget == 0 || self.dice.percent(50) {
            return self.literal();
        }
        self.budget -= 1;
        match self.dice.below(10) {
            0..=2 => {
                let op = self.dice.pick(&super::operators::ARITHMETIC);
                let tree = Tree::text(Kind::Scalar, "(").with(self.scalar()).then(format!(" {op} "));
                tree.with(self.scalar()).then(")").tag(op)
            }
            3 => {
                let op = self.dice.pick(&super::operators::COMPARISONS);
                let tree = Tree::text(Kind::Scalar, "(").with(self.scalar()).then(format!(" {op} bool "));
                tree.with(self.scalar()).then(")").tag(op).tag("bool")
            }
            4 => Tree::text(Kind::Scalar, "-").with(self.scalar()).tag("unary -"),
            _ => {
                let scalars: Vec<&Signature> =
                    Signature::all().iter().filter(|s| s.returns == ValueType::Scalar).collect();
                let function = self.dice.pick(&scalars);
                self.call(function, Flavor::Float)
            }
        }
    }

    pub(super) fn literal(&mut self) -> Tree {
        let some = [
            "0", "1", "2", "-1", "0.5", "3.7", "100", "1e3", "0x1F", "Inf", "-Inf", "NaN", "5m", "1h30m",
            "1_000", ".25", "-0", "1e-9", "90s", "7",
        ];
        Tree::text(Kind::Scalar, self.dice.pick(&some))
    }

    fn quantile(&mut self) -> Tree {
        let some = ["0.5", "0.9", "0.99", "0", "1", "0.25", "-0.1", "1.1", "NaN"];
        Tree::text(Kind::Scalar, self.dice.pick(&some))
    }

    fn fraction(&mut self) -> Tree {
        Tree::text(Kind::Scalar, self.dice.pick(&["0.1", "0.5", "0.9", "0.3"]))
    }

    /// `name{matchers} offset … @ …`
    pub(super) fn selector(&mut self, flavor: Flavor) -> Tree {
        let plain = self.plain_selector(flavor);
        let tree = Tree::empty(Kind::Vector).with(plain.of_kind(Kind::Part));
        self.moved(tree)
    }

    pub(super) fn plain_selector(&mut self, flavor: Flavor) -> Tree {
        let name = match flavor {
            Flavor::Float => self.dice.pick(&FLOATS),
            Flavor::Classic => self.dice.pick(&CLASSIC),
            Flavor::Native => self.dice.pick(&NATIVE),
            Flavor::Any => match self.dice.below(10) {
                0..=4 => self.dice.pick(&FLOATS),
                5 => self.dice.pick(&CLASSIC),
                6 | 7 => self.dice.pick(&NATIVE),
                8 => self.dice.pick(&MIXED),
                _ => self.dice.pick(&["target_info", "build_info", "nothing"]),
            },
        };
        let mut tree = Tree::empty(Kind::Vector);
        let mut matchers: Vec<String> = Vec::new();
        let is_utf8 = name.starts_with('"');
        while self.dice.percent(25) {
            let (label, values) = self.dice.pick(&MATCHERS);
            let (op, tag) = self.dice.pick(&MATCHER_OPERATORS);
            tree = tree.tag(tag);
            matchers.push(format!("{label}{op}\"{}\"", self.dice.pick(values)));
        }
        match name.strip_prefix('{') {
            Some(inner) => matchers.insert(0, inner.trim_end_matches('}').to_string()),
            None if is_utf8 => {
                tree = tree.tag("UTF-8 name");
                matchers.insert(0, name.to_string());
            }
            None => tree = tree.then(name),
        }
        if !matchers.is_empty() {
            tree = tree.then(format!("{{{}}}", matchers.join(",")));
        }
        tree
    }

    /// With `offset` and `@`, now and then.
    pub(super) fn moved(&mut self, mut tree: Tree) -> Tree {
        if self.dice.percent(14) {
            let (duration, tag) = match self.dice.below(5) {
                0 => (format!("-{}", self.duration()), "offset -"),
                1 => (format!("({})", self.computed_duration()), "duration expression"),
                _ => (self.duration(), "offset"),
            };
            tree = tree.then(format!(" offset {duration}")).tag("offset").tag(tag);
        }
        if self.dice.percent(10) {
            let (at, tag) = match self.dice.below(4) {
                0 => ("start()".to_string(), "@ start()"),
                1 => ("end()".to_string(), "@ end()"),
                _ => (super::queries::timestamp(self.time()), "@"),
            };
            tree = tree.then(format!(" @ {at}")).tag(tag);
        }
        tree
    }

    /// A range selector or a subquery.
    pub(super) fn range(&mut self, flavor: Flavor, may_extend: bool) -> Tree {
        if self.budget > 0 && self.dice.percent(20) {
            self.budget -= 1;
            return self.subquery(flavor);
        }
        let mut tree = Tree::empty(Kind::Range).with(self.plain_selector(flavor).of_kind(Kind::Part));
        tree = self.ranged(tree, "");
        if (may_extend && self.dice.percent(25)) || self.dice.percent(1) {
            let mode = self.dice.pick(&["anchored", "smoothed"]);
            tree = tree.then(format!(" {mode}")).tag(mode);
        }
        self.moved(tree)
    }

    fn subquery(&mut self, flavor: Flavor) -> Tree {
        let inner = Tree::text(Kind::Part, "(").with(self.vector(flavor)).then(")");
        let tree = Tree::empty(Kind::Range).with(inner).tag("subquery");
        let step = if self.dice.percent(30) {
            ":".to_string()
        } else {
            format!(":{}", self.dice.pick(&["30s", "1m", "45s", "2m", "5m", "17s"]))
        };
        let tree = self.ranged(tree, &step);
        self.moved(tree)
    }

    fn ranged(&mut self, tree: Tree, step: &str) -> Tree {
        if self.dice.percent(10) {
            let duration = self.computed_duration();
            return tree.then(format!("[{duration}{step}]")).tag("duration expression");
        }
        let duration = self.duration();
        tree.then(format!("[{duration}{step}]"))
    }

    fn duration(&mut self) -> String {
        let some = ["1m", "5m", "30s", "2m30s", "10m", "1h", "137s", "3m", "300", "4500ms", "90", "7m"];
        self.dice.pick(&some).to_string()
    }

    fn computed_duration(&mut self) -> String {
        let some = [
            "1m*2",
            "5m+30s",
            "5m-1m30s",
            "10m/2",
            "max_of(1m,step())",
            "min_of(5m,range())+1m",
            "step()+1m",
            "-(-5m)",
            "2^3*1m",
            "7m%4m",
            "(1m+1m)*2",
            "range()/10+1m",
        ];
        self.dice.pick(&some).to_string()
    }

    /// A time that the data are about, sometimes a little outside, sometimes exactly that of samples.
    pub(super) fn time(&mut self) -> i64 {
        let at = self.from_ms + self.dice.between(-5 * 60_000, SPAN_MS + 7 * 60_000);
        match self.dice.below(4) {
            0 => at,
            1 => at - (at - self.from_ms).rem_euclid(15_000) + 3_217,
            _ => at - (at - self.from_ms).rem_euclid(30_000),
        }
    }
}

fn number(value: f64) -> Tree {
    Tree::text(Kind::Scalar, format!("{value}"))
}

pub(super) fn kind_of(kind: ValueType) -> Kind {
    match kind {
        ValueType::Scalar => Kind::Scalar,
        ValueType::String => Kind::Text,
        ValueType::Vector => Kind::Vector,
        ValueType::Matrix => Kind::Range,
    }
}
