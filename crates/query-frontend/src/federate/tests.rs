use axum::http::HeaderMap;
use model::{BucketSpan, Counts, ResetHint, STALE_NAN};

use super::form::Escaping;
use super::*;

fn one(name: &str, labels: &[(&str, &str)], value: Value) -> Newest {
    let name = [("__name__", name)];
    Newest { labels: Labels::from_pairs(name.iter().chain(labels).copied()), timestamp: 1500, value }
}

fn histogram(schema: i32, reset_hint: ResetHint) -> Value {
    let counts = Counts::Int { count: 7, zero: 0, positive: vec![2, 4, 1], negative: Vec::new() };
    let positive_spans = vec![BucketSpan { offset: 0, length: 1 }, BucketSpan { offset: 1, length: 2 }];
    let custom_values = if schema == -53 { vec![0.5, 1.0, 2e6] } else { Vec::new() };
    let sum = 12.5;
    Value::Histogram(Arc::new(Histogram {
        schema,
        counts,
        positive_spans,
        custom_values,
        sum,
        reset_hint,
        ..Histogram::stale()
    }))
}

/// The text of these series.
#[track_caller]
fn check(series: Vec<Newest>, escaping: Escaping, expected: &str) {
    let mut out = Vec::new();
    Families::new(series, false).for_each(|family| text::put(&mut out, &family, escaping));
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn floats_are_untyped_lines_with_an_instance() {
    let series = vec![
        one("down", &[("instance", "h:1"), ("quote", "a\"b\\c\nd")], Value::Float(1e6)),
        one("up", &[("job", "a")], Value::Float(f64::NAN)),
        one("up", &[("job", "b")], Value::Float(f64::NEG_INFINITY)),
    ];
    let expected = "# TYPE down untyped\n\
        down{instance=\"h:1\",quote=\"a\\\"b\\\\c\\nd\"} 1e+06 1500\n\
        # TYPE up untyped\n\
        up{job=\"a\",instance=\"\"} NaN 1500\n\
        up{job=\"b\",instance=\"\"} -Inf 1500\n";
    check(series, Escaping::AllowUtf8, expected);
}

#[test]
fn of_native_histograms_only_custom_buckets_can_be_said_in_lines() {
    let series = vec![
        one("exponential", &[], histogram(0, ResetHint::Unknown)),
        one("latency", &[], histogram(-53, ResetHint::Unknown)),
    ];
    let expected = "# TYPE latency histogram\n\
        latency_bucket{instance=\"\",le=\"0.5\"} 2 1500\n\
        latency_bucket{instance=\"\",le=\"1\"} 2 1500\n\
        latency_bucket{instance=\"\",le=\"2e+06\"} 6 1500\n\
        latency_bucket{instance=\"\",le=\"+Inf\"} 7 1500\n\
        latency_sum{instance=\"\"} 12.5 1500\n\
        latency_count{instance=\"\"} 7 1500\n";
    check(series, Escaping::AllowUtf8, expected);
}

#[test]
fn names_that_are_not_plain_are_quoted_or_escaped_as_asked() {
    let series = || vec![one("http.sök_2", &[("µ", "x")], Value::Float(1.0))];
    let quoted = "# TYPE \"http.sök_2\" untyped\n{\"http.sök_2\",\"µ\"=\"x\",instance=\"\"} 1 1500\n";
    check(series(), Escaping::AllowUtf8, quoted);
    let with_underscores = "# TYPE http_s_k_2 untyped\nhttp_s_k_2{_=\"x\",instance=\"\"} 1 1500\n";
    check(series(), Escaping::Underscores, with_underscores);
    let with_dots = "# TYPE http_dot_s__k__2 untyped\nhttp_dot_s__k__2{__=\"x\",instance=\"\"} 1 1500\n";
    check(series(), Escaping::Dots, with_dots);
    let numbers =
        "# TYPE U__http_2e_s_f6_k__2 untyped\nU__http_2e_s_f6_k__2{U___b5_=\"x\",instance=\"\"} 1 1500\n";
    check(series(), Escaping::Values, numbers);
}

#[test]
fn a_family_changes_with_the_kind_of_its_series_and_nameless_ones_have_none() {
    let nameless = Newest { labels: Labels::from_pairs([("job", "a")]), ..one("x", &[], Value::Float(1.0)) };
    let mut series = vec![nameless, one("mixed", &[("a", "1")], Value::Float(1.0))];
    series.push(one("mixed", &[("a", "2")], histogram(0, ResetHint::Unknown)));
    series.push(one("mixed", &[("a", "3")], histogram(0, ResetHint::Gauge)));
    series.extend((0..2_500).map(|i| one("many", &[("i", &i.to_string())], Value::Float(1.0))));
    let families: Vec<(String, bool, usize)> = Families::new(series, true)
        .map(|family| (format!("{} {:?}", family.name, family.kind), family.continues, family.series.len()))
        .collect();
    let of = |name: &str, continues, n| (name.to_string(), continues, n);
    assert_eq!(
        families,
        [
            of("mixed Untyped", false, 1),
            of("mixed Histogram", false, 1),
            of("mixed GaugeHistogram", false, 1),
            of("many Untyped", false, 1000),
            of("many Untyped", true, 1000),
            of("many Untyped", true, 500),
        ]
    );
}

#[test]
fn the_newest_sample_counts_unless_it_says_that_the_series_has_ended() {
    let series = |floats: &[(i64, f64)], histograms: &[i64]| {
        let mut series = SeriesData::new(Labels::from_pairs([("__name__", "up")]));
        let (times, values) = floats.iter().copied().unzip();
        series.floats.push(model::FloatColumn::new(times, values));
        series.histograms.extend(histograms.iter().map(|&timestamp| model::HistogramPoint {
            timestamp,
            start_timestamp: 0,
            histogram: Arc::new(Histogram { sum: 1.0, ..Histogram::stale() }),
        }));
        series
    };
    let stale = f64::from_bits(STALE_NAN);
    let time = |floats: &[(i64, f64)], histograms: &[i64]| {
        newest_of(&series(floats, histograms)).map(|newest| newest.timestamp)
    };
    assert_eq!(time(&[(1, 1.0), (2, 2.0)], &[]), Some(2));
    assert_eq!(time(&[(1, 1.0), (2, stale)], &[]), None);
    assert_eq!(time(&[(1, 1.0), (2, stale)], &[3]), Some(3));
    assert_eq!(time(&[(1, 1.0), (4, stale)], &[3]), None);
    assert_eq!(time(&[], &[]), None);
}

#[test]
fn the_form_is_the_best_that_there_is() {
    let form = |accept: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        Form::negotiate(&headers)
    };
    let protobuf =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    assert_eq!(form("*/*"), Form::Text(Escaping::Underscores));
    assert_eq!(form(protobuf), Form::Delimited(Escaping::Underscores));
    let of_prometheus = format!(
        "{protobuf};escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
         application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;escaping=allow-utf-8;q=0.3,*/*;q=0.1"
    );
    assert_eq!(form(&of_prometheus), Form::Delimited(Escaping::AllowUtf8));
    assert_eq!(
        form("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"),
        Form::Text(Escaping::Underscores)
    );
    assert_eq!(
        form(&format!("text/plain;version=0.0.4;q=0.9,{protobuf};q=0.8")),
        Form::Text(Escaping::Underscores)
    );
}
