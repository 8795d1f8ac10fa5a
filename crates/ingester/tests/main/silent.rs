//! Tenants that fall silent: what they cost then, and that they go on where they left off.

use std::time::Duration;

use model::{Metadata, MetricType, TenantId};
use testkit::store::{Fault, On};
use wire::Push;

use crate::world::{HOUR, Node, START, Truth, World, floats_batch, labels, scrape};

/// Flushes everything and lets so much time pass that whoever says nothing is silent.
async fn fall_silent(world: &World, node: &Node) {
    world.time.advance(Duration::from_secs(3 * 3600));
    node.flusher.tick().await;
    node.flusher.tick().await;
    assert_eq!((node.metric("ingester_tenants"), node.metric("ingester_head_bytes")), (0.0, 0.0));
}

#[tokio::test]
async fn a_tenant_that_fell_silent_takes_no_memory_but_its_numbers_and_comes_back() {
    let mut world = World::new();
    let mut node = world.open().await;
    let mut truth = Truth::new();
    for round in 0..4 {
        // The same series, and one more each time that the log must not take for another.
        let now = START + round * 3 * HOUR;
        let mut floats = scrape(4, 5, now);
        floats.extend((0..4).map(|target| (labels(&format!("round_{round}"), target), now, round as f64)));
        node.accept(&mut truth, &floats).await;
        if round == 2 {
            // Not every cut may have got into the table before the process dies.
            node = world.kill(node).await;
        }
        node.check(&truth, "before the silence").await;
        fall_silent(&world, &node).await;
        assert_eq!(node.metric("ingester_silent_tenants"), 1.0);
        node.check(&truth, "in silence").await;
    }
    // All that was said is on the log, too: nothing of it may be taken for something else.
    let node = world.kill(node).await;
    node.check(&truth, "after a kill").await;
    node.flusher.tick().await;
    node.check(&truth, "after a look at all cuts").await;
}

#[tokio::test]
async fn a_silent_tenant_that_comes_back_gives_no_number_away_twice() {
    let mut world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &[(labels("a", 1), START, 1.0)]).await;
    fall_silent(&world, &node).await;
    // Of the same shard. It dies before anything of this is in a table.
    node.accept(&mut truth, &[(labels("b", 1), START + 3 * HOUR, 2.0)]).await;
    let node = world.kill(node).await;
    node.check(&truth, "after a kill").await;
    node.ingester.flush().await.unwrap();
    node.check(&truth, "after a flush").await;
    assert_eq!(node.metric("ingester_repeated_commits_total"), 0.0, "the cut had a sequence of its own");
}

#[tokio::test]
async fn a_tenant_that_has_something_in_memory_is_not_silent() {
    let world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &scrape(1, 3, START)).await;
    world.store.fail(On::Everything, Fault::Refuse, None);
    world.time.advance(Duration::from_secs(3 * 3600));
    node.flusher.tick().await;
    node.flusher.tick().await;
    assert_eq!((node.metric("ingester_tenants"), node.metric("ingester_silent_tenants")), (1.0, 0.0));
    world.store.heal();
    world.time.advance(Duration::from_secs(3600));
    node.flusher.tick().await;
    node.flusher.tick().await;
    assert_eq!((node.metric("ingester_tenants"), node.metric("ingester_silent_tenants")), (0.0, 1.0));
    node.check(&truth, "once the store was back").await;
}

#[tokio::test]
async fn thousands_of_silent_tenants_are_numbers_and_nothing_else() {
    let world = World::new();
    let node = world.open().await;
    let of = |i: usize| TenantId::new(&format!("team-{i}")).unwrap();
    let family = || Metadata {
        family: "up".to_string(),
        metric_type: MetricType::Gauge,
        unit: String::new(),
        help: "whether it is up".to_string(),
    };
    for i in 0..300 {
        let mut batch = floats_batch(&[(labels("up", i), START, 1.0)]);
        batch.metadata.push(family());
        node.ingester.push(&of(i), &batch).await.unwrap();
    }
    fall_silent(&world, &node).await;
    assert_eq!(node.metric("ingester_silent_tenants"), 300.0);
    world.time.advance(Duration::from_secs(2 * 3600));
    node.flusher.tick().await;
    assert_eq!(node.bucket.n_held(), 0, "their tables left memory too");
    node.ingester.push(&of(7), &floats_batch(&[(labels("up", 7), START + 5 * HOUR, 1.0)])).await.unwrap();
    node.flusher.tick().await;
    assert_eq!((node.metric("ingester_tenants"), node.metric("ingester_silent_tenants")), (1.0, 299.0));
}
