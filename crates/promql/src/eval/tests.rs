use std::sync::atomic::Ordering;

use model::{EMPTY, FloatColumn, Labels, STALE_NAN, SeriesData, TimeRange, Value};

use crate::{EvalError, EvalOptions, Evaluated, Plan};

const MINUTE: i64 = 60_000;

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> SeriesData {
    let mut series = SeriesData::new(Labels::from_pairs(labels.iter().copied()));
    let (times, values) = samples.iter().copied().unzip();
    series.floats.push(FloatColumn::new(times, values));
    series.merged()
}

/// A counter that grows by one each 10 s, from 0 on.
fn counter() -> SeriesData {
    let samples: Vec<(i64, f64)> = (0..=60).map(|i| (i * 10_000, i as f64)).collect();
    series(&[("__name__", "x_total"), ("job", "a")], &samples)
}

fn evaluate(query: &str, options: &EvalOptions, data: &[SeriesData]) -> Result<Evaluated, EvalError> {
    let plan = Plan::new(query, options).unwrap();
    let per_select = plan.selects().iter().map(|_| data.to_vec()).collect();
    plan.evaluate(per_select)
}

fn matrix(query: &str, options: &EvalOptions, data: &[SeriesData]) -> Vec<(String, Vec<(i64, f64)>)> {
    match evaluate(query, options, data).unwrap().value {
        Value::Matrix(series) => series.into_iter().map(|s| (s.labels.to_string(), s.floats)).collect(),
        other => panic!("{other:?} is no matrix"),
    }
}

fn ranges(query: &str) -> Vec<(i64, i64)> {
    let plan = Plan::new(query, &EvalOptions::range(1000 * MINUTE, 1010 * MINUTE, MINUTE)).unwrap();
    plan.selects().iter().map(|select| (select.range.start, select.range.end)).collect()
}

#[test]
fn a_select_covers_what_its_selector_looks_at_and_no_more() {
    let at = |minute: i64| minute * MINUTE;
    for (query, start, end) in [
        ("x", at(995) + 1, at(1010)),
        ("x offset 1m", at(994) + 1, at(1009)),
        ("x offset -1m", at(996) + 1, at(1011)),
        ("x @ 600", at(5) + 1, at(10)),
        ("x @ end()", at(1005) + 1, at(1010)),
        ("rate(x[2m])", at(998) + 1, at(1010)),
        ("rate(x[2m] anchored)", at(993) + 1, at(1010)),
        ("rate(x[2m] smoothed)", at(993) + 1, at(1015)),
        ("max_over_time(rate(x[2m])[10m:1m] offset 1m)", at(987) + 1, at(1009)),
        ("max_over_time(x[10m:1m] @ 600)", at(-5) + 1, at(10)),
        ("max_over_time((x @ 600)[10m:1m])", at(5) + 1, at(10)),
    ] {
        assert_eq!(ranges(query), [(start, end)], "{query}");
    }
}

#[test]
fn equal_selects_are_made_once() {
    assert_eq!(ranges("x / x").len(), 1);
    assert_eq!(ranges("x / x @ 600").len(), 2);
    assert_eq!(ranges("rate(x[5m]) / y").len(), 2);
    assert_eq!(ranges("1 + time()").len(), 0);
}

#[test]
fn selectors_of_the_same_series_share_a_select_where_their_times_meet() {
    let at = |minute: i64| minute * MINUTE;
    assert_eq!(ranges("x / x offset 1m"), [(at(994) + 1, at(1010))]);
    assert_eq!(ranges("rate(x[5m]) / rate(x[1h])"), [(at(940) + 1, at(1010))]);
    // The third joins the first two, which do not meet.
    let three = "x + x offset 30m + avg_over_time(x[40m])";
    assert_eq!(ranges(three), [(at(960) + 1, at(1010))]);
    assert_eq!(ranges("x + x offset 30m").len(), 2);
    assert_eq!(ranges("x + x offset 15m"), [(at(980) + 1, at(1010))], "one ends where the other begins");
    assert_eq!(ranges("x + x{job=\"a\"} offset 1m").len(), 2);
    let options = EvalOptions::range(at(1000), at(1010), MINUTE);
    let longest = |query: &str| Plan::new(query, &options).unwrap().longest_ms();
    assert_eq!(longest("x / x offset 5m"), longest("x"));
}

