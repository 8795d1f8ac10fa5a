//! Which samples share a chunk, and a chunk byte by byte.

use std::sync::Arc;

use chunk::{Chunk, Encoding, chunks};
use model::{BucketSpan, Counts, FloatColumn, Histogram, HistogramPoint, Labels, ResetHint, SeriesData};

use crate::decode::decode;

fn floats(samples: &[(i64, f64)]) -> SeriesData {
    let mut series = SeriesData::new(Labels::empty());
    let (times, values) = samples.iter().copied().unzip();
    series.floats.push(FloatColumn::new(times, values));
    series
}

/// A histogram with one bucket.
fn histogram(count: u64, reset_hint: ResetHint) -> Histogram {
    let counts = Counts::Int { count, zero: 0, positive: vec![count], negative: Vec::new() };
    let positive_spans = vec![BucketSpan { offset: 0, length: 1 }];
    Histogram { counts, positive_spans, sum: 1.0, reset_hint, ..Histogram::stale() }
}

/// How many samples each chunk has when these histograms are ten milliseconds apart.
#[track_caller]
fn check(histograms: &[Histogram], expected: &[usize]) {
    let mut series = SeriesData::new(Labels::empty());
    for (i, histogram) in (0..).zip(histograms) {
        let histogram = Arc::new(histogram.clone());
        series.histograms.push(HistogramPoint { timestamp: 10 * i, start_timestamp: 0, histogram });
    }
    let lens: Vec<usize> = chunks(&series).map(|chunk| decode(&chunk).len()).collect();
    assert_eq!(lens, expected);
}

#[test]
fn a_chunk_of_floats_has_these_bytes() {
    let series = floats(&[(1000, 1.0), (2000, 1.0), (3000, 2.0)]);
    let data = vec![
        0,
        3, // three samples
        0xD0,
        0x0F, // 1000, zigzag
        0x3F,
        0xF0,
        0,
        0,
        0,
        0,
        0,
        0, // 1.0
        0xE8,
        0x07, // 1000 later
        // The value is the same (0); 1000 later again (0); 1.0 ^ 2.0 is 0x7FF0 << 48, 11 bits behind 1 zero: 11 00001 001011
        0b0011_0000,
        0b1001_0111,
        0b1111_1111,
        0b1100_0000,
    ];
    let expected = Chunk { encoding: Encoding::Xor, min_time: 1000, max_time: 3000, data };
    assert_eq!(chunks(&series).collect::<Vec<_>>(), [expected]);
}

#[test]
fn histograms_that_grow_share_a_chunk_up_to_its_size() {
    let grown: Vec<Histogram> = (0..250).map(|n| histogram(n, ResetHint::Unknown)).collect();
    check(&grown, &[120, 120, 10]);
}

#[test]
fn a_reset_begins_a_chunk_whether_it_is_seen_or_said() {
    let of = |count| histogram(count, ResetHint::Unknown);
    check(&[of(1), of(5), of(4), of(9)], &[2, 2]);
    check(&[of(1), of(5), histogram(9, ResetHint::Yes), of(9)], &[2, 2]);
    check(&[of(3), histogram(2, ResetHint::No)], &[1, 1]);
}

#[test]
fn gauges_share_a_chunk_whatever_their_counts_and_not_with_counters() {
    let gauge = |count| histogram(count, ResetHint::Gauge);
    check(&[gauge(5), gauge(1), gauge(7), histogram(8, ResetHint::Unknown)], &[3, 1]);
}

#[test]
fn a_stale_marker_has_a_chunk_of_its_own() {
    let of = |count| histogram(count, ResetHint::Unknown);
    check(&[of(1), of(2), Histogram::stale(), Histogram::stale(), of(3)], &[2, 1, 1, 1]);
}

#[test]
fn another_layout_begins_a_chunk() {
    let wide = Histogram {
        counts: Counts::Int { count: 2, zero: 0, positive: vec![1, 1], negative: Vec::new() },
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        sum: 1.0,
        ..Histogram::stale()
    };
    let finer = Histogram { schema: 1, ..histogram(3, ResetHint::Unknown) };
    check(&[histogram(1, ResetHint::Unknown), wide, finer], &[1, 1, 1]);
}
