//! `ExportMetricsServiceRequest` in protobuf: a resource per target, a metric per run of one family.

use crate::fleet::{Entry, Family, FamilyKind, Fleet};
use crate::recording::{BOUNDS, Latencies, Value};

use super::Extras;
use super::proto::{bytes, double, fixed, nested, sint, uint, varint};
use super::remote_write1::exemplar_value;

/// Where the three kinds of data points have their attributes.
pub(super) const NUMBER_ATTRIBUTES: u32 = 7;
pub(super) const HISTOGRAM_ATTRIBUTES: u32 = 9;
pub(super) const EXPONENTIAL_ATTRIBUTES: u32 = 1;

/// The scale is 0, whose bucket bounds are powers of two; OTLP numbers buckets one lower than Prometheus.
pub(super) const FIRST_BUCKET: i64 = -8;
pub(super) const NANOS: u64 = 1_000_000;
const CUMULATIVE: u64 = 2;

pub(super) fn encode(out: &mut Vec<u8>, fleet: &Fleet, entries: &[Entry<'_>], extras: Extras) {
    for of_target in entries.chunk_by(|a, b| std::ptr::eq(a.target, b.target)) {
        let [job, instance] = &of_target[0].target.own;
        nested(out, 1, |out| {
            nested(out, 1, |out| {
                attribute(out, 1, "service.name", job);
                attribute(out, 1, "service.instance.id", instance);
            });
            nested(out, 2, |out| {
                nested(out, 1, |out| bytes(out, 1, b"firn-loadgen"));
                for of_family in of_target.chunk_by(same_metric) {
                    let family = fleet.family(of_family[0].series);
                    nested(out, 2, |out| metric(out, family, of_family, extras));
                }
            });
        });
    }
}

/// Points of one metric: a family may be there as a classic and as a native histogram.
pub(super) fn same_metric(a: &Entry<'_>, b: &Entry<'_>) -> bool {
    let kinds = std::mem::discriminant(&a.value) == std::mem::discriminant(&b.value);
    kinds && a.series.family == b.series.family
}

/// A `KeyValue` in the field of a list.
pub(super) fn attribute(out: &mut Vec<u8>, field: u32, name: &str, value: &str) {
    nested(out, field, |out| {
        bytes(out, 1, name.as_bytes());
        nested(out, 2, |out| bytes(out, 1, value.as_bytes()));
    });
}

fn metric(out: &mut Vec<u8>, family: &Family, entries: &[Entry<'_>], extras: Extras) {
    bytes(out, 1, family.name.as_bytes());
    if extras.metadata {
        bytes(out, 2, family.help.as_bytes());
    }
    let counts = family.kind == FamilyKind::Counter;
    let field = match entries[0].value {
        Value::Float(_) if counts => 7,
        Value::Float(_) => 5,
        Value::Classic(_) => 9,
        Value::Native(_) => 10,
    };
    nested(out, field, |out| {
        for entry in entries {
            nested(out, 1, |out| match entry.value {
                Value::Float(value) => number(out, entry, value, counts),
                Value::Classic(latencies) => histogram(out, entry, latencies),
                Value::Native(latencies) => exponential(out, entry, latencies),
            });
        }
        if field != 5 {
            uint(out, 2, CUMULATIVE);
        }
        uint(out, 3, u64::from(field == 7));
    });
}

fn number(out: &mut Vec<u8>, entry: &Entry<'_>, value: f64, counts: bool) {
    if counts {
        fixed(out, 2, entry.start as u64 * NANOS);
    }
    fixed(out, 3, entry.timestamp as u64 * NANOS);
    fixed(out, 4, value.to_bits());
    exemplar(out, 5, entry);
    out.extend_from_slice(&entry.series.key);
}

fn histogram(out: &mut Vec<u8>, entry: &Entry<'_>, latencies: &Latencies) {
    fixed(out, 2, entry.start as u64 * NANOS);
    fixed(out, 3, entry.timestamp as u64 * NANOS);
    fixed(out, 4, latencies.count() as u64);
    double(out, 5, latencies.sum);
    nested(out, 6, |out| latencies.buckets().for_each(|count| out.extend_from_slice(&count.to_le_bytes())));
    nested(out, 7, |out| explicit_bounds().for_each(|bound| out.extend_from_slice(&bound.to_le_bytes())));
    exemplar(out, 8, entry);
    out.extend_from_slice(&entry.series.key);
}

/// Bounds without the infinite one, which OTLP does not name.
pub(super) fn explicit_bounds() -> impl Iterator<Item = f64> {
    BOUNDS.iter().take(BOUNDS.len() - 1).filter_map(|bound| bound.parse().ok())
}

fn exponential(out: &mut Vec<u8>, entry: &Entry<'_>, latencies: &Latencies) {
    out.extend_from_slice(&entry.series.key);
    fixed(out, 2, entry.start as u64 * NANOS);
    fixed(out, 3, entry.timestamp as u64 * NANOS);
    fixed(out, 4, latencies.count() as u64);
    double(out, 5, latencies.sum);
    nested(out, 8, |out| {
        sint(out, 1, FIRST_BUCKET);
        nested(out, 2, |out| latencies.buckets().for_each(|count| varint(out, count)));
    });
    exemplar(out, 11, entry);
}

fn exemplar(out: &mut Vec<u8>, field: u32, entry: &Entry<'_>) {
    let Some(trace) = entry.trace else { return };
    nested(out, field, |out| {
        fixed(out, 2, entry.timestamp as u64 * NANOS);
        fixed(out, 3, exemplar_value(entry).to_bits());
        bytes(out, 4, &trace.to_be_bytes());
        let mut id = [0; 16];
        id[..8].copy_from_slice(&trace.to_be_bytes());
        id[8..].copy_from_slice(&trace.rotate_left(32).to_be_bytes());
        bytes(out, 5, &id);
    });
}
