//! Families as lines of the text exposition format 0.0.4.

use std::borrow::Cow;

use model::Histogram;

use super::family::{Family, Kind, classic, counts};
use super::form::{Escaping, is_plain};
use super::{Newest, Value};

/// Appends the lines of a family.
pub(super) fn put(out: &mut Vec<u8>, family: &Family, escaping: Escaping) {
    let name = escaping.escape(&family.name);
    if !family.continues {
        let kind = match family.kind {
            Kind::Untyped => "untyped",
            // The format has no gauge histograms.
            Kind::Histogram | Kind::GaugeHistogram => "histogram",
        };
        out.extend_from_slice(format!("# TYPE {} {kind}\n", quoted(&name)).as_bytes());
    }
    for one in &family.series {
        let series = Series { name: &name, labels: labels(one, escaping), timestamp: one.timestamp };
        match &one.value {
            Value::Float(value) => series.put(out, "", None, *value),
            Value::Histogram(histogram) => put_classic(out, &series, histogram),
        }
    }
}

fn put_classic(out: &mut Vec<u8>, series: &Series<'_>, histogram: &Histogram) {
    let count = counts(histogram).count;
    for (bound, cumulative) in classic(histogram) {
        series.put(out, "_bucket", Some(bound), cumulative);
    }
    series.put(out, "_bucket", Some(f64::INFINITY), count);
    series.put(out, "_sum", None, histogram.sum);
    series.put(out, "_count", None, count);
}

/// What the lines of one series share.
struct Series<'a> {
    name: &'a str,
    /// `a="b",c="d"`
    labels: String,
    timestamp: i64,
}

impl Series<'_> {
    fn put(&self, out: &mut Vec<u8>, suffix: &str, bound: Option<f64>, value: f64) {
        let bound = bound.map(|bound| format!(",le=\"{}\"", promql::shortest_number(bound)));
        let (name, labels) = (format!("{}{suffix}", self.name), &self.labels);
        let bound = bound.as_deref().unwrap_or_default();
        let (value, timestamp) = (promql::shortest_number(value), self.timestamp);
        let line = match is_plain(&name) {
            true => format!("{name}{{{labels}{bound}}} {value} {timestamp}\n"),
            false => format!("{{{},{labels}{bound}}} {value} {timestamp}\n", quoted(&name)),
        };
        out.extend_from_slice(line.as_bytes());
    }
}

/// All labels but the name, and an empty instance if there is none.
fn labels(one: &Newest, escaping: Escaping) -> String {
    let mut text = String::new();
    for (name, value) in shown(one) {
        let comma = if text.is_empty() { "" } else { "," };
        let (name, value) = (escaping.escape(name), escaped(value));
        text.push_str(&format!("{comma}{}=\"{value}\"", quoted(&name)));
    }
    text
}

/// The labels of a series as they are shown.
pub(super) fn shown(one: &Newest) -> impl Iterator<Item = (&str, &str)> {
    let instance = one.labels.get("instance").is_none().then_some(("instance", ""));
    one.labels.iter().filter(|(name, _)| *name != model::METRIC_NAME).chain(instance)
}

/// A name, in quotes if it needs them.
fn quoted(name: &str) -> Cow<'_, str> {
    if is_plain(name) { Cow::Borrowed(name) } else { Cow::Owned(format!("\"{}\"", escaped(name))) }
}

fn escaped(value: &str) -> Cow<'_, str> {
    if !value.contains(['\\', '\n', '"']) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\""))
}
