//! Results against expectations.

use std::collections::HashMap;
use std::fmt::Write;

use model::{
    BucketSpan, Histogram, Labels, METRIC_NAME, MatrixSeries, SampleValue, Value, VectorSample, is_stale,
};
use promql::histogram::FloatHistogram;

use super::Outcome;
use super::command::{Eval, Expectations, Expected, ExpectedSeries, Item, Pattern, When};

/// How far two floats may be apart, relative to their sum.
const EPSILON: f64 = 1e-6;

/// Whether two floats are equal as results go: the same, or both NaN of the same sort, or very close.
pub(super) fn almost_equal(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}

/// Checks the annotations of a result.
pub(super) fn annotations(expected: &Expectations, outcome: &Outcome) -> Result<(), String> {
    annotations_of("warning", &expected.warn, &outcome.warnings)?;
    annotations_of("info", &expected.info, &outcome.infos)?;
    if expected.no_warn && !outcome.warnings.is_empty() {
        return Err(format!("unexpected warnings: {:?}", outcome.warnings));
    }
    if expected.no_info && !outcome.infos.is_empty() {
        return Err(format!("unexpected infos: {:?}", outcome.infos));
    }
    Ok(())
}

fn annotations_of(kind: &str, expected: &[Pattern], found: &[String]) -> Result<(), String> {
    if expected.is_empty() {
        return Ok(());
    }
    if let Some(missing) = expected.iter().find(|pattern| !found.iter().any(|text| pattern.matches(text))) {
        return Err(format!("no {kind} matches {missing:?}, found {found:?}"));
    }
    if let Some(extra) = found.iter().find(|text| !expected.iter().any(|pattern| pattern.matches(text))) {
        return Err(format!("unexpected {kind}: {extra:?}"));
    }
    Ok(())
}

/// Checks the text of a failure; an error if none was expected.
pub(super) fn failure(expected: &Expectations, message: &str) -> Result<(), String> {
    match &expected.fail {
        None => Err(format!("query failed: {message}")),
        Some(pattern) if pattern.matches(message) => Ok(()),
        Some(pattern) => Err(format!("query failed with {message:?}, expected {pattern:?}")),
    }
}

/// Checks a value.
pub(super) fn value(eval: &Eval, found: &Value) -> Result<(), String> {
    match (&eval.expected, found) {
        (Expected::Scalar(expected), Value::Scalar { value, .. }) => {
            if almost_equal(*expected, *value) {
                return Ok(());
            }
            Err(format!("expected {expected}, got {value}"))
        }
        (Expected::String(expected), Value::String { value, .. }) => {
            if expected == value {
                return Ok(());
            }
            Err(format!("expected {expected:?}, got {value:?}"))
        }
        (Expected::Series(expected), Value::Vector(samples)) => {
            if eval.range_vector.is_some() {
                return Err(format!("expected a range vector, got {}", show_vector(samples)));
            }
            vector(expected, samples, eval.expectations.ordered)
                .map_err(|e| format!("{e}\n{}", difference(expected, &show_vector(samples))))
        }
        (Expected::Series(expected), Value::Matrix(series)) => {
            if eval.expectations.ordered {
                return Err("expected an ordered result, but a matrix is ordered by labels".to_string());
            }
            matrix(eval, expected, series)
                .map_err(|e| format!("{e}\n{}", difference(expected, &show_matrix(series))))
        }
        (Expected::Scalar(_), _) => Err(format!("expected a scalar, got {}", show(found))),
        (Expected::String(_), _) => Err(format!("expected a string, got {}", show(found))),
        (Expected::Series(_), _) => Err(format!("expected series, got {}", show(found))),
    }
}

fn vector(expected: &[ExpectedSeries], found: &[VectorSample], ordered: bool) -> Result<(), String> {
    let mut open: HashMap<&Labels, usize> =
        expected.iter().enumerate().map(|(i, s)| (&s.labels, i)).collect();
    for (position, sample) in found.iter().enumerate() {
        let labels = metric(&sample.labels);
        let Some(at) = open.remove(&sample.labels) else {
            return Err(format!("unexpected or repeated series {labels}"));
        };
        if ordered && at != position {
            return Err(format!("expected {labels} at position {}, got it at {}", at + 1, position + 1));
        }
        let item = expected[at].items.first().unwrap_or(&Item::Gap);
        if !item_equals(item, &sample.value) {
            return Err(format!("wrong value of {labels}"));
        }
    }
    none_left(open)
}

