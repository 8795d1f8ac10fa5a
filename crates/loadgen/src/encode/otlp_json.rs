//! The same request in OTLP's JSON: 64-bit integers are strings, ids are hex.

use crate::fleet::{Entry, Family, FamilyKind, Fleet};
use crate::recording::{Latencies, Value};

use super::otlp::{FIRST_BUCKET, NANOS, explicit_bounds, same_metric};
use super::remote_write1::exemplar_value;
use super::{Extras, quoted, trace_id, write};

pub(super) fn encode(out: &mut Vec<u8>, fleet: &Fleet, entries: &[Entry<'_>], extras: Extras) {
    out.extend_from_slice(b"{\"resourceMetrics\":[");
    list(out, entries.chunk_by(|a, b| std::ptr::eq(a.target, b.target)), |out, of_target| {
        let mut resource = String::new();
        let [job, instance] = &of_target[0].target.own;
        attribute(&mut resource, "service.name", job);
        attribute(&mut resource, "service.instance.id", instance);
        write(out, format_args!("{{\"resource\":{{\"attributes\":[{resource}]}},"));
        out.extend_from_slice(b"\"scopeMetrics\":[{\"scope\":{\"name\":\"firn-loadgen\"},\"metrics\":[");
        list(out, of_target.chunk_by(same_metric), |out, of_family| {
            metric(out, fleet.family(of_family[0].series), of_family, extras);
        });
        out.extend_from_slice(b"]}]}");
    });
    out.extend_from_slice(b"]}");
}

/// Appends a `KeyValue` to a list.
pub(super) fn attribute(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    out.push_str("{\"key\":");
    quoted(out, name);
    out.push_str(",\"value\":{\"stringValue\":");
    quoted(out, value);
    out.push_str("}}");
}

fn metric(out: &mut Vec<u8>, family: &Family, entries: &[Entry<'_>], extras: Extras) {
    write(out, format_args!("{{\"name\":\"{}\",", family.name));
    if extras.metadata {
        write(out, format_args!("\"description\":\"{}\",", family.help));
    }
    let (kind, more) = match entries[0].value {
        Value::Float(_) if family.kind == FamilyKind::Counter => {
            ("sum", ",\"aggregationTemporality\":2,\"isMonotonic\":true")
        }
        Value::Float(_) => ("gauge", ""),
        Value::Classic(_) => ("histogram", ",\"aggregationTemporality\":2"),
        Value::Native(_) => ("exponentialHistogram", ",\"aggregationTemporality\":2"),
    };
    write(out, format_args!("\"{kind}\":{{\"dataPoints\":["));
    list(out, entries, |out, entry| point(out, entry, kind != "gauge"));
    write(out, format_args!("]{more}}}}}"));
}

fn point(out: &mut Vec<u8>, entry: &Entry<'_>, counts: bool) {
    out.extend_from_slice(b"{\"attributes\":[");
    out.extend_from_slice(&entry.series.key);
    write(out, format_args!("],\"timeUnixNano\":\"{}\"", entry.timestamp as u64 * NANOS));
    if counts {
        write(out, format_args!(",\"startTimeUnixNano\":\"{}\"", entry.start as u64 * NANOS));
    }
    match entry.value {
        Value::Float(value) if value.is_finite() => write(out, format_args!(",\"asDouble\":{value}")),
        Value::Float(value) => write(out, format_args!(",\"asDouble\":\"{}\"", special(value))),
        Value::Classic(latencies) => histogram(out, latencies),
        Value::Native(latencies) => exponential(out, latencies),
    }
    if let Some(trace) = entry.trace {
        write(
            out,
            format_args!(
                ",\"exemplars\":[{{\"timeUnixNano\":\"{}\",\"asDouble\":{},\"spanId\":\"{trace:016x}\",\"traceId\":\"{}\"}}]",
                entry.timestamp as u64 * NANOS,
                exemplar_value(entry),
                trace_id(trace)
            ),
        );
    }
    out.push(b'}');
}

fn histogram(out: &mut Vec<u8>, latencies: &Latencies) {
    totals(out, latencies);
    out.extend_from_slice(b",\"bucketCounts\":[");
    list(out, latencies.buckets(), |out, count| write(out, format_args!("\"{count}\"")));
    out.extend_from_slice(b"],\"explicitBounds\":[");
    list(out, explicit_bounds(), |out, bound| write(out, format_args!("{bound}")));
    out.push(b']');
}

fn exponential(out: &mut Vec<u8>, latencies: &Latencies) {
    totals(out, latencies);
    write(out, format_args!(",\"scale\":0,\"positive\":{{\"offset\":{FIRST_BUCKET},\"bucketCounts\":["));
    list(out, latencies.buckets(), |out, count| write(out, format_args!("\"{count}\"")));
    out.extend_from_slice(b"]}");
}

fn totals(out: &mut Vec<u8>, latencies: &Latencies) {
    write(out, format_args!(",\"count\":\"{}\",\"sum\":{}", latencies.count() as u64, latencies.sum));
}

fn special(value: f64) -> &'static str {
    match value {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }
}

fn list<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item);
    }
}
