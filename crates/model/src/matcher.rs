use std::fmt;

use regex::Regex;

use crate::{METRIC_NAME, run_labels};

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
    test: Test,
}

/// The pattern of a matcher does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MatcherError(pub String);

#[derive(Debug, Clone)]
enum Test {
    /// One of these values, sorted; what most patterns of dashboards amount to.
    OneOf(Vec<String>),
    Pattern(Regex),
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
            MatcherOp::Equal | MatcherOp::NotEqual => Test::OneOf(vec![value.to_string()]),
            MatcherOp::Regex | MatcherOp::NotRegex => compile(value)?,
        };
        Ok(Matcher { name: name.to_string(), op, value: value.to_string(), test })
    }

    /// Whether a label with this value passes; the empty value stands for an absent label.
    pub fn matches(&self, value: &str) -> bool {
        let hit = match &self.test {
            Test::OneOf(values) => values.binary_search_by(|v| v.as_str().cmp(value)).is_ok(),
            Test::Pattern(regex) => regex.is_match(value),
            Test::Anything => true,
            Test::NotEmpty => !value.is_empty(),
        };
        hit != self.is_negative()
    }

    /// The only values that can pass, where that is known without looking at data.
    pub fn candidates(&self) -> Option<&[String]> {
        match &self.test {
            Test::OneOf(values) if !self.is_negative() => Some(values),
            _ => None,
        }
    }

    /// Whether a series without the label passes.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// Whether every value passes.
    pub fn matches_all(&self) -> bool {
        matches!(self.test, Test::Anything) && !self.is_negative()
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

fn compile(pattern: &str) -> Result<Test, MatcherError> {
    match pattern {
        ".*" => return Ok(Test::Anything),
        ".+" => return Ok(Test::NotEmpty),
        _ => {}
    }
    if !pattern.contains(|c| r"\.+*?()[]{}^$".contains(c)) {
        let mut values: Vec<String> = pattern.split('|').map(str::to_string).collect();
        values.sort();
        values.dedup();
        return Ok(Test::OneOf(values));
    }
    regex::RegexBuilder::new(&format!("^(?s:{pattern})$"))
        .size_limit(Matcher::REGEX_SIZE_LIMIT)
        .build()
        .map(Test::Pattern)
        .map_err(|e| MatcherError(format!("error parsing regexp {pattern:?}: {e}")))
}

/// Whether the series with this label run passes all matchers.
pub fn passes(matchers: &[Matcher], run: &[u8]) -> bool {
    // One walk over the labels; a matcher that met no label of its name looks at the empty value.
    let mut met = 0u64;
    for label in run_labels(run) {
        let of_name = |(_, matcher): &(usize, &Matcher)| matcher.name.as_bytes() == label.name;
        for (i, matcher) in matchers.iter().enumerate().filter(of_name) {
            if !std::str::from_utf8(label.value).is_ok_and(|value| matcher.matches(value)) {
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

/// The only metric names that can pass, if the matchers say so.
pub fn metric_names(matchers: &[Matcher]) -> Option<&[String]> {
    let of_name = matchers.iter().filter(|matcher| matcher.name == METRIC_NAME);
    // A series without a name has no metric to prune by.
    of_name.filter_map(Matcher::candidates).find(|names| names.iter().all(|name| !name.is_empty()))
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
    fn a_hostile_pattern_is_refused() {
        assert!(Matcher::new("l", MatcherOp::Regex, "(").is_err());
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
    fn names_prune_only_when_they_must_be_there() {
        let of = |op, value| vec![Matcher::new("__name__", op, value).unwrap()];
        assert_eq!(metric_names(&of(MatcherOp::Regex, "a|b")).map(<[String]>::len), Some(2));
        assert_eq!(metric_names(&of(MatcherOp::Regex, "a|")), None);
        assert_eq!(metric_names(&of(MatcherOp::NotEqual, "a")), None);
    }
}