/// Series whose values are of very different sizes, and some of them histograms.
fn uneven() -> Vec<SeriesData> {
    let value = |i: i64, k: i64| match i % 7 {
        0 => 1e16,
        1 => -1e16 + k as f64,
        2 => f64::NAN,
        3 => f64::INFINITY,
        _ => (i * 31 % 11) as f64 / 3.0 + k as f64 * 0.1,
    };
    let of_one = |i: i64| {
        let (job, n) = (format!("j{}", i % 3), i.to_string());
        let samples: Vec<(i64, f64)> = (0..20).map(|k| (k * 10_000, value(i + i % 3 * 4, k))).collect();
        let mut one = series(&[("__name__", "x"), ("job", &job), ("n", &n)], &samples);
        if i % 5 == 4 {
            one.floats.clear();
            one.histograms = (0..20).map(|k| native(k * 10_000, (i + k) as u64)).collect();
        }
        one
    };
    let mut all: Vec<SeriesData> = (0..60).map(of_one).collect();
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    all
}

fn native(timestamp: i64, count: u64) -> model::HistogramPoint {
    let counts = model::Counts::Int { count, zero: 0, positive: vec![count], negative: Vec::new() };
    let positive_spans = vec![model::BucketSpan { offset: 0, length: 1 }];
    let histogram =
        model::Histogram { counts, positive_spans, sum: count as f64, ..model::Histogram::stale() };
    model::HistogramPoint { timestamp, start_timestamp: 0, histogram: std::sync::Arc::new(histogram) }
}

/// The values of a result, sorted by labels; those of histograms as they print.
fn shown(value: &Value) -> Vec<(String, Vec<f64>, String)> {
    let Value::Matrix(series) = value else { panic!("{value:?} is no matrix") };
    let one = |s: &model::MatrixSeries| {
        let floats = s.floats.iter().map(|(_, v)| *v).collect();
        let histograms = s.histograms.iter().map(|(at, h)| format!("{at} {:.6} {:?}", h.sum, h.counts));
        (s.labels.to_string(), floats, histograms.collect::<Vec<_>>().join(";"))
    };
    series.iter().map(one).collect()
}

fn is_near(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-12 * 1e16
}

#[test]
fn states_of_aggregations_merge_however_the_series_are_divided() {
    let options = EvalOptions::range(0, 190_000, 10_000);
    for query in [
        "sum by (job) (x)",
        "avg by (job) (x)",
        "count by (job) (x)",
        "group without (n) (x)",
        "min by (job) (x)",
        "max(x)",
        "stddev by (job) (x)",
        "stdvar(x)",
        "topk(2, sum by (job) (rate(x[1m]))) or count(x > 2)",
        "sum(rate(x[1m])) / count(abs(x * 2))",
    ] {
        let plan = Plan::new(query, &options).unwrap();
        assert!(plan.is_divisible(), "{query}");
        let all: Vec<Vec<SeriesData>> = plan.selects().iter().map(|_| uneven()).collect();
        let whole = plan.evaluate(all).unwrap();
        for n in [2, 3, 7, 60] {
            let part = |at: usize| {
                let some = || uneven().into_iter().enumerate().filter(|(i, _)| i % n == at).map(|(_, s)| s);
                plan.selects().iter().map(|_| some().collect()).collect()
            };
            let parts = plan.evaluate_in_parts((0..n).map(part).collect()).unwrap();
            let (expected, found) = (shown(&whole.value), shown(&parts.value));
            assert_eq!(expected.len(), found.len(), "{query} in {n} parts");
            for (a, b) in expected.iter().zip(&found) {
                assert_eq!((&a.0, &a.2), (&b.0, &b.2), "{query} in {n} parts");
                let near = a.1.len() == b.1.len() && a.1.iter().zip(&b.1).all(|(a, b)| is_near(*a, *b));
                assert!(near, "{query} in {n} parts: {a:?} {b:?}");
            }
            assert_eq!(whole.stats.total_samples, parts.stats.total_samples, "{query} in {n} parts");
            assert_eq!(whole.annotations, parts.annotations, "{query} in {n} parts");
        }
    }
}

