//! The head against a naive model of it, and its memory.

mod exemplars;
mod memory;
mod model_test;
mod replay;

use std::sync::Arc;

use model::{
    Batch, BatchSeries, HistogramSample, Labels, Matcher, SeriesData, ShardBatch, TimeRange, is_empty_cell,
};
use wire::{Projection, SelectBudget, SelectRequest};

use super::{DecideRules, Decision, HeadConfig, Selecting, ShardHead};

pub(super) const WINDOW: i64 = 1000;

pub(super) const RULES: DecideRules = DecideRules {
    now_ms: 0,
    min_time: i64::MIN,
    max_time: i64::MAX,
    series_allowance: usize::MAX,
    max_series: 0,
    max_series_per_metric: 0,
    out_of_order_window_ms: 0,
    creation_grace_period_ms: 0,
    max_exemplars_per_series: 0,
};

/// A float to be pushed: labels, timestamp, value, start timestamp.
pub(super) type Float<'a> = (&'a Labels, i64, f64, i64);

pub(super) fn head() -> ShardHead {
    ShardHead::new(HeadConfig { window_ms: WINDOW })
}

/// A batch of floats and histograms, one entry per run of one series.
pub(super) fn batch(floats: &[Float], histograms: &[(&Labels, HistogramSample)]) -> (Batch, ShardBatch) {
    let (mut batch, mut part) = (Batch::default(), ShardBatch::default());
    let entry = |labels: &Labels, batch: &mut Batch| {
        let from = batch.bytes.len() as u32;
        batch.bytes.extend_from_slice(labels.run());
        let labels_at = (from, batch.bytes.len() as u32);
        BatchSeries {
            id: labels.id(),
            labels: labels_at,
            is_known: false,
            n_floats: 0,
            n_histograms: 0,
            n_exemplars: 0,
        }
    };
    for run in floats.chunk_by(|a, b| a.0 == b.0) {
        part.series.push(BatchSeries { n_floats: run.len() as u32, ..entry(run[0].0, &mut batch) });
        for (_, ts, value, start) in run {
            part.timestamps.push(*ts);
            part.values.push(*value);
            part.start_timestamps.push(*start);
        }
    }
    if part.start_timestamps.iter().all(|start| *start == 0) {
        part.start_timestamps.clear();
    }
    for (labels, sample) in histograms {
        part.series.push(BatchSeries { n_histograms: 1, ..entry(labels, &mut batch) });
        part.histograms.push(sample.clone());
    }
    (batch, part)
}

/// Pushes and returns what was decided.
pub(super) fn push(head: &mut ShardHead, floats: &[Float], rules: &DecideRules) -> Decision {
    let (batch, part) = batch(floats, &[]);
    let mut decision = Decision::default();
    head.decide(&batch, &part, rules, &mut decision);
    head.apply(&batch.bytes, &decision);
    decision
}

/// All series, which are the same ones in slices and with fewer labels.
pub(super) fn select(head: &ShardHead, range: TimeRange) -> Vec<SeriesData> {
    let series = head.select(&[], range, &SelectBudget::unlimited()).unwrap();
    let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Arc<[String]>>();
    for projection in
        [Projection::Only(names(&["instance"])), Projection::Without(names(&["instance", "job"]))]
    {
        let projected = select_projected(head, range, projection.clone());
        assert_eq!(projected.len(), series.len());
        for whole in &series {
            let found: Vec<_> = projected.iter().filter(|one| one.id == Some(whole.labels.id())).collect();
            let [found] = found[..] else { panic!("{} is there {} times", whole.labels, found.len()) };
            assert_eq!(found.labels, whole.labels.without(|name| !projection.wants(name.as_bytes())));
            assert_eq!(floats(found), floats(whole));
            let rest = |one: &SeriesData| format!("{:?} {:?}", one.starts, one.histograms);
            assert_eq!(rest(found), rest(whole));
        }
    }
    series
}

