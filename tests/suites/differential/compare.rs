//! Whether two answers say the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use system_tests::Answer;

/// What numbers may differ by: of the result, or of the largest operand.
const TOLERANCE: f64 = 1e-12;

/// Why two answers differ.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Difference {
    pub(super) what: What,
    pub(super) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Status,
    Error,
    Annotations,
    Series,
    Order,
    /// Numbers; those that are close when seen beside the operands are none.
    Numbers,
}

/// The rules of a comparison.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// The largest operand, where numbers are compared with it.
    pub(super) operand: f64,
    /// Whether the order of series is part of the answer.
    pub(super) ordered: bool,
    /// Whether warnings and infos are compared.
    pub(super) annotated: bool,
}

/// Compares all that an answer says: status, error, annotations, labels, values, and order where there is one.
pub(super) fn compare(truth: &Answer, found: &Answer, terms: Terms) -> Result<(), Difference> {
    let (truth_json, found_json) = (truth.json(), found.json());
    if truth.status != found.status {
        let text = format!("status {}, should be {}", found.status, truth.status);
        return Err(Difference { what: What::Status, text });
    }
    for key in ["status", "errorType", "error"] {
        same(What::Error, key, &truth_json[key], &found_json[key])?;
    }
    for key in ["warnings", "infos"].into_iter().filter(|_| terms.annotated) {
        annotations(key, &truth_json[key], &found_json[key])?;
    }
    let (truth, found) = (&truth_json["data"], &found_json["data"]);
    same(What::Series, "resultType", &truth["resultType"], &found["resultType"])?;
    match truth["resultType"].as_str() {
        Some("vector" | "matrix") => series(&truth["result"], &found["result"], terms),
        _ => numbers(&truth["result"], &found["result"], terms.operand, "the result"),
    }
}

fn same(what: What, name: &str, truth: &Value, found: &Value) -> Result<(), Difference> {
    if truth == found {
        return Ok(());
    }
    Err(Difference { what, text: format!("{name} is {found}, should be {truth}") })
}

/// As a set.
fn annotations(key: &str, truth: &Value, found: &Value) -> Result<(), Difference> {
    let list = |value: &Value| -> BTreeSet<String> {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(|note| note.as_str().map(str::to_string)).collect()
    };
    let (truth, found) = (list(truth), list(found));
    if truth == found {
        return Ok(());
    }
    let missing: Vec<_> = truth.difference(&found).collect();
    let more: Vec<_> = found.difference(&truth).collect();
    let text = format!("{key}: missing {missing:#?}, too many {more:#?}");
    Err(Difference { what: What::Annotations, text })
}

fn series(truth: &Value, found: &Value, terms: Terms) -> Result<(), Difference> {
    let (truth_names, found_names) = (names(truth), names(found));
    let different = |what, text| Err(Difference { what, text });
    let (truth_set, found_set): (BTreeSet<&String>, BTreeSet<&String>) =
        (truth_names.iter().collect(), found_names.iter().collect());
    if truth_set != found_set || truth_names.len() != found_names.len() {
        let missing: Vec<_> = truth_set.difference(&found_set).take(3).collect();
        let more: Vec<_> = found_set.difference(&truth_set).take(3).collect();
        let (n, m) = (found_names.len(), truth_names.len());
        let text = format!("{n} series, should be {m}: missing {missing:?}, too many {more:?}");
        return different(What::Series, text);
    }
    let by_name: BTreeMap<&String, &Value> = found_names.iter().zip(entries(found)).collect();
    for (name, truth) in truth_names.iter().zip(entries(truth)) {
        let Some(found) = by_name.get(name) else { continue };
        for key in ["value", "values", "histogram", "histograms"] {
            numbers(&truth[key], &found[key], terms.operand, &format!("{key} of {name}"))?;
        }
    }
    if terms.ordered && !same_order(truth, found, terms) {
        let text = format!("series in the order {found_names:?}, should be {truth_names:?}");
        return different(What::Order, text);
    }
    Ok(())
}

/// Series of the same value may stand for each other.
fn same_order(truth: &Value, found: &Value, terms: Terms) -> bool {
    let pairs = entries(truth).iter().zip(entries(found));
    let mut pairs = pairs.filter(|(truth, found)| truth["metric"] != found["metric"]);
    pairs.all(|(truth, found)| {
        truth["value"].is_array() && numbers(&truth["value"], &found["value"], terms.operand, "").is_ok()
    })
}

