//! Any sequence of pushes, deletions, flushes, merges and queries: with parts and kept answers it is as without.

use std::cell::Cell;

use model::{BucketSpan, Counts, Histogram, ResetHint, TimeRange};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::world::{HOUR, MINUTE, World, series};

const QUERIES: [&str; 48] = [
    "g",
    "sum by (i) (rate(c_total[20m]))",
    "rate(g[15m])",
    "sum(g) - 1",
    "g offset 2h",
    "g offset -1h",
    "max_over_time(sum(g)[4h:10m])",
    "avg_over_time(g[5h])",
    "topk(1, g)",
    "topk(2, sum by (i) (g))",
    "limitk(1, g)",
    "g @ end()",
    "sum(g @ start())",
    "absent(g{i=\"3\"})",
    "count_values(\"v\", g)",
    "g or on (i) c_total",
    "label_replace(g, \"j\", \"$1\", \"i\", \"(.*)\")",
    "histogram_quantile(0.5, b_bucket)",
    "quantile_over_time(2, g[30m])",
    "sort(g)",
    "timestamp(g) - time()",
    "increase(c_total[1h]) > 5 unless g",
    "topk(1, sum by (i) (c_total))",
    "bottomk(1, c_total or on (i) g)",
    "sum(topk(1, label_replace(g, \"j\", \"a\", \"i\", \"[01]\")))",
    "limitk(1, g or c_total)",
    "h",
    "h offset 2h",
    "rate(h[20m])",
    "irate(h[40m])",
    "sum(rate(h[1h]))",
    "sum by (i) (increase(h[30m]))",
    "histogram_quantile(0.9, sum(rate(h[1h])))",
    "histogram_quantile(0.5, {__name__=~\"h|b_bucket\"})",
    "histogram_count(h) - 1",
    "histogram_sum(avg_over_time(h[2h]))",
    "histogram_fraction(0, 2, h)",
    "sum_over_time(h[30m])",
    "delta(h[1h])",
    "resets(h[3h])",
    "changes(h[2h])",
    "last_over_time(h[1h]) * 2",
    "count_over_time({__name__=~\"g|h\"}[1h])",
    "h or g",
    "avg(h)",
    "sum({__name__=~\"g|h\"})",
    "sum_over_time(sum(rate(h[30m]))[2h:10m])",
    "count_values(\"v\", h)",
];
/// Names of series; those of the last have native histograms.
const NAMES: [&str; 4] = ["g", "c_total", "b_bucket", "h"];

#[derive(Debug, Clone)]
enum Act {
    Advance {
        minutes: i64,
    },
    /// Of one name samples of all series, from so long ago on, one every ten minutes.
    Push {
        name: usize,
        minutes_ago: i64,
        n: i64,
        seed: i64,
    },
    Delete {
        instance: usize,
        minutes_ago: i64,
        minutes: i64,
    },
    DeleteTenant,
    Flush,
    Compact,
    Query {
        query: usize,
        minutes_ago: i64,
        minutes: i64,
        step: usize,
        shift: i64,
    },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (1i64..300).prop_map(|minutes| Act::Advance { minutes }),
        6 => (0..NAMES.len(), 0i64..900, 1i64..40, 0i64..1000)
            .prop_map(|(name, minutes_ago, n, seed)| Act::Push { name, minutes_ago, n, seed }),
        2 => (0usize..12, 0i64..900, 0i64..300)
            .prop_map(|(instance, minutes_ago, minutes)| Act::Delete { instance, minutes_ago, minutes }),
        1 => Just(Act::DeleteTenant),
        4 => Just(Act::Flush),
        1 => Just(Act::Compact),
        12 => (0..QUERIES.len(), 0i64..1200, 0i64..1200, 0usize..4, prop_oneof![4 => Just(0i64), 1 => 1i64..60])
            .prop_map(|(query, minutes_ago, minutes, step, shift)| {
                Act::Query { query, minutes_ago, minutes, step, shift }
            }),
    ]
}

