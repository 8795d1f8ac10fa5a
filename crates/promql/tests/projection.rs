//! A plan says which labels it looks at. It gets the same from series that show these alone and come in any order.

use model::{FloatColumn, Labels, SampleValue, SeriesData, Value};
use promql::{EvalError, EvalOptions, Evaluated, Plan, Projection};
use proptest::prelude::*;

/// Evaluates over series without the labels that the plan does not look at, in another order. Nothing if it looks at all.
pub(crate) fn evaluate(plan: &Plan, data: &[Vec<SeriesData>]) -> Option<Result<Evaluated, EvalError>> {
    let selects = plan.selects();
    if selects.iter().all(|select| select.projection == Projection::All) {
        return None;
    }
    let projected = selects.iter().zip(data).map(|(select, series)| project(series, &select.projection));
    Some(plan.evaluate(projected.collect()))
}

fn project(series: &[SeriesData], projection: &Projection) -> Vec<SeriesData> {
    let is_hidden = |name: &str| match projection {
        Projection::All => false,
        _ if name == "__name__" => false,
        Projection::Only(names) => !names.iter().any(|known| known == name),
        Projection::Without(names) => names.iter().any(|known| known == name),
    };
    let shown = |one: &SeriesData| SeriesData {
        id: Some(one.identity()),
        labels: one.labels.without(is_hidden),
        ..one.clone()
    };
    let mut shown: Vec<SeriesData> = series.iter().map(shown).collect();
    if *projection != Projection::All {
        shown.sort_by_key(|one| one.id);
    }
    shown
}

/// Checks that the two are the same but for rounding.
pub(crate) fn check(query: &str, whole: Result<&Evaluated, &String>, projected: Result<&Evaluated, &String>) {
    let (whole, projected) = match (whole, projected) {
        (Ok(whole), Ok(projected)) => (whole, projected),
        (whole, projected) => {
            assert_eq!(whole.err().is_some(), projected.err().is_some(), "{query}: {whole:?} {projected:?}");
            return;
        }
    };
    assert_eq!(whole.annotations, projected.annotations, "{query}");
    assert_eq!(whole.stats.total_samples, projected.stats.total_samples, "{query}");
    assert_eq!(whole.stats.samples_read, projected.stats.samples_read, "{query}");
    let (a, b) = (samples(&whole.value), samples(&projected.value));
    assert_eq!(a.len(), b.len(), "{query}");
    for ((labels, at, value), (other_labels, other_at, other)) in a.iter().zip(&b) {
        assert_eq!((labels, at), (other_labels, other_at), "{query}");
        let is_near = (value - other).abs() <= 1e-12 * value.abs() || value.to_bits() == other.to_bits();
        assert!(is_near || (value.is_nan() && other.is_nan()), "{query}: {labels} {value} {other}");
    }
}

/// Labels, time and value of each sample, in this order; of a histogram its sum.
fn samples(value: &Value) -> Vec<(Labels, i64, f64)> {
    let mut samples = Vec::new();
    match value {
        Value::Scalar { timestamp, value } => samples.push((Labels::empty(), *timestamp, *value)),
        Value::String { .. } => {}
        Value::Vector(vector) => samples.extend(vector.iter().map(|sample| {
            let value = match &sample.value {
                SampleValue::Float(value) => *value,
                SampleValue::Histogram(histogram) => histogram.sum,
            };
            (sample.labels.clone(), sample.timestamp, value)
        })),
        Value::Matrix(series) => {
            for one in series {
                samples.extend(one.floats.iter().map(|(at, value)| (one.labels.clone(), *at, *value)));
                samples.extend(one.histograms.iter().map(|(at, h)| (one.labels.clone(), *at, h.sum)));
            }
        }
    }
    samples.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.cmp(&b.1)));
    samples
}

/// Two metrics of some jobs, instances and modes, with gaps and resets.
fn data(seed: u64) -> Vec<SeriesData> {
    let mut random = seed | 1;
    let mut next = move |n: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % n
    };
    let mut all = Vec::new();
    for i in 0..40 {
        let labels = Labels::from_pairs([
            ("__name__", ["x_total", "y"][i % 2].to_string()),
            ("job", format!("j{}", next(3))),
            ("instance", format!("i{}", next(5))),
            ("mode", format!("m{i}")),
        ]);
        let mut value = 0.0;
        let mut samples = Vec::new();
        for at in 0..40 {
            value = if next(15) == 0 { 0.0 } else { value + next(1_000) as f64 / 7.0 };
            if next(10) > 0 {
                samples.push((at * 15_000, value));
            }
        }
        let mut one = SeriesData::new(labels);
        let (times, values) = samples.into_iter().unzip();
        one.floats.push(FloatColumn::new(times, values));
        all.push(one);
    }
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    all
}

