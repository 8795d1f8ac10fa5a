//! Differences that are explained: each by a rule with its reason. All others are bugs.

use std::collections::BTreeSet;

use serde_json::Value;
use system_tests::Answer;

use super::compare::{Difference, What};

/// A difference that is meant to be.
pub(super) struct Rule {
    pub(super) name: &'static str,
    /// Why Firn and Prometheus may differ there.
    pub(super) reason: &'static str,
    pub(super) explains: fn(&Case<'_>) -> bool,
}

/// A difference and where it comes from.
pub(super) struct Case<'a> {
    /// The query.
    pub(super) text: &'a str,
    pub(super) truth: &'a Answer,
    pub(super) found: &'a Answer,
    pub(super) difference: &'a Difference,
    /// Whether Prometheus gave another answer when it was asked again.
    pub(super) is_one_of_many: bool,
}

/// All of them together explain at most so many of a thousand queries.
pub(super) const PER_THOUSAND: usize = 10;

pub(super) const RULES: [Rule; 4] = [
    Rule {
        name: "repairs counted anew",
        reason: "with each step of a range query Prometheus adds the number of repaired histograms to itself, so that \
                 five are said to be 46; Firn says five",
        explains: |case| case.difference.what == What::Annotations && only_counts_of_repairs_differ(case),
    },
    Rule {
        name: "ten of many annotations",
        reason: "of more than ten annotations of a kind Prometheus shows any ten, as Go's maps have them, and Firn the \
                 first ten in order; how many are left out is the same",
        explains: |case| case.difference.what == What::Annotations && only_other_ones_are_shown(case),
    },
    Rule {
        name: "sorted by what contradicts itself",
        reason: "to sort_by_label, neither of an empty and another value comes before the other: what comes out of more \
                 than twelve series is up to the algorithm of Go's sort",
        explains: |case| case.difference.what == What::Order && case.text.starts_with("sort_by_label"),
    },
    Rule {
        name: "one answer of several",
        reason: "over several steps Prometheus takes the series of an operation in the order of one of Go's maps, and \
                 limitk, topk among equals and the texts of errors follow it; asked again it answers differently",
        explains: |case| case.is_one_of_many,
    },
];

fn only_other_ones_are_shown(case: &Case<'_>) -> bool {
    let lists = |answer: &Answer, key: &str| -> (BTreeSet<String>, Vec<String>) {
        let answer = answer.json();
        let all: Vec<&str> = answer[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let (rest, shown): (Vec<&str>, Vec<&str>) =
            all.into_iter().partition(|note| note.ends_with(" annotations omitted"));
        (shown.into_iter().map(str::to_string).collect(), rest.into_iter().map(str::to_string).collect())
    };
    ["warnings", "infos"].into_iter().all(|key| {
        let ((shown, rest), (found, found_rest)) = (lists(case.truth, key), lists(case.found, key));
        rest == found_rest && shown.len() == found.len() && (shown == found || !rest.is_empty())
    })
}

fn only_counts_of_repairs_differ(case: &Case<'_>) -> bool {
    let without_counts = |answer: &Answer, key: &str| -> BTreeSet<String> {
        let answer = answer.json();
        let all = answer[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        all.map(|note| match (note.find(", over "), note.find(" samples from ")) {
            (Some(start), Some(end)) => format!("{}{}", &note[..start], &note[end..]),
            _ => note.to_string(),
        })
        .collect()
    };
    ["warnings", "infos"]
        .into_iter()
        .all(|key| without_counts(case.truth, key) == without_counts(case.found, key))
}