#[test]
fn an_aggregation_that_is_there_several_times_is_computed_once_and_counts_each_time() {
    let options = EvalOptions::range(0, 190_000, 10_000);
    let n_shared = |query: &str| Plan::new(query, &options).unwrap().n_repeated();
    for (query, same, n) in [
        ("sum(x) / sum(x)", "sum(x) / sum( x)", 1),
        ("sum by (job) (x) + (sum by (job) (x) > 1)", "sum by (job) (x) + (sum by(job) (x) > 1)", 1),
        ("-max(min by (n) (x)) + max(min by (n) (x))", "-max(min by (n) (x)) + max(min by(n) (x))", 1),
        ("avg(x) or avg(x) or topk(1, x) or topk(1, x)", "avg(x) or avg( x) or topk(1, x) or topk(1,x)", 2),
        ("quantile(2, x) + quantile(2, x)", "quantile(2, x) + quantile(2,  x)", 1),
    ] {
        assert_eq!((n_shared(query), n_shared(same)), (n, 0), "{query}");
        let data = uneven();
        let (once, twice) = (evaluate(query, &options, &data), evaluate(same, &options, &data));
        let (once, twice) = (once.unwrap(), twice.unwrap());
        assert_eq!(format!("{:?}", once.value), format!("{:?}", twice.value), "{query}");
        assert_eq!(once.stats.total_samples, twice.stats.total_samples, "{query}");
        let said = |of: &Evaluated| (of.annotations.warnings.len(), of.annotations.infos.len());
        assert_eq!(said(&once), said(&twice), "{query}");
    }
    let warned = evaluate("quantile(2, x) + quantile(2, x)", &options, &uneven()).unwrap().annotations;
    assert!(warned.warnings[0].ends_with("(1:27)"), "the position is that of the later one: {warned:?}");
    assert_eq!(n_shared("sum(x) + sum_over_time(sum(x)[1m:10s])"), 0, "another grid");
}

#[test]
fn what_does_not_divide_is_put_together_before_it_is_evaluated() {
    let options = EvalOptions::range(0, 190_000, 10_000);
    for query in [
        "x",
        "topk(2, x)",
        "sum(x and x)",
        "quantile(0.5, x)",
        "sum(sum_over_time(x[1m:10s]))",
        "sum(label_replace(x, \"n\", \"\", \"\", \"\"))",
        "sum(x) + scalar(x)",
        "count(info(x))",
    ] {
        assert!(!Plan::new(query, &options).unwrap().is_divisible(), "{query}");
    }
    let plan = Plan::new("topk(2, x)", &options).unwrap();
    let whole = plan.evaluate(vec![uneven()]).unwrap();
    let (odd, even): (Vec<_>, Vec<_>) = uneven().into_iter().enumerate().partition(|(i, _)| i % 2 == 1);
    let part = |some: Vec<(usize, SeriesData)>| vec![some.into_iter().map(|(_, series)| series).collect()];
    let parts = plan.evaluate_in_parts(vec![part(odd), part(even)]).unwrap();
    assert_eq!(format!("{:?}", whole.value), format!("{:?}", parts.value));
}

#[test]
fn a_shared_select_gives_what_two_would() {
    let data = [counter()];
    let options = EvalOptions::range(2 * MINUTE, 8 * MINUTE, MINUTE);
    for query in ["x_total - x_total offset 1m", "rate(x_total[1m]) - rate(x_total[3m])"] {
        let plan = Plan::new(query, &options).unwrap();
        assert_eq!(plan.selects().len(), 1, "{query}");
        let rows = matrix(query, &options, &data);
        let expected = if query.starts_with("rate") { 0.0 } else { 6.0 };
        assert!(
            rows[0].1.iter().skip(1).all(|(_, value)| (value - expected).abs() < 1e-12),
            "{query}: {rows:?}"
        );
    }
}

