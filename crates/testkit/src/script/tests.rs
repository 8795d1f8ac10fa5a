use model::{Labels, MatrixSeries, SampleValue, Value, VectorSample, is_stale};
use promql::ast::{At, Expr, ExprKind};

use super::{Beside, Engine, LoadedSeries, LoadedValue, Outcome, Report, run};

/// Answers selectors with the last sample before the time asked for. A label `warn`, `info` or `fail` says what
/// else comes back; `unsteady` makes range queries wrong.
#[derive(Default)]
struct Toy {
    series: Vec<LoadedSeries>,
    unsteady: bool,
}

impl Toy {
    fn at(&self, expr: &str, at: i64) -> Result<Vec<VectorSample>, String> {
        let expr = promql::parse(expr).map_err(|e| e.to_string())?;
        let selector = expr.selector().ok_or("only selectors")?;
        let at = match selector.at {
            Some(At::Timestamp(pinned)) => pinned,
            _ => at,
        };
        let matching = self.series.iter().filter(|series| {
            selector.matchers.iter().all(|m| m.matches(series.labels.get(&m.name).unwrap_or_default()))
        });
        let mut samples = Vec::new();
        for series in matching {
            if let Some(text) = series.labels.get("fail") {
                return Err(text.to_string());
            }
            let Some(sample) = series.samples.iter().rfind(|s| s.timestamp <= at) else { continue };
            let value = match &sample.value {
                LoadedValue::Float(value) if is_stale(*value) => continue,
                LoadedValue::Float(value) => SampleValue::Float(*value),
                LoadedValue::Histogram(histogram) => SampleValue::Histogram(histogram.clone().into()),
            };
            samples.push(VectorSample { labels: series.labels.clone(), timestamp: at, value });
        }
        Ok(samples)
    }

    fn outcome(&self, value: Value) -> Outcome {
        let said = |key: &str| -> Vec<String> {
            self.series.iter().filter_map(|s| s.labels.get(key)).map(str::to_string).collect()
        };
        Outcome { value, warnings: said("warn"), infos: said("info") }
    }
}

impl Engine for Toy {
    fn clear(&mut self) {
        self.series.clear();
    }

    fn load(&mut self, series: Vec<LoadedSeries>) {
        self.series.extend(series);
    }

    fn instant(&mut self, expr: &str, at_ms: i64) -> Result<Outcome, String> {
        if let Ok(Expr { kind: ExprKind::String(value), .. }) = promql::parse(expr) {
            return Ok(self.outcome(Value::String { timestamp: at_ms, value }));
        }
        if let Ok(Expr { kind: ExprKind::Number(number), .. }) = promql::parse(expr) {
            return Ok(self.outcome(Value::Scalar { timestamp: at_ms, value: number.value }));
        }
        Ok(self.outcome(Value::Vector(self.at(expr, at_ms)?)))
    }

    fn range(&mut self, expr: &str, start_ms: i64, end_ms: i64, step_ms: i64) -> Result<Outcome, String> {
        let mut matrix: Vec<MatrixSeries> = Vec::new();
        let mut at = start_ms;
        while at <= end_ms {
            let samples = match promql::parse(expr).map(|expr| expr.kind) {
                Ok(ExprKind::Number(number)) => vec![VectorSample {
                    labels: Labels::empty(),
                    timestamp: at,
                    value: SampleValue::Float(number.value),
                }],
                _ => self.at(expr, at)?,
            };
            for sample in samples {
                let known = matrix.iter().position(|s| s.labels == sample.labels).unwrap_or_else(|| {
                    let labels = sample.labels.clone();
                    matrix.push(MatrixSeries { labels, floats: Vec::new(), histograms: Vec::new() });
                    matrix.len() - 1
                });
                match sample.value {
                    SampleValue::Float(v) => {
                        matrix[known].floats.push((at, v + f64::from(u8::from(self.unsteady))));
                    }
                    SampleValue::Histogram(h) => matrix[known].histograms.push((at, h)),
                }
            }
            at += step_ms;
        }
        matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(self.outcome(Value::Matrix(matrix)))
    }
}

