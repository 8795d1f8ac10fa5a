//! A line of JSON per series, as VictoriaMetrics writes and takes it; native histograms in a line of their own.
//!
//! ```text
//! {"metric":{"__name__":"up","job":"a"},"values":[1,null,"Infinity"],"timestamps":[1000,2000,3000]}
//! {"metric":{"__name__":"latency"},"histograms":[{"count":3,"sum":1.5,"schema":0, …}],"timestamps":[1000]}
//! ```
//!
//! JSON has no NaN: it is `null`, and so is a stale marker.

use model::{BucketSpan, Counts, FloatColumn, Histogram, Labels, ResetHint, SeriesData};
use wire::QueryError;

use crate::json::Json;
use crate::numbers::write_float;
use crate::raw::Encode;

/// Makes lines.
pub(super) struct Lines {
    rows_max: usize,
}

impl Lines {
    /// Lines of at most so many samples.
    pub(super) fn new(rows_max: usize) -> Lines {
        Lines { rows_max }
    }
}

impl Encode for Lines {
    fn page(&mut self, _query: usize, series: &[SeriesData]) -> Result<Vec<u8>, QueryError> {
        let mut out = Vec::new();
        for one in series {
            let floats: Vec<(i64, f64)> = one.floats.iter().flat_map(FloatColumn::samples).collect();
            for samples in floats.chunks(self.rows_max) {
                put_floats(&mut out, &one.labels, samples);
            }
            for points in one.histograms.chunks(self.rows_max) {
                let samples: Vec<(i64, &Histogram)> =
                    points.iter().map(|point| (point.timestamp, &*point.histogram)).collect();
                put_histograms(&mut out, &one.labels, &samples);
            }
        }
        Ok(out)
    }
}

fn put_floats(out: &mut Vec<u8>, labels: &Labels, samples: &[(i64, f64)]) {
    let mut values = String::new();
    let mut timestamps = String::new();
    for (timestamp, value) in samples {
        if !values.is_empty() {
            values.push(',');
            timestamps.push(',');
        }
        put_value(&mut values, *value);
        timestamps.push_str(&timestamp.to_string());
    }
    let metric = metric(labels);
    let line = format!("{{\"metric\":{metric},\"values\":[{values}],\"timestamps\":[{timestamps}]}}\n");
    out.extend_from_slice(line.as_bytes());
}

fn put_histograms(out: &mut Vec<u8>, labels: &Labels, samples: &[(i64, &Histogram)]) {
    let metric = metric(labels);
    let list = |texts: Vec<String>| texts.join(",");
    let histograms = list(samples.iter().map(|(_, histogram)| object(histogram)).collect());
    let timestamps = list(samples.iter().map(|(timestamp, _)| timestamp.to_string()).collect());
    let line =
        format!("{{\"metric\":{metric},\"histograms\":[{histograms}],\"timestamps\":[{timestamps}]}}\n");
    out.extend_from_slice(line.as_bytes());
}

fn metric(labels: &Labels) -> String {
    let mut json = Json::default();
    json.labels(labels);
    json.into_text()
}

/// A number as it stands in JSON.
fn put_value(out: &mut String, value: f64) {
    match value {
        value if value.is_nan() => out.push_str("null"),
        f64::INFINITY => out.push_str("\"Infinity\""),
        f64::NEG_INFINITY => out.push_str("\"-Infinity\""),
        value => write_float(out, value),
    }
}

