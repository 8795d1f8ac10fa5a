//! Families as `io.prometheus.client.MetricFamily`, each behind its length.

use model::{BucketSpan, Histogram};

use super::family::{Family, Kind, classic, counts};
use super::form::Escaping;
use super::text::shown;
use super::{Newest, Value};
use crate::protobuf::{put_bytes, put_double, put_doubles, put_number, put_signed, put_varint};

/// Appends a family.
pub(super) fn put(out: &mut Vec<u8>, family: &Family, escaping: Escaping) {
    let mut message = Vec::new();
    put_bytes(&mut message, 1, escaping.escape(&family.name).as_bytes());
    let kind = match family.kind {
        Kind::Untyped => 3,
        Kind::Histogram => 4,
        Kind::GaugeHistogram => 5,
    };
    put_number(&mut message, 3, kind);
    family.series.iter().for_each(|one| put_bytes(&mut message, 4, &metric(one, escaping)));
    put_varint(out, message.len() as u64);
    out.extend_from_slice(&message);
}

fn metric(one: &Newest, escaping: Escaping) -> Vec<u8> {
    let mut message = Vec::new();
    for (name, value) in shown(one) {
        let mut label = Vec::new();
        put_bytes(&mut label, 1, escaping.escape(name).as_bytes());
        put_bytes(&mut label, 2, value.as_bytes());
        put_bytes(&mut message, 1, &label);
    }
    match &one.value {
        Value::Float(value) => {
            let mut untyped = Vec::new();
            put_double(&mut untyped, 1, *value);
            put_bytes(&mut message, 5, &untyped);
        }
        Value::Histogram(histogram) if histogram.is_custom() => {
            put_bytes(&mut message, 7, &classic_histogram(histogram))
        }
        Value::Histogram(histogram) => put_bytes(&mut message, 7, &native_histogram(histogram)),
    }
    put_number(&mut message, 6, one.timestamp as u64);
    message
}

fn classic_histogram(histogram: &Histogram) -> Vec<u8> {
    let mut message = Vec::new();
    put_double(&mut message, 4, counts(histogram).count);
    put_double(&mut message, 2, histogram.sum);
    for (bound, cumulative) in classic(histogram) {
        let mut bucket = Vec::new();
        put_double(&mut bucket, 4, cumulative);
        put_double(&mut bucket, 2, bound);
        put_bytes(&mut message, 3, &bucket);
    }
    message
}

fn native_histogram(histogram: &Histogram) -> Vec<u8> {
    let numbers = counts(histogram);
    let mut message = Vec::new();
    put_double(&mut message, 4, numbers.count);
    put_double(&mut message, 2, histogram.sum);
    put_signed(&mut message, 5, i64::from(histogram.schema));
    put_double(&mut message, 6, histogram.zero_threshold);
    put_double(&mut message, 8, numbers.zero);
    histogram.negative_spans.iter().for_each(|span| put_bytes(&mut message, 9, &encoded(*span)));
    put_doubles(&mut message, 11, &numbers.negative);
    histogram.positive_spans.iter().for_each(|span| put_bytes(&mut message, 12, &encoded(*span)));
    if histogram.positive_spans.is_empty() && histogram.negative_spans.is_empty() {
        // Without any span, a histogram without a zero bucket would be taken for a classic one.
        put_bytes(&mut message, 12, &encoded(BucketSpan { offset: 0, length: 0 }));
    }
    put_doubles(&mut message, 14, &numbers.positive);
    message
}

fn encoded(span: BucketSpan) -> Vec<u8> {
    let mut message = Vec::new();
    put_signed(&mut message, 1, i64::from(span.offset));
    put_number(&mut message, 2, u64::from(span.length));
    message
}