const LOAD: &str = "load 1m\n  m{a=\"1\"} 1+1x5\n  m{a=\"2\"} _ 10 _x2 stale 50\n\n";

fn run_toy(block: &str) -> Report {
    run("toy", &format!("{LOAD}{block}"), &mut Toy::default())
}

#[track_caller]
fn passes(block: &str) {
    let report = run_toy(block);
    assert!(report.is_ok() && report.passed > 0, "{}", report.failures_text());
}

#[track_caller]
fn fails(block: &str, reason: &str) {
    let report = run_toy(block);
    assert_eq!(report.failures.len(), 1, "{}", report.failures_text());
    let found = &report.failures[0].message;
    assert!(found.contains(reason), "{found}");
}

#[test]
fn right_results_pass() {
    passes("eval instant at 1m m\n  m{a=\"2\"} 10\n  m{a=\"1\"} 2\n");
    passes("eval instant at 4m m\n  m{a=\"1\"} 5\n");
    passes("eval instant at 1m m\n  expect ordered\n  m{a=\"1\"} 2\n  m{a=\"2\"} 10\n");
    passes("eval instant at 1m nothing\n");
    passes("eval instant at 1m 5\n  5\n");
    passes("eval instant at 1m \"five\"\n  expect string `five`\n");
    passes("eval range from 0 to 2m step 1m m{a=\"2\"}\n  m{a=\"2\"} _ 10 10\n");
    passes("eval instant at 1m m{a=\"1\"}\n  m{a=\"1\"} 2.0000001\n");
}

#[test]
fn wrong_results_fail() {
    fails("eval instant at 1m m{a=\"1\"}\n  m{a=\"1\"} 3\n", "wrong value");
    fails("eval instant at 1m m{a=\"1\"}\n  m{a=\"1\"} 2.0001\n", "wrong value");
    fails("eval instant at 1m m{a=\"1\"}\n", "unexpected or repeated series m{a=\"1\"}");
    fails("eval instant at 1m m{a=\"1\"}\n  m{a=\"1\"} 2\n  m{a=\"3\"} 2\n", "missing series m{a=\"3\"}");
    fails("eval instant at 1m m\n  expect ordered\n  m{a=\"2\"} 10\n  m{a=\"1\"} 2\n", "at position");
    fails("eval instant at 1m 5\n  6\n", "expected 6, got 5");
    fails("eval instant at 1m 5\n  m 5\n", "expected series");
    fails("eval instant at 1m m\n  5\n", "expected a scalar");
    fails("eval instant at 1m \"a\"\n  expect string \"b\"\n", "expected \"b\"");
    fails("eval instant at 1m \"a\"\n", "expected series");
    fails("eval range from 0 to 2m step 1m m{a=\"2\"}\n  m{a=\"2\"} _ 10 _\n", "1 points too many");
    fails("eval range from 0 to 2m step 1m m{a=\"2\"}\n  m{a=\"2\"} 9 10 10\n", "no point at 0");
    fails("eval range from 0 to 2m step 1m m{a=\"2\"}\n  m{a=\"2\"} _ 10 10 10\n", "more than the range has");
    fails("eval instant at 1m m\n  expect range vector from 0 to 1m step 1m\n", "expected a range vector");
}

#[test]
fn failures_must_be_expected_and_come() {
    let load = "load 1m\n  bad{fail=\"no luck\"} 1\n\n";
    passes(&format!("{load}eval instant at 0 bad\n  expect fail\n"));
    passes(&format!("{load}eval instant at 0 bad\n  expect fail msg: no luck\n"));
    passes(&format!("{load}eval instant at 0 bad\n  expect fail regex: luck$\n"));
    passes(&format!("{load}eval_fail instant at 0 bad\n  expected_fail_message no luck\n"));
    passes(&format!("{load}eval_fail instant at 0 bad\n  expected_fail_regexp ^no\n"));
    fails(&format!("{load}eval instant at 0 bad\n"), "query failed: no luck");
    fails(&format!("{load}eval instant at 0 bad\n  expect fail msg: luck\n"), "expected Exact");
    fails("eval instant at 0 m\n  expect fail\n", "query succeeded");
    fails("eval instant at 0 m{\n  expect fail\n", "query does not parse");
}

