use std::fmt;

use regex::Regex;
use regex_syntax::hir::Hir;
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use xxhash_rust::xxh3::xxh3_128;

use crate::{METRIC_NAME, go_regex, run_labels};

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatcherOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// A condition on one label. An absent label has the empty value.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// The label's name.
    pub name: String,
    /// How it compares.
    pub op: MatcherOp,
    /// The value or the pattern, as written.
    pub value: String,
    test: Pass,
}

/// The pattern of a matcher does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MatcherError(pub String);

#[derive(Debug, Clone)]
enum Pass {
    /// One of these values, sorted; what most patterns of dashboards amount to.
    OneOf(Vec<String>),
    /// A pattern, and with what all that it matches begins, if that is known.
    Pattern(Regex, Box<[String]>),
    /// `.*`
    Anything,
    /// `.+`
    NotEmpty,
}

impl Matcher {
    /// The most bytes that a compiled pattern may take.
    pub const REGEX_SIZE_LIMIT: usize = 1 << 20;

    /// Compiles a matcher. Patterns are anchored and their dot matches a newline, as in Prometheus.
    pub fn new(name: &str, op: MatcherOp, value: &str) -> Result<Matcher, MatcherError> {
        let test = match op {
            MatcherOp::Equal | MatcherOp::NotEqual => Pass::OneOf(vec![value.to_string()]),
            MatcherOp::Regex | MatcherOp::NotRegex => compile(value)?,
        };
        Ok(Matcher { name: name.to_string(), op, value: value.to_string(), test })
    }

    /// Whether a label with this value passes; the empty value stands for an absent label.
    pub fn matches(&self, value: &str) -> bool {
        let hit = match &self.test {
            Pass::OneOf(values) => values.binary_search_by(|v| v.as_str().cmp(value)).is_ok(),
            Pass::Pattern(regex, _) => regex.is_match(value),
            Pass::Anything => true,
            Pass::NotEmpty => !value.is_empty(),
        };
        hit != self.is_negative()
    }

    /// The only values that can pass, where that is known without looking at data.
    pub fn candidates(&self) -> Option<&[String]> {
        match &self.test {
            Pass::OneOf(values) if !self.is_negative() => Some(values),
            _ => None,
        }
    }

    /// With what all values begin that can pass, where that is known and they are not to be listed.
    pub fn prefixes(&self) -> Option<&[String]> {
        match &self.test {
            Pass::Pattern(_, prefixes) if !self.is_negative() && !prefixes.is_empty() => Some(prefixes),
            _ => None,
        }
    }

    /// Whether a series without the label passes.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// Whether every value passes.
    pub fn matches_all(&self) -> bool {
        matches!(self.test, Pass::Anything) && !self.is_negative()
    }

    fn is_negative(&self) -> bool {
        matches!(self.op, MatcherOp::NotEqual | MatcherOp::NotRegex)
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Matcher) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl MatcherOp {
    /// The operator as it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            MatcherOp::Equal => "=",
            MatcherOp::NotEqual => "!=",
            MatcherOp::Regex => "=~",
            MatcherOp::NotRegex => "!~",
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op.symbol(), self.value)
    }
}

fn compile(pattern: &str) -> Result<Pass, MatcherError> {
    match pattern {
        ".*" => return Ok(Pass::Anything),
        ".+" => return Ok(Pass::NotEmpty),
        _ => {}
    }
    if !pattern.contains(|c| r"\.+*?()[]{}^$".contains(c)) {
        return Ok(one_of(pattern.split('|').map(str::to_string).collect()));
    }
    let translated = go_regex::translated(pattern)?;
    let syntax = regex_syntax::ParserBuilder::new().dot_matches_new_line(true).build().parse(&translated);
    let syntax = syntax.ok();
    if let Some(values) = syntax.as_ref().and_then(all_values) {
        return Ok(one_of(values));
    }
    let framed = format!("^(?s:{translated})$");
    let prefixes = syntax.as_ref().and_then(prefixes).unwrap_or_default();
    let regex = go_regex::build(pattern, &framed, Matcher::REGEX_SIZE_LIMIT)?;
    Ok(Pass::Pattern(regex, prefixes.into()))
}

