//! Messages of our own making, for tests that must not depend on the recorded ones.

use prost::Message;
use wire::generated::prometheus as pb;
use wire::generated::prometheus::histogram::{Count, ZeroCount};

/// Some time in 2026, whose varint has six bytes like all timestamps of today.
pub(crate) const NOW: i64 = 1_795_251_153_981;

pub(crate) fn label(name: &str, value: &str) -> pb::Label {
    pb::Label { name: name.to_string(), value: value.to_string() }
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Vec<pb::Label> {
    pairs.iter().map(|(name, value)| label(name, value)).collect()
}

pub(crate) fn sample(value: f64, timestamp: i64) -> pb::Sample {
    pb::Sample { value, timestamp }
}

/// A series with one sample.
pub(crate) fn series(pairs: &[(&str, &str)], value: f64, timestamp: i64) -> pb::TimeSeries {
    pb::TimeSeries { labels: labels(pairs), samples: vec![sample(value, timestamp)], ..Default::default() }
}

pub(crate) fn histogram(timestamp: i64) -> pb::Histogram {
    pb::Histogram {
        count: Some(Count::CountInt(12)),
        zero_count: Some(ZeroCount::ZeroCountInt(2)),
        sum: 3.5,
        schema: 3,
        zero_threshold: 1e-9,
        positive_spans: vec![
            pb::BucketSpan { offset: -2, length: 2 },
            pb::BucketSpan { offset: 3, length: 1 },
        ],
        positive_deltas: vec![1, 2, 1],
        negative_spans: vec![pb::BucketSpan { offset: 0, length: 1 }],
        negative_deltas: vec![2],
        timestamp,
        ..Default::default()
    }
}

/// A bit of everything that a sender may send.
pub(crate) fn everything() -> pb::WriteRequest {
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let mut timeseries = vec![
        series(&[("__name__", "up"), ("instance", "a:1"), ("job", "node")], 1.0, NOW),
        series(&[("__name__", "zero"), ("instance", "a:1"), ("job", "node")], 0.0, NOW),
        series(&[("__name__", "unsorted"), ("job", "node"), ("instance", "a:1"), ("empty", "")], 2.5, NOW),
        series(&[("__name__", "stale"), ("instance", "b:1"), ("job", "node")], stale, NOW),
        series(&[("job", "nameless")], 1.0, NOW),
        series(&[("__name__", "early"), ("job", "x")], -1.0, -5),
    ];
    timeseries.push(pb::TimeSeries {
        labels: labels(&[("__name__", "backlog"), ("job", "node")]),
        samples: (0..5).map(|i| sample(i as f64, NOW + i * 15_000)).collect(),
        ..Default::default()
    });
    timeseries.push(pb::TimeSeries {
        labels: labels(&[("__name__", "native"), ("job", "node")]),
        histograms: vec![
            histogram(NOW),
            pb::Histogram { sum: stale, timestamp: NOW + 1, ..Default::default() },
        ],
        exemplars: vec![pb::Exemplar {
            labels: labels(&[("trace_id", "abc"), ("span", "")]),
            value: 0.5,
            timestamp: NOW,
        }],
        ..Default::default()
    });
    let metadata = vec![pb::MetricMetadata {
        r#type: 1,
        metric_family_name: "up".to_string(),
        help: "Whether the target answers".to_string(),
        unit: "bool".to_string(),
    }];
    pb::WriteRequest { timeseries, metadata }
}

pub(crate) fn snappy(request: &pb::WriteRequest) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}