fn matrix(eval: &Eval, expected: &[ExpectedSeries], found: &[MatrixSeries]) -> Result<(), String> {
    sorted(found)?;
    let (start, end, step) = match (eval.when, eval.range_vector) {
        (_, Some(times)) => times,
        (When::Range { start, end, step }, None) => (start, end, step),
        (When::Instant(_), None) => {
            return if found.is_empty() && expected.is_empty() {
                Ok(())
            } else {
                Err("got a range vector, without `expect range vector`".to_string())
            };
        }
    };
    let mut open: HashMap<&Labels, usize> =
        expected.iter().enumerate().map(|(i, s)| (&s.labels, i)).collect();
    for series in found {
        let labels = metric(&series.labels);
        let Some(at) = open.remove(&series.labels) else {
            return Err(format!("unexpected or repeated series {labels}"));
        };
        let items = &expected[at].items;
        if items.len() as i64 > (end - start) / step + 1 {
            return Err(format!("{} points expected of {labels}, more than the range has", items.len()));
        }
        let times = items.iter().enumerate().map(|(i, item)| (start + i as i64 * step, item));
        points(series, times.filter(|(_, item)| !matches!(item, Item::Gap)))
            .map_err(|e| format!("{e} of {labels}"))?;
    }
    none_left(open)
}

fn points<'a>(found: &MatrixSeries, expected: impl Iterator<Item = (i64, &'a Item)>) -> Result<(), String> {
    let mut left = found.floats.len() + found.histograms.len();
    for (timestamp, item) in expected {
        let float = found.floats.iter().find(|(ts, _)| *ts == timestamp);
        let histogram = found.histograms.iter().find(|(ts, _)| *ts == timestamp);
        let value = match (float, histogram) {
            (Some((_, value)), None) => SampleValue::Float(*value),
            (None, Some((_, histogram))) => SampleValue::Histogram(histogram.clone()),
            (None, None) => return Err(format!("no point at {timestamp}")),
            (Some(_), Some(_)) => return Err(format!("two points at {timestamp}")),
        };
        if !item_equals(item, &value) {
            return Err(format!("wrong value at {timestamp}"));
        }
        left -= 1;
    }
    if left > 0 {
        return Err(format!("{left} points too many"));
    }
    Ok(())
}

fn none_left(open: HashMap<&Labels, usize>) -> Result<(), String> {
    let first = open.into_iter().min_by_key(|(_, at)| *at);
    first.map_or(Ok(()), |(labels, _)| Err(format!("missing series {}", metric(labels))))
}

/// A matrix comes sorted by labels.
pub(super) fn sorted(found: &[MatrixSeries]) -> Result<(), String> {
    match found.windows(2).find(|pair| pair[0].labels > pair[1].labels) {
        None => Ok(()),
        Some(pair) => {
            let (first, second) = (metric(&pair[0].labels), metric(&pair[1].labels));
            Err(format!("matrix is not sorted by labels: {first} before {second}"))
        }
    }
}

/// The points of a matrix at one moment.
pub(super) fn moment(found: &[MatrixSeries], at: i64) -> Vec<VectorSample> {
    let mut samples = Vec::new();
    for series in found {
        let floats = series.floats.iter().map(|(ts, value)| (*ts, SampleValue::Float(*value)));
        let histograms = series.histograms.iter().map(|(ts, h)| (*ts, SampleValue::Histogram(h.clone())));
        let points = floats.chain(histograms).filter(|(ts, _)| *ts == at);
        samples.extend(points.map(|(timestamp, value)| VectorSample {
            labels: series.labels.clone(),
            timestamp,
            value,
        }));
    }
    samples
}

fn item_equals(expected: &Item, found: &SampleValue) -> bool {
    match (expected, found) {
        (Item::Float(expected), SampleValue::Float(found)) => almost_equal(*expected, *found),
        (Item::Histogram { histogram, hint_given }, SampleValue::Histogram(found)) => {
            histogram_equals(histogram, found, *hint_given)
        }
        _ => false,
    }
}