fn one_of(mut values: Vec<String>) -> Pass {
    values.sort();
    values.dedup();
    Pass::OneOf(values)
}

/// The most values that a pattern is spelled out as.
const MOST_VALUES: usize = 10_000;
/// The longest of them.
const LONGEST_VALUE: usize = 4_096;

/// All values that a pattern matches, if these are few: what dashboards make of a choice of several values, in which
/// dots are escaped, is one.
fn all_values(syntax: &Hir) -> Option<Vec<String>> {
    // An anchor or a word boundary says something about the values that no list of them says.
    if !syntax.properties().look_set().is_empty() {
        return None;
    }
    let mut extractor = Extractor::new();
    extractor.limit_total(MOST_VALUES).limit_literal_len(LONGEST_VALUE);
    let found = extractor.extract(syntax);
    let values = found.is_exact().then(|| found.literals())??;
    values.iter().map(|value| String::from_utf8(value.as_bytes().to_vec()).ok()).collect()
}

/// The most prefixes that are told of a pattern: each is looked for in the statistics of every page.
const MOST_PREFIXES: usize = 64;

/// With what the values begin that a pattern matches, if all of them begin with something.
fn prefixes(syntax: &Hir) -> Option<Vec<String>> {
    let mut extractor = Extractor::new();
    extractor.kind(ExtractKind::Prefix).limit_total(MOST_PREFIXES);
    let found = extractor.extract(syntax);
    let mut prefixes = Vec::new();
    for literal in found.literals()? {
        // A literal may end within a character.
        let text = literal.as_bytes().utf8_chunks().next()?.valid();
        if text.is_empty() {
            return None;
        }
        prefixes.push(text.to_string());
    }
    Some(prefixes)
}

/// Whether the series with this label run passes all matchers.
pub fn passes(matchers: &[Matcher], run: &[u8]) -> bool {
    passes_by(matchers, run, |_, matcher, value| {
        std::str::from_utf8(value).is_ok_and(|value| matcher.matches(value))
    })
}

fn passes_by(
    matchers: &[Matcher],
    run: &[u8],
    mut matches: impl FnMut(usize, &Matcher, &[u8]) -> bool,
) -> bool {
    // One walk over the labels; a matcher that met no label of its name looks at the empty value.
    let mut met = 0u64;
    for label in run_labels(run) {
        let of_name = |(_, matcher): &(usize, &Matcher)| matcher.name.as_bytes() == label.name;
        for (i, matcher) in matchers.iter().enumerate().filter(of_name) {
            if !matches(i, matcher, label.value) {
                return false;
            }
            met |= 1u64.checked_shl(i as u32).unwrap_or(0);
        }
    }
    matchers.iter().enumerate().all(|(i, matcher)| {
        let seen = i < 64 && met & 1 << i != 0;
        seen || (i >= 64 && run_labels(run).any(|label| label.name == matcher.name.as_bytes()))
            || matcher.matches_empty()
    })
}

/// Tests the label runs of many series. Values that come again, as most do, are looked up and not matched again: a
/// pattern is run once for each value that is remembered.
#[derive(Debug)]
pub struct Test<'m> {
    matchers: &'m [Matcher],
    /// For each matcher with a pattern, what came of values.
    verdicts: Vec<Vec<Verdict>>,
}

/// Whether a value passes; values are known by their hash of 128 bits.
#[derive(Debug, Clone, Copy)]
struct Verdict {
    value: u128,
    passes: bool,
}

/// Verdicts that are kept of a matcher: for the labels by which dashboards filter, and no more than a page or two.
const VERDICTS: usize = 512;

