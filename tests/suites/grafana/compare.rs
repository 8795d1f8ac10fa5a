//! Whether two answers say the same, field by field.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::Value;
use system_tests::RawAnswer;

/// How far values may be apart, relative to the greater: what the order of additions may change.
const TOLERANCE: f64 = 1e-12;

/// Fewer bytes are sent as they are: packed they would be more.
const TINY: usize = 32;

/// Headers that must be equal.
const SAME_HEADERS: [&str; 5] = [
    "content-type",
    "content-encoding",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-expose-headers",
];

/// Headers of which ours must have every word that theirs has.
const INCLUDED_HEADERS: [&str; 2] = ["access-control-allow-headers", "vary"];

/// An answer whose body is unpacked.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: String,
    raw: RawAnswer,
}

impl Reply {
    pub(super) fn new(raw: RawAnswer) -> Result<Reply, String> {
        let mut body = String::new();
        // A packed body of nothing is no bytes at all.
        let is_packed = raw.header("content-encoding").as_deref() == Some("gzip") && !raw.body.is_empty();
        let read = match is_packed {
            true => GzDecoder::new(raw.body.as_slice()).read_to_string(&mut body),
            false => raw.body.as_slice().read_to_string(&mut body),
        };
        read.map_err(|e| format!("the body cannot be unpacked: {e}"))?;
        Ok(Reply { status: raw.status, body, raw })
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.raw.header(name)
    }

    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.body).ok()
    }

    /// Part of the body for a message.
    pub(super) fn shown(&self) -> String {
        let body: String = self.body.chars().take(700).collect();
        format!("{} {body}", self.status)
    }
}

/// `Err` says where they differ first. The order of an instant vector counts only where `ordered`.
pub(super) fn compare(theirs: &Reply, ours: &Reply, ordered: bool) -> Result<(), String> {
    if theirs.status != ours.status {
        return Err(format!("status {}, should be {}", ours.status, theirs.status));
    }
    headers(theirs, ours)?;
    match (theirs.json(), ours.json()) {
        (Some(theirs), Some(ours)) => same("", &arranged(theirs, ordered), &arranged(ours, ordered), false),
        // Texts are for people: the status says it.
        (None, None) => Ok(()),
        (Some(_), None) => Err("no JSON".to_string()),
        (None, Some(_)) => Err("JSON, should be none".to_string()),
    }
}

fn headers(theirs: &Reply, ours: &Reply) -> Result<(), String> {
    let is_json = theirs.json().is_some();
    for name in SAME_HEADERS {
        // What a body is called and how it is packed matters where it says something, and where packing saves bytes.
        let is_tiny = name == "content-encoding" && ours.body.len() < TINY;
        if name.starts_with("content-") && (!is_json || is_tiny) {
            continue;
        }
        let (theirs, ours) = (theirs.header(name), ours.header(name));
        if theirs != ours {
            return Err(format!("header {name} {ours:?}, should be {theirs:?}"));
        }
    }
    for name in INCLUDED_HEADERS.into_iter().filter(|name| is_json || *name != "vary") {
        let words = |reply: &Reply| -> Vec<String> {
            let value = reply.header(name).unwrap_or_default().to_lowercase();
            value.split(',').map(|word| word.trim().to_string()).filter(|word| !word.is_empty()).collect()
        };
        let (theirs, ours) = (words(theirs), words(ours));
        if let Some(missing) = theirs.iter().find(|word| !ours.contains(word)) {
            return Err(format!("header {name} {ours:?} lacks {missing:?}"));
        }
        if theirs.is_empty() != ours.is_empty() {
            return Err(format!("header {name} {ours:?}, should be absent"));
        }
    }
    Ok(())
}

/// With everything sorted whose order means nothing.
fn arranged(mut answer: Value, ordered: bool) -> Value {
    for key in ["warnings", "infos"] {
        if let Some(notes) = answer.get_mut(key).and_then(Value::as_array_mut) {
            notes.sort_by_key(Value::to_string);
        }
    }
    let is_vector = answer["data"]["resultType"] == "vector";
    if let Some(list) = answer.get_mut("data").and_then(Value::as_array_mut) {
        if list.iter().all(Value::is_object) {
            list.sort_by_key(|entry| text(entry.get("seriesLabels").unwrap_or(entry)));
        }
    } else if is_vector
        && !ordered
        && let Some(samples) = answer["data"]["result"].as_array_mut()
    {
        samples.sort_by_key(|sample| text(&sample["metric"]));
    }
    answer
}

