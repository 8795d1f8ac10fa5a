//! Bodies recorded from real senders, with the truth that another decoder saw in them.

use std::path::{Path, PathBuf};

use distributor::Workspace;
use model::Shards;
use prost::Message;
use runtime::MemoryPart;
use serde_json::Value;
use wire::generated::prometheus as pb;
use wire::generated::prometheus::histogram::{Count, ZeroCount};
use wire::generated::prometheus2 as pb2;

use crate::oracle;

/// In this body the Collector rounded a float histogram to integers, so that its buckets miss one observation of
/// its count. Prometheus refuses such a histogram, and so do we.
pub(crate) const INCONSISTENT: &str = "otelcol160-rw1-scraped";
/// The same over remote write 2.0.
pub(crate) const INCONSISTENT2: [&str; 2] = ["otelcol160-rw2-scraped", "otelcol160-rw2-nhcb-scraped"];

/// The recorded remote write 1.0 bodies as (name, packed body, truth), or nothing.
pub(crate) fn bodies() -> Vec<(String, Vec<u8>, Value)> {
    bodies_of("prometheus.WriteRequest")
}

/// The recorded bodies of remote write 2.0.
pub(crate) fn bodies2() -> Vec<(String, Vec<u8>, Value)> {
    bodies_of("io.prometheus.write.v2.Request")
}

fn bodies_of(message: &str) -> Vec<(String, Vec<u8>, Value)> {
    let Some(folder) = folder() else {
        println!("CORPUS ABSENT: no recorded requests (set FIRN_SHARED)");
        return Vec::new();
    };
    let mut bodies = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(".body") else { continue };
        let truth = path.with_file_name(format!("{name}.decoded.json"));
        let truth: Value = serde_json::from_slice(&std::fs::read(truth).unwrap()).unwrap();
        if truth["_reference"]["message"] == message {
            bodies.push((name.to_string(), std::fs::read(&path).unwrap(), truth));
        }
    }
    bodies.sort_by(|a, b| a.0.cmp(&b.0));
    bodies
}

pub(crate) fn folder() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("FIRN_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let folder = shared.join("data/requests");
    folder.is_dir().then_some(folder)
}

