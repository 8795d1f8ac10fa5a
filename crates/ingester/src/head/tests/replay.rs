//! A head rebuilt from what the log was given is the same head.

use proptest::prelude::*;

use super::*;

fn samples() -> impl Strategy<Value = Vec<(usize, i64, f64, i64)>> {
    prop::collection::vec((0usize..30, 0i64..2500, (0i64..4).prop_map(|v| v as f64), 0i64..3), 1..60)
}

/// Labels, samples and start timestamps of a series.
type Row = (String, Vec<(i64, u64)>, Vec<(i64, i64)>);

fn rows(head: &ShardHead) -> Vec<Row> {
    let all = select(head, TimeRange::ALL);
    all.into_iter().map(|series| (series.labels.to_string(), floats(&series), series.starts)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_log_replayed_twice_gives_the_same_head(batches in prop::collection::vec(samples(), 1..12)) {
        let series: Vec<Labels> = (0..30).map(|i| metric(&format!("m{i}"), &format!("h{}", i % 3))).collect();
        let mut first = head();
        let mut log = Vec::new();
        let mut definitions = Vec::new();
        for samples in &batches {
            let pushed: Vec<Float> = samples.iter().map(|(i, ts, v, start)| (&series[*i], *ts, *v, *start)).collect();
            let (batch, part) = batch(&pushed, &[]);
            let mut decision = Decision::default();
            first.decide(&batch, &part, &RULES, &mut decision);
            first.apply(&batch.bytes, &decision);
            for new in &decision.new_series {
                let run = &batch.bytes[new.labels.0 as usize..new.labels.1 as usize];
                definitions.push((new.series_ref, run.to_vec()));
            }
            log.push(decision);
        }
        let mut second = head();
        // Carried-forward definitions come in any order.
        for (series_ref, run) in definitions.iter().rev() {
            prop_assert!(second.define_series(*series_ref, run, None));
        }
        for _ in 0..2 {
            for d in &log {
                prop_assert_eq!(second.append_replayed(&d.refs, &d.timestamps, &d.values, &d.starts, 0), 0);
            }
        }
        second.finish_replay();
        prop_assert_eq!(rows(&first), rows(&second));
        prop_assert_eq!(first.next_ref(), second.next_ref());
        let definitions = |head: &ShardHead| {
            head.definitions().map(|d| (d.series_ref, d.id, d.run.to_vec(), d.newest_flushed)).collect::<Vec<_>>()
        };
        prop_assert_eq!(definitions(&first), definitions(&second));
    }
}

#[test]
fn a_series_that_was_forgotten_and_came_back_is_one_series_after_a_replay() {
    let a = metric("a", "x");
    let mut head = head();
    assert!(head.define_series(3, a.run(), Some((5, 1.0f64.to_bits()))));
    assert!(head.define_series(9, a.run(), Some((8, 2.0f64.to_bits()))));
    assert!(!head.define_series(3, metric("b", "x").run(), None));
    assert_eq!(head.append_replayed(&[3, 9, 9, 4], &[10, 11, 8, 1], &[1.0, 2.0, 3.0, 4.0], &[], 0), 1);
    head.finish_replay();
    assert_eq!(head.n_series(), 1);
    assert_eq!(floats(&select(&head, TimeRange::ALL)[0]), [(10, 1.0f64.to_bits()), (11, 2.0f64.to_bits())]);
    assert_eq!(head.next_ref(), 10);
    assert_eq!(head.definitions().next().unwrap().newest_flushed, Some((8, 2.0f64.to_bits())));
}
