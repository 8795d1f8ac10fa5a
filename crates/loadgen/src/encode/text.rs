//! Lines of Prometheus's text exposition, with timestamps.

use crate::fleet::{Entry, FamilyKind, Fleet};
use crate::recording::Value;

use super::{Extras, quoted, write};

pub(super) fn encode(out: &mut Vec<u8>, fleet: &Fleet, entries: &[Entry<'_>], extras: Extras) {
    for of_family in entries.chunk_by(|a, b| a.series.family == b.series.family) {
        if extras.metadata {
            let family = fleet.family(of_family[0].series);
            let kind = match family.kind {
                FamilyKind::Gauge => "gauge",
                FamilyKind::Counter => "counter",
                FamilyKind::Histogram => "histogram",
            };
            write(out, format_args!("# HELP {0} {1}\n# TYPE {0} {kind}\n", family.name, family.help));
        }
        for entry in of_family {
            match entry.value {
                Value::Float(value) => line(out, &entry.series.key, value, entry.timestamp),
                Value::Classic(latencies) => {
                    for (key, value) in entry.series.parts.iter().zip(latencies.floats()) {
                        line(out, key, value, entry.timestamp);
                    }
                }
                // Refused with the arguments: the format has none.
                Value::Native(_) => {}
            }
        }
    }
}

/// `name{label="value"}`; the first label is the name.
pub(super) fn series(labels: &[(&str, &str)]) -> Vec<u8> {
    let mut out = String::new();
    for (i, (name, value)) in labels.iter().enumerate() {
        match i {
            0 => {
                out.push_str(value);
                continue;
            }
            1 => out.push('{'),
            _ => out.push(','),
        }
        out.push_str(name);
        out.push('=');
        quoted(&mut out, value);
    }
    if labels.len() > 1 {
        out.push('}');
    }
    out.into_bytes()
}

fn line(out: &mut Vec<u8>, key: &[u8], value: f64, timestamp: i64) {
    out.extend_from_slice(key);
    write(out, format_args!(" {value} {timestamp}\n"));
}