#[test]
fn annotations_are_matched_both_ways() {
    let load = "load 1m\n  other{warn=\"careful\",info=\"by the way\"} 1\n\n";
    let case = |lines: &str| format!("{load}eval instant at 0 m{{a=\"1\"}}\n{lines}  m{{a=\"1\"}} 1\n");
    passes(&case(""));
    passes(&case("  expect warn\n  expect info msg: by the way\n"));
    passes(&case("  expect warn regex: ^care\n"));
    fails(&case("  expect no_warn\n"), "unexpected warnings");
    fails(&case("  expect no_info\n"), "unexpected infos");
    fails(&case("  expect warn msg: care\n"), "no warning matches");
    fails(&case("  expect info\n  expect info msg: on the way\n"), "no info matches");
    fails("eval instant at 0 m{a=\"1\"}\n  expect warn\n  m{a=\"1\"} 1\n", "no warning matches");
    fails("eval_info instant at 0 m{a=\"1\"}\n  m{a=\"1\"} 1\n", "no info matches");
    passes("eval instant at 0 m{a=\"1\"}\n  expect no_warn\n  expect no_info\n  m{a=\"1\"} 1\n");
}

#[test]
fn an_unexpected_annotation_beside_an_expected_one_fails() {
    let load = "load 1m\n  other{warn=\"one\"} 1\n  other{warn=\"two\"} 1\n\n";
    let case = format!("{load}eval instant at 0 nothing\n  expect warn msg: one\n");
    fails(&case, "unexpected warning: \"two\"");
}

#[test]
fn a_range_query_that_disagrees_with_the_instant_query_fails() {
    let script = format!("{LOAD}eval instant at 1m m{{a=\"1\"}}\n  m{{a=\"1\"}} 2\n");
    let report = run("toy", &script, &mut Toy { unsteady: true, ..Toy::default() });
    assert_eq!((report.passed, report.failed), (0, 1));
    assert!(report.failures[0].message.contains("as a range query"), "{}", report.failures_text());
}

/// An engine that does not know `@` gives another answer at another time.
struct WithoutAt(Toy);

impl Engine for WithoutAt {
    fn clear(&mut self) {
        self.0.clear();
    }

    fn load(&mut self, series: Vec<LoadedSeries>) {
        self.0.load(series);
    }

    fn instant(&mut self, expr: &str, at_ms: i64) -> Result<Outcome, String> {
        self.0.instant(expr.split(" @").next().unwrap_or_default(), at_ms)
    }

    fn range(&mut self, expr: &str, start_ms: i64, end_ms: i64, step_ms: i64) -> Result<Outcome, String> {
        self.0.range(expr.split(" @").next().unwrap_or_default(), start_ms, end_ms, step_ms)
    }
}

#[test]
fn a_pinned_query_must_not_depend_on_when_it_is_asked() {
    let script = format!("{LOAD}eval instant at 1m m{{a=\"1\"}}\n  m{{a=\"1\"}} 2\n");
    let report = run("toy", &script, &mut WithoutAt(Toy::default()));
    assert_eq!((report.passed, report.failed), (0, 1));
    assert!(report.failures[0].message.contains("as m{a=\"1\"} @ 60.000 at"), "{}", report.failures_text());
}

#[test]
fn what_was_checked_beside_the_result_is_counted() {
    let beside = |block: &str| run_toy(block).beside;
    let of = |pinned, as_range, annotations| Beside { pinned, as_range, annotations };
    // Each of the five pinned queries is asked as a range query, too.
    assert_eq!(beside("eval instant at 1m m{a=\"1\"}\n  expect no_warn\n  m{a=\"1\"} 2\n"), of(5, 6, 1));
    assert_eq!(beside("eval instant at 0 m{a=\"1\"}\n  m{a=\"1\"} 1\n"), of(3, 4, 0));
    // The order of a range query's result is its own; there is no instant query in a range query.
    assert_eq!(
        beside("eval instant at 1m m\n  expect ordered\n  m{a=\"1\"} 2\n  m{a=\"2\"} 10\n"),
        of(5, 0, 0)
    );
    assert_eq!(beside("eval range from 0 to 2m step 1m m{a=\"2\"}\n  m{a=\"2\"} _ 10 10\n"), of(0, 0, 0));
    assert_eq!(beside("eval instant at 1m m{a=\"1\"}\n  m{a=\"1\"} 3\n"), of(0, 0, 0));
}

