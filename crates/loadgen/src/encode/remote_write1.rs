//! `prometheus.WriteRequest`. Each sample is a series of its own, and each exemplar, as Prometheus sends them.

use crate::fleet::{Entry, Family, FamilyKind};
use crate::recording::{BOUNDS, Latencies, Value};

use super::proto::{bytes, double, fixed, nested, sint, uint, varint, zigzag};
use super::trace_id;

/// Native histograms have schema 0, whose bucket bounds are powers of two; this is the index of the first one.
const FIRST_BUCKET: i64 = -7;

pub(super) fn encode(out: &mut Vec<u8>, entries: &[Entry<'_>]) {
    for entry in entries {
        match entry.value {
            Value::Float(value) => {
                series(out, &entry.series.key, 2, |out| sample(out, entry.timestamp, value, 0))
            }
            Value::Classic(latencies) => {
                for (key, value) in entry.series.parts.iter().zip(latencies.floats()) {
                    series(out, key, 2, |out| sample(out, entry.timestamp, value, 0));
                }
            }
            Value::Native(latencies) => {
                series(out, &entry.series.key, 4, |out| histogram(out, entry.timestamp, latencies, 0));
            }
        }
    }
    for entry in entries {
        let Some(trace) = entry.trace else { continue };
        series(out, exemplar_key(entry), 3, |out| {
            let id = trace_id(trace);
            nested(out, 1, |out| {
                bytes(out, 1, b"trace_id");
                bytes(out, 2, id.as_bytes());
            });
            double(out, 2, exemplar_value(entry));
            uint(out, 3, entry.timestamp as u64);
        });
    }
}

pub(super) fn encode_metadata(out: &mut Vec<u8>, families: &[Family]) {
    for family in families {
        nested(out, 3, |out| {
            uint(out, 1, type_number(family.kind));
            bytes(out, 2, family.name.as_bytes());
            bytes(out, 4, family.help.as_bytes());
        });
    }
}

fn series(out: &mut Vec<u8>, key: &[u8], field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    nested(out, 1, |out| {
        out.extend_from_slice(key);
        nested(out, field, write);
    });
}

/// Which series an exemplar belongs to: of a classic histogram one of its buckets.
pub(super) fn exemplar_key<'a>(entry: &Entry<'a>) -> &'a [u8] {
    let series = entry.series;
    series.parts.get(BOUNDS.len() / 2).unwrap_or(&series.key)
}

/// What was observed: within the bucket that [`exemplar_key`] names.
pub(super) fn exemplar_value(entry: &Entry<'_>) -> f64 {
    match entry.value {
        Value::Float(_) => 1.0,
        Value::Classic(_) | Value::Native(_) => 0.125,
    }
}

/// `Sample`, of both versions: 1.0 has no start.
pub(super) fn sample(out: &mut Vec<u8>, timestamp: i64, value: f64, start: i64) {
    double(out, 1, value);
    uint(out, 2, timestamp as u64);
    uint(out, 3, start as u64);
}

/// `Histogram`, of both versions: 1.0 has no start.
pub(super) fn histogram(out: &mut Vec<u8>, timestamp: i64, latencies: &Latencies, start: i64) {
    varint(out, 1 << 3);
    varint(out, latencies.count() as u64);
    double(out, 3, latencies.sum);
    fixed(out, 5, (2f64.powi(-128)).to_bits());
    varint(out, 6 << 3);
    varint(out, 0);
    nested(out, 11, |out| {
        sint(out, 1, FIRST_BUCKET);
        uint(out, 2, BOUNDS.len() as u64);
    });
    nested(out, 12, |out| {
        let mut below = 0;
        for count in latencies.buckets() {
            varint(out, zigzag(count as i64 - below));
            below = count as i64;
        }
    });
    uint(out, 15, timestamp as u64);
    uint(out, 17, start as u64);
}

/// `MetricMetadata.MetricType`, the same in both versions.
pub(super) fn type_number(kind: FamilyKind) -> u64 {
    match kind {
        FamilyKind::Counter => 1,
        FamilyKind::Gauge => 2,
        FamilyKind::Histogram => 3,
    }
}
