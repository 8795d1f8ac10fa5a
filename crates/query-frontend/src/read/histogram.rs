//! A native histogram as `prometheus.Histogram`.

use model::{BucketSpan, Counts, Histogram};
use prost::Message;
use wire::generated::prometheus as pb;
use wire::generated::prometheus::histogram::{Count, ZeroCount};

/// The message.
pub(super) fn encode(timestamp: i64, histogram: &Histogram) -> Vec<u8> {
    message(timestamp, histogram).encode_to_vec()
}

fn message(timestamp: i64, histogram: &Histogram) -> pb::Histogram {
    let mut message = pb::Histogram {
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        positive_spans: spans(&histogram.positive_spans),
        negative_spans: spans(&histogram.negative_spans),
        reset_hint: histogram.reset_hint as i32,
        timestamp,
        custom_values: histogram.custom_values.clone(),
        ..pb::Histogram::default()
    };
    match &histogram.counts {
        Counts::Int { count, zero, positive, negative } => {
            message.count = Some(Count::CountInt(*count));
            message.zero_count = Some(ZeroCount::ZeroCountInt(*zero));
            message.positive_deltas = deltas(positive);
            message.negative_deltas = deltas(negative);
        }
        Counts::Float { count, zero, positive, negative } => {
            message.count = Some(Count::CountFloat(*count));
            message.zero_count = Some(ZeroCount::ZeroCountFloat(*zero));
            message.positive_counts = positive.clone();
            message.negative_counts = negative.clone();
        }
    }
    message
}

fn spans(spans: &[BucketSpan]) -> Vec<pb::BucketSpan> {
    spans.iter().map(|span| pb::BucketSpan { offset: span.offset, length: span.length }).collect()
}

/// Each bucket's difference to its left neighbour.
fn deltas(counts: &[u64]) -> Vec<i64> {
    let mut left = 0u64;
    let difference = |&count: &u64| count.wrapping_sub(std::mem::replace(&mut left, count)) as i64;
    counts.iter().map(difference).collect()
}
