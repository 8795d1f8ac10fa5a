use model::{METRIC_NAME, Matcher, run_labels};

/// Whether the series with this label run passes all matchers.
pub(crate) fn passes(matchers: &[Matcher], run: &[u8]) -> bool {
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
pub(crate) fn metric_names(matchers: &[Matcher]) -> Option<&[String]> {
    let of_name = matchers.iter().filter(|matcher| matcher.name == METRIC_NAME);
    // A series without a name has no metric to prune by.
    of_name.filter_map(Matcher::candidates).find(|names| names.iter().all(|name| !name.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Labels, MatcherOp};

    #[test]
    fn an_absent_label_has_the_empty_value() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
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