#[test]
fn an_info_call_selects_its_info_series_too() {
    let plan = Plan::new("info(x offset 1m)", &EvalOptions::instant(1000 * MINUTE)).unwrap();
    let selects = plan.selects();
    assert_eq!(selects.len(), 2);
    assert_eq!(selects[1].matchers[0].to_string(), "__name__=\"target_info\"");
    assert_eq!(selects[1].range, TimeRange::new(994 * MINUTE + 1, 999 * MINUTE));
}

#[test]
fn a_sample_as_old_as_the_lookback_is_too_old_and_a_stale_marker_ends_a_series() {
    let stale = f64::from_bits(STALE_NAN);
    let data = [series(&[("__name__", "x")], &[(0, 1.0), (7 * MINUTE, 2.0), (8 * MINUTE, stale)])];
    let rows = matrix("x", &EvalOptions::range(0, 9 * MINUTE, MINUTE), &data);
    let minutes: Vec<i64> = rows[0].1.iter().map(|(time, _)| time / MINUTE).collect();
    assert_eq!(minutes, [0, 1, 2, 3, 4, 7]);
}

#[test]
fn a_range_leaves_out_its_start() {
    let data = [counter()];
    let rows = matrix("count_over_time(x_total[1m])", &EvalOptions::range(MINUTE, 2 * MINUTE, MINUTE), &data);
    assert_eq!(rows[0].1, [(MINUTE, 6.0), (2 * MINUTE, 6.0)]);
}

#[test]
fn samples_are_counted_by_the_step_that_looks_at_them() {
    let data = [counter()];
    let count = |query: &str, options: EvalOptions| {
        let options = EvalOptions { stats_per_step: true, ..options };
        let stats = evaluate(query, &options, &data).unwrap().stats;
        (stats.total_samples, stats.per_step.iter().map(|(_, n)| *n).collect::<Vec<_>>())
    };
    let instant = || EvalOptions::instant(201_000);
    let range = || EvalOptions::range(201_000, 220_000, 5_000);
    assert_eq!(count("x_total", instant()), (1, vec![1]));
    assert_eq!(count("x_total[60s]", instant()), (6, vec![6]));
    assert_eq!(count("sum_over_time(x_total[60s])", range()), (24, vec![6, 6, 6, 6]));
    assert_eq!(count("max_over_time(x_total[59s])[20s:5s]", instant()), (24, vec![24]));
    assert_eq!(count("max_over_time(x_total[60s:5s])", instant()), (12, vec![12]));
    assert_eq!(count("x_total @ 100", range()), (4, vec![1, 1, 1, 1]));
    assert_eq!(count("1 + 1", instant()), (0, vec![0]));
}

#[test]
fn samples_are_read_by_the_first_step_that_needs_them() {
    let data = [counter()];
    let read = |query: &str| {
        let options = EvalOptions { stats_per_step: true, ..EvalOptions::range(201_000, 231_000, 10_000) };
        let stats = evaluate(query, &options, &data).unwrap().stats;
        let per_step: Vec<u64> = stats.read_per_step.iter().map(|(_, n)| *n).collect();
        assert_eq!(stats.samples_read, per_step.iter().sum::<u64>(), "{query}");
        per_step
    };
    assert_eq!(read("x_total"), [1, 1, 1, 1]);
    assert_eq!(read("sum_over_time(x_total[60s])"), [6, 1, 1, 1]);
    assert_eq!(read("sum_over_time(x_total[5s])"), [1, 1, 1, 1]);
    assert_eq!(read("x_total @ 100"), [1, 0, 0, 0]);
    assert_eq!(read("predict_linear(x_total[60s] @ 100, 5)"), [6, 0, 0, 0]);
    // Each evaluation of the subquery reads one sample, for the first step that uses it.
    assert_eq!(read("sum_over_time(x_total[30s:5s])"), [6, 2, 2, 2]);
    // What lies between the windows is evaluated for nobody.
    assert_eq!(read("sum_over_time(x_total[4s:1s])"), [4, 4, 4, 4]);
    assert_eq!(read("sum(x_total) + sum(x_total)"), [2, 2, 2, 2]);
}

