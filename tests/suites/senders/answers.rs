//! Whether two answers of the query API say the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Relative difference below which numbers are equal.
const TOLERANCE: f64 = 1e-9;

/// Answers that are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// Numbers and names that were compared.
    pub(crate) n_compared: usize,
}

/// Compares whole answers, annotations included; `Err` tells the first difference.
pub(crate) fn compare(truth: &Value, found: &Value) -> Result<Comparison, String> {
    for key in ["warnings", "infos"] {
        let notes = |answer: &Value| -> BTreeSet<String> {
            let list = answer[key].as_array().into_iter().flatten();
            list.filter_map(|note| note.as_str().map(str::to_string)).collect()
        };
        if notes(truth) != notes(found) {
            return Err(format!("{key} {:?}, should be {:?}", notes(found), notes(truth)));
        }
    }
    let (truth, found) = (&truth["data"], &found["data"]);
    if truth.is_array() {
        return compare_lists(truth, found);
    }
    if truth["resultType"] != found["resultType"] {
        return Err(format!("a {}, should be a {}", found["resultType"], truth["resultType"]));
    }
    let (truth, found) = (by_labels(&truth["result"])?, by_labels(&found["result"])?);
    let (names, found_names): (Vec<_>, Vec<_>) = (truth.keys().collect(), found.keys().collect());
    if names != found_names {
        let missing: Vec<_> = names.iter().filter(|name| !found.contains_key(**name)).take(3).collect();
        let more: Vec<_> = found_names.iter().filter(|name| !truth.contains_key(**name)).take(3).collect();
        return Err(format!(
            "{} series, should be {}; missing {missing:?}, too many {more:?}",
            found.len(),
            truth.len()
        ));
    }
    let mut n_compared = 0;
    for (labels, series) in &truth {
        let other = &found[labels];
        for key in ["value", "values", "histogram", "histograms"] {
            n_compared += equal(&series[key], &other[key]).map_err(|e| format!("{key} of {labels}: {e}"))?;
        }
    }
    Ok(Comparison { n_compared })
}

fn compare_lists(truth: &Value, found: &Value) -> Result<Comparison, String> {
    let set =
        |list: &Value| -> BTreeSet<String> { list.as_array().into_iter().flatten().map(canonical).collect() };
    let (truth, found) = (set(truth), set(found));
    if truth == found {
        return Ok(Comparison { n_compared: truth.len() });
    }
    let missing: Vec<_> = truth.difference(&found).take(5).collect();
    let more: Vec<_> = found.difference(&truth).take(5).collect();
    Err(format!("{} entries, should be {}; missing {missing:?}, too many {more:?}", found.len(), truth.len()))
}

/// An object with its keys in order, as text.
fn canonical(value: &Value) -> String {
    match value.as_object() {
        Some(object) => format!("{:?}", object.iter().collect::<BTreeMap<_, _>>()),
        None => value.to_string(),
    }
}

fn by_labels(result: &Value) -> Result<BTreeMap<String, Value>, String> {
    let mut series = BTreeMap::new();
    for entry in result.as_array().ok_or_else(|| format!("no list of series: {result}"))? {
        // A scalar is a pair without labels.
        let labels = if entry.is_object() { canonical(&entry["metric"]) } else { String::new() };
        if series.insert(labels.clone(), entry.clone()).is_some() {
            return Err(format!("{labels} is there twice"));
        }
    }
    Ok(series)
}

/// Counts the numbers in two equal trees. Numbers in strings are values and have a tolerance; bare ones are times
/// and have none.
fn equal(truth: &Value, found: &Value) -> Result<usize, String> {
    match (truth, found) {
        (Value::Array(truth), Value::Array(found)) => {
            if truth.len() != found.len() {
                return Err(format!("{} entries, should be {}", found.len(), truth.len()));
            }
            let mut n = 0;
            for (truth, found) in truth.iter().zip(found) {
                n += equal(truth, found)?;
            }
            Ok(n)
        }
        (Value::Object(truth), Value::Object(found)) => {
            let (names, others): (BTreeSet<_>, BTreeSet<_>) =
                (truth.keys().collect(), found.keys().collect());
            if names != others {
                return Err(format!("keys {others:?}, should be {names:?}"));
            }
            let mut n = 0;
            for (name, truth) in truth {
                n += equal(truth, &found[name])?;
            }
            Ok(n)
        }
        (Value::String(truth), Value::String(found)) => {
            let close = match (truth.parse::<f64>(), found.parse::<f64>()) {
                (Ok(a), Ok(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || close(a, b),
                _ => truth == found,
            };
            if close { Ok(1) } else { Err(format!("{found}, should be {truth}")) }
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => Ok(0),
        (Value::Null, Value::Null) => Ok(0),
        _ => Err(format!("{found}, should be {truth}")),
    }
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

#[test]
fn answers_that_differ_are_told_apart() {
    let answer = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    let vector = |value: &str, at: &str, labels: &str| {
        answer(&format!(
            "{{\"data\":{{\"resultType\":\"vector\",\"result\":[{{\"metric\":{labels},\"value\":[{at},\"{value}\"]}}]}}}}"
        ))
    };
    let truth = vector("1", "5.5", "{\"a\":\"b\",\"c\":\"d\"}");
    assert_eq!(
        compare(&truth, &vector("1.0000000001", "5.5", "{\"c\":\"d\",\"a\":\"b\"}")),
        Ok(Comparison { n_compared: 1 })
    );
    assert!(compare(&truth, &vector("1.00000001", "5.5", "{\"a\":\"b\",\"c\":\"d\"}")).is_err());
    assert!(compare(&truth, &vector("NaN", "5.5", "{\"a\":\"b\",\"c\":\"d\"}")).is_err());
    assert!(compare(&truth, &vector("1", "5.501", "{\"a\":\"b\",\"c\":\"d\"}")).is_err());
    assert!(compare(&truth, &vector("1", "5.5", "{\"a\":\"b\"}")).is_err());
    let mut warned = truth.clone();
    warned["infos"] = answer("[\"look here\"]");
    assert!(compare(&truth, &warned).is_err());
    assert!(compare(&answer("{\"data\":[\"a\",\"b\"]}"), &answer("{\"data\":[\"a\"]}")).is_err());
}
