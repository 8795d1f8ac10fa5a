//! Any series comes back as it was, but for what a reader is to know about resets.

use std::sync::Arc;

use chunk::{SAMPLES_MAX, chunks, chunks_with_starts};
use model::{
    BucketSpan, CUSTOM_BUCKETS_SCHEMA, Counts, FloatColumn, Histogram, HistogramPoint, Labels, ResetHint,
    SeriesData,
};
use proptest::prelude::*;

use crate::decode::{Sample, decode, decode_with_starts};

/// Times in order, with steps of every size that has an encoding of its own.
fn times(n: usize) -> impl Strategy<Value = Vec<i64>> {
    let step = prop_oneof![
        Just(15_000i64),
        1..3i64,
        1..10_000i64,
        1..200_000i64,
        1..2_000_000i64,
        1..1_000_000_000_000i64
    ];
    (-2_000_000_000_000i64..2_000_000_000_000, prop::collection::vec(step, n)).prop_map(|(first, steps)| {
        let mut at = first;
        let mut next = |step| {
            at += step;
            at - step
        };
        steps.into_iter().map(&mut next).collect()
    })
}

fn float() -> impl Strategy<Value = f64> {
    let special = prop_oneof![
        Just(f64::from_bits(model::STALE_NAN)),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(-0.0),
        Just(f64::MIN_POSITIVE)
    ];
    prop_oneof![4 => (0..1000i64).prop_map(|n| n as f64), 2 => any::<u64>().prop_map(f64::from_bits), 1 => special]
        .prop_filter("an empty cell is no sample", |value| !model::is_empty_cell(*value))
}

/// Histograms of one layout, so that most of them follow one another in a chunk.
fn histogram(is_float: bool) -> impl Strategy<Value = Vec<Histogram>> {
    let spans = || prop::collection::vec((-3..400i32, 0..4u32), 0..3);
    let threshold =
        prop_oneof![Just(0.0), Just(2f64.powi(-128)), Just(2f64.powi(10)), Just(2f64.powi(-243)), float()];
    let bound = prop_oneof![(0..40_000_000u64).prop_map(|n| n as f64 / 1000.0), float()];
    let custom = prop::option::weighted(0.3, prop::collection::vec(bound, 0..5));
    let values = prop::collection::vec((prop::collection::vec(counts(), 14), float(), hint()), 0..150);
    (-4..9i32, threshold, spans(), spans(), custom, values).prop_map(
        move |(schema, zero_threshold, positive, negative, custom, values)| {
            let spans = |spans: Vec<(i32, u32)>| -> Vec<BucketSpan> {
                spans.into_iter().map(|(offset, length)| BucketSpan { offset, length }).collect()
            };
            let (positive_spans, negative_spans) = (spans(positive), spans(negative));
            let schema = if custom.is_some() { CUSTOM_BUCKETS_SCHEMA } else { schema };
            let custom_values = custom.unwrap_or_default();
            let mut totals = vec![0u64; 14];
            let mut all = Vec::new();
            for (steps, sum, reset_hint) in values {
                totals.iter_mut().zip(steps).for_each(|(total, step)| *total = total.wrapping_add(step));
                let counts = numbers(&totals, &positive_spans, &negative_spans, is_float);
                let (positive_spans, negative_spans) = (positive_spans.clone(), negative_spans.clone());
                let custom_values = custom_values.clone();
                all.push(Histogram {
                    schema,
                    zero_threshold,
                    sum,
                    counts,
                    positive_spans,
                    negative_spans,
                    custom_values,
                    reset_hint,
                });
            }
            all
        },
    )
}

fn counts() -> impl Strategy<Value = u64> {
    prop_oneof![6 => Just(0u64), 6 => 0..5u64, 3 => 0..5000u64, 1 => any::<u64>()]
}

fn hint() -> impl Strategy<Value = ResetHint> {
    prop_oneof![8 => Just(ResetHint::Unknown), 4 => Just(ResetHint::No), 1 => Just(ResetHint::Yes), 2 => Just(ResetHint::Gauge)]
}

