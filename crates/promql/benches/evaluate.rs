//! How long evaluation takes once samples are there: 5,000 series of 240 samples at 15 s, a step per sample.

use divan::{Bencher, black_box};
use model::{FloatColumn, Labels, SeriesData};
use promql::{EvalOptions, Plan};

const SERIES: usize = 5_000;
const SAMPLES: i64 = 240;
const INTERVAL_MS: i64 = 15_000;

fn main() {
    divan::main();
}

/// Counters of 50 pods with 10 paths and 10 buckets each.
fn counters() -> Vec<SeriesData> {
    let times: std::sync::Arc<[i64]> = (1..=SAMPLES).map(|i| i * INTERVAL_MS).collect();
    let series = |index: usize| {
        let bound = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"][index % 10];
        let labels = Labels::from_pairs([
            ("__name__", "http_request_duration_seconds_bucket".to_string()),
            ("job", "api".to_string()),
            ("le", bound.to_string()),
            ("path", format!("/api/v1/resource/{}", index / 10 % 10)),
            ("pod", format!("api-7d9c5b8f6d-{}", index / 100)),
        ]);
        let rate = (index % 10 + 1) as f64;
        let values = (0..SAMPLES).map(|i| (i as f64 * rate).floor()).collect();
        let mut series = SeriesData::new(labels);
        series.floats.push(FloatColumn { timeline: std::sync::Arc::clone(&times), values });
        series
    };
    (0..SERIES).map(series).collect()
}

fn run(bencher: Bencher<'_, '_>, query: &str) {
    let options = EvalOptions::range(INTERVAL_MS, SAMPLES * INTERVAL_MS, INTERVAL_MS);
    let plan = Plan::new(query, &options).expect("the query parses");
    let data: Vec<Vec<SeriesData>> = plan.selects().iter().map(|_| counters()).collect();
    bencher.with_inputs(|| data.clone()).bench_local_values(|data| {
        black_box(plan.evaluate(data).expect("the query evaluates"));
    });
}

#[divan::bench(sample_count = 10)]
fn selector(bencher: Bencher<'_, '_>) {
    run(bencher, "http_request_duration_seconds_bucket");
}

#[divan::bench(sample_count = 10)]
fn rate(bencher: Bencher<'_, '_>) {
    run(bencher, "rate(http_request_duration_seconds_bucket[5m])");
}

#[divan::bench(sample_count = 10)]
fn sum_by_of_rate(bencher: Bencher<'_, '_>) {
    run(bencher, "sum by (path) (rate(http_request_duration_seconds_bucket[5m]))");
}

#[divan::bench(sample_count = 10)]
fn histogram_quantile_of_sum_by(bencher: Bencher<'_, '_>) {
    run(
        bencher,
        "histogram_quantile(0.9, sum by (le, pod, path) (rate(http_request_duration_seconds_bucket[5m])))",
    );
}

#[divan::bench(sample_count = 10)]
fn topk_of_rate(bencher: Bencher<'_, '_>) {
    run(bencher, "topk(10, rate(http_request_duration_seconds_bucket[5m]))");
}

#[divan::bench(sample_count = 10)]
fn division_of_vectors(bencher: Bencher<'_, '_>) {
    run(
        bencher,
        "rate(http_request_duration_seconds_bucket[5m]) / ignoring (le) group_left sum without (le) (rate(http_request_duration_seconds_bucket[5m]))",
    );
}

#[divan::bench(sample_count = 10)]
fn max_over_time(bencher: Bencher<'_, '_>) {
    run(bencher, "max_over_time(http_request_duration_seconds_bucket[5m])");
}

#[divan::bench(sample_count = 10)]
fn sum_by_of_selector(bencher: Bencher<'_, '_>) {
    run(bencher, "sum by (path) (http_request_duration_seconds_bucket)");
}

#[divan::bench(sample_count = 10)]
fn avg_by_of_selector(bencher: Bencher<'_, '_>) {
    run(bencher, "avg by (path) (http_request_duration_seconds_bucket)");
}

#[divan::bench(sample_count = 3)]
fn avg_over_time(bencher: Bencher<'_, '_>) {
    run(bencher, "sum(avg_over_time(http_request_duration_seconds_bucket[15m]))");
}

#[divan::bench(sample_count = 3)]
fn deriv(bencher: Bencher<'_, '_>) {
    run(bencher, "sum(deriv(http_request_duration_seconds_bucket[15m]))");
}

#[divan::bench(sample_count = 3)]
fn quantile_over_time(bencher: Bencher<'_, '_>) {
    run(bencher, "sum(quantile_over_time(0.95, http_request_duration_seconds_bucket[15m]))");
}
