//! The decoder against prost: whatever message, whatever order, the same batch.

use distributor::{DecodeError, Workspace};
use model::{CUSTOM_BUCKETS_SCHEMA, Shards};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use wire::generated::prometheus as pb;
use wire::generated::prometheus::histogram::{Count, ZeroCount};

use crate::oracle;
use crate::sample_bodies::{NOW, everything, label, sample, series};

fn any_double() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(0.0),
        Just(1.0),
        Just(f64::from_bits(0x7ff0_0000_0000_0002)),
        any::<u64>().prop_map(f64::from_bits),
    ]
}

fn any_timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![4 => NOW - 1_000_000..NOW, 1 => any::<i64>(), 1 => Just(0)]
}

fn any_label() -> impl Strategy<Value = pb::Label> {
    let name = prop_oneof![
        6 => prop::sample::select(vec!["job", "instance", "a", "b", "c", "zone", "ä.ö"]).prop_map(str::to_string),
        1 => "[a-z]{0,3}",
    ];
    let value = prop_oneof![6 => "[a-z0-9:]{1,20}", 1 => Just(String::new()), 1 => ".{0,200}"];
    (name, value).prop_map(|(name, value)| pb::Label { name, value })
}

fn any_labels() -> impl Strategy<Value = Vec<pb::Label>> {
    let name = prop_oneof![9 => Just(Some("up")), 1 => Just(None)];
    (name, vec(any_label(), 0..5), any::<bool>()).prop_map(|(name, mut labels, sorted)| {
        labels.extend(name.map(|name| label("__name__", name)));
        if sorted {
            labels.sort_by(|a, b| a.name.cmp(&b.name));
            labels.dedup_by(|a, b| a.name == b.name);
        }
        labels
    })
}

fn any_spans() -> impl Strategy<Value = (Vec<pb::BucketSpan>, usize)> {
    vec((-3i32..40, 0u32..5), 0..4).prop_map(|spans| {
        let spans: Vec<_> =
            spans.into_iter().map(|(offset, length)| pb::BucketSpan { offset, length }).collect();
        let n = spans.iter().map(|s| s.length as usize).sum();
        (spans, n)
    })
}

/// Mostly valid histograms of all kinds: the counts fit the buckets in two of three.
fn any_histogram() -> impl Strategy<Value = pb::Histogram> {
    let schema =
        prop_oneof![3 => -4i32..=8, 2 => 9i32..=54, 1 => Just(CUSTOM_BUCKETS_SCHEMA), 1 => any::<i32>()];
    let buckets = vec(0i64..1000, 20);
    (
        schema,
        (any_spans(), any_spans(), buckets.clone(), buckets),
        (any::<bool>(), any::<bool>(), 0u64..100),
        (any_double(), any_timestamp(), 0i32..5),
    )
        .prop_map(
            |(schema, (p, n, mut positive, mut negative), (is_float, fits, zero), (sum, timestamp, hint))| {
                positive.truncate(p.1);
                negative.truncate(n.1);
                let is_custom = schema == CUSTOM_BUCKETS_SCHEMA;
                let zero = if is_custom { 0 } else { zero };
                let total = zero + positive.iter().chain(&negative).sum::<i64>() as u64;
                let deltas = |counts: &[i64]| {
                    let mut last = 0;
                    counts.iter().map(|c| c - std::mem::replace(&mut last, *c)).collect::<Vec<_>>()
                };
                let floats = |counts: &[i64]| counts.iter().map(|c| *c as f64 / 8.0).collect::<Vec<_>>();
                let mut h = pb::Histogram { sum, schema, timestamp, reset_hint: hint, ..Default::default() };
                if is_float {
                    h.count = Some(Count::CountFloat(total as f64));
                    h.zero_count = Some(ZeroCount::ZeroCountFloat(zero as f64));
                    (h.positive_counts, h.negative_counts) = (floats(&positive), floats(&negative));
                } else {
                    h.count = (total > 0).then_some(Count::CountInt(if fits { total } else { total + 1 }));
                    h.zero_count = Some(ZeroCount::ZeroCountInt(zero));
                    (h.positive_deltas, h.negative_deltas) = (deltas(&positive), deltas(&negative));
                }
                if is_custom {
                    h.custom_values = (0..200).map(f64::from).collect();
                }
                (h.positive_spans, h.negative_spans) = (p.0, n.0);
                h
            },
        )
}

fn any_series() -> impl Strategy<Value = pb::TimeSeries> {
    let samples = vec((any_double(), any_timestamp()), 0..4);
    let exemplars = vec((vec(any_label(), 0..3), any_double(), any_timestamp()), 0..2);
    (any_labels(), samples, exemplars, vec(any_histogram(), 0..2)).prop_map(
        |(labels, samples, exemplars, histograms)| pb::TimeSeries {
            labels,
            samples: samples.into_iter().map(|(value, timestamp)| sample(value, timestamp)).collect(),
            exemplars: exemplars
                .into_iter()
                .map(|(labels, value, timestamp)| pb::Exemplar { labels, value, timestamp })
                .collect(),
            histograms,
        },
    )
}