/// The labels of the series that match, sorted.
pub(super) fn matching(head: &ShardHead, selectors: &[Vec<Matcher>], range: TimeRange) -> Vec<Labels> {
    let budget = SelectBudget::unlimited();
    let mut candidates = head.named(selectors, &budget).unwrap();
    candidates.per_slice = 2;
    let mut found = Vec::new();
    while !candidates.is_done() {
        found.extend(head.matching(&mut candidates, range, &budget).unwrap());
    }
    found.sort();
    found
}

fn select_projected(head: &ShardHead, range: TimeRange, projection: Projection) -> Vec<SeriesData> {
    let request = SelectRequest {
        matchers: Vec::new(),
        range,
        within: None,
        projection,
        budget: SelectBudget::unlimited(),
        min_table_version: None,
    };
    let mut selecting = Selecting::new(&request);
    let mut candidates = selecting.candidates(head).unwrap();
    candidates.per_slice = 7;
    while !candidates.is_done() {
        selecting.step(head, &mut candidates).unwrap();
    }
    selecting.series
}

/// Timestamps and bits of a series' floats, in order, checked to be without repetition.
pub(super) fn floats(series: &SeriesData) -> Vec<(i64, u64)> {
    let mut samples = Vec::new();
    for column in &series.floats {
        assert_eq!(column.timeline.len(), column.values.len());
        assert!(column.timeline.windows(2).all(|pair| pair[0] < pair[1]));
        samples.extend(column.samples().map(|(ts, value)| (ts, value.to_bits())));
    }
    samples.sort_unstable();
    assert!(samples.windows(2).all(|pair| pair[0].0 < pair[1].0), "{samples:?}");
    samples
}

fn metric(name: &str, target: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("job", "j"), ("instance", target)])
}

#[test]
fn a_decision_that_is_not_applied_leaves_nothing_behind() {
    let mut head = head();
    let (a, b) = (metric("a", "x"), metric("b", "x"));
    push(&mut head, &[(&a, 10, 1.0, 0)], &RULES);
    let (batch, part) = batch(&[(&a, 20, 2.0, 0), (&b, 20, 2.0, 0)], &[]);
    let mut lost = Decision::default();
    head.decide(&batch, &part, &RULES, &mut lost);
    assert_eq!(lost.refs.len(), 2);
    assert_eq!(head.n_series(), 1);
    assert_eq!(select(&head, TimeRange::ALL).len(), 1);
    assert_eq!(floats(&select(&head, TimeRange::ALL)[0]).len(), 1);
    // The ref of the lost definition may be in the log already: it is not given to another series.
    let c = metric("c", "x");
    let decision = push(&mut head, &[(&c, 20, 2.0, 0)], &RULES);
    assert_ne!(decision.new_series[0].series_ref, lost.new_series[0].series_ref);
}

#[test]
fn a_refusal_names_limit_value_and_series() {
    let mut head = head();
    let a = metric("a", "x");
    let rules = DecideRules {
        min_time: 100,
        max_time: 200,
        out_of_order_window_ms: 3_600_000,
        creation_grace_period_ms: 600_000,
        max_series: 1,
        series_allowance: 1,
        ..RULES
    };
    let b = metric("b", "x");
    let samples =
        [(&a, 99, 1.0, 0), (&a, 150, 1.0, 0), (&a, 150, 2.0, 0), (&a, 201, 1.0, 0), (&b, 150, 1.0, 0)];
    let decision = push(&mut head, &samples, &rules);
    assert_eq!(decision.pushed.n_samples(), 1);
    let messages: Vec<&str> =
        decision.pushed.refused.iter().map(|refusal| refusal.message.as_str()).collect();
    let series = r#"series {__name__="a", instance="x", job="j"}"#;
    assert_eq!(
        messages,
        [
            format!("sample at 99 is older than 100, the limit out_of_order_window is 1h, {series}"),
            format!("duplicate sample for timestamp 150: 1 is stored, 2 was pushed, {series}"),
            format!("sample at 201 is newer than 200, the limit creation_grace_period is 10m, {series}"),
            r#"the limit max_series of 1 is reached, series {__name__="b", instance="x", job="j"}"#
                .to_string(),
        ]
    );
}

