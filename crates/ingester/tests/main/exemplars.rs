//! Exemplars: on the log, in the head, in their table, and each once in the answers of both.

use std::collections::BTreeMap;

use bucket::Table;
use model::{ExemplarSeries, Matcher, MatcherOp, TimeRange};
use testkit::store::{Fault, On};
use wire::{LabelsRequest, Listed, Select, SelectBudget};

use crate::world::{
    Example, HOUR, MINUTE, Node, START, Truth, World, exemplars_batch, floats_batch, labels, scrape, tenant,
};

/// Series, time, bits of the value, trace.
type Found = BTreeMap<(String, i64, u64, String), usize>;

fn request(range: TimeRange, min_table_version: Option<u64>) -> LabelsRequest {
    let selectors = vec![vec![Matcher::new("__name__", MatcherOp::NotEqual, "").unwrap()]];
    LabelsRequest { selectors, range, limit: 0, budget: SelectBudget::unlimited(), min_table_version }
}

fn collect(listed: &Listed<ExemplarSeries>, found: &mut Found) {
    assert!(listed.items.windows(2).all(|pair| pair[0].labels < pair[1].labels), "sorted, each series once");
    for series in &listed.items {
        assert!(!series.exemplars.is_empty());
        for point in &series.exemplars {
            let trace = point.labels.get("trace_id").unwrap().to_string();
            assert_eq!(point.labels.get("span_id"), Some("00f067aa0ba902b7"));
            let key = (series.labels.to_string(), point.timestamp, point.value.to_bits(), trace);
            *found.entry(key).or_default() += 1;
        }
    }
}

fn expected(exemplars: &[Example]) -> Found {
    let key =
        |(labels, ts, value, trace): &Example| (labels.to_string(), *ts, value.to_bits(), trace.clone());
    exemplars.iter().map(|one| (key(one), 1)).collect()
}

async fn recent(node: &Node) -> (Found, Option<u64>) {
    let listed = node.ingester.exemplars(&tenant(), &request(TimeRange::ALL, None)).await.unwrap();
    let mut found = Found::new();
    collect(&listed, &mut found);
    (found, listed.table_version)
}

async fn stored(node: &Node, version: Option<u64>) -> Found {
    let mut found = Found::new();
    let listed = node.scan.exemplars(&tenant(), &request(TimeRange::ALL, version)).await.unwrap();
    collect(&listed, &mut found);
    found
}

/// Head and table together must be these; while a cut is in doubt one may be in both.
async fn check(node: &Node, exemplars: &[Example], when: &str) {
    let (mut found, version) = recent(node).await;
    found.extend(stored(node, version).await);
    assert_eq!(found, expected(exemplars), "{when}");
}

async fn accept(node: &Node, truth: &mut Vec<Example>, exemplars: Vec<Example>) {
    let pushed = node.push(&exemplars_batch(&exemplars)).await.unwrap();
    assert_eq!((pushed.n_exemplars, pushed.refused), (exemplars.len(), Vec::new()));
    truth.extend(exemplars);
}

fn some(n_targets: usize, timestamp: i64) -> Vec<Example> {
    let one = |target| {
        let value = timestamp as f64 / 7.0 + target as f64;
        (labels("latency_bucket", target), timestamp, value, format!("{:032x}", timestamp + target as i64))
    };
    (0..n_targets).map(one).collect()
}

#[tokio::test]
async fn exemplars_of_series_without_samples_survive_kills_and_flushes() {
    let mut world = World::new();
    let mut node = world.open().await;
    let mut truth = Vec::new();
    for minute in 0..5 {
        accept(&node, &mut truth, some(6, START + minute * MINUTE)).await;
    }
    check(&node, &truth, "in the head").await;
    node = world.kill(node).await;
    check(&node, &truth, "after a kill").await;
    assert_eq!(node.recent().await.0.len(), 0, "no samples came of them");
    node.ingester.flush().await.unwrap();
    assert_eq!(recent(&node).await.0.len(), 0, "nothing is left in the head");
    check(&node, &truth, "after the flush").await;
    assert_eq!((node.n_stored().await, node.table_version().await), (0, None), "no table of no samples");
    node = world.kill(node).await;
    check(&node, &truth, "after another kill").await;
    assert_eq!(recent(&node).await.0.len(), 0);
    // Their series are forgotten and come back with the next.
    accept(&node, &mut truth, some(6, START + 10 * MINUTE)).await;
    node = world.kill(node).await;
    check(&node, &truth, "after they came back").await;
}