/// Equal after empty buckets have been dropped, the hint only if it was written down.
fn histogram_equals(expected: &Histogram, found: &Histogram, hint_given: bool) -> bool {
    let (mut a, mut b) = (FloatHistogram::from_model(expected), FloatHistogram::from_model(found));
    a.compact(0);
    b.compact(0);
    a.schema == b.schema
        && almost_equal(a.count, b.count)
        && almost_equal(a.sum, b.sum)
        && (!a.uses_custom_buckets() || a.custom_values == b.custom_values)
        && a.zero_threshold == b.zero_threshold
        && almost_equal(a.zero_count, b.zero_count)
        && side_equals((&a.positive_spans, &a.positive), (&b.positive_spans, &b.positive))
        && side_equals((&a.negative_spans, &a.negative), (&b.negative_spans, &b.negative))
        && (!hint_given || a.reset_hint == b.reset_hint)
}

fn side_equals(a: (&[BucketSpan], &[f64]), b: (&[BucketSpan], &[f64])) -> bool {
    let same_places = indexes(a.0).eq(indexes(b.0));
    let counts = a.1.iter().zip(b.1);
    same_places && a.1.len() == b.1.len() && counts.into_iter().all(|(a, b)| almost_equal(*a, *b))
}

/// The index of every bucket.
fn indexes(spans: &[BucketSpan]) -> impl Iterator<Item = i64> + '_ {
    let mut next = 0i64;
    spans.iter().flat_map(move |span| {
        let first = next + i64::from(span.offset);
        next = first + i64::from(span.length);
        first..next
    })
}

/// What was expected beside what was found.
fn difference(expected: &[ExpectedSeries], found: &str) -> String {
    let mut text = "  expected:\n".to_string();
    for series in expected {
        let items: Vec<String> = series.items.iter().map(show_item).collect();
        let _ = writeln!(text, "    {} {}", metric(&series.labels), items.join(" "));
    }
    text + "  got:\n" + found.trim_end()
}

fn show(value: &Value) -> String {
    match value {
        Value::Scalar { value, .. } => format!("scalar {value}"),
        Value::String { value, .. } => format!("string {value:?}"),
        Value::Vector(samples) => format!("vector\n{}", show_vector(samples)),
        Value::Matrix(series) => format!("matrix\n{}", show_matrix(series)),
    }
}

fn show_vector(samples: &[VectorSample]) -> String {
    samples.iter().map(|s| format!("    {} {}\n", metric(&s.labels), show_value(&s.value))).collect()
}

fn show_matrix(series: &[MatrixSeries]) -> String {
    let mut text = String::new();
    for one in series {
        let floats = one.floats.iter().map(|(ts, value)| (*ts, value.to_string()));
        let histograms = one.histograms.iter().map(|(ts, h)| (*ts, show_histogram(h)));
        let mut points: Vec<(i64, String)> = floats.chain(histograms).collect();
        points.sort_by_key(|(ts, _)| *ts);
        let points: Vec<String> = points.into_iter().map(|(ts, value)| format!("{value}@{ts}")).collect();
        let _ = writeln!(text, "    {} {}", metric(&one.labels), points.join(" "));
    }
    text
}

fn show_item(item: &Item) -> String {
    match item {
        Item::Gap => "_".to_string(),
        Item::Float(value) => value.to_string(),
        Item::Histogram { histogram, .. } => show_histogram(histogram),
    }
}

fn show_value(value: &SampleValue) -> String {
    match value {
        SampleValue::Float(value) => value.to_string(),
        SampleValue::Histogram(histogram) => show_histogram(histogram),
    }
}

fn show_histogram(histogram: &Histogram) -> String {
    FloatHistogram::from_model(histogram).to_test_literal()
}

/// Labels as a selector shows them, the name in front.
fn metric(labels: &Labels) -> String {
    let rest = labels.without(|name| name == METRIC_NAME);
    match labels.metric_name() {
        Some(name) if rest.is_empty() => name.to_string(),
        Some(name) => format!("{name}{rest}"),
        None => rest.to_string(),
    }
}