/// An object with its keys in order.
fn text(value: &Value) -> String {
    match value.as_object() {
        Some(object) => format!("{:?}", object.iter().collect::<BTreeMap<_, _>>()),
        None => value.to_string(),
    }
}

/// Whether two trees are equal; numbers in strings below the key of a value may be apart by the tolerance.
pub(super) fn same(path: &str, theirs: &Value, ours: &Value, is_value: bool) -> Result<(), String> {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            if let Some(missing) = theirs.keys().find(|key| !ours.contains_key(*key)) {
                return Err(format!("{path}: {missing:?} is missing"));
            }
            if let Some(extra) = ours.keys().find(|key| !theirs.contains_key(*key)) {
                return Err(format!("{path}: {extra:?} is too much"));
            }
            for (key, value) in theirs {
                let values = ["value", "values", "histogram", "histograms"].contains(&key.as_str());
                same(&format!("{path}.{key}"), value, &ours[key], is_value || values)?;
            }
            Ok(())
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            if theirs.len() != ours.len() {
                return Err(format!("{path}: {} entries, should be {}", ours.len(), theirs.len()));
            }
            for (i, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                same(&format!("{path}[{i}]"), theirs, ours, is_value)?;
            }
            Ok(())
        }
        (Value::String(a), Value::String(b)) if is_value && close(a, b) => Ok(()),
        _ if theirs == ours => Ok(()),
        _ => Err(format!("{path}: {ours}, should be {theirs}")),
    }
}

/// Both are written the same way, or are numbers next to each other.
fn close(a: &str, b: &str) -> bool {
    let (Ok(x), Ok(y)) = (a.parse::<f64>(), b.parse::<f64>()) else { return a == b };
    a == b || (x != y && (x - y).abs() <= TOLERANCE * x.abs().max(y.abs()))
}

#[test]
fn replies_that_differ_in_one_field_are_told_apart() {
    let reply = |status, headers: &[(&str, &str)], body: &str| {
        let headers = headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        Reply::new(RawAnswer { status, headers, body: body.as_bytes().to_vec() }).unwrap()
    };
    let json = [("content-type", "application/json"), ("vary", "Origin")];
    let vector = |value: &str, metric: &str, more: &str| {
        let sample = format!(r#"{{"metric":{metric},"value":[1.5,"{value}"]}}"#);
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{sample}]}}{more}}}"#)
    };
    let truth = reply(200, &json, &vector("0.1", r#"{"a":"1","b":"2"}"#, ""));
    let equal = |ours: &Reply| compare(&truth, ours, false).is_ok();
    assert!(equal(&reply(200, &json, &vector("0.10000000000000002", r#"{"b":"2","a":"1"}"#, ""))));
    assert!(equal(&reply(200, &[json[0], ("vary", "origin, accept")], &truth.body)));
    let different = [
        reply(200, &json, &vector("0.1000000001", r#"{"a":"1","b":"2"}"#, "")),
        reply(200, &json, &vector("0.1", r#"{"a":"1.0","b":"2"}"#, "")),
        reply(200, &json, &vector("0.1", r#"{"a":"1"}"#, "")),
        reply(200, &json, &vector("0.1", r#"{"a":"1","b":"2"}"#, r#","infos":["x"]"#)),
        reply(200, &json, &truth.body.replace("1.5", "1.501")),
        reply(400, &json, &truth.body),
        reply(200, &[("content-type", "text/plain"), json[1]], &truth.body),
        reply(200, &json[..1], &truth.body),
        reply(200, &json, "no JSON"),
    ];
    for ours in &different {
        assert!(!equal(ours), "{ours:?}");
    }
    assert!(!close("1", "1.0") && !close("0", "-0") && close("NaN", "NaN"));
}