pub(crate) fn any_request() -> impl Strategy<Value = pb::WriteRequest> {
    let metadata = (0i32..10, "[a-z]{0,5}", ".{0,50}", "[a-z]{0,5}").prop_map(
        |(kind, metric_family_name, help, unit)| pb::MetricMetadata {
            r#type: kind,
            metric_family_name,
            help,
            unit,
        },
    );
    (vec(any_series(), 0..12), vec(metadata, 0..3))
        .prop_map(|(timeseries, metadata)| pb::WriteRequest { timeseries, metadata })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Three times: everything new, everything as expected, everything in another order.
    #[test]
    fn every_message_becomes_what_the_oracle_makes_of_it(mut request in any_request(), seed in any::<u64>()) {
        let one = oracle::decoder(oracle::ONE_SHARD);
        let four = oracle::decoder(Shards { count: 4, spread: 2 });
        let mut work = Workspace::default();
        for round in 0..4 {
            let body = request.encode_to_vec();
            let mut expected = oracle::expected(&request);
            prop_assert_eq!(&oracle::decode(&one, &body, &mut work).unwrap(), &expected, "round {}", round);
            let mut seen = oracle::decode(&four, &body, &mut work).unwrap();
            seen.series.sort();
            expected.series.sort();
            prop_assert_eq!(seen, expected, "round {}, sharded", round);
            if round > 0 && !request.timeseries.is_empty() {
                let n = request.timeseries.len();
                request.timeseries.swap(seed as usize % n, (seed >> 32) as usize % n);
                request.timeseries.rotate_left(seed as usize % n);
            }
        }
    }
}

#[test]
fn a_bit_of_everything_is_what_it_should_be() {
    let request = everything();
    let decoder = oracle::decoder(oracle::ONE_SHARD);
    let mut work = Workspace::default();
    for _ in 0..3 {
        let seen = oracle::decode(&decoder, &request.encode_to_vec(), &mut work).unwrap();
        assert_eq!(seen, oracle::expected(&request));
        assert_eq!((seen.series.len(), seen.refused_labels, seen.metadata.len()), (7, 1, 1));
    }
}

#[test]
fn labels_behind_or_between_samples_belong_to_their_series() {
    let a = series(&[("__name__", "up"), ("job", "a")], 1.0, NOW);
    let b = pb::TimeSeries { samples: vec![sample(2.0, NOW + 1)], ..Default::default() };
    let c = pb::TimeSeries { labels: vec![label("zone", "z")], ..Default::default() };
    // A message is the concatenation of its parts.
    let inner = [b.encode_to_vec(), a.encode_to_vec(), b.encode_to_vec(), c.encode_to_vec()].concat();
    let mut body = vec![0x0A];
    prost::encoding::encode_varint(inner.len() as u64, &mut body);
    body.extend_from_slice(&inner);
    let request = pb::WriteRequest::decode(&body[..]).unwrap();
    assert_eq!(request.timeseries[0].labels.len(), 3);
    let decoder = oracle::decoder(oracle::ONE_SHARD);
    let mut work = Workspace::default();
    // The plain series first, so that its run is known and expected.
    for body in [&pb::WriteRequest { timeseries: vec![a], metadata: vec![] }.encode_to_vec(), &body, &body] {
        let request = pb::WriteRequest::decode(&body[..]).unwrap();
        assert_eq!(oracle::decode(&decoder, body, &mut work).unwrap(), oracle::expected(&request));
    }
}

#[test]
fn unknown_fields_are_skipped_wherever_they_are() {
    let request = everything();
    let mut body = request.encode_to_vec();
    // Field 11 varint, field 12 varint (vmagent's, here at the top), field 9 a group with content.
    body.extend_from_slice(&[0x58, 0x07, 0x60, 0x08, 0x4B, 0x0A, 0x01, 0x00, 0x4C]);
    let decoder = oracle::decoder(oracle::ONE_SHARD);
    let seen = oracle::decode(&decoder, &body, &mut Workspace::default()).unwrap();
    assert_eq!(seen, oracle::expected(&request));
}

#[test]
fn a_remote_write_2_message_is_recognised_instead_of_lost() {
    // symbols (4) and timeseries (5), as in io.prometheus.write.v2.Request.
    let body = [0x22, 0x00, 0x22, 0x01, b'a', 0x2A, 0x02, 0x08, 0x01];
    let decoder = oracle::decoder(oracle::ONE_SHARD);
    let refused = oracle::decode(&decoder, &body, &mut Workspace::default());
    assert_eq!(refused, Err(DecodeError::NotVersion1));
}

#[test]
fn the_reserved_pattern_of_empty_cells_is_stored_as_an_ordinary_nan() {
    let request = pb::WriteRequest {
        timeseries: vec![series(&[("__name__", "up")], f64::from_bits(model::EMPTY), NOW)],
        metadata: vec![],
    };
    let decoder = oracle::decoder(oracle::ONE_SHARD);
    let seen = oracle::decode(&decoder, &request.encode_to_vec(), &mut Workspace::default()).unwrap();
    assert_eq!(seen.series[0].floats, [(NOW, 0x7ff8_0000_0000_0001, 0)]);
}
