//! Which names a search finds, and how well each fits: Prometheus's rules, to the last bit of the score.

use super::score::{JaroWinkler, Subsequence};

/// How names that do not contain a term may still fit it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// All characters of the term come in their order.
    Subsequence,
    /// The term is a part of the name, or similar to it.
    JaroWinkler,
}

impl Algorithm {
    /// By its name in requests.
    pub(crate) fn find(name: &str) -> Option<Algorithm> {
        match name {
            "subsequence" => Some(Algorithm::Subsequence),
            "jarowinkler" => Some(Algorithm::JaroWinkler),
            _ => None,
        }
    }
}

/// Finds names that fit one of several terms.
pub(crate) struct Filter {
    terms: Vec<Term>,
    case_sensitive: bool,
}

enum Term {
    Subsequence { text: String, scorer: Subsequence, threshold: f64 },
    Similar { text: String, fuzzy: Option<(JaroWinkler, f64)> },
}

impl Filter {
    /// A filter for terms that are not empty; `None` when there is none, so that everything fits.
    pub(crate) fn new<'a>(
        terms: impl Iterator<Item = &'a str>,
        threshold_percent: u8,
        algorithm: Algorithm,
        case_sensitive: bool,
    ) -> Option<Filter> {
        let fold = |term: &str| if case_sensitive { term.to_string() } else { lower(term) };
        let threshold = f64::from(threshold_percent) / 100.0;
        let term = |text: String| match algorithm {
            Algorithm::Subsequence => Term::Subsequence { scorer: Subsequence::of(&text), text, threshold },
            Algorithm::JaroWinkler => {
                let fuzzy = (threshold_percent > 0).then(|| (JaroWinkler::of(&text), threshold));
                Term::Similar { text, fuzzy }
            }
        };
        let terms: Vec<Term> = terms.filter(|text| !text.is_empty()).map(fold).map(term).collect();
        (!terms.is_empty()).then_some(Filter { terms, case_sensitive })
    }

    /// How well a name fits the term that it fits best, from 0 to 1; `None` when it fits none.
    pub(crate) fn score(&self, name: &str) -> Option<f64> {
        let folded;
        let name = if self.case_sensitive {
            name
        } else {
            folded = lower(name);
            &folded
        };
        self.terms.iter().filter_map(|term| term.score(name)).reduce(f64::max)
    }
}

impl Term {
    fn score(&self, name: &str) -> Option<f64> {
        match self {
            Term::Subsequence { text, .. } if name.starts_with(text) => Some(1.0),
            Term::Subsequence { scorer, threshold, .. } => {
                Some(scorer.score(name)).filter(|score| *score > 0.0 && score >= threshold)
            }
            Term::Similar { text, fuzzy } => position(text, name).or_else(|| {
                let (scorer, threshold) = fuzzy.as_ref()?;
                Some(scorer.score(name)).filter(|score| score >= threshold)
            }),
        }
    }
}

/// 1 for a name that begins with the term, down to 0.1 for one that ends with it; `None` where it is no part.
fn position(term: &str, name: &str) -> Option<f64> {
    let at = name.find(term)?;
    if at == 0 {
        return Some(1.0);
    }
    let chars = |text: &str| text.chars().count();
    let last = chars(name) - chars(term);
    Some(1.0 - 0.9 * chars(&name[..at]) as f64 / last as f64)
}

/// Lower case, a character for a character: no final sigma, and a dotted capital I becomes an i.
fn lower(text: &str) -> String {
    text.chars().map(|c| c.to_lowercase().next().unwrap_or(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The score in thousandths of `name` for the terms.
    fn check(
        terms: &[&str],
        percent: u8,
        algorithm: Algorithm,
        case_sensitive: bool,
        name: &str,
        wanted: Option<i64>,
    ) {
        let filter = Filter::new(terms.iter().copied(), percent, algorithm, case_sensitive).unwrap();
        let score = filter.score(name).map(|score| (score * 1000.0).round() as i64);
        assert_eq!(score, wanted, "{terms:?} {percent} {algorithm:?} {case_sensitive} {name}");
    }

    #[test]
    fn a_part_of_a_name_fits_the_better_the_earlier_it_comes() {
        let check = |term, name, wanted| check(&[term], 0, Algorithm::JaroWinkler, true, name, wanted);
        check("http", "http_requests_total", Some(1000));
        check("total", "http_total", Some(100));
        check("b", "abc", Some(550));
        check("b", "äbc", Some(550));
        check("x", "abc", None);
        check("A", "abc", None);
    }

    #[test]
    fn similar_names_fit_from_the_threshold_on() {
        let check =
            |percent, name, wanted| check(&["martha"], percent, Algorithm::JaroWinkler, true, name, wanted);
        check(96, "marhta", Some(961));
        check(97, "marhta", None);
        check(1, "xyz", None);
    }

    #[test]
    fn subsequences_fit_the_better_the_fewer_gaps_they_have() {
        let check =
            |term, percent, name, wanted| check(&[term], percent, Algorithm::Subsequence, true, name, wanted);
        check("up", 100, "up_total", Some(1000));
        // A run of two after a gap of two, of six: (4 − 2/6 − 2/6/2) / 4 × 0.999.
        check("up", 0, "abupcd", Some(874));
        check("up", 88, "abupcd", None);
        check("pu", 0, "up", None);
    }

    #[test]
    fn of_several_terms_the_best_counts_and_case_may_be_ignored() {
        check(&["x", "b", "abc"], 0, Algorithm::JaroWinkler, true, "abc", Some(1000));
        check(&["AB"], 0, Algorithm::Subsequence, false, "aBc", Some(1000));
        check(&["Σ"], 0, Algorithm::JaroWinkler, false, "ΑΣ", Some(100));
        assert!(Filter::new(["", ""].into_iter(), 50, Algorithm::Subsequence, true).is_none());
    }
}