#[tokio::test]
async fn samples_and_exemplars_of_one_series_take_the_same_way() {
    let mut world = World::new();
    let mut node = world.open().await;
    let (mut samples, mut truth) = (Truth::new(), Vec::new());
    for minute in 0..4 {
        let floats: Vec<_> =
            (0..6).map(|i| (labels("latency_bucket", i), START + minute * MINUTE, 1.0)).collect();
        node.accept(&mut samples, &floats).await;
        accept(&node, &mut truth, some(6, START + minute * MINUTE)).await;
    }
    world.time.set(START + 2 * HOUR + 30 * MINUTE);
    node.flusher.tick().await;
    node.check(&samples, "after the cut").await;
    check(&node, &truth, "after the cut").await;
    let table = node.bucket.table(&tenant(), Table::Exemplars);
    let snapshot = table.snapshot().await.unwrap().unwrap();
    assert_eq!((snapshot.version(), snapshot.n_files()), (1, 1), "one file of all shards");
    let file = snapshot.files().next().unwrap();
    assert_eq!(file.tag("firn.exemplars"), Some("24"));
    node = world.kill(node).await;
    node.check(&samples, "after a kill").await;
    check(&node, &truth, "after a kill").await;
}

#[tokio::test]
async fn an_exemplar_that_is_sent_again_is_there_once() {
    let world = World::new();
    let node = world.open().await;
    let mut truth = Vec::new();
    accept(&node, &mut truth, some(3, START)).await;
    for _ in 0..2 {
        let again = node.push(&exemplars_batch(&truth)).await.unwrap();
        assert_eq!((again.n_exemplars, again.refused.len()), (3, 0));
        check(&node, &truth, "sent again").await;
        node.ingester.flush().await.unwrap();
    }
    let snapshot = node.bucket.table(&tenant(), Table::Exemplars).snapshot().await.unwrap().unwrap();
    assert_eq!(snapshot.n_files(), 2, "after a cut it is not known any more");
    check(&node, &truth, "twice in the table, once in the answer").await;
}

#[tokio::test]
async fn what_the_limit_refuses_is_counted_and_costs_no_sample() {
    let mut world = World::new();
    world.limits.max_exemplars_per_series = 4;
    let node = world.open().await;
    let many: Vec<Example> = (0..10).flat_map(|second| some(1, START + second * 1000)).collect();
    let mut batch = exemplars_batch(&many);
    let samples = floats_batch(&scrape(1, 2, START));
    batch.shards.extend(samples.shards.into_iter().map(|mut part| {
        let offset = batch.bytes.len() as u32;
        part.series.iter_mut().for_each(|one| one.labels = (one.labels.0 + offset, one.labels.1 + offset));
        part
    }));
    batch.bytes.extend(samples.bytes);
    let pushed = node.push(&batch).await.unwrap();
    assert_eq!((pushed.n_floats, pushed.n_exemplars, pushed.refused), (2, 4, Vec::new()));
    assert_eq!(node.metric("ingester_refused_exemplars_total"), 6.0);
    assert_eq!(node.metric("ingester_exemplars_total"), 4.0);
    check(&node, &many[..4], "the first are kept").await;
}