async fn perform(world: &mut World, act: &Act) {
    let now = world.now_ms;
    match act {
        Act::Advance { minutes } => world.advance(minutes * MINUTE),
        Act::Push { name, minutes_ago, n, seed } => {
            push(world, *name, now - minutes_ago * MINUTE, *n, *seed).await
        }
        Act::Delete { instance, minutes_ago, minutes } => {
            let start = now - minutes_ago * MINUTE;
            let (name, instance) = (NAMES[instance / 3], (instance % 3).to_string());
            world.delete(name, &instance, TimeRange::new(start, start + minutes * MINUTE)).await;
        }
        Act::DeleteTenant => world.deleter.delete_tenant(&super::world::tenant()).await.unwrap(),
        Act::Flush => world.flush().await,
        Act::Compact => world.compact().await,
        Act::Query { query, minutes_ago, minutes, step, shift } => {
            let step = [MINUTE, 5 * MINUTE, 7 * MINUTE, HOUR][*step];
            let end = (now - minutes_ago * MINUTE).div_euclid(step) * step + shift * 1000;
            let start = end - (minutes * MINUTE).div_euclid(step) * step;
            // Twice: the second answer is of what the first one left.
            for _ in 0..2 {
                world.check(QUERIES[*query], start, end, step).await;
            }
        }
    }
}

async fn push(world: &World, name: usize, from: i64, n: i64, seed: i64) {
    if NAMES[name] == "h" {
        return push_histograms(world, from, n, seed).await;
    }
    let mut samples = Vec::new();
    for i in 0..n {
        let at = (from + i * 10 * MINUTE).min(world.now_ms);
        for instance in 0..3 {
            let value = ((seed + i * (instance + 1)) % 97) as f64;
            let labels = match name {
                0 => series("g", &instance.to_string()),
                1 => series("c_total", &instance.to_string()),
                _ => {
                    let le = ["1", "2", "+Inf"][instance as usize];
                    model::Labels::from_pairs([("__name__", "b_bucket"), ("le", le)])
                }
            };
            samples.push((labels, at, value));
        }
    }
    // One sample of a series per request and time: what comes twice with another value is refused.
    samples.dedup_by(|a, b| a.0 == b.0 && a.1 == b.1);
    world.push(&samples).await;
}

/// Histograms that count, are reset now and then, and change their schema.
async fn push_histograms(world: &World, from: i64, n: i64, seed: i64) {
    let mut samples = Vec::new();
    for i in 0..n {
        let at = (from + i * 10 * MINUTE).min(world.now_ms);
        for instance in 0..3 {
            let count = ((seed + i * (instance + 1)) % 97).unsigned_abs();
            samples.push((series("h", &instance.to_string()), at, native(count, (seed + i) / 7 % 3)));
        }
    }
    samples.dedup_by(|a, b| a.0 == b.0 && a.1 == b.1);
    world.push_histograms(&samples).await;
}

/// So many observations in each of three buckets, and half as many in that for zero.
fn native(each: u64, schema: i64) -> Histogram {
    let counts = Counts::Int {
        count: 3 * each + each / 2,
        zero: each / 2,
        positive: vec![each, each],
        negative: vec![each],
    };
    Histogram {
        schema: schema as i32,
        zero_threshold: 0.001,
        sum: 1.5 * each as f64,
        counts,
        positive_spans: vec![BucketSpan { offset: 0, length: 1 }, BucketSpan { offset: 1, length: 1 }],
        negative_spans: vec![BucketSpan { offset: 0, length: 1 }],
        custom_values: Vec::new(),
        reset_hint: ResetHint::Unknown,
    }
}

#[test]
fn what_is_split_and_kept_makes_no_difference() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 48, max_shrink_iters: 200, ..Config::default() });
    let hits = Cell::new(0.0);
    let run = |acts: Vec<Act>| {
        runtime.block_on(async {
            let mut world = World::new().await;
            push(&world, 0, world.now_ms - 20 * HOUR, 120, 1).await;
            push(&world, 1, world.now_ms - 20 * HOUR, 120, 2).await;
            push(&world, 3, world.now_ms - 20 * HOUR, 120, 3).await;
            world.flush().await;
            for act in &acts {
                perform(&mut world, act).await;
            }
            hits.set(hits.get() + world.metric("query_frontend_results_cache_hits_total"));
        });
        Ok(())
    };
    runner.run(&prop::collection::vec(act(), 10..60), run).unwrap();
    assert!(hits.get() > 1000.0, "only {} answers were kept and used", hits.get());
}