/// An expression of one series each, or of something that looks at all labels.
fn operand() -> impl Strategy<Value = String> {
    let selector = prop_oneof![Just("x_total"), Just("y"), Just("{__name__=~\"x_total|y\"}")];
    let series = prop_oneof![
        selector.clone().prop_map(String::from),
        (
            prop_oneof![Just("rate"), Just("increase"), Just("avg_over_time"), Just("last_over_time")],
            selector.clone()
        )
            .prop_map(|(function, of)| format!("{function}({of}[2m])")),
        selector.clone().prop_map(|of| format!("max_over_time(rate({of}[1m])[2m:30s])")),
        selector.clone().prop_map(|of| format!("timestamp({of} offset 1m)")),
        selector.prop_map(|of| format!("{of} @ 300")),
        Just("topk(3, y)".to_string()),
        Just("x_total * on (mode) group_left x_total".to_string()),
        Just("label_replace(y, \"job\", \"$1\", \"mode\", \"(.*)\")".to_string()),
    ];
    (series, 0..6).prop_map(|(series, around)| match around {
        0 => format!("-({series})"),
        1 => format!("abs({series}) * 2"),
        2 => format!("({series} > 100)"),
        3 => format!("clamp({series}, 3, scalar(count(y)) * 100)"),
        _ => series,
    })
}

fn aggregation() -> impl Strategy<Value = String> {
    let op = prop_oneof![
        Just("sum"),
        Just("avg"),
        Just("count"),
        Just("min"),
        Just("max"),
        Just("group"),
        Just("stddev"),
        Just("stdvar"),
        Just("quantile"),
    ];
    let grouping = prop_oneof![
        Just(""),
        Just("by (job)"),
        Just("by (__name__, job)"),
        Just("by (job, instance, job)"),
        Just("without (mode)"),
        Just("without (instance, mode)"),
        Just("by (mode)"),
    ];
    (op, grouping, operand()).prop_map(|(op, grouping, operand)| match op {
        "quantile" => format!("quantile {grouping} (0.3, {operand})"),
        op => format!("{op} {grouping} ({operand})"),
    })
}

fn query() -> impl Strategy<Value = String> {
    (aggregation(), aggregation(), operand(), 0..8).prop_map(|(a, b, other, form)| match form {
        0 => format!("{a} + on () group_left sum({b})"),
        1 => format!("{a} or {b}"),
        2 => format!("sum({a})"),
        3 => format!("limitk(2, {a})"),
        4 => format!("count({other}) / count({b})"),
        5 => format!("{a} or ({other})"),
        _ => a,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_not_looked_at_is_not_missed(query in query(), seed in any::<u64>(), is_range in any::<bool>()) {
        let options = match is_range {
            true => EvalOptions::range(60_000, 600_000, 30_000),
            false => EvalOptions::instant(400_000),
        };
        let plan = Plan::new(&query, &options).map_err(|e| TestCaseError::fail(format!("{query}: {e}")))?;
        let all = data(seed);
        let selected = |select: &promql::SelectSpec| {
            let matches = |one: &&SeriesData| {
                select.matchers.iter().all(|m| m.matches(one.labels.get(&m.name).unwrap_or_default()))
            };
            all.iter().filter(matches).cloned().collect()
        };
        let data: Vec<Vec<SeriesData>> = plan.selects().iter().map(selected).collect();
        if let Some(projected) = evaluate(&plan, &data) {
            let whole = plan.evaluate(data).map_err(|e| e.to_string());
            check(&query, whole.as_ref(), projected.map_err(|e| e.to_string()).as_ref());
        }
    }
}

#[test]
fn a_plan_looks_at_what_is_grouped_by_and_at_all_where_it_must() {
    let only = |names: &[&str]| Projection::Only(names.iter().map(|name| name.to_string()).collect());
    let without = |names: &[&str]| Projection::Without(names.iter().map(|name| name.to_string()).collect());
    for (query, expected) in [
        ("sum by (b, a) (rate(x[5m]))", only(&["a", "b"])),
        ("sum(x)", only(&[])),
        ("count without (a) (-(x * 2 > 1))", without(&["a"])),
        ("quantile by (a) (0.5, max_over_time(abs(x)[5m:]))", only(&["a"])),
        ("sum by (a) (x) / sum by (b) (x)", only(&["a", "b"])),
        ("sum by (a) (x) / sum without (a, b) (x)", without(&["b"])),
        ("sum without (a, c) (x) / sum without (a, b) (x)", without(&["a"])),
        ("sum by (a) (max by (a, b) (x))", only(&["a", "b"])),
        ("topk(5, sum by (a) (x))", only(&["a"])),
        ("x", Projection::All),
        ("rate(x[5m])", Projection::All),
        ("sum(x) / count(x) or x", Projection::All),
        ("sum by (a) (x / y)", Projection::All),
        ("sum(topk(5, x))", Projection::All),
        ("topk(5, x)", Projection::All),
        ("limitk(5, sum by (a) (x))", Projection::All),
        ("count_values(\"v\", x)", Projection::All),
        ("sum by (a) (label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\"))", Projection::All),
        ("sum by (a) (histogram_quantile(0.9, x))", Projection::All),
        ("sum by (a) (info(x))", Projection::All),
        ("absent(x)", Projection::All),
        ("vector(scalar(x))", Projection::All),
        ("sum by (a) (sort(x))", Projection::All),
        // The error names the first of those that match.
        ("sum by (a) (x) / on (a) sum by (a) (x)", Projection::All),
        ("sum by (a) (x) * ignoring (a) (1 + sum by (a) (x))", Projection::All),
    ] {
        let looked_at = |options| Plan::new(query, &options).unwrap().selects()[0].projection.clone();
        let range = EvalOptions { end_ms: 60_000, step_ms: Some(15_000), ..EvalOptions::instant(0) };
        assert_eq!(looked_at(range), expected, "{query}");
        // Groups come in the order of their first series, which shows.
        assert_eq!(looked_at(EvalOptions::instant(0)), Projection::All, "{query}");
    }
}
