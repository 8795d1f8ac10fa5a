//! Start timestamps: since when a counter or a histogram counts.

use crate::world::{
    MINUTE, START, Sample, Truth, World, floats_batch, histogram, histograms_batch, labels, note,
    started_batch,
};

#[tokio::test]
async fn start_timestamps_of_floats_and_histograms_survive_kills_and_the_flush() {
    let mut world = World::new();
    let mut node = world.open().await;
    let mut truth = Truth::new();
    // A counter that begins anew, one that lost its start for a while, one late sample, and one without any.
    let (a, b, late) = (labels("a", 1), labels("b", 2), labels("late", 1));
    let started = [
        (a.clone(), START, 5.0, START - 1000),
        (a.clone(), START + MINUTE, 6.0, START - 1000),
        (a.clone(), START + 2 * MINUTE, 1.0, START + MINUTE),
        (b.clone(), START, 5.0, START - 1000),
        (b.clone(), START + MINUTE, 6.0, 0),
        (b.clone(), START + 2 * MINUTE, 7.0, START - 1000),
        (late.clone(), START + 2 * MINUTE, 7.0, START - 1000),
        (late.clone(), START + MINUTE, 6.0, START - 2000),
    ];
    for one in started {
        node.push(&started_batch(std::slice::from_ref(&one))).await.unwrap();
        let (labels, timestamp, value, start) = one;
        truth.insert((labels, timestamp), Sample::Float { bits: value.to_bits(), start });
    }
    let plain = [(labels("plain", 1), START, 1.0)];
    node.push(&floats_batch(&plain)).await.unwrap();
    note(&mut truth, &plain);
    for (minute, start) in [(0, START - 7), (1, START - 7), (2, 0), (3, START + 2 * MINUTE)] {
        let mut sample = histogram(START + minute * MINUTE, 10 + minute as u64);
        sample.start_timestamp = start;
        node.push(&histograms_batch(&[(labels("h", 1), sample.clone())])).await.unwrap();
        let expected = Sample::Histogram { histogram: *sample.histogram, start };
        truth.insert((labels("h", 1), sample.timestamp), expected);
    }
    node.check(&truth, "in the head").await;
    node = world.kill(node).await;
    node.check(&truth, "after a kill").await;
    node.ingester.flush().await.unwrap();
    assert_eq!(node.recent().await.0.len(), 0);
    node.check(&truth, "in the table").await;
    node = world.kill(node).await;
    node.check(&truth, "after another kill").await;
    assert_eq!(node.stored(None).await, truth);
}