#[test]
fn a_series_without_an_accepted_sample_is_not_born() {
    let mut head = head();
    let decision = push(&mut head, &[(&metric("a", "x"), 5, 1.0, 0)], &DecideRules { min_time: 10, ..RULES });
    assert!(decision.is_empty() && decision.new_series.is_empty());
    assert_eq!(head.n_series(), 0);
}

#[test]
fn the_bits_of_the_empty_cell_are_stored_as_an_ordinary_nan() {
    let mut head = head();
    push(&mut head, &[(&metric("a", "x"), 5, f64::from_bits(model::EMPTY), 0)], &RULES);
    assert_eq!(floats(&select(&head, TimeRange::ALL)[0]), [(5, 0x7ff8_0000_0000_0001)]);
}

#[test]
fn the_series_of_a_target_share_their_timeline_by_pointer() {
    let mut head = head();
    let series: Vec<Labels> = (0..20).map(|i| metric(&format!("m{i}"), "x")).collect();
    for row in 0..40 {
        // Every series misses a scrape of its own.
        let present = series.iter().enumerate().filter(|(i, _)| *i != row as usize);
        let samples: Vec<Float> = present.map(|(i, labels)| (labels, row * 15, (i * 7) as f64, 0)).collect();
        push(&mut head, &samples, &RULES);
    }
    head.freeze(0, 1);
    let frozen = head.frozen(1).unwrap();
    for all in [select(&head, TimeRange::ALL), frozen.series().collect::<Vec<_>>()] {
        assert_eq!(all.len(), 20);
        assert!(all.is_sorted_by(|a, b| a.labels < b.labels));
        for one in &all {
            assert_eq!(one.floats.len(), 1);
            assert!(Arc::ptr_eq(&one.floats[0].timeline, &all[0].floats[0].timeline));
            assert_eq!(one.floats[0].values.iter().filter(|cell| is_empty_cell(**cell)).count(), 1);
        }
    }
}

#[test]
fn the_newest_flushed_sample_still_refuses_another_value() {
    let mut head = head();
    let a = metric("a", "x");
    push(&mut head, &[(&a, 10, 1.0, 0), (&a, 20, 2.0, 0)], &RULES);
    assert!(head.freeze(0, 7) && !head.freeze(0, 8));
    head.frozen(7).unwrap().prepare_drop();
    head.drop_frozen(7);
    assert!(select(&head, TimeRange::ALL).is_empty());
    let again = push(&mut head, &[(&a, 20, 2.0, 0)], &RULES);
    assert_eq!((again.pushed.n_samples(), again.is_empty()), (1, true));
    let other = push(&mut head, &[(&a, 20, 3.0, 0)], &RULES);
    assert_eq!((other.pushed.n_samples(), other.pushed.refused.len()), (0, 1));
    // Older flushed samples are accepted unread.
    assert_eq!(push(&mut head, &[(&a, 10, 9.0, 0)], &RULES).refs.len(), 1);
}

