//! Figures of heads: what a walk over the labels of all series counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Labels, Matcher, MatcherOp};
use runtime::MemoryPart;
use wire::{HeadStats, HeadStatsRequest, LabelStats, Meter, Select, SelectBudget, SelectError};

use crate::world::{HOUR, MINUTE, Node, START, Truth, World, labels, tenant};

fn request(selectors: Vec<Vec<Matcher>>, active_since_ms: Option<i64>, top: usize) -> HeadStatsRequest {
    let (names, budget) = (Vec::new(), SelectBudget::unlimited());
    HeadStatsRequest { selectors, active_since_ms, names, top, histograms: false, budget }
}

async fn ask(node: &Node, request: &HeadStatsRequest) -> HeadStats {
    node.ingester.head_stats(&tenant(), request).await.unwrap()
}

/// A label: its name, its series, its bytes, its values, and those with the most series.
type Figures = (String, u64, u64, u64, Vec<(String, u64)>);

/// The figures of these series, by a walk.
fn walk(series: &BTreeSet<Labels>, top: usize) -> Vec<Figures> {
    let mut counts: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for labels in series {
        for (name, value) in labels.iter() {
            *counts.entry(name.to_string()).or_default().entry(value.to_string()).or_default() += 1;
        }
    }
    let size = |text: &str| text.len() as u64 + if text.len() < 255 { 1 } else { 4 };
    let figures = |(name, values): (String, BTreeMap<String, u64>)| {
        let n_bytes = values.iter().map(|(value, n)| n * (size(&name) + size(value))).sum();
        let (n_series, n_values) = (values.values().sum(), values.len() as u64);
        let mut greatest: Vec<(String, u64)> = values.into_iter().collect();
        greatest.sort_by(wire::most_first);
        greatest.truncate(top);
        (name, n_series, n_bytes, n_values, greatest)
    };
    counts.into_iter().map(figures).collect()
}

fn check(stats: &HeadStats, series: &BTreeSet<Labels>, top: usize) {
    let told = |label: &LabelStats| {
        (label.name.clone(), label.n_series, label.n_bytes, label.values.count(), label.top.clone())
    };
    assert_eq!(stats.totals.n_series, series.len() as u64);
    assert_eq!(stats.labels.iter().map(told).collect::<Vec<_>>(), walk(series, top));
}

fn fleet() -> BTreeSet<Labels> {
    let mut series: BTreeSet<Labels> =
        (0..40).flat_map(|host| ["up", "cpu", "disk"].map(|name| labels(name, host))).collect();
    for i in 0..300 {
        let (path, long) = (format!("/{i}"), "x".repeat(200 + i));
        let job = format!("j{}", i % 11);
        series.insert(Labels::from_pairs([
            ("__name__", "http"),
            ("job", &job),
            ("path", &path),
            ("long", &long),
        ]));
    }
    series
}

fn at(series: &BTreeSet<Labels>, timestamp: i64) -> Vec<(Labels, i64, f64)> {
    series.iter().map(|labels| (labels.clone(), timestamp, 1.0)).collect()
}

#[tokio::test]
async fn figures_of_the_shards_together_are_those_of_a_walk() {
    let world = World::new();
    let node = world.open().await;
    let (series, mut truth) = (fleet(), Truth::new());
    node.accept(&mut truth, &at(&series, START + MINUTE)).await;
    node.accept(&mut truth, &at(&series, START + 2 * MINUTE)).await;
    for top in [0, 1, 3, 25, 1000] {
        check(&ask(&node, &request(Vec::new(), None, top)).await, &series, top);
    }
    let matcher = |name: &str, op, value: &str| Matcher::new(name, op, value).unwrap();
    let selectors = vec![
        vec![matcher("__name__", MatcherOp::Equal, "up"), matcher("instance", MatcherOp::Regex, "h1.*")],
        vec![matcher("job", MatcherOp::Equal, "j3")],
    ];
    let passes = |labels: &&Labels| {
        let all = |all: &Vec<Matcher>| all.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or("")));
        selectors.iter().any(all)
    };
    let some: BTreeSet<Labels> = series.iter().filter(passes).cloned().collect();
    let stats = ask(&node, &request(selectors.clone(), None, 5)).await;
    assert!(some.len() > 20 && some.len() < series.len());
    check(&stats, &some, 5);
    let totals = stats.totals;
    assert_eq!((totals.oldest_ms, totals.newest_ms), (Some(START + MINUTE), Some(START + 2 * MINUTE)));
    let named = HeadStatsRequest { names: vec!["job".to_string()], ..request(Vec::new(), None, 3) };
    let names: Vec<String> = ask(&node, &named).await.labels.into_iter().map(|label| label.name).collect();
    assert_eq!(names, ["job"]);
    let stranger = model::TenantId::new("stranger").unwrap();
    let nothing = node.ingester.head_stats(&stranger, &named).await.unwrap();
    assert_eq!(nothing, HeadStats::default());
}

#[tokio::test]
async fn a_series_is_active_by_its_newest_sample_in_the_head_or_flushed() {
    let world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    let of = |name: &str| -> BTreeSet<Labels> { (0..20).map(|host| labels(name, host)).collect() };
    node.accept(&mut truth, &at(&of("old"), START + MINUTE)).await;
    node.accept(&mut truth, &at(&of("flushed"), START + 50 * MINUTE)).await;
    node.ingester.flush().await.unwrap();
    node.accept(&mut truth, &at(&of("new"), START + 55 * MINUTE)).await;
    let active = ask(&node, &request(Vec::new(), Some(START + 40 * MINUTE), 10)).await;
    let wanted: BTreeSet<Labels> = of("flushed").into_iter().chain(of("new")).collect();
    check(&active, &wanted, 10);
    check(&ask(&node, &request(Vec::new(), Some(START + 52 * MINUTE), 10)).await, &of("new"), 10);
    assert_eq!(ask(&node, &request(Vec::new(), Some(START + HOUR), 10)).await.totals.n_series, 0);
}

#[tokio::test]
async fn a_count_is_refused_by_the_limit_that_it_would_break() {
    let world = World::new();
    let node = world.open().await;
    node.accept(&mut Truth::new(), &at(&fleet(), START + MINUTE)).await;
    let budget = SelectBudget {
        series: Meter::new("max_series_per_query", 0),
        samples: Meter::new("max_samples_per_query", 0),
        bytes: Meter::of_memory("max_bytes_per_query", 10_000, MemoryPart::unlimited("queries")),
        deadline: None,
    };
    let small = HeadStatsRequest { budget: Arc::new(budget), ..request(Vec::new(), None, 10) };
    let refused = node.ingester.head_stats(&tenant(), &small).await;
    assert!(
        matches!(refused, Err(SelectError::LimitExceeded { name: "max_bytes_per_query", limit: 10_000, .. })),
        "{refused:?}"
    );
}