/// The request headers of a recorded body.
pub(crate) fn headers(name: &str) -> Vec<(String, String)> {
    let path = folder().unwrap().join(format!("{name}.json"));
    let description: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let pairs = description["headers"].as_array().unwrap();
    let text = |v: &Value| v.as_str().unwrap().to_string();
    pairs.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

#[test]
fn every_recorded_remote_write_1_body_is_decoded_as_the_reference_decoded_it() {
    let bodies = bodies();
    let decoder = oracle::decoder(oracle::ONE_SHARD);
    let sharded = oracle::decoder(Shards { count: 16, spread: 4 });
    let mut work = Workspace::default();
    for (name, packed, truth) in &bodies {
        let message = request(truth);
        let mut expected = oracle::expected(&message);
        let refused = usize::from(name == INCONSISTENT);
        assert_eq!((expected.refused_labels, expected.refused_histograms), (0, refused), "{name}");
        let mut reservation = MemoryPart::unlimited("test").reserve(0).unwrap();
        work.unpack(packed, 32 << 20, &mut reservation).unwrap();
        let body = work.batch.bytes.clone();
        // Twice: the first time everything is new, the second time everything is expected.
        for _ in 0..2 {
            let seen = oracle::decode(&decoder, &body, &mut work).unwrap();
            for (seen, expected) in seen.series.iter().zip(&expected.series) {
                assert_eq!(seen, expected, "{name}");
            }
            assert!(seen == expected, "{name}");
        }
        let mut seen = oracle::decode(&sharded, &body, &mut work).unwrap();
        seen.series.sort();
        expected.series.sort();
        assert!(seen == expected, "{name}, sharded");
    }
    println!("{} recorded bodies decoded", bodies.len());
    assert!(bodies.is_empty() || bodies.len() >= 31, "{}", bodies.len());
}

#[test]
fn every_recorded_remote_write_2_body_is_decoded_as_the_reference_decoded_it() {
    let bodies = bodies2();
    let decoder = oracle::decoder(oracle::ONE_SHARD);
    let sharded = oracle::decoder(Shards { count: 16, spread: 4 });
    let mut work = Workspace::default();
    for (name, packed, truth) in &bodies {
        let message = request2(truth);
        let mut expected = oracle::expected2(&message).unwrap();
        let refused = usize::from(INCONSISTENT2.contains(&name.as_str()));
        assert_eq!((expected.refused_labels, expected.refused_histograms), (0, refused), "{name}");
        assert_eq!(expected.refused_exemplars, 0, "{name}");
        let mut reservation = MemoryPart::unlimited("test").reserve(0).unwrap();
        work.unpack(packed, 32 << 20, &mut reservation).unwrap();
        let body = work.batch.bytes.clone();
        for round in 0..2 {
            let seen = oracle::decode2(&decoder, &body, &mut work).unwrap();
            for (seen, expected) in seen.series.iter().zip(&expected.series) {
                assert_eq!(seen, expected, "{name}, round {round}");
            }
            assert_eq!(seen.metadata, expected.metadata, "{name}");
            assert!(seen == expected, "{name}, round {round}");
        }
        let mut seen = oracle::decode2(&sharded, &body, &mut work).unwrap();
        seen.series.sort();
        expected.series.sort();
        assert!(seen == expected, "{name}, sharded");
    }
    println!("{} recorded bodies decoded", bodies.len());
    assert!(bodies.is_empty() || bodies.len() >= 16, "{}", bodies.len());
}

/// The message that the truth describes.
fn request(truth: &Value) -> pb::WriteRequest {
    let decoded = &truth["decoded"];
    let mut request = pb::WriteRequest {
        timeseries: list(&decoded["timeseries"], series),
        metadata: list(&decoded["metadata"], metadata),
    };
    for entry in truth["_reference"]["nan_bits"].as_array().into_iter().flatten() {
        let (path, value) = nan(entry);
        let series = &mut request.timeseries[path[1].parse::<usize>().unwrap()];
        let i = path[3].parse::<usize>().unwrap();
        match (path[2].as_str(), path.last().unwrap().as_str()) {
            ("samples", "value") => series.samples[i].value = value,
            ("histograms", "sum") => series.histograms[i].sum = value,
            ("exemplars", "value") => series.exemplars[i].value = value,
            _ => panic!("{path:?}"),
        }
    }
    request
}

/// The same of remote write 2.0.
fn request2(truth: &Value) -> pb2::Request {
    let decoded = &truth["decoded"];
    let mut request = pb2::Request {
        symbols: list(&decoded["symbols"], text),
        timeseries: list(&decoded["timeseries"], series2),
    };
    for entry in truth["_reference"]["nan_bits"].as_array().into_iter().flatten() {
        let (path, value) = nan(entry);
        let series = &mut request.timeseries[path[1].parse::<usize>().unwrap()];
        let i = path[3].parse::<usize>().unwrap();
        match (path[2].as_str(), path.last().unwrap().as_str()) {
            ("samples", "value") => series.samples[i].value = value,
            ("histograms", "sum") => series.histograms[i].sum = value,
            ("exemplars", "value") => series.exemplars[i].value = value,
            _ => panic!("{path:?}"),
        }
    }
    request
}

fn series2(v: &Value) -> pb2::TimeSeries {
    let refs = |v: &Value| list(v, |r| r.as_u64().unwrap() as u32);
    let symbol = |v: &Value| v.as_u64().unwrap_or(0) as u32;
    pb2::TimeSeries {
        labels_refs: refs(&v["labels_refs"]),
        samples: list(&v["samples"], |s| pb2::Sample {
            value: double(&s["value"]),
            timestamp: int(&s["timestamp"]),
            start_timestamp: int(&s["start_timestamp"]),
        }),
        histograms: list(&v["histograms"], |h| {
            // Field for field the same message but for the start; its hints have longer names.
            let mut old = h.clone();
            if let Some(hint) = h["reset_hint"].as_str() {
                old["reset_hint"] = hint.trim_start_matches("RESET_HINT_").into();
            }
            let new = pb2::Histogram::decode(&histogram(&old).encode_to_vec()[..]).unwrap();
            pb2::Histogram { start_timestamp: int(&h["start_timestamp"]), ..new }
        }),
        exemplars: list(&v["exemplars"], |e| pb2::Exemplar {
            labels_refs: refs(&e["labels_refs"]),
            value: double(&e["value"]),
            timestamp: int(&e["timestamp"]),
        }),
        metadata: v["metadata"].as_object().map(|m| {
            let kind = m.get("type").and_then(Value::as_str).unwrap_or("METRIC_TYPE_UNSPECIFIED");
            let kind = pb2::metadata::MetricType::from_str_name(kind.trim_start_matches("METRIC_TYPE_"));
            let of = |name: &str| m.get(name).map_or(0, symbol);
            pb2::Metadata { r#type: kind.unwrap() as i32, help_ref: of("help_ref"), unit_ref: of("unit_ref") }
        }),
    }
}

/// The parts of a path like `timeseries[3].samples[0].value` and the NaN that is there.
fn nan(entry: &Value) -> (Vec<String>, f64) {
    let value = f64::from_bits(u64::from_str_radix(entry[1].as_str().unwrap(), 16).unwrap());
    let parts = entry[0].as_str().unwrap().split(['.', '[', ']']).filter(|part| !part.is_empty());
    (parts.map(str::to_string).collect(), value)
}

fn list<T>(value: &Value, read: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().map(|items| items.iter().map(read).collect()).unwrap_or_default()
}

fn series(v: &Value) -> pb::TimeSeries {
    pb::TimeSeries {
        labels: list(&v["labels"], label),
        samples: list(&v["samples"], |s| pb::Sample {
            value: double(&s["value"]),
            timestamp: int(&s["timestamp"]),
        }),
        exemplars: list(&v["exemplars"], |e| pb::Exemplar {
            labels: list(&e["labels"], label),
            value: double(&e["value"]),
            timestamp: int(&e["timestamp"]),
        }),
        histograms: list(&v["histograms"], histogram),
    }
}

fn label(v: &Value) -> pb::Label {
    pb::Label { name: text(&v["name"]), value: text(&v["value"]) }
}

fn histogram(v: &Value) -> pb::Histogram {
    let span =
        |s: &Value| pb::BucketSpan { offset: int(&s["offset"]) as i32, length: int(&s["length"]) as u32 };
    let unsigned = |v: &Value| v.as_str().unwrap().parse::<u64>().unwrap();
    pb::Histogram {
        count: match (&v["count_int"], &v["count_float"]) {
            (Value::Null, Value::Null) => None,
            (Value::Null, float) => Some(Count::CountFloat(double(float))),
            (int, _) => Some(Count::CountInt(unsigned(int))),
        },
        zero_count: match (&v["zero_count_int"], &v["zero_count_float"]) {
            (Value::Null, Value::Null) => None,
            (Value::Null, float) => Some(ZeroCount::ZeroCountFloat(double(float))),
            (int, _) => Some(ZeroCount::ZeroCountInt(unsigned(int))),
        },
        sum: double(&v["sum"]),
        schema: int(&v["schema"]) as i32,
        zero_threshold: double(&v["zero_threshold"]),
        negative_spans: list(&v["negative_spans"], span),
        negative_deltas: list(&v["negative_deltas"], int),
        negative_counts: list(&v["negative_counts"], double),
        positive_spans: list(&v["positive_spans"], span),
        positive_deltas: list(&v["positive_deltas"], int),
        positive_counts: list(&v["positive_counts"], double),
        reset_hint: v["reset_hint"]
            .as_str()
            .map_or(0, |name| pb::histogram::ResetHint::from_str_name(name).unwrap() as i32),
        timestamp: int(&v["timestamp"]),
        custom_values: list(&v["custom_values"], double),
    }
}

fn metadata(v: &Value) -> pb::MetricMetadata {
    pb::MetricMetadata {
        r#type: v["type"]
            .as_str()
            .map_or(0, |name| pb::metric_metadata::MetricType::from_str_name(name).unwrap() as i32),
        metric_family_name: text(&v["metric_family_name"]),
        help: text(&v["help"]),
        unit: text(&v["unit"]),
    }
}

fn text(v: &Value) -> String {
    v.as_str().unwrap_or_default().to_string()
}

fn int(v: &Value) -> i64 {
    match v {
        Value::Null => 0,
        Value::String(text) => text.parse().unwrap(),
        number => number.as_i64().unwrap(),
    }
}

fn double(v: &Value) -> f64 {
    match v {
        Value::Null => 0.0,
        Value::String(text) => text.parse().unwrap(),
        number => number.as_f64().unwrap(),
    }
}