/// All that is known of a histogram: counts are absolute, in the order of the spans.
fn object(histogram: &Histogram) -> String {
    let mut out = String::from("{");
    match &histogram.counts {
        Counts::Int { count, zero, positive, negative } => {
            out.push_str(&format!("\"count\":{count},\"zero_count\":{zero}"));
            put_list(&mut out, "positive_counts", positive, |out, n| out.push_str(&n.to_string()));
            put_list(&mut out, "negative_counts", negative, |out, n| out.push_str(&n.to_string()));
        }
        Counts::Float { count, zero, positive, negative } => {
            put_number(&mut out, "count", *count);
            put_number(&mut out, "zero_count", *zero);
            out.push_str(",\"is_float\":true");
            put_list(&mut out, "positive_counts", positive, |out, n| put_value(out, *n));
            put_list(&mut out, "negative_counts", negative, |out, n| put_value(out, *n));
        }
    }
    let span = |out: &mut String, span: &BucketSpan| {
        out.push_str(&format!("{{\"offset\":{},\"length\":{}}}", span.offset, span.length));
    };
    put_list(&mut out, "positive_spans", &histogram.positive_spans, span);
    put_list(&mut out, "negative_spans", &histogram.negative_spans, span);
    put_list(&mut out, "custom_values", &histogram.custom_values, |out, n| put_value(out, *n));
    put_number(&mut out, "sum", histogram.sum);
    put_number(&mut out, "zero_threshold", histogram.zero_threshold);
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => "unknown",
        ResetHint::Yes => "reset",
        ResetHint::No => "not_reset",
        ResetHint::Gauge => "gauge",
    };
    out.push_str(&format!(",\"schema\":{},\"counter_reset_hint\":\"{hint}\"}}", histogram.schema));
    out
}

fn put_number(out: &mut String, key: &str, value: f64) {
    put_key(out, key);
    put_value(out, value);
}

/// A list, unless it is empty.
fn put_list<T>(out: &mut String, key: &str, items: &[T], put: impl Fn(&mut String, &T)) {
    if items.is_empty() {
        return;
    }
    put_key(out, key);
    out.push('[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        put(out, item);
    }
    out.push(']');
}

fn put_key(out: &mut String, key: &str) {
    let comma = if out.ends_with('{') { "" } else { "," };
    out.push_str(&format!("{comma}\"{key}\":"));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use model::{HistogramPoint, STALE_NAN};

    fn lines(series: &SeriesData, rows_max: usize) -> Vec<String> {
        let bytes = Lines::new(rows_max).page(0, std::slice::from_ref(series)).unwrap();
        String::from_utf8(bytes).unwrap().lines().map(str::to_string).collect()
    }

    #[test]
    fn floats_are_written_as_victoriametrics_writes_them() {
        let mut series = SeriesData::new(Labels::from_pairs([("__name__", "up"), ("quote", "a\"b")]));
        let values = vec![1.0, f64::from_bits(STALE_NAN), f64::INFINITY, -0.5, 1e30];
        series.floats.push(FloatColumn::new(vec![-1, 2, 3, 4, 5], values));
        let metric = "{\"metric\":{\"__name__\":\"up\",\"quote\":\"a\\\"b\"},";
        let whole =
            format!("{metric}\"values\":[1,null,\"Infinity\",-0.5,1e+30],\"timestamps\":[-1,2,3,4,5]}}");
        assert_eq!(lines(&series, usize::MAX), [whole]);
        assert_eq!(lines(&series, 3)[1], format!("{metric}\"values\":[-0.5,1e+30],\"timestamps\":[4,5]}}"));
    }

    #[test]
    fn a_histogram_says_all_that_it_has() {
        let mut series = SeriesData::new(Labels::from_pairs([("__name__", "latency")]));
        let counts = Counts::Float { count: 2.5, zero: 0.0, positive: vec![2.5], negative: Vec::new() };
        let histogram = Arc::new(Histogram {
            schema: -53,
            counts,
            sum: 1.5,
            positive_spans: vec![BucketSpan { offset: 1, length: 1 }],
            custom_values: vec![0.1, 1.0],
            reset_hint: ResetHint::Gauge,
            ..Histogram::stale()
        });
        series.histograms.push(HistogramPoint { timestamp: 7, start_timestamp: 0, histogram });
        let expected = "{\"metric\":{\"__name__\":\"latency\"},\"histograms\":[{\"count\":2.5,\"zero_count\":0,\
            \"is_float\":true,\"positive_counts\":[2.5],\"positive_spans\":[{\"offset\":1,\"length\":1}],\
            \"custom_values\":[0.1,1],\"sum\":1.5,\"zero_threshold\":0,\"schema\":-53,\
            \"counter_reset_hint\":\"gauge\"}],\"timestamps\":[7]}";
        assert_eq!(lines(&series, usize::MAX), [expected]);
    }
}