#[test]
fn idle_series_leave_memory_and_come_back_under_another_ref() {
    let mut head = head();
    let series: Vec<Labels> = (0..2000).map(|i| metric(&format!("m{i}"), &format!("h{}", i / 100))).collect();
    let samples: Vec<Float> = series.iter().map(|labels| (labels, 10, 1.0, 0)).collect();
    let born = push(&mut head, &samples, &RULES);
    let full = head.bytes();
    assert_eq!(head.forget_idle(i64::MAX), 0);
    head.freeze(0, 1);
    assert_eq!(head.forget_idle(i64::MAX), 0);
    head.drop_frozen(1);
    assert_eq!(head.forget_idle(10), 0);
    push(&mut head, &samples[..50].iter().map(|s| (s.0, 1500, 2.0, 0)).collect::<Vec<_>>(), &RULES);
    assert_eq!(head.forget_idle(11), 1950);
    assert_eq!(head.n_series(), 50);
    assert!(head.bytes() < full / 5, "{} of {full}", head.bytes());
    assert_eq!(select(&head, TimeRange::ALL).len(), 50);
    let back = push(&mut head, &samples[1990..], &RULES);
    assert!(back.new_series.iter().all(|new| !born.refs.contains(&new.series_ref)));
    assert_eq!(head.label_values("instance", &[], TimeRange::ALL), ["h0", "h19"]);
}

#[test]
fn no_series_goes_while_a_decision_waits() {
    let mut head = head();
    let a = metric("a", "x");
    push(&mut head, &[(&a, 10, 1.0, 0)], &RULES);
    head.freeze(0, 1);
    head.drop_frozen(1);
    let (batch, part) = batch(&[(&a, 20, 2.0, 0)], &[]);
    let mut decision = Decision::default();
    head.decide(&batch, &part, &RULES, &mut decision);
    assert_eq!(head.forget_idle(i64::MAX), 0);
    head.apply(&batch.bytes, &decision);
    assert_eq!(floats(&select(&head, TimeRange::ALL)[0]), [(20, 2.0f64.to_bits())]);
}

#[test]
fn targets_whose_series_have_timestamps_of_their_own_do_not_explode() {
    let mut head = ShardHead::new(HeadConfig { window_ms: 7_200_000 });
    let containers = 60;
    let series: Vec<(i64, Labels)> =
        (0..containers * 10).map(|i| (i / 10, metric(&format!("m{i}"), "kubelet"))).collect();
    let scrapes = 240;
    for scrape in 0..scrapes {
        // Every container has its own timestamp within a scrape.
        let samples: Vec<Float> = series
            .iter()
            .map(|(container, labels)| {
                (labels, scrape * 15_000 + container * 37, (scrape * container) as f64, 0)
            })
            .collect();
        push(&mut head, &samples, &RULES);
    }
    let n_samples = scrapes as usize * series.len();
    let per_sample = head.windows()[0].bytes as f64 / n_samples as f64;
    println!("per-container timestamps: {per_sample:.2} bytes/sample");
    assert!(per_sample < 4.0, "{per_sample}");
    let selected = select(&head, TimeRange::ALL);
    assert_eq!(selected.len(), series.len());
    assert!(selected.iter().all(|series| floats(series).len() == scrapes as usize));
}

#[test]
fn a_float_and_a_histogram_at_one_time_are_a_conflict_within_a_request_and_across() {
    let mut head = head();
    let a = metric("a", "x");
    let sample = |timestamp| HistogramSample {
        timestamp,
        start_timestamp: 0,
        histogram: Box::new(model::Histogram::stale()),
    };
    let mut push = |floats: &[Float], histograms: &[(&Labels, HistogramSample)]| {
        let (batch, part) = batch(floats, histograms);
        let mut decision = Decision::default();
        head.decide(&batch, &part, &RULES, &mut decision);
        head.apply(&batch.bytes, &decision);
        let refused: usize = decision.pushed.refused.iter().map(|refusal| refusal.n_samples).sum();
        (decision.pushed.n_samples(), refused)
    };
    // New series, then known series, then the head itself; out of order, so that the newest is not the one asked.
    assert_eq!(push(&[(&a, 20, 1.0, 0), (&a, 10, 1.0, 0)], &[(&a, sample(10)), (&a, sample(30))]), (3, 1));
    assert_eq!(push(&[(&a, 50, 1.0, 0), (&a, 40, 1.0, 0)], &[(&a, sample(40)), (&a, sample(60))]), (3, 1));
    assert_eq!(push(&[(&a, 30, 1.0, 0), (&a, 10, 1.0, 0)], &[(&a, sample(20)), (&a, sample(30))]), (2, 2));
    let selected = select(&head, TimeRange::ALL);
    assert_eq!(selected.len(), 1);
    assert_eq!(floats(&selected[0]).iter().map(|(ts, _)| *ts).collect::<Vec<_>>(), [10, 20, 40, 50]);
    assert_eq!(selected[0].histograms.iter().map(|point| point.timestamp).collect::<Vec<_>>(), [30, 60]);
}