fn entries(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn names(list: &Value) -> Vec<String> {
    let name = |entry: &Value| {
        let labels: BTreeMap<String, String> =
            serde_json::from_value(entry["metric"].clone()).unwrap_or_default();
        format!("{labels:?}")
    };
    entries(list).iter().map(name).collect()
}

/// Numbers in strings are values and have a tolerance; bare ones are times and have none.
fn numbers(truth: &Value, found: &Value, operand: f64, place: &str) -> Result<(), Difference> {
    let is_same = match (truth, found) {
        (Value::Array(truths), Value::Array(all)) if truths.len() == all.len() => {
            for (truth, found) in truths.iter().zip(all) {
                numbers(truth, found, operand, place)?;
            }
            true
        }
        (Value::Object(truths), Value::Object(all)) if truths.len() == all.len() => {
            for (name, truth) in truths {
                numbers(truth, all.get(name).unwrap_or(&Value::Null), operand, place)?;
            }
            true
        }
        (Value::String(truth), Value::String(found)) => match (truth.parse::<f64>(), found.parse::<f64>()) {
            (Ok(a), Ok(b)) => is_close(a, b, operand),
            _ => truth == found,
        },
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        _ => truth == found,
    };
    if is_same {
        return Ok(());
    }
    let cut = |value: &Value| value.to_string().chars().take(300).collect::<String>();
    let text = format!("{place}: {}, should be {}", cut(found), cut(truth));
    Err(Difference { what: What::Numbers, text })
}

fn is_close(a: f64, b: f64, operand: f64) -> bool {
    let near = || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(operand);
    a == b || (a.is_nan() && b.is_nan()) || (a.is_finite() && b.is_finite() && near())
}

/// The largest number in an answer, infinite ones left out.
pub(super) fn largest(answer: &Answer) -> f64 {
    fn of(value: &Value) -> f64 {
        match value {
            Value::Array(list) => list.iter().map(of).fold(0.0, f64::max),
            Value::Object(object) => {
                let inner = object.iter().filter(|(name, _)| *name != "metric");
                inner.map(|(_, value)| of(value)).fold(0.0, f64::max)
            }
            Value::String(text) => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => number.abs(),
                _ => 0.0,
            },
            _ => 0.0,
        }
    }
    of(&answer.json()["data"]["result"])
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { operand: 0.0, ordered: true, annotated: true };

    fn vector(values: &[(&str, &str)], rest: &str) -> Answer {
        let entry = |(name, value): &(&str, &str)| {
            format!("{{\"metric\":{{\"a\":\"{name}\"}},\"value\":[5.5,\"{value}\"]}}")
        };
        let list = values.iter().map(entry).collect::<Vec<_>>().join(",");
        let body = format!(
            "{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":[{list}]}}{rest}}}"
        );
        Answer { status: 200, headers: Vec::new(), body }
    }

    #[test]
    fn every_kind_of_difference_is_told() {
        let truth = vector(&[("x", "1"), ("y", "2")], "");
        let found = |found: &Answer, terms| compare(&truth, found, terms).map_err(|e| e.what);
        assert_eq!(found(&truth, TERMS), Ok(()));
        assert_eq!(found(&vector(&[("x", "1.0000000000001"), ("y", "2")], ""), TERMS), Ok(()));
        let far = vector(&[("x", "1.00000000001"), ("y", "2")], "");
        assert_eq!(found(&far, TERMS), Err(What::Numbers));
        assert_eq!(found(&far, Terms { operand: 100.0, ..TERMS }), Ok(()));
        for other in ["NaN", "+Inf", "-Inf"] {
            assert_eq!(found(&vector(&[("x", other), ("y", "2")], ""), TERMS), Err(What::Numbers));
        }
        assert_eq!(found(&vector(&[("x", "1"), ("z", "2")], ""), TERMS), Err(What::Series));
        assert_eq!(found(&vector(&[("x", "1")], ""), TERMS), Err(What::Series));
        let turned = vector(&[("y", "2"), ("x", "1")], "");
        assert_eq!(found(&turned, TERMS), Err(What::Order));
        assert_eq!(found(&turned, Terms { ordered: false, ..TERMS }), Ok(()));
        let noted = vector(&[("x", "1"), ("y", "2")], ",\"infos\":[\"PromQL info: look (1:1)\"]");
        assert_eq!(found(&noted, TERMS), Err(What::Annotations));
        let failed = Answer { status: 422, ..truth.clone() };
        assert_eq!(found(&failed, TERMS), Err(What::Status));
    }

    #[test]
    fn series_of_equal_value_may_change_places() {
        let truth = vector(&[("x", "1"), ("y", "1"), ("z", "0")], "");
        let other = vector(&[("y", "1"), ("x", "1"), ("z", "0")], "");
        assert_eq!(compare(&truth, &other, TERMS), Ok(()));
        assert_eq!(largest(&truth), 1.0);
    }
}
