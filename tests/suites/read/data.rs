//! Series of every kind, a scrape every fifteen seconds.

use std::collections::BTreeMap;

use system_tests::{NativeHistogram, Surface, TimeSeries, WriteRequest};

pub(super) const INTERVAL_MS: i64 = 15_000;
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// The samples of a series at a scrape.
type At = fn(i64, TimeSeries, i64) -> TimeSeries;

/// Names with what each has at scrape `i`, which is at time `at`.
const SERIES: [(&str, At); 12] = [
    ("counter", |i, series, at| series.sample(at, (i % 70 * 13) as f64)),
    ("gauge", |i, series, at| series.sample(at, (i * 7919 % 1000) as f64 / 7.0 - 50.0)),
    ("constant", |_, series, at| series.sample(at, -0.0)),
    ("special", |i, series, at| {
        series.sample(at, [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, 5e-324][i as usize % 5])
    }),
    ("ended", |i, series, at| match i % 90 {
        0..60 => series.sample(at, i as f64),
        60 => series.bits(at, STALE),
        _ => series,
    }),
    // Jitter, and a gap that is longer than any delta of a delta in few bits.
    ("late", |i, series, at| match i % 50 {
        30..45 => series,
        _ => series.sample(at + i * i % 1_701, i as f64),
    }),
    ("integers", |i, series, at| series.histogram(at, &exponential(i % 100, false))),
    ("floats", |i, series, at| series.histogram(at, &exponential(i % 130, true))),
    ("custom", |i, series, at| series.histogram(at, &custom(i % 80, false))),
    ("custom_floats", |i, series, at| series.histogram(at, &custom(i, true))),
    ("level", |i, series, at| {
        series.histogram(at, &NativeHistogram { reset_hint: 3, ..exponential(50 - i % 37, false) })
    }),
    ("both", |i, series, at| match i % 40 {
        0..20 => series.histogram(at, &exponential(i, false)),
        39 => series.bits(at, STALE),
        _ => series.sample(at, i as f64),
    }),
];

/// A histogram that grows with `n` and has more buckets now and then.
fn exponential(n: i64, is_float: bool) -> NativeHistogram {
    let count =
        |bucket: i32| ((n * i64::from(bucket.abs() + 1)) / 3) as f64 + if is_float { 0.25 } else { 0.0 };
    let highest = 3 + (n / 25) as i32;
    let positive: BTreeMap<i32, f64> =
        (-2..highest).filter(|bucket| bucket % 5 != 4).map(|bucket| (bucket, count(bucket))).collect();
    let negative: BTreeMap<i32, f64> = (1..3).map(|bucket| (bucket, count(bucket))).collect();
    let zero_count = n as f64;
    NativeHistogram {
        is_float,
        count: zero_count + positive.values().chain(negative.values()).sum::<f64>(),
        sum: n as f64 * 1.25,
        schema: 2,
        zero_threshold: 2f64.powi(-128),
        zero_count,
        positive,
        negative,
        custom_values: Vec::new(),
        reset_hint: 0,
    }
}

fn custom(n: i64, is_float: bool) -> NativeHistogram {
    let positive: BTreeMap<i32, f64> =
        (0..5).map(|bucket| (bucket, (n * i64::from(bucket) / 2) as f64)).collect();
    NativeHistogram {
        is_float,
        count: positive.values().sum(),
        sum: n as f64 / 3.0,
        schema: -53,
        positive,
        custom_values: vec![0.005, 0.1, 1.0 / 3.0, 2.5e7],
        ..NativeHistogram::default()
    }
}

/// Pushes scrapes `from` to `to` of all series with two instances each; scrape 0 is at `start`.
pub(super) fn push(firn: &Surface, start: i64, from: i64, to: i64) {
    for scrapes in (from..to).collect::<Vec<i64>>().chunks(50) {
        let mut request = WriteRequest::default();
        for (name, at) in SERIES {
            for instance in ["a", "b"] {
                let name = format!("read_{name}");
                let labels = [("__name__", name.as_str()), ("instance", instance), ("job", "read")];
                let series = scrapes.iter().fold(TimeSeries::new(labels), |series, &i| {
                    at(i + i64::from(instance == "b"), series, start + i * INTERVAL_MS)
                });
                request.push(&series);
            }
        }
        let answer = firn.push(&request).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.body);
    }
}