#[test]
fn an_evaluation_ends_at_its_limits() {
    let data = [counter()];
    let range = EvalOptions::range(0, 10 * MINUTE, 10_000);
    let limited = |max_samples| {
        let options = EvalOptions { max_samples, ..range.clone() };
        evaluate("x_total and x_total", &options, &data).map(|_| ())
    };
    assert_eq!(limited(10), Err(EvalError::TooManySamples));
    assert_eq!(limited(0), Ok(()));
    let late = runtime::Clock::system().instant() - std::time::Duration::from_secs(1);
    let late = EvalOptions { deadline: Some(late), ..range.clone() };
    assert_eq!(evaluate("x_total", &late, &data).map(|_| ()), Err(EvalError::Timeout));
    range.cancel.store(true, Ordering::Relaxed);
    assert_eq!(evaluate("x_total", &range, &data).map(|_| ()), Err(EvalError::Canceled));
}

#[test]
fn a_subquery_of_more_steps_than_can_be_held_is_refused() {
    for query in ["max_over_time(x[100y:1ms])", "count_over_time(vector(1)[100y:1ms])"] {
        let refused = evaluate(query, &EvalOptions::instant(0), &[]).map(|_| ());
        assert_eq!(refused, Err(EvalError::TooManySamples), "{query}");
    }
}

#[test]
fn times_at_the_ends_of_the_axis_do_no_harm() {
    let data = [counter()];
    for query in
        ["x_total @ 9223372036854775 offset -200y", "rate(x_total[1m] @ -9223372036854775 offset 200y)"]
    {
        let value = evaluate(query, &EvalOptions::instant(0), &data).unwrap().value;
        assert!(matches!(value, Value::Vector(samples) if samples.is_empty()), "{query}");
    }
}

#[test]
fn a_range_query_is_of_scalars_or_instant_vectors() {
    let range = EvalOptions::range(0, MINUTE, MINUTE);
    let refused = |query: &str| Plan::new(query, &range).map(|_| ()).unwrap_err().to_string();
    let expected = |found: &str| {
        format!("invalid expression type \"{found}\" for range query, must be Scalar or instant Vector")
    };
    assert_eq!(refused("x[5m]"), expected("range vector"));
    assert_eq!(refused("\"text\""), expected("string"));
}

#[test]
fn no_sample_takes_the_place_of_an_empty_cell() {
    let values: Vec<(i64, f64)> =
        [f64::NAN, -f64::from_bits(EMPTY), 0.0].into_iter().enumerate().map(|(i, v)| (i as i64, v)).collect();
    let data = [series(&[("__name__", "x")], &values)];
    let rows = matrix("-x + 1", &EvalOptions::range(0, 2, 1), &data);
    assert_eq!(rows[0].1.len(), 3);
}

#[test]
fn histograms_are_told_what_their_predecessors_were() {
    use model::{Histogram, HistogramPoint, ResetHint};
    let point = |timestamp: i64, count: u64| {
        let counts = model::Counts::Int { count, zero: 0, positive: vec![count], negative: Vec::new() };
        let positive_spans = vec![model::BucketSpan { offset: 0, length: 1 }];
        let histogram = Histogram {
            counts,
            positive_spans,
            sum: 1.0,
            reset_hint: ResetHint::Unknown,
            ..Histogram::stale()
        };
        HistogramPoint { timestamp, start_timestamp: 0, histogram: std::sync::Arc::new(histogram) }
    };
    let mut points = [point(0, 1), point(1, 2), point(2, 1), point(3, 1)];
    crate::set_reset_hints(&mut points);
    let hints: Vec<ResetHint> = points.iter().map(|p| p.histogram.reset_hint).collect();
    assert_eq!(hints, [ResetHint::Unknown, ResetHint::No, ResetHint::Unknown, ResetHint::No]);
}
