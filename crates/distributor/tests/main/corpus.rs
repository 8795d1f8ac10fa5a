//! Bodies recorded from real senders, with the truth that another decoder saw in them.

use std::path::{Path, PathBuf};

use distributor::Workspace;
use model::Shards;
use runtime::MemoryPart;
use serde_json::Value;
use wire::generated::prometheus as pb;
use wire::generated::prometheus::histogram::{Count, ZeroCount};

use crate::oracle;

/// In this body the Collector rounded a float histogram to integers, so that its buckets miss one observation of
/// its count. Prometheus refuses such a histogram, and so do we.
pub(crate) const INCONSISTENT: &str = "otelcol160-rw1-scraped";

/// The recorded remote write 1.0 bodies as (name, packed body, headers and truth), or nothing.
pub(crate) fn bodies() -> Vec<(String, Vec<u8>, Value)> {
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
        if truth["_reference"]["message"] == "prometheus.WriteRequest" {
            bodies.push((name.to_string(), std::fs::read(&path).unwrap(), truth));
        }
    }
    bodies.sort_by(|a, b| a.0.cmp(&b.0));
    bodies
}

fn folder() -> Option<PathBuf> {
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

/// The message that the truth describes.
fn request(truth: &Value) -> pb::WriteRequest {
    let decoded = &truth["decoded"];
    let mut request = pb::WriteRequest {
        timeseries: list(&decoded["timeseries"], series),
        metadata: list(&decoded["metadata"], metadata),
    };
    for entry in truth["_reference"]["nan_bits"].as_array().into_iter().flatten() {
        set_nan(&mut request, entry[0].as_str().unwrap(), entry[1].as_str().unwrap());
    }
    request
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

/// Sets the bits of a NaN at a path like `timeseries[3].samples[0].value`.
fn set_nan(request: &mut pb::WriteRequest, path: &str, bits: &str) {
    let value = f64::from_bits(u64::from_str_radix(bits, 16).unwrap());
    let parts: Vec<&str> = path.split(['.', '[', ']']).filter(|part| !part.is_empty()).collect();
    let index = |i: usize| parts[i].parse::<usize>().unwrap();
    let series = &mut request.timeseries[index(1)];
    match (parts[2], *parts.last().unwrap()) {
        ("samples", "value") => series.samples[index(3)].value = value,
        ("histograms", "sum") => series.histograms[index(3)].sum = value,
        ("exemplars", "value") => series.exemplars[index(3)].value = value,
        _ => panic!("{path}"),
    }
}
