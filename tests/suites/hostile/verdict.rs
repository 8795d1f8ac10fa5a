//! What becomes of a hostile query.

use std::collections::BTreeMap;
use std::sync::Mutex;

use system_tests::Answer;

/// Limits by what their messages say, and the status that each comes with: 422 where the same query would be refused
/// again, 503 where it may be answered later, 400 where it is wrong.
pub(super) const LIMITS: [(&str, u16); 11] = [
    ("max_bytes_per_query", 422),
    ("max_samples_per_query", 422),
    ("max_regex_matchers_per_query", 422),
    ("max_query_expression_size_bytes", 422),
    ("many-to-many", 422),
    ("memory_limit", 503),
    ("timed out", 503),
    ("size limit", 400),
    ("invalid repeat count", 400),
    ("levels deep", 400),
    ("11,000", 400),
];

/// How often each limit was named; `answered` for those queries that were answered.
#[derive(Debug, Default)]
pub(super) struct Verdicts(Mutex<BTreeMap<&'static str, usize>>);

impl Verdicts {
    /// Which limit an answer names. One that names none, or comes with another status than the limit's, fails the test.
    pub(super) fn of(&self, what: &str, answer: &Answer) -> &'static str {
        let verdict = verdict(what, answer);
        *self.0.lock().unwrap().entry(verdict).or_default() += 1;
        verdict
    }

    pub(super) fn count(&self, verdict: &str) -> usize {
        self.0.lock().unwrap().get(verdict).copied().unwrap_or(0)
    }

    pub(super) fn all(&self) -> usize {
        self.0.lock().unwrap().values().sum()
    }
}

fn verdict(what: &str, answer: &Answer) -> &'static str {
    if answer.status == 200 {
        return "answered";
    }
    let said = answer.json()["error"].as_str().unwrap_or(&answer.body).to_string();
    assert!(said.len() < 5_000, "{what}: a message of {} bytes", said.len());
    let named = LIMITS.iter().find(|(text, _)| said.contains(text));
    let (limit, status) = named.unwrap_or_else(|| panic!("{what}: {} names no limit: {said}", answer.status));
    assert_eq!(answer.status, *status, "{what}: {said}");
    limit
}
