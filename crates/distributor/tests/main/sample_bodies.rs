//! Messages of our own making, for tests that must not depend on the recorded ones.

use prost::Message;
use wire::generated::prometheus as pb;
use wire::generated::prometheus::histogram::{Count, ZeroCount};
use wire::generated::prometheus2 as pb2;

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

pub(crate) fn snappy(request: &impl Message) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}

/// A remote write 2.0 request with the texts of one of 1.0: every text once.
pub(crate) fn in_version_2(request: &pb::WriteRequest) -> pb2::Request {
    let mut symbols = vec![String::new()];
    let mut symbol = |text: &str| {
        let known = symbols.iter().position(|symbol| symbol == text);
        known.unwrap_or_else(|| {
            symbols.push(text.to_string());
            symbols.len() - 1
        }) as u32
    };
    let mut refs = |labels: &[pb::Label]| {
        labels.iter().flat_map(|l| [symbol(&l.name), symbol(&l.value)]).collect::<Vec<u32>>()
    };
    let timeseries = request.timeseries.iter().map(|series| pb2::TimeSeries {
        labels_refs: refs(&series.labels),
        samples: series
            .samples
            .iter()
            .map(|s| pb2::Sample { value: s.value, timestamp: s.timestamp, start_timestamp: 0 })
            .collect(),
        histograms: series
            .histograms
            .iter()
            .map(|h| pb2::Histogram::decode(&h.encode_to_vec()[..]).unwrap())
            .collect(),
        exemplars: series
            .exemplars
            .iter()
            .map(|e| pb2::Exemplar { labels_refs: refs(&e.labels), value: e.value, timestamp: e.timestamp })
            .collect(),
        metadata: Some(pb2::Metadata::default()),
    });
    let timeseries = timeseries.collect();
    pb2::Request { symbols, timeseries }
}

/// A bit of everything that a sender of remote write 2.0 may send.
pub(crate) fn everything2() -> pb2::Request {
    let mut request = in_version_2(&everything());
    request.symbols.push("Whether it answers".to_string());
    let help_ref = request.symbols.len() as u32 - 1;
    for (i, series) in request.timeseries.iter_mut().enumerate() {
        for sample in &mut series.samples {
            sample.start_timestamp = if i % 2 == 0 { NOW - 5_000 } else { 0 };
        }
        for histogram in &mut series.histograms {
            histogram.start_timestamp = NOW - 7_000;
        }
        series.metadata = Some(pb2::Metadata { r#type: i as i32 % 4, help_ref, unit_ref: 0 });
    }
    request
}