#[tokio::test]
async fn exemplars_are_found_by_their_time_in_head_and_table() {
    let world = World::new();
    let node = world.open().await;
    let mut truth = Vec::new();
    for minute in 0..20 {
        accept(&node, &mut truth, some(2, START + minute * MINUTE)).await;
    }
    let range = TimeRange::new(START + 5 * MINUTE, START + 7 * MINUTE);
    let wanted: Vec<Example> = truth.iter().filter(|one| range.contains(one.1)).cloned().collect();
    let mut found = Found::new();
    collect(&node.ingester.exemplars(&tenant(), &request(range, None)).await.unwrap(), &mut found);
    assert_eq!(found, expected(&wanted));
    node.ingester.flush().await.unwrap();
    let mut found = Found::new();
    collect(&node.scan.exemplars(&tenant(), &request(range, None)).await.unwrap(), &mut found);
    assert_eq!(found, expected(&wanted));
    assert_eq!(wanted.len(), 6);
}

#[tokio::test]
async fn each_step_that_fails_is_repeated_and_nothing_is_lost_or_there_twice() {
    for suffix in ["exemplars/day", "exemplars/_delta_log", "metrics/day", "metrics/_delta_log"] {
        for fault in [Fault::Refuse, Fault::LoseAnswer] {
            for times in [1, 3, 20] {
                let when = format!("{suffix} {fault:?} {times} times");
                let mut world = World::new();
                let node = world.open().await;
                let (mut samples, mut truth) = (Truth::new(), Vec::new());
                node.accept(&mut samples, &scrape(2, 5, START)).await;
                accept(&node, &mut truth, some(5, START)).await;
                check(&node, &truth, &when).await;
                world.store.fail(On::PutIn(suffix), fault, Some(times));
                while node.ingester.flush().await.is_err() {
                    check(&node, &truth, &when).await;
                }
                check(&node, &truth, &when).await;
                let node = world.kill(node).await;
                node.ingester.flush().await.unwrap();
                check(&node, &truth, &when).await;
                node.check(&samples, &when).await;
                assert_eq!(n_in_table(&node).await, truth.len(), "{when}");
            }
        }
    }
}

/// Rows of the table, as its commits say.
async fn n_in_table(node: &Node) -> usize {
    let table = node.bucket.table(&tenant(), Table::Exemplars);
    let snapshot = table.snapshot().await.unwrap().unwrap();
    snapshot.files().map(|file| file.tag("firn.exemplars").unwrap().parse::<usize>().unwrap()).sum()
}

#[tokio::test]
async fn a_death_between_the_two_commits_repeats_only_the_second() {
    for stall in ["exemplars/_delta_log", "metrics/day", "metrics/_delta_log"] {
        let mut world = World::new();
        let node = world.open().await;
        let (mut samples, mut truth) = (Truth::new(), Vec::new());
        node.accept(&mut samples, &scrape(2, 5, START)).await;
        accept(&node, &mut truth, some(5, START)).await;
        // The tables are there already: the first put below is of the cut.
        node.ingester.flush().await.unwrap();
        node.accept(&mut samples, &scrape(2, 5, START + MINUTE)).await;
        accept(&node, &mut truth, some(5, START + MINUTE)).await;
        world.store.fail(On::PutIn(stall), Fault::StallAfter, None);
        let ingester = node.ingester.clone();
        let flush = tokio::spawn(async move { ingester.flush().await });
        while world.store.n_faults() == 0 {
            tokio::task::yield_now().await;
        }
        flush.abort();
        assert!(flush.await.is_err());
        world.store.heal();
        let node = world.kill(node).await;
        check(&node, &truth, stall).await;
        node.ingester.flush().await.unwrap();
        check(&node, &truth, stall).await;
        node.check(&samples, stall).await;
        assert_eq!(n_in_table(&node).await, truth.len(), "{stall}: none twice");
        assert_eq!(recent(&node).await.0.len(), 0, "{stall}");
    }
}

#[tokio::test]
async fn a_tenant_without_exemplars_has_no_table_of_them_and_no_request_for_it() {
    let world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    for minute in 0..3 {
        node.accept(&mut truth, &scrape(2, 5, START + minute * MINUTE)).await;
        node.ingester.flush().await.unwrap();
    }
    for table in [Table::Exemplars, Table::Metadata] {
        assert!(node.bucket.table(&tenant(), table).snapshot().await.unwrap().is_none());
    }
    assert_eq!(world.store.objects().await.iter().filter(|path| !path.contains("/metrics/")).count(), 0);
}
