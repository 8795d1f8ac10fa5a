//! Exemplars in the head.

use model::{Batch, BatchSeries, Exemplar, ExemplarSeries, Labels, ShardBatch, TimeRange, push_label};
use wire::SelectBudget;

use super::{RULES, WINDOW, floats, head, matching, metric, push, select};
use crate::head::{DecideRules, Decision, RefusedExemplars, ShardHead};

/// An exemplar to be pushed: series, timestamp, value, trace id.
type Pushed<'a> = (&'a Labels, i64, f64, &'a str);

fn push_exemplars(head: &mut ShardHead, exemplars: &[Pushed], rules: &DecideRules) -> Decision {
    let (mut batch, mut part) = (Batch::default(), ShardBatch::default());
    for (labels, timestamp, value, trace) in exemplars {
        let from = batch.bytes.len() as u32;
        batch.bytes.extend_from_slice(labels.run());
        let labels_at = (from, batch.bytes.len() as u32);
        // In no order, as senders do.
        push_label(&mut batch.bytes, "trace_id", trace);
        push_label(&mut batch.bytes, "span_id", "s");
        let own_at = (labels_at.1, batch.bytes.len() as u32);
        part.series.push(BatchSeries {
            id: labels.id(),
            labels: labels_at,
            is_known: false,
            n_floats: 0,
            n_histograms: 0,
            n_exemplars: 1,
        });
        part.exemplars.push(Exemplar { timestamp: *timestamp, value: *value, labels: own_at });
    }
    let mut decision = Decision::default();
    head.decide(&batch, &part, rules, &mut decision);
    head.apply(&batch.bytes, &decision);
    decision
}

fn all(head: &ShardHead) -> Vec<ExemplarSeries> {
    head.exemplars(&[], TimeRange::ALL, &SelectBudget::unlimited()).unwrap()
}

fn times(head: &ShardHead) -> Vec<i64> {
    all(head).iter().flat_map(|series| series.exemplars.iter().map(|point| point.timestamp)).collect()
}

#[test]
fn a_series_may_have_exemplars_and_no_samples() {
    let mut head = head();
    let series = metric("latency_bucket", "x");
    let decision = push_exemplars(&mut head, &[(&series, 10, 0.5, "t1"), (&series, 5, 0.1, "t2")], &RULES);
    assert_eq!((decision.pushed.n_exemplars, decision.new_series.len()), (2, 1));
    let found = all(&head);
    assert_eq!((found.len(), &found[0].labels), (1, &series));
    assert_eq!(times(&head), [5, 10]);
    let own = Labels::from_pairs([("span_id", "s"), ("trace_id", "t1")]);
    assert_eq!(found[0].exemplars[1].labels, own, "in the order of names");
    assert!(select(&head, TimeRange::ALL).is_empty(), "no sample, no series in a select");
    assert!(matching(&head, &[], TimeRange::ALL).is_empty());
    assert_eq!(head.windows().len(), 1, "the window is there to be cut");
}

#[test]
fn an_exemplar_that_is_there_is_taken_and_dropped() {
    let mut head = head();
    let series = metric("latency_bucket", "x");
    let twice = [(&series, 10, 0.5, "t1"), (&series, 10, 0.5, "t1")];
    let first = push_exemplars(&mut head, &twice, &RULES);
    assert_eq!((first.pushed.n_exemplars, first.exemplars.len()), (2, 1));
    head.freeze(0, 1);
    let again = push_exemplars(&mut head, &twice, &RULES);
    assert_eq!((again.pushed.n_exemplars, again.exemplars.len()), (2, 0), "found in what is frozen");
    let other = push_exemplars(&mut head, &[(&series, 10, 0.5, "t2"), (&series, 10, 0.6, "t1")], &RULES);
    assert_eq!(other.exemplars.len(), 2);
    assert_eq!(times(&head), [10, 10, 10]);
}

#[test]
fn exemplars_beyond_the_limit_are_counted_and_their_samples_kept() {
    let mut head = head();
    let series = metric("latency_bucket", "x");
    let rules = DecideRules { max_exemplars_per_series: 3, ..RULES };
    let many: Vec<Pushed> = (0..5).map(|i| (&series, i, 1.0, "t")).collect();
    let decision = push_exemplars(&mut head, &many, &rules);
    let refused = RefusedExemplars { by_limit: 2, ..RefusedExemplars::default() };
    assert_eq!((decision.pushed.n_exemplars, decision.refused_exemplars), (3, refused));
    assert_eq!(decision.pushed.refused, [], "nothing that would fail the request");
    // Another window has room of its own, and what is frozen still counts.
    head.freeze(0, 1);
    let next = [(&series, 5, 1.0, "t"), (&series, WINDOW, 1.0, "t")];
    let decision = push_exemplars(&mut head, &next, &rules);
    assert_eq!((decision.pushed.n_exemplars, decision.refused_exemplars.by_limit), (1, 1));
    push(&mut head, &[(&series, 6, 1.0, 0)], &rules);
    assert_eq!(floats(&select(&head, TimeRange::ALL)[0]).len(), 1);
}

#[test]
fn exemplars_out_of_time_or_of_series_that_may_not_be_born_are_counted() {
    let mut head = head();
    let (a, b) = (metric("a", "x"), metric("b", "x"));
    let rules = DecideRules { min_time: 100, max_time: 200, series_allowance: 1, max_series: 1, ..RULES };
    let pushed = [(&a, 99, 1.0, "t"), (&a, 201, 1.0, "t"), (&a, 100, 1.0, "t"), (&b, 100, 1.0, "t")];
    let decision = push_exemplars(&mut head, &pushed, &rules);
    let refused = RefusedExemplars { by_time: 2, by_series_limit: 1, by_limit: 0 };
    assert_eq!((decision.pushed.n_exemplars, decision.refused_exemplars), (1, refused));
    assert_eq!(decision.pushed.refused, []);
}

#[test]
fn a_series_leaves_memory_after_its_exemplars_and_not_before() {
    let mut head = head();
    let series = metric("latency_bucket", "x");
    push_exemplars(&mut head, &[(&series, 10, 0.5, "t1")], &RULES);
    assert_eq!(head.forget_idle(i64::MAX), 0);
    assert!(head.freeze(0, 7));
    assert_eq!((head.forget_idle(i64::MAX), times(&head)), (0, vec![10]));
    let frozen = head.frozen(7).unwrap();
    assert_eq!(frozen.series().count(), 0);
    let exemplars: Vec<ExemplarSeries> = frozen.exemplars().collect();
    assert_eq!((exemplars.len(), exemplars[0].exemplars.len()), (1, 1));
    head.drop_frozen(7);
    assert_eq!((head.forget_idle(i64::MAX), times(&head)), (1, Vec::new()));
}

#[test]
fn the_memory_of_exemplars_is_counted() {
    let mut head = head();
    let series: Vec<Labels> = (0..10).map(|i| metric(&format!("m{i}"), "x")).collect();
    let before = head.bytes();
    for i in 0..100 {
        let trace = format!("{i:032x}");
        let pushed: Vec<Pushed> = series.iter().map(|labels| (labels, i, 1.0, trace.as_str())).collect();
        push_exemplars(&mut head, &pushed, &RULES);
    }
    let per_exemplar = (head.bytes() - before) as f64 / 1000.0;
    println!("{per_exemplar} bytes per exemplar");
    assert!((100.0..200.0).contains(&per_exemplar), "{per_exemplar}");
    let counted: usize = head.open.iter().map(|generation| generation.counted_bytes()).sum();
    assert_eq!(counted, head.open.iter().map(|generation| generation.bytes()).sum::<usize>());
}
