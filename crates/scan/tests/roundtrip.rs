use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use block::BlockSeries;
use model::{
    BucketSpan, CUSTOM_BUCKETS_SCHEMA, Counts, EMPTY, FloatColumn, Histogram, HistogramPoint, Labels,
    ResetHint, STALE_NAN, SeriesData, TimeRange,
};
use proptest::prelude::*;

use crate::world::{DAY, HOUR, World, floats, is, scrapes};

/// Samples of a series in a form in which bits can be compared.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Truth {
    floats: BTreeMap<i64, u64>,
    starts: BTreeMap<i64, i64>,
    histograms: BTreeMap<i64, String>,
}

impl Truth {
    pub(crate) fn of(series: &SeriesData, range: TimeRange) -> Truth {
        let mut truth = Truth::default();
        for column in &series.floats {
            for (ts, value) in column.samples().filter(|(ts, _)| range.contains(*ts)) {
                truth.floats.insert(ts, value.to_bits());
            }
        }
        for (ts, start) in &series.starts {
            if *start != 0 && truth.floats.contains_key(ts) {
                truth.starts.insert(*ts, *start);
            }
        }
        for point in series.histograms.iter().filter(|point| range.contains(point.timestamp)) {
            let text = format!("{} {}", point.start_timestamp, canonical(&point.histogram));
            truth.histograms.insert(point.timestamp, text);
        }
        truth
    }
}

/// What must come back of a histogram: everything but how its spans were split and a "not reset".
fn canonical(histogram: &Histogram) -> String {
    if histogram.is_stale() {
        return "stale".to_string();
    }
    let side = |spans: &[BucketSpan], bits: Vec<u64>| {
        let mut index = 0;
        let mut bits = bits.into_iter();
        let mut buckets = Vec::new();
        for span in spans {
            index += span.offset;
            for _ in 0..span.length {
                buckets.push((index, bits.next().unwrap()));
                index += 1;
            }
        }
        buckets
    };
    let float = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<u64>>();
    let (kind, count, zero, positive, negative) = match &histogram.counts {
        Counts::Int { count, zero, positive, negative } => {
            ("int", *count, *zero, positive.clone(), negative.clone())
        }
        Counts::Float { count, zero, positive, negative } => {
            ("float", count.to_bits(), zero.to_bits(), float(positive), float(negative))
        }
    };
    let hint = match histogram.reset_hint {
        ResetHint::No => ResetHint::Unknown,
        other => other,
    };
    format!(
        "{kind} {} {:x} {:x} {count} {zero} {:?} {:?} {:?} {hint:?}",
        histogram.schema,
        histogram.zero_threshold.to_bits(),
        histogram.sum.to_bits(),
        side(&histogram.positive_spans, positive),
        side(&histogram.negative_spans, negative),
        float(&histogram.custom_values),
    )
}

fn value() -> impl Strategy<Value = f64> {
    let not_reserved = |bits: u64| f64::from_bits(if bits == EMPTY { 1 } else { bits });
    prop_oneof![
        4 => (any::<i32>(), 0..4i32).prop_map(|(k, e)| f64::from(k) / 10f64.powi(e) + 0.0),
        2 => (0..100i64).prop_map(|k| k as f64 * 4096.0),
        1 => any::<u64>().prop_map(not_reserved),
        1 => prop_oneof![
            Just(-0.0),
            Just(f64::NAN),
            Just(f64::from_bits(0x7ff8_dead_beef_0001)),
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY),
            Just(5e-324),
        ],
    ]
}

