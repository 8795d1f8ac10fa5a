//! How long it takes to make chunks: an hour of 15 s samples of one series at a time.

use std::sync::Arc;

use chunk::chunks;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use model::{BucketSpan, Counts, FloatColumn, Histogram, HistogramPoint, Labels, ResetHint, SeriesData};

const SAMPLES: i64 = 240;

fn main() {
    divan::main();
}

fn times() -> impl Iterator<Item = i64> {
    (0..SAMPLES).map(|i| 1_795_000_000_000 + 15_000 * i + (i * 7919) % 5)
}

fn floats(value: impl Fn(i64) -> f64) -> SeriesData {
    let mut series = SeriesData::new(Labels::empty());
    series.floats.push(FloatColumn::new(times().collect(), (0..SAMPLES).map(value).collect()));
    series
}

fn run(bencher: Bencher<'_, '_>, series: SeriesData) {
    bencher
        .counter(ItemsCount::new(SAMPLES as usize))
        .bench_local(|| chunks(black_box(&series)).map(|chunk| chunk.data.len()).sum::<usize>());
}

#[divan::bench]
fn counter(bencher: Bencher<'_, '_>) {
    run(bencher, floats(|i| (i * 13) as f64));
}

#[divan::bench]
fn gauge(bencher: Bencher<'_, '_>) {
    run(bencher, floats(|i| ((i * 7919) % 1000) as f64 / 7.0));
}

#[divan::bench]
fn histogram_of_40_buckets(bencher: Bencher<'_, '_>) {
    let mut series = SeriesData::new(Labels::empty());
    for (i, timestamp) in (1..).zip(times()) {
        let positive: Vec<u64> = (0..40).map(|bucket| i * bucket / 3).collect();
        let counts = Counts::Int { count: positive.iter().sum(), zero: 0, positive, negative: Vec::new() };
        let histogram = Arc::new(Histogram {
            schema: 3,
            zero_threshold: 2f64.powi(-128),
            sum: i as f64 * 1.5,
            counts,
            positive_spans: vec![BucketSpan { offset: -7, length: 40 }],
            negative_spans: Vec::new(),
            custom_values: Vec::new(),
            reset_hint: ResetHint::Unknown,
        });
        series.histograms.push(HistogramPoint { timestamp, start_timestamp: 0, histogram });
    }
    run(bencher, series);
}