impl<'m> Test<'m> {
    /// A test whether series pass all of these.
    pub fn of(matchers: &'m [Matcher]) -> Test<'m> {
        let none = Verdict { value: xxh3_128(b""), passes: false };
        let of_one = |matcher: &Matcher| match &matcher.test {
            Pass::Pattern(..) => vec![Verdict { passes: matcher.matches_empty(), ..none }; VERDICTS],
            _ => Vec::new(),
        };
        Test { matchers, verdicts: matchers.iter().map(of_one).collect() }
    }

    /// Whether the series with this label run passes.
    pub fn passes(&mut self, run: &[u8]) -> bool {
        let verdicts = &mut self.verdicts;
        passes_by(self.matchers, run, |at, matcher, value| remembered(&mut verdicts[at], matcher, value))
    }
}

fn remembered(verdicts: &mut [Verdict], matcher: &Matcher, value: &[u8]) -> bool {
    let matches = || std::str::from_utf8(value).is_ok_and(|value| matcher.matches(value));
    if verdicts.is_empty() {
        return matches();
    }
    let hash = xxh3_128(value);
    let verdict = &mut verdicts[hash as usize % VERDICTS];
    if verdict.value != hash {
        *verdict = Verdict { value: hash, passes: matches() };
    }
    verdict.passes
}

/// The only metric names that can pass, if the matchers say so.
pub fn metric_names(matchers: &[Matcher]) -> Option<&[String]> {
    let of_name = matchers.iter().filter(|matcher| matcher.name == METRIC_NAME);
    // A series without a name has no metric to prune by.
    of_name.filter_map(Matcher::candidates).find(|names| names.iter().all(|name| !name.is_empty()))
}

/// Which metrics can pass matchers, as far as these say so: what statistics are held against.
#[derive(Debug, Clone)]
pub enum Metrics<'m> {
    /// Any.
    Any,
    /// One of these.
    Names(&'m [String]),
    /// Those whose names begin with one of these.
    Prefixes(&'m [String]),
}

impl<'m> Metrics<'m> {
    /// What matchers say.
    pub fn of(matchers: &'m [Matcher]) -> Metrics<'m> {
        if let Some(names) = metric_names(matchers) {
            return Metrics::Names(names);
        }
        let mut of_name = matchers.iter().filter(|matcher| matcher.name == METRIC_NAME);
        of_name.find_map(Matcher::prefixes).map_or(Metrics::Any, Metrics::Prefixes)
    }

    /// One of these, if they are known.
    pub fn one_of(names: Option<&'m [String]>) -> Metrics<'m> {
        names.map_or(Metrics::Any, Metrics::Names)
    }

    /// Whether one of them may lie between two bounds, both included and as bytes. Bounds may be cut short, the lower one
    /// downwards and the upper one upwards.
    pub fn may_be_within(&self, lower: Option<&[u8]>, upper: Option<&[u8]>) -> bool {
        let reaches = |name: &String| upper.is_none_or(|upper| name.as_bytes() <= upper);
        let begins = |name: &String| lower.is_none_or(|lower| lower <= name.as_bytes());
        match self {
            Metrics::Any => true,
            Metrics::Names(names) => names.iter().any(|name| begins(name) && reaches(name)),
            Metrics::Prefixes(prefixes) => prefixes.iter().any(|prefix| {
                let is_above = lower.is_some_and(|lower| lower.starts_with(prefix.as_bytes()));
                reaches(prefix) && (begins(prefix) || is_above)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(op: MatcherOp, pattern: &str, passes: &[&str], fails: &[&str]) {
        let matcher = Matcher::new("l", op, pattern).unwrap();
        for value in passes {
            assert!(matcher.matches(value), "{matcher} should pass {value:?}");
        }
        for value in fails {
            assert!(!matcher.matches(value), "{matcher} should fail {value:?}");
        }
    }

    #[test]
    fn patterns_are_anchored_and_dot_matches_newline() {
        check(MatcherOp::Regex, "a.c", &["abc", "a\nc"], &["xabc", "abcx", ""]);
        check(MatcherOp::Regex, "a|b", &["a", "b"], &["ab", "c", ""]);
        check(MatcherOp::Regex, "a|", &["a", ""], &["b"]);
        check(MatcherOp::NotRegex, ".+", &[""], &["x"]);
        check(MatcherOp::Regex, ".*", &["", "x\ny"], &[]);
        check(MatcherOp::NotEqual, "a", &["", "b"], &["a"]);
        check(MatcherOp::Regex, "a.*|b", &["a", "axx", "b"], &["bb"]);
    }

    #[test]
    fn a_pattern_of_few_values_is_a_list_of_them() {
        let values = |pattern: &str| {
            let matcher = Matcher::new("l", MatcherOp::Regex, pattern).unwrap();
            matcher.candidates().map(<[String]>::to_vec)
        };
        for (pattern, expected) in [
            (r"10\.0\.0\.1:9100|10\.0\.0\.2:9100", &["10.0.0.1:9100", "10.0.0.2:9100"][..]),
            ("(?:api|web)-[12]", &["api-1", "api-2", "web-1", "web-2"]),
            ("a?b", &["ab", "b"]),
            ("(b|a|b)", &["a", "b"]),
            ("(?i)é", &["É", "é"]),
            ("", &[""]),
            ("(a|)", &["", "a"]),
        ] {
            assert_eq!(values(pattern).unwrap(), expected, "{pattern}");
        }
        for pattern in ["a.*", "a|b+", "^a$", r"a\b", "[a-z]{3}", "a{2,}", "a.c", "(a|b){20}"] {
            assert_eq!(values(pattern), None, "{pattern}");
        }
        let pods: Vec<String> = (0..5_000).map(|i| format!("pod-{i}\\.example")).collect();
        assert_eq!(values(&pods.join("|")).unwrap().len(), 5_000);
    }

    #[test]
    fn a_list_of_values_matches_what_the_pattern_matches() {
        let texts = ["", "a", "b", "ab", "abc", "A", "c", "\n", "aa", "é", "É"];
        for pattern in
            ["(a|b)c?", "a?b?", "[abc]", "(?i)ab|é", "a|b|", "(ab|a)(c|bc)", "x{0}a{2}|b", "[a]|(?:)"]
        {
            let matcher = Matcher::new("l", MatcherOp::Regex, pattern).unwrap();
            assert!(matcher.candidates().is_some(), "{pattern}");
            let regex = Regex::new(&format!("^(?s:{pattern})$")).unwrap();
            for text in texts {
                assert_eq!(matcher.matches(text), regex.is_match(text), "{pattern:?} {text:?}");
            }
        }
    }

    #[test]
    fn a_hostile_pattern_is_refused() {
        assert!(Matcher::new("l", MatcherOp::Regex, "(").is_err());
        assert!(Matcher::new("l", MatcherOp::Regex, "a)|(b").is_err());
        let long = Matcher::new("l", MatcherOp::Regex, &"(a|b|c|d){1000}".repeat(50)).unwrap_err();
        assert!(long.0.contains("size limit") && long.0.len() < 500, "{long}");
        assert!(Matcher::new("l", MatcherOp::Regex, "((a{1000}){1000}){1000}").is_err());
    }

    #[test]
    fn an_absent_label_has_the_empty_value() {
        let labels = crate::Labels::from_pairs([("__name__", "up"), ("job", "a")]);
        let check = |name, op, value| passes(&[Matcher::new(name, op, value).unwrap()], labels.run());
        assert!(check("job", MatcherOp::Equal, "a"));
        assert!(!check("job", MatcherOp::NotEqual, "a"));
        assert!(check("x", MatcherOp::Equal, ""));
        assert!(!check("x", MatcherOp::Regex, ".+"));
        let many = vec![Matcher::new("job", MatcherOp::Regex, "a|b").unwrap(); 70];
        assert!(passes(&many, labels.run()));
    }

    #[test]
    fn a_test_that_remembers_says_what_matching_says() {
        let matchers = [
            Matcher::new("a", MatcherOp::Regex, "x[0-9]*[05]|").unwrap(),
            Matcher::new("b", MatcherOp::NotRegex, ".*7").unwrap(),
        ];
        let mut test = Test::of(&matchers);
        let mut n_passed = 0;
        for round in 0..3 {
            for i in 0..2_000 {
                let (a, b) = (format!("x{i}"), format!("y{}", i % 30));
                let pairs = [("a", a.as_str()), ("b", b.as_str())];
                let labels = crate::Labels::from_pairs(pairs.iter().copied().skip(usize::from(i % 11 == 0)));
                let passed = passes(&matchers, labels.run());
                assert_eq!(test.passes(labels.run()), passed, "round {round}: {labels}");
                n_passed += usize::from(passed);
            }
        }
        assert!((500..5_500).contains(&n_passed), "{n_passed}");
    }

    #[test]
    fn all_that_a_pattern_matches_begins_with_one_of_its_prefixes() {
        let prefixes = |pattern: &str| {
            let matcher = Matcher::new("__name__", MatcherOp::Regex, pattern).unwrap();
            matcher.prefixes().map(<[String]>::to_vec)
        };
        for (pattern, expected) in [
            ("node_.*", Some(&["node_"][..])),
            ("node_(cpu|network)_.*", Some(&["node_cpu_", "node_network_"])),
            ("^a.*", Some(&["a"])),
            ("(?:é|b).+", Some(&["b", "é"])),
            (".*node", None),
            ("a.*|", None),
            ("a.*|.+b", None),
            ("a|b", None),
            ("(a|b)?c.*", Some(&["ac", "bc", "c"])),
        ] {
            let mut found = prefixes(pattern);
            found.iter_mut().for_each(|all| all.sort());
            let found: Option<Vec<&str>> = found.as_ref().map(|all| all.iter().map(String::as_str).collect());
            assert_eq!(found.as_deref(), expected, "{pattern}");
        }
        let texts = ["node_cpu_x", "node_", "a", "ac", "bcd", "é", "éa", "É", "A1", "a1b2", "\n", "xyz"];
        for pattern in
            ["(?i)a.+", "(?i)É.*", "[a-c]+[0-9].*", "[aé].*", "a{1,3}.*", "(a.*|b.*|x[yz]+)", "\\n?a.*"]
        {
            let regex = Regex::new(&format!("^(?s:{pattern})$")).unwrap();
            let prefixes = prefixes(pattern);
            for text in texts.iter().filter(|text| regex.is_match(text)) {
                let begins = |prefixes: Vec<String>| prefixes.iter().any(|prefix| text.starts_with(prefix));
                assert!(prefixes.clone().is_none_or(begins), "{pattern:?} {text:?} {prefixes:?}");
            }
        }
        assert!(Matcher::new("__name__", MatcherOp::NotRegex, "a.*").unwrap().prefixes().is_none());
    }

    #[test]
    fn bounds_leave_out_what_can_not_be_between_them() {
        let lists = ["b".to_string(), "dd".to_string()];
        let within = |metrics: Metrics<'_>, lower: &str, upper: &str| {
            metrics.may_be_within(Some(lower.as_bytes()), Some(upper.as_bytes()))
        };
        for (lower, upper, names, prefixes) in [
            ("a", "az", false, false),
            ("a", "b", true, true),
            ("ba", "bb", false, true),
            ("c", "d", false, false),
            ("c", "dd", true, true),
            ("dda", "z", false, true),
            ("de", "z", false, false),
        ] {
            assert_eq!(within(Metrics::Names(&lists), lower, upper), names, "{lower} {upper}");
            assert_eq!(within(Metrics::Prefixes(&lists), lower, upper), prefixes, "{lower} {upper}");
            assert!(within(Metrics::Any, lower, upper));
        }
        assert!(Metrics::Prefixes(&lists).may_be_within(None, None));
    }

    #[test]
    fn names_prune_only_when_they_must_be_there() {
        let of = |op, value| vec![Matcher::new("__name__", op, value).unwrap()];
        assert_eq!(metric_names(&of(MatcherOp::Regex, "a|b")).map(<[String]>::len), Some(2));
        assert_eq!(metric_names(&of(MatcherOp::Regex, "a|")), None);
        assert_eq!(metric_names(&of(MatcherOp::NotEqual, "a")), None);
    }
}
