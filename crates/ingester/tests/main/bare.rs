//! Series that come by their identity alone, as they do from a distributor that has met them before.

use std::time::Duration;

use model::{Batch, Labels};
use wire::RefusalReason;

use crate::world::{HOUR, START, Truth, World, exemplars_batch, floats_batch, labels, note, scrape};

/// The batch without the labels of its series.
fn bare(mut batch: Batch) -> Batch {
    for series in batch.shards.iter_mut().flat_map(|part| &mut part.series) {
        series.labels = (0, 0);
    }
    batch
}

#[tokio::test]
async fn of_series_without_labels_those_that_are_known_are_taken_and_the_others_are_named() {
    let mut world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &scrape(4, 5, START)).await;
    let mut more = scrape(4, 5, START + 1000);
    note(&mut truth, &more);
    let strangers: Vec<Labels> = (0..3).map(|i| labels("stranger", i)).collect();
    for (i, stranger) in strangers.iter().enumerate() {
        more.insert(5 * i, (stranger.clone(), START + 1000, 1.0));
    }
    let pushed = node.push(&bare(floats_batch(&more))).await.unwrap();
    assert_eq!((pushed.n_samples(), pushed.n_refused()), (20, 0));
    let mut unknown = pushed.unknown;
    let mut expected: Vec<_> = strangers.iter().map(Labels::id).collect();
    unknown.sort_by_key(|id| id.0);
    expected.sort_by_key(|id| id.0);
    assert_eq!(unknown, expected);
    node.check(&truth, "after bare series").await;
    let node = world.kill(node).await;
    node.check(&truth, "after a kill").await;
    let again = scrape(4, 5, START + 2000);
    let pushed = node.push(&bare(floats_batch(&again))).await.unwrap();
    assert_eq!((pushed.n_samples(), pushed.unknown), (20, vec![]), "known from the log");
}

#[tokio::test]
async fn a_series_without_labels_is_refused_by_its_labels() {
    let world = World::new();
    let node = world.open().await;
    let (known, ts) = (labels("up", 1), START + HOUR);
    node.accept(&mut Truth::new(), &[(known.clone(), ts, 1.0)]).await;
    let pushed = node.push(&bare(floats_batch(&[(known.clone(), ts, 2.0)]))).await.unwrap();
    assert_eq!(pushed.refused[0].reason, RefusalReason::DuplicateTimestamp);
    assert!(pushed.refused[0].message.contains(&known.to_string()), "{:?}", pushed.refused);
}

#[tokio::test]
async fn an_exemplar_alone_does_not_give_birth_to_a_series_without_labels() {
    let world = World::new();
    let node = world.open().await;
    let example = (labels("up", 1), START, 1.0, "4bf92f3577b34da6a3ce929d0e0e4736".to_string());
    let pushed = node.push(&bare(exemplars_batch(std::slice::from_ref(&example)))).await.unwrap();
    assert_eq!((pushed.n_exemplars, pushed.unknown), (0, vec![example.0.id()]));
    assert_eq!(node.metric("ingester_series"), 0.0);
}

#[tokio::test]
async fn a_series_that_left_memory_is_asked_for_by_name() {
    let world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    let floats = scrape(1, 3, START);
    node.accept(&mut truth, &floats).await;
    world.time.advance(Duration::from_secs(3 * 3600));
    node.flusher.tick().await;
    node.flusher.tick().await;
    let later = scrape(1, 3, START + 3 * HOUR);
    let pushed = node.push(&bare(floats_batch(&later))).await.unwrap();
    assert_eq!((pushed.n_samples(), pushed.unknown.len()), (0, 3));
    node.accept(&mut truth, &later).await;
    node.check(&truth, "after it came again").await;
}