fn numbers(totals: &[u64], positive: &[BucketSpan], negative: &[BucketSpan], is_float: bool) -> Counts {
    let n = |spans: &[BucketSpan]| spans.iter().map(|span| span.length as usize).sum::<usize>();
    let (positive, negative) = (&totals[2..2 + n(positive)], &totals[8..8 + n(negative)]);
    let float = |n: &u64| *n as f64 / 4.0;
    match is_float {
        false => Counts::Int {
            count: totals[0],
            zero: totals[1],
            positive: positive.to_vec(),
            negative: negative.to_vec(),
        },
        true => Counts::Float {
            count: float(&totals[0]),
            zero: float(&totals[1]),
            positive: positive.iter().map(float).collect(),
            negative: negative.iter().map(float).collect(),
        },
    }
}

/// What a reader makes of a histogram, its hint apart: of a stale marker only that it is one.
fn known(histogram: &Histogram) -> String {
    if histogram.is_stale() {
        return "stale".to_string();
    }
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<u64>>();
    let Histogram { schema, counts, positive_spans, negative_spans, .. } = histogram;
    let numbers = [histogram.sum, histogram.zero_threshold + 0.0].map(f64::to_bits);
    let custom = bits(&histogram.custom_values);
    format!("{schema} {counts:?} {positive_spans:?} {negative_spans:?} {numbers:?} {custom:?}")
}

/// Encodes, decodes and compares; says how many chunks there were.
fn check(series: &SeriesData) -> usize {
    let mut expected: Vec<(i64, String)> = Vec::new();
    for (time, value) in series.floats.iter().flat_map(FloatColumn::samples) {
        if series.histograms.iter().all(|point| point.timestamp != time) {
            expected.push((time, format!("{:x}", value.to_bits())));
        }
    }
    expected.extend(series.histograms.iter().map(|point| (point.timestamp, known(&point.histogram))));
    expected.sort();
    let mut found = Vec::new();
    let mut n_chunks = 0;
    let mut last: Option<Histogram> = None;
    for chunk in chunks(series) {
        let samples = decode(&chunk);
        assert!((1..=SAMPLES_MAX).contains(&samples.len()));
        let times: Vec<i64> = samples.iter().map(time_of).collect();
        assert_eq!((times.first(), times.last()), (Some(&chunk.min_time), Some(&chunk.max_time)));
        for sample in samples {
            if let Sample::Histogram(_, histogram) = &sample {
                check_hint(last.as_ref(), histogram);
                last = Some(histogram.clone());
            }
            found.push(match sample {
                Sample::Float(time, bits) => (time, format!("{bits:x}")),
                Sample::Histogram(time, histogram) => (time, known(&histogram)),
            });
        }
        n_chunks += 1;
    }
    assert_eq!(found, expected);
    n_chunks
}

/// With start timestamps everything else is as without, and each sample has its own.
fn check_starts(mut series: SeriesData, starts: &[i64]) {
    let times: Vec<i64> = series.floats.iter().flat_map(FloatColumn::samples).map(|(time, _)| time).collect();
    let known = |start: &i64| *start != 0;
    series.starts =
        times.iter().copied().zip(starts.iter().copied()).filter(|(_, start)| known(start)).collect();
    for (point, start) in series.histograms.iter_mut().zip(starts) {
        point.start_timestamp = *start;
    }
    let expected: Vec<Sample> = chunks(&series).flat_map(|chunk| decode(&chunk)).collect();
    let found: Vec<(Sample, i64)> =
        chunks_with_starts(&series).flat_map(|chunk| decode_with_starts(&chunk)).collect();
    let samples: Vec<Sample> = found.iter().map(|(sample, _)| sample.clone()).collect();
    // NaNs are equal to themselves here.
    assert_eq!(format!("{samples:?}"), format!("{expected:?}"));
    let found: Vec<i64> = found.into_iter().map(|(_, start)| start).collect();
    let n = found.len();
    assert_eq!(found, starts[..n]);
    let has_own = chunks_with_starts(&series).any(|chunk| chunk.encoding as u8 > 3);
    assert_eq!(has_own, starts[..n].iter().any(known), "what has none is encoded as without");
}