/// Rows of several temperaments: mostly plain numbers, so that integer rows are common.
fn row(len: usize) -> impl Strategy<Value = Vec<f64>> {
    let empty = f64::from_bits(EMPTY);
    let stale = f64::from_bits(STALE_NAN);
    let plain = (0..1000i64).prop_map(|k| k as f64 / 10.0);
    let cell = prop_oneof![12 => plain, 2 => Just(empty), 1 => Just(stale)];
    let sparse = prop_oneof![1 => value(), 5 => Just(empty)];
    prop_oneof![
        3 => prop::collection::vec(cell, len),
        1 => prop::collection::vec(prop_oneof![8 => value(), 1 => Just(empty), 1 => Just(stale)], len),
        1 => prop::collection::vec(sparse, len),
        1 => (0..10i64).prop_map(move |k| vec![k as f64; len]),
    ]
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let count = prop_oneof![6 => 0..1000u64, 1 => any::<u64>()];
    let buckets = prop::collection::btree_map(-5..8i32, count.clone(), 0..5);
    let shape = (
        prop_oneof![Just(0), Just(3), Just(-4), Just(CUSTOM_BUCKETS_SCHEMA)],
        prop_oneof![Just(0.0), Just(1e-128), Just(0.5)],
        any::<bool>(),
        prop_oneof![
            Just(ResetHint::Unknown),
            Just(ResetHint::Yes),
            Just(ResetHint::No),
            Just(ResetHint::Gauge)
        ],
    );
    let sum = prop_oneof![5 => value(), 1 => Just(f64::from_bits(STALE_NAN))];
    (shape, count, sum, buckets.clone(), buckets).prop_map(
        |((schema, zero_threshold, float, reset_hint), count, sum, positive, negative)| {
            let (positive_spans, positive) = spans(positive);
            let (negative_spans, negative) = spans(negative);
            let custom = schema == CUSTOM_BUCKETS_SCHEMA;
            let to_float = |counts: Vec<u64>| counts.into_iter().map(|c| c as f64 / 4.0).collect();
            let counts = if float {
                Counts::Float {
                    count: count as f64 / 4.0,
                    zero: if zero_threshold == 0.5 { -0.0 } else { 0.25 },
                    positive: to_float(positive),
                    negative: to_float(negative),
                }
            } else {
                Counts::Int { count, zero: count % 3, positive, negative }
            };
            Histogram {
                schema,
                zero_threshold,
                sum,
                counts,
                positive_spans,
                negative_spans,
                custom_values: if custom { vec![0.5, 1.0, 2.5] } else { Vec::new() },
                reset_hint,
            }
        },
    )
}

fn spans(buckets: BTreeMap<i32, u64>) -> (Vec<BucketSpan>, Vec<u64>) {
    let mut spans = Vec::new();
    let mut next = 0;
    for index in buckets.keys() {
        // A span for each bucket: another split than the one that comes back.
        spans.push(BucketSpan { offset: index - next, length: 1 });
        next = index + 1;
    }
    (spans, buckets.into_values().collect())
}

#[derive(Debug, Clone)]
pub(crate) struct Given {
    shared: Vec<i64>,
    own: Vec<i64>,
    series: Vec<GivenSeries>,
    pub(crate) range: (i64, i64),
    pub(crate) row_group_rows: usize,
}

#[derive(Debug, Clone)]
struct GivenSeries {
    name: u8,
    job: Option<u8>,
    uses_own: bool,
    floats: Vec<f64>,
    starts: BTreeMap<usize, i64>,
    histograms: BTreeMap<usize, Histogram>,
}

fn times() -> impl Strategy<Value = Vec<i64>> {
    // Six hours: three windows.
    prop::collection::btree_set(0..6 * 3600i64, 1..40)
        .prop_map(|set: BTreeSet<i64>| set.into_iter().map(|s| DAY + 4 * HOUR + s * 1000).collect())
}

fn given_series() -> impl Strategy<Value = GivenSeries> {
    (
        0..4u8,
        prop::option::of(0..3u8),
        any::<bool>(),
        row(40),
        prop::collection::btree_map(0..40usize, 1..1000i64, 0..3),
        prop_oneof![2 => Just(BTreeMap::new()), 1 => prop::collection::btree_map(0..40usize, histogram(), 1..12)],
    )
        .prop_map(|(name, job, uses_own, floats, starts, histograms)| GivenSeries {
            name,
            job,
            uses_own,
            floats,
            starts,
            histograms,
        })
}

pub(crate) fn given() -> impl Strategy<Value = Given> {
    (
        times(),
        times(),
        prop::collection::vec(given_series(), 1..10),
        (0..6 * HOUR, 0..6 * HOUR),
        prop_oneof![Just(3usize), Just(8192usize)],
    )
        .prop_map(|(shared, own, series, range, row_group_rows)| Given {
            shared,
            own,
            series,
            range,
            row_group_rows,
        })
}

