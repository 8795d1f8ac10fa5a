//! Descriptions of metric families: logged when they are news, in their table once.

use bucket::Table;
use model::{Batch, Metadata, MetricType};
use testkit::store::{Fault, On};
use wire::{MetadataRequest, Push, Select, SelectBudget};

use crate::world::{HOUR, MINUTE, Node, START, Truth, World, scrape, tenant};

fn family(name: &str, help: &str) -> Metadata {
    let (family, help) = (name.to_string(), help.to_string());
    Metadata { family, metric_type: MetricType::Gauge, unit: String::new(), help }
}

async fn push(node: &Node, metadata: Vec<Metadata>) {
    let batch = Batch { metadata, ..Batch::default() };
    node.ingester.push(&tenant(), &batch).await.unwrap();
}

fn request(family: Option<&str>, min_table_version: Option<u64>) -> MetadataRequest {
    MetadataRequest {
        family: family.map(str::to_string),
        budget: SelectBudget::unlimited(),
        min_table_version,
    }
}

/// What head and table say, without repetitions, sorted.
async fn known(node: &Node, family: Option<&str>) -> Vec<(String, String)> {
    let recent = node.ingester.metadata(&tenant(), &request(family, None)).await.unwrap();
    let stored = node.scan.metadata(&tenant(), &request(family, recent.table_version)).await.unwrap();
    let all = recent.items.into_iter().chain(stored.items);
    let mut all: Vec<(String, String)> = all.map(|one| (one.family, one.help)).collect();
    all.sort();
    all.dedup();
    all
}

/// Descriptions in all files of the table, as their commits say.
async fn n_stored(node: &Node) -> usize {
    let table = node.bucket.table(&tenant(), Table::Metadata);
    let Some(snapshot) = table.snapshot().await.unwrap() else { return 0 };
    snapshot.files().map(|file| file.tag("firn.families").unwrap().parse::<usize>().unwrap()).sum()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(family, help)| (family.to_string(), help.to_string())).collect()
}

#[tokio::test]
async fn descriptions_survive_kills_the_release_of_the_log_and_flushes() {
    let mut world = World::new();
    let mut node = world.open().await;
    for help in ["first", "second"] {
        push(&node, vec![family("up", help)]).await;
        world.time.advance(std::time::Duration::from_secs(1));
    }
    let expected = pairs(&[("up", "first"), ("up", "second")]);
    assert_eq!(known(&node, None).await, expected);
    node = world.kill(node).await;
    assert_eq!(known(&node, None).await, expected, "after a kill");
    let newest = node.ingester.metadata(&tenant(), &request(Some("up"), None)).await.unwrap();
    assert_eq!(newest.items[0].help, "second", "the newest first");
    // The segment that holds them goes while the store does not take them: they are written again further on.
    world.time.set(START + 2 * HOUR);
    world.store.fail(On::PutIn("metadata/day"), Fault::Refuse, None);
    for minute in 0..100 {
        node.accept(&mut Truth::new(), &scrape(10, 100, START + minute * MINUTE)).await;
    }
    assert!(node.ingester.flush().await.is_err(), "the descriptions are not in their table");
    assert!(!world.files.files().iter().any(|(path, _)| path.ends_with("00000000000000000001.wal")));
    assert_eq!(node.recent().await.0.len(), 0, "the samples are in theirs");
    node = world.kill(node).await;
    assert_eq!(known(&node, None).await, expected, "after the release");
    world.store.heal();
    node.ingester.flush().await.unwrap();
    assert_eq!(n_stored(&node).await, 2);
    let newest = node.scan.metadata(&tenant(), &request(None, None)).await.unwrap();
    assert_eq!(newest.items, [family("up", "second"), family("up", "first")]);
    node = world.kill(node).await;
    assert_eq!(known(&node, None).await, expected, "after the flush");
    assert_eq!(known(&node, Some("down")).await, []);
}

#[tokio::test]
async fn only_news_are_logged_and_written_whatever_is_repeated_restarted_and_flushed() {
    let mut world = World::new();
    let mut node = world.open().await;
    let mut truth = Truth::new();
    let all = || vec![family("a", "x"), family("b", "x"), family("a", "y"), family("a", "x")];
    for round in 0..6 {
        let logged = node.metric("wal_appended_records_total");
        push(&node, all()).await;
        push(&node, all()).await;
        node.flusher.tick().await;
        let n_logged = node.metric("wal_appended_records_total") - logged;
        assert!(n_logged <= 1.0, "round {round}: {n_logged} records");
        node.accept(&mut truth, &scrape(1, 3, START + round * MINUTE)).await;
        node.ingester.flush().await.unwrap();
        assert_eq!(n_stored(&node).await, 3, "round {round}");
        if round % 2 == 1 {
            node = world.kill(node).await;
        }
    }
    push(&node, vec![family("a", "z")]).await;
    node.ingester.flush().await.unwrap();
    assert_eq!(n_stored(&node).await, 4, "what changed, without a sample beside it");
    assert_eq!(known(&node, Some("a")).await, pairs(&[("a", "x"), ("a", "y"), ("a", "z")]));
    node.check(&truth, "at the end").await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_not_repeated() {
    for (on, fault) in [
        (On::PutIn("metadata/_delta_log"), Fault::LoseAnswer),
        (On::PutIn("metadata/_delta_log"), Fault::Refuse),
        (On::PutIn("metadata/day"), Fault::LoseAnswer),
        (On::PutIn("metrics/_delta_log"), Fault::Refuse),
    ] {
        for times in [1, 3, 20] {
            let when = format!("{on:?} {fault:?} {times} times");
            let mut world = World::new();
            let node = world.open().await;
            let mut truth = Truth::new();
            node.accept(&mut truth, &scrape(2, 5, START)).await;
            push(&node, vec![family("a", "x"), family("b", "x")]).await;
            known(&node, None).await;
            world.store.fail(on, fault, Some(times));
            while node.ingester.flush().await.is_err() {
                assert_eq!(known(&node, None).await.len(), 2, "{when}");
            }
            assert_eq!(n_stored(&node).await, 2, "{when}");
            let node = world.kill(node).await;
            push(&node, vec![family("a", "x"), family("b", "x")]).await;
            node.ingester.flush().await.unwrap();
            assert_eq!(n_stored(&node).await, 2, "{when}");
            node.check(&truth, &when).await;
        }
    }
}

#[tokio::test]
async fn descriptions_of_a_tenant_that_fell_silent_leave_memory() {
    let world = World::new();
    let node = world.open().await;
    push(&node, vec![family("a", "x")]).await;
    node.ingester.flush().await.unwrap();
    let before = node.metric("ingester_head_bytes");
    world.time.advance(std::time::Duration::from_secs(4 * 3600));
    node.flusher.tick().await;
    assert_eq!(node.ingester.metadata(&tenant(), &request(None, None)).await.unwrap().items, []);
    assert!(node.metric("ingester_head_bytes") < before);
    assert_eq!(known(&node, None).await, pairs(&[("a", "x")]));
}