/// Starts that stay for a while, are unknown, or go along with the samples.
fn starts() -> impl Strategy<Value = Vec<i64>> {
    let one = prop_oneof![
        2 => Just(0i64),
        3 => Just(1_000_000_000i64),
        2 => -2_000_000_000_000i64..2_000_000_000_000,
        1 => any::<i64>()
    ];
    prop::collection::vec((one, 1..60usize), 260).prop_map(|runs| {
        runs.into_iter().flat_map(|(start, n)| std::iter::repeat_n(start, n)).take(260).collect()
    })
}

fn time_of(sample: &Sample) -> i64 {
    match sample {
        Sample::Float(time, _) | Sample::Histogram(time, _) => *time,
    }
}

/// A reader that is told of no reset must not overlook one.
fn check_hint(last: Option<&Histogram>, histogram: &Histogram) {
    let count = |histogram: &Histogram| match &histogram.counts {
        Counts::Int { count, .. } => *count as f64,
        Counts::Float { count, .. } => *count,
    };
    if histogram.reset_hint == ResetHint::No {
        assert!(last.is_some_and(|last| count(last) <= count(histogram) && !last.is_stale()));
    }
}

fn series(floats: Vec<(i64, f64)>, histograms: Vec<(i64, Histogram)>) -> SeriesData {
    let mut series = SeriesData::new(Labels::empty());
    // Columns of seven, with empty cells between them.
    for piece in floats.chunks(7) {
        let (mut times, mut values): (Vec<i64>, Vec<f64>) = piece.iter().copied().unzip();
        times.push(times.last().unwrap() + 1);
        values.push(f64::from_bits(model::EMPTY));
        series.floats.push(FloatColumn::new(times, values));
    }
    series.histograms = histograms
        .into_iter()
        .map(|(timestamp, histogram)| HistogramPoint {
            timestamp,
            start_timestamp: 0,
            histogram: Arc::new(histogram),
        })
        .collect();
    series
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn floats_come_back(times in times(260), values in prop::collection::vec(float(), 0..260)) {
        let n = values.len();
        let n_chunks = check(&series(times.into_iter().zip(values).collect(), Vec::new()));
        prop_assert_eq!(n_chunks, n.div_ceil(SAMPLES_MAX));
    }

    #[test]
    fn start_timestamps_come_back(
        times in times(260),
        values in prop::collection::vec(float(), 0..260),
        integers in histogram(false),
        floats in histogram(true),
        starts in starts(),
    ) {
        check_starts(series(times.iter().copied().zip(values).collect(), Vec::new()), &starts);
        check_starts(series(Vec::new(), times.iter().copied().zip(integers).collect()), &starts);
        check_starts(series(Vec::new(), times.into_iter().zip(floats).collect()), &starts);
    }

    #[test]
    fn histograms_come_back(times in times(150), integers in histogram(false), floats in histogram(true)) {
        check(&series(Vec::new(), times.iter().copied().zip(integers).collect()));
        check(&series(Vec::new(), times.into_iter().zip(floats).collect()));
    }

    #[test]
    fn both_in_one_series_come_back_in_order(
        float_times in times(40),
        floats in prop::collection::vec(float(), 40),
        shifts in prop::collection::vec(0..3i64, 40),
        integers in histogram(false),
    ) {
        // Some histograms lie at the time of a float, some between two.
        let mut times: Vec<i64> = float_times.iter().zip(shifts).map(|(time, shift)| time + shift).collect();
        times.sort_unstable();
        times.dedup();
        check(&series(float_times.into_iter().zip(floats).collect(), times.into_iter().zip(integers).collect()));
    }
}