#[test]
fn pinning_leaves_what_has_its_time_and_what_depends_on_it() {
    let pinned =
        |query: &str| super::pin::pinned(promql::parse(query).unwrap(), 60_000).map(|(text, _)| text);
    assert_eq!(pinned("a + rate(b[5m] @ 3)").as_deref(), Some("a @ 60.000 + rate(b[5m] @ 3.000)"));
    assert_eq!(pinned("sum_over_time(a[5m:])").as_deref(), Some("sum_over_time(a[5m:] @ 60.000)"));
    assert_eq!(pinned("a @ end()").as_deref(), Some("a @ 60.000"));
    assert_eq!(pinned("time() - a"), None);
    assert_eq!(
        pinned("sum_over_time(timestamp(a)[5m:])").as_deref(),
        Some("sum_over_time(timestamp(a)[5m:] @ 60.000)")
    );
}

#[test]
fn a_script_that_does_not_read_fails_at_its_line() {
    let cases = [
        ("evaluate m\n", 1, "invalid command"),
        ("clear\n\nload\n  m 1\n", 3, "invalid step"),
        ("load 1m\n  m 1 2x\n", 2, "invalid repetition"),
        ("load 1m\n  m{a=\"1\" 1\n", 2, "unclosed braces"),
        ("load 1m\n  m {{shape:1}}\n", 2, "bad histogram descriptor"),
        ("load 1m\n  m {{sum:1 sum:2}}\n", 2, "duplicate key"),
        ("load 1m\n  m@st 0\n\n", 2, "no following sample line"),
        ("load 1m\n  m@st 0 0\n  m 1\n", 3, "@st line has 2 values"),
        ("load 1m\n  m@st 0\n  n 1\n", 3, "does not match"),
        ("eval instant m\n", 1, "expected \"at\""),
        ("eval instant at 0 m\n  m 1 2\n", 2, "one value per series"),
        ("eval range from 2m to 1m step 1m m\n", 1, "before start"),
        ("eval instant at 0 m\n  expect wonders\n", 2, "invalid expected"),
        ("eval instant at 0 m\n  expect warn\n  expect no_warn\n", 3, "cannot be used together"),
        ("eval instant at 0 m\n  expect fail\n  expect fail\n", 3, "multiple expect fail"),
        ("eval instant at 0 m\n  5\n  6\n", 3, "invalid command"),
    ];
    for (script, line, reason) in cases {
        let error = super::parse(script).unwrap_err();
        assert!(error.line == line && error.message.contains(reason), "{script:?}: {error}");
    }
}

fn loaded(lines: &str) -> Vec<LoadedSeries> {
    let mut commands = super::parse(&format!("load 1m\n{lines}")).unwrap();
    match commands.remove(0).kind {
        super::CommandKind::Load(series) => series,
        other => panic!("{other:?}"),
    }
}

fn floats(series: &LoadedSeries) -> Vec<(i64, f64)> {
    let float = |value: &LoadedValue| match value {
        LoadedValue::Float(value) => *value,
        LoadedValue::Histogram(_) => f64::NAN,
    };
    series.samples.iter().map(|s| (s.timestamp / 60_000, float(&s.value))).collect()
}

#[test]
fn every_shorthand_of_values_expands() {
    let series = loaded("m 1 _ 2x1 _x2 3+0.5x2 4-1x1 -1e1 Inf -inf .5x0");
    let expected = [
        (0, 1.0),
        (2, 2.0),
        (3, 2.0),
        (6, 3.0),
        (7, 3.5),
        (8, 4.0),
        (9, 4.0),
        (10, 3.0),
        (11, -10.0),
        (12, f64::INFINITY),
        (13, f64::NEG_INFINITY),
        (14, 0.5),
    ];
    assert_eq!(floats(&series[0]), expected);
    let last = loaded("m stale NaN");
    let floats = floats(&last[0]);
    assert!(is_stale(floats[0].1) && floats[1].1.is_nan() && !is_stale(floats[1].1));
}