#[test]
fn one_request_cannot_store_two_values_at_one_time() {
    let mut head = head();
    let (a, b) = (metric("a", "x"), metric("b", "x"));
    // Twice: for series that are born in the request, and for known ones.
    for base in [0, 100] {
        let samples = [
            (&a, base + 10, 1.0, 0),
            (&b, base + 10, 1.0, 0),
            (&a, base + 30, 3.0, 0),
            (&a, base + 20, 2.0, 0),
            (&b, base + 10, 1.0, 0),
            (&a, base + 10, 9.0, 0),
            (&a, base + 20, 9.0, 0),
            (&a, base + 20, 2.0, 0),
        ];
        let decision = push(&mut head, &samples, &RULES);
        assert_eq!((decision.refs.len(), decision.pushed.n_samples()), (4, 6));
        assert_eq!(decision.pushed.refused[0].n_samples, 2);
    }
    assert_eq!(head.n_series(), 2);
}

#[test]
fn labels_are_those_of_series_with_samples_near_the_range() {
    let mut head = head();
    let old = Labels::from_pairs([("__name__", "old"), ("job", "a"), ("zone", "z1")]);
    let new = Labels::from_pairs([("__name__", "new"), ("job", "b")]);
    push(&mut head, &[(&old, 100, 1.0, 0), (&new, 5100, 1.0, 0)], &RULES);
    head.freeze(0, 1);
    let is = |name: &str| vec![Matcher::new("__name__", model::MatcherOp::Equal, name).unwrap()];
    let (early, late) = (TimeRange::new(0, 999), TimeRange::new(5000, 5999));
    let budget = SelectBudget::unlimited();
    assert_eq!(matching(&head, &[], TimeRange::ALL), [new.clone(), old.clone()]);
    assert_eq!(matching(&head, &[], early), std::slice::from_ref(&old));
    assert_eq!(matching(&head, &[is("old"), is("new")], late), std::slice::from_ref(&new));
    assert_eq!(head.label_names(&[], early), ["__name__", "job", "zone"]);
    assert_eq!(head.label_names(&[], late), ["__name__", "job"]);
    assert_eq!(head.label_values("job", &[is("old")], TimeRange::ALL), ["a"]);
    assert!(head.label_values("job", &[is("old")], late).is_empty());
    assert_eq!(head.select(&is("new"), TimeRange::ALL, &budget).unwrap().len(), 1);
    assert!(head.select(&is("new"), early, &budget).unwrap().is_empty());
}

#[test]
fn a_select_past_a_limit_names_it() {
    let mut head = head();
    push(&mut head, &[(&metric("a", "x"), 1, 1.0, 0), (&metric("b", "x"), 1, 1.0, 0)], &RULES);
    let meter = wire::Meter::new;
    let unlimited = || meter("none", 0);
    let budgets = [
        (meter("max_series_per_query", 1), unlimited(), unlimited()),
        (unlimited(), meter("max_samples_per_query", 1), unlimited()),
        (unlimited(), unlimited(), meter("max_bytes_per_query", 20)),
    ];
    for (series, samples, bytes) in budgets {
        let budget = Arc::new(SelectBudget { series, samples, bytes, deadline: None });
        let error = head.select(&[], TimeRange::ALL, &budget).unwrap_err().to_string();
        assert!(error.starts_with("the query exceeds the limit max_"), "{error}");
    }
}
