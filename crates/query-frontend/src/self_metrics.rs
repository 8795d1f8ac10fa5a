//! `/status/self_metrics`: the metrics of the process as JSON, in the form that Protobuf's metric families have there.

use axum::extract::State;
use axum::response::Response;
use model::{METRIC_NAME, Matcher, MatcherOp};

use crate::error::ApiError;
use crate::http::Deps;
use crate::json::{self, Json};
use crate::params::Params;

/// A family as it stands in the text exposition.
#[derive(Debug, Default)]
struct Family {
    /// The name of its samples without what a part of a histogram adds.
    name: String,
    help: String,
    kind: Kind,
    unit: String,
    metrics: Vec<Metric>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    #[default]
    Untyped,
}

/// The samples of one set of labels.
#[derive(Debug, Default, PartialEq)]
struct Metric {
    labels: Vec<(String, String)>,
    /// Of a histogram, its sum.
    value: f64,
    count: u64,
    /// Upper bounds and what lies below them.
    buckets: Vec<(f64, u64)>,
}

/// `/status/self_metrics`
pub(crate) async fn self_metrics(State(deps): State<Deps>, params: Params) -> Result<Response, ApiError> {
    let pattern = params.get("metric_name_pattern");
    let pattern = pattern.map(|pattern| Matcher::new(METRIC_NAME, MatcherOp::Regex, pattern)).transpose();
    let pattern = pattern.map_err(|e| ApiError::bad_data(format!("invalid metric_name_pattern: {e}")))?;
    let mut families = families(&deps.process.registry.text());
    families.retain(|family| pattern.as_ref().is_none_or(|pattern| pattern.matches(&family.name)));
    Ok(json::success(|out| {
        out.array(|out| families.iter().for_each(|family| write(out, family)));
    }))
}

/// The families of an exposition that have a sample, by name.
fn families(text: &str) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("# ") {
            Some(comment) => describe(&mut families, comment),
            None => {
                if let Some(family) = families.last_mut() {
                    take_sample(family, line);
                }
            }
        }
    }
    families.retain(|family| !family.metrics.is_empty());
    families.sort_by(|a, b| a.name.cmp(&b.name));
    families
}

/// A line about a family: `HELP`, `TYPE` or `UNIT`, its name, a text.
fn describe(families: &mut Vec<Family>, comment: &str) {
    let mut words = comment.splitn(3, ' ');
    let (Some(about), Some(name), Some(text)) = (words.next(), words.next(), words.next()) else { return };
    if families.last().is_none_or(|family| family.name != name) {
        families.push(Family { name: name.to_string(), ..Family::default() });
    }
    let Some(family) = families.last_mut() else { return };
    match about {
        "HELP" => family.help = text.to_string(),
        "UNIT" => family.unit = text.to_string(),
        "TYPE" => {
            family.kind = match text {
                "counter" => Kind::Counter,
                "gauge" | "info" | "stateset" => Kind::Gauge,
                "histogram" => Kind::Histogram,
                _ => Kind::Untyped,
            }
        }
        _ => {}
    }
}

/// A sample: name, labels, value, perhaps an exemplar.
fn take_sample(family: &mut Family, line: &str) {
    let Some((name, mut labels, rest)) = split(line) else { return };
    let value = rest.split(' ').next().and_then(|value| value.parse::<f64>().ok());
    let Some(value) = value else { return };
    if family.kind != Kind::Histogram {
        // Prometheus calls a family of counters by the name of their samples.
        family.name = name.to_string();
        return family.metrics.push(Metric { labels, value, ..Metric::default() });
    }
    let bound = labels.iter().position(|(name, _)| name == "le").map(|at| labels.remove(at).1);
    if family.metrics.last().is_none_or(|last| last.labels != labels) {
        family.metrics.push(Metric { labels, ..Metric::default() });
    }
    let Some(metric) = family.metrics.last_mut() else { return };
    match bound.and_then(|bound| bound.parse::<f64>().ok()) {
        // What lies below infinity is the count.
        Some(bound) if bound.is_finite() => metric.buckets.push((bound, value as u64)),
        Some(_) => {}
        None if name.ends_with("_sum") => metric.value = value,
        None => metric.count = value as u64,
    }
}

type Split<'l> = (&'l str, Vec<(String, String)>, &'l str);

/// The name of a sample, its labels by name, and the rest of the line.
fn split(line: &str) -> Option<Split<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let Some(mut rest) = rest.strip_prefix('{') else { return Some((name, Vec::new(), rest.trim_start())) };
    let mut labels = Vec::new();
    while !rest.starts_with('}') {
        let (label, value) = rest.trim_start_matches(',').split_once("=\"")?;
        let (value, after) = quoted(value)?;
        labels.push((label.to_string(), value));
        rest = after;
    }
    labels.sort();
    Some((name, labels, rest.strip_prefix('}')?.trim_start()))
}

/// A text up to its closing quote, and what comes after.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            c => value.push(c),
        }
    }
    None
}

fn write(out: &mut Json, family: &Family) {
    let kind = match family.kind {
        Kind::Counter => "COUNTER",
        Kind::Gauge => "GAUGE",
        Kind::Histogram => "HISTOGRAM",
        Kind::Untyped => "UNTYPED",
    };
    out.object(|out| {
        out.key("name").string(&family.name);
        out.key("help").string(&family.help);
        out.key("type").string(kind);
        out.key("metric").array(|out| {
            for metric in &family.metrics {
                out.object(|out| write_metric(out, family.kind, metric));
            }
        });
        if !family.unit.is_empty() {
            out.key("unit").string(&family.unit);
        }
    });
}

fn write_metric(out: &mut Json, kind: Kind, metric: &Metric) {
    if !metric.labels.is_empty() {
        out.key("label").array(|out| {
            for (name, value) in &metric.labels {
                out.object(|out| {
                    out.key("name").string(name);
                    out.key("value").string(value);
                });
            }
        });
    }
    let simple = |out: &mut Json, key: &str| {
        out.key(key).object(|out| float(out.key("value"), metric.value));
    };
    match kind {
        Kind::Counter => simple(out, "counter"),
        Kind::Gauge => simple(out, "gauge"),
        Kind::Untyped => simple(out, "untyped"),
        Kind::Histogram => {
            out.key("histogram").object(|out| write_histogram(out, metric));
        }
    }
}

/// Integers of 64 bits are texts, since not every reader of JSON has them.
fn write_histogram(out: &mut Json, metric: &Metric) {
    out.key("sampleCount").string(&metric.count.to_string());
    float(out.key("sampleSum"), metric.value);
    out.key("bucket").array(|out| {
        for (bound, count) in &metric.buckets {
            out.object(|out| {
                out.key("cumulativeCount").string(&count.to_string());
                float(out.key("upperBound"), *bound);
            });
        }
    });
}

fn float(out: &mut Json, value: f64) {
    match value {
        v if v.is_nan() => out.string("NaN"),
        v if v.is_infinite() => out.string(if v > 0.0 { "Infinity" } else { "-Infinity" }),
        v => out.float(v),
    };
}
