//! What of the language the queries have used, apart for those that succeed and those that fail.

use std::collections::{BTreeMap, BTreeSet};

use promql::Signature;

use super::operators::{ARITHMETIC, COMPARISONS, PLAIN, SETS, TRIMS, WITH_PARAMETER};
use super::queries::{Form, Query};

/// All that has to occur, beside the functions, the aggregations and the operators.
const FORMS: [&str; 30] = [
    "matcher =",
    "matcher !=",
    "matcher =~",
    "matcher !~",
    "UTF-8 name",
    "@",
    "@ end()",
    "@ start()",
    "anchored",
    "bool",
    "by",
    "duration expression",
    "fill",
    "fill_left",
    "fill_right",
    "group_left",
    "group_left with labels",
    "group_right",
    "group_right with labels",
    "ignoring",
    "instant query",
    "offset",
    "offset -",
    "on",
    "range query",
    "smoothed",
    "subquery",
    "unary +",
    "unary -",
    "without",
];

/// Counts of what occurred.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    succeeded: BTreeMap<&'static str, usize>,
    failed: BTreeMap<&'static str, usize>,
    /// Successful answers that have series, and those with annotations.
    pub(super) with_series: usize,
    pub(super) with_annotations: usize,
    pub(super) n_succeeded: usize,
    pub(super) n_failed: usize,
    /// By the beginning of their texts.
    pub(super) errors: BTreeMap<String, usize>,
}

impl Coverage {
    /// Counts a query and the truth about it.
    pub(super) fn count(&mut self, query: &Query, truth: &system_tests::Answer) {
        let is_success = truth.status == 200;
        let counts = if is_success { &mut self.succeeded } else { &mut self.failed };
        let form = match query.form {
            Form::Instant { .. } => "instant query",
            Form::Range { .. } => "range query",
        };
        for tag in query.tree.tags().into_iter().chain([form]) {
            *counts.entry(tag).or_default() += 1;
        }
        let truth = truth.json();
        if is_success {
            self.n_succeeded += 1;
            let has_series = truth["data"]["result"].as_array().is_some_and(|list| !list.is_empty());
            self.with_series += usize::from(has_series);
            let has_notes = truth["warnings"].is_array() || truth["infos"].is_array();
            self.with_annotations += usize::from(has_notes);
        } else {
            self.n_failed += 1;
            *self.errors.entry(shape(truth["error"].as_str().unwrap_or_default())).or_default() += 1;
        }
    }

    /// What never occurred in a query that succeeds, and in one that fails.
    pub(super) fn missing(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let never = |counts: &BTreeMap<&'static str, usize>| {
            required().into_iter().filter(|what| !counts.contains_key(what)).collect()
        };
        (never(&self.succeeded), never(&self.failed))
    }
}

/// Everything that has to occur.
fn required() -> BTreeSet<&'static str> {
    let functions = Signature::all().iter().map(|function| function.name);
    let lists: [&[&'static str]; 7] =
        [&PLAIN, &WITH_PARAMETER, &ARITHMETIC, &COMPARISONS, &SETS, &TRIMS, &FORMS];
    functions.chain(lists.into_iter().flatten().copied()).collect()
}

/// The text of an error without what differs from query to query.
fn shape(error: &str) -> String {
    let mut shape = String::new();
    let mut in_quotes = false;
    for c in error.chars().filter(|c| !c.is_ascii_digit()) {
        if c == '"' || c == '`' {
            in_quotes = !in_quotes;
        } else if !in_quotes {
            shape.push(c);
        }
    }
    shape.chars().take(100).collect()
}

#[test]
fn all_ninety_functions_are_required() {
    let required = required();
    assert_eq!(Signature::all().len(), 90);
    assert_eq!(required.len(), 90 + 14 + 18 + FORMS.len(), "{required:?}");
}