#[test]
fn names_in_quotes_and_braces_are_labels() {
    let series = loaded("{\"my metric\", 'a b'=\"c}\"} 1\n  {x=`y`} 2\n  m{} 3\n");
    let labels: Vec<String> = series.iter().map(|s| s.labels.to_string()).collect();
    assert_eq!(labels, [r#"{__name__="my metric", a b="c}"}"#, r#"{x="y"}"#, r#"{__name__="m"}"#]);
}

#[test]
fn start_timestamps_are_relative_to_their_samples() {
    let series = loaded("m{a=\"b\"}@st _ -30s-1mx1 1m30s _x1\nm{a=\"b\"} 1 _ 2 3 4");
    let starts: Vec<(i64, i64)> =
        series[0].samples.iter().map(|s| (s.timestamp, s.start_timestamp)).collect();
    assert_eq!(starts, [(0, 0), (120_000, 30_000), (180_000, 270_000), (240_000, 0)]);
}

#[test]
fn histograms_grow_by_their_step() {
    let series = loaded("m {{sum:1 count:2 buckets:[1 1]}}+{{sum:2 count:1 buckets:[1] offset:1}}x2 {{}}x1");
    let literals: Vec<String> = series[0]
        .samples
        .iter()
        .map(|s| match &s.value {
            LoadedValue::Histogram(h) => promql::histogram::FloatHistogram::from_model(h).to_test_literal(),
            LoadedValue::Float(value) => value.to_string(),
        })
        .collect();
    assert_eq!(literals.len(), 5);
    assert!(literals[2].contains("count:4 sum:5") && literals[2].contains("buckets:[1 3]"), "{literals:?}");
    assert_eq!(literals[4], "{{}}");
}

#[test]
fn a_histogram_is_compared_by_its_buckets_and_its_hint_if_given() {
    let load = "load 1m\n  h {{count:3 sum:3 buckets:[1 0 2] counter_reset_hint:gauge}}\n\n";
    let case = |literal: &str| format!("{load}eval instant at 0 h\n  h {literal}\n");
    passes(&case("{{count:3 sum:3 buckets:[1 0 2 0]}}"));
    passes(&case("{{count:3 sum:3 counter_reset_hint:gauge buckets:[0 1 0 2] offset:-1}}"));
    fails(&case("{{count:3 sum:3 buckets:[1 2]}}"), "wrong value");
    fails(&case("{{count:3 sum:4 buckets:[1 0 2]}}"), "wrong value");
    fails(&case("{{count:3 sum:3 buckets:[1 0 2] counter_reset_hint:unknown}}"), "wrong value");
    fails(&case("3"), "wrong value");
}

#[test]
fn classic_histograms_are_loaded_as_native_ones_too() {
    let script = "load_with_nhcb 1m\n  c_bucket{le=\"1\"} 1 2\n  c_bucket{le=\"+Inf\"} 3 5\n  c_sum 4 6.5\n\n\
                  eval instant at 1m c\n  c {{schema:-53 count:5 sum:6.5 custom_values:[1] buckets:[2 3]}}\n\n\
                  eval instant at 1m c_sum\n  c_sum 6.5\n";
    let report = run("toy", script, &mut Toy::default());
    assert_eq!((report.passed, report.failed), (2, 0), "{}", report.failures_text());
}

#[test]
fn a_stale_marker_equals_a_stale_marker_only() {
    let stale = f64::from_bits(model::STALE_NAN);
    let equal = super::compare::almost_equal;
    assert!(equal(stale, stale) && !equal(stale, f64::NAN) && equal(f64::NAN, -f64::NAN));
    assert!(equal(1.0, 1.000_000_1) && !equal(1.0, 1.000_01) && !equal(0.0, 1e-300));
    assert!(equal(f64::INFINITY, f64::INFINITY) && !equal(f64::INFINITY, f64::NEG_INFINITY));
}
