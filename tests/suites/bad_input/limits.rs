use system_tests::{Firn, NativeHistogram, TimeSeries, WriteRequest, get, now_ms, seconds};

use super::{expect, one, start, values};

/// A limit, a request that breaks it, and words of the refusal.
#[test]
fn each_limit_on_writes_names_itself_its_value_and_the_series() {
    let (_dir, firn) = start(&[
        "-limits.defaults.max-series=5",
        "-limits.defaults.max-label-names-per-series=4",
        "-limits.defaults.max-label-name-length=20",
        "-limits.defaults.max-label-value-length=30",
        "-limits.defaults.max-body-bytes=20000",
        "-limits.defaults.out-of-order-window=10m",
        "-limits.defaults.creation-grace-period=1m",
        "-limits.defaults.max-native-histogram-buckets=3",
    ]);
    let now = now_ms();
    let single = |series: TimeSeries| {
        let mut request = WriteRequest::default();
        request.push(&series);
        firn.push(&request).unwrap()
    };
    assert_eq!(single(TimeSeries::named("newest", "a").sample(now, 1.0)).status, 204);

    let many = TimeSeries::new([("__name__", "n"), ("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")]);
    expect("labels", &single(many.sample(now, 1.0)), 400, &["max_label_names_per_series", "4"]);
    let long = TimeSeries::new([("__name__", "n"), ("a_label_whose_name_is_long", "1")]);
    expect("a label's name", &single(long.sample(now, 1.0)), 400, &["max_label_name_length", "20"]);
    let long = TimeSeries::named("n", "a value that is longer than thirty bytes");
    expect("a label's value", &single(long.sample(now, 1.0)), 400, &["max_label_value_length", "30"]);
    let old = TimeSeries::named("old", "a").sample(now - 3_600_000, 1.0);
    expect("old", &single(old), 400, &["out_of_order_window", "10m", "old"]);
    let future = TimeSeries::named("future", "a").sample(now + 600_000, 1.0);
    expect("future", &single(future), 400, &["creation_grace_period", "1m", "future"]);
    let custom = NativeHistogram {
        schema: -53,
        count: 4.0,
        positive: [(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0)].into(),
        custom_values: vec![1.0, 2.0, 3.0],
        ..NativeHistogram::default()
    };
    let histogram = TimeSeries::named("histogram", "a").histogram(now, &custom);
    expect("custom buckets", &single(histogram), 400, &["max_native_histogram_buckets", "3"]);

    let mut wide = WriteRequest::default();
    for i in 0..8 {
        wide.push(&TimeSeries::named("wide", &i.to_string()).sample(now, f64::from(i)));
    }
    expect("series", &firn.push(&wide).unwrap(), 400, &["max_series", "5", "wide"]);
    assert_eq!(values(&firn, "count({__name__=~\"wide|newest\"})"), [5.0], "as many as allowed are there");
    assert_eq!(single(TimeSeries::named("newest", "a").sample(now + 1, 2.0)).status, 204, "known ones go on");

    let mut large = WriteRequest::default();
    for i in 0..2_000 {
        large.push(&TimeSeries::named("wide", "0").sample(now - i, 1.0));
    }
    expect("decompresses to too much", &firn.push(&large).unwrap(), 400, &["max_body_bytes", "20000"]);
    let noise: Vec<u8> = (0..30_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    expect("is too much", &firn.push_bytes(&noise).unwrap(), 413, &["max_body_bytes", "20000"]);
}

#[test]
fn a_rate_limit_answers_429_with_retry_after() {
    let (_dir, firn) =
        start(&["-limits.defaults.ingestion-rate=1", "-limits.defaults.ingestion-burst-size=10"]);
    let mut burst = WriteRequest::default();
    for i in 0..100 {
        burst.push(&TimeSeries::named("burst", &i.to_string()).sample(now_ms(), 1.0));
    }
    // A request larger than the burst is taken once and paid for.
    assert_eq!(firn.push(&burst).unwrap().status, 204);
    let answer = firn.push(&one("next", 1.0)).unwrap();
    expect("over the rate", &answer, 429, &["ingestion_rate", "ingestion_burst_size"]);
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(wait >= 1);
    assert!(values(&firn, "next").is_empty());
}

#[test]
fn each_limit_on_queries_names_itself() {
    let queries = |firn: &Firn, parameters: &[(&str, &str)]| {
        get(&format!("{}/api/v1/query_range", firn.url()), parameters).unwrap()
    };
    let (_dir, firn) = start(&[
        "-limits.defaults.max-series-per-query=10",
        "-limits.defaults.max-samples-per-query=500",
        "-limits.defaults.max-query-length=1h",
    ]);
    let now = now_ms();
    let mut request = WriteRequest::default();
    for i in 0..40 {
        let (name, n) = if i < 5 { ("few", 150) } else { ("many", 1) };
        let mut series = TimeSeries::named(name, &i.to_string());
        for k in 0..n {
            series = series.sample(now - 200_000 + k * 1000, k as f64);
        }
        request.push(&series);
    }
    assert_eq!(firn.push(&request).unwrap().status, 204);
    let (from, to) = (seconds(now - 200_000), seconds(now));
    let range =
        |query: &'static str| [("query", query), ("start", from.as_str()), ("end", &to), ("step", "10s")];
    for flushed in [false, true] {
        if flushed {
            firn.flush_all().unwrap();
        }
        expect("few", &queries(&firn, &range("sum(max_over_time(few{job=\"0\"}[10s]))")), 200, &[]);
        expect("series", &queries(&firn, &range("sum(many)")), 422, &["max_series_per_query", "10"]);
        expect("samples", &queries(&firn, &range("few")), 422, &["max_samples_per_query", "500"]);
    }
    let ago = seconds(now - 7_200_000);
    let long = [("query", "few{job=\"0\"}"), ("start", ago.as_str()), ("end", &to), ("step", "60s")];
    let answer = queries(&firn, &long);
    assert!([400, 422].contains(&answer.status), "{}", answer.status);
    expect("length", &answer, answer.status, &["max_query_length", "1h"]);
}