pub(crate) fn build(given: &Given) -> BTreeMap<Labels, SeriesData> {
    let shared: Arc<[i64]> = given.shared.as_slice().into();
    let mut all = BTreeMap::new();
    for one in &given.series {
        let mut pairs = vec![("__name__".to_string(), format!("m{}", one.name))];
        pairs.extend(one.job.map(|job| ("job".to_string(), format!("j{job}"))));
        let labels = Labels::from_pairs(pairs);
        let timeline = if one.uses_own { given.own.as_slice().into() } else { Arc::clone(&shared) };
        let mut data = SeriesData::new(labels.clone());
        let n = timeline.len();
        for (at, start) in one.starts.iter().filter(|(at, _)| **at < n) {
            data.starts.push((timeline[*at], *start));
        }
        for (at, histogram) in one.histograms.iter().filter(|(at, _)| **at < n) {
            data.histograms.push(HistogramPoint {
                timestamp: timeline[*at],
                start_timestamp: if at % 3 == 0 { 77 } else { 0 },
                histogram: Arc::new(histogram.clone()),
            });
        }
        data.floats.push(FloatColumn { timeline, values: one.floats[..n].to_vec() });
        all.insert(labels, data);
    }
    all
}

async fn check(given: Given) {
    let series = build(&given);
    let mut world = World::new().await;
    world.options.row_group_rows = given.row_group_rows;
    let blocks = series.values().map(|data| BlockSeries { shard: 0, data: data.clone() }).collect();
    world.write(blocks).await;
    let (a, b) = given.range;
    let part = TimeRange::new(DAY + 4 * HOUR + a.min(b), DAY + 4 * HOUR + a.max(b));
    for range in [TimeRange::ALL, part] {
        let found = world.select(Vec::new(), range).await;
        let expected: BTreeMap<Labels, Truth> = series
            .iter()
            .map(|(labels, data)| (labels.clone(), Truth::of(data, range)))
            .filter(|(_, truth)| *truth != Truth::default())
            .collect();
        let order: Vec<&Labels> = found.series.iter().map(|series| &series.labels).collect();
        assert!(order.is_sorted(), "{order:?}");
        let found: BTreeMap<Labels, Truth> =
            found.series.iter().map(|series| (series.labels.clone(), Truth::of(series, range))).collect();
        assert_eq!(found, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_bit_of_every_sample_comes_back(given in given()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(given));
    }
}

#[tokio::test]
async fn series_of_one_target_share_one_timeline_in_the_answer() {
    let world = World::new().await;
    let timeline = scrapes(DAY, 400);
    let names: Vec<String> = (0..50).map(|i| format!("m{i}")).collect();
    let labels = |name| [("__name__", name), ("job", "a")];
    let series = names.iter().map(|name| floats(&labels(name), &timeline, |ts| ts as f64));
    world.write(series.collect()).await;
    let found = world.select(vec![is("job", "a")], TimeRange::new(DAY + 1000, DAY + 60_000)).await;
    assert_eq!(found.series.len(), 50);
    let first = &found.series[0].floats[0].timeline;
    assert_eq!(&first[..], [DAY + 15_000, DAY + 30_000, DAY + 45_000, DAY + 60_000]);
    assert!(found.series.iter().all(|series| Arc::ptr_eq(&series.floats[0].timeline, first)));
}

#[tokio::test]
async fn samples_of_two_files_meet_in_one_series() {
    let world = World::new().await;
    for from in [DAY, DAY + 24 * HOUR, DAY + 60_000] {
        world.write(vec![floats(&[("__name__", "up")], &scrapes(from, 4), |ts| ts as f64)]).await;
    }
    let found = world.select(vec![is("__name__", "up")], TimeRange::ALL).await;
    assert_eq!(found.series.len(), 1);
    let merged = found.series[0].clone().merged();
    assert_eq!(merged.floats[0].samples().count(), 12);
    assert_eq!(found.table_version, Some(3));
}
