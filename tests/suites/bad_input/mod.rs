//! Bad input over HTTP: each is answered as the contract says, and costs nobody else anything.

mod limits;
mod memory;
mod queries;
mod tenants;
mod writes;
mod writes2;

use system_tests::{Answer, Firn, FirnOptions, TimeSeries, WriteRequest, now_ms};

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

fn start(flags: &[&str]) -> (tempfile::TempDir, Firn) {
    let dir = tempfile::tempdir().unwrap();
    let firn = Firn::start(FIRN, dir.path(), &FirnOptions::flags(flags)).unwrap();
    (dir, firn)
}

/// A request with one sample of one series, of now.
fn one(name: &str, value: f64) -> WriteRequest {
    let mut request = WriteRequest::default();
    request.push(&TimeSeries::named(name, "bad").sample(now_ms(), value));
    request
}

/// The status, and the words that the message must name.
fn expect(what: &str, answer: &Answer, status: u16, words: &[&str]) {
    assert_eq!(answer.status, status, "{what}: {}", answer.body);
    for word in words {
        assert!(answer.body.contains(word), "{what}: must name {word:?}: {}", answer.body);
    }
    println!("{what}: {status} {}", answer.body.trim().chars().take(160).collect::<String>());
}

/// The values that a query answers now.
fn values(firn: &Firn, query: &str) -> Vec<f64> {
    values_at(firn, query, now_ms())
}

/// The values that a query answers for a time.
fn values_at(firn: &Firn, query: &str, at_ms: i64) -> Vec<f64> {
    let result = firn.query(query, &system_tests::seconds(at_ms)).unwrap();
    let values = result.as_array().into_iter().flatten();
    values.map(|series| series["value"][1].as_str().unwrap().parse().unwrap()).collect()
}
