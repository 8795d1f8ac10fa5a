use model::{METRIC_NAME, Matcher};

/// The only metric names that can pass, if the matchers say so.
pub(crate) fn metric_names(matchers: &[Matcher]) -> Option<&[String]> {
    let of_name = matchers.iter().filter(|matcher| matcher.name == METRIC_NAME);
    // A series without a name has no metric to prune by.
    of_name.filter_map(Matcher::candidates).find(|names| names.iter().all(|name| !name.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::MatcherOp;

    #[test]
    fn names_prune_only_when_they_must_be_there() {
        let of = |op, value| vec![Matcher::new("__name__", op, value).unwrap()];
        assert_eq!(metric_names(&of(MatcherOp::Regex, "a|b")).map(<[String]>::len), Some(2));
        assert_eq!(metric_names(&of(MatcherOp::Regex, "a|")), None);
        assert_eq!(metric_names(&of(MatcherOp::NotEqual, "a")), None);
    }
}
